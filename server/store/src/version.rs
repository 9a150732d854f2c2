//! Versions: the order of writes to one key, whichever node or client made them.

use std::time::Duration;

use crate::Time;

/// Milliseconds from the Unix epoch to the first instant of 2025, where versions begin to count.
const BEGIN_MS: u64 = 1_735_689_600_000;
/// Bits below the milliseconds: the counter's and the writer's.
const LOW_BITS: u32 = 22;
/// Bits of the writer.
const WRITER_BITS: u32 = 12;
/// The latest version: 63 bits.
const MAX: u64 = (1 << 63) - 1;

/// The stamp of a write: a hybrid clock, compared as a number.
///
/// ```text
///  63  62                                   22 21          12 11           0
/// +---+---------------------------------------+--------------+--------------+
/// | 0 | milliseconds since 2025               | counter      | writer       |
/// +---+---------------------------------------+--------------+--------------+
/// ```
///
/// The counter runs over into the milliseconds, so that a writer's versions always grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

impl Version {
    /// The latest of all.
    pub(crate) const LAST: Version = Version(MAX);

    /// The latest version that a store takes from a writer, of the year 2059: behind it room is left for those that must
    /// follow.
    pub const ACCEPTED_MAX: Version = Version(MAX / 2);

    /// The first version of an instant and a writer (of which 12 bits count).
    #[must_use]
    pub fn at(time: Time, writer: u16) -> Version {
        let ms = time.0.saturating_sub(BEGIN_MS).min(MAX >> LOW_BITS);
        Version(ms << LOW_BITS | u64::from(writer & ((1 << WRITER_BITS) - 1)))
    }

    /// The instant that the version carries, to the millisecond.
    #[must_use]
    pub fn time(self) -> Time {
        Time((self.0 >> LOW_BITS) + BEGIN_MS)
    }

    /// The version so many counts after this one, of another's writer.
    pub(crate) fn after(self, counts: u64, other: Version) -> Version {
        let writer = other.0 & ((1 << WRITER_BITS) - 1);
        Version((((self.0 >> WRITER_BITS) + counts) << WRITER_BITS | writer).min(MAX))
    }

    /// How far the version lies ahead of `now`.
    #[must_use]
    pub fn ahead_of(self, now: Time) -> Duration {
        Duration::from_millis(self.time().0.saturating_sub(now.0))
    }
}

/// Gives out versions that only grow. Of several for one writer each gives out its own share of the counters, so that no
/// two give out the same. What changes comes first: see [`crate::shard::Shard`].
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Stamper {
    last: Version,
    /// Counters of this remainder, divided by `shares`, are its own.
    share: u32,
    shares: u32,
    writer: u16,
}

impl Stamper {
    pub(crate) fn new(writer: u16, share: usize, shares: usize) -> Stamper {
        Stamper { last: Version(0), writer, share: share as u32, shares: shares as u32 }
    }

    /// Whatever was given out before this one is passed over.
    pub(crate) fn pass(&mut self, version: Version) {
        self.last = self.last.max(version);
    }

    /// Which of the shares is its own.
    pub(crate) fn share(&self) -> usize {
        self.share as usize
    }

    /// A version of `now`, later than all before and than `there`.
    pub(crate) fn next(&mut self, now: Time, there: Version) -> Version {
        let writer = Version::at(Time(0), self.writer).0;
        let least = (self.last.max(there).0 >> WRITER_BITS) + 1;
        let count = (Version::at(now, 0).0 >> WRITER_BITS).max(least);
        let (share, shares) = (u64::from(self.share), u64::from(self.shares));
        let own = count + (share + shares - count % shares) % shares;
        self.last = Version((own << WRITER_BITS | writer).min(MAX));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::{BEGIN_MS, Stamper, Version};
    use crate::Time;

    #[test]
    fn version_lies_as_drawn() {
        let version = Version::at(Time(BEGIN_MS + 5), 0xfabc);
        assert_eq!(version.0, 5 << 22 | 0xabc);
        assert_eq!(version.time(), Time(BEGIN_MS + 5));
        assert_eq!(version.ahead_of(Time(BEGIN_MS + 3)).as_millis(), 2);
        assert_eq!(version.ahead_of(Time(BEGIN_MS + 9)).as_millis(), 0);
    }

    #[test]
    fn stamps_grow_whatever_the_clock_does() {
        let mut stamper = Stamper::new(7, 0, 1);
        let mut last = Version(0);
        for now in [BEGIN_MS + 10, BEGIN_MS + 10, BEGIN_MS + 3, 0, BEGIN_MS + 11] {
            let next = stamper.next(Time(now), Version(0));
            assert!(next > last && next.0 & 0xfff == 7, "{next:?} after {last:?}");
            last = next;
        }
        let there = Version::at(Time(BEGIN_MS + 1000), 9);
        assert!(stamper.next(Time(BEGIN_MS + 12), there) > there);
        assert!(stamper.next(Time(0), Version((1 << 63) - 1)).0 < 1 << 63);
    }

    #[test]
    fn stampers_of_one_writer_never_agree() {
        let mut stampers: Vec<_> = (0..3).map(|share| Stamper::new(7, share, 3)).collect();
        let mut seen = std::collections::HashSet::new();
        for now in [5, 5, 5, 6, 6, 9] {
            for stamper in &mut stampers {
                assert!(seen.insert(stamper.next(Time(BEGIN_MS + now), Version(0))));
            }
        }
    }
}
