//! How often expired items are looked for. Pure: decides from what a round found.
//!
//! Looking costs a glance at every segment, and dropping costs less an item the more of a segment's items go at once:
//! so the longer the rest, the cheaper. But until they are dropped, expired items hold memory. A round is as late as
//! their share of the memory allows.

use std::time::Duration;

use evanesce_store::StoreStats;

/// Of the memory, what a round should find expired: with what waits in segments in which others expire a little later,
/// that stays below a twentieth on average.
const SHARE_PER_ROUND: f64 = 0.02;

/// Shorter rests would gain nothing: what expires within a tenth of a second wastes next to nothing.
const REST_MIN: Duration = Duration::from_millis(100);

/// Longer rests would gain little, and `stats` would count items long gone.
const REST_MAX: Duration = Duration::from_secs(10);

/// A rest is at most so many times the one before: what grows rare may come back.
const REST_GROWTH_MAX: f64 = 2.0;

/// A look at all segments that finds nothing takes at most one part in this many of the time: in 64 GiB it takes
/// milliseconds.
const LOOK_PART: u32 = 200;

/// Steps of a round take at most one part in this many of the time, so that workers on the same cores feel little of it.
const STEP_PART: u32 = 10;

/// A step that was held up itself must not hold up the next for long.
const STEP_REST_MAX: Duration = Duration::from_millis(20);

/// One round: as many steps as it took until one found nothing more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// The store before it.
    pub(crate) before: StoreStats,
    /// Items it dropped.
    pub(crate) dropped: u64,
    /// How long its last step took, which found nothing or little.
    pub(crate) look: Duration,
}

impl Round {
    /// The part of the memory that it freed.
    fn share(&self) -> f64 {
        let StoreStats { items, item_bytes, limit_bytes, .. } = self.before;
        let bytes = self.dropped as f64 / items.max(1) as f64 * item_bytes as f64;
        bytes / limit_bytes.max(1) as f64
    }
}

/// The rest between rounds.
#[derive(Debug)]
pub(crate) struct Pace {
    rest: Duration,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { rest: REST_MIN }
    }

    /// How long to rest after a round.
    pub(crate) fn rest(&mut self, round: &Round) -> Duration {
        let factor = (SHARE_PER_ROUND / round.share().max(f64::EPSILON)).min(REST_GROWTH_MAX);
        let least = REST_MIN.max(round.look.saturating_mul(LOOK_PART)).min(REST_MAX);
        self.rest = self.rest.mul_f64(factor).clamp(least, REST_MAX);
        self.rest
    }
}

/// How long to rest after a step that took so long, before the next of the same round.
pub(crate) fn step_rest(took: Duration) -> Duration {
    took.saturating_mul(STEP_PART - 1).min(STEP_REST_MAX)
}

#[cfg(test)]
mod tests {
    use evanesce_store::{Expiry, Store, StoreConfig, Time, Write};

    use super::*;

    /// The statistics of a store that is about half full.
    fn half_full() -> StoreStats {
        let store = Store::new(StoreConfig { memory_bytes: 8 << 20, ..StoreConfig::default() }).unwrap();
        for key in 0..4_096 {
            let key = format!("{key:04}");
            let write = Write { expiry: Expiry::Never, ..Write::set(key.as_bytes(), &[0; 1_000]) };
            store.write(&write, Time(1));
        }
        store.stats()
    }

    fn round(before: StoreStats, dropped: u64) -> Round {
        Round { before, dropped, look: Duration::ZERO }
    }

    #[test]
    fn rest_grows_to_its_limit_where_nothing_expires_and_shrinks_at_once_where_much_does() {
        let before = half_full();
        let mut pace = Pace::new();
        assert_eq!(pace.rest(&round(before, 0)), 2 * REST_MIN);
        (0..10).for_each(|_| _ = pace.rest(&round(before, 1)));
        assert_eq!(pace.rest(&round(before, 1)), REST_MAX);
        // Half of what is there is a quarter of the memory.
        let rest = pace.rest(&round(before, before.items / 2)).as_secs_f64();
        assert!((0.5..1.0).contains(&rest), "{rest}");
        (0..3).for_each(|_| _ = pace.rest(&round(before, before.items / 2)));
        assert_eq!(pace.rest(&round(before, before.items / 2)), REST_MIN);
    }

    #[test]
    fn rest_settles_where_a_round_finds_its_share() {
        let before = half_full();
        let mut pace = Pace::new();
        let mut rest = REST_MIN;
        for _ in 0..20 {
            // Items live a minute.
            let dropped = before.items as f64 * rest.as_secs_f64() / 60.0;
            rest = pace.rest(&round(before, dropped as u64));
        }
        let share = rest.as_secs_f64() / 60.0 * before.item_bytes as f64 / before.limit_bytes as f64;
        assert!((share - SHARE_PER_ROUND).abs() < 0.003, "{share} at {rest:?}");
    }

    #[test]
    fn looks_that_take_long_are_taken_rarely() {
        let look = Duration::from_millis(5);
        let round = Round { look, ..round(StoreStats::default(), 0) };
        assert_eq!(Pace::new().rest(&round), Duration::from_secs(1));
        assert_eq!(step_rest(Duration::from_micros(100)), Duration::from_micros(900));
        assert_eq!(step_rest(Duration::from_secs(1)), STEP_REST_MAX);
    }
}
