//! How long a node's replies take: a quantile of the recent ones.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Slots of each doubling, as a power of two: eight, so that a quantile is at most an eighth too long.
const SLOTS_LOG2: u32 = 3;

const SLOTS_PER_DOUBLING: usize = 1 << SLOTS_LOG2;

/// From here on, two seconds, all round trips share the last slot: any read has been given up long before.
const MICROS_MAX: u32 = (1 << 21) - 1;

const SLOTS: usize = slot(MICROS_MAX) + 1;

/// Fewer say nothing about one in twenty.
const SAMPLES_MIN: u32 = 100;

/// The quantile is found anew after so many round trips: two slots are looked at for each.
const REFRESH_EVERY: u32 = 64;

/// At so many, all counts are halved: the newer half weighs as much as all before it. Half a second of a busy node, and
/// enough that a hundred lie above the quantile.
const SAMPLES_MAX: u32 = 4096;

/// The share of round trips that are at most as long as the quantile, as a fraction: 95 %.
const QUANTILE: (u64, u64) = (95, 100);

/// The recent round trips of a node, counted by length, and their 95th percentile. Fixed memory, no lock. Pure.
///
/// ```text
///  microseconds  0 1 .. 7 | 8 9 .. 15 | 16-17 18-19 .. 30-31 | 32-35 .. 60-63 | ..  | .. 2 s and above
///  slots         0 1 .. 7 | 8 9 .. 15 |  16    17   ..   23  |  24   ..   31  | ..  | 151
/// ```
///
/// Counts are relaxed atomics: two threads that refresh at once both look at counts that were true a moment ago, and a
/// round trip recorded while counts are halved may be lost. Neither moves a percentile.
///
/// A round trip that nobody waited for to its end is recorded with the time waited. That is exact enough while the wait
/// is longer than the percentile, since what lies above it counts alike: reads whose hedge answered first do not make a
/// slow node look fast.
#[derive(Debug)]
pub(crate) struct RoundTrips {
    slots: [AtomicU32; SLOTS],
    samples: AtomicU32,
    /// In microseconds; 0 while unknown.
    p95_micros: AtomicU32,
}

impl Default for RoundTrips {
    fn default() -> Self {
        Self {
            slots: [const { AtomicU32::new(0) }; SLOTS],
            samples: AtomicU32::new(0),
            p95_micros: AtomicU32::new(0),
        }
    }
}

impl RoundTrips {
    /// The node answered after `took`, or was waited for so long in vain.
    pub(crate) fn record(&self, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(MICROS_MAX).min(MICROS_MAX);
        self.slots[slot(micros)].fetch_add(1, Ordering::Relaxed);
        let samples = self.samples.fetch_add(1, Ordering::Relaxed) + 1;
        if samples.is_multiple_of(REFRESH_EVERY) && samples >= SAMPLES_MIN {
            // Only one thread sees exactly this number, so that no count is halved twice.
            self.refresh(samples == SAMPLES_MAX);
        }
    }

    /// Nineteen in twenty of the recent round trips were at most so long; `None` while too few are known.
    pub(crate) fn p95(&self) -> Option<Duration> {
        match self.p95_micros.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros.into())),
        }
    }

    fn refresh(&self, halve: bool) {
        let mut counts = [0_u32; SLOTS];
        for (count, slot) in counts.iter_mut().zip(&self.slots) {
            *count = slot.load(Ordering::Relaxed);
        }
        let samples: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        let rank = (samples * QUANTILE.0).div_ceil(QUANTILE.1);
        let mut below = 0;
        let found = counts.iter().position(|&count| {
            below += u64::from(count);
            below >= rank
        });
        self.p95_micros.store(longest(found.unwrap_or(SLOTS - 1)), Ordering::Relaxed);
        if halve {
            self.halve(&counts);
        }
    }

    fn halve(&self, counts: &[u32; SLOTS]) {
        let mut left = 0;
        for (count, slot) in counts.iter().zip(&self.slots) {
            slot.fetch_sub(count.div_ceil(2), Ordering::Relaxed);
            left += count / 2;
        }
        self.samples.store(left, Ordering::Relaxed);
    }
}

/// The slot of a length: its highest four bits and where they stand.
const fn slot(micros: u32) -> usize {
    if micros < SLOTS_PER_DOUBLING as u32 {
        return micros as usize;
    }
    let doubling = micros.ilog2() - SLOTS_LOG2;
    (doubling as usize) * SLOTS_PER_DOUBLING + (micros >> doubling) as usize
}

/// The longest round trip of a slot, in microseconds, and at least one: zero stands for unknown.
const fn longest(slot: usize) -> u32 {
    if slot < 2 * SLOTS_PER_DOUBLING {
        return if slot == 0 { 1 } else { slot as u32 };
    }
    let doubling = slot / SLOTS_PER_DOUBLING - 1;
    let first = (slot % SLOTS_PER_DOUBLING + SLOTS_PER_DOUBLING) << doubling;
    (first + (1 << doubling) - 1) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recorded(micros: impl IntoIterator<Item = u32>) -> RoundTrips {
        let trips = RoundTrips::default();
        for micros in micros {
            trips.record(Duration::from_micros(micros.into()));
        }
        trips
    }

    #[test]
    fn slots_are_in_order_and_hold_an_eighth() {
        assert_eq!(SLOTS, 152);
        assert_eq!(size_of::<RoundTrips>(), (SLOTS + 2) * 4);
        for micros in 1..1_000_000_u32 {
            let longest = longest(slot(micros));
            assert!(longest >= micros && longest - micros <= micros / 8, "{micros} {longest}");
            assert!(slot(micros) >= slot(micros - 1));
        }
        assert_eq!(longest(SLOTS - 1), MICROS_MAX);
    }

    #[test]
    fn few_round_trips_say_nothing() {
        assert_eq!(recorded((0..99).map(|_| 100)).p95(), None);
    }

    #[test]
    fn five_in_a_hundred_slow_ones_leave_the_percentile_low() {
        let p95 = |slow| recorded((0..6400).map(|n| if n % 100 < slow { 9_000 } else { 100 })).p95();
        assert!(p95(4) < Some(Duration::from_micros(120)), "{:?}", p95(4));
        assert!(p95(6) > Some(Duration::from_micros(8_000)), "{:?}", p95(6));
    }

    #[test]
    fn node_that_turns_slow_is_believed_within_some_thousand_round_trips() {
        let trips = recorded((0..1_000_000).map(|_| 100));
        (0..SAMPLES_MAX).for_each(|_| trips.record(Duration::from_millis(3)));
        assert!(trips.p95() > Some(Duration::from_micros(2_900)));
        (0..10 * SAMPLES_MAX).for_each(|_| trips.record(Duration::from_micros(100)));
        assert!(trips.p95() < Some(Duration::from_micros(120)));
    }

    #[test]
    fn longest_round_trips_share_the_last_slot() {
        let trips = RoundTrips::default();
        (0..200).for_each(|_| trips.record(Duration::MAX));
        assert_eq!(trips.p95(), Some(Duration::from_micros(MICROS_MAX.into())));
    }

    #[test]
    fn many_threads_lose_next_to_nothing() {
        let trips = RoundTrips::default();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let trips = &trips;
                scope.spawn(move || {
                    (0..50_000_u64)
                        .for_each(|n| trips.record(Duration::from_micros(50 + (n * 7 + thread) % 100)));
                });
            }
        });
        let micros = trips.p95().expect("enough of them").as_micros();
        assert!((135..=167).contains(&micros), "{micros}");
    }

    proptest! {
        /// Against sorting, while nothing has been halved yet.
        #[test]
        fn percentile_is_that_of_a_sorted_list(
            mut micros in proptest::collection::vec(1..100_000_u32, 128..2_000),
        ) {
            micros.truncate(micros.len() / 64 * 64);
            let found = recorded(micros.iter().copied()).p95().expect("enough of them").as_micros() as u32;
            micros.sort_unstable();
            let exact = micros[(micros.len() * 95).div_ceil(100) - 1];
            prop_assert!(found >= exact && found - exact <= exact / 8, "{} {}", found, exact);
        }
    }
}
