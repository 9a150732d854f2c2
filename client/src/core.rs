//! What all handles of a client share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use evanesce_topology::Topology;
use evanesce_transport::ConnectionOptions;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::cluster::Cluster;
use crate::metrics::Metrics;
use crate::policy::{LatchPolicy, MissFallback};
use crate::ttl::Ttl;

/// Changes decided at home that may be under way at once: each is a task with a key and a value, so this bounds what
/// callers that give up can leave behind.
pub(crate) const HOME_WRITES_MAX: usize = 1024;

/// Longest timeout: longer ones, up to those that lie beyond the clock's end, last longer than any process all the same.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// What the builder settled.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) cluster: String,
    pub(crate) zone: String,
    pub(crate) read_attempt_timeout: Duration,
    pub(crate) read_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) latch: LatchPolicy,
    pub(crate) ttl: Ttl,
    pub(crate) miss_fallback_share: f64,
    pub(crate) connection: ConnectionOptions,
}

pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) home_writes: Arc<Semaphore>,
    /// `None` once closed.
    cluster: ArcSwapOption<Cluster>,
    /// Lock order: alone.
    miss_fallback: Mutex<MissFallback>,
    /// Reads that `miss_fallback` does not know of yet: counted apart, so that hits take no lock.
    reads: AtomicU64,
    /// Held while a topology is put in force, and by `close`.
    swap: Mutex<bool>,
    /// Follows the topology while the client lives.
    #[cfg(feature = "discovery")]
    pub(crate) watch: Mutex<Option<evanesce_membership::TopologyWatch>>,
}

impl Core {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            metrics: Metrics::register(&settings.cluster),
            home_writes: Arc::new(Semaphore::new(HOME_WRITES_MAX)),
            cluster: ArcSwapOption::empty(),
            miss_fallback: Mutex::new(MissFallback::new(settings.miss_fallback_share)),
            reads: AtomicU64::new(0),
            swap: Mutex::new(false),
            settings,
            #[cfg(feature = "discovery")]
            watch: Mutex::new(None),
        }
    }

    /// The present topology; `None` once closed.
    pub(crate) fn cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster.load_full()
    }

    /// Puts a topology in force. One that breaks its rules, or has no node, is refused and the present one stays.
    pub(crate) fn put(&self, topology: Arc<Topology>) -> Result<(), evanesce_topology::PlacementError> {
        let closed = self.swap.lock();
        if *closed {
            return Ok(());
        }
        let before = self.cluster.load_full();
        if topology.groups.iter().all(|group| group.nodes.is_empty()) && before.is_some() {
            warn!(cluster = %topology.cluster, epoch = topology.epoch.0, "refused a topology without nodes");
            return Ok(());
        }
        let epoch = topology.epoch;
        let zone = &self.settings.zone;
        let cluster = Cluster::new(topology, zone, &self.settings.connection, before.as_deref())?;
        info!(cluster = %self.settings.cluster, epoch = epoch.0, groups = cluster.groups(), "topology in force");
        self.metrics.epoch.set(epoch.0 as f64);
        self.cluster.store(Some(Arc::new(cluster)));
        Ok(())
    }

    /// Ends it. Operations under way hold their cluster and finish.
    pub(crate) fn close(&self) {
        let mut closed = self.swap.lock();
        *closed = true;
        self.cluster.store(None);
    }

    pub(crate) fn count_reads(&self, reads: u64) {
        self.reads.fetch_add(reads, Ordering::Relaxed);
    }

    /// Whether a miss is asked elsewhere.
    pub(crate) fn falls_back_on_miss(&self) -> bool {
        let mut policy = self.miss_fallback.lock();
        policy.on_reads(self.reads.swap(0, Ordering::Relaxed));
        let granted = policy.on_miss();
        drop(policy);
        if granted {
            self.metrics.miss_fallbacks.increment(1);
        }
        granted
    }

    /// A fallback after a miss was answered.
    pub(crate) fn miss_fallback_answered(&self, found: bool) {
        self.miss_fallback.lock().on_answer(found);
        if found {
            self.metrics.miss_fallback_hits.increment(1);
        }
    }

    /// The clock that expiries are computed with.
    pub(crate) fn now() -> SystemTime {
        SystemTime::now()
    }
}

#[cfg(test)]
pub(crate) mod tests;
