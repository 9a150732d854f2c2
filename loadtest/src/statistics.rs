//! Medians and quartiles of a handful of figures, and the ratios of pairs.

use std::fmt;

use serde::Serialize;

/// How a set of figures lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) quartile_low: f64,
    pub(crate) median: f64,
    pub(crate) quartile_high: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of figures; all 0 when there are none.
    pub(crate) fn of(figures: &[f64]) -> Spread {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        Spread {
            min: quantile(&sorted, 0.0),
            quartile_low: quantile(&sorted, 0.25),
            median: quantile(&sorted, 0.5),
            quartile_high: quantile(&sorted, 0.75),
            max: quantile(&sorted, 1.0),
        }
    }

    /// The spread of a/b, pair by pair: what stays true while the machine's speed drifts.
    pub(crate) fn of_ratios(a: &[f64], b: &[f64]) -> Spread {
        let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| a / b).collect();
        Spread::of(&ratios)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { min, quartile_low, median, quartile_high, max } = self;
        write!(f, "{median:.2}  ({quartile_low:.2}..{quartile_high:.2}, {min:.2}..{max:.2})")
    }
}

/// The quantile of sorted figures, between two of them by interpolation.
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = at * last as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
}

/// The median of figures; 0 when there are none.
pub(crate) fn median(figures: &[f64]) -> f64 {
    Spread::of(figures).median
}

#[cfg(test)]
mod tests {
    use super::{Spread, median};

    #[test]
    fn spread_of_known_figures() {
        let spread = Spread::of(&[5.0, 1.0, 3.0, 2.0, 4.0]);
        let expected = Spread { min: 1.0, quartile_low: 2.0, median: 3.0, quartile_high: 4.0, max: 5.0 };
        assert_eq!(spread, expected);
        assert_eq!(median(&[1.0, 2.0]), 1.5);
        assert_eq!(Spread::of(&[]), Spread::default());
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        // The machine became twice as slow between the pairs: no pair's ratio moved.
        let ratios = Spread::of_ratios(&[1.0, 2.0, 4.0], &[2.0, 4.0, 8.0]);
        assert_eq!((ratios.min, ratios.median, ratios.max), (0.5, 0.5, 0.5));
    }
}
