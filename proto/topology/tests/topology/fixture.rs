//! Nodes and groups for tests, and a naive twin of the ring.

use std::collections::BTreeMap;

use evanesce_topology::{
    Epoch, GroupMode, KeyHash, Node, NodeState, RingHash, RingProfile, ServerGroup, Topology,
};
use md5::{Digest as _, Md5};

/// A node that serves on a loopback address.
pub(crate) fn node(name: &str, ring_text: &str, weight: u32) -> Node {
    Node {
        name: name.to_owned(),
        ring_text: ring_text.to_owned(),
        weight,
        state: NodeState::Serving,
        incarnation: 1,
        memcached: "127.0.0.1:11211".parse().unwrap(),
        grpc: None,
        http: None,
        version: "0.1.0".to_owned(),
        capabilities: Vec::new(),
    }
}

/// Nodes of weight 1 whose ring text is their name.
pub(crate) fn nodes(names: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Node> {
    names.into_iter().map(|name| node(name.as_ref(), name.as_ref(), 1)).collect()
}

/// A read-write group.
pub(crate) fn group(name: &str, zone: &str, nodes: Vec<Node>) -> ServerGroup {
    ServerGroup {
        name: name.to_owned(),
        zone: zone.to_owned(),
        mode: GroupMode::ReadWrite,
        nodes,
        second: None,
    }
}

/// A topology of cluster HOME at epoch 1.
pub(crate) fn topology(groups: Vec<ServerGroup>) -> Topology {
    Topology::new(
        "HOME".to_owned(),
        Epoch(1),
        RingProfile { points_per_node: 40, ..RingProfile::EVANESCE },
        groups,
    )
    .unwrap()
}

/// The points of one node of an `evcache` ring, written from the description of the algorithm.
pub(crate) fn naive_ketama(ring_text: &str, points: u32) -> Vec<u64> {
    let digest = |number| Md5::digest(format!("{ring_text}-{number}")).to_vec();
    let bytes: Vec<u8> = (0..points / 4).flat_map(digest).collect();
    bytes.chunks(4).map(|c| c.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))).collect()
}

/// The points of one node of an `evanesce` ring, written from the description of the algorithm.
pub(crate) fn naive_xxh3(ring_text: &str, points: u32) -> Vec<u64> {
    let text = |number: u32| [ring_text.as_bytes(), &number.to_le_bytes()].concat();
    (0..points).map(|number| xxhash_rust::xxh3::xxh3_64(&text(number))).collect()
}

/// The ring as a sorted map, as the Java client once kept it.
pub(crate) struct NaiveRing(BTreeMap<u64, usize>);

impl NaiveRing {
    pub(crate) fn build(profile: RingProfile, nodes: &[Node]) -> NaiveRing {
        let mut map = BTreeMap::new();
        for (index, node) in nodes.iter().enumerate() {
            let points = node.weight * profile.points_per_node;
            let positions = match profile.hash {
                RingHash::Evanesce => naive_xxh3(&node.ring_text, points),
                RingHash::Evcache => naive_ketama(&node.ring_text, points),
            };
            for position in positions {
                map.insert(position, index);
            }
        }
        NaiveRing(map)
    }

    pub(crate) fn points(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn owner(&self, hash: KeyHash) -> usize {
        let ceiling = self.0.range(hash.0..).next();
        *ceiling.or_else(|| self.0.first_key_value()).unwrap().1
    }

    /// Positions where something could go wrong: each point, and its neighbours on both sides.
    pub(crate) fn edges(&self) -> impl Iterator<Item = KeyHash> + '_ {
        self.0.keys().flat_map(|&at| [at.saturating_sub(1), at, at.saturating_add(1)].map(KeyHash))
    }
}
