//! What the store tells about itself.

/// Counts and sizes, summed over all shards. Counters start at 0 when the store is made and only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreStats {
    /// Items there now; expired ones count until they are found out.
    pub items: u64,
    /// Items ever stored.
    pub items_total: u64,
    /// Bytes of the budget in use, by whatever: segments, large items, tables, ghosts.
    pub bytes: u64,
    /// Bytes of the items there now: headers, keys, values.
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
