//! The ring against a naive twin, a sorted map.

use evanesce_topology::{KeyHash, Node, Ring, RingHash, RingProfile};
use proptest::prelude::*;

use crate::fixture::{NaiveRing, node};

/// Nodes with distinct texts of any characters, and weights.
fn members(weight_max: u32) -> impl Strategy<Value = Vec<Node>> {
    let texts = proptest::collection::btree_map("\\PC{1,40}", 1..=weight_max, 1..12);
    texts.prop_map(|texts| texts.into_iter().map(|(text, weight)| node("n", &text, weight)).collect())
}

fn agree(profile: RingProfile, nodes: &[Node], keys: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let (ring, twin) = (Ring::build(profile, nodes).unwrap(), NaiveRing::build(profile, nodes));
    prop_assert_eq!(ring.points(), twin.points());
    let hashes = keys.iter().map(|key| profile.hash.key_hash(key));
    for hash in hashes.chain(twin.edges()).chain([0, u64::from(u32::MAX), u64::MAX].map(KeyHash)) {
        prop_assert_eq!(ring.owner(hash), twin.owner(hash), "{:?}", hash);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn evanesce_ring_agrees_with_its_twin(nodes in members(3), points in 1..200_u32, keys: [Vec<u8>; 20]) {
        agree(RingProfile { hash: RingHash::Evanesce, points_per_node: points }, &nodes, &keys)?;
    }

    #[test]
    fn evcache_ring_agrees_with_its_twin(nodes in members(1), digests in 1..50_u32, keys: [Vec<u8>; 20]) {
        agree(RingProfile { hash: RingHash::Evcache, points_per_node: 4 * digests }, &nodes, &keys)?;
    }
}
