//! Owners that are known from the first bits of a key's hash.

use super::{KeyHash, RingPoint};
use crate::membership::RingHash;

/// A part of the ring in which nodes meet, or whose node has too large a number: the points tell.
const OPEN: u16 = u16::MAX;

/// Slots for each point, at least; rounded up to a power of two. At two, three keys in five or more need no search among
/// points, which takes a dozen looks into memory on a ring of one node alone.
const SLOTS_PER_POINT: usize = 2;

/// The ring in equal slots: who owns all of one, if one does.
///
/// ```text
///  points       p1(n2)      p2(n1)           p3(n1)      p4(n2)
///  slots   |  n2 | open |  n1 |  n1  |  n1  | open |  n2  |  n2 |
/// ```
pub(super) struct Shortcuts {
    owners: Vec<u16>,
    /// What is left of a position is its slot.
    shift: u32,
}

impl Shortcuts {
    /// Of points that are sorted, one per position, at least one.
    pub(super) fn new(hash: RingHash, points: &[RingPoint]) -> Self {
        let slots = (SLOTS_PER_POINT * points.len()).next_power_of_two();
        let position_bits = u64::BITS - hash.position_max().leading_zeros();
        let shift = position_bits.saturating_sub(slots.ilog2());
        let slot = |point: &RingPoint| point.position >> shift;
        let mut left = points;
        let owners = (0..slots as u64).map(|at| {
            let within = left.iter().take_while(|point| slot(point) == at).count();
            let (within, after) = left.split_at(within);
            left = after;
            // What lies behind the last point of a slot is the next point's.
            let last = after.first().unwrap_or(&points[0]);
            let is_one = within.iter().all(|point| point.node == last.node);
            u16::try_from(last.node).ok().filter(|_| is_one).unwrap_or(OPEN)
        });
        Self { owners: owners.collect(), shift }
    }

    /// The node that owns a key; `None` where only the points tell.
    #[inline]
    pub(super) fn owner(&self, KeyHash(hash): KeyHash) -> Option<usize> {
        let owner = *self.owners.get(usize::try_from(hash >> self.shift).ok()?)?;
        (owner != OPEN).then_some(usize::from(owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first point at or after a position, and past the last the first.
    fn owner_by_points(points: &[RingPoint], hash: u64) -> usize {
        points.iter().find(|point| point.position >= hash).unwrap_or(&points[0]).node as usize
    }

    #[test]
    fn shortcut_is_what_the_points_say() {
        for (ring_hash, max) in [(RingHash::Evanesce, u64::MAX), (RingHash::Evcache, u64::from(u32::MAX))] {
            for (count, nodes) in [(1, 1), (2, 2), (7, 3), (64, 1), (64, 5), (100, 100)] {
                let position = |at: u64| (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) & max;
                let mut points: Vec<RingPoint> = (0..count)
                    .map(|at| RingPoint { position: position(at), node: (at % nodes) as u32 })
                    .collect();
                points.sort_by_key(|point| point.position);
                let shortcuts = Shortcuts::new(ring_hash, &points);
                let beside = points.iter().flat_map(|point| {
                    [
                        point.position.saturating_sub(1),
                        point.position,
                        point.position.saturating_add(1).min(max),
                    ]
                });
                let spread = (0..4096).map(|at| (max / 4096) * at);
                let mut known = 0;
                for hash in beside.chain(spread).chain([0, max]) {
                    let Some(owner) = shortcuts.owner(KeyHash(hash)) else { continue };
                    known += 1;
                    assert_eq!(owner, owner_by_points(&points, hash), "{hash:x} of {count} points");
                }
                assert!(known >= 4096 / 3, "{known} known with {count} points of {nodes} nodes");
            }
        }
    }

    #[test]
    fn node_with_a_number_too_large_is_left_to_the_points() {
        let point = RingPoint { position: 7, node: u32::from(OPEN) };
        assert_eq!(Shortcuts::new(RingHash::Evanesce, &[point]).owner(KeyHash(1)), None);
    }
}
