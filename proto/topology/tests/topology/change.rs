//! What one node's change moves.

use evanesce_topology::{Node, Ring, RingHash, RingProfile};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::fixture::{node, nodes};

/// Keys enough that some move in every case.
const KEYS: u32 = 2_000;

fn any_profile() -> impl Strategy<Value = RingProfile> {
    prop_oneof![
        Just(RingProfile { hash: RingHash::Evanesce, points_per_node: 200 }),
        Just(RingProfile::EVCACHE)
    ]
}

fn any_nodes() -> impl Strategy<Value = Vec<Node>> {
    proptest::collection::btree_set("[a-z0-9]{1,12}", 2..12).prop_map(nodes)
}

/// Ring texts of the owners of many keys.
fn owners(profile: RingProfile, nodes: &[Node]) -> Vec<&str> {
    let ring = Ring::build(profile, nodes).unwrap();
    let key = |number: u32| profile.hash.key_hash(format!("key_{number}").as_bytes());
    (0..KEYS).map(|number| nodes[ring.owner(key(number))].ring_text.as_str()).collect()
}

/// From whom and to whom keys move.
fn moves(profile: RingProfile, before: &[Node], after: &[Node]) -> Vec<(String, String)> {
    let pairs = owners(profile, before).into_iter().zip(owners(profile, after));
    pairs.filter(|(from, to)| from != to).map(|(from, to)| (from.to_owned(), to.to_owned())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn removed_node_gives_its_keys_away_and_no_other_moves(
        profile in any_profile(), nodes in any_nodes(), index: Index,
    ) {
        let mut after = nodes.clone();
        let gone = after.remove(index.index(nodes.len())).ring_text;
        let owned = owners(profile, &nodes).into_iter().filter(|owner| *owner == gone).count();
        let moved = moves(profile, &nodes, &after);
        prop_assert!(moved.iter().all(|(from, _)| *from == gone), "{:?}", moved);
        prop_assert_eq!(moved.len(), owned);
    }

    #[test]
    fn added_node_takes_its_keys_and_no_other_moves(profile in any_profile(), nodes in any_nodes(), index: Index) {
        let mut after = nodes.clone();
        after.insert(index.index(nodes.len() + 1), node("NEW", "NEW", 1));
        let moved = moves(profile, &nodes, &after);
        prop_assert!(moved.iter().all(|(_, to)| to == "NEW"), "{:?}", moved);
        let fair = f64::from(KEYS) / after.len() as f64;
        prop_assert!((moved.len() as f64) < 2.0 * fair, "{} of {} keys moved", moved.len(), KEYS);
    }

    #[test]
    fn node_replaced_under_its_ring_text_moves_nothing(
        profile in any_profile(), nodes in any_nodes(), index: Index,
    ) {
        let mut after = nodes.clone();
        let replaced = &mut after[index.index(nodes.len())];
        replaced.memcached = "127.9.9.9:5".parse().unwrap();
        replaced.incarnation += 1;
        prop_assert_eq!(moves(profile, &nodes, &after), []);
    }

    #[test]
    fn node_replaced_under_another_text_moves_its_keys_and_the_newcomers_only(
        profile in any_profile(), nodes in any_nodes(), index: Index,
    ) {
        let mut after = nodes.clone();
        let gone = std::mem::replace(&mut after[index.index(nodes.len())], node("NEW", "NEW", 1)).ring_text;
        let moved = moves(profile, &nodes, &after);
        prop_assert!(moved.iter().all(|(from, to)| *from == gone || to == "NEW"), "{:?}", moved);
    }

    #[test]
    fn larger_weight_takes_keys_and_no_other_moves(nodes in any_nodes(), index: Index, weight in 2..5_u32) {
        let mut after = nodes.clone();
        let grown = &mut after[index.index(nodes.len())];
        grown.weight = weight;
        let text = grown.ring_text.clone();
        let profile = RingProfile { hash: RingHash::Evanesce, points_per_node: 200 };
        let moved = moves(profile, &nodes, &after);
        prop_assert!(moved.iter().all(|(_, to)| *to == text), "{:?}", moved);
        prop_assert!(!moved.is_empty());
    }
}
