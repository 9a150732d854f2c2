//! What all handles of a client share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use evanesce_topology::{PlacementError, Topology};
use evanesce_transport::ConnectionOptions;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::ambient::Ambient;
use crate::cluster::{Cluster, Walk};
use crate::home::AFTERMATHS_MAX;
use crate::key::Key;
use crate::large::CHUNK_WRITES_MAX;
use crate::listener::{Event, Events};
use crate::load::Flights;
use crate::member::Member;
use crate::metrics::Metrics;
use crate::near::NearCaches;
use crate::policy::{Hedge, LatchPolicy, MissFallback, Spare, ZoneOrder};
use crate::repair::{NodeId, Repair, RepairQueue, hand_to_newcomers, wake};
use crate::skew::align_clock;
use crate::ttl::Ttl;
use crate::value::chunk::Chunking;
use crate::version::VersionClock;

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
    pub(crate) hedge_share: f64,
    pub(crate) repair_bytes_max: usize,
    pub(crate) chunking: Chunking,
    #[cfg(feature = "near-cache")]
    pub(crate) near: crate::near::NearSettings,
    /// Where the last topology is kept.
    #[cfg(feature = "discovery")]
    pub(crate) topology_file: Option<evanesce_membership::SavedTopology>,
    /// How patient we are with discoveries.
    #[cfg(feature = "discovery")]
    pub(crate) membership: evanesce_membership::MembershipOptions,
    pub(crate) connection: ConnectionOptions,
    /// How many threads may read over connections of their own.
    pub(crate) lanes: usize,
    pub(crate) ambient: Ambient,
}

pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) home_writes: Arc<Semaphore>,
    /// Keys that are looked after, since nobody knows what became of a change.
    pub(crate) aftermaths: Arc<Semaphore>,
    /// Chunks of large values on their way.
    pub(crate) chunk_writes: Semaphore,
    /// `None` once closed.
    cluster: ArcSwapOption<Cluster>,
    /// Stamps writes.
    pub(crate) clock: VersionClock,
    /// When nodes were last asked for their time because of what one of them answered. Lock order: alone.
    pub(crate) doubted: Mutex<Option<Instant>>,
    /// What replicas have missed. Lock order: alone.
    pub(crate) repairs: Mutex<RepairQueue>,
    /// Writes to single replicas that have no answer yet.
    pub(crate) unanswered: AtomicUsize,
    /// Whether a task sees to the repairs.
    pub(crate) repairing: AtomicBool,
    /// Who is told what happens.
    pub(crate) events: Events,
    /// Loads under way.
    pub(crate) flights: Flights,
    /// What was read a moment ago.
    pub(crate) near: NearCaches,
    /// Lock order: alone.
    miss_fallback: Mutex<Budgeted<MissFallback>>,
    /// Lock order: alone.
    hedge: Mutex<Budgeted<Hedge>>,
    /// Lock order: before `closed`.
    zone_order: Mutex<ZoneOrder>,
    /// Keys read, counted apart from the policies, so that hits take no lock.
    reads: AtomicU64,
    /// Held while a topology is made ready, so that one comes after the other. Lock order: before all others.
    adopting: tokio::sync::Mutex<()>,
    /// Held while a topology is put in force, and by `close`.
    closed: Mutex<bool>,
    /// Follows the topology while the client lives.
    #[cfg(feature = "discovery")]
    pub(crate) watch: Mutex<Option<evanesce_membership::TopologyWatch>>,
    /// Tells which nodes miss what nobody will bring them.
    #[cfg(feature = "discovery")]
    pub(crate) reporter: std::sync::OnceLock<Arc<evanesce_membership::Reporter>>,
    /// Whether a task tells.
    #[cfg(feature = "discovery")]
    pub(crate) telling: AtomicBool,
}

impl Core {
    pub(crate) fn new(settings: Settings, events: Events) -> Self {
        Self {
            metrics: Metrics::register(&settings.cluster),
            home_writes: Arc::new(Semaphore::new(HOME_WRITES_MAX)),
            aftermaths: Arc::new(Semaphore::new(AFTERMATHS_MAX)),
            chunk_writes: Semaphore::new(CHUNK_WRITES_MAX),
            cluster: ArcSwapOption::empty(),
            clock: VersionClock::new(settings.ambient.random()),
            doubted: Mutex::default(),
            repairs: Mutex::new(RepairQueue::new(settings.repair_bytes_max)),
            unanswered: AtomicUsize::new(0),
            repairing: AtomicBool::new(false),
            events,
            flights: Flights::default(),
            #[cfg(feature = "near-cache")]
            near: NearCaches::new(&settings.cluster, &settings.near),
            #[cfg(not(feature = "near-cache"))]
            near: NearCaches,
            miss_fallback: Mutex::new(Budgeted::new(MissFallback::new(settings.miss_fallback_share))),
            hedge: Mutex::new(Budgeted::new(Hedge::new(settings.hedge_share))),
            zone_order: Mutex::default(),
            reads: AtomicU64::new(0),
            adopting: tokio::sync::Mutex::default(),
            closed: Mutex::new(false),
            settings,
            #[cfg(feature = "discovery")]
            watch: Mutex::new(None),
            #[cfg(feature = "discovery")]
            reporter: std::sync::OnceLock::new(),
            #[cfg(feature = "discovery")]
            telling: AtomicBool::new(false),
        }
    }

    /// The present topology; `None` once closed.
    pub(crate) fn cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster.load_full()
    }

    /// Puts a topology in force, once its new nodes are connected or known to be away, since what a node is sent depends
    /// on what it says first. One that breaks its rules, or has no node, is refused and the present one stays.
    pub(crate) async fn adopt(&self, topology: Arc<Topology>) -> Result<(), PlacementError> {
        let adopting = self.adopting.lock().await;
        let Some(cluster) = self.prepare(topology)? else { return Ok(()) };
        join_all(cluster.members().map(|member| member.link.connection.settled())).await;
        let before = self.cluster();
        self.install(&cluster);
        if let Some(before) = before {
            hand_to_newcomers(self, &before, &cluster);
        }
        drop(adopting);
        align_clock(self, &cluster, Instant::now() + TIMEOUT_MAX).await;
        Ok(())
    }

    /// Starts to connect to the nodes that are new; `None` when the topology is not to be used.
    fn prepare(&self, topology: Arc<Topology>) -> Result<Option<Arc<Cluster>>, PlacementError> {
        let before = self.cluster.load_full();
        if *self.closed.lock() {
            return Ok(None);
        }
        if topology.groups.iter().all(|group| group.nodes.is_empty()) && before.is_some() {
            warn!(cluster = %topology.cluster, epoch = topology.epoch.0, "refused a topology without nodes");
            return Ok(None);
        }
        let cluster = Cluster::new(topology, &self.settings, before.as_deref())?;
        let mut order = self.zone_order.lock();
        *order = order.renewed(cluster.zones(), &self.settings.zone);
        Ok(Some(Arc::new(cluster.in_order(&order.zones()))))
    }

    fn install(&self, cluster: &Arc<Cluster>) {
        let closed = self.closed.lock();
        if *closed {
            return;
        }
        for member in cluster.members() {
            member.link.note_greeting();
        }
        let epoch = cluster.placement().topology().epoch.0;
        info!(cluster = %self.settings.cluster, epoch, groups = cluster.groups(), "topology in force");
        self.metrics.epoch.set(epoch as f64);
        self.cluster.store(Some(Arc::clone(cluster)));
        self.events.tell(&Event::TopologyAdopted {
            epoch,
            nodes: cluster.members().count(),
            resized: cluster.resized().map(str::to_owned).collect(),
        });
    }

    /// Ends it. Operations under way hold their cluster and finish.
    pub(crate) fn close(&self) -> Option<Arc<Cluster>> {
        let mut closed = self.closed.lock();
        *closed = true;
        self.cluster.swap(None)
    }

    /// `node` has missed this write: it gets it once it is back.
    pub(crate) fn missed(self: &Arc<Self>, node: NodeId, repair: Repair) {
        let given_up = self.repairs.lock().put(node, repair);
        self.gave_up(given_up);
        wake(self);
    }

    /// So many writes were given up that nodes have missed.
    pub(crate) fn gave_up(self: &Arc<Self>, count: u64) {
        if count == 0 {
            return;
        }
        self.metrics.repairs_dropped.increment(count);
        #[cfg(feature = "discovery")]
        crate::repair::tell(self);
    }

    /// Whether `member` has missed a write of this key, and is to be asked for it only when nobody else is there.
    pub(crate) fn owes(&self, member: &Member, key: &Key) -> bool {
        self.repairing.load(Ordering::Acquire) && self.repairs.lock().misses(&member.id(), key)
    }

    /// Publishes how many writes are missing somewhere. Returns whether any is.
    pub(crate) fn show_repairs(&self) -> bool {
        let repairs = self.repairs.lock();
        let (pending, bytes) = (repairs.len(), repairs.bytes());
        drop(repairs);
        self.metrics.repairs_pending.set(pending as f64);
        self.metrics.repair_bytes.set(bytes as f64);
        pending > 0
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    pub(crate) fn count_reads(&self, reads: u64) {
        self.reads.fetch_add(reads, Ordering::Relaxed);
    }

    /// Whether a miss is asked elsewhere.
    pub(crate) fn falls_back_on_miss(&self) -> bool {
        let mut budgeted = self.miss_fallback.lock();
        let reads = budgeted.new_reads(&self.reads);
        budgeted.policy.on_reads(reads);
        let granted = budgeted.policy.on_miss();
        drop(budgeted);
        if granted {
            self.metrics.miss_fallbacks.increment(1);
        } else {
            self.metrics.miss_refusals.increment(1);
        }
        granted
    }

    /// A fallback after a miss was answered.
    pub(crate) fn miss_fallback_answered(&self, found: bool) {
        self.miss_fallback.lock().policy.on_answer(found);
        if found {
            self.metrics.miss_fallback_hits.increment(1);
        }
    }

    /// When a read that `member` has not answered is slow; `None` when it is not to be hedged.
    pub(crate) fn hedge_delay(&self, member: &Member) -> Option<Duration> {
        if self.settings.hedge_share == 0.0 {
            return None;
        }
        let link = &member.link;
        Hedge::delay(link.round_trips.p95(), self.settings.read_attempt_timeout, !link.is_calm())
    }

    /// Another node to ask for a slow read, if that is worth it.
    pub(crate) fn spare<'a>(&self, walk: &mut Walk<'a>) -> Option<&'a Arc<Member>> {
        let mut ahead = walk.clone();
        let spare = ahead.next_well(Instant::now());
        let state = match spare {
            None => Spare::Open,
            Some(spare) if spare.link.is_full() => Spare::Full,
            Some(_) => Spare::Ready,
        };
        let mut budgeted = self.hedge.lock();
        let reads = budgeted.new_reads(&self.reads);
        budgeted.policy.on_reads(reads);
        if !budgeted.policy.on_slow(state) {
            self.metrics.hedge_refusals.increment(1);
            return None;
        }
        drop(budgeted);
        *walk = ahead;
        self.metrics.hedges.increment(1);
        spare
    }

    /// A node of `zone` answered after `took`: reads go on to the zones that answer fastest.
    pub(crate) fn zone_answered(&self, zone: &str, took: Duration) {
        let mut order = self.zone_order.lock();
        let Some(at) = order.position(zone) else { return };
        if !order.on_answer(at, took) {
            return;
        }
        let closed = self.closed.lock();
        let Some(cluster) = self.cluster.load_full().filter(|_| !*closed) else { return };
        let zones = order.zones();
        debug!(cluster = %self.settings.cluster, ?zones, "another zone is nearer now");
        self.cluster.store(Some(Arc::new(cluster.in_order(&zones))));
    }

    /// This machine's clock.
    pub(crate) fn now(&self) -> SystemTime {
        self.settings.ambient.now()
    }

    /// What this client takes from its machine.
    pub(crate) fn ambient(&self) -> &Ambient {
        &self.settings.ambient
    }

    /// The time as most nodes have it: what expiries are computed with, since it is nodes that watch them.
    pub(crate) fn nodes_now(&self) -> SystemTime {
        self.clock.corrected(self.now())
    }
}

/// A policy with a budget in reads, and how many reads it knows of.
struct Budgeted<P> {
    policy: P,
    reads: u64,
}

impl<P> Budgeted<P> {
    fn new(policy: P) -> Self {
        Self { policy, reads: 0 }
    }

    /// Reads since the last time.
    fn new_reads(&mut self, reads: &AtomicU64) -> u64 {
        let reads = reads.load(Ordering::Relaxed);
        reads.saturating_sub(std::mem::replace(&mut self.reads, reads))
    }
}

#[cfg(test)]
pub(crate) mod tests;
