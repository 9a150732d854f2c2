//! What all workers of a node share, and the statistics drawn from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use evanesce_admin::DrainSignal;
use evanesce_front::{Connection, FrontStats, StatsHandle};
use evanesce_store::{NamespaceConfig, NamespaceStats, Start, Store, StoreStats, Time};
use evanesce_wire::{CAPABILITY_VERSIONS, MEMCACHED_VERSION};
use parking_lot::Mutex;
use tracing::warn;

use crate::clock::Clock;
use crate::commands::{CommandSums, Commands};
use crate::cut::Cut;
use crate::execute::CLASS;
use crate::namespaces::{Namespace, namespaces};
use crate::promises::Promises;
use crate::reconcile::{AWAY_LONG, Divergence, DivergenceCounts, Standing};
use crate::resize::{Resize, ResizeCounts};
use crate::settings::Facts;
use crate::settling::{SETTLING_MS, Settling};
use crate::warm::{Progress, WarmCounts};
use crate::watch::{WatchCounts, Watchers};

/// The release of Evanesce, as x.y.z.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What all workers of a node share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    /// One set for each worker.
    pub(crate) commands: Vec<Commands>,
    /// Steps of proactive expiry so far.
    pub(crate) expiry_steps: AtomicU64,
    /// Flushes that operators asked for; those of clients are among the commands.
    flushes: AtomicU64,
    front: Option<StatsHandle>,
    pub(crate) facts: Facts,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) settling: Settling,
    pub(crate) promises: Promises,
    /// Whether it has what it is to hold, and may give it to peers.
    pub(crate) gives: AtomicBool,
    /// What was given to peers, and taken from them.
    pub(crate) warm: Progress,
    /// What it may have missed.
    pub(crate) standing: Standing,
    /// Whether it compares with siblings, and so makes up for that.
    pub(crate) reconciles: AtomicBool,
    /// Connections from before it was away for long.
    pub(crate) cut: Cut,
    /// How far it differs from its siblings.
    pub(crate) divergence: Divergence,
    /// The rings of its group.
    pub(crate) resize: Resize,
    /// Asks the node to end.
    pub(crate) drain: DrainSignal,
    /// As configured.
    namespaces: Vec<NamespaceConfig>,
    baseline: Mutex<Baseline>,
}

/// All counters at one moment.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) commands: CommandSums,
    pub(crate) front: FrontStats,
    pub(crate) store: StoreStats,
    pub(crate) watch: WatchCounts,
    pub(crate) warm: WarmCounts,
    pub(crate) divergence: DivergenceCounts,
    pub(crate) resize: ResizeCounts,
}

/// What `stats` counts from.
#[derive(Debug, Default)]
struct Baseline {
    counts: Counts,
    /// In the order of the namespaces; empty means 0 for all.
    namespaces: Vec<NamespaceStats>,
}

impl Shared {
    pub(crate) fn new(
        store: Store,
        clock: Clock,
        threads: usize,
        front: Option<StatsHandle>,
        facts: Facts,
    ) -> Self {
        let watchers = Arc::<Watchers>::default();
        let told = Arc::clone(&watchers);
        let ran = match store.start() {
            Start::Warm(warm) => Some(warm.ran),
            _ => None,
        };
        let standing = Standing::new(clock.now(), ran);
        store.observe_evictions(move |evicted| told.evicted(evicted, || clock.now()));
        Self {
            store,
            clock,
            commands: (0..threads).map(|_| Commands::default()).collect(),
            expiry_steps: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            front,
            facts,
            watchers,
            settling: Settling::default(),
            promises: Promises::default(),
            gives: AtomicBool::new(true),
            warm: Progress::default(),
            standing,
            reconciles: AtomicBool::new(false),
            cut: Cut::default(),
            divergence: Divergence::default(),
            resize: Resize::default(),
            drain: DrainSignal::new(),
            namespaces: Vec::new(),
            baseline: Mutex::default(),
        }
    }

    /// Tells the namespaces that the store was made with.
    pub(crate) fn with_namespaces(self, namespaces: Vec<NamespaceConfig>) -> Self {
        Self { namespaces, ..self }
    }

    /// All counters since the start, whatever `stats reset` was sent.
    pub(crate) fn counts(&self) -> Counts {
        let mut commands = CommandSums::default();
        self.commands.iter().for_each(|worker| commands.add(worker));
        commands.cmd_flush += self.flushes.load(Ordering::Relaxed);
        let front = self.front.as_ref().map(StatsHandle::stats).unwrap_or_default();
        Counts {
            commands,
            front,
            store: self.store.stats(),
            watch: self.watchers.counts(),
            warm: self.warm.counts(),
            divergence: self.divergence.counts(),
            resize: self.resize.counts(),
        }
    }

    /// Whether a delete of what is not here is to be remembered: what it is to delete may be on its way from another node, or
    /// have been evicted here alone.
    pub(crate) fn remembers_deletes(&self) -> bool {
        self.reconciles.load(Ordering::Relaxed) || self.resize.is_on() || !self.gives.load(Ordering::Acquire)
    }

    /// Notes that a batch of requests came, before they are executed.
    pub(crate) fn note_request(&self, now: Time) {
        self.settling.note(now, |away| self.was_away(away, now));
    }

    /// For how many milliseconds more others are to be read, and to decide; `None` when this node may.
    pub(crate) fn settles_for_ms(&self, now: Time) -> Option<u64> {
        let left = self.settling.left_ms(now);
        if self.standing.is_kept_back() { left.max(Some(SETTLING_MS)) } else { left }
    }

    /// The process did not run for so long. After a long time nothing is answered before it is known.
    fn was_away(&self, away: Duration, now: Time) {
        if away < AWAY_LONG || !self.reconciles.load(Ordering::Acquire) {
            return;
        }
        self.standing.note(now, self.store.stats().evictions);
        self.standing.keep_back(Time(now.0.saturating_sub(away.as_millis() as u64)), now);
        self.cut.all(self.connections().into_iter().map(|(connection, _)| connection.id()));
        warn!(?away, "this node did not run: read by nobody who finds another until it has compared");
    }

    /// Notes that the process runs, and what it has evicted.
    pub(crate) fn note_running(&self) {
        let now = self.clock.now();
        self.note_request(now);
        self.store.note_ran(now);
        self.standing.note(now, self.store.stats().evictions);
    }

    /// The open connections, each with how long its peer has been silent.
    pub(crate) fn connections(&self) -> Vec<(Arc<Connection>, Duration)> {
        self.front.as_ref().map(StatsHandle::connections).unwrap_or_default()
    }

    /// Counts from now on for `stats`. What metrics show is not touched.
    pub(crate) fn reset(&self) {
        let counts = self.counts();
        let namespaces = self.store.namespace_stats();
        *self.baseline.lock() = Baseline { counts, namespaces };
    }

    /// What each namespace holds and was asked since the start, `default` first.
    pub(crate) fn namespaces(&self) -> Vec<Namespace> {
        namespaces(&self.store, &self.namespaces)
    }

    /// What `stats namespaces` tells.
    pub(crate) fn namespace_stats(&self) -> Vec<(String, String)> {
        let namespaces = self.namespaces();
        let none = NamespaceStats::default();
        let baseline = self.baseline.lock();
        let told = namespaces
            .iter()
            .enumerate()
            .flat_map(|(index, namespace)| namespace.told(baseline.namespaces.get(index).unwrap_or(&none)));
        told.collect()
    }

    /// Drops all items of a namespace at once, or of all for an empty name. Answers how many items were there, expired
    /// ones that nobody has found out included; `None` where there is no such namespace.
    pub(crate) fn flush(&self, namespace: &str) -> Option<u64> {
        let now = self.clock.now();
        let items = if namespace.is_empty() {
            let items = self.store.stats().items;
            self.store.flush(now);
            items
        } else {
            let stats = self.store.namespace_stats().into_iter().find(|stats| stats.name == namespace)?;
            self.store.flush_namespace(namespace, now);
            stats.items
        };
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Some(items)
    }

    /// What `stats` tells, in memcached's order where the name is memcached's.
    pub(crate) fn stats(&self) -> Vec<(&'static str, String)> {
        let before = self.baseline.lock().counts;
        let counts = self.counts();
        let mut stats = self.process_stats();
        stats.extend(numbers(&connection_stats(&counts.front, &before.front)));
        stats.extend(numbers(&command_stats(&counts.commands.since(&before.commands))));
        stats.extend(numbers(&traffic_stats(&counts.front, &before.front, counts.store.limit_bytes)));
        stats.extend(numbers(&watch_stats(counts.watch)));
        stats.extend(numbers(&item_stats(&counts.store, &before.store)));
        stats.extend(numbers(&own_stats(&counts.front, &before.front)));
        let protection = counts.front.protection_since(&before.front);
        stats.extend(protection.map(|(name, number)| (name, number.to_string())));
        stats.extend(numbers(&version_stats(&counts.commands.since(&before.commands))));
        stats.push(("evanesce_capabilities", CAPABILITY_VERSIONS.to_owned()));
        stats.push(("evanesce_expiry_steps", self.expiry_steps.load(Ordering::Relaxed).to_string()));
        stats.push(("evanesce_version", VERSION.to_owned()));
        stats.extend(numbers(&warm_stats(&counts.warm)));
        stats.extend(numbers(&counts.divergence.told()));
        stats.extend(numbers(&resize_stats(&counts.resize)));
        stats
    }

    /// What `stats items` tells: of the one class that there is, if there is anything.
    pub(crate) fn item_stats(&self) -> Vec<(String, String)> {
        let before = self.baseline.lock().counts;
        let counts = self.counts();
        let (store, past) = (&counts.store, &before.store);
        if store.items == 0 {
            return Vec::new();
        }
        let no_memory = counts.commands.since(&before.commands).store_no_memory;
        let numbers = [
            ("number", store.items),
            ("mem_requested", store.item_bytes),
            ("evicted", store.evictions.saturating_sub(past.evictions)),
            ("outofmemory", no_memory),
            ("reclaimed", store.expired.saturating_sub(past.expired)),
            ("expired_unfetched", store.expired_unfetched.saturating_sub(past.expired_unfetched)),
            ("evicted_unfetched", store.evicted_unfetched.saturating_sub(past.evicted_unfetched)),
        ];
        let told = |(name, number): (&str, u64)| (format!("items:{CLASS}:{name}"), number.to_string());
        numbers.into_iter().map(told).collect()
    }

    /// What `stats slabs` tells: of the one class that there is, if there is anything, and of all memory.
    pub(crate) fn slab_stats(&self) -> Vec<(String, String)> {
        let before = self.baseline.lock().counts;
        let counts = self.counts();
        let commands = counts.commands.since(&before.commands);
        let numbers = [
            ("used_chunks", counts.store.items),
            ("get_hits", commands.get_hits),
            ("cmd_set", commands.cmd_set),
            ("delete_hits", commands.delete_hits),
            ("incr_hits", commands.incr_hits),
            ("decr_hits", commands.decr_hits),
            ("cas_hits", commands.cas_hits),
            ("cas_badval", commands.cas_badval),
            ("touch_hits", commands.touch_hits),
        ];
        let active = u64::from(counts.store.items > 0);
        let class = numbers.into_iter().filter(|_| active > 0);
        let told = |(name, number): (&str, u64)| (format!("{CLASS}:{name}"), number.to_string());
        let all = [("active_slabs", active), ("total_malloced", counts.store.bytes)];
        class.map(told).chain(all.map(|(name, number)| (name.to_owned(), number.to_string()))).collect()
    }

    fn process_stats(&self) -> Vec<(&'static str, String)> {
        let mut stats = vec![
            ("pid", std::process::id().to_string()),
            ("uptime", (self.clock.uptime_ms() / 1000).to_string()),
            ("time", (self.clock.now().0 / 1000).to_string()),
            ("version", MEMCACHED_VERSION.to_owned()),
            ("pointer_size", usize::BITS.to_string()),
        ];
        if let Some((user, system)) = processor_times() {
            stats.extend([("rusage_user", user), ("rusage_system", system)]);
        }
        stats
    }
}

/// Processor time of this process, its own and the system's for it, in seconds; `None` where the system does not tell.
fn processor_times() -> Option<(String, String)> {
    // Linux counts in hundredths for everybody. The name of the process, which may hold anything, ends at the last `)`.
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut secs = || {
        let hundredths: u64 = fields.next()?.parse().ok()?;
        Some(format!("{}.{:06}", hundredths / 100, hundredths % 100 * 10_000))
    };
    Some((secs()?, secs()?))
}

fn numbers(stats: &[(&'static str, u64)]) -> impl Iterator<Item = (&'static str, String)> {
    stats.iter().map(|(name, number)| (*name, number.to_string()))
}

fn warm_stats(counts: &WarmCounts) -> [(&'static str, u64); 8] {
    [
        ("evanesce_warm_up_items", counts.taken),
        ("evanesce_warm_up_refused", counts.refused),
        ("evanesce_warm_up_bytes", counts.bytes),
        ("evanesce_warm_up_ms", counts.millis),
        ("evanesce_warm_up_stream_ms", counts.stream_ms),
        ("evanesce_warm_up_per_mille", counts.per_mille),
        ("evanesce_given_items", counts.given),
        ("evanesce_given_bytes", counts.given_bytes),
    ]
}

fn resize_stats(counts: &ResizeCounts) -> [(&'static str, u64); 8] {
    [
        ("evanesce_rings", counts.rings),
        ("evanesce_forwarded", counts.forwarded),
        ("evanesce_forward_pending", counts.forward_pending),
        ("evanesce_forward_dropped", counts.forward_dropped),
        ("evanesce_dropped_foreign", counts.dropped),
        ("evanesce_fill_verified_items", counts.verified[0]),
        ("evanesce_fill_verified_mended", counts.verified[1]),
        ("evanesce_fill_verified_left", counts.verified[2]),
    ]
}

fn connection_stats(now: &FrontStats, before: &FrontStats) -> [(&'static str, u64); 5] {
    [
        ("max_connections", now.connections_max),
        ("curr_connections", now.curr_connections),
        ("total_connections", now.total_connections.saturating_sub(before.total_connections)),
        ("rejected_connections", now.rejected_connections.saturating_sub(before.rejected_connections)),
        ("connection_structures", now.curr_connections),
    ]
}

fn command_stats(counts: &CommandSums) -> [(&'static str, u64); 20] {
    [
        ("cmd_get", counts.cmd_get),
        ("cmd_set", counts.cmd_set),
        ("cmd_flush", counts.cmd_flush),
        ("cmd_touch", counts.cmd_touch),
        ("cmd_meta", counts.cmd_meta),
        ("get_hits", counts.get_hits),
        ("get_misses", counts.get_misses),
        ("delete_misses", counts.delete_misses),
        ("delete_hits", counts.delete_hits),
        ("incr_misses", counts.incr_misses),
        ("incr_hits", counts.incr_hits),
        ("decr_misses", counts.decr_misses),
        ("decr_hits", counts.decr_hits),
        ("cas_misses", counts.cas_misses),
        ("cas_hits", counts.cas_hits),
        ("cas_badval", counts.cas_badval),
        ("touch_hits", counts.touch_hits),
        ("touch_misses", counts.touch_misses),
        ("store_too_large", counts.store_too_large),
        ("store_no_memory", counts.store_no_memory),
    ]
}

fn traffic_stats(now: &FrontStats, before: &FrontStats, limit_bytes: u64) -> [(&'static str, u64); 7] {
    [
        ("auth_cmds", now.auth_cmds.saturating_sub(before.auth_cmds)),
        ("auth_errors", now.auth_errors.saturating_sub(before.auth_errors)),
        ("bytes_read", now.bytes_read.saturating_sub(before.bytes_read)),
        ("bytes_written", now.bytes_written.saturating_sub(before.bytes_written)),
        ("limit_maxbytes", limit_bytes),
        ("accepting_conns", 1),
        ("threads", now.threads as u64),
    ]
}

fn item_stats(now: &StoreStats, before: &StoreStats) -> [(&'static str, u64); 9] {
    [
        ("bytes", now.bytes),
        ("curr_items", now.items),
        ("total_items", now.items_total.saturating_sub(before.items_total)),
        ("expired_unfetched", now.expired_unfetched.saturating_sub(before.expired_unfetched)),
        ("evicted_unfetched", now.evicted_unfetched.saturating_sub(before.evicted_unfetched)),
        ("evictions", now.evictions.saturating_sub(before.evictions)),
        ("reclaimed", now.expired.saturating_sub(before.expired)),
        ("expired", now.expired.saturating_sub(before.expired)),
        ("flushed", now.flushed.saturating_sub(before.flushed)),
    ]
}

/// Of `watch`.
fn watch_stats(counts: WatchCounts) -> [(&'static str, u64); 3] {
    [
        ("log_watcher_skipped", counts.skipped),
        ("log_watcher_sent", counts.sent),
        ("log_watchers", counts.watchers),
    ]
}

/// Of versions that requests carried.
fn version_stats(counts: &CommandSums) -> [(&'static str, u64); 2] {
    [("evanesce_superseded", counts.superseded), ("evanesce_clock_refused", counts.clock_refused)]
}

/// What memcached has no name for.
fn own_stats(now: &FrontStats, before: &FrontStats) -> [(&'static str, u64); 10] {
    [
        ("evanesce_requests", now.requests.saturating_sub(before.requests)),
        ("evanesce_batches", now.batches.saturating_sub(before.batches)),
        ("evanesce_refused_requests", now.refused_requests.saturating_sub(before.refused_requests)),
        ("evanesce_input_exhausted", now.input_exhausted.saturating_sub(before.input_exhausted)),
        ("evanesce_output_exhausted", now.output_exhausted.saturating_sub(before.output_exhausted)),
        ("evanesce_stalled_connections", now.stalled_connections.saturating_sub(before.stalled_connections)),
        ("evanesce_idle_connections", now.idle_connections.saturating_sub(before.idle_connections)),
        ("evanesce_accept_errors", now.accept_errors.saturating_sub(before.accept_errors)),
        ("evanesce_input_bytes", now.input_bytes),
        ("evanesce_output_bytes", now.output_bytes),
    ]
}
