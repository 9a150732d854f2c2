//! What the client counts. Handles are looked up once, when the client is made.

use evanesce_transport::Traffic;
use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

/// Keys read, by `outcome`: `hit`, `miss`, `error`.
const READS: &str = "evanesce_client_reads_total";
/// Reads asked in another zone, by `reason`: `error`, `miss`.
const FALLBACKS: &str = "evanesce_client_fallbacks_total";
/// Keys loaded through `get_or_load`, by `outcome`: `loaded` by this process, `elsewhere` by another one while this one waited,
/// `failed`.
const LOADS: &str = "evanesce_client_loads_total";
/// Items served beyond their TTL while they were loaded anew.
const STALE_SERVED: &str = "evanesce_client_stale_served_total";
/// Second requests for reads that took longer than usual.
const HEDGES: &str = "evanesce_client_hedges_total";
/// Hedges that answered first.
const HEDGES_WON: &str = "evanesce_client_hedges_won_total";
/// Fallbacks after a miss that found the item.
const MISS_FALLBACK_HITS: &str = "evanesce_client_miss_fallback_hits_total";
/// Replica writes, by `outcome`: `acked`, `failed`.
const REPLICA_WRITES: &str = "evanesce_client_replica_writes_total";
/// Writes that a replica had missed, by `outcome`: `done`, `superseded` by something newer there, `refused` by the node,
/// `dropped` for lack of room.
const REPAIRS: &str = "evanesce_client_repairs_total";
/// Writes that some replica has missed and does not have yet.
const REPAIRS_PENDING: &str = "evanesce_client_repairs_pending";
/// Bytes that they take.
const REPAIR_BYTES: &str = "evanesce_client_repair_bytes";
/// Items copied to a replica that missed a read, from the one that had it.
const READ_REPAIRS: &str = "evanesce_client_read_repairs_total";
/// Writes that a replica knew something newer for.
const SUPERSEDED: &str = "evanesce_client_superseded_total";
/// Reads that looked into the near cache of their key, by `namespace` and `outcome`: `hit`, `miss`.
#[cfg(feature = "near-cache")]
const NEAR_READS: &str = "evanesce_client_near_cache_reads_total";
/// Items that a near cache had no room for, by `namespace`.
#[cfg(feature = "near-cache")]
const NEAR_EVICTIONS: &str = "evanesce_client_near_cache_evictions_total";
/// What a near cache holds, by `namespace`.
#[cfg(feature = "near-cache")]
const NEAR_BYTES: &str = "evanesce_client_near_cache_bytes";
/// Writes that did not meet their latch policy.
const WRITE_FAILURES: &str = "evanesce_client_write_failures_total";
/// Bytes that went between this client and nodes of other zones than its own, by `direction`, `read` or `written`, and
/// `zone`, the other one. None while the client was not told its own.
const CROSS_ZONE_BYTES: &str = "evanesce_client_cross_zone_bytes_total";
/// What single reads, and bulk reads that are hedged, took at one node, in seconds, by `zone`.
const ATTEMPT_SECONDS: &str = "evanesce_client_attempt_seconds";
/// Requests that were not sent, by `zone` and `reason`: `overloaded`, as many reads as the node bears are under way; `queue_full`,
/// as many requests as its connection holds.
const REFUSED: &str = "evanesce_client_refused_total";
/// Nodes whose breaker keeps reads away from them, by `zone`.
const BREAKERS_OPEN: &str = "evanesce_client_breakers_open";
/// What the budgets did not allow, by `reason`: `miss`, not asked in another zone; `hedge`, not asked a second time.
const BUDGET_REFUSALS: &str = "evanesce_client_budget_refusals_total";
/// The epoch in force.
const EPOCH: &str = "evanesce_client_topology_epoch";

/// The handles of one client, labelled with its cluster.
pub(crate) struct Metrics {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) read_errors: Counter,
    pub(crate) error_fallbacks: Counter,
    pub(crate) miss_fallbacks: Counter,
    pub(crate) loads: Counter,
    pub(crate) loads_elsewhere: Counter,
    pub(crate) load_failures: Counter,
    pub(crate) stale_served: Counter,
    pub(crate) hedges: Counter,
    pub(crate) hedges_won: Counter,
    pub(crate) miss_fallback_hits: Counter,
    pub(crate) replica_acks: Counter,
    pub(crate) replica_failures: Counter,
    pub(crate) write_failures: Counter,
    pub(crate) repairs_done: Counter,
    pub(crate) repairs_superseded: Counter,
    pub(crate) repairs_refused: Counter,
    pub(crate) repairs_dropped: Counter,
    pub(crate) repairs_pending: Gauge,
    pub(crate) repair_bytes: Gauge,
    pub(crate) read_repairs: Counter,
    pub(crate) superseded: Counter,
    pub(crate) miss_refusals: Counter,
    pub(crate) hedge_refusals: Counter,
    pub(crate) epoch: Gauge,
}

impl Metrics {
    pub(crate) fn register(cluster: &str) -> Self {
        describe();
        let labelled = |name: &'static str, label: &'static str, value: &'static str| counter!(name, "cluster" => cluster.to_owned(), label => value);
        let plain = |name: &'static str| counter!(name, "cluster" => cluster.to_owned());
        Self {
            hits: labelled(READS, "outcome", "hit"),
            misses: labelled(READS, "outcome", "miss"),
            read_errors: labelled(READS, "outcome", "error"),
            error_fallbacks: labelled(FALLBACKS, "reason", "error"),
            miss_fallbacks: labelled(FALLBACKS, "reason", "miss"),
            loads: labelled(LOADS, "outcome", "loaded"),
            loads_elsewhere: labelled(LOADS, "outcome", "elsewhere"),
            load_failures: labelled(LOADS, "outcome", "failed"),
            stale_served: plain(STALE_SERVED),
            hedges: plain(HEDGES),
            hedges_won: plain(HEDGES_WON),
            miss_fallback_hits: plain(MISS_FALLBACK_HITS),
            replica_acks: labelled(REPLICA_WRITES, "outcome", "acked"),
            replica_failures: labelled(REPLICA_WRITES, "outcome", "failed"),
            write_failures: plain(WRITE_FAILURES),
            repairs_done: labelled(REPAIRS, "outcome", "done"),
            repairs_superseded: labelled(REPAIRS, "outcome", "superseded"),
            repairs_refused: labelled(REPAIRS, "outcome", "refused"),
            repairs_dropped: labelled(REPAIRS, "outcome", "dropped"),
            repairs_pending: gauge!(REPAIRS_PENDING, "cluster" => cluster.to_owned()),
            repair_bytes: gauge!(REPAIR_BYTES, "cluster" => cluster.to_owned()),
            read_repairs: plain(READ_REPAIRS),
            superseded: plain(SUPERSEDED),
            miss_refusals: labelled(BUDGET_REFUSALS, "reason", "miss"),
            hedge_refusals: labelled(BUDGET_REFUSALS, "reason", "hedge"),
            epoch: gauge!(EPOCH, "cluster" => cluster.to_owned()),
        }
    }
}

/// The handles of one near cache, labelled with its cluster and its namespace.
#[cfg(feature = "near-cache")]
pub(crate) struct NearMetrics {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) evictions: Counter,
    pub(crate) bytes: Gauge,
}

#[cfg(feature = "near-cache")]
impl NearMetrics {
    pub(crate) fn register(cluster: &str, namespace: &str) -> Self {
        let labels = || [("cluster", cluster.to_owned()), ("namespace", namespace.to_owned())];
        let reads = |outcome: &'static str| {
            let [cluster, namespace] = labels();
            counter!(NEAR_READS, &[cluster, namespace, ("outcome", outcome.to_owned())])
        };
        describe_counter!(NEAR_READS, "reads that looked into a near cache, by outcome: hit, miss");
        describe_counter!(NEAR_EVICTIONS, "items that a near cache had no room for");
        describe_gauge!(NEAR_BYTES, "bytes that a near cache holds");
        Self {
            hits: reads("hit"),
            misses: reads("miss"),
            evictions: counter!(NEAR_EVICTIONS, &labels()),
            bytes: gauge!(NEAR_BYTES, &labels()),
        }
    }
}

/// The handles of one node, labelled with its cluster and its zone.
#[derive(Debug)]
pub(crate) struct NodeMetrics {
    pub(crate) attempt_seconds: Histogram,
    pub(crate) overloaded: Counter,
    pub(crate) queue_full: Counter,
    pub(crate) breakers_open: Gauge,
}

impl NodeMetrics {
    pub(crate) fn register(cluster: &str, zone: &str) -> Self {
        let labels = || [("cluster", cluster.to_owned()), ("zone", zone.to_owned())];
        let refused = |reason: &'static str| {
            let [cluster, zone] = labels();
            counter!(REFUSED, &[cluster, zone, ("reason", reason.to_owned())])
        };
        Self {
            attempt_seconds: histogram!(ATTEMPT_SECONDS, &labels()),
            overloaded: refused("overloaded"),
            queue_full: refused("queue_full"),
            breakers_open: gauge!(BREAKERS_OPEN, &labels()),
        }
    }
}

/// What counts the bytes that go between this client and nodes of another zone.
pub(crate) fn cross_zone(cluster: &str, zone: &str) -> Traffic {
    let counter = |direction: &'static str| {
        let (cluster, zone) = (cluster.to_owned(), zone.to_owned());
        counter!(CROSS_ZONE_BYTES, "cluster" => cluster, "direction" => direction, "zone" => zone)
    };
    Traffic { read: counter("read"), written: counter("written") }
}

fn describe() {
    describe_counter!(CROSS_ZONE_BYTES, "bytes to and from nodes of other zones, by direction and zone");
    describe_counter!(READS, "keys read, by outcome: hit, miss, error");
    describe_counter!(FALLBACKS, "reads asked in another zone, by reason: error, miss");
    describe_counter!(LOADS, "keys loaded through get_or_load, by outcome: loaded, elsewhere, failed");
    describe_counter!(STALE_SERVED, "items served beyond their TTL while they were loaded anew");
    describe_counter!(HEDGES, "second requests for reads that took longer than usual");
    describe_counter!(HEDGES_WON, "hedges that answered first");
    describe_counter!(MISS_FALLBACK_HITS, "fallbacks after a miss that found the item");
    describe_counter!(REPLICA_WRITES, "writes to single replicas, by outcome: acked, failed");
    describe_counter!(WRITE_FAILURES, "writes that did not meet their latch policy");
    describe_counter!(
        REPAIRS,
        "writes that a replica had missed, by outcome: done, superseded, refused, dropped"
    );
    describe_gauge!(REPAIRS_PENDING, "writes that some replica has missed and does not have yet");
    describe_gauge!(REPAIR_BYTES, "bytes that the writes which some replica has missed take");
    describe_counter!(READ_REPAIRS, "items copied to a replica that missed a read");
    describe_counter!(SUPERSEDED, "writes that a replica knew something newer for");
    describe_histogram!(
        ATTEMPT_SECONDS,
        Unit::Seconds,
        "what single reads, and bulk reads that are hedged, took at one node"
    );
    describe_counter!(REFUSED, "requests that were not sent, by reason: overloaded, queue_full");
    describe_gauge!(BREAKERS_OPEN, "nodes whose breaker keeps reads away from them");
    describe_counter!(BUDGET_REFUSALS, "what the budgets did not allow, by reason: miss, hedge");
    describe_gauge!(EPOCH, "epoch of the topology in force");
}
