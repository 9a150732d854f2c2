//! Whether this node may decide for others what only one place may.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evanesce_store::Time;

/// A node that has just started, or did not run for a while, lacks what others decided meanwhile. Clients are connected
/// again within a second or two, and then give it what it missed.
pub(crate) const SETTLING_MS: u64 = 5_000;

/// Not to run for so long means to have missed something: clients take a connection for dead after a second.
const STALL_MS: u64 = 750;

/// Between two notes of the time, at least: finer, and workers would fight over it.
const NOTE_EVERY_MS: u64 = 50;

/// Of a process. Pure but for its atomics: takes `now`.
///
/// ```text
///             starts, or did not run for 750 ms
///  deciding ------------------------------------> settling
///     ^                                              |
///     +----------------------------------------------+
///                         5 s later
/// ```
#[derive(Debug, Default)]
pub(crate) struct Settling {
    /// When the process was last seen to run, in milliseconds; 0 before the first time.
    ran: AtomicU64,
    /// Until when it settles.
    until: AtomicU64,
}

impl Settling {
    /// The process runs. Called often, and for each batch of requests before they are executed. When it has not run for a
    /// while `stalled` is told how long, before anybody is answered.
    pub(crate) fn note(&self, now: Time, stalled: impl FnOnce(Duration)) {
        let ran = self.ran.load(Ordering::Acquire);
        if now.0 <= ran + NOTE_EVERY_MS {
            return;
        }
        if now.0 > ran + STALL_MS {
            self.until.fetch_max(now.0 + SETTLING_MS, Ordering::AcqRel);
            if ran > 0 {
                stalled(Duration::from_millis(now.0 - ran));
            }
        }
        self.ran.fetch_max(now.0, Ordering::AcqRel);
    }

    /// For how many milliseconds more it settles; `None` when it may decide.
    pub(crate) fn left_ms(&self, now: Time) -> Option<u64> {
        self.until.load(Ordering::Acquire).checked_sub(now.0).filter(|&left| left > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn nobody(_: Duration) {}

    #[test]
    fn start_and_stall_settle_and_a_busy_process_decides() {
        let settling = Settling::default();
        settling.note(Time(1_000_000), nobody);
        assert_eq!(settling.left_ms(Time(1_000_000)), Some(SETTLING_MS));
        for ms in (0..=SETTLING_MS).step_by(100) {
            settling.note(Time(1_000_000 + ms), nobody);
        }
        let now = 1_000_000 + SETTLING_MS;
        assert_eq!(settling.left_ms(Time(now)), None);
        settling.note(Time(now + STALL_MS), nobody);
        assert_eq!(settling.left_ms(Time(now + STALL_MS)), None, "a hiccup");
        let woken = now + 2 * STALL_MS + 1;
        settling.note(Time(woken), nobody);
        assert_eq!(settling.left_ms(Time(woken)), Some(SETTLING_MS));
    }

    #[test]
    fn time_that_goes_back_a_little_is_no_stall() {
        let settling = Settling::default();
        settling.note(Time(1_000_000), nobody);
        settling.note(Time(1_006_000), nobody);
        settling.note(Time(1_005_990), nobody);
        assert_eq!(settling.left_ms(Time(1_011_000)), None);
    }

    #[test]
    fn stall_is_told_before_the_process_is_seen_to_run_and_a_start_is_none() {
        let settling = Settling::default();
        let told = Cell::new(None);
        let note = |ms| settling.note(Time(ms), |away| told.set(Some(away)));
        note(1_000_000);
        note(1_000_000 + STALL_MS);
        assert_eq!(told.take(), None);
        note(1_000_000 + STALL_MS + 60_000);
        assert_eq!(told.take(), Some(Duration::from_secs(60)));
        note(1_000_000 + STALL_MS + 60_100);
        assert_eq!(told.take(), None, "once");
    }
}
