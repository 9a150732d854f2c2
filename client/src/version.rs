//! The versions that writes are stamped with: a hybrid clock.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::place::Place;

/// Milliseconds from the Unix epoch to the first instant of 2025, where versions begin to count.
const EPOCH_UNIX_MS: u64 = 1_735_689_600_000;

/// The lowest bits tell writers apart.
const WRITER_BITS: u32 = 12;

/// The lowest of those is set in what came of a decision, and in no other write: then the rest are a [`Place`].
const DECIDED: u64 = 1;

/// Of two decisions of one place, which gives out one version after the other, the later was made of what the earlier left
/// if it is fewer counts after it: had another decided meanwhile, it would be 1,024 more.
const CONTINUED_COUNTS_MAX: u64 = 512;

/// By so many counts who takes over exceeds what another zone decided, or was promised: so many decisions that nobody
/// agrees to it may make, and does not get past. Nodes promise no less.
const TAKE_OVER_COUNTS: u64 = 1 << COUNTER_BITS;

/// A key that no zone has is given a version so much older than the time by the first of its zones, so that one that stands
/// in at the same moment makes the newer one: more than two clocks that are well kept differ by.
const FIRST_LAG_COUNTS: u64 = 250 << COUNTER_BITS;

/// The bits above them count within a millisecond: in about microseconds, and on where those do not tell writes apart.
const COUNTER_BITS: u32 = 10;

/// The bits above those are milliseconds since 2025: they last until 2094.
const MILLIS_MAX: u64 = (1 << 41) - 1;

/// Nodes refuse a version further ahead of their clock than 5 s; what is learnt from others is taken up to a second
/// less, so that clocks that differ a little refuse nothing.
const AHEAD_MAX_MS: u64 = 4_000;

/// A stamp further ahead than this was taken by no node.
const REFUSED_AHEAD_MS: u64 = 5_000;

/// Well-kept clocks agree better than this. Two writes of a key by different clients count as made at once when they
/// are no farther apart: while a zone is cut off it may acknowledge the later one, and lose it to the earlier.
const SKEW_MIN_MS: u64 = 100;

/// Orders the writes of one key: of two, the one with the larger version stays, in whatever order they come.
///
/// ```text
///  62                     22 21        12 11         0
/// +-------------------------+------------+------------+
/// | milliseconds since 2025 |  counter   |   writer   |
/// +-------------------------+------------+------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Version(pub(crate) u64);

impl Version {
    /// The version that [`as_u64`](Self::as_u64) told, here or in another process; `None` when it has more than 63 bits.
    #[must_use]
    pub fn from_u64(number: u64) -> Option<Self> {
        (number >> 63 == 0).then_some(Self(number))
    }

    /// As a number of 63 bits. On servers that keep versions it is also the item's CAS token.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// What is decided in this place gets this version where no zone has the key.
    pub(crate) fn decided_by(self, place: Place) -> Self {
        let lag = if place.rank() == 0 { FIRST_LAG_COUNTS } else { 0 };
        let counts = (self.0 >> WRITER_BITS).saturating_sub(lag);
        Self(counts << WRITER_BITS | place.bits())
    }

    /// What tells the node in this place to go on with what it decided last, and with nothing else.
    pub(crate) fn continuing(place: Place) -> Self {
        Self(place.bits())
    }

    /// Whether it came of a decision.
    pub(crate) fn is_decided(self) -> bool {
        self.0 & DECIDED != 0
    }

    /// Whether `later` came of a decision of what this one left, or of later ones of the same place.
    pub(crate) fn is_continued_by(self, later: Self) -> bool {
        let counts = (later.0 >> WRITER_BITS).checked_sub(self.0 >> WRITER_BITS);
        self.is_by_place_of(later) && counts.is_some_and(|counts| counts < CONTINUED_COUNTS_MAX)
    }

    /// Whether both came of decisions of the same place, or were promised to it.
    pub(crate) fn is_by_place_of(self, other: Self) -> bool {
        self.is_decided() && Place::in_bits(self.0) == Place::in_bits(other.0)
    }

    /// Whether who has promised this has promised so, too, that nobody else decides anything until `later`, and a good while
    /// after it: others are promised nothing that is less than 1,024 counts later.
    pub(crate) fn covers(self, later: Self) -> bool {
        self.is_continued_by(later)
    }

    /// What promises are asked for in this place where others know of `floor`.
    pub(crate) fn taking_over(self, floor: Self, place: Place) -> Self {
        let step = if floor.is_decided() { TAKE_OVER_COUNTS } else { 1 };
        let counts = (self.0 >> WRITER_BITS).max((floor.0 >> WRITER_BITS) + step);
        Self(counts << WRITER_BITS | place.bits())
    }

    /// The version that the same writer would have stamped so much earlier.
    #[must_use]
    pub fn earlier_by(self, time: Duration) -> Self {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(MILLIS_MAX);
        let writer = self.0 & ((1 << WRITER_BITS) - 1);
        Self((self.0 - writer).saturating_sub(ms << (WRITER_BITS + COUNTER_BITS)) | writer)
    }

    /// What a load brings that yields to writes of so much time before it: no writer's own.
    pub(crate) fn yielding_by(self, time: Duration) -> Self {
        if time.is_zero() {
            return self;
        }
        let earlier = self.earlier_by(time);
        Self(earlier.0 >> WRITER_BITS << WRITER_BITS)
    }

    /// Whether it came of a load that
    /// [yields to writes](crate::op::GetOrLoad::yields_to_writes_of), and so of no write.
    #[must_use]
    pub fn is_of_yielding_load(self) -> bool {
        self.0.trailing_zeros() >= WRITER_BITS
    }

    /// When it was stamped, by its writer's clock.
    #[must_use]
    pub fn stamped_at(self) -> SystemTime {
        let ms = (self.0 >> (WRITER_BITS + COUNTER_BITS)) + EPOCH_UNIX_MS;
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Stamps versions that only grow: at least this client's clock, at least one more than the last, at least what other
/// writers were seen to use. After Kulkarni et al., Logical Physical Clocks, 2014.
#[derive(Debug)]
pub(crate) struct VersionClock {
    writer: u64,
    /// The last stamp, without the writer.
    last: AtomicU64,
    /// What the nodes' clocks are ahead of ours.
    correction_ms: AtomicI64,
    /// How often it was put right.
    corrections: AtomicU64,
}

impl VersionClock {
    /// A clock of this writer, whose number is made even, and not 0, which stands for loads; two of a cluster share one once in
    /// 2047, and then only writes of the same key in the same microsecond can have one version.
    pub(crate) fn new(writer: u16) -> Self {
        let writer = (u64::from(writer) & ((1 << WRITER_BITS) - 1) & !DECIDED).max(DECIDED << 1);
        let (last, corrections) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { writer, last, correction_ms: AtomicI64::new(0), corrections }
    }

    /// A version larger than all that this clock has stamped or seen.
    pub(crate) fn stamp(&self, now: SystemTime) -> Version {
        let now = self.ticks(now);
        let next = |last: u64| now.max(last + 1);
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        let last = last.unwrap_or_else(|last| last);
        Version(next(last) << WRITER_BITS | self.writer)
    }

    /// The smallest version larger than `version` and than all that this clock has stamped or seen. A `version` that
    /// other nodes would refuse comes from a node whose clock is wrong, and is not followed: it is stamped as any other.
    pub(crate) fn stamp_after(&self, version: Version, now: SystemTime) -> Version {
        if version.0 >> WRITER_BITS > self.farthest(now) {
            return self.stamp(now);
        }
        let next = |last: u64| last.max(version.0 >> WRITER_BITS) + 1;
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        Version((next(last.unwrap_or_else(|last| last)) << WRITER_BITS) | self.writer)
    }

    /// A version of another writer was seen: later stamps are larger, as far as nodes take them.
    pub(crate) fn observe(&self, version: Version, now: SystemTime) {
        self.last.fetch_max((version.0 >> WRITER_BITS).min(self.farthest(now)), Ordering::Relaxed);
    }

    /// Something happened by another's clock, in milliseconds since 1970: later stamps are larger than any of then.
    pub(crate) fn observe_clock(&self, unix_ms: u64, now: SystemTime) {
        let ms = unix_ms.saturating_sub(EPOCH_UNIX_MS).min(MILLIS_MAX - 1) + 1;
        self.observe(Version(ms << (COUNTER_BITS + WRITER_BITS)), now);
    }

    /// Whether the version lies ahead of this clock: whoever stamped it has one that is ahead of ours.
    pub(crate) fn is_behind(&self, version: Version, now: SystemTime) -> bool {
        version.0 >> WRITER_BITS > self.ticks(now)
    }

    /// Whether it lies so far ahead that one of the two clocks must be wrong.
    pub(crate) fn is_far_behind(&self, version: Version, now: SystemTime) -> bool {
        version.0 >> WRITER_BITS > self.farthest(now)
    }

    /// How often the clock was put right: what was stamped before that is as wrong as it was.
    pub(crate) fn corrections(&self) -> u64 {
        self.corrections.load(Ordering::Acquire)
    }

    /// Takes over the time of most nodes when this machine's clock is wrong. `ahead_ms` is what each node's clock is
    /// ahead of ours. Returns the correction when it changes, or when stamps from while it was wrong are taken back.
    pub(crate) fn correct(&self, ahead_ms: &mut [i64], now: SystemTime) -> Option<i64> {
        if ahead_ms.is_empty() {
            return None;
        }
        ahead_ms.sort_unstable();
        let median = ahead_ms[ahead_ms.len() / 2];
        let wanted = if median.unsigned_abs() > SKEW_MIN_MS { median } else { 0 };
        let before = self.correction_ms.load(Ordering::Relaxed);
        let correction_ms = if wanted.abs_diff(before) > SKEW_MIN_MS { wanted } else { before };
        self.correction_ms.store(correction_ms, Ordering::Relaxed);
        let refused = self.ticks(now) + (REFUSED_AHEAD_MS << COUNTER_BITS);
        if correction_ms == before && self.last.load(Ordering::Relaxed) <= refused {
            return None;
        }
        // Stamps that nodes would refuse for being ahead were accepted by none of them.
        self.last.fetch_min(self.farthest(now), Ordering::Relaxed);
        self.corrections.fetch_add(1, Ordering::Release);
        Some(correction_ms)
    }

    /// The latest that nodes take for sure.
    fn farthest(&self, now: SystemTime) -> u64 {
        self.ticks(now) + (AHEAD_MAX_MS << COUNTER_BITS)
    }

    /// The time as most nodes have it.
    pub(crate) fn corrected(&self, now: SystemTime) -> SystemTime {
        let correction_ms = self.correction_ms();
        let by = Duration::from_millis(correction_ms.unsigned_abs());
        let corrected = if correction_ms < 0 { now.checked_sub(by) } else { now.checked_add(by) };
        corrected.unwrap_or(now)
    }

    /// What is added to this machine's clock.
    pub(crate) fn correction_ms(&self) -> i64 {
        self.correction_ms.load(Ordering::Relaxed)
    }

    /// Time in units of the counter, about a microsecond each: of two writers that take turns within a millisecond the
    /// later one has the larger version.
    fn ticks(&self, now: SystemTime) -> u64 {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let micros = u64::from(since.subsec_micros() % 1000);
        let unix_ms = unix_ms(now).saturating_add_signed(self.correction_ms.load(Ordering::Relaxed));
        let ms = unix_ms.saturating_sub(EPOCH_UNIX_MS).min(MILLIS_MAX - AHEAD_MAX_MS);
        (ms << COUNTER_BITS) | ((micros << COUNTER_BITS) / 1000)
    }
}

/// A clock set before 1970 counts as 1970.
pub(crate) fn unix_ms(now: SystemTime) -> u64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// So many milliseconds after some day of 2026.
    fn at(ms: i64) -> SystemTime {
        let unix_ms = 1_790_000_000_000_u64.saturating_add_signed(ms);
        SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms)
    }

    #[test]
    fn stamp_has_the_layout_of_the_wire() {
        let first_of_2025 = SystemTime::UNIX_EPOCH + Duration::from_millis(EPOCH_UNIX_MS + 3);
        let clock = VersionClock::new(0xabc);
        assert_eq!(clock.stamp(first_of_2025), Version(3 << 22 | 0xabc));
        assert_eq!(clock.stamp(first_of_2025), Version(3 << 22 | 1 << 12 | 0xabc));
        assert_eq!(clock.stamp(at(0)).stamped_at(), at(0));
    }

    #[test]
    fn writers_that_take_turns_within_a_millisecond_are_in_order() {
        let (first, second) = (VersionClock::new(2), VersionClock::new(1));
        let later = at(0) + Duration::from_micros(2);
        assert!(first.stamp(at(0)) < second.stamp(later));
        let last = at(0) + Duration::from_micros(999);
        assert!(second.stamp(last) < first.stamp(at(1)));
    }

    #[test]
    fn clock_behind_goes_on_from_what_it_sees() {
        let (behind, right) = (VersionClock::new(1), VersionClock::new(2));
        let seen = right.stamp(at(3_000));
        assert!(behind.stamp(at(0)) < seen);
        behind.observe(seen, at(0));
        assert!(behind.stamp(at(0)) > seen);
    }

    #[test]
    fn clock_behind_goes_on_from_another_clocks_time() {
        let behind = VersionClock::new(1);
        let millis =
            |ms| u64::try_from(at(ms).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
        behind.observe_clock(millis(80), at(0));
        let right = VersionClock::new(2);
        assert!(behind.stamp(at(0)) > right.stamp(at(80) + Duration::from_micros(999)));
        behind.observe_clock(u64::MAX, at(0));
        assert!(
            behind.stamp(at(0)).stamped_at() <= at(5_000),
            "a mad clock is followed no further than nodes take"
        );
    }

    #[test]
    fn stamp_after_another_is_next_to_it_whatever_the_time() {
        let clock = VersionClock::new(1);
        let grant = VersionClock::new(2).stamp(at(0));
        assert_eq!(clock.stamp_after(grant, at(0)).0 >> WRITER_BITS, (grant.0 >> WRITER_BITS) + 1);
        let own = clock.stamp(at(10));
        let after = clock.stamp_after(grant, at(10));
        assert!(after > own && after.stamped_at() == own.stamped_at());
    }

    #[test]
    fn version_from_far_ahead_does_not_take_the_clock_beyond_what_nodes_accept() {
        let (clock, mad) = (VersionClock::new(1), VersionClock::new(2));
        clock.observe(mad.stamp(at(3_600_000)), at(0));
        assert!(clock.stamp(at(0)).stamped_at() <= at(5_000));
    }

    #[test]
    fn version_of_a_load_that_yields_is_told_from_every_writers() {
        for writer in [0, 1, 2, 0xfff] {
            let version = VersionClock::new(writer).stamp(at(3_000));
            assert!(!version.is_of_yielding_load() && !version.earlier_by(PAST).is_of_yielding_load());
            let yielding = version.yielding_by(PAST);
            assert!(yielding.is_of_yielding_load() && yielding <= version.earlier_by(PAST));
            assert_eq!(yielding.stamped_at(), at(2_000));
            assert_eq!(version.yielding_by(Duration::ZERO), version);
        }
    }

    const PAST: Duration = Duration::from_secs(1);

    #[test]
    fn earlier_version_keeps_its_writer_and_goes_no_further_than_the_first() {
        let version = VersionClock::new(6).stamp(at(3_000));
        let earlier = version.earlier_by(Duration::from_secs(1));
        assert_eq!(earlier.stamped_at(), at(2_000));
        assert_eq!(earlier.0 & 0xfff, version.0 & 0xfff);
        assert_eq!(version.earlier_by(Duration::ZERO), version);
        assert_eq!(version.earlier_by(Duration::MAX).0, 6);
        assert_eq!(Version::from_u64(version.as_u64()), Some(version));
        assert_eq!(Version::from_u64(1 << 63), None);
    }

    /// What was seen in review: a lease granted by a node whose clock was an hour ahead took this client's clock along,
    /// and every other node refused its writes for that hour.
    #[test]
    fn stamp_after_one_from_far_ahead_does_not_follow_it() {
        let (clock, mad) = (VersionClock::new(1), VersionClock::new(2));
        let fill = clock.stamp_after(mad.stamp(at(3_600_000)), at(0));
        assert_eq!(fill.stamped_at(), at(0));
        assert!(clock.stamp(at(1)).stamped_at() <= at(1));
    }

    /// What was seen in review: after a clock had jumped ahead and back again its stamps stayed ahead, though the
    /// correction was right all the time.
    #[test]
    fn stamps_from_before_a_clock_was_set_back_are_taken_back() {
        let clock = VersionClock::new(1);
        clock.stamp(at(3_600_000));
        assert_eq!(clock.correct(&mut [3], at(0)), Some(0));
        assert!(clock.stamp(at(0)).stamped_at() <= at(4_001));
        assert_eq!((clock.correct(&mut [3], at(0)), clock.corrections()), (None, 1));
    }

    #[test]
    fn clock_ten_seconds_ahead_takes_over_the_time_of_most_nodes() {
        let clock = VersionClock::new(1);
        clock.stamp(at(10_000));
        assert_eq!(clock.correct(&mut [-10_002, 3_600_000, -9_998, -10_000], at(10_000)), Some(-9_998));
        assert!(clock.stamp(at(10_000)).stamped_at() <= at(5_000));
        assert_eq!(clock.correct(&mut [-10_000], at(10_000)), None);
        // It is set right again.
        assert_eq!(clock.correct(&mut [20, -3], at(0)), Some(0));
    }

    #[test]
    fn small_differences_are_left_alone() {
        let clock = VersionClock::new(1);
        assert_eq!(clock.correct(&mut [90, -90, 99], at(0)), None);
        assert_eq!(clock.correct(&mut [], at(0)), None);
    }

    proptest! {
        #[test]
        fn stamps_only_grow(steps in proptest::collection::vec((0..10_000_i64, any::<bool>()), 1..200)) {
            let (clock, other) = (VersionClock::new(1), VersionClock::new(2));
            let mut before = Version(0);
            for (ms, sees) in steps {
                if sees {
                    clock.observe(other.stamp(at(ms)), at(ms));
                }
                let stamp = clock.stamp(at(ms));
                prop_assert!(stamp > before);
                before = stamp;
            }
        }
    }
}
