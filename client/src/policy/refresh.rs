//! When an item is loaded anew: before it expires, while it is stale, or not yet.

use std::time::Duration;

/// A marker for an absent key lives for this share of the TTL of a present one ...
const NEGATIVE_SHARE: f64 = 0.1;

/// ... but no longer: a key that comes into being should be seen soon ...
const NEGATIVE_MAX: Duration = Duration::from_secs(30);

/// ... and no shorter, since nodes count whole seconds.
const NEGATIVE_MIN: Duration = Duration::from_secs(1);

/// The share of a new load in the average: one load that took a pause is forgotten after some dozens.
const LOAD_SHARE: f64 = 0.125;

/// How old a value is, and what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// It is served.
    Fresh,
    /// It is served, and this caller loads it anew meanwhile, before it expires for all.
    Early,
    /// Its TTL has passed. It is served, and whoever gets the lease loads it anew.
    Stale,
}

/// Decides how long items live and when they are loaded anew. Pure: random numbers are passed in, 0 up to but not 1.
///
/// ```text
///  stored                                        TTL                     TTL + stale
///    |---------------- Fresh -------- Early? -----|-------- Stale ---------|  absent: a miss, callers wait
///                                       ^
///                     more likely the nearer the end and the longer a load takes
/// ```
///
/// An item is stored for its TTL and the time it may be served stale, so that nodes need to know nothing of it: what
/// remains of its expiry tells how old it is. All writers of a namespace must agree on the stale time.
///
/// Early refresh is XFetch, of Vattani, Chierichetti and Lowenstein, Optimal Probabilistic Cache Stampede Prevention,
/// VLDB 2015: each reader acts as if its clock were ahead by an exponentially distributed time whose mean is `early`
/// load times. Nothing is shared between readers, few refresh, and the more read a key is the surer one does in time.
/// Both [`Age::Early`] and [`Age::Stale`] are wishes: callers of one process coalesce, the lease lets one load, and a
/// breaker keeps refreshes away from a loader that fails, for there is a value all the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Refresh {
    jitter: f64,
    stale: Duration,
    early: f64,
}

impl Refresh {
    /// `jitter`, 0 to 1, is the share of its TTL by which an item may expire earlier; `stale` is for how long it is
    /// served after its TTL; `early` scales the early refresh: 1 is XFetch's, more is earlier, 0 is never.
    pub(crate) fn new(jitter: f64, stale: Duration, early: f64) -> Self {
        Self { jitter: jitter.clamp(0.0, 1.0), stale, early: early.max(0.0) }
    }

    /// For how long an item of this TTL is stored. Jitter only shortens: a TTL is a promise of how old a value gets.
    /// Items that were stored together, by a batch job or after a flush, do not expire together.
    pub(crate) fn stored_for(&self, ttl: Duration, random: f64) -> Duration {
        self.jittered(ttl, random).saturating_add(self.stale)
    }

    /// For how long a key is remembered to be absent, when items that are present live for `ttl`. Never served stale.
    pub(crate) fn absent_for(&self, ttl: Duration, random: f64) -> Duration {
        let longest = ttl.min(NEGATIVE_MAX);
        self.jittered(ttl.mul_f64(NEGATIVE_SHARE), random).clamp(NEGATIVE_MIN.min(longest), longest)
    }

    /// What to do with a hit that has `remaining` of its expiry, `None` for ever, when loading it takes `load_time`.
    ///
    /// Nodes tell whole seconds, rounded down, so that a refresh comes up to a second earlier than it need.
    pub(crate) fn age(&self, remaining: Option<Duration>, load_time: Duration, random: f64) -> Age {
        let Some(remaining) = remaining else { return Age::Fresh };
        if self.stale > Duration::ZERO && remaining < self.stale {
            return Age::Stale;
        }
        let fresh_for = remaining.saturating_sub(self.stale);
        let ahead = load_time.as_secs_f64() * self.early * -(1.0 - random).ln();
        if self.early > 0.0 && ahead >= fresh_for.as_secs_f64() { Age::Early } else { Age::Fresh }
    }

    fn jittered(&self, ttl: Duration, random: f64) -> Duration {
        let earlier = Duration::try_from_secs_f64(ttl.as_secs_f64() * self.jitter * random).unwrap_or(ttl);
        ttl.saturating_sub(earlier)
    }
}

/// How long loads take: what early refresh goes by. One for each namespace; zero until one has ended, so that nothing
/// is early before.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LoadTime {
    average: Option<Duration>,
}

impl LoadTime {
    /// A load succeeded after `took`.
    pub(crate) fn on_loaded(&mut self, took: Duration) {
        self.average = Some(match self.average {
            None => took,
            Some(average) => average.mul_f64(1.0 - LOAD_SHARE).saturating_add(took.mul_f64(LOAD_SHARE)),
        });
    }

    /// The average of late.
    pub(crate) fn average(&self) -> Duration {
        self.average.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(60);
    const LOAD: Duration = Duration::from_millis(200);

    /// Numbers from 0 to 1 by xorshift: the same seed, the same run.
    fn random(state: &mut u64) -> f64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[test]
    fn jitter_spreads_expiries_and_never_lengthens_them() {
        let refresh = Refresh::new(0.1, Duration::ZERO, 1.0);
        assert_eq!(refresh.stored_for(TTL, 0.0), TTL);
        assert_eq!(refresh.stored_for(TTL, 0.5), Duration::from_secs(57));
        let mut seed = 1;
        let stored: Vec<Duration> = (0..1_000).map(|_| refresh.stored_for(TTL, random(&mut seed))).collect();
        assert!(stored.iter().all(|&stored| stored <= TTL && stored >= TTL.mul_f64(0.9)));
        let in_first_second = stored.iter().filter(|&&stored| stored < Duration::from_secs(55)).count();
        assert!((120..210).contains(&in_first_second), "{in_first_second}");
    }

    #[test]
    fn item_is_stored_for_its_stale_time_too() {
        let refresh = Refresh::new(0.0, Duration::from_secs(30), 1.0);
        assert_eq!(refresh.stored_for(TTL, 0.9), Duration::from_secs(90));
        assert_eq!(refresh.stored_for(Duration::MAX, 0.0), Duration::MAX);
        let jittered = Refresh::new(1.0, Duration::ZERO, 1.0).stored_for(Duration::MAX, 0.999_999_999_999);
        assert!(jittered < Duration::MAX / 1_000);
    }

    #[test]
    fn absent_keys_are_remembered_for_a_tenth_within_bounds() {
        let refresh = Refresh::new(0.0, Duration::from_secs(30), 1.0);
        let absent = |secs| refresh.absent_for(Duration::from_secs(secs), 0.5).as_secs_f64();
        assert_eq!([absent(900), absent(100), absent(5), absent(0)], [30.0, 10.0, 1.0, 0.0]);
        let jittered = Refresh::new(0.5, Duration::ZERO, 1.0).absent_for(Duration::from_secs(100), 0.5);
        assert_eq!(jittered, Duration::from_millis(7_500));
        assert_eq!(refresh.absent_for(Duration::MAX, 0.5), NEGATIVE_MAX);
    }

    #[test]
    fn what_remains_tells_fresh_from_stale() {
        let refresh = Refresh::new(0.0, Duration::from_secs(30), 0.0);
        let age = |secs| refresh.age(Some(Duration::from_secs(secs)), LOAD, 0.999);
        assert_eq!(
            [age(90), age(31), age(30), age(29), age(0)].map(|age| age == Age::Stale),
            [false, false, false, true, true]
        );
        assert_eq!(refresh.age(None, LOAD, 0.999), Age::Fresh);
    }

    #[test]
    fn without_a_stale_time_nothing_is_stale() {
        let refresh = Refresh::new(0.0, Duration::ZERO, 0.0);
        assert_eq!(refresh.age(Some(Duration::ZERO), LOAD, 0.999), Age::Fresh);
    }

    #[test]
    fn early_refresh_is_rare_far_from_the_end_and_sure_at_it() {
        let refresh = Refresh::new(0.0, Duration::ZERO, 1.0);
        let mut seed = 2;
        let mut early = |remaining: Duration| {
            (0..10_000)
                .filter(|_| refresh.age(Some(remaining), LOAD, random(&mut seed)) == Age::Early)
                .count()
        };
        assert_eq!(early(Duration::from_secs(30)), 0);
        // exp(-1) and exp(-5) of ten thousand.
        assert!((3_400..3_960).contains(&early(LOAD)));
        assert!((40..100).contains(&early(5 * LOAD)));
        assert_eq!(early(Duration::ZERO), 10_000);
    }

    #[test]
    fn unknown_load_time_refreshes_nothing_early() {
        let refresh = Refresh::new(0.0, Duration::ZERO, 1.0);
        let age = refresh.age(Some(Duration::from_secs(1)), LoadTime::default().average(), 0.999_999);
        assert_eq!(age, Age::Fresh);
    }

    /// Readers of one key that know nothing of each other, no lease. Returns how many load, and whether the first has
    /// ended before the item expires.
    fn stampede(refresh: &Refresh, reads_per_sec: u32, tick: Duration, seed: &mut u64) -> (u32, bool) {
        let gap = Duration::from_secs(1) / reads_per_sec;
        let (mut now, mut loads, mut ends) = (Duration::ZERO, 0, None);
        while now < TTL && ends.is_none_or(|ends| now < ends) {
            let remaining = TTL - now;
            let told =
                Duration::from_nanos((remaining.as_nanos() / tick.as_nanos() * tick.as_nanos()) as u64);
            if refresh.age(Some(told), LOAD, random(seed)) == Age::Early {
                loads += 1;
                ends.get_or_insert(now + LOAD);
            }
            now += gap;
        }
        (loads, ends.is_some_and(|ends| ends <= TTL))
    }

    #[test]
    fn few_of_many_readers_refresh_and_one_does_in_time() {
        let refresh = Refresh::new(0.0, Duration::ZERO, 1.0);
        let mut seed = 3;
        for reads_per_sec in [100, 1_000] {
            let runs: Vec<(u32, bool)> = (0..50)
                .map(|_| stampede(&refresh, reads_per_sec, Duration::from_nanos(1), &mut seed))
                .collect();
            let most = runs.iter().map(|run| run.0).max();
            assert!(most <= Some(12), "{most:?}");
            let in_time = runs.iter().filter(|run| run.1).count();
            assert!(in_time >= 48, "{in_time} at {reads_per_sec}");
        }
    }

    #[test]
    fn whole_seconds_are_enough_for_it() {
        let refresh = Refresh::new(0.0, Duration::ZERO, 1.0);
        let mut seed = 4;
        let runs: Vec<(u32, bool)> =
            (0..50).map(|_| stampede(&refresh, 1_000, Duration::from_secs(1), &mut seed)).collect();
        assert!(runs.iter().all(|run| run.1 && run.0 <= 12), "{runs:?}");
    }

    #[test]
    fn load_time_follows_and_forgets_a_pause() {
        let mut time = LoadTime::default();
        time.on_loaded(LOAD);
        assert_eq!(time.average(), LOAD);
        time.on_loaded(Duration::from_secs(10));
        (0..40).for_each(|_| time.on_loaded(LOAD));
        assert!(time.average() < LOAD.mul_f64(1.05), "{:?}", time.average());
    }

    proptest! {
        #[test]
        fn decisions_hold_for_any_numbers(
            jitter in -1.0..2.0_f64,
            stale in 0..100_000_u64,
            early in -1.0..100.0_f64,
            ttl in any::<u32>(),
            remaining in any::<u32>(),
            load in any::<u32>(),
            random in 0.0..1.0_f64,
        ) {
            let refresh = Refresh::new(jitter, Duration::from_secs(stale), early);
            let ttl = Duration::from_millis(ttl.into());
            let stored = refresh.stored_for(ttl, random);
            prop_assert!(stored <= ttl + refresh.stale && stored >= refresh.stale);
            prop_assert!(refresh.absent_for(ttl, random) <= ttl.min(NEGATIVE_MAX));
            let remaining = Duration::from_millis(remaining.into());
            let age = refresh.age(Some(remaining), Duration::from_millis(load.into()), random);
            prop_assert_eq!(age == Age::Stale, remaining < refresh.stale);
            prop_assert!(early > 0.0 || age != Age::Early);
        }

        /// Who reads later, or needs longer, refreshes if an earlier or faster one with the same luck did.
        #[test]
        fn refresh_only_gets_likelier_towards_the_end(
            remaining in 0..10_000_u64,
            less in 0..10_000_u64,
            load in 0..5_000_u64,
            more in 0..5_000_u64,
            random in 0.0..1.0_f64,
        ) {
            let refresh = Refresh::new(0.0, Duration::ZERO, 1.0);
            let age = |remaining, load| {
                refresh.age(Some(Duration::from_millis(remaining)), Duration::from_millis(load), random)
            };
            if age(remaining, load) == Age::Early {
                prop_assert_eq!(age(remaining.saturating_sub(less), load + more), Age::Early);
            }
        }
    }
}
