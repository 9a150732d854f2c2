//! Whether memory stays the same.

use serde::Serialize;

/// Fewer samples than this say nothing about growth: each tenth would have less than two.
const SAMPLES_MIN: usize = 20;

/// Resident sizes of a process, taken at equal steps.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<u64>);

/// What they say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Growth {
    pub(super) resident_bytes_max: u64,
    /// Median of the tenth that follows the first quarter.
    pub(super) resident_bytes_early: u64,
    /// Median of the last tenth.
    pub(super) resident_bytes_late: u64,
    /// Late against early, in percent; 0 when there are too few samples to tell.
    pub(super) growth_percent: f64,
    pub(super) samples: usize,
}

impl Samples {
    pub(super) fn push(&mut self, bytes: u64) {
        self.0.push(bytes);
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.0.last().copied()
    }

    pub(super) fn growth(&self) -> Growth {
        let samples = self.0.len();
        let resident_bytes_max = self.0.iter().copied().max().unwrap_or(0);
        if samples < SAMPLES_MIN {
            return Growth { resident_bytes_max, samples, ..Growth::default() };
        }
        let (quarter, tenth) = (samples / 4, samples / 10);
        let early = median(&self.0[quarter..quarter + tenth]);
        let late = median(&self.0[samples - tenth..]);
        let growth_percent = (late as f64 / early as f64 - 1.0) * 100.0;
        Growth {
            resident_bytes_max,
            resident_bytes_early: early,
            resident_bytes_late: late,
            growth_percent,
            samples,
        }
    }
}

fn median(sizes: &[u64]) -> u64 {
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::{Growth, Samples};

    #[test]
    fn filling_at_first_is_no_growth() {
        let mut samples = Samples::default();
        (0..100).for_each(|at| samples.push(if at < 25 { at * 40 } else { 1000 }));
        let growth = samples.growth();
        assert_eq!((growth.growth_percent, growth.resident_bytes_max), (0.0, 1000));
    }

    #[test]
    fn slow_leak_is_growth_and_a_single_peak_is_not() {
        let mut samples = Samples::default();
        (0..100).for_each(|at| samples.push(if at == 60 { 9_999 } else { 1000 + at * 2 }));
        let growth = samples.growth();
        assert_eq!((growth.resident_bytes_early, growth.resident_bytes_late), (1060, 1190));
        assert!(growth.growth_percent > 12.0);
        assert_eq!(growth.resident_bytes_max, 9_999);
    }

    #[test]
    fn few_samples_tell_the_peak_only() {
        let mut samples = Samples::default();
        samples.push(7);
        assert_eq!(samples.growth(), Growth { resident_bytes_max: 7, samples: 1, ..Growth::default() });
    }
}
