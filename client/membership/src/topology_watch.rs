//! The newest topology of one cluster, from whichever discovery answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use evanesce_topology::{Epoch, Topology};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::endpoint::{Discovery, EndpointError};
use crate::follower::Follower;
use crate::options::MembershipOptions;

/// Follows the topology of one cluster for as long as this value lives.
///
/// It starts with the first discovery of the list, so name the nearest one first; when that fails or has nothing to
/// say, it goes on to the next, round and round, and stays with whichever works until that one fails. It never
/// publishes an empty topology, nor one that is not newer than the last.
#[derive(Debug)]
pub struct TopologyWatch {
    topology: watch::Sender<Option<Arc<Topology>>>,
    status: Arc<Mutex<WatchStatus>>,
    /// Dropped with the watch, which aborts the task.
    _follower: JoinSet<()>,
}

/// How a watch is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchStatus {
    /// The discovery followed now, as `host:port`; none while none answers.
    pub following: Option<String>,
    /// Since when it is followed.
    pub since: Option<Instant>,
    /// The newest topology's epoch; 0 before the first.
    pub epoch: Epoch,
    /// How often a discovery was tried.
    pub attempts: u64,
    /// Why the last discovery was left or could not be followed; kept after another has answered.
    pub last_error: Option<String>,
    /// Why each discovery that failed did so the last time, by `host:port`.
    pub failures: BTreeMap<String, String>,
}

impl TopologyWatch {
    /// Starts to follow `cluster` at one of `discoveries` (`host:port` or `http://host:port`).
    ///
    /// # Errors
    ///
    /// [`EndpointError`] when the list is empty or an address cannot be read.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and I/O.
    pub fn start<S: AsRef<str>>(
        discoveries: &[S],
        cluster: &str,
        options: MembershipOptions,
    ) -> Result<Self, EndpointError> {
        let discoveries = Discovery::parse_all(discoveries, &options)?;
        let topology = watch::Sender::new(None);
        let status = Arc::new(Mutex::new(WatchStatus::default()));
        let follower = Follower::new(discoveries, cluster, options, topology.clone(), Arc::clone(&status));
        let mut tasks = JoinSet::new();
        tasks.spawn(follower.run());
        Ok(Self { topology, status, _follower: tasks })
    }

    /// The newest topology, and a signal at each newer one; none before the first. The channel closes when the watch
    /// is dropped.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Topology>>> {
        self.topology.subscribe()
    }

    /// The newest topology; none before the first.
    #[must_use]
    pub fn topology(&self) -> Option<Arc<Topology>> {
        self.topology.borrow().clone()
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> WatchStatus {
        self.status.lock().clone()
    }
}
