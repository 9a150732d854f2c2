//! What options may be set to, each limit with its reason.

use std::fmt::Display;
use std::time::Duration;

use bytesize::ByteSize;
use evanesce_topology::WEIGHT_MAX;

/// From the least to the most, both allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds<T> {
    pub(crate) min: T,
    pub(crate) max: T,
}

impl<T: PartialOrd + Copy> Bounds<T> {
    const fn new(min: T, max: T) -> Self {
        Self { min, max }
    }

    /// `value`, or what to choose instead, each bound as `shown` writes it.
    pub(crate) fn take<S: Display>(self, value: T, shown: impl Fn(T) -> S) -> Result<T, String> {
        if self.min <= value && value <= self.max {
            Ok(value)
        } else {
            Err(format!("choose from {}", self.shown(shown)))
        }
    }

    /// In words, each bound as `shown` writes it.
    pub(crate) fn shown<S: Display>(self, shown: impl Fn(T) -> S) -> String {
        format!("{} to {}", shown(self.min), shown(self.max))
    }
}

/// A size as an operator writes it.
pub(crate) fn shown_size(bytes: usize) -> String {
    ByteSize::b(bytes as u64).display().iec().to_string().replace(".0 ", "").replace(' ', "")
}

/// A time as an operator writes it.
pub(crate) fn shown_time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// Below this the tables alone would fill it; beyond it is any machine, and a mistake in a unit.
pub(crate) const MEMORY: Bounds<usize> = Bounds::new(8 << 20, 1 << 44);
/// One item: from something useful to what memcached allows.
pub(crate) const ITEM_BYTES: Bounds<usize> = Bounds::new(1 << 10, 128 << 20);
/// More threads than any machine has cores are a mistake.
pub(crate) const THREADS: Bounds<usize> = Bounds::new(1, 1024);
/// What file descriptors can ever allow.
pub(crate) const CONNECTIONS: Bounds<usize> = Bounds::new(1, 1_000_000);
/// What a topology takes.
pub(crate) const WEIGHT: Bounds<usize> = Bounds::new(1, WEIGHT_MAX as usize);
/// Shorter leases lapse by the scheduler's whim, longer ones hide a death.
pub(crate) const LEASE: Bounds<Duration> = Bounds::new(Duration::from_millis(300), Duration::from_secs(600));
/// Renewals more often than this are load without use.
pub(crate) const RENEW_EVERY: Bounds<Duration> =
    Bounds::new(Duration::from_millis(100), Duration::from_secs(300));
/// Shorter cuts clients off between two requests; longer is as good as off.
pub(crate) const IDLE_TIMEOUT: Bounds<Duration> =
    Bounds::new(Duration::from_secs(1), Duration::from_secs(30 * 24 * 3600));
/// A start that waits longer hides that there is nothing to wait for.
pub(crate) const CONNECT_TIMEOUT: Bounds<Duration> =
    Bounds::new(Duration::from_millis(100), Duration::from_secs(600));
/// Shorter gives nothing; who waits longer than a day for a node's items has another problem.
pub(crate) const WARM_UP_LIMIT: Bounds<Duration> =
    Bounds::new(Duration::from_secs(1), Duration::from_secs(86_400));
/// Slower than this a node is never warm; beyond it is any network, and a mistake in a unit.
pub(crate) const WARM_UP_RATE: Bounds<usize> = Bounds::new(1 << 20, 1 << 40);
/// Comparing more often than this leaves no time between; what differs for longer than a day is found by readers first.
pub(crate) const RECONCILE_EVERY: Bounds<Duration> =
    Bounds::new(Duration::from_millis(100), Duration::from_secs(86_400));
/// The longest drain one may ask for: more is a mistake in a unit.
pub(crate) const DRAIN_DEADLINE: Bounds<Duration> = Bounds::new(Duration::ZERO, Duration::from_secs(3600));
