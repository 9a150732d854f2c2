//! What only the inside of a ring can show: points that meet. The rest is in `tests/`.

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
