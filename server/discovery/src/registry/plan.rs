//! What an operator's change of a group would make of it.

use evanesce_grpc::discovery::v1::{ChangeKind, Place, Roster, Stage};
use evanesce_topology::{
    Epoch, GroupMode, NODES_PER_GROUP_MAX, NameKind, RingHash, RingProfile, RingRole, SecondRing,
    ServerGroup, Topology, TopologyError, check_name,
};

use super::changes::{Change, PlannedChange};
use super::cluster::{Cluster, Member};
use super::refusal::Refusal;
use super::roster;

/// In a registration: the node gives its items to peers.
const CAPABILITY_PEER: &str = "peer";

impl Cluster {
    /// The roster that the change begins with, and what it means.
    pub(super) fn planned(&self, change: &Change, revision: u64) -> Result<PlannedChange, Refusal> {
        let held = self.rosters.get(&change.group);
        if let Some(held) = held.filter(|held| roster::is_under_way(held)) {
            return Err(Refusal::UnderWay { group: held.group.clone(), what: held.what.clone() });
        }
        let held = held.filter(|held| held.stage() != Stage::Gone);
        let group = self.groups.get(&change.group);
        if change.kind == ChangeKind::AddGroup {
            return self.planned_group(change, revision, held.is_some() || self.is_open(&change.group));
        }
        let places = match (held, group) {
            (Some(held), _) => held.nodes.clone(),
            (None, Some(group)) if self.is_open(&change.group) => group.places(),
            _ => {
                return Err(refused(format!(
                    "there is no group {:?}: see `evanesce ctl topology`",
                    change.group
                )));
            }
        };
        let zone = held.map(|held| held.zone.clone()).or_else(|| group.map(|group| group.zone.clone()));
        let base = Roster {
            group: change.group.clone(),
            zone: zone.unwrap_or_default(),
            revision,
            change: revision,
            nodes: places.clone(),
            what: what(change),
            ..Roster::default()
        };
        if change.kind == ChangeKind::RemoveGroup {
            return self.planned_leave(base);
        }
        let (others, mut remarks) = self.next_places(change, &places)?;
        let moves = others != places;
        if !moves {
            return Err(refused("that would change nothing".to_owned()));
        }
        if others.is_empty() {
            return Err(refused("that would leave the group without a node: remove the group".to_owned()));
        }
        let rings = self.rings(&base, &places, &others)?;
        if places.iter().any(|place| group.is_some_and(|group| group.is_down(&place.name))) {
            remarks.push("a node of the group is down: what it alone had comes from other zones".to_owned());
        }
        let is_mute = |member: &Member| !member.node.capabilities.iter().any(|word| word == CAPABILITY_PEER);
        let ours = group.into_iter().flat_map(|group| group.members.values());
        if ours.filter(|member| places.iter().any(|place| place.name == member.node.name)).any(is_mute) {
            remarks.push(
                "its nodes give no items to each other (they ask for passwords, or have no gRPC side): what moves is \
                 missed once in this zone"
                    .to_owned(),
            );
        }
        let planned = Roster { others, stage: Stage::Filling.into(), ..base };
        Ok(self.planned_with(planned.clone(), names(&places), names(&planned.others), rings, remarks))
    }

    fn planned_with(
        &self,
        roster: Roster,
        before: Vec<String>,
        after: Vec<String>,
        rings: Option<Topology>,
        remarks: Vec<String>,
    ) -> PlannedChange {
        let members = self.groups.get(&roster.group).into_iter().flat_map(|group| group.members.values());
        let ours = members.filter(|member| before.contains(&member.node.name));
        let (items, bytes) = ours.fold((0, 0), |(items, bytes), member| {
            (items + member.report.items, bytes + member.report.item_bytes)
        });
        PlannedChange { cluster: String::new(), roster, before, after, rings, items, bytes, remarks }
    }

    fn planned_group(
        &self,
        change: &Change,
        revision: u64,
        is_there: bool,
    ) -> Result<PlannedChange, Refusal> {
        if is_there {
            return Err(refused(format!("group {:?} is there already", change.group)));
        }
        // They would come back with what they had before, and deletes of the time between would be undone.
        let left = self.groups.get(&change.group).into_iter().flat_map(|group| group.members.values());
        let left: Vec<_> = left.map(|member| member.node.name.as_str()).collect();
        if !left.is_empty() {
            let nodes = left.join(", ");
            return Err(refused(format!(
                "nodes of another life of the group are still there: stop {nodes} first"
            )));
        }
        check_name(NameKind::Zone, &change.zone).map_err(TopologyError::from)?;
        let roster = Roster {
            group: change.group.clone(),
            zone: change.zone.clone(),
            revision,
            change: revision,
            stage: Stage::Opening.into(),
            nodes_min: change.nodes_min.max(1),
            what: what(change),
            ..Roster::default()
        };
        let remarks = vec![format!(
            "start its nodes with --group {} --zone {}: it is written at once, and read when {} of them are warm",
            change.group, change.zone, roster.nodes_min
        )];
        Ok(self.planned_with(roster, Vec::new(), Vec::new(), None, remarks))
    }

    fn planned_leave(&self, base: Roster) -> Result<PlannedChange, Refusal> {
        let readable = |name: &String| {
            let roster = self.rosters.get(name);
            roster.is_none_or(|roster| roster::mode(roster.stage()) == GroupMode::ReadWrite)
        };
        let others =
            self.groups.iter().filter(|(name, group)| **name != base.group && !group.members.is_empty());
        if !others.map(|(name, _)| name).any(readable) {
            return Err(refused("it is the only group that is read: add another first".to_owned()));
        }
        let before = names(&base.nodes);
        let remarks = vec!["its nodes stand by in the end, and may be stopped then".to_owned()];
        let leaving = Roster { stage: Stage::Leaving.into(), ..base };
        Ok(self.planned_with(leaving, before, Vec::new(), None, remarks))
    }

    /// Who is on the ring after a change of nodes.
    fn next_places(&self, change: &Change, places: &[Place]) -> Result<(Vec<Place>, Vec<String>), Refusal> {
        let is_on = |name: &String| places.iter().any(|place| place.name == *name);
        let mut next = places.to_vec();
        let mut remarks = Vec::new();
        let nodes = &change.nodes;
        match (change.kind, nodes.as_slice()) {
            (ChangeKind::AddNodes, [_, ..]) => {
                for name in nodes {
                    next.push(self.newcomer(change, name, is_on(name), &mut remarks)?);
                }
            }
            (ChangeKind::RemoveNodes, [_, ..]) => {
                if let Some(name) = nodes.iter().find(|name| !is_on(name)) {
                    return Err(refused(format!(
                        "node {name:?} is not on the ring of group {:?}",
                        change.group
                    )));
                }
                next.retain(|place| !nodes.contains(&place.name));
            }
            (ChangeKind::ReplaceNode, [old, new]) => {
                if self.profile.hash == RingHash::Evcache {
                    return Err(refused(
                        "on an evcache ring a node's place is its address: stop the old one, and start one with \
                         its name and address"
                            .to_owned(),
                    ));
                }
                let newcomer = self.newcomer(change, new, is_on(new), &mut remarks)?;
                let Some(place) = next.iter_mut().find(|place| place.name == *old) else {
                    return Err(refused(format!(
                        "node {old:?} is not on the ring of group {:?}",
                        change.group
                    )));
                };
                place.name = newcomer.name;
            }
            _ => return Err(refused("name the nodes that are meant".to_owned())),
        }
        next.sort_by(|a, b| a.name.cmp(&b.name));
        if next.len() > NODES_PER_GROUP_MAX {
            let (group, nodes) = (change.group.clone(), next.len());
            return Err(TopologyError::TooManyNodes { group, nodes }.into());
        }
        Ok((next, remarks))
    }

    fn newcomer(
        &self,
        change: &Change,
        name: &str,
        is_on: bool,
        remarks: &mut Vec<String>,
    ) -> Result<Place, Refusal> {
        check_name(NameKind::Node, name).map_err(TopologyError::from)?;
        if is_on {
            return Err(refused(format!("node {name:?} is on the ring of group {:?} already", change.group)));
        }
        let member = self.groups.get(&change.group).and_then(|group| group.members.get(name));
        if !member.is_some_and(Member::is_live) {
            let group = &change.group;
            if self.profile.hash == RingHash::Evcache {
                return Err(refused(format!(
                    "on an evcache ring a node's place is its address, and node {name} is not registered: start it first, \
                     with --group {group}; it stands by until it is added"
                )));
            }
            remarks.push(format!(
                "node {name} is not registered yet: the change waits until it is; start it with --group {group}"
            ));
        }
        let ring_text = member.map_or(name, |member| &member.node.ring_text).to_owned();
        Ok(Place { name: name.to_owned(), ring_text })
    }

    fn is_open(&self, group: &str) -> bool {
        self.rosters.get(group).is_none() && self.groups.contains_key(group)
    }

    /// Both rings of the group, of which only texts and weights matter; none where a node is not known yet and its weight
    /// with it.
    fn rings(&self, base: &Roster, places: &[Place], others: &[Place]) -> Result<Option<Topology>, Refusal> {
        let Some(group) = self.groups.get(&base.group) else { return Ok(None) };
        let (nodes, others) = (group.on_ring(places), group.on_ring_or_like_it(others));
        if nodes.is_empty() || others.is_empty() {
            return Ok(None);
        }
        let server_group = ServerGroup {
            name: base.group.clone(),
            zone: base.zone.clone(),
            mode: GroupMode::ReadWrite,
            nodes,
            second: Some(SecondRing { role: RingRole::Next, nodes: others, change: base.change }),
        };
        let profile: RingProfile = self.profile;
        Ok(Some(Topology::new("plan".to_owned(), Epoch::default(), profile, vec![server_group])?))
    }
}

fn names(places: &[Place]) -> Vec<String> {
    places.iter().map(|place| place.name.clone()).collect()
}

fn refused(why: String) -> Refusal {
    Refusal::Change(why)
}

fn what(change: &Change) -> String {
    let Change { group, nodes, zone, .. } = change;
    match (change.kind, nodes.as_slice()) {
        (ChangeKind::AddNodes, nodes) => format!("add {} to {group}", nodes.join(", ")),
        (ChangeKind::RemoveNodes, nodes) => format!("remove {} from {group}", nodes.join(", ")),
        (ChangeKind::ReplaceNode, [old, new]) => format!("replace {old} of {group} with {new}"),
        (ChangeKind::AddGroup, _) => format!("add group {group} in zone {zone}"),
        (ChangeKind::RemoveGroup, _) => format!("remove group {group}"),
        _ => format!("change {group}"),
    }
}
