//! What a namespace counts. Nothing of it lies on the way of a hit but one look at where it came from.

use crate::gate::Count;

/// The counts of one namespace.
#[derive(Debug, Default)]
pub(crate) struct TierCounts {
    /// Reads that waited for a load.
    pub(crate) misses: Count,
    /// Loads that this process made.
    pub(crate) loads: Count,
    /// Of them those that found nothing.
    pub(crate) loads_absent: Count,
    /// Of them those that failed.
    pub(crate) load_failures: Count,
    /// Reads for which it was remembered that the store has nothing.
    pub(crate) negative_hits: Count,
    /// Reads served beyond their TTL.
    pub(crate) stale_served: Count,
    /// Loads that the log answered.
    pub(crate) from_log: Count,
    /// Writes that the store or the log took.
    pub(crate) writes: Count,
    /// Writes that were refused or failed.
    pub(crate) write_failures: Count,
    /// Writes that the store had something newer than.
    pub(crate) superseded: Count,
    /// Writes taken from the log to the store.
    pub(crate) drained: Count,
    /// Writes from the log that failed and go again.
    pub(crate) retries: Count,
    /// Writes that became dead letters.
    pub(crate) buried: Count,
}

impl TierCounts {
    /// Name and number of each.
    pub(crate) fn list(&self) -> [(&'static str, u64); 14] {
        let (misses, loads) = (self.misses.get(), self.loads.get() + self.from_log.get());
        [
            ("misses", misses),
            ("coalesced", misses.saturating_sub(loads)),
            ("loads", self.loads.get()),
            ("loads_absent", self.loads_absent.get()),
            ("load_failures", self.load_failures.get()),
            ("negative_hits", self.negative_hits.get()),
            ("stale_served", self.stale_served.get()),
            ("from_log", self.from_log.get()),
            ("writes", self.writes.get()),
            ("write_failures", self.write_failures.get()),
            ("superseded", self.superseded.get()),
            ("drained", self.drained.get()),
            ("retries", self.retries.get()),
            ("buried", self.buried.get()),
        ]
    }
}
