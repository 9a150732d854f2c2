//! Tells a slow node from a client that did not run.

use std::time::Duration;

use tokio::time::Instant;

/// A timer that fires so much late was not late by its own coarseness, a millisecond: the process did not run.
const LATE_MIN: Duration = Duration::from_millis(5);

/// How long this process was held up when an attempt that was due at `due` ended at `now`; `None` when it was not.
///
/// A machine with more to do than cores stops a process for tens of milliseconds. The reply is then in the socket,
/// unread, when the timer is at last seen to have fired: the node was not slow, and neither its breaker nor the
/// read's deadline may suffer for it.
pub(crate) fn held_up(due: Instant, now: Instant) -> Option<Duration> {
    let late = now.saturating_duration_since(due);
    (late >= LATE_MIN).then_some(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_timer_far_too_late_says_that_the_process_did_not_run() {
        let due = Instant::now() + Duration::from_secs(1);
        let at = |late| held_up(due, due + Duration::from_millis(late));
        assert_eq!(at(0), None);
        assert_eq!(at(4), None);
        assert_eq!(at(5), Some(Duration::from_millis(5)));
        assert_eq!(at(70), Some(Duration::from_millis(70)));
        assert_eq!(held_up(due, due - Duration::from_millis(10)), None);
    }
}
