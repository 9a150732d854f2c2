//! Keeps reads away from a node that does not answer.

use std::time::Duration;

use tokio::time::Instant;

/// So many errors ...
const ERRORS_MAX: usize = 5;

/// ... within this time mean that the node is ill, and not that one packet was lost.
const ERRORS_WITHIN: Duration = Duration::from_secs(1);

/// Before the first probe: as long as a short pause of a process takes.
const PROBE_AFTER_MIN: Duration = Duration::from_millis(100);

/// A node that was away for long is found again at most this, and a half for jitter, after it is back.
const PROBE_AFTER_MAX: Duration = Duration::from_secs(5);

/// A node's breaker. Pure: takes `now`, and random numbers for the jitter.
///
/// ```text
///          5 errors in 1 s             time is up: one caller probes
///  Closed -----------------> Open ------------------------------------+
///     ^                       ^                                       |
///     |                       +--- error: waits twice as long, <= 5 s-+
///     +------------------------------ success ------------------------+
/// ```
///
/// A probe is a real request. One that is never answered for, since its caller went away, delays the next as an
/// error would, without growing the wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Breaker {
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    /// The last errors, a ring; `next` is the oldest.
    Closed { errors: [Option<Instant>; ERRORS_MAX], next: usize },
    /// `probing`: a probe is under way.
    Open { probe_at: Instant, wait: Duration, probing: bool },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { errors: [None; ERRORS_MAX], next: 0 }
    }
}

impl Breaker {
    /// Whether a request may go to the node. While the breaker is open, true once for each probe.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        match &mut self.state {
            State::Closed { .. } => true,
            State::Open { probe_at, wait, probing } if now >= *probe_at => {
                *probe_at = now + *wait;
                *probing = true;
                true
            }
            State::Open { .. } => false,
        }
    }

    /// Whether the breaker is open, probes left aside.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// The node answered.
    pub(crate) fn on_success(&mut self) {
        if self.is_open() {
            self.state = State::default();
        }
    }

    /// The node did not answer. `jitter`, 0 to 1, spreads the probes of many clients.
    pub(crate) fn on_error(&mut self, now: Instant, jitter: f64) {
        let wait = match &mut self.state {
            State::Closed { errors, next } => {
                errors[*next] = Some(now);
                *next = (*next + 1) % ERRORS_MAX;
                let oldest = errors[*next];
                if oldest.is_none_or(|oldest| now - oldest > ERRORS_WITHIN) {
                    return;
                }
                PROBE_AFTER_MIN
            }
            // What was sent before the breaker opened says nothing new.
            State::Open { probing: false, .. } => return,
            State::Open { wait, .. } => (*wait * 2).min(PROBE_AFTER_MAX),
        };
        self.state = State::Open { probe_at: now + wait.mul_f64(1.0 + jitter / 2.0), wait, probing: false };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_JITTER: f64 = 0.0;

    fn open_breaker(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..ERRORS_MAX {
            assert!(breaker.admit(now));
            breaker.on_error(now, NO_JITTER);
        }
        assert!(!breaker.admit(now));
        breaker
    }

    #[test]
    fn five_errors_in_a_second_open_it() {
        let now = Instant::now();
        assert!(open_breaker(now).is_open());
    }

    #[test]
    fn errors_far_apart_leave_it_closed() {
        let mut now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.on_error(now, NO_JITTER);
            now += Duration::from_millis(251);
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn one_caller_probes_and_success_closes_it() {
        let now = Instant::now();
        let mut breaker = open_breaker(now);
        assert!(!breaker.admit(now + PROBE_AFTER_MIN - Duration::from_millis(1)));
        assert!(breaker.admit(now + PROBE_AFTER_MIN));
        assert!(!breaker.admit(now + PROBE_AFTER_MIN));
        breaker.on_success();
        assert!(breaker.admit(now + PROBE_AFTER_MIN));
    }

    #[test]
    fn failed_probes_wait_longer_up_to_a_limit() {
        let mut now = Instant::now();
        let mut breaker = open_breaker(now);
        let mut wait = PROBE_AFTER_MIN;
        for _ in 0..10 {
            now += wait;
            assert!(breaker.admit(now));
            breaker.on_error(now, NO_JITTER);
            wait = (wait * 2).min(PROBE_AFTER_MAX);
            assert!(!breaker.admit(now + wait - Duration::from_millis(1)));
        }
        assert_eq!(wait, PROBE_AFTER_MAX);
    }

    #[test]
    fn probe_without_an_outcome_is_followed_by_another() {
        let now = Instant::now();
        let mut breaker = open_breaker(now);
        assert!(breaker.admit(now + PROBE_AFTER_MIN));
        assert!(breaker.admit(now + 2 * PROBE_AFTER_MIN));
    }

    #[test]
    fn late_errors_do_not_delay_the_probe() {
        let now = Instant::now();
        let mut breaker = open_breaker(now);
        breaker.on_error(now + PROBE_AFTER_MIN / 2, NO_JITTER);
        assert!(breaker.admit(now + PROBE_AFTER_MIN));
    }
}
