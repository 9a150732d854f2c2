//! The present topology and the connections of its nodes. Swapped whole.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use evanesce_topology::{
    GroupMode, KeyHash, Node, NodeState, Placement, PlacementError, RingRole, ServerGroup, Topology,
};
use tokio::time::Instant;

use crate::core::{Core, Settings};
use crate::key::Key;
use crate::member::{Link, Member};
use crate::place::mark;
use crate::repair::NodeId;

/// One epoch.
#[derive(Clone)]
pub(crate) struct Cluster {
    placement: Arc<Placement>,
    /// By server group and node, as the topology has them.
    members: Arc<Vec<Vec<Arc<Member>>>>,
    /// The same of second rings. A node that is on both is one member.
    seconds: Arc<Vec<Vec<Arc<Member>>>>,
    /// Server groups to read, nearest first.
    read_order: Vec<usize>,
}

impl Cluster {
    /// Connects to the nodes of `topology`; connections of `before` are kept where the address is the same.
    ///
    /// # Errors
    ///
    /// When the topology breaks its rules.
    pub(crate) fn new(
        topology: Arc<Topology>,
        settings: &Settings,
        before: Option<&Cluster>,
    ) -> Result<Self, PlacementError> {
        // Rings that did not change are kept too.
        let placement = match before {
            Some(before) => before.placement.next(topology)?,
            None => Placement::new(topology)?,
        };
        let links = before.map(Cluster::links).unwrap_or_default();
        let link = |zone: &str, address: SocketAddr| match links.get(&address) {
            Some(link) => Arc::clone(link),
            None => Arc::new(Link::new(address, zone, settings)),
        };
        let member = |group: &ServerGroup, node: &Node| {
            let link = link(&group.zone, node.memcached);
            let (zone, group) = (group.zone.clone(), group.name.clone());
            let warming = matches!(node.state, NodeState::Joining | NodeState::Warming);
            let down = node.state == NodeState::Down;
            let (name, incarnation) = (node.name.clone(), node.incarnation);
            let id = NodeId { group: group.clone(), node: name.clone() };
            let known = before.and_then(|before| before.member(&id));
            let replaced = known.is_some_and(|known| known.replaced || known.incarnation != incarnation);
            let mark = mark(&group, &name, incarnation);
            Arc::new(Member { zone, group, name, incarnation, mark, warming, down, replaced, link })
        };
        let groups = &placement.topology().groups;
        let members: Vec<Vec<_>> =
            groups.iter().map(|group| group.nodes.iter().map(|node| member(group, node)).collect()).collect();
        let seconds = groups.iter().zip(&members).map(|(group, ours)| {
            let nodes = group.second.iter().flat_map(|second| &second.nodes);
            let known = |node: &Node| ours.iter().find(|ours| ours.name == node.name).cloned();
            nodes.map(|node| known(node).unwrap_or_else(|| member(group, node))).collect()
        });
        let seconds = Arc::new(seconds.collect());
        let read_order = placement.read_order(&settings.zone);
        Ok(Self { placement: Arc::new(placement), members: Arc::new(members), seconds, read_order })
    }

    /// The same nodes, read in the order of these zones.
    pub(crate) fn in_order(&self, zones: &[Arc<str>]) -> Self {
        let mut cluster = self.clone();
        let groups = &self.placement.topology().groups;
        // Stable: groups of one zone stay as they are among themselves.
        cluster.read_order.sort_by_key(|&group| zones.iter().position(|zone| **zone == *groups[group].zone));
        cluster
    }

    /// The same nodes, those of this one's server group read first.
    pub(crate) fn nearest(&self, member: &Member) -> Self {
        let mut cluster = self.clone();
        let groups = &self.placement.topology().groups;
        cluster.read_order.sort_by_key(|&group| groups[group].name != member.group);
        cluster
    }

    /// The zones that are read, in that order.
    pub(crate) fn zones(&self) -> Vec<Arc<str>> {
        let mut zones: Vec<Arc<str>> = Vec::new();
        for &group in &self.read_order {
            let zone = &*self.placement.topology().groups[group].zone;
            if !zones.iter().any(|known| **known == *zone) {
                zones.push(zone.into());
            }
        }
        zones
    }

    pub(crate) fn placement(&self) -> &Placement {
        &self.placement
    }

    pub(crate) fn read_order(&self) -> &[usize] {
        &self.read_order
    }

    pub(crate) fn groups(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn mode(&self, group: usize) -> GroupMode {
        self.placement.topology().groups[group].mode
    }

    /// The node of `group` that owns the key.
    pub(crate) fn owner(&self, group: usize, hash: KeyHash) -> Option<&Arc<Member>> {
        let owner = self.placement.owner(group, hash)?;
        self.members[owner.group].get(owner.node)
    }

    /// The node that owns the key on the second ring of `group`, where that is another: it is written, and never read.
    pub(crate) fn second_owner(&self, group: usize, hash: KeyHash) -> Option<&Arc<Member>> {
        self.seconds[group].get(self.placement.second_owner(group, hash)?)
    }

    /// The node that owns the key once a resize is over.
    pub(crate) fn lasting_owner(&self, group: usize, hash: KeyHash) -> Option<&Arc<Member>> {
        let second = self.placement.topology().groups[group].second.as_ref();
        let next = second.filter(|second| second.role == RingRole::Next);
        next.and_then(|_| self.second_owner(group, hash)).or_else(|| self.owner(group, hash))
    }

    /// The node of this name, if it is there, on whichever ring.
    pub(crate) fn member(&self, id: &NodeId) -> Option<&Arc<Member>> {
        let group = self.group(&id.group)?;
        self.members[group].iter().chain(&self.seconds[group]).find(|member| member.name == id.node)
    }

    /// The position of the server group of this name.
    pub(crate) fn group(&self, name: &str) -> Option<usize> {
        self.placement.topology().groups.iter().position(|group| group.name == name)
    }

    /// The server groups that have two rings in force.
    pub(crate) fn resized(&self) -> impl Iterator<Item = &str> {
        let groups = self.placement.topology().groups.iter();
        groups.filter(|group| group.second.is_some()).map(|group| group.name.as_str())
    }

    /// All nodes, on whichever ring, each once.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        let alone = self.members.iter().zip(&*self.seconds).flat_map(|(ours, seconds)| {
            seconds.iter().filter(|second| !ours.iter().any(|ours| Arc::ptr_eq(ours, second)))
        });
        self.members.iter().flatten().chain(alone)
    }

    fn links(&self) -> HashMap<SocketAddr, Arc<Link>> {
        self.members().map(|member| (member.link.connection.address(), Arc::clone(&member.link))).collect()
    }
}

/// Walks the nodes that may answer a read: those that are well, nearest first, then those that settle and may have missed
/// somebody else's write, then those that are ill, are being warmed up, or have missed a write of the key.
#[derive(Clone)]
pub(crate) struct Walk<'a> {
    pub(crate) core: &'a Core,
    cluster: &'a Cluster,
    pub(crate) key: &'a Key,
    hash: KeyHash,
    position: usize,
    ill: Vec<&'a Arc<Member>>,
    settling: Vec<&'a Arc<Member>>,
    /// A node that does not settle has been given out.
    has_settled: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(core: &'a Core, cluster: &'a Cluster, key: &'a Key) -> Self {
        let hash = cluster.placement().key_hash(key.as_bytes());
        Self {
            core,
            cluster,
            key,
            hash,
            position: 0,
            ill: Vec::new(),
            settling: Vec::new(),
            has_settled: false,
        }
    }

    /// The same walk from its beginning.
    pub(crate) fn anew(&self) -> Self {
        Self::new(self.core, self.cluster, self.key)
    }

    /// The next node that is well, or is due for a probe. One that settles only where no other is: it may have missed what
    /// others wrote.
    pub(crate) fn next_well(&mut self, now: Instant) -> Option<&'a Arc<Member>> {
        while let Some(&group) = self.cluster.read_order.get(self.position) {
            self.position += 1;
            let Some(member) = self.cluster.owner(group, self.hash) else { continue };
            if member.warming || self.core.owes(member, self.key) {
                self.ill.push(member);
            } else if member.link.connection.settles(now) {
                self.settling.push(member);
            } else if member.link.admit(now) {
                self.has_settled = true;
                return Some(member);
            } else {
                self.ill.push(member);
            }
        }
        if self.has_settled {
            // What settles answers at once, and what is ill perhaps not at all.
            self.settling.append(&mut self.ill);
            std::mem::swap(&mut self.settling, &mut self.ill);
        }
        let at = self.settling.iter().position(|member| member.link.admit(now))?;
        Some(self.settling.remove(at))
    }

    /// The next node at all: better to ask an ill one than nobody.
    pub(crate) fn next(&mut self, now: Instant) -> Option<&'a Arc<Member>> {
        self.next_well(now).or_else(|| {
            self.ill.append(&mut self.settling);
            if self.ill.is_empty() { None } else { Some(self.ill.remove(0)) }
        })
    }

    /// Whether a write of the key is on its way to this node.
    pub(crate) fn owes(&self, member: &Member) -> bool {
        self.core.owes(member, self.key)
    }

    /// Whether any server group has not been looked at.
    pub(crate) fn has_more(&self) -> bool {
        self.position < self.cluster.read_order.len() || !(self.has_settled || self.settling.is_empty())
    }
}
