//! Two rings in force while a group is resized.

use std::sync::Arc;

use evanesce_topology::{
    Epoch, Node, Placement, RingProfile, RingRole, SecondRing, ServerGroup, Topology, TopologyError,
};

use crate::fixture::{NaiveRing, group, node, nodes, topology};

fn resized(role: RingRole, ours: &[&str], others: &[&str]) -> ServerGroup {
    let second = SecondRing { role, nodes: nodes(others), change: 0 };
    ServerGroup { second: Some(second), ..group("g", "a", nodes(ours)) }
}

fn placement(group: ServerGroup) -> Placement {
    Placement::new(Arc::new(topology(vec![group]))).unwrap()
}

fn checked(group: ServerGroup) -> Result<Topology, TopologyError> {
    Topology::new("HOME".to_owned(), Epoch(1), RingProfile::EVANESCE, vec![group])
}

#[test]
fn each_key_has_the_owners_that_either_ring_alone_would_give_it() {
    let placement = placement(resized(RingRole::Next, &["n1", "n2"], &["n3", "n1", "n2"]));
    let group = &placement.topology().groups[0];
    let second = group.second.as_ref().unwrap();
    let naive = |nodes: &[Node]| NaiveRing::build(placement.topology().profile, nodes);
    let (first, other) = (naive(&group.nodes), naive(&second.nodes));
    let mut moved = 0;
    for hash in first.edges().chain(other.edges()) {
        let owner = placement.owner(0, hash).unwrap();
        assert_eq!(owner.node, first.owner(hash));
        assert_eq!(placement.replicas(hash).iter().collect::<Vec<_>>(), [owner], "readers see one ring");
        let new = &second.nodes[other.owner(hash)].name;
        let expected = (*new != group.nodes[owner.node].name).then_some(new);
        assert_eq!(placement.second_owner(0, hash).map(|node| &second.nodes[node].name), expected);
        moved += usize::from(expected.is_some_and(|name| name == "n3"));
    }
    assert!(moved > 0, "the newcomer takes keys");
}

#[test]
fn group_with_one_ring_has_no_second_owners() {
    let placement = placement(group("g", "a", nodes(["n1", "n2"])));
    assert_eq!(placement.second_owner(0, placement.key_hash(b"k")), None);
    assert_eq!(placement.second_owner(1, placement.key_hash(b"k")), None, "nor has one that is not there");
}

#[test]
fn second_ring_that_becomes_the_first_is_not_built_again() {
    let before = placement(resized(RingRole::Next, &["n1"], &["n1", "n2"]));
    let switched = topology(vec![resized(RingRole::Previous, &["n1", "n2"], &["n1"])]);
    let switched = before.next(Arc::new(switched)).unwrap();
    let whole = placement(group("g", "a", nodes(["n1", "n2"])));
    let after = switched.next(Arc::clone(whole.topology())).unwrap();
    assert!(std::ptr::eq(switched.ring(0).unwrap(), after.ring(0).unwrap()));
    for hash in NaiveRing::build(whole.topology().profile, &nodes(["n1", "n2"])).edges() {
        assert_eq!(switched.owner(0, hash), whole.owner(0, hash));
        assert_eq!(after.second_owner(0, hash), None);
    }
}

#[test]
fn nodes_of_both_rings_are_told_once_and_sorted() {
    let group = resized(RingRole::Next, &["n2", "n1"], &["n3", "n2", "n1"]);
    let topology = checked(group).unwrap();
    let names =
        |nodes: &mut dyn Iterator<Item = &Node>| nodes.map(|node| node.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&mut topology.groups[0].all_nodes()), ["n1", "n2", "n3"]);
    assert_eq!(names(&mut topology.groups[0].second.as_ref().unwrap().nodes.iter()), ["n1", "n2", "n3"]);
    assert_eq!(topology.node_count(), 2, "those that are read");
}

#[test]
fn second_rings_that_break_a_rule_are_refused() {
    let lone = Err(TopologyError::LoneRing { group: "g".to_owned() });
    assert_eq!(checked(resized(RingRole::Next, &[], &["n1"])), lone);
    assert_eq!(checked(resized(RingRole::Next, &["n1"], &[])), lone);
    let twice = checked(resized(RingRole::Next, &["n1"], &["n1", "n1"]));
    assert!(matches!(twice, Err(TopologyError::DuplicateNode { .. })));
    let with = |change: fn(&mut Node)| {
        let mut other = node("n1", "n1", 1);
        change(&mut other);
        let second = SecondRing { role: RingRole::Previous, nodes: vec![other], change: 0 };
        checked(ServerGroup { second: Some(second), ..group("g", "a", nodes(["n1"])) })
    };
    assert!(with(|node| node.weight = 3).is_ok(), "a resize may be one of weights");
    let two_faces = Err(TopologyError::TwoFaces { group: "g".to_owned(), node: "n1".to_owned() });
    assert_eq!(with(|node| node.memcached.set_port(1)), two_faces);
    assert_eq!(with(|node| node.ring_text.push('x')), two_faces);
}
