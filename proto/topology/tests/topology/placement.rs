//! Which nodes hold a key, and in which order they are asked.

use std::sync::Arc;

use evanesce_topology::{
    GroupMode, KeyHash, NodeRef, NodeState, Placement, RingProfile, ServerGroup, Topology,
};

use crate::fixture::{group, nodes, topology};

fn zones(names: &[&str]) -> Vec<ServerGroup> {
    let members = |zone: &str| nodes([format!("{zone}1"), format!("{zone}2")]);
    names.iter().map(|zone| group(&format!("g-{zone}"), zone, members(zone))).collect()
}

fn placement(groups: Vec<ServerGroup>) -> Placement {
    Placement::new(Arc::new(topology(groups))).unwrap()
}

fn keys() -> impl Iterator<Item = String> {
    (0..3_000).map(|number| format!("key_{number}"))
}

fn group_names<'a>(placement: &'a Placement, groups: &[usize]) -> Vec<&'a str> {
    groups.iter().map(|&group| placement.topology().groups[group].name.as_str()).collect()
}

#[test]
fn each_written_group_holds_a_key_once() {
    let mut groups = zones(&["a", "b", "c", "d"]);
    groups[1].mode = GroupMode::WriteOnly;
    groups[2].mode = GroupMode::Disabled;
    groups[3].nodes.clear();
    let placement = placement(groups);
    for key in keys() {
        let hash = placement.key_hash(key.as_bytes());
        let replicas: Vec<_> = placement.replicas(hash).iter().collect();
        assert_eq!(replicas, [placement.owner(0, hash).unwrap(), placement.owner(1, hash).unwrap()]);
        assert!(replicas.iter().all(|&replica| placement.node(replica).name.starts_with(['a', 'b'])));
    }
    assert_eq!(placement.owner(3, KeyHash(0)), None, "a group without nodes owns nothing");
    assert_eq!(placement.owner(4, KeyHash(0)), None, "nor does a group that is not there");
    assert!(placement.owner(2, KeyHash(0)).is_some(), "a disabled group still has its ring");
}

#[test]
fn node_that_died_keeps_its_keys() {
    let alive = placement(zones(&["a"]));
    let mut groups = zones(&["a"]);
    groups[0].nodes[0].state = NodeState::Down;
    let down = placement(groups);
    for key in keys() {
        let hash = alive.key_hash(key.as_bytes());
        assert_eq!(alive.owner(0, hash), down.owner(0, hash));
    }
}

#[test]
fn reads_go_to_the_local_zone_then_around_the_others() {
    let placement = placement(zones(&["d", "b", "a", "c"]));
    let order = |zone| group_names(&placement, &placement.read_order(zone));
    assert_eq!(order("a"), ["g-a", "g-b", "g-c", "g-d"]);
    assert_eq!(order("c"), ["g-c", "g-d", "g-a", "g-b"]);
    assert_eq!(order("bb"), ["g-c", "g-d", "g-a", "g-b"], "a zone without a group reads from the next");
    assert_eq!(order("z"), ["g-a", "g-b", "g-c", "g-d"]);
    assert_eq!(order(""), ["g-a", "g-b", "g-c", "g-d"]);
}

#[test]
fn groups_that_are_not_read_are_in_no_read_order_and_no_home() {
    let mut groups = zones(&["a", "b", "c", "d"]);
    groups.push(group("g-b2", "b", nodes(["x"])));
    groups[0].mode = GroupMode::WriteOnly;
    groups[2].mode = GroupMode::Disabled;
    groups[3].nodes.clear();
    let placement = placement(groups);
    for zone in ["a", "b", "c", "d", ""] {
        assert_eq!(group_names(&placement, &placement.read_order(zone)), ["g-b", "g-b2"]);
    }
    for key in keys() {
        assert_eq!(placement.home_zone(placement.key_hash(key.as_bytes())), Some("b"));
    }
}

/// Made with the reference implementation of xxh3, as the documentation of `home_order` says.
#[test]
fn homes_are_those_of_the_documented_hash() {
    let placement = placement(zones(&["a", "b", "c"]));
    for (key, order) in [
        ("foo", ["g-a", "g-c", "g-b"]),
        ("bar", ["g-c", "g-b", "g-a"]),
        ("cid:foo", ["g-c", "g-b", "g-a"]),
        ("key_0", ["g-c", "g-a", "g-b"]),
        ("key_1", ["g-a", "g-b", "g-c"]),
        ("user:1234:home", ["g-c", "g-a", "g-b"]),
    ] {
        let homes = placement.home_order(placement.key_hash(key.as_bytes()));
        assert_eq!(group_names(&placement, &homes), order, "{key}");
    }
}

#[test]
fn homes_spread_evenly_and_only_a_lost_zones_keys_move() {
    let (three, two) = (placement(zones(&["a", "b", "c"])), placement(zones(&["a", "c"])));
    let mut counts = std::collections::BTreeMap::new();
    for key in keys() {
        let hash = three.key_hash(key.as_bytes());
        let (home, order) = (three.home_zone(hash).unwrap(), three.home_order(hash));
        *counts.entry(home).or_insert(0) += 1;
        assert_eq!(three.home_group(hash), Some(order[0]));
        let next = if home == "b" { order[1] } else { order[0] };
        assert_eq!(two.home_zone(hash).unwrap(), three.topology().groups[next].zone, "{key}");
    }
    // 1,000 each are due; chance strays by 26.
    assert!(counts.values().all(|count| (900..1_100).contains(count)), "{counts:?}");
}

#[test]
fn homes_do_not_follow_the_nodes_that_own_the_keys() {
    let placement = placement(zones(&["a", "b"]));
    let mut counts = [[0; 2]; 2];
    for key in keys() {
        let hash = placement.key_hash(key.as_bytes());
        counts[placement.home_group(hash).unwrap()][placement.owner(0, hash).unwrap().node] += 1;
    }
    let part = |home: [i32; 2]| f64::from(home[0]) / f64::from(home[0] + home[1]);
    assert!((part(counts[0]) - part(counts[1])).abs() < 0.08, "{counts:?}");
}

#[test]
fn empty_topology_places_nothing() {
    let placement = placement(Vec::new());
    let hash = placement.key_hash(b"foo");
    assert_eq!(placement.replicas(hash).iter().count(), 0);
    assert_eq!((placement.home_group(hash), placement.home_zone(hash)), (None, None));
    assert_eq!(placement.read_order("a"), Vec::<usize>::new());
}

#[test]
fn next_placement_keeps_rings_that_did_not_change_and_builds_the_others() {
    let before = placement(zones(&["a", "b"]));
    let mut groups = zones(&["a", "b", "c"]);
    groups[0].nodes[1].state = NodeState::Down;
    groups[1].nodes[1].weight = 3;
    let after = before.next(Arc::new(topology(groups.clone()))).unwrap();
    let fresh = placement(groups);
    let same = |group| std::ptr::eq(before.ring(group).unwrap(), after.ring(group).unwrap());
    assert!(same(0) && !same(1));
    for key in keys() {
        let hash = after.key_hash(key.as_bytes());
        assert!(after.replicas(hash).iter().eq(fresh.replicas(hash).iter()));
    }
}

#[test]
fn next_placement_of_another_profile_builds_all_rings() {
    let before = placement(zones(&["a"]));
    let topology = Topology { profile: RingProfile::EVCACHE, ..topology(zones(&["a"])) };
    let after = before.next(Arc::new(topology)).unwrap();
    assert_eq!(after.ring(0).unwrap().points(), 320);
    assert_eq!(after.key_hash(b"foo"), KeyHash(3675831724));
}

#[test]
fn ring_that_cannot_be_built_names_its_group() {
    let mut topology = topology(zones(&["a"]));
    topology.groups[0].nodes.iter_mut().for_each(|node| node.weight = 0);
    let error = Placement::new(Arc::new(topology)).unwrap_err();
    assert_eq!(error.to_string(), "group g-a: a ring without nodes; add one");
}

#[test]
fn references_order_by_group_then_node() {
    assert!(NodeRef { group: 0, node: 9 } < NodeRef { group: 1, node: 0 });
}
