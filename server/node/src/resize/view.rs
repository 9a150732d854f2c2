//! The rings of the node's own group, as the topology has them.

use std::collections::BTreeSet;
use std::sync::Arc;

use evanesce_topology::{
    Node, NodeState, Placement, PlacementError, RingRole, SecondRing, ServerGroup, Topology,
};

use crate::warm::{CAPABILITY_PEER, Newcomer};

/// Its own group's rings, and its place on them.
#[derive(Debug)]
pub(super) struct View {
    /// Of the own group alone; none where the topology lacks it.
    placement: Option<Placement>,
    me: String,
    /// The whole topology: other groups may have to give.
    pub(super) topology: Arc<Topology>,
}

impl View {
    /// What follows from a topology; rings of the view `before` are kept.
    pub(super) fn new(
        topology: Arc<Topology>,
        me: &Newcomer,
        before: Option<&View>,
    ) -> Result<Self, PlacementError> {
        let group = topology.group(&me.group).cloned();
        let own = group.map(|group| Arc::new(Topology { groups: vec![group], ..(*topology).clone() }));
        let known = before.and_then(|before| before.placement.as_ref());
        let placement = match (own, known) {
            (Some(own), Some(known)) => Some(known.next(own)?),
            (Some(own), None) => Some(Placement::new(own)?),
            (None, _) => None,
        };
        Ok(Self { placement, me: me.name.clone(), topology })
    }

    pub(super) fn group(&self) -> Option<&ServerGroup> {
        self.placement.as_ref().and_then(|placement| placement.topology().groups.first())
    }

    pub(super) fn second(&self) -> Option<&SecondRing> {
        self.group()?.second.as_ref()
    }

    /// The owners of a key on either ring, but this node.
    pub(super) fn others(&self, key: &[u8]) -> impl Iterator<Item = &Node> {
        let owners = self.placement.as_ref().map(|placement| {
            let hash = placement.key_hash(key);
            let second = placement.second_owner(0, hash);
            let second = second.and_then(|node| self.second()?.nodes.get(node));
            [placement.owner(0, hash).map(|owner| placement.node(owner)), second]
        });
        owners.into_iter().flatten().flatten().filter(|node| node.name != self.me)
    }

    /// Whether the ring that is read gives the key to this node.
    pub(super) fn owns(&self, key: &[u8]) -> bool {
        let Some(placement) = &self.placement else { return false };
        let owner = placement.owner(0, placement.key_hash(key));
        owner.is_some_and(|owner| placement.node(owner).name == self.me)
    }

    /// Whether a ring in force gives the key to this node; any key while none has this node: a registry may have lost its memory.
    pub(super) fn concerns(&self, key: &[u8]) -> bool {
        self.owns(key) || self.owns_second(key) || !(self.is_on_first() || self.is_on_second())
    }

    fn owns_second(&self, key: &[u8]) -> bool {
        let owner = self.placement.as_ref().and_then(|placement| {
            let owner = placement.second_owner(0, placement.key_hash(key))?;
            self.second()?.nodes.get(owner)
        });
        owner.is_some_and(|node| node.name == self.me)
    }

    /// Whether a group has the nodes of the ring that is read, with the same places on it.
    pub(super) fn has_ring(&self, group: &ServerGroup) -> bool {
        let places = |group: &ServerGroup| {
            let places =
                group.nodes.iter().map(|node| (node.name.clone(), node.ring_text.clone(), node.weight));
            places.collect::<BTreeSet<_>>()
        };
        self.group().is_none_or(|ours| ours.name == group.name && places(ours) == places(group))
    }

    pub(super) fn is_on_first(&self) -> bool {
        self.group().is_some_and(|group| self.is_among(&group.nodes))
    }

    pub(super) fn is_on_second(&self) -> bool {
        self.second().is_some_and(|second| self.is_among(&second.nodes))
    }

    /// The number of the change whose next ring is in force.
    pub(super) fn next_change(&self) -> Option<u64> {
        let second = self.second().filter(|second| second.role == RingRole::Next)?;
        Some(second.change)
    }

    /// Whether this node is read, and is not to be once others have its keys.
    pub(super) fn is_leaving(&self) -> bool {
        self.next_change().is_some() && self.is_on_first() && !self.is_on_second()
    }

    /// The nodes of both rings, but this one.
    pub(super) fn peers(&self) -> impl Iterator<Item = &Node> {
        self.group().into_iter().flat_map(ServerGroup::all_nodes).filter(|node| node.name != self.me)
    }

    /// The nodes that have what the next ring gives this one, and the current one does not: those that leave the ring and,
    /// where it comes itself, all others. A node that stays takes nothing from another that stays.
    pub(super) fn sources(&self) -> Vec<&Node> {
        let (Some(group), Some(second)) = (self.group(), self.second()) else { return Vec::new() };
        let comes = !self.is_on_first();
        let leaves = |node: &Node| second.nodes.iter().all(|next| next.name != node.name);
        let nodes = group.nodes.iter().filter(|node| node.name != self.me);
        nodes.filter(|node| comes || leaves(node)).collect()
    }

    /// The nodes of the next ring that can be given anything now.
    pub(super) fn takers(&self) -> impl Iterator<Item = &Node> {
        let nodes = self.second().into_iter().flat_map(|second| &second.nodes);
        nodes.filter(|node| node.name != self.me && node.state != NodeState::Down)
    }

    fn is_among(&self, nodes: &[Node]) -> bool {
        nodes.iter().any(|node| node.name == self.me)
    }
}

/// Whether a node gives its items to peers now.
pub(super) fn gives(node: &Node) -> bool {
    node.state != NodeState::Down
        && node.grpc.is_some()
        && node.capabilities.iter().any(|word| word == CAPABILITY_PEER)
}
