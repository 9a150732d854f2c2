//! What the store tells about itself.

/// Counts and sizes, summed over all shards. Counters start at 0 when the store is made and only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreStats {
    /// Items there now; expired ones count until they are found out.
    pub items: u64,
    /// Items ever stored.
    pub items_total: u64,
    /// Bytes of the budget in use, by whatever: segments of items and of the table, and what else the store needs.
    pub bytes: u64,
    /// Bytes of the items there now: headers, keys, values; of large values, which lie in pieces, the list of them only.
    pub item_bytes: u64,
    /// The budget in bytes; `bytes` never exceeds it.
    pub limit_bytes: u64,
    /// Items evicted to make room.
    pub evictions: u64,
    /// Of these, items never read.
    pub evicted_unfetched: u64,
    /// Items found expired, by a request or by the timer's step.
    pub expired: u64,
    /// Of these, items never read.
    pub expired_unfetched: u64,
    /// Items dropped by a flush.
    pub flushed: u64,
}

impl StoreStats {
    /// Adds a shard's counts.
    pub(crate) fn add(&mut self, shard: &StoreStats) {
        self.items += shard.items;
        self.items_total += shard.items_total;
        self.item_bytes += shard.item_bytes;
        self.evictions += shard.evictions;
        self.evicted_unfetched += shard.evicted_unfetched;
        self.expired += shard.expired;
        self.expired_unfetched += shard.expired_unfetched;
        self.flushed += shard.flushed;
    }
}

/// What a namespace holds and what was asked of it, summed over all shards.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NamespaceStats {
    /// Its name.
    pub name: String,
    /// Items there now; expired and flushed ones count until they are found out.
    pub items: u64,
    /// Bytes of these items: headers, keys, values.
    pub item_bytes: u64,
    /// Bytes of segments that only it uses; 0 without a guarantee or a limit, when it shares all with others.
    pub segment_bytes: u64,
    /// Lookups that found an item.
    pub hits: u64,
    /// Lookups that found none.
    pub misses: u64,
    /// Items ever stored.
    pub stored: u64,
    /// Items evicted.
    pub evictions: u64,
    /// Items found expired.
    pub expired: u64,
}

/// What a shard counts beside the usage of its namespaces.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) evicted_unfetched: u64,
    pub(crate) expired_unfetched: u64,
    pub(crate) flushed: u64,
}

/// A shard's part of a namespace's statistics. What every operation changes comes first: see [`crate::shard::Shard`].
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Usage {
    pub(crate) stored: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) items: u64,
    pub(crate) item_bytes: u64,
    pub(crate) evictions: u64,
    pub(crate) expired: u64,
}

/// A shard's part of all namespaces' statistics.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Usages {
    default: Usage,
    named: Vec<Usage>,
}

impl Usages {
    /// Of so many namespaces, `default` among them.
    pub(crate) fn new(namespaces: usize) -> Usages {
        Usages { default: Usage::default(), named: vec![Usage::default(); namespaces - 1] }
    }

    pub(crate) fn of(&mut self, namespace: usize) -> &mut Usage {
        match namespace.checked_sub(1) {
            None => &mut self.default,
            Some(named) => &mut self.named[named],
        }
    }

    /// Nobody has an item any more.
    pub(crate) fn forget_items(&mut self) {
        for usage in std::iter::once(&mut self.default).chain(&mut self.named) {
            (usage.items, usage.item_bytes) = (0, 0);
        }
    }

    /// All, `default` first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Usage> {
        std::iter::once(&self.default).chain(&self.named)
    }
}

impl StoreStats {
    /// Adds what a shard counts.
    pub(crate) fn count(&mut self, counters: &Counters) {
        self.evicted_unfetched += counters.evicted_unfetched;
        self.expired_unfetched += counters.expired_unfetched;
        self.flushed += counters.flushed;
    }

    /// Adds what a namespace uses of a shard.
    pub(crate) fn count_usage(&mut self, usage: &Usage) {
        self.items_total += usage.stored;
        self.item_bytes += usage.item_bytes;
        self.evictions += usage.evictions;
        self.expired += usage.expired;
    }
}

impl NamespaceStats {
    /// Adds a shard's counts.
    pub(crate) fn add(&mut self, usage: &Usage) {
        self.items += usage.items;
        self.item_bytes += usage.item_bytes;
        self.hits += usage.hits;
        self.misses += usage.misses;
        self.stored += usage.stored;
        self.evictions += usage.evictions;
        self.expired += usage.expired;
    }
}
