//! How far warm-ups came, for operators.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of this process.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    taken: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
    given: AtomicU64,
    given_bytes: AtomicU64,
    /// 0 while there was none, or it goes on.
    millis: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WarmCounts {
    /// Items that peers gave and that were stored.
    pub(crate) taken: u64,
    /// Items that were not: something newer was there, they had expired, or nobody could say whether they were deleted.
    pub(crate) refused: u64,
    /// Bytes of keys and values that peers gave.
    pub(crate) bytes: u64,
    /// Items given to peers.
    pub(crate) given: u64,
    /// Bytes of keys and values given to peers.
    pub(crate) given_bytes: u64,
    /// How long the warm-up took, in milliseconds; 0 while there was none, or it goes on.
    pub(crate) millis: u64,
}

impl Progress {
    pub(super) fn taken(&self, stored: u64, refused: u64, bytes: u64) {
        self.taken.fetch_add(stored, Ordering::Relaxed);
        self.refused.fetch_add(refused, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn given(&self, items: u64, bytes: u64) {
        self.given.fetch_add(items, Ordering::Relaxed);
        self.given_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, millis: u64) {
        self.millis.store(millis.max(1), Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> WarmCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WarmCounts {
            taken: read(&self.taken),
            refused: read(&self.refused),
            bytes: read(&self.bytes),
            given: read(&self.given),
            given_bytes: read(&self.given_bytes),
            millis: read(&self.millis),
        }
    }
}
