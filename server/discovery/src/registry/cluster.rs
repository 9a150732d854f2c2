//! The members of a cluster, and its topology.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evanesce_grpc::discovery::v1::{NodeReport, Place, Roster, Stage};
use evanesce_grpc::rosters::Rosters;
use evanesce_topology::{
    Epoch, GROUPS_MAX, GroupMode, NODES_PER_GROUP_MAX, Node, NodeState, RING_POINTS_MAX, RingProfile,
    RingRole, SecondRing, ServerGroup, Topology, TopologyError,
};

use super::NODES_PER_CLUSTER_MAX;
use super::refusal::Refusal;
use super::request::{Kept, Register};
use super::roster;

/// One named cache.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) profile: RingProfile,
    /// The last epoch issued; 0 before the first.
    pub(super) epoch: u64,
    pub(super) groups: BTreeMap<String, Group>,
    /// Of the groups that are not open.
    pub(super) rosters: Rosters,
    /// Whether something changed since the last publication.
    pub(super) dirty: bool,
    /// Whether a watcher holds a newer epoch than ours.
    pub(super) outnumbered: bool,
    /// The largest epoch that a node or watcher has seen anywhere.
    shown: u64,
}

/// One full copy of the data.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) zone: String,
    /// On its rings or standing by.
    pub(super) members: BTreeMap<String, Member>,
    /// Since when its roster has been as it is, as far as is known here; while it is open, when the last newcomer came.
    pub(super) since: Duration,
}

/// A node and its lease.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) node: Node,
    /// When it was heard of last; for one that was restored, the start; after a stall, its end.
    heard_at: Duration,
    /// When its lease lapses. Later than `heard_at` and a lease only after a mass lapse.
    pub(super) lease_until: Duration,
    /// When its lease lapsed, while that is why it is down.
    pub(super) lapsed_at: Option<Duration>,
    /// It gave its lease back: only a registration brings it back.
    pub(super) returned: bool,
    /// Known from disk, and not heard of since.
    unconfirmed: bool,
    /// What it told last.
    pub(super) report: NodeReport,
}

impl Cluster {
    pub(super) fn new(profile: RingProfile) -> Self {
        Self {
            profile,
            epoch: 0,
            groups: BTreeMap::new(),
            rosters: Rosters::default(),
            dirty: true,
            outnumbered: false,
            shown: 0,
        }
    }

    /// A cluster as it was kept on disk: its live nodes get a lease to be heard of.
    pub(super) fn restore(kept: Kept, now: Duration, lease: Duration) -> Self {
        let Kept { topology, rosters } = kept;
        let mut cluster = Self { epoch: topology.epoch.0, ..Self::new(topology.profile) };
        for group in topology.groups {
            let others = group.second.into_iter().flat_map(|second| second.nodes);
            let members = group.nodes.into_iter().chain(others);
            let members =
                members.map(|node| (node.name.clone(), Member::restore(node, now, lease))).collect();
            cluster.groups.insert(group.name, Group { zone: group.zone, members, since: now });
        }
        for roster in rosters {
            cluster.hold(&roster, now);
            cluster.rosters.merge(roster);
        }
        cluster
    }

    /// A group that has a roster has its time, though none of its nodes may be known here: else its steps would never be due.
    pub(super) fn hold(&mut self, roster: &Roster, now: Duration) {
        if roster.stage() != Stage::Gone && !self.groups.contains_key(&roster.group) {
            let group = Group { since: now, ..Group::new(roster.zone.clone()) };
            self.groups.insert(roster.group.clone(), group);
        }
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.groups.values().flat_map(|group| group.members.values())
    }

    pub(super) fn members_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.groups.values_mut().flat_map(|group| group.members.values_mut())
    }

    /// Whether a live node known from disk was not heard of yet.
    pub(super) fn has_unconfirmed(&self) -> bool {
        self.members().any(|member| member.is_live() && member.unconfirmed)
    }

    /// Someone has seen this epoch.
    pub(super) fn show(&mut self, epoch_seen: u64) {
        self.shown = self.shown.max(epoch_seen);
    }

    /// Whether a registration agrees with what is here.
    pub(super) fn check_fits(
        &self,
        request: &Register,
        now: Duration,
        lease: Duration,
    ) -> Result<(), Refusal> {
        if request.profile != self.profile {
            return Err(Refusal::OtherProfile {
                cluster: request.cluster.clone(),
                held: self.profile,
                given: request.profile,
            });
        }
        if let Some(roster) = self.rosters.get(&request.group)
            && roster.zone != request.zone
        {
            return Err(Refusal::OtherZone {
                group: request.group.clone(),
                held: roster.zone.clone(),
                given: request.zone.clone(),
            });
        }
        let known = self.groups.get(&request.group);
        if let Some(group) = known {
            group.check_fits(request, now, lease)?;
        } else if self.groups.len() >= GROUPS_MAX {
            return Err(Refusal::TooMany { what: "groups in the cluster", max: GROUPS_MAX });
        }
        let is_new = known.is_none_or(|group| !group.members.contains_key(&request.node.name));
        if is_new && self.members().count() >= NODES_PER_CLUSTER_MAX {
            return Err(Refusal::TooMany { what: "nodes in the cluster", max: NODES_PER_CLUSTER_MAX });
        }
        Ok(())
    }

    /// The membership under the last epoch issued.
    pub(super) fn topology(&self, name: &str) -> Topology {
        let groups = self.groups.iter();
        Topology {
            cluster: name.to_owned(),
            epoch: Epoch(self.epoch),
            profile: self.profile,
            groups: groups
                .filter_map(|(name, group)| group.server_group(name, self.rosters.get(name)))
                .collect(),
        }
    }

    /// The topology under a new epoch, when it differs from the last one `published` or a watcher holds a newer.
    pub(super) fn publish(
        &mut self,
        name: &str,
        wall_ms: u64,
        published: Option<&Arc<Topology>>,
    ) -> Option<Arc<Topology>> {
        if !self.dirty && !self.outnumbered {
            return None;
        }
        let mut topology = self.topology(name);
        let differs = published.is_none_or(|published| published.groups != topology.groups);
        let due = (differs || self.outnumbered) && !topology.groups.is_empty();
        self.dirty = false;
        self.outnumbered = false;
        if !due {
            return None;
        }
        self.epoch = wall_ms.max(self.epoch.saturating_add(1)).max(self.shown.saturating_add(1));
        topology.epoch = Epoch(self.epoch);
        Some(Arc::new(topology))
    }
}

impl Group {
    pub(super) fn new(zone: String) -> Self {
        Self { zone, members: BTreeMap::new(), since: Duration::ZERO }
    }

    /// All members, as they would be on a ring.
    pub(super) fn places(&self) -> Vec<Place> {
        self.members.values().map(Member::place).collect()
    }

    /// Takes a node in, in place of whoever held its name. Whether anything changed.
    pub(super) fn admit(&mut self, node: Node, now: Duration, lease: Duration) -> bool {
        let Some(member) = self.members.get_mut(&node.name) else {
            self.members.insert(node.name.clone(), Member::new(node, now, lease));
            return true;
        };
        member.heard(now, now + lease);
        member.returned = false;
        let changed = member.node != node;
        if member.node.incarnation != node.incarnation {
            // Another process: what the one before had been filled with is not here.
            member.report = NodeReport::default();
        }
        member.node = node;
        changed
    }

    fn check_fits(&self, request: &Register, now: Duration, lease: Duration) -> Result<(), Refusal> {
        let node = &request.node;
        if request.zone != self.zone {
            return Err(Refusal::OtherZone {
                group: request.group.clone(),
                held: self.zone.clone(),
                given: request.zone.clone(),
            });
        }
        let twin = self
            .members
            .values()
            .find(|member| member.node.ring_text == node.ring_text && member.node.name != node.name);
        if let Some(twin) = twin {
            return Err(Refusal::RingTextHeld { holder: twin.node.name.clone() });
        }
        self.check_room(request)?;
        match self.members.get(&node.name) {
            Some(member) if !member.yields_to(node, now, lease) => {
                Err(Refusal::NameHeld { name: node.name.clone(), holder: member.node.memcached })
            }
            _ => Ok(()),
        }
    }

    /// Every topology must be one that watchers take and can lay a ring of.
    fn check_room(&self, request: &Register) -> Result<(), Refusal> {
        let others = self.members.values().filter(|member| member.node.name != request.node.name);
        let nodes = others.clone().count() + 1;
        if nodes > NODES_PER_GROUP_MAX {
            return Err(TopologyError::TooManyNodes { group: request.group.clone(), nodes }.into());
        }
        let weights = others.map(|member| member.node.weight as usize).sum::<usize>();
        let points = (weights + request.node.weight as usize) * request.profile.points_per_node as usize;
        if points <= RING_POINTS_MAX {
            return Ok(());
        }
        Err(TopologyError::RingTooLarge { group: request.group.clone(), points }.into())
    }

    /// As topologies show it; none while nobody is on its ring.
    fn server_group(&self, name: &str, roster: Option<&Roster>) -> Option<ServerGroup> {
        let is_open = roster.is_none_or(|roster| roster.stage() == Stage::Opening);
        let all = || self.members.values().map(|member| member.node.clone()).collect();
        let nodes = roster.filter(|_| !is_open).map_or_else(all, |roster| self.on_ring(&roster.nodes));
        if nodes.is_empty() || roster.is_some_and(|roster| roster.stage() == Stage::Gone) {
            return None;
        }
        Some(ServerGroup {
            name: name.to_owned(),
            zone: self.zone.clone(),
            mode: roster.map_or(GroupMode::ReadWrite, |roster| roster::mode(roster.stage())),
            nodes,
            second: roster.and_then(|roster| self.second(roster)),
        })
    }

    /// As [`Group::on_ring`], with those that are not known yet thought to be like another.
    pub(super) fn on_ring_or_like_it(&self, places: &[Place]) -> Vec<Node> {
        let Some(like) = self.members.values().next() else { return Vec::new() };
        let node = |place: &Place| {
            let known = self.members.get(&place.name).unwrap_or(like);
            Node { name: place.name.clone(), ring_text: place.ring_text.clone(), ..known.node.clone() }
        };
        places.iter().map(node).collect()
    }

    /// Those of a ring that are known.
    pub(super) fn on_ring(&self, places: &[Place]) -> Vec<Node> {
        let known = places.iter().filter_map(|place| Some((self.members.get(&place.name)?, place)));
        let mut nodes: Vec<Node> = known
            .map(|(member, place)| Node { ring_text: place.ring_text.clone(), ..member.node.clone() })
            .collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    /// The second ring, once all on it are known.
    fn second(&self, roster: &Roster) -> Option<SecondRing> {
        let role = match roster.stage() {
            Stage::Filling => RingRole::Next,
            Stage::Switched => RingRole::Previous,
            _ => return None,
        };
        let nodes = self.on_ring(&roster.others);
        let is_whole = nodes.len() == roster.others.len() || role == RingRole::Previous;
        (is_whole && !nodes.is_empty()).then_some(SecondRing { role, nodes, change: roster.change })
    }
}

impl Member {
    fn new(node: Node, now: Duration, lease: Duration) -> Self {
        Self {
            node,
            heard_at: now,
            lease_until: now + lease,
            lapsed_at: None,
            returned: false,
            unconfirmed: false,
            report: NodeReport::default(),
        }
    }

    fn place(&self) -> Place {
        Place { name: self.node.name.clone(), ring_text: self.node.ring_text.clone() }
    }

    fn restore(node: Node, now: Duration, lease: Duration) -> Self {
        // Whether one that is down lapsed or gave its lease back was not kept: if it lives, it registers again.
        let returned = node.state == NodeState::Down;
        Self { unconfirmed: true, returned, ..Self::new(node, now, lease) }
    }

    pub(super) fn is_live(&self) -> bool {
        self.node.state != NodeState::Down
    }

    /// How long it has not been heard of.
    pub(super) fn silence(&self, now: Duration) -> Duration {
        now.saturating_sub(self.heard_at)
    }

    /// It spoke.
    pub(super) fn heard(&mut self, now: Duration, lease_until: Duration) {
        self.heard_at = now;
        self.lease_until = lease_until;
        self.lapsed_at = None;
        self.unconfirmed = false;
    }

    /// It may have spoken while nobody listened.
    pub(super) fn prolong(&mut self, now: Duration, lease_until: Duration) {
        self.heard_at = now;
        self.lease_until = lease_until;
    }

    /// Its lease lapsed.
    pub(super) fn lapse(&mut self, now: Duration) {
        self.node.state = NodeState::Down;
        self.lapsed_at = Some(now);
    }

    /// Whether `newcomer` may have its name: see [`super::Registry::register`].
    fn yields_to(&self, newcomer: &Node, now: Duration, lease: Duration) -> bool {
        !self.is_live()
            || self.node.incarnation == newcomer.incarnation
            || self.node.memcached == newcomer.memcached
            || self.silence(now) >= lease
    }
}
