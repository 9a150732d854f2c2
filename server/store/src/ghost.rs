//! Ghosts: fingerprints of items that were evicted unread, so that a second coming is noticed.

use crate::budget::Charge;

/// Fingerprints in a group: one cache line.
const GROUP: usize = 16;
/// Ghosts per hundred items that the table takes. S3-FIFO remembers about as many as the main queue holds.
const GHOST_PERCENT: usize = 90;

/// A set of 4-byte fingerprints that forgets its oldest. Groups of 16, each in order of age; the fingerprint
/// itself chooses its group, so the set can be resized without anything else.
#[derive(Debug)]
pub(crate) struct Ghost {
    groups: Box<[[u32; GROUP]]>,
    /// Held for the groups.
    _charge: Charge,
}

impl Ghost {
    /// An empty set; `charge` is for [`Ghost::bytes_for`] the items.
    pub(crate) fn new(items: usize, charge: Charge) -> Ghost {
        Ghost { groups: vec![[0; GROUP]; Self::groups_for(items)].into_boxed_slice(), _charge: charge }
    }

    /// Bytes of the set beside a table for so many items.
    pub(crate) fn bytes_for(items: usize) -> usize {
        Self::groups_for(items) * size_of::<[u32; GROUP]>()
    }

    fn groups_for(items: usize) -> usize {
        (items * GHOST_PERCENT / 100).div_ceil(GROUP).max(1)
    }

    /// Moves to the size for so many items. What does not fit any more is forgotten.
    pub(crate) fn resize(&mut self, items: usize, charge: Charge) {
        let old = std::mem::replace(self, Ghost::new(items, charge));
        for group in &old.groups {
            for fingerprint in group.iter().rev().filter(|fingerprint| **fingerprint != 0) {
                self.push(*fingerprint);
            }
        }
    }

    /// Remembers a hash.
    pub(crate) fn insert(&mut self, hash: u64) {
        self.push(fingerprint(hash));
    }

    /// Whether the hash is there.
    pub(crate) fn knows(&self, hash: u64) -> bool {
        let fingerprint = fingerprint(hash);
        self.groups[self.place(fingerprint)].contains(&fingerprint)
    }

    /// Whether the hash was there; forgets it.
    pub(crate) fn take(&mut self, hash: u64) -> bool {
        let fingerprint = fingerprint(hash);
        let at = self.place(fingerprint);
        let group = &mut self.groups[at];
        let Some(at) = group.iter().position(|known| *known == fingerprint) else { return false };
        group.copy_within(at + 1.., at);
        group[GROUP - 1] = 0;
        true
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.groups.fill([0; GROUP]);
    }

    fn push(&mut self, fingerprint: u32) {
        let at = self.place(fingerprint);
        let group = &mut self.groups[at];
        group.copy_within(..GROUP - 1, 1);
        group[0] = fingerprint;
    }

    fn place(&self, fingerprint: u32) -> usize {
        ((u64::from(fingerprint) * self.groups.len() as u64) >> 32) as usize
    }
}

/// The upper half of the hash; 0 stands for an empty place.
fn fingerprint(hash: u64) -> u32 {
    ((hash >> 32) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::Ghost;
    use crate::budget::Budget;

    fn ghost(items: usize) -> Ghost {
        let budget = Budget::new(1 << 20);
        Ghost::new(items, budget.charge(Ghost::bytes_for(items)).unwrap())
    }

    fn hash(n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn taken_ghost_is_forgotten() {
        let mut ghost = ghost(100);
        ghost.insert(hash(1));
        ghost.insert(hash(2));
        assert!(ghost.take(hash(1)));
        assert!(!ghost.take(hash(1)));
        assert!(ghost.take(hash(2)));
    }

    #[test]
    fn oldest_ghosts_are_forgotten_first() {
        let mut ghost = ghost(1000);
        (1..=3000).for_each(|n| ghost.insert(hash(n)));
        let known = |ghost: &mut Ghost, range: std::ops::RangeInclusive<u64>| {
            range.filter(|n| ghost.take(hash(*n))).count()
        };
        assert!(known(&mut ghost, 2501..=3000) > 480);
        assert_eq!(known(&mut ghost, 1..=1000), 0);
    }

    #[test]
    fn ghosts_survive_growth() {
        let mut ghost = ghost(100);
        (1..=50).for_each(|n| ghost.insert(hash(n)));
        let budget = Budget::new(1 << 20);
        ghost.resize(1000, budget.charge(Ghost::bytes_for(1000)).unwrap());
        assert_eq!((1..=50).filter(|n| ghost.take(hash(*n))).count(), 50);
    }
}
