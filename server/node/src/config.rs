//! What a node may be told.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use evanesce_front::{Listen, TlsFiles};
use evanesce_store::NamespaceConfig;
use evanesce_topology::RingProfile;

/// Memory of a node unless told otherwise, in bytes: memcached's default.
pub const MEMORY_BYTES_DEFAULT: usize = 64 << 20;

/// Largest item unless told otherwise, in bytes: memcached's default.
pub const ITEM_BYTES_MAX_DEFAULT: usize = 1 << 20;

/// How long a drain may take unless told otherwise: well within what a supervisor grants after SIGTERM.
pub const DRAIN_DEADLINE_DEFAULT: Duration = Duration::from_secs(5);

/// How long a warm-up may take unless told otherwise: far longer than the memory of one machine needs.
pub const WARM_UP_LIMIT_DEFAULT: Duration = Duration::from_secs(15 * 60);

/// How often a node compares with its siblings unless told otherwise: what nobody told of is mended within twice that.
pub const RECONCILE_EVERY_DEFAULT: Duration = Duration::from_secs(30);

/// What a node is, where it listens and what it may use.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The cluster it belongs to. `HOME` by default.
    pub cluster: String,
    /// The zone it stands in. `a` by default.
    pub zone: String,
    /// The server group it is part of. `a` by default.
    pub group: String,
    /// Its ring name, unique in the group. `node` by default.
    pub name: String,
    /// What the ring hashes of it; its name by default.
    pub ring_text: Option<String>,
    /// Its share of the ring beside its peers'. 1 by default.
    pub weight: u32,
    /// How keys find their node; the cluster's nodes must agree. [`RingProfile::EVANESCE`] by default.
    pub profile: RingProfile,
    /// Discoveries to register with, as `ip:port` or URL; none by default, which makes it stand alone.
    pub discoveries: Vec<String>,
    /// Where to speak memcached: one place or more; the first that has an address is the one told to others. Port 0 is
    /// chosen by the kernel.
    pub listen: Vec<Listen>,
    /// The certificate of listeners that speak TLS; none by default.
    pub tls: Option<TlsFiles>,
    /// Users and passwords that memcached's clients must give; none by default.
    pub auth_file: Option<PathBuf>,
    /// Where to serve gRPC; not at all by default.
    pub grpc: Option<SocketAddr>,
    /// Where to serve metrics and health over HTTP; not at all by default.
    pub http: Option<SocketAddr>,
    /// The memcached address to tell others, when it is not the first listened on.
    pub advertise_memcached: Option<SocketAddr>,
    /// The gRPC address to tell others, when it is not the one listened on.
    pub advertise_grpc: Option<SocketAddr>,
    /// The HTTP address to tell others, when it is not the one listened on.
    pub advertise_http: Option<SocketAddr>,
    /// Worker threads. 4 by default.
    pub threads: NonZeroUsize,
    /// The whole budget of the store, in bytes. [`MEMORY_BYTES_DEFAULT`].
    pub memory_bytes: usize,
    /// The file that is the store's memory, so that the node finds its items again after a restart; best on a file system in
    /// memory. None by default.
    pub memory_file: Option<PathBuf>,
    /// Largest item, key and value together, in bytes. [`ITEM_BYTES_MAX_DEFAULT`].
    pub item_bytes_max: usize,
    /// Key prefixes with an account, and perhaps a guarantee and a limit, of their own. None by default.
    pub namespaces: Vec<NamespaceConfig>,
    /// Seed of the hash that digests of items go by; random by default. Nodes whose digests are compared must share it.
    pub hash_seed: Option<u64>,
    /// Connections at once. [`evanesce_front::CONNECTIONS_MAX_DEFAULT`].
    pub connections_max: usize,
    /// Close connections that sent nothing for so long; never by default.
    pub idle_timeout: Option<Duration>,
    /// Whether a client's `shutdown` ends the node. Not by default.
    pub shutdown_command: bool,
    /// Whether `config get cluster` names this node, for clients of ElastiCache's auto discovery that are to use it
    /// alone. Not by default: such a client belongs to gateways.
    pub config_get_cluster: bool,
    /// How long the node, which starts empty, is given items by its siblings before it is read, at most; zero is not at
    /// all. [`WARM_UP_LIMIT_DEFAULT`].
    pub warm_up_limit: Duration,
    /// Bytes of keys and values a second that the node gives others in streams, at most: for their warm-up, when a group is
    /// resized, and when it drains. Not limited by default.
    pub warm_up_rate: Option<NonZeroU64>,
    /// How often the node compares what it holds with its siblings, over gRPC, and takes what is newer; never for `None`.
    /// [`RECONCILE_EVERY_DEFAULT`].
    pub reconcile_every: Option<Duration>,
    /// How long a drain takes at most when whoever asks does not say. [`DRAIN_DEADLINE_DEFAULT`].
    pub drain_deadline: Duration,
}

impl Default for NodeConfig {
    /// A node that stands alone on a loopback port that the kernel chooses.
    fn default() -> Self {
        Self {
            cluster: "HOME".to_owned(),
            zone: "a".to_owned(),
            group: "a".to_owned(),
            name: "node".to_owned(),
            ring_text: None,
            weight: 1,
            profile: RingProfile::EVANESCE,
            discoveries: Vec::new(),
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()],
            tls: None,
            auth_file: None,
            grpc: None,
            http: None,
            advertise_memcached: None,
            advertise_grpc: None,
            advertise_http: None,
            threads: NonZeroUsize::new(4).expect("4 is not 0"),
            memory_bytes: MEMORY_BYTES_DEFAULT,
            memory_file: None,
            item_bytes_max: ITEM_BYTES_MAX_DEFAULT,
            namespaces: Vec::new(),
            hash_seed: None,
            connections_max: evanesce_front::CONNECTIONS_MAX_DEFAULT,
            idle_timeout: None,
            shutdown_command: false,
            config_get_cluster: false,
            warm_up_limit: WARM_UP_LIMIT_DEFAULT,
            warm_up_rate: None,
            reconcile_every: Some(RECONCILE_EVERY_DEFAULT),
            drain_deadline: DRAIN_DEADLINE_DEFAULT,
        }
    }
}
