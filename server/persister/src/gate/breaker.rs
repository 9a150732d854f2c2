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
    /// One more each time that it opens, and for each try: what calls say that began before says nothing of now.
    round: u64,
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

/// When a call began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Round(u64);

/// What a call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// Go ahead, and tell of it with this.
    Yes(Round),
    /// The store is ill; not before this instant.
    NotBefore(Instant),
}

impl Breaker {
    pub(super) fn new(errors_max: usize, pause: Duration) -> Self {
        Self { errors_max, pause: pause.min(PAUSE_MAX), state: State::Closed { errors: 0 }, round: 0 }
    }

    /// A call wants to begin. While the store is tried, only one is let through, which is taken to end within `timeout`.
    pub(super) fn ask(&mut self, now: Instant, timeout: Duration) -> Leave {
        match self.state {
            State::Closed { .. } => Leave::Yes(Round(self.round)),
            State::Open { until, pause } | State::Trying { until, pause } if until <= now => {
                self.state = State::Trying { until: now + timeout, pause };
                self.round += 1;
                Leave::Yes(Round(self.round))
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
    pub(super) fn on_untried(&mut self, round: Round, now: Instant) {
        if let State::Trying { pause, .. } = self.state
            && round.0 == self.round
        {
            self.state = State::Open { until: now, pause };
        }
    }

    /// The store answered, whenever it was asked.
    pub(super) fn on_answer(&mut self) {
        self.state = State::Closed { errors: 0 };
    }

    /// The store did not, or said that it is ill. Returns whether that opened it.
    pub(super) fn on_error(&mut self, round: Round, now: Instant) -> bool {
        if round.0 != self.round {
            return false;
        }
        let pause = match self.state {
            State::Closed { errors } if errors + 1 < self.errors_max => {
                self.state = State::Closed { errors: errors + 1 };
                return false;
            }
            State::Closed { .. } => self.pause,
            State::Trying { pause, .. } => (pause * 2).min(PAUSE_MAX),
            State::Open { .. } => return false,
        };
        self.state = State::Open { until: now + pause, pause };
        self.round += 1;
        true
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

    /// Asks, and must be let through.
    fn begin(breaker: &mut Breaker, now: Instant) -> Round {
        match breaker.ask(now, PAUSE) {
            Leave::Yes(round) => round,
            Leave::NotBefore(until) => panic!("not before {until:?}, at {now:?}"),
        }
    }

    /// Asks, and fails at once.
    fn fail(breaker: &mut Breaker, now: Instant) -> bool {
        let round = begin(breaker, now);
        breaker.on_error(round, now)
    }

    #[test]
    fn breaker_opens_after_errors_in_a_row_and_lets_one_try() {
        let (mut breaker, now) = (Breaker::new(3, PAUSE), Instant::now());
        assert!(!fail(&mut breaker, now) && !fail(&mut breaker, now));
        breaker.on_answer();
        assert!(!fail(&mut breaker, now) && !fail(&mut breaker, now), "they were not in a row");
        assert!(fail(&mut breaker, now));
        assert_eq!(breaker.ask(now, PAUSE), Leave::NotBefore(now + PAUSE));
        assert!(breaker.is_open(now));
        let later = now + PAUSE;
        begin(&mut breaker, later);
        assert_eq!(breaker.ask(later, PAUSE), Leave::NotBefore(later + PAUSE), "one tries");
        breaker.on_answer();
        begin(&mut breaker, later);
        assert_eq!(breaker.name(), "closed");
    }

    #[test]
    fn pause_doubles_to_its_most_while_the_store_stays_ill() {
        let (mut breaker, mut now) = (Breaker::new(1, PAUSE), Instant::now());
        fail(&mut breaker, now);
        for pause in [1, 2, 2] {
            let until = now + Duration::from_secs(pause);
            assert_eq!(breaker.ask(now, PAUSE), Leave::NotBefore(until));
            now = until;
            assert!(fail(&mut breaker, now));
        }
    }

    #[test]
    fn call_from_before_neither_ends_a_try_nor_opens_a_store_that_is_well_again() {
        let (mut breaker, now) = (Breaker::new(1, PAUSE), Instant::now());
        let slow = [(); 3].map(|()| begin(&mut breaker, now));
        assert!(fail(&mut breaker, now));
        assert!(!breaker.on_error(slow[0], now), "it is open already");
        let tried = now + PAUSE;
        begin(&mut breaker, tried);
        assert!(!breaker.on_error(slow[1], tried));
        breaker.on_untried(slow[1], tried);
        assert_eq!((breaker.name(), breaker.ask(tried, PAUSE)), ("trying", Leave::NotBefore(tried + PAUSE)));
        breaker.on_answer();
        assert!(!breaker.on_error(slow[2], tried));
        assert_eq!(breaker.name(), "closed");
        assert!(fail(&mut breaker, tried), "those that begin now count");
    }

    #[test]
    fn try_that_does_not_come_about_lets_another_at_once() {
        let (mut breaker, now) = (Breaker::new(1, PAUSE), Instant::now());
        let round = begin(&mut breaker, now);
        breaker.on_untried(round, now);
        assert_eq!(breaker.name(), "closed");
        breaker.on_error(round, now);
        breaker.on_untried(round, now);
        assert!(breaker.is_open(now), "nobody tries");
        let tried = now + PAUSE;
        let round = begin(&mut breaker, tried);
        breaker.on_untried(round, tried);
        begin(&mut breaker, tried);
        assert_eq!(breaker.name(), "trying");
    }

    #[test]
    fn try_that_is_never_told_of_lets_another() {
        let (mut breaker, now) = (Breaker::new(1, PAUSE), Instant::now());
        fail(&mut breaker, now);
        let tried = now + PAUSE;
        begin(&mut breaker, tried);
        begin(&mut breaker, tried + PAUSE);
    }
}
