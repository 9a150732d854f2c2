//! What a gateway may be told.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use evanesce_front::{Listen, TlsFiles};

use crate::nodes::NodeAccess;

/// Largest item unless told otherwise, in bytes: what nodes take by default.
pub const ITEM_BYTES_MAX_DEFAULT: usize = 1 << 20;

/// How long a start waits for the first topology unless told otherwise: a discovery that has just started may keep
/// silent for a lease.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);

/// How long a drain may take unless told otherwise: well within what a supervisor grants after SIGTERM.
pub const DRAIN_DEADLINE_DEFAULT: Duration = Duration::from_secs(5);

/// Which cluster a gateway fronts and where it listens.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The cluster. `HOME` by default.
    pub cluster: String,
    /// The zone to read from. `a` by default.
    pub zone: String,
    /// Discoveries that know the cluster, as `ip:port` or URL, preferred first.
    pub discoveries: Vec<String>,
    /// How nodes are spoken to: in plain text and without a password by default.
    pub nodes: NodeAccess,
    /// How long nodes may take, an attempt and all of a request; by default what the client grants them.
    pub node_timeout: Option<Duration>,
    /// Where to speak memcached: one place or more. Port 0 is chosen by the kernel.
    pub listen: Vec<Listen>,
    /// The certificate of listeners that speak TLS; none by default.
    pub tls: Option<TlsFiles>,
    /// Users and passwords that memcached's clients must give; none by default.
    pub auth_file: Option<PathBuf>,
    /// The gateways that `config get cluster` lists, this one included; by default the first address listened on.
    pub gateways: Vec<SocketAddr>,
    /// Whether a client's `flush_all` empties the whole cluster. Not by default.
    pub flush_command: bool,
    /// The file that says which namespaces have a backing store; none by default. See [`evanesce_persister::Config`].
    pub persister: Option<PathBuf>,
    /// Where to serve gRPC; not at all by default.
    pub grpc: Option<SocketAddr>,
    /// Where to serve metrics and health over HTTP; not at all by default.
    pub http: Option<SocketAddr>,
    /// Worker threads. 1 by default.
    pub threads: NonZeroUsize,
    /// Largest value taken, in bytes. [`ITEM_BYTES_MAX_DEFAULT`].
    pub item_bytes_max: usize,
    /// Connections at once. [`evanesce_front::CONNECTIONS_MAX_DEFAULT`].
    pub connections_max: usize,
    /// Close connections that sent nothing for so long; never by default.
    pub idle_timeout: Option<Duration>,
    /// How long a start waits for the first topology. [`CONNECT_TIMEOUT_DEFAULT`].
    pub connect_timeout: Duration,
    /// How long a drain takes at most when whoever asks does not say. [`DRAIN_DEADLINE_DEFAULT`].
    pub drain_deadline: Duration,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            cluster: "HOME".to_owned(),
            zone: "a".to_owned(),
            discoveries: Vec::new(),
            nodes: NodeAccess::default(),
            node_timeout: None,
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()],
            tls: None,
            auth_file: None,
            gateways: Vec::new(),
            flush_command: false,
            persister: None,
            grpc: None,
            http: None,
            threads: NonZeroUsize::MIN,
            item_bytes_max: ITEM_BYTES_MAX_DEFAULT,
            connections_max: evanesce_front::CONNECTIONS_MAX_DEFAULT,
            idle_timeout: None,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            drain_deadline: DRAIN_DEADLINE_DEFAULT,
        }
    }
}

impl GatewayConfig {
    /// What `config get cluster` answers; `None` where clients could not reach what would be listed. Clients take a list
    /// whose version is larger than that of the one they have, and a list changes with a restart: its version is the
    /// time of the start, in seconds.
    pub(crate) fn configuration(&self, bound: SocketAddr, started_secs: u64) -> Option<String> {
        let gateways = if self.gateways.is_empty() { &[bound][..] } else { &self.gateways };
        let member = |at: &SocketAddr| format!("{ip}|{ip}|{port}", ip = at.ip(), port = at.port());
        let members: Vec<String> = gateways.iter().map(member).collect();
        let reachable = gateways.iter().all(|gateway| !gateway.ip().is_unspecified());
        reachable.then(|| format!("{started_secs}\n{}\n", members.join(" ")))
    }

    pub(crate) fn front(&self) -> evanesce_front::FrontConfig {
        let mut front = evanesce_front::FrontConfig::new(self.listen.clone(), self.threads);
        front.tls.clone_from(&self.tls);
        front.auth_file.clone_from(&self.auth_file);
        front.connections_max = self.connections_max;
        front.limits.value_bytes_max = self.item_bytes_max;
        front.idle_timeout = self.idle_timeout;
        front
    }
}
