//! When each request is due.

use std::time::{Duration, Instant};

use crate::args::Rate;

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

#[cfg(test)]
mod tests {
    use super::Schedule;
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
}
