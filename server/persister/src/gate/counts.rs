//! What a gate counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::ErrorKind;

/// A count that many tasks raise: never on the way of a hit.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of one store.
#[derive(Debug, Default)]
pub(crate) struct GateCounts {
    /// Keys that the store was asked for.
    pub(crate) loads: Count,
    /// In so many calls.
    pub(crate) load_calls: Count,
    /// Changes that the store was given.
    pub(crate) writes: Count,
    /// In so many calls.
    pub(crate) write_calls: Count,
    /// Keys refused before the store was asked: too many wait, or it is ill.
    pub(crate) refused: Count,
    /// Keys whose callers had gone before it was their turn.
    pub(crate) timed_out: Count,
    /// Keys that failed, by kind.
    pub(crate) transient: Count,
    pub(crate) permanent: Count,
    pub(crate) credentials: Count,
    pub(crate) overload: Count,
    /// How often the breaker opened.
    pub(crate) breaker_opened: Count,
}

impl GateCounts {
    pub(super) fn on_error(&self, kind: ErrorKind) {
        let count = match kind {
            ErrorKind::Transient => &self.transient,
            ErrorKind::Permanent => &self.permanent,
            ErrorKind::Credentials => &self.credentials,
            ErrorKind::Overload => &self.overload,
        };
        count.add(1);
    }

    /// Name and number of each.
    pub(crate) fn list(&self) -> [(&'static str, u64); 11] {
        [
            ("loads", self.loads.get()),
            ("load_calls", self.load_calls.get()),
            ("writes", self.writes.get()),
            ("write_calls", self.write_calls.get()),
            ("refused", self.refused.get()),
            ("timed_out", self.timed_out.get()),
            ("errors_transient", self.transient.get()),
            ("errors_permanent", self.permanent.get()),
            ("errors_credentials", self.credentials.get()),
            ("errors_overload", self.overload.get()),
            ("breaker_opened", self.breaker_opened.get()),
        ]
    }
}
