//! What goes out comes back; what breaks a rule does not come in.

use std::net::SocketAddr;

use evanesce_grpc::convert::{self, ConvertError};
use evanesce_grpc::{FILE_DESCRIPTOR_SET, discovery::v1};
use evanesce_topology::{
    Epoch, GroupMode, Node, NodeState, RingProfile, RingRole, SecondRing, ServerGroup, Topology,
    TopologyError,
};
use proptest::prelude::*;
use prost::Message as _;
use prost_types::FileDescriptorSet;

fn message() -> v1::Topology {
    let node = v1::Node {
        name: "n1".into(),
        ring_text: "n1".into(),
        weight: 1,
        state: v1::NodeState::Serving.into(),
        memcached: "127.0.0.1:11211".into(),
        ..v1::Node::default()
    };
    let group = v1::ServerGroup {
        name: "g".into(),
        zone: "a".into(),
        mode: v1::GroupMode::ReadWrite.into(),
        nodes: vec![node],
        second: None,
    };
    let profile = Some(RingProfile::EVANESCE.into());
    v1::Topology { cluster: "HOME".into(), epoch: 3, profile, groups: vec![group] }
}

/// What becomes of the message after a change.
fn changed(change: impl FnOnce(&mut v1::Topology)) -> Result<Topology, ConvertError> {
    let mut message = message();
    change(&mut message);
    Topology::try_from(message)
}

fn changed_node(change: impl FnOnce(&mut v1::Node)) -> Result<Topology, ConvertError> {
    changed(|message| change(&mut message.groups[0].nodes[0]))
}

#[test]
fn whole_message_becomes_a_topology() {
    let topology = Topology::try_from(message()).unwrap();
    assert_eq!((topology.epoch, topology.node_count()), (Epoch(3), 1));
    assert_eq!(v1::Topology::from(&topology), message());
}

#[test]
fn second_rings_come_back_and_broken_ones_are_refused() {
    let second = |role: i32| v1::SecondRing { role, nodes: message().groups[0].nodes.clone(), change: 7 };
    for role in [v1::RingRole::Next, v1::RingRole::Previous] {
        let topology = changed(|message| message.groups[0].second = Some(second(role.into()))).unwrap();
        assert_eq!(v1::Topology::from(&topology).groups[0].second, Some(second(role.into())));
    }
    for number in [0, 3] {
        let result = changed(|message| message.groups[0].second = Some(second(number)));
        assert_eq!(result, Err(ConvertError::Enum { field: "second.role", number }));
    }
    let result =
        changed(|message| message.groups[0].second = Some(v1::SecondRing { role: 1, ..Default::default() }));
    let fault = TopologyError::LoneRing { group: "g".into() };
    assert_eq!(result, Err(ConvertError::Topology(fault)));
}

#[test]
fn bad_addresses_are_refused() {
    for text in ["", "127.0.0.1", "localhost:11211", "127.0.0.1:99999", "::1:5", " 127.0.0.1:1"] {
        let result = changed_node(|node| node.memcached = text.into());
        assert_eq!(result, Err(ConvertError::Address { field: "node.memcached" }), "{text}");
    }
    let result = changed_node(|node| node.grpc = "x".into());
    assert_eq!(result, Err(ConvertError::Address { field: "node.grpc" }));
    let result = changed_node(|node| node.http = "x".into());
    assert_eq!(result, Err(ConvertError::Address { field: "node.http" }));
    let result = changed_node(|node| node.memcached = "0.0.0.0:11211".into());
    assert!(matches!(result, Err(ConvertError::Topology(TopologyError::Address { .. }))));
}

#[test]
fn enum_numbers_that_name_nothing_are_refused() {
    for number in [0, 99, -1] {
        let result = changed_node(|node| node.state = number);
        assert_eq!(result, Err(ConvertError::Enum { field: "node.state", number }));
        let result = changed(|message| message.groups[0].mode = number);
        assert_eq!(result, Err(ConvertError::Enum { field: "group.mode", number }));
        let profile = Some(v1::RingProfile { hash: number, points_per_node: 160 });
        let result = changed(|message| message.profile = profile);
        assert_eq!(result, Err(ConvertError::Enum { field: "profile.hash", number }));
    }
}

#[test]
fn missing_parts_are_refused() {
    assert_eq!(changed(|message| message.profile = None), Err(ConvertError::Missing { field: "profile" }));
    assert_eq!(convert::node(None), Err(ConvertError::Missing { field: "node" }));
    assert_eq!(convert::topology(None), Err(ConvertError::Missing { field: "topology" }));
}

#[test]
fn rules_of_topologies_hold_for_messages() {
    let refused = |result| matches!(result, Err(ConvertError::Topology(_)));
    assert!(refused(changed(|message| message.cluster.clear())));
    assert!(refused(changed(|message| message.groups[0].name = "a b".into())));
    assert!(refused(changed(|message| message.groups[0].zone.clear())));
    assert!(refused(changed(|message| message.groups.push(message.groups[0].clone()))));
    assert!(refused(changed_node(|node| node.name.clear())));
    assert!(refused(changed_node(|node| node.weight = 0)));
    assert!(refused(changed_node(|node| node.ring_text = "a\nb".into())));
    assert!(refused(changed_node(|node| node.ring_text = "x".repeat(1 << 20))));
    assert!(refused(changed_node(|node| node.capabilities = vec!["x".into(); 1000])));
}

#[test]
fn refusal_is_an_invalid_argument_that_repeats_little() {
    let error = changed_node(|node| node.name = "x".repeat(1 << 20)).unwrap_err();
    let status = tonic::Status::from(error);
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert_eq!(status.message(), "node name has 1048576 bytes; give it 1 to 128");
}

#[test]
fn descriptor_set_is_complete_and_carries_the_comments() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let names: Vec<_> = set.file.iter().map(|file| file.name()).collect();
    assert!(names.contains(&"evanesce/discovery/v1/discovery.proto"), "{names:?}");
    assert!(names.contains(&"evanesce/admin/v1/admin.proto"), "{names:?}");
    for file in &set.file {
        assert!(file.dependency.iter().all(|import| names.contains(&import.as_str())), "{names:?}");
        let locations = &file.source_code_info.as_ref().unwrap().location;
        assert!(locations.iter().any(|location| !location.leading_comments().is_empty()), "{:?}", file.name);
    }
}

fn any_state() -> impl Strategy<Value = NodeState> {
    use NodeState::{Down, Draining, Joining, Serving, Warming};
    proptest::sample::select(vec![Joining, Warming, Serving, Draining, Down])
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    let reachable = |address: &SocketAddr| !address.ip().is_unspecified() && address.port() != 0;
    any::<SocketAddr>().prop_map(plain).prop_filter("an address to connect to", reachable)
}

/// Flow labels and scopes are a machine's own and do not travel.
fn plain(address: SocketAddr) -> SocketAddr {
    (address.ip(), address.port()).into()
}

prop_compose! {
    fn any_node()(
        name in "[A-Za-z0-9._-]{1,128}", ring_text in "\\PC{1,100}", state in any_state(), incarnation: u64,
        memcached in any_address(), grpc in proptest::option::of(any_address()),
        http in proptest::option::of(any_address()), version in "[0-9.]{0,20}",
        capabilities in proptest::collection::vec("[!-~]{1,64}", 0..4),
    ) -> Node {
        Node { name, ring_text, weight: 1, state, incarnation, memcached, grpc, http, version, capabilities }
    }
}

prop_compose! {
    fn any_group()(
        name in "[A-Za-z0-9._-]{1,20}", zone in "[a-z]{1,20}",
        mode in proptest::sample::select(vec![GroupMode::ReadWrite, GroupMode::WriteOnly, GroupMode::Disabled]),
        mut nodes in proptest::collection::vec(any_node(), 0..5), weight in 1..9_u32,
        role in proptest::sample::select(vec![None, Some(RingRole::Next), Some(RingRole::Previous)]),
    ) -> ServerGroup {
        for (index, node) in nodes.iter_mut().enumerate() {
            node.ring_text.push_str(&index.to_string());
            node.name = format!("{index}-{}", &node.name[..node.name.len().min(100)]);
        }
        // A few of them, on a ring of their own weights.
        let mut others: Vec<_> = nodes.iter().skip(1).cloned().collect();
        others.iter_mut().for_each(|node| node.weight = weight);
        let second = role.filter(|_| !others.is_empty()).map(|role| SecondRing { role, nodes: others, change: weight.into() });
        ServerGroup { name, zone, mode, nodes, second }
    }
}

proptest! {
    #[test]
    fn topology_comes_back_from_its_bytes_as_it_went(
        cluster in "[A-Za-z0-9._-]{1,128}", epoch: u64, evcache: bool,
        groups in proptest::collection::btree_map("[a-z]{1,9}", any_group(), 0..4),
    ) {
        let groups = groups.into_iter().map(|(name, group)| ServerGroup { name, ..group }).collect();
        let profile = if evcache { RingProfile::EVCACHE } else { RingProfile::EVANESCE };
        // A digit appended to one ring text can make it another: such a pair is no topology.
        let Ok(topology) = Topology::new(cluster, Epoch(epoch), profile, groups) else { return Ok(()) };
        let bytes = v1::Topology::from(&topology).encode_to_vec();
        prop_assert_eq!(Topology::try_from(v1::Topology::decode(bytes.as_slice()).unwrap()), Ok(topology));
    }

    #[test]
    fn whatever_comes_in_keeps_the_rules(
        name in "\\PC{0,3}", weight in 0..3_u32, state in -1..7_i32, mode in -1..5_i32, hash in -1..4_i32, points: u16,
        memcached in "(127\\.0\\.0\\.[01]:[0-9]{1,5}|[0-9.:]{0,15})",
    ) {
        let result = changed(|message| {
            message.profile = Some(v1::RingProfile { hash, points_per_node: points.into() });
            message.groups[0].mode = mode;
            let node = &mut message.groups[0].nodes[0];
            (node.name, node.weight, node.state, node.memcached) = (name, weight, state, memcached);
        });
        if let Ok(topology) = result {
            prop_assert_eq!(topology.check(), Ok(()));
        }
    }
}
