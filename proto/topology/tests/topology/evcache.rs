//! The profile `evcache` against vectors that Netflix's own classes answered.
//!
//! They were made by running the key hash, the ketama configuration and the node locator of Netflix's Java client
//! (fa8721e, 2026-03-24) over the rings and keys below.

use std::net::{IpAddr, Ipv4Addr};

use evanesce_topology::{KeyHash, Node, Ring, RingHash, RingProfile, evcache_ring_text};

use crate::fixture::{self, node};

const KEYS: [&str; 8] = ["foo", "bar", "cid:foo", "key_0", "key_1", "key_2", "key_3", "user:1234:home"];

fn members(hosts: &[(&str, [u8; 4])]) -> Vec<Node> {
    let member = |&(host, ip): &(&str, [u8; 4])| node(host, &evcache_ring_text(host, ip.into()), 1);
    hosts.iter().map(member).collect()
}

fn ring(hosts: &[(&str, [u8; 4])]) -> Ring {
    Ring::build(RingProfile::EVCACHE, &members(hosts)).unwrap()
}

/// Ring R1 of the reference.
fn r1() -> Ring {
    ring(&[("n1", [10, 0, 0, 1]), ("n2", [10, 0, 0, 2]), ("n3", [10, 0, 0, 3])])
}

fn hash(key: &str) -> KeyHash {
    RingHash::Evcache.key_hash(key.as_bytes())
}

/// Nodes of [`KEYS`] on a ring, counted from 1.
fn owners(ring: &Ring) -> [usize; 8] {
    KEYS.map(|key| ring.owner(hash(key)) + 1)
}

#[test]
fn keys_of_r1_have_netflix_hashes_points_and_nodes() {
    let long = "a".repeat(200);
    let vectors: [(&str, u64, u64, usize); 12] = [
        ("foo", 3675831724, 3679640068, 1),
        ("bar", 421377335, 435340535, 3),
        ("cid:foo", 2248265959, 2248989382, 3),
        ("key_0", 3435877274, 3448238327, 2),
        ("key_1", 1811398844, 1821834649, 3),
        ("key_2", 610991396, 618795693, 2),
        ("key_3", 1349183785, 1357596901, 1),
        ("user:1234:home", 1385975659, 1394678829, 3),
        ("EVCACHE_TEST:cid:foo", 3412316832, 3415984038, 1),
        ("café", 3833532679, 3840084801, 1),
        (&long, 3023077256, 3024776954, 1),
        // Past the largest point: around the end to the smallest.
        ("w404", 4292229454, 8782446, 3),
    ];
    let ring = r1();
    for (key, key_hash, position, node) in vectors {
        assert_eq!(hash(key), KeyHash(key_hash), "{key}");
        assert_eq!(ring.point(hash(key)).position, position, "{key}");
        assert_eq!(ring.owner(hash(key)) + 1, node, "{key}");
    }
}

#[test]
fn r1_has_netflix_points() {
    let ring = r1();
    assert_eq!(ring.points(), 480);
    let first = ring.point(KeyHash(0));
    assert_eq!((first.position, first.node), (8782446, 2));
    // Nothing lies between the largest point and the end, so what follows it is the smallest.
    let last = ring.point(KeyHash(4288868698));
    assert_eq!((last.position, last.node), (4288868698, 1));
    assert_eq!(ring.point(KeyHash(4288868699)), first);
    assert_eq!(ring.point(KeyHash(u64::from(u32::MAX))), first);
    // The first digest of n1 and the last of n3.
    for (node, points) in [
        (0, [3657555860, 1550040922, 2563436687, 380892975]),
        (2, [1922499758, 4046647773, 3948976814, 1678562762]),
    ] {
        for position in points {
            let point = ring.point(KeyHash(position));
            assert_eq!((point.position, point.node), (position, node));
        }
    }
}

#[test]
fn ten_thousand_keys_fall_on_r1_as_at_netflix() {
    let ring = r1();
    let mut counts = [0; 3];
    for number in 0..10_000 {
        counts[ring.owner(hash(&format!("key_{number}")))] += 1;
    }
    assert_eq!(counts, [3142, 3284, 3574]);
}

#[test]
fn nodes_named_by_their_address_have_netflix_owners() {
    let ten = ring(&[("10.0.0.1", [10, 0, 0, 1]), ("10.0.0.2", [10, 0, 0, 2]), ("10.0.0.3", [10, 0, 0, 3])]);
    assert_eq!(owners(&ten), [1, 1, 1, 1, 3, 1, 1, 3]);
    let loopback =
        ring(&[("127.0.0.1", [127, 0, 0, 1]), ("127.0.0.2", [127, 0, 0, 2]), ("127.0.0.3", [127, 0, 0, 3])]);
    assert_eq!(owners(&loopback), [2, 3, 3, 2, 3, 1, 1, 3]);
}

#[test]
fn node_whose_address_resolves_to_localhost_has_netflix_owners() {
    let ring =
        ring(&[("localhost", [127, 0, 0, 1]), ("127.0.0.2", [127, 0, 0, 2]), ("127.0.0.3", [127, 0, 0, 3])]);
    assert_eq!(owners(&ring), [2, 3, 1, 2, 3, 2, 3, 3]);
}

#[test]
fn names_alone_tell_nodes_on_one_address_apart_as_at_netflix() {
    let ip = [127, 0, 0, 1];
    let ring = ring(&[("a1", ip), ("a2", ip), ("a3", ip)]);
    assert_eq!(owners(&ring), [1, 1, 2, 1, 3, 1, 3, 1]);
}

#[test]
fn two_nodes_with_one_text_leave_all_points_to_the_later() {
    let ip = [127, 0, 0, 1];
    let ring = ring(&[("a", ip), ("a", ip)]);
    assert_eq!(ring.points(), 160);
    assert_eq!((ring.share(0), ring.share(1)), (0.0, 1.0));
}

/// Points of different nodes do meet: on this ring, found by search, two of 32 bits do. Whoever is listed later owns
/// the point, in either order.
#[test]
fn later_node_wins_where_real_points_meet() {
    let (a, b, position) = meeting_nodes();
    for nodes in [[a.clone(), b.clone()], [b, a]] {
        let ring = Ring::build(RingProfile::EVCACHE, &nodes).unwrap();
        assert_eq!(ring.points(), 319);
        let point = ring.point(KeyHash(position));
        assert_eq!((point.position, point.node), (position, 1));
    }
}

/// Lays rings of one node each and finds the first two that share a position.
fn meeting_nodes() -> (Node, Node, u64) {
    let mut seen = std::collections::HashMap::new();
    for number in 0..2_000_u32 {
        let ip = Ipv4Addr::from(0x0a00_0000 + number);
        let node = node(&ip.to_string(), &evcache_ring_text(&ip.to_string(), ip.into()), 1);
        for position in fixture::naive_ketama(&node.ring_text, 160) {
            if let Some(other) = seen.insert(position, node.clone()) {
                return (other, node, position);
            }
        }
    }
    panic!("320,000 points of 32 bits and no two meet");
}

#[test]
fn ring_text_writes_addresses_as_java_does() {
    let text = |ip: &str| evcache_ring_text("h", ip.parse::<IpAddr>().unwrap());
    assert_eq!(text("10.0.0.1"), "h/10.0.0.1:11211");
    assert_eq!(text("::1"), "h/0:0:0:0:0:0:0:1:11211");
    assert_eq!(text("2001:DB8::ff00:42:8329"), "h/2001:db8:0:0:0:ff00:42:8329:11211");
    assert_eq!(text("::ffff:10.0.0.1"), "h/10.0.0.1:11211");
}
