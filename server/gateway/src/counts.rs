//! What a gateway counts, one set for each worker.

use evanesce_front::Counter;

/// One worker's counts. Written by that worker only, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counts {
    /// Keys looked up.
    pub(crate) cmd_get: Counter,
    /// Store commands.
    pub(crate) cmd_set: Counter,
    /// Keys touched.
    pub(crate) cmd_touch: Counter,
    /// Deletes.
    pub(crate) cmd_delete: Counter,
    /// Flushes of the whole cluster.
    pub(crate) cmd_flush: Counter,
    /// Numbers counted up or down.
    pub(crate) cmd_arithmetic: Counter,
    /// Lookups that found an item.
    pub(crate) get_hits: Counter,
    /// Lookups that found none.
    pub(crate) get_misses: Counter,
    /// Reads that no zone could answer.
    pub(crate) read_errors: Counter,
    /// Writes that did not meet their latch policy.
    pub(crate) write_errors: Counter,
    /// Requests that the gateway does not offer.
    pub(crate) unsupported: Counter,
    /// Requests refused since their turn did not come.
    pub(crate) busy: Counter,
}

impl Counts {
    /// Name and number of each, in the order `stats` tells them.
    pub(crate) fn list(&self) -> [(&'static str, u64); 12] {
        [
            ("cmd_get", self.cmd_get.get()),
            ("cmd_set", self.cmd_set.get()),
            ("cmd_touch", self.cmd_touch.get()),
            ("cmd_delete", self.cmd_delete.get()),
            ("cmd_flush", self.cmd_flush.get()),
            ("evanesce_arithmetic", self.cmd_arithmetic.get()),
            ("get_hits", self.get_hits.get()),
            ("get_misses", self.get_misses.get()),
            ("evanesce_read_errors", self.read_errors.get()),
            ("evanesce_write_errors", self.write_errors.get()),
            ("evanesce_unsupported", self.unsupported.get()),
            ("evanesce_busy", self.busy.get()),
        ]
    }
}

/// The sums over all workers.
pub(crate) fn sums(workers: &[Counts]) -> Vec<(&'static str, u64)> {
    let mut sums: Vec<(&'static str, u64)> = Counts::default().list().to_vec();
    for worker in workers {
        for (sum, (_, count)) in sums.iter_mut().zip(worker.list()) {
            sum.1 += count;
        }
    }
    sums
}
