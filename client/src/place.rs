//! Who decides, as the lowest bits of a version tell.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

/// Set in what came of a decision, and in no other write.
const DECIDED: u64 = 1;

/// The zone's place in the key's order stands above it; the last number for all further.
const RANK_SHIFT: u32 = 1;
const RANK_MAX: usize = 7;

/// Above that what tells processes apart that have the same place, the one before the other.
const MARK_SHIFT: u32 = 4;

/// All of them.
const PLACE_BITS: u64 = (1 << 12) - 1;

/// The node that decides a key, in the bits of a version that tell writers apart.
///
/// ```text
///  11         4 3    1    0
/// +------------+------+---------+
/// |    mark    | rank | decided |
/// +------------+------+---------+
/// ```
///
/// Two that one client knows never share one: their ranks differ. Two of different topologies, an old owner of a key and its new one or
/// a process and the one that stands there after it, may be of one rank: then their marks differ, but for one pair in 256. Only
/// where both decide one key at the same moment could those two be taken for one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u64);

impl Place {
    /// Of a zone in this place of a key's order, and of this node there.
    pub(crate) const fn new(rank: usize, mark: u8) -> Self {
        let rank = if rank < RANK_MAX { rank as u64 } else { RANK_MAX as u64 };
        Self((mark as u64) << MARK_SHIFT | rank << RANK_SHIFT | DECIDED)
    }

    /// One that is nobody's where there are no more than seven zones: what is promised to it keeps all others from going on.
    pub(crate) fn of_nobody(self) -> Self {
        Self(self.0 | (RANK_MAX as u64) << RANK_SHIFT)
    }

    /// Whose decision has this number in its lowest bits; `None` when it is of no decision.
    pub(crate) fn in_bits(version: u64) -> Option<Self> {
        (version & DECIDED != 0).then_some(Self(version & PLACE_BITS))
    }

    /// The lowest bits of a version.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The zone's place in the key's order.
    pub(crate) fn rank(self) -> u32 {
        (self.0 >> RANK_SHIFT) as u32 & RANK_MAX as u32
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:02x}", self.rank(), self.0 >> MARK_SHIFT)
    }
}

/// What tells a process from others that may stand in its place: the same for all clients of a topology.
pub(crate) fn mark(group: &str, node: &str, incarnation: u64) -> u8 {
    // No name has a zero byte.
    let named = [group.as_bytes(), &[0], node.as_bytes(), &[0], &incarnation.to_le_bytes()].concat();
    (xxh3_64(&named) >> 56) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_the_lowest_bits_of_a_version() {
        let place = Place::new(2, 0xab);
        assert_eq!((place.bits(), place.rank()), (0xab5, 2));
        assert_eq!(Place::in_bits(7 << 12 | 0xab5), Some(place));
        assert_eq!(Place::in_bits(7 << 12 | 0xab4), None);
        assert_eq!(Place::new(12, 0xff).bits(), 0xfff);
        assert_eq!(place.of_nobody(), Place::new(7, 0xab));
    }

    /// What was seen in review: in the middle of a resize the old owner of a key and the new one, both of the zone that comes first
    /// in its order, were taken for one.
    #[test]
    fn nodes_and_processes_of_one_rank_differ_but_for_one_pair_in_256() {
        let of_one_rank =
            (0..64).flat_map(|node| (0..8).map(move |start| mark("a", &format!("n{node}"), start)));
        let marks: Vec<u8> = of_one_rank.collect();
        let pairs = marks.len() * (marks.len() - 1) / 2;
        let alike =
            (1..marks.len()).map(|at| marks[..at].iter().filter(|other| **other == marks[at]).count());
        let alike: usize = alike.sum();
        assert!((pairs / 512..pairs / 128).contains(&alike), "{alike} of {pairs}");
        assert_eq!(mark("a", "n1", 3), mark("a", "n1", 3));
    }
}
