//! Making a client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use evanesce_topology::Epoch;
#[cfg(feature = "tls")]
use evanesce_transport::TlsOptions;
use evanesce_transport::{ConnectionOptions, Credentials};

use crate::ambient::Ambient;
#[cfg(feature = "simulation")]
use crate::ambient::Simulation;
use crate::client::Client;
use crate::core::{Core, Settings};
use crate::distance::measure_zones;
use crate::error::ConnectError;
use crate::listener::{Events, Listener, look_out};
#[cfg(feature = "near-cache")]
use crate::near::NearCache;
use crate::policy::LatchPolicy;
use crate::static_nodes::StaticNodes;
use crate::ttl::Ttl;
use crate::value::chunk::{Chunking, ITEM_BYTES_MIN};

/// A node in the same zone answers in well under a millisecond; twenty are a pause, and time to ask elsewhere.
const READ_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(20);

/// Two attempts and a half: a zone that is frozen and the first try elsewhere both fit.
const READ_TIMEOUT: Duration = Duration::from_millis(50);

/// Writes have nowhere else to go, so they get the time of a longer pause.
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);

/// Long enough for a session, short enough that what a lost delete left behind goes by itself.
const TTL: Duration = Duration::from_secs(15 * 60);

/// More would double the load of a cluster whose caches are cold.
const MISS_FALLBACK_SHARE: f64 = 0.2;

/// One read in twenty is slower than the 95th percentile by definition; of those, fewer than half are hedged, which keeps
/// the extra load invisible.
const HEDGE_SHARE: f64 = 0.02;

/// Some 200,000 missed writes of small items: ten seconds of a busy client's, with one node in three away.
const REPAIR_BYTES_MAX: usize = 64 << 20;

/// Room for a discovery that has just started, and for failing over to the next.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Collects what a [`Client`] needs. Defaults are in the table of the [crate documentation](crate).
#[derive(Clone)]
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    settings: Settings,
    connect_timeout: Duration,
    nodes: Option<StaticNodes>,
    credentials: Option<Credentials>,
    listeners: Vec<Arc<dyn Listener>>,
    #[cfg(feature = "tls")]
    tls: Option<TlsOptions>,
    #[cfg(feature = "discovery")]
    discoveries: Vec<String>,
}

impl ClientBuilder {
    pub(crate) fn new(cluster: String) -> Self {
        Self {
            settings: Settings {
                cluster,
                zone: String::new(),
                read_attempt_timeout: READ_ATTEMPT_TIMEOUT,
                read_timeout: READ_TIMEOUT,
                write_timeout: WRITE_TIMEOUT,
                latch: LatchPolicy::default(),
                ttl: Ttl::After(TTL),
                miss_fallback_share: MISS_FALLBACK_SHARE,
                hedge_share: HEDGE_SHARE,
                repair_bytes_max: REPAIR_BYTES_MAX,
                chunking: Chunking::default(),
                #[cfg(feature = "near-cache")]
                near: crate::near::NearSettings::default(),
                #[cfg(feature = "discovery")]
                topology_file: None,
                #[cfg(feature = "discovery")]
                membership: evanesce_membership::MembershipOptions::default(),
                connection: ConnectionOptions::default(),
                lanes: 0,
                ambient: Ambient::default(),
            },
            connect_timeout: CONNECT_TIMEOUT,
            nodes: None,
            credentials: None,
            listeners: Vec::new(),
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "discovery")]
            discoveries: Vec::new(),
        }
    }

    /// The discoveries to ask, as `http://ip:port` or `ip:port`, the nearest first.
    #[cfg(feature = "discovery")]
    pub fn discovery<D: Into<String>>(mut self, addresses: impl IntoIterator<Item = D>) -> Self {
        self.discoveries.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// Keeps the last topology in this file, and starts with it when no discovery answers within
    /// [`connect_timeout`](Self::connect_timeout). Default none. One file for each process and cluster; its directory must
    /// be there.
    #[cfg(feature = "discovery")]
    pub fn topology_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.settings.topology_file = Some(evanesce_membership::SavedTopology::new(path));
        self
    }

    /// The nodes, in place of discovery.
    pub fn nodes(mut self, nodes: StaticNodes) -> Self {
        self.nodes = Some(nodes);
        self
    }

    /// The zone this process runs in: it is read first. Default none, so that the first zone by name is.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.settings.zone = zone.into();
        self
    }

    /// How long [`connect`](Self::connect) waits for a topology. Default 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long one node may take over a read before the next zone is asked. Default 20 ms.
    pub fn read_attempt_timeout(mut self, timeout: Duration) -> Self {
        self.settings.read_attempt_timeout = timeout;
        self
    }

    /// How long a read may take, all attempts together. Default 50 ms.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.settings.read_timeout = timeout;
        self
    }

    /// How long a write waits for its latch. Default 500 ms.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.settings.write_timeout = timeout;
        self
    }

    /// How many acknowledgements writes wait for. Default [`LatchPolicy::Local`].
    pub fn latch(mut self, latch: LatchPolicy) -> Self {
        self.settings.latch = latch;
        self
    }

    /// How long items live. Default 15 min.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.settings.ttl = ttl.into();
        self
    }

    /// Up to which share of all reads a miss may be asked in another zone, 0 to 1. Default 0.2.
    pub fn miss_fallback(mut self, share_of_reads: f64) -> Self {
        self.settings.miss_fallback_share = share_of_reads;
        self
    }

    /// Up to which share of all reads a second zone is asked when the first takes longer than it does for 95 of 100
    /// reads, 0 to 1. Default 0.02; 0 never asks. Bulk reads are hedged where
    /// they ask for it: see [`GetMany::hedged`](crate::op::GetMany::hedged).
    pub fn hedge(mut self, share_of_reads: f64) -> Self {
        self.settings.hedge_share = share_of_reads;
        self
    }

    /// How many bytes of writes that replicas have missed are kept for them, overhead included. Default 64 MiB; 0 keeps
    /// none.
    pub fn repair_queue_bytes(mut self, bytes: usize) -> Self {
        self.settings.repair_bytes_max = bytes;
        self
    }

    /// Keeps what is read often in this process: all keys of namespaces that have no near cache of their own share this one.
    /// Default none.
    #[cfg(feature = "near-cache")]
    pub fn near_cache(mut self, near: NearCache) -> Self {
        self.settings.near.others = Some(near);
        self
    }

    /// Gives the namespace of this name a near cache of its own; so does
    /// [`Namespace::near_cache`](crate::Namespace::near_cache). Default none.
    #[cfg(feature = "near-cache")]
    pub fn near_cache_of(mut self, namespace: impl Into<String>, near: NearCache) -> Self {
        self.settings.near.of.push((namespace.into(), near));
        self
    }

    /// Speaks TLS with all nodes, and with none in plain text, whatever they say of themselves. Default none.
    ///
    /// Goes over what [`connection`](Self::connection) says, in whatever order they are called.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.tls = Some(options);
        self
    }

    /// Tells all nodes who we are. Default none. Without TLS whoever sees the packets sees the password.
    ///
    /// Goes over what [`connection`](Self::connection) says, in whatever order they are called.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// What nodes take as one item, at least 64 KiB: larger values are stored in chunks. Default 1 MiB, as memcached's and
    /// our nodes' is.
    pub fn item_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.chunking = Chunking::of_item_limit(bytes.max(ITEM_BYTES_MIN));
        self
    }

    /// Has a listener told what happens: see [`Listener`]. Any number of them; default none.
    pub fn listener(mut self, listener: impl Listener) -> Self {
        self.listeners.push(Arc::new(listener));
        self
    }

    /// Limits and times of the connections to nodes.
    pub fn connection(mut self, options: ConnectionOptions) -> Self {
        self.settings.connection = options;
        self
    }

    /// Has so many threads read over connections of their own, one from each to each node of the own zone, beside the
    /// connection that all share: see [`Namespace::in_lane`](crate::Namespace::in_lane). Default 0.
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.settings.lanes = lanes;
        self
    }

    /// Runs in a simulation, not on this machine: after [`connection`](Self::connection).
    #[cfg(feature = "simulation")]
    pub fn simulation(mut self, simulation: &Simulation) -> Self {
        self.settings.connection.connector = Some(simulation.connector);
        #[cfg(feature = "discovery")]
        {
            self.settings.membership.connector = Some(simulation.discovery_connector);
        }
        self.settings.ambient = Ambient::of(simulation);
        self
    }

    /// Makes the client, once the topology is known and each node is connected or known to be away: a node that does not
    /// answer at all is waited for as long as one attempt to connect lasts, 1 s. Such nodes are tried on in the background.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]: an option is wrong, or no discovery gave a topology in time.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time enabled.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        self.check()?;
        let core = Arc::new(Core::new(self.settled(), Events::start(&self.listeners)?));
        match &self.nodes {
            Some(nodes) => core.adopt(nodes.topology(&core.settings.cluster, Epoch(1))?).await?,
            None => self.follow(&core).await?,
        }
        look_out(&core);
        measure_zones(&core);
        Ok(Client::new(core))
    }

    fn settled(&self) -> Settings {
        let mut settings = self.settings.clone();
        if let Some(credentials) = &self.credentials {
            settings.connection.credentials = Some(credentials.clone());
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            settings.connection.tls = Some(tls.clone());
        }
        settings
    }

    fn check(&self) -> Result<(), ConnectError> {
        let shares =
            [("miss_fallback", self.settings.miss_fallback_share), ("hedge", self.settings.hedge_share)];
        if let Some((option, _)) = shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(ConnectError::Option { option, rule: "0 to 1" });
        }
        let timeouts = [
            ("read_attempt_timeout", self.settings.read_attempt_timeout),
            ("read_timeout", self.settings.read_timeout),
            ("write_timeout", self.settings.write_timeout),
        ];
        #[cfg(feature = "near-cache")]
        if !self.settings.near.is_sound() {
            let rule = "the name of a namespace: no colon, space or control character";
            return Err(ConnectError::Option { option: "near_cache_of", rule });
        }
        match timeouts.iter().find(|(_, timeout)| timeout.is_zero()) {
            Some((option, _)) => Err(ConnectError::Option { option, rule: "more than zero" }),
            None => self.check_sources(),
        }
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (settings, nodes, listeners) = (&self.settings, &self.nodes, self.listeners.len());
        f.debug_struct("ClientBuilder")
            .field("settings", settings)
            .field("nodes", nodes)
            .field("listeners", &listeners)
            .finish_non_exhaustive()
    }
}

#[cfg(not(feature = "discovery"))]
impl ClientBuilder {
    fn check_sources(&self) -> Result<(), ConnectError> {
        if self.nodes.is_none() { Err(ConnectError::NoSource) } else { Ok(()) }
    }

    async fn follow(&self, _core: &Arc<Core>) -> Result<(), ConnectError> {
        Err(ConnectError::NoSource)
    }
}

#[cfg(feature = "discovery")]
impl ClientBuilder {
    fn check_sources(&self) -> Result<(), ConnectError> {
        match (self.nodes.is_some(), !self.discoveries.is_empty()) {
            (true, true) => Err(ConnectError::TwoSources),
            (false, false) => Err(ConnectError::NoSource),
            _ => Ok(()),
        }
    }

    async fn follow(&self, core: &Arc<Core>) -> Result<(), ConnectError> {
        crate::follow::follow(core, &self.discoveries, self.connect_timeout).await
    }
}
