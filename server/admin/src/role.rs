//! What a role tells of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use evanesce_grpc::discovery::v1::Topology;

use crate::stores::Stores;

/// What a role's assembly implements to be administered.
///
/// All methods are called on the admin runtime, must not block, and may be called at any time until
/// [`crate::RunningAdmin::stop`] returns.
pub trait Role: Send + Sync + 'static {
    /// Who this process is and how it does.
    fn status(&self) -> RoleStatus;

    /// Counters and gauges as pairs of name and value, in the order to show them.
    fn stats(&self) -> Vec<(String, String)>;

    /// The topology of `cluster` as this process sees it; an empty name means the role's own cluster.
    ///
    /// # Errors
    ///
    /// A [`TopologyRefusal`] says why there is none. The default refuses with [`TopologyRefusal::NotFollowed`].
    fn topology(&self, cluster: &str) -> Result<Topology, TopologyRefusal> {
        let _ = cluster;
        Err(TopologyRefusal::NotFollowed)
    }

    /// Drops every item of `namespace` (an empty name means all items) and answers how many there were. Called by an
    /// operator only.
    ///
    /// # Errors
    ///
    /// A [`FlushRefusal`] says why nothing was dropped. The default refuses with [`FlushRefusal::NoItems`].
    fn flush(&self, namespace: &str) -> Result<u64, FlushRefusal> {
        let _ = namespace;
        Err(FlushRefusal::NoItems)
    }

    /// The backing stores behind this process. The default has none.
    fn stores(&self) -> Option<&dyn Stores> {
        None
    }

    /// Sets the gauges and counters of the `metrics` facade that are not counted as things happen. Called before
    /// each scrape.
    fn publish_metrics(&self);

    /// Asks the process to drain and end, in at most `deadline` (`None`: as configured). Returns at once; see
    /// [`crate::DrainSignal`].
    fn request_drain(&self, deadline: Option<Duration>);
}

/// Who a process is and how it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleStatus {
    /// `node`, `discovery` or `gateway`.
    pub role: &'static str,
    /// The process's name; for a node its ring name. May be empty.
    pub name: String,
    /// Its cluster; empty where it serves many.
    pub cluster: String,
    /// Its zone; empty where it has none.
    pub zone: String,
    /// Where it is in its life.
    pub state: RoleState,
    /// What is wrong, one sentence each; empty when all is well.
    pub warnings: Vec<String>,
    /// Addresses it listens on beyond gRPC and HTTP (those the admin side adds), by purpose, e.g. `memcached`.
    pub addresses: BTreeMap<String, SocketAddr>,
}

impl RoleStatus {
    /// A status with nothing but a role and a state.
    #[must_use]
    pub fn new(role: &'static str, state: RoleState) -> Self {
        Self {
            role,
            name: String::new(),
            cluster: String::new(),
            zone: String::new(),
            state,
            warnings: Vec::new(),
            addresses: BTreeMap::new(),
        }
    }
}

/// Where a process is in its life.
///
/// ```text
///   Starting ──> Joining ──> Serving ──> Draining
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoleState {
    /// Not yet able to do anything.
    Starting,
    /// Able to serve, not yet known to those it needs.
    Joining,
    /// Able to serve, and being given by others what it is to hold.
    Warming,
    /// On duty.
    Serving,
    /// Finishing what is in flight, about to end.
    Draining,
}

impl fmt::Display for RoleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Joining => "joining",
            Self::Warming => "warming",
            Self::Serving => "serving",
            Self::Draining => "draining",
        })
    }
}

/// Why a process has no topology to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyRefusal {
    /// The caller asked the wrong role.
    #[error("this process follows no topology: ask a discovery or a gateway")]
    NotFollowed,
    /// Ask again in a moment.
    #[error("no topology has arrived yet: ask again in a moment")]
    NotYet,
    /// The caller named a cluster that this process does not know.
    #[error("this process knows no cluster of that name: see ListClusters of a discovery")]
    UnknownCluster,
}

/// Why a process flushed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushRefusal {
    /// The caller asked the wrong role.
    #[error("this process holds no items: ask a node")]
    NoItems,
    /// The caller named a namespace that this process was not configured with.
    #[error("this node has no namespace of that name: it has {known}")]
    UnknownNamespace {
        /// The names it knows, with commas between them.
        known: String,
    },
}
