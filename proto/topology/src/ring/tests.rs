//! What only the inside of a ring can show: points that meet. The rest is in `tests/`.

use std::hash::{BuildHasher, Hash, Hasher};

use hashring::HashRing;
use proptest::prelude::*;

use super::*;

fn point(position: u64, node: u32) -> RingPoint {
    RingPoint { position, node }
}

#[test]
fn later_node_gets_the_point_where_two_meet() {
    let laid = vec![point(50, 0), point(10, 0), point(30, 1), point(10, 1), point(50, 2), point(10, 2)];
    let kept = one_per_position(laid);
    assert_eq!(kept, [point(10, 2), point(30, 1), point(50, 2)]);

    let ring = Ring::from_points(RingHash::Evcache, kept, 3);
    assert_eq!((ring.owner(KeyHash(10)), ring.owner(KeyHash(11)), ring.owner(KeyHash(51))), (2, 1, 2));
    assert_eq!(ring.share(0), 0.0, "every point of the first node went to a later one");
}

#[test]
fn one_point_owns_everything() {
    for hash in [RingHash::Evanesce, RingHash::Evcache] {
        for position in [0, 7, hash.position_max()] {
            let ring = Ring::from_points(hash, vec![point(position, 0)], 1);
            assert_eq!(ring.share(0), 1.0);
            assert_eq!(ring.owner(KeyHash(0)), 0);
            assert_eq!(ring.owner(KeyHash(hash.position_max())), 0);
        }
    }
}

#[test]
fn shares_are_the_lengths_of_arcs() {
    let quarter = 1 << 30;
    let points = vec![point(quarter - 1, 0), point(2 * quarter - 1, 1), point(4 * quarter - 1, 0)];
    let ring = Ring::from_points(RingHash::Evcache, points, 2);
    assert_eq!((ring.share(0), ring.share(1), ring.share(2)), (0.75, 0.25, 0.0));
}

/// Hands ready positions through to `hashring`, which would hash them.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Positions;

struct Position(u64);

impl BuildHasher for Positions {
    type Hasher = Position;

    fn build_hasher(&self) -> Position {
        Position(0)
    }
}

impl Hasher for Position {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("points and key hashes are written as one u64");
    }

    fn write_u64(&mut self, position: u64) {
        self.0 = position;
    }
}

impl Hash for RingPoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.position);
    }
}

/// Positions anywhere, and crowded at both ends.
fn positions() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0_u64..200, (u64::MAX - 200)..=u64::MAX]
}

proptest! {
    #[test]
    fn owner_is_that_of_a_plain_search(
        positions in prop::collection::vec(positions(), 1..200),
        keys in prop::collection::vec(positions(), 1..100),
    ) {
        for hash in [RingHash::Evanesce, RingHash::Evcache] {
            let shift = hash.position_max().leading_zeros();
            let laid = positions.iter().zip(0..).map(|(position, node)| point(position >> shift, node));
            let points = one_per_position(laid.collect());
            let mut plain = HashRing::with_hasher(Positions);
            plain.batch_add(points.clone());
            let ring = Ring::from_points(hash, points.clone(), positions.len());
            let near = points.iter().flat_map(|point| (0..3).map(|by| point.position.saturating_add(by).saturating_sub(1)));
            for key in keys.iter().map(|key| key >> shift).chain(near.filter(|key| *key <= hash.position_max())) {
                prop_assert_eq!(Some(&ring.point(KeyHash(key))), plain.get(&KeyHash(key)));
            }
        }
    }
}

#[test]
fn key_beyond_all_positions_is_the_first_points() {
    let ring = Ring::from_points(RingHash::Evcache, vec![point(5, 0), point(9, 1)], 2);
    assert_eq!((ring.owner(KeyHash(u64::MAX)), ring.owner(KeyHash(10)), ring.owner(KeyHash(6))), (0, 0, 1));
}
