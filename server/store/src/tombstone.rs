//! Tombstones: versions of deletes, so that nothing older brings a deleted item back.

use crate::Version;

/// Tombstones of one group: a cache line.
const GROUP: usize = 4;

/// Key hash and version of deletes, in fixed memory: groups of 4, the hash chooses the group, a full group drops its
/// oldest. What was dropped raises the floor: below it nobody can say whether an absent key was deleted.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    /// Made at the first delete.
    groups: Box<[[Tombstone; GROUP]]>,
    count: usize,
    floor: Version,
}

/// One delete. A version of 0 is an empty place.
#[derive(Debug, Clone, Copy, Default)]
struct Tombstone {
    hash: u64,
    version: Version,
}

impl Tombstones {
    /// Room for `count` deletes.
    pub(crate) fn new(count: usize) -> Tombstones {
        Tombstones { count, ..Tombstones::default() }
    }

    /// Bytes of so many.
    pub(crate) fn bytes_for(count: usize) -> usize {
        count.div_ceil(GROUP) * size_of::<[Tombstone; GROUP]>()
    }

    /// Repairs of absent keys up to this version are to be refused.
    pub(crate) fn floor(&self) -> Version {
        self.floor
    }

    /// The version of the key's delete, or one before all others.
    pub(crate) fn of(&self, hash: u64) -> Version {
        let Some(group) = self.group(hash) else { return Version::default() };
        let found = self.groups[group].iter().filter(|tombstone| tombstone.hash == hash);
        found.map(|tombstone| tombstone.version).max().unwrap_or_default()
    }

    /// How many there can be.
    pub(crate) fn places(count: usize) -> usize {
        count.next_multiple_of(GROUP)
    }

    fn make(&mut self) {
        if self.groups.is_empty() {
            self.groups = vec![[Tombstone::default(); GROUP]; self.count.div_ceil(GROUP)].into_boxed_slice();
        }
    }

    /// What a memory file holds at a place.
    pub(crate) fn restore(&mut self, place: usize, hash: u64, version: Version) {
        self.make();
        self.groups[place / GROUP][place % GROUP] = Tombstone { hash, version };
    }

    /// As [`Tombstones::restore`], for the floor.
    pub(crate) fn raise_floor(&mut self, floor: Version) {
        self.floor = self.floor.max(floor);
    }

    /// The place of a key's delete, and its version, if it is remembered.
    pub(crate) fn place(&self, hash: u64) -> Option<(usize, Version)> {
        let group = self.group(hash)?;
        let known = |known: &Tombstone| known.hash == hash && known.version.0 != 0;
        let at = self.groups[group].iter().position(known)?;
        Some((group * GROUP + at, self.groups[group][at].version))
    }

    /// A delete. Keeps the later of two of one key.
    pub(crate) fn add(&mut self, hash: u64, version: Version) {
        self.make();
        let Some(group) = self.group(hash) else { return };
        let group = &mut self.groups[group];
        if let Some(known) = group.iter_mut().find(|known| known.hash == hash && known.version.0 != 0) {
            known.version = known.version.max(version);
            return;
        }
        let oldest = group.iter_mut().min_by_key(|known| known.version).expect("a group is not empty");
        if oldest.version > version {
            self.floor = self.floor.max(version);
            return;
        }
        self.floor = self.floor.max(oldest.version);
        *oldest = Tombstone { hash, version };
    }

    /// Every delete of a hash in `range`, in no order.
    pub(crate) fn each(&self, range: &std::ops::RangeInclusive<u64>, mut visit: impl FnMut(u64, Version)) {
        let all = self.groups.iter().flatten().filter(|tombstone| tombstone.version.0 != 0);
        for tombstone in all.filter(|tombstone| range.contains(&tombstone.hash)) {
            visit(tombstone.hash, tombstone.version);
        }
    }

    fn group(&self, hash: u64) -> Option<usize> {
        if self.groups.is_empty() {
            return None;
        }
        // The lower half: the upper one is much the same for all keys of a shard.
        Some((((hash & u64::from(u32::MAX)) * self.groups.len() as u64) >> 32) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::Tombstones;
    use crate::Version;

    #[test]
    fn delete_is_remembered_with_its_latest_version() {
        let mut tombstones = Tombstones::new(64);
        assert_eq!(tombstones.of(5), Version(0));
        tombstones.add(5, Version(10));
        tombstones.add(5, Version(7));
        assert_eq!((tombstones.of(5), tombstones.of(6)), (Version(10), Version(0)));
        assert_eq!(tombstones.floor(), Version(0));
    }

    #[test]
    fn floor_is_at_least_every_version_that_was_dropped() {
        let mut tombstones = Tombstones::new(16);
        let hash = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (1..=1000).for_each(|n| tombstones.add(hash(n), Version(n)));
        let dropped = (1..=1000).filter(|n| tombstones.of(hash(*n)) == Version(0)).max();
        assert_eq!(dropped.map(Version), Some(tombstones.floor()));
        assert_eq!((1..=1000).filter(|n| tombstones.of(hash(*n)) == Version(*n)).count(), 16);
        let mut seen = 0;
        tombstones.each(&(0..=u64::MAX), |hash, version| {
            assert_eq!(tombstones.of(hash), version);
            seen += 1;
        });
        assert_eq!(seen, 16);
    }
}
