//! One clock for all processes of the suite.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the machine's steady clock. The kernel is asked directly, so that a process whose wall clock is
/// falsified tells the same.
#[must_use]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap_or(0)
}

/// As nanoseconds.
#[must_use]
pub fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// For people.
#[must_use]
pub fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}
