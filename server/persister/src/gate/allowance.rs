//! So many keys in a second and no more.

use std::time::Duration;

use tokio::time::Instant;

/// What may be used at once after a quiet time: a tenth of a second's worth, so that no second sees more than 1.1 times the
/// rate.
const BURST: f64 = 0.1;

/// A rate of keys.
#[derive(Debug)]
pub(super) struct Allowance {
    /// In a second; `None` has no end.
    rate: Option<f64>,
    /// What may be used now; below zero after a batch that was larger than what there was.
    left: f64,
    counted: Instant,
}

impl Allowance {
    pub(super) fn new(rate_max: Option<usize>, now: Instant) -> Self {
        let rate = rate_max.map(|rate| rate as f64);
        Self { rate, left: rate.map_or(0.0, burst), counted: now }
    }

    /// How many of `wanted` keys may go now, at least one, or how long to wait for the first.
    pub(super) fn take(&mut self, wanted: usize, now: Instant) -> Result<usize, Duration> {
        let Some(rate) = self.rate else { return Ok(wanted) };
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        (self.left, self.counted) = ((self.left + passed * rate).min(burst(rate)), now);
        if self.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.left) / rate));
        }
        let taken = wanted.min(self.left as usize);
        self.left -= taken as f64;
        Ok(taken)
    }
}

fn burst(rate: f64) -> f64 {
    (rate * BURST).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_sees_more_than_the_rate_and_its_burst() {
        let begun = Instant::now();
        let mut allowance = Allowance::new(Some(100), begun);
        let (mut now, mut taken) = (begun, 0);
        while now < begun + Duration::from_secs(10) {
            match allowance.take(7, now) {
                Ok(keys) => taken += keys,
                Err(wait) => now += wait,
            }
        }
        assert!((1_000..=1_010).contains(&taken), "{taken}");
        assert_eq!(
            allowance.take(100, now + Duration::from_secs(60)),
            Ok(10),
            "a quiet minute saves no more"
        );
    }

    #[test]
    fn rate_of_one_lets_one_go() {
        let now = Instant::now();
        let mut allowance = Allowance::new(Some(1), now);
        assert_eq!(allowance.take(9, now), Ok(1));
        assert_eq!(allowance.take(9, now), Err(Duration::from_secs(1)));
        assert_eq!(Allowance::new(None, now).take(9, now), Ok(9));
    }
}
