//! One notion of now for a whole process.

use std::time::{SystemTime, UNIX_EPOCH};

use evanesce_store::Time;
use tokio::time::Instant;

/// A wall clock that only goes forward: the wall time at its making plus the time that passed since.
///
/// Expiries are kept as instants, so a step of the system's clock neither expires items nor lets them live on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    wall: u64,
    started: Instant,
}

impl Clock {
    /// A clock set by the system's.
    #[must_use]
    pub(crate) fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Self::at(wall)
    }

    /// A clock that shows so many milliseconds since the Unix epoch now. What passes since is tokio's time, which a
    /// simulation governs.
    #[must_use]
    pub(crate) fn at(wall: u64) -> Self {
        Self { wall, started: Instant::now() }
    }

    /// Now, in milliseconds since the Unix epoch.
    #[must_use]
    pub(crate) fn now(&self) -> Time {
        Time(self.wall + self.uptime_ms())
    }

    /// Milliseconds since the clock was made.
    #[must_use]
    pub(crate) fn uptime_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}
