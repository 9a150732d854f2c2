//! The profile `evanesce`: its exact definition, and its balance.

use evanesce_topology::{KeyHash, Node, Ring, RingHash, RingProfile};

use crate::fixture::{node, nodes};

const KEY_VECTORS: [(&str, u64); 7] = [
    ("foo", 12352915711150947722),
    ("bar", 15304296276065178466),
    ("cid:foo", 14096144408741266498),
    ("key_0", 1447446626050778541),
    ("key_1", 5682831458262809681),
    ("user:1234:home", 10032157670756965046),
    ("café", 5513492080776525439),
];

/// Points 0, 1, 255, 256 and 3999 of n1 and n3, as indices of nodes.
const POINT_VECTORS: [(u32, u64); 10] = [
    (0, 7155942366983318843),
    (0, 6596002002755925965),
    (0, 7325476915020783394),
    (0, 4070728687293003950),
    (0, 18253292374454278068),
    (2, 10272504710872899737),
    (2, 2009279408146218601),
    (2, 4781570719400766661),
    (2, 6091788122838314769),
    (2, 13378199103371931472),
];

/// Owners on the ring of n1, n2 and n3, counted from 1.
const OWNER_VECTORS: [(&str, usize); 7] =
    [("foo", 2), ("bar", 1), ("cid:foo", 1), ("key_0", 1), ("key_1", 2), ("user:1234:home", 1), ("café", 3)];

/// What clients of other languages are checked against, made with the reference implementation of xxh3:
/// `python3 -c "import xxhash; print(xxhash.xxh3_64_intdigest(b'n1' + (0).to_bytes(4, 'little')))"` and the like.
#[test]
fn points_and_keys_have_the_documented_hashes() {
    for (key, hash) in KEY_VECTORS {
        assert_eq!(RingHash::Evanesce.key_hash(key.as_bytes()), KeyHash(hash), "{key}");
    }
    let ring = Ring::build(RingProfile::EVANESCE, &nodes(["n1", "n2", "n3"])).unwrap();
    assert_eq!(ring.points(), 12_000);
    for (node, position) in POINT_VECTORS {
        let point = ring.point(KeyHash(position));
        assert_eq!((point.position, point.node), (position, node));
    }
    for (key, node) in OWNER_VECTORS {
        assert_eq!(ring.owner(RingHash::Evanesce.key_hash(key.as_bytes())) + 1, node, "{key}");
    }
}

fn fullest(ring: &Ring, nodes: usize) -> f64 {
    (0..nodes).map(|node| ring.share(node) * nodes as f64).fold(0.0, f64::max)
}

/// Names as people give them, the short ones that differ in one character included.
fn name_sets() -> Vec<Vec<Node>> {
    vec![
        nodes((0..100).map(|i| format!("n{i}"))),
        nodes((0..100).map(|i| format!("{i:02}"))),
        nodes((0..100).map(|i| format!("n{i:02}"))),
        nodes((0..100).map(|i| format!("nod{i:02}xyz"))),
        nodes((0..100).map(|i| format!("us-east-1a-{i}"))),
        nodes((0..100).map(|i| format!("evanesce-{i}.evanesce.cache.svc.cluster.local"))),
        nodes((0..100).map(|i| format!("10.0.{}.{}", i / 10, i % 10))),
        nodes((0..100).map(|i| format!("{}{i}", "x".repeat(100)))),
    ]
}

#[test]
fn fullest_of_100_equal_nodes_holds_at_most_1_08_of_the_mean() {
    for nodes in name_sets() {
        let ring = Ring::build(RingProfile::EVANESCE, &nodes).unwrap();
        let fullest = fullest(&ring, nodes.len());
        assert!(fullest <= 1.08, "{fullest} with names like {}", nodes[0].name);
    }
}

#[test]
fn keys_fall_as_the_shares_say() {
    let nodes = nodes((0..100).map(|i| format!("n{i}")));
    let ring = Ring::build(RingProfile::EVANESCE, &nodes).unwrap();
    let mut counts = [0_u32; 100];
    // Enough that chance alone strays by 1 % of a node's share, little beside the 8 % allowed.
    let keys = 1_000_000;
    for number in 0..keys {
        counts[ring.owner(RingHash::Evanesce.key_hash(format!("user:{number}").as_bytes()))] += 1;
    }
    for (node, count) in counts.into_iter().enumerate() {
        let share = f64::from(count) / f64::from(keys);
        assert!(
            (share - ring.share(node)).abs() * 100.0 < 0.05,
            "n{node}: {share}, not {}",
            ring.share(node)
        );
        assert!(share * 100.0 <= 1.08, "n{node} holds {share}");
    }
}

#[test]
fn weighted_nodes_get_their_proportional_share() {
    let weights = [1, 2, 3, 4, 10];
    let nodes: Vec<_> =
        weights.iter().map(|&weight| node(&format!("w{weight}"), &format!("w{weight}"), weight)).collect();
    let ring = Ring::build(RingProfile::EVANESCE, &nodes).unwrap();
    for (index, weight) in weights.into_iter().enumerate() {
        let due = f64::from(weight) / f64::from(weights.iter().sum::<u32>());
        assert!((ring.share(index) / due - 1.0).abs() < 0.08, "{weight}: {} of {due}", ring.share(index));
    }
}

#[test]
fn shares_add_up_to_the_whole() {
    for profile in [RingProfile::EVANESCE, RingProfile::EVCACHE] {
        let ring = Ring::build(profile, &nodes(["a", "b", "c"])).unwrap();
        assert!(((0..3).map(|node| ring.share(node)).sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
