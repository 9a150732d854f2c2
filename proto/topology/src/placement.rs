//! Which nodes hold a key, and in which order they are asked.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::evanesce::home_weight;
use crate::membership::{Node, ServerGroup, Topology};
use crate::ring::{KeyHash, Ring, RingError};

/// A topology with its rings: built once per epoch, then only read.
///
/// A group is named by its index in [`Topology::groups`]. A node keeps its keys whatever its state: an owner may be
/// down, and what follows from that is the caller's decision.
#[derive(Debug)]
pub struct Placement {
    topology: Arc<Topology>,
    /// One per group; none for a group without nodes.
    rings: Vec<Option<Arc<Ring>>>,
    /// The second rings; one per group that has one.
    seconds: Vec<Option<Arc<Ring>>>,
}

/// A node of a topology, by its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeRef {
    /// Index into [`Topology::groups`].
    pub group: usize,
    /// Index into that group's nodes.
    pub node: usize,
}

/// The nodes that hold a key: one of each group that is written and has nodes, in the order of the groups' names.
#[derive(Debug, Clone, Copy)]
pub struct ReplicaSet<'a> {
    placement: &'a Placement,
    hash: KeyHash,
}

/// A group whose ring cannot be built. The fault is of whoever wrote the topology; nothing to retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("group {group}: {fault}")]
pub struct PlacementError {
    /// The group's name.
    pub group: String,
    /// Why.
    #[source]
    pub fault: RingError,
}

impl Placement {
    /// Builds the rings of a topology: see [`Ring::build`] for what that costs.
    ///
    /// # Errors
    /// Never for what came out of [`Topology::new`]; else when a ring cannot be built.
    pub fn new(topology: Arc<Topology>) -> Result<Placement, PlacementError> {
        Placement::build(topology, |_, _| None)
    }

    /// Builds the rings of the topology that follows this one, and keeps those whose nodes, texts and weights are
    /// the same: a change of state or address costs nothing, and a second ring becomes the first for nothing.
    ///
    /// # Errors
    /// As [`Placement::new`].
    pub fn next(&self, topology: Arc<Topology>) -> Result<Placement, PlacementError> {
        let same_profile = self.topology.profile == topology.profile;
        Placement::build(
            topology,
            |group, nodes| if same_profile { self.ring_for(group, nodes) } else { None },
        )
    }

    /// The topology.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// Where on the rings a key is: its bytes as they go over the wire. Hash once, use for all groups.
    pub fn key_hash(&self, key: &[u8]) -> KeyHash {
        self.topology.profile.hash.key_hash(key)
    }

    /// The ring of a group, if that has nodes.
    pub fn ring(&self, group: usize) -> Option<&Ring> {
        self.rings.get(group)?.as_deref()
    }

    /// The node of a group that owns a key; none when there is no such group or it has no nodes. Allocates nothing.
    pub fn owner(&self, group: usize, hash: KeyHash) -> Option<NodeRef> {
        self.ring(group).map(|ring| NodeRef { group, node: ring.owner(hash) })
    }

    /// The node that owns a key on the second ring of a group, as an index into [`SecondRing::nodes`]: it is written as
    /// well as the [`owner`](Placement::owner). None when that is the same node, or there is no second ring.
    ///
    /// [`SecondRing::nodes`]: crate::SecondRing::nodes
    pub fn second_owner(&self, group: usize, hash: KeyHash) -> Option<usize> {
        let node = self.seconds.get(group)?.as_deref()?.owner(hash);
        let second = self.topology.groups[group].second.as_ref()?;
        let is_owner = |owner| self.node(owner).name == second.nodes[node].name;
        (!self.owner(group, hash).is_some_and(is_owner)).then_some(node)
    }

    /// The nodes that hold a key, and are written; those on second rings come beside them, see
    /// [`Placement::second_owner`]. Allocates nothing.
    pub fn replicas(&self, hash: KeyHash) -> ReplicaSet<'_> {
        ReplicaSet { placement: self, hash }
    }

    /// A node that this placement named.
    ///
    /// # Panics
    /// When the reference is another placement's and there is no such node here.
    pub fn node(&self, node: NodeRef) -> &Node {
        &self.topology.groups[node.group].nodes[node.node]
    }

    /// The groups to read from, in order: those of the local zone, then those of the other zones.
    ///
    /// Only read-write groups with nodes are read. The other zones follow in the order of their names, starting
    /// after the local zone's and around the end, so that the readers of a zone that fails all go to one next zone,
    /// but the readers of different zones go different ways. Groups of one zone follow by name; whoever reads may
    /// take turns between them. The order does not depend on the key: keep it as long as the topology.
    pub fn read_order(&self, local_zone: &str) -> Vec<usize> {
        let groups = &self.topology.groups;
        let mut order: Vec<usize> = self.readable().collect();
        order.sort_by_key(|&group| {
            let zone = groups[group].zone.as_str();
            (zone != local_zone, zone < local_zone, zone, groups[group].name.as_str())
        });
        order
    }

    /// The group that decides for a key what only one place may decide. Allocates nothing.
    ///
    /// It is the first of [`Placement::home_order`].
    pub fn home_group(&self, hash: KeyHash) -> Option<usize> {
        self.readable().min_by_key(|&group| self.home_rank(hash, group))
    }

    /// The zone of [`Placement::home_group`].
    pub fn home_zone(&self, hash: KeyHash) -> Option<&str> {
        self.home_group(hash).map(|group| self.topology.groups[group].zone.as_str())
    }

    /// The read-write groups with nodes, the most wanted home of a key first: rendezvous hashing over their zones,
    /// then over the groups of a zone.
    ///
    /// A zone's weight is `XXH3_64bits` (seed 0) of the key's hash as eight bytes, little-endian, followed by the
    /// zone's name; a group's the same with the group's name. Larger weights come first; where two are equal, the
    /// smaller name. So when a zone leaves, only the keys whose home it was get another, spread over all that stay.
    pub fn home_order(&self, hash: KeyHash) -> Vec<usize> {
        let mut order: Vec<usize> = self.readable().collect();
        order.sort_by_cached_key(|&group| self.home_rank(hash, group));
        order
    }

    fn home_rank(&self, hash: KeyHash, group: usize) -> (Reverse<u64>, &str, Reverse<u64>, &str) {
        let group = &self.topology.groups[group];
        let weight = |name| Reverse(home_weight(hash.0, name));
        (weight(&group.zone), &group.zone, weight(&group.name), &group.name)
    }

    fn readable(&self) -> impl Iterator<Item = usize> {
        let groups = self.topology.groups.iter().enumerate();
        groups.filter(|(_, group)| group.mode.is_read() && !group.nodes.is_empty()).map(|(index, _)| index)
    }

    fn build(
        topology: Arc<Topology>,
        known: impl Fn(&str, &[Node]) -> Option<Arc<Ring>>,
    ) -> Result<Placement, PlacementError> {
        let ring = |group: &ServerGroup, nodes: &[Node]| {
            if nodes.is_empty() {
                return Ok(None);
            }
            if let Some(ring) = known(&group.name, nodes) {
                return Ok(Some(ring));
            }
            match Ring::build(topology.profile, nodes) {
                Ok(ring) => Ok(Some(Arc::new(ring))),
                Err(fault) => Err(PlacementError { group: group.name.clone(), fault }),
            }
        };
        let groups = topology.groups.iter();
        let rings = groups.clone().map(|group| ring(group, &group.nodes)).collect::<Result<_, _>>()?;
        let second = |group: &ServerGroup| match &group.second {
            Some(second) => ring(group, &second.nodes),
            None => Ok(None),
        };
        let seconds = groups.map(second).collect::<Result<_, _>>()?;
        Ok(Placement { topology, rings, seconds })
    }

    /// Our ring of that group, the first or the second, on which these nodes lie.
    fn ring_for(&self, group: &str, nodes: &[Node]) -> Option<Arc<Ring>> {
        let index = self.topology.groups.iter().position(|ours| ours.name == group)?;
        let ours = &self.topology.groups[index];
        let same = |ours: &[Node]| {
            let mut pairs = ours.iter().zip(nodes);
            ours.len() == nodes.len()
                && pairs.all(|(a, b)| (&a.ring_text, a.weight) == (&b.ring_text, b.weight))
        };
        if same(&ours.nodes) {
            return self.rings[index].clone();
        }
        let second = ours.second.as_ref().filter(|second| same(&second.nodes));
        second.and_then(|_| self.seconds[index].clone())
    }
}

impl<'a> ReplicaSet<'a> {
    /// The key's hash.
    pub fn hash(&self) -> KeyHash {
        self.hash
    }

    /// The nodes, one per group that is written and has nodes, in the order of the groups' names.
    pub fn iter(&self) -> impl Iterator<Item = NodeRef> + use<'a> {
        let ReplicaSet { placement, hash } = *self;
        let groups = placement.topology.groups.iter().enumerate();
        let written = groups.filter(|(_, group)| group.mode.is_written());
        written.filter_map(move |(index, _)| placement.owner(index, hash))
    }
}
