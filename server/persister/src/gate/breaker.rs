//! Leaves a store alone that does not answer.
//!
//! ```text
//!  closed ── errors in a row ──> open, for a pause ── over ──> one call tries ── it answers ──> closed
//!                                  ^                                  │ it fails: twice the pause
//!                                  └──────────────────────────────────┘
//! ```

use std::time::Duration;

use tokio::time::Instant;

/// A store that is back is noticed within so long, however long it was away.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Whether a store may be called.
#[derive(Debug)]
pub(super) struct Breaker {
    errors_max: usize,
    pause: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many calls in a row have failed.
    Closed {
        errors: usize,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One call tries it. If it is never told of, another may after `until`.
    Trying {
        until: Instant,
        pause: Duration,
    },
}

/// What a call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// Go ahead.
    Yes,
    /// The store is ill; not before this instant.
    NotBefore(Instant),
}

impl Breaker {
    pub(super) fn new(errors_max: usize, pause: Duration) -> Self {
        Self { errors_max, pause: pause.min(PAUSE_MAX), state: State::Closed { errors: 0 } }
    }

    /// A call wants to begin. While the store is tried, only one is let through, which is taken to end within `timeout`.
    pub(super) fn ask(&mut self, now: Instant, timeout: Duration) -> Leave {
        match self.state {
            State::Closed { .. } => Leave::Yes,
            State::Open { until, pause } | State::Trying { until, pause } if until <= now => {
                self.state = State::Trying { until: now + timeout, pause };
                Leave::Yes
            }
            State::Open { until, .. } | State::Trying { until, .. } => Leave::NotBefore(until),
        }
    }

    /// Whether a call would be let through, with no claim to it.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => false,
            State::Open { until, .. } | State::Trying { until, .. } => until > now,
        }
    }

    /// A call that was let through did not come about. If it was the one to try, another may at once.
    pub(super) fn on_untried(&mut self, now: Instant) {
        if let State::Trying { pause, .. } = self.state {
            self.state = State::Open { until: now, pause };
        }
    }

    /// The store answered.
    pub(super) fn on_answer(&mut self) {
        self.state = State::Closed { errors: 0 };
    }

    /// The store did not, or said that it is ill. Returns whether that opened it.
    pub(super) fn on_error(&mut self, now: Instant) -> bool {
        self.state = match self.state {
            State::Closed { errors } if errors + 1 < self.errors_max => State::Closed { errors: errors + 1 },
            State::Closed { .. } => State::Open { until: now + self.pause, pause: self.pause },
            State::Trying { pause, .. } => {
                let pause = (pause * 2).min(PAUSE_MAX);
                State::Open { until: now + pause, pause }
            }
            // A call from before.
            open @ State::Open { .. } => open,
        };
        matches!(self.state, State::Open { .. })
    }

    /// As stats and metrics call it.
    pub(super) fn name(&self) -> &'static str {
        match self.state {
            State::Closed { .. } => "closed",
            State::Open { .. } => "open",
            State::Trying { .. } => "trying",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    #[test]
    fn breaker_opens_after_errors_in_a_row_and_lets_one_try() {
        let (mut breaker, now) = (Breaker::new(3, PAUSE), Instant::now());
        assert!(!breaker.on_error(now) && !breaker.on_error(now));
        breaker.on_answer();
        assert!(!breaker.on_error(now) && !breaker.on_error(now), "they were not in a row");
        assert!(breaker.on_error(now));
        assert_eq!(breaker.ask(now, PAUSE), Leave::NotBefore(now + PAUSE));
        assert!(breaker.is_open(now));
        let later = now + PAUSE;
        assert_eq!(breaker.ask(later, PAUSE), Leave::Yes);
        assert_eq!(breaker.ask(later, PAUSE), Leave::NotBefore(later + PAUSE), "one tries");
        breaker.on_answer();
        assert_eq!((breaker.ask(later, PAUSE), breaker.name()), (Leave::Yes, "closed"));
    }

    #[test]
    fn pause_doubles_to_its_most_while_the_store_stays_ill() {
        let (mut breaker, mut now) = (Breaker::new(1, PAUSE), Instant::now());
        breaker.on_error(now);
        for pause in [1, 2, 2] {
            let until = now + Duration::from_secs(pause);
            assert_eq!(breaker.ask(now, PAUSE), Leave::NotBefore(until));
            now = until;
            assert_eq!(breaker.ask(now, PAUSE), Leave::Yes);
            breaker.on_error(now);
        }
    }

    #[test]
    fn try_that_does_not_come_about_lets_another_at_once() {
        let (mut breaker, now) = (Breaker::new(1, PAUSE), Instant::now());
        breaker.on_untried(now);
        assert_eq!(breaker.name(), "closed");
        breaker.on_error(now);
        breaker.on_untried(now);
        assert!(breaker.is_open(now), "nobody tries");
        let tried = now + PAUSE;
        assert_eq!(breaker.ask(tried, PAUSE), Leave::Yes);
        breaker.on_untried(tried);
        assert_eq!((breaker.ask(tried, PAUSE), breaker.name()), (Leave::Yes, "trying"));
    }

    #[test]
    fn try_that_is_never_told_of_lets_another() {
        let (mut breaker, now) = (Breaker::new(1, PAUSE), Instant::now());
        breaker.on_error(now);
        let tried = now + PAUSE;
        assert_eq!(breaker.ask(tried, PAUSE), Leave::Yes);
        assert_eq!(breaker.ask(tried + PAUSE, PAUSE), Leave::Yes);
    }
}
