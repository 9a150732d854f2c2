//! When each request is due.

use std::time::{Duration, Instant};

use crate::args::Rate;
use crate::keys::mixed;

/// A schedule of equal steps from a start: the n-th request is due n steps after it, whatever happened before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: Instant,
    rate: Rate,
}

impl Schedule {
    /// A schedule that begins at `start`.
    pub(crate) fn new(start: Instant, rate: Rate) -> Schedule {
        Schedule { start, rate }
    }

    /// When request `number`, from 0, is due.
    pub(crate) fn due(&self, number: u64) -> Instant {
        let per_second = u64::from(self.rate.0.get());
        let (seconds, rest) = (number / per_second, number % per_second);
        self.start + Duration::from_secs(seconds) + Duration::from_nanos(rest * 1_000_000_000 / per_second)
    }
}

/// Arrivals that know nothing of each other (a Poisson process), as those of many independent users: the same seed
/// gives the same arrivals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrivals {
    seed: u64,
    gap_ns_mean: f64,
    at_ns: f64,
}

impl Arrivals {
    /// Arrivals at a mean rate.
    pub(crate) fn new(seed: u64, per_second: f64) -> Arrivals {
        Arrivals { seed, gap_ns_mean: 1e9 / per_second, at_ns: 0.0 }
    }

    /// Time from the start to the next arrival.
    pub(crate) fn next(&mut self) -> Duration {
        self.seed = self.seed.wrapping_add(1);
        // 53 bits as a number above 0 and up to 1, whose logarithm is finite.
        let drawn = ((mixed(self.seed) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        self.at_ns -= drawn.ln() * self.gap_ns_mean;
        Duration::from_nanos(self.at_ns as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrivals, Schedule};
    use crate::args::Rate;
    use std::time::{Duration, Instant};

    #[test]
    fn steps_do_not_drift_over_a_day() {
        let start = Instant::now();
        let schedule = Schedule::new(start, Rate(3.try_into().expect("not 0")));
        assert_eq!(schedule.due(0), start);
        assert_eq!(schedule.due(1), start + Duration::from_nanos(333_333_333));
        assert_eq!(schedule.due(3 * 86_400), start + Duration::from_secs(86_400));
    }

    #[test]
    fn arrivals_have_their_rate_and_the_spread_of_independent_users() {
        let mut arrivals = Arrivals::new(7, 1_000_000.0);
        let mut gaps = Vec::new();
        let mut last = Duration::ZERO;
        for _ in 0..100_000 {
            let at = arrivals.next();
            gaps.push((at - last).as_nanos() as f64);
            last = at;
        }
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        assert!((990.0..1010.0).contains(&mean), "mean gap {mean} ns");
        // Of exponential gaps, 1 - 1/e are shorter than the mean.
        let short = gaps.iter().filter(|gap| **gap < mean).count();
        assert!((62_500..64_000).contains(&short), "{short} of 100,000");
    }
}
