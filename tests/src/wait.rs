//! The one bounded wait.

use std::time::{Duration, Instant};

/// Between two looks: short beside any process's start, long beside a look's cost.
const PAUSE: Duration = Duration::from_millis(10);

/// An instant after which waiting is failing.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    /// This long from now.
    #[must_use]
    pub fn within(limit: Duration) -> Deadline {
        Deadline { at: Instant::now() + limit, limit }
    }

    /// What is left; zero when it has passed.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }
}

/// What was waited for did not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitError {
    what: String,
    limit: Duration,
}

impl std::fmt::Display for WaitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} did not come within {:?}", self.what, self.limit)
    }
}

impl std::error::Error for WaitError {}

/// Looks again and again until `look` finds something; at least once.
///
/// # Errors
/// [`WaitError`] with `what` when the deadline passes first.
pub fn eventually<T>(
    what: &str,
    deadline: Deadline,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T, WaitError> {
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if deadline.is_over() {
            return Err(WaitError { what: what.to_owned(), limit: deadline.limit });
        }
        pause(PAUSE.min(deadline.left()));
    }
}

/// Lets time pass, where passing time is what is tested: an expiry, a slow peer.
#[expect(clippy::disallowed_methods, reason = "the one place of the suites where a thread sleeps")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use super::{Deadline, eventually};
    use std::time::Duration;

    #[test]
    fn waiting_ends_at_the_deadline_with_what_was_waited_for() {
        let error =
            eventually("nothing", Deadline::within(Duration::ZERO), || None::<()>).expect_err("never");
        assert_eq!(error.to_string(), "nothing did not come within 0ns");
    }

    #[test]
    fn what_is_there_is_found_after_the_deadline_too() {
        assert_eq!(eventually("it", Deadline::within(Duration::ZERO), || Some(7)), Ok(7));
    }
}
