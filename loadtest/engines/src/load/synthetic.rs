//! Loads drawn at random.

use rand::RngExt;
use rand_distr::{Distribution, LogNormal, Zipf};

use super::{Load, Random, Request, Synthetic, VALUE_BYTES_MAX, VALUE_BYTES_MIN, random};

/// Half of all values are smaller, in bytes.
const VALUE_BYTES_MEDIAN: f64 = 150.0;
/// Deviation of the logarithm of a value's size.
const VALUE_SIGMA: f64 = 1.0;
/// Exponent of the plain Zipf load.
const ZIPF_EXPONENT: f64 = 0.9;
/// Exponent of the load with keys that never return.
const SCAN_EXPONENT: f64 = 1.0;
/// Share of requests for keys that never return.
const SCAN_SHARE: f64 = 0.2;

/// Draws sizes of values.
pub(crate) struct LogNormalSizes(LogNormal<f64>);

impl LogNormalSizes {
    /// By the size that half of all stay under, and the deviation of its logarithm.
    pub(crate) fn with_median(median_bytes: f64, sigma: f64) -> LogNormalSizes {
        LogNormalSizes(LogNormal::new(median_bytes.ln(), sigma).expect("the deviation is a finite number"))
    }

    /// By the mean size.
    pub(crate) fn with_mean(mean_bytes: f64, sigma: f64) -> LogNormalSizes {
        LogNormalSizes::with_median(mean_bytes / (sigma * sigma / 2.0).exp(), sigma)
    }

    /// Draws one, within the bounds of all replays.
    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        let bytes = self.0.sample(random) as usize;
        bytes.clamp(VALUE_BYTES_MIN, VALUE_BYTES_MAX) as u32
    }
}

/// Draws key numbers below `keys`, the smaller the more often.
pub(crate) fn zipf_ranks(keys: u32, exponent: f64) -> impl Fn(&mut Random) -> u32 {
    let zipf = Zipf::new(f64::from(keys.max(1)), exponent).expect("the exponent is not negative");
    move |random| (zipf.sample(random) as u32).clamp(1, keys.max(1)) - 1
}

/// Zipf 0.9, log-normal values.
pub(super) fn zipf(sizes: &Synthetic) -> Load {
    draw(sizes, "zipf 0.9", ZIPF_EXPONENT, 0.0)
}

/// Zipf 1.0, log-normal values, a fifth of the requests for keys that never return.
pub(super) fn scan(sizes: &Synthetic) -> Load {
    draw(sizes, "zipf 1.0 + 20 % never again", SCAN_EXPONENT, SCAN_SHARE)
}

fn draw(sizes: &Synthetic, name: &str, exponent: f64, fresh_share: f64) -> Load {
    let mut random = random(sizes.seed);
    let values = LogNormalSizes::with_median(VALUE_BYTES_MEDIAN, VALUE_SIGMA);
    let of_key: Vec<u32> = (0..sizes.keys).map(|_| values.draw(&mut random)).collect();
    let rank = zipf_ranks(sizes.keys, exponent);
    let mut keys = sizes.keys;
    let request = |_| {
        if fresh_share > 0.0 && random.random_bool(fresh_share) {
            keys += 1;
            return Request { key: keys - 1, value_bytes: values.draw(&mut random) };
        }
        let key = rank(&mut random);
        Request { key, value_bytes: of_key[key as usize] }
    };
    let requests = (0..sizes.requests).map(request).collect();
    Load { name: name.to_owned(), requests, keys }
}

#[cfg(test)]
mod tests {
    use super::{LogNormalSizes, Synthetic, random, scan, zipf, zipf_ranks};

    const SIZES: Synthetic = Synthetic { keys: 1000, requests: 20_000, seed: 1 };

    #[test]
    fn same_seed_draws_the_same_load_and_another_seed_another() {
        assert_eq!(zipf(&SIZES), zipf(&SIZES));
        assert_ne!(zipf(&SIZES), zipf(&Synthetic { seed: 2, ..SIZES }));
    }

    #[test]
    fn key_keeps_its_size() {
        let mut sizes = vec![None; 1000];
        for request in zipf(&SIZES).requests {
            let size = sizes[request.key as usize].get_or_insert(request.value_bytes);
            assert_eq!(*size, request.value_bytes);
        }
    }

    #[test]
    fn a_fifth_of_a_scan_never_returns() {
        let load = scan(&SIZES);
        let fresh: Vec<u32> =
            load.requests.iter().map(|request| request.key).filter(|key| *key >= 1000).collect();
        assert!(fresh.is_sorted_by(|a, b| a < b), "each comes once");
        assert!((3800..4200).contains(&fresh.len()), "{}", fresh.len());
        assert_eq!(load.keys as usize, 1000 + fresh.len());
    }

    #[test]
    fn zipf_draws_follow_the_law() {
        let (rank, mut random) = (zipf_ranks(100, 1.0), random(3));
        let mut counts = [0_u32; 100];
        (0..100_000).for_each(|_| counts[rank(&mut random) as usize] += 1);
        // The harmonic number of 100 is 5.187.
        for (at, expected) in [(0, 19_278), (1, 9_639), (9, 1_928)] {
            let count = f64::from(counts[at]);
            assert!((count / f64::from(expected) - 1.0).abs() < 0.1, "rank {at}: {count}");
        }
    }

    #[test]
    fn log_normal_sizes_have_their_median_and_mean() {
        let mut random = random(4);
        let mut median: Vec<u32> =
            (0..10_001).map(|_| LogNormalSizes::with_median(150.0, 1.0).draw(&mut random)).collect();
        median.sort_unstable();
        assert!((140..160).contains(&median[5000]), "{}", median[5000]);
        let mean = LogNormalSizes::with_mean(1000.0, 0.5);
        let sum: u64 = (0..10_000).map(|_| u64::from(mean.draw(&mut random))).sum();
        assert!((9_700_000..10_300_000).contains(&sum), "{sum}");
    }
}
