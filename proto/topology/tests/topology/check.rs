//! What a topology must keep to be one.

use evanesce_topology::{
    CAPABILITIES_MAX, Epoch, GROUPS_MAX, NODES_PER_GROUP_MAX, NameKind, Node, RingHash, RingProfile,
    ServerGroup, Topology, TopologyError, WEIGHT_MAX,
};

use crate::fixture::{group, node, nodes};

fn build(profile: RingProfile, groups: Vec<ServerGroup>) -> Result<Topology, TopologyError> {
    Topology::new("HOME".to_owned(), Epoch(7), profile, groups)
}

/// What becomes of a topology with this one node.
fn with_node(change: impl FnOnce(&mut Node)) -> Result<Topology, TopologyError> {
    let mut member = node("n1", "n1", 1);
    change(&mut member);
    build(RingProfile::EVANESCE, vec![group("g", "a", vec![member])])
}

#[test]
fn groups_and_nodes_are_sorted_by_name() {
    let groups = vec![group("g-b", "b", nodes(["n2", "n10", "n1"])), group("g-a", "b", nodes(["n1"]))];
    let topology = build(RingProfile::EVANESCE, groups).unwrap();
    assert_eq!(topology.groups[0].name, "g-a");
    let names: Vec<_> = topology.groups[1].nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["n1", "n10", "n2"]);
    assert_eq!((topology.node_count(), topology.zones(), topology.is_empty()), (4, vec!["b"], false));
    assert_eq!(topology.group("g-b"), Some(&topology.groups[1]));
}

#[test]
fn topology_without_nodes_is_empty_but_allowed() {
    assert!(build(RingProfile::EVANESCE, Vec::new()).unwrap().is_empty());
    assert!(build(RingProfile::EVANESCE, vec![group("g", "a", Vec::new())]).unwrap().is_empty());
}

#[test]
fn bad_names_are_refused_wherever_they_are() {
    let kind = |result: Result<Topology, TopologyError>| match result.unwrap_err() {
        TopologyError::Name(error) => error.to_string().split(' ').next().unwrap().to_owned(),
        other => panic!("{other}"),
    };
    let profile = RingProfile::EVANESCE;
    assert_eq!(kind(Topology::new("a b".into(), Epoch(1), profile, vec![])), NameKind::Cluster.to_string());
    assert_eq!(kind(build(profile, vec![group("", "a", vec![])])), "group");
    assert_eq!(kind(build(profile, vec![group("g", "a/b", vec![])])), "zone");
    assert_eq!(kind(with_node(|node| node.name = "n:1".into())), "node");
}

#[test]
fn nodes_that_break_a_rule_are_refused() {
    assert!(matches!(with_node(|node| node.weight = 0), Err(TopologyError::Weight { weight: 0, .. })));
    assert!(matches!(with_node(|node| node.weight = WEIGHT_MAX + 1), Err(TopologyError::Weight { .. })));
    assert!(matches!(with_node(|node| node.ring_text.clear()), Err(TopologyError::RingText { .. })));
    assert!(matches!(with_node(|node| node.version = "1".repeat(65)), Err(TopologyError::Version { .. })));
    for address in ["0.0.0.0:11211", "[::]:1", "127.0.0.1:0"] {
        let address = address.parse().unwrap();
        assert!(matches!(with_node(|node| node.memcached = address), Err(TopologyError::Address { .. })));
        assert!(matches!(with_node(|node| node.grpc = Some(address)), Err(TopologyError::Address { .. })));
    }
    for words in [vec![String::new()], vec!["a b".into()], vec!["x".into(); CAPABILITIES_MAX + 1]] {
        assert!(matches!(
            with_node(|node| node.capabilities = words),
            Err(TopologyError::Capabilities { .. })
        ));
    }
}

#[test]
fn names_and_ring_texts_are_unique_where_they_must_be() {
    let profile = RingProfile::EVANESCE;
    let twice = build(profile, vec![group("g", "a", vec![]), group("g", "b", vec![])]);
    assert_eq!(twice, Err(TopologyError::DuplicateGroup { group: "g".into() }));
    let twice = build(profile, vec![group("g", "a", nodes(["n", "n"]))]);
    assert_eq!(twice, Err(TopologyError::DuplicateNode { group: "g".into(), node: "n".into() }));
    let twice = build(profile, vec![group("g", "a", vec![node("n1", "t", 1), node("n2", "t", 1)])]);
    assert_eq!(twice, Err(TopologyError::DuplicateRingText { group: "g".into(), ring_text: "t".into() }));
    // Node names and texts are a group's own.
    assert!(build(profile, vec![group("g", "a", nodes(["n"])), group("h", "a", nodes(["n"]))]).is_ok());
}

#[test]
fn profiles_that_lay_no_ring_are_refused() {
    for (hash, points, good) in [
        (RingHash::Evanesce, 1, true),
        (RingHash::Evanesce, 0, false),
        (RingHash::Evanesce, 16_385, false),
        (RingHash::Evcache, 4, true),
        (RingHash::Evcache, 0, false),
        (RingHash::Evcache, 162, false),
    ] {
        let profile = RingProfile { hash, points_per_node: points };
        assert_eq!(build(profile, Vec::new()).is_ok(), good, "{profile}");
    }
}

#[test]
fn weights_are_refused_on_an_evcache_ring() {
    let heavy = vec![group("g", "a", vec![node("n", "n", 2)])];
    let error = build(RingProfile::EVCACHE, heavy).unwrap_err();
    assert!(matches!(error, TopologyError::WeightOnEvcache { weight: 2, .. }));
}

#[test]
fn sizes_are_bounded() {
    let profile = RingProfile::EVANESCE;
    let groups = (0..=GROUPS_MAX).map(|i| group(&format!("g{i}"), "a", vec![])).collect();
    assert_eq!(build(profile, groups), Err(TopologyError::TooManyGroups { groups: GROUPS_MAX + 1 }));

    let many = |count: usize| nodes((0..count).map(|i| format!("n{i}")));
    assert!(
        build(profile, vec![group("g", "a", many(NODES_PER_GROUP_MAX))]).is_ok(),
        "the default profile fits"
    );
    let result = build(profile, vec![group("g", "a", many(NODES_PER_GROUP_MAX + 1))]);
    assert!(matches!(result, Err(TopologyError::TooManyNodes { .. })));

    let heavy = vec![node("n1", "n1", WEIGHT_MAX), node("n2", "n2", WEIGHT_MAX)];
    let result = build(profile, vec![group("g", "a", heavy)]);
    assert!(matches!(result, Err(TopologyError::RingTooLarge { points: 8_192_000, .. })));
}
