//! Operators' changes of who is on a group's rings: what they mean, how they begin, get on and are taken back.

use std::time::Duration;

use evanesce_grpc::discovery::v1::{
    ChangeKind, GroupStatus, NodeProgress, NodeReport, NodeState as NodeStateMessage, Place, Roster, Stage,
    StandingBy,
};
use evanesce_topology::{NameKind, NodeState, Topology, TopologyError, check_name};

use super::cluster::{Cluster, Group};
use super::refusal::Refusal;
use super::{Moment, Registry, roster};

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The cluster; may be empty where there is only one.
    pub cluster: String,
    /// The group.
    pub group: String,
    /// What is done with it.
    pub kind: ChangeKind,
    /// The nodes meant; of a replacement the one that goes and the one that comes.
    pub nodes: Vec<String>,
    /// The zone of a group that is added.
    pub zone: String,
    /// With how many warm nodes a group that is added is read.
    pub nodes_min: u32,
}

/// What a change would do.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedChange {
    /// The cluster.
    pub cluster: String,
    /// The roster that it begins with.
    pub roster: Roster,
    /// Who is on the ring that is read, now and in the end.
    pub before: Vec<String>,
    /// The same in the end.
    pub after: Vec<String>,
    /// The group with both rings, from which the share of keys that moves can be told; none where that is all or nothing.
    pub rings: Option<Topology>,
    /// Items in the group now, and their bytes, as its nodes told last.
    pub items: u64,
    /// See `items`.
    pub bytes: u64,
    /// What an operator should know first.
    pub remarks: Vec<String>,
}

impl Registry {
    /// Rosters that a node was told by another registry. Those that make no sense are passed over: whoever brings them is not
    /// who made them.
    pub fn learn(&mut self, cluster: &str, rosters: Vec<Roster>, now: Moment) {
        let Some(cluster) = self.clusters.get_mut(cluster) else { return };
        for roster in rosters {
            let is_sane = roster::check(&roster).is_ok() && !roster::is_ahead(&roster, now.wall_ms);
            if is_sane && cluster.take(roster, now.elapsed) {
                self.revision += 1;
            }
        }
    }

    /// The rosters of a cluster and their mark: none of them where the asker has them, by the mark that it told.
    #[must_use]
    pub fn rosters(&self, cluster: &str, known_mark: u64) -> (Vec<Roster>, u64) {
        let Some(cluster) = self.clusters.get(cluster) else { return (Vec::new(), 0) };
        let mark = cluster.rosters.mark();
        (if mark == known_mark { Vec::new() } else { cluster.rosters.to_messages() }, mark)
    }

    /// What a node that has just renewed tells of itself.
    pub fn report(&mut self, cluster: &str, group: &str, name: &str, report: NodeReport) {
        let group = self.clusters.get_mut(cluster).and_then(|cluster| cluster.groups.get_mut(group));
        if let Some(member) = group.and_then(|group| group.members.get_mut(name)) {
            member.report = report;
        }
    }

    /// What a change would mean.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when it makes no sense, or cannot be made now.
    pub fn plan(&self, change: &Change, now: Moment) -> Result<PlannedChange, Refusal> {
        let name = self.cluster_named(&change.cluster)?;
        let cluster = &self.clusters[&name];
        check_name(NameKind::Group, &change.group).map_err(TopologyError::from)?;
        let newest = cluster.rosters.iter().map(|roster| roster.revision).max().unwrap_or_default();
        let revision = roster::fresh_revision(now.wall_ms, newest);
        let mut planned = cluster.planned(change, revision)?;
        planned.cluster = name;
        roster::check(&planned.roster)?;
        Ok(planned)
    }

    /// Begins a change. Answers its number.
    ///
    /// # Errors
    ///
    /// As [`Registry::plan`].
    pub fn begin(&mut self, change: &Change, now: Moment) -> Result<(PlannedChange, u64), Refusal> {
        if !self.is_settled() {
            return Err(Refusal::Change(
                "this registry has just started and has not settled: ask again in a few seconds".to_owned(),
            ));
        }
        let planned = self.plan(change, now)?;
        let number = planned.roster.change;
        let cluster = self.clusters.get_mut(&planned.cluster).expect("it was just planned for");
        cluster.take(planned.roster.clone(), now.elapsed);
        self.revision += 1;
        Ok((planned, number))
    }

    /// Takes the change of a group back. Answers what follows.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when there is none, or it is too late.
    pub fn abort(&mut self, cluster: &str, group: &str, now: Moment) -> Result<&'static str, Refusal> {
        let name = self.cluster_named(cluster)?;
        let cluster = self.clusters.get_mut(&name).expect("it was just found");
        let none = || Refusal::NoChange { group: group.to_owned() };
        let held = cluster.rosters.get(group).ok_or_else(none)?;
        let newest = cluster.rosters.iter().map(|roster| roster.revision).max().unwrap_or_default();
        let (next, said) = roster::abort(held, roster::fresh_revision(now.wall_ms, newest))?;
        cluster.take(next, now.elapsed);
        self.revision += 1;
        Ok(said)
    }

    /// How far the groups of a cluster are, and who stands by.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when there is no such cluster.
    pub fn changes(
        &self,
        cluster: &str,
        now: Moment,
    ) -> Result<(String, Vec<GroupStatus>, Vec<StandingBy>), Refusal> {
        let name = self.cluster_named(cluster)?;
        let cluster = &self.clusters[&name];
        let lease = self.terms.lease;
        let groups =
            cluster.rosters.iter().map(|roster| cluster.status(roster, now.elapsed, lease)).collect();
        let standing_by = cluster.groups.iter().flat_map(|(group, members)| {
            let roster = cluster.rosters.get(group);
            let idle = members.members.values().filter(move |member| !is_on(roster, &member.node.name));
            idle.map(|member| StandingBy {
                group: group.clone(),
                name: member.node.name.clone(),
                state: NodeStateMessage::from(member.node.state).into(),
            })
        });
        Ok((name.clone(), groups, standing_by.collect()))
    }

    /// Takes every step that is due. None while more than half of all nodes are missing.
    pub(super) fn advance(&mut self, now: Duration) {
        if self.mass_lapse().is_some() {
            return;
        }
        for cluster in self.clusters.values_mut() {
            self.revision += cluster.advance(now, self.terms.lease);
        }
    }

    fn cluster_named(&self, name: &str) -> Result<String, Refusal> {
        let mut known = self.clusters.keys();
        match (name, known.len()) {
            ("", 1) => Ok(known.next().cloned().unwrap_or_default()),
            (name, _) if self.clusters.contains_key(name) => Ok(name.to_owned()),
            _ => Err(Refusal::Change(format!(
                "this registry knows no cluster {name:?}: it knows {}",
                known.cloned().collect::<Vec<_>>().join(", ")
            ))),
        }
    }
}

/// Whether a node is on a ring of its group. All are while that is open.
fn is_on(roster: Option<&Roster>, name: &str) -> bool {
    let Some(roster) = roster else { return true };
    let is_among = |places: &[Place]| places.iter().any(|place| place.name == name);
    match roster.stage() {
        Stage::Opening => true,
        Stage::Gone => false,
        _ => is_among(&roster.nodes) || is_among(&roster.others),
    }
}

impl Cluster {
    /// Takes a roster over that is newer than what is held. Its time begins anew, even in the same stage: rings that changed
    /// places again are to be seen by clients for as long as others.
    fn take(&mut self, roster: Roster, now: Duration) -> bool {
        let (name, held) = (roster.group.clone(), roster.clone());
        if !self.rosters.merge(roster) {
            return false;
        }
        self.hold(&held, now);
        self.dirty = true;
        if let Some(group) = self.groups.get_mut(&name) {
            group.since = now;
        }
        true
    }

    /// Takes the steps that are due, closes groups, forgets who stands by and is down. How many things changed.
    fn advance(&mut self, now: Duration, lease: Duration) -> u64 {
        let mut due = Vec::new();
        for (name, group) in &mut self.groups {
            let roster = self.rosters.get(name);
            let is_over = now.saturating_sub(group.since) >= lease;
            match roster {
                None if is_over && group.members.values().any(|member| member.report.items > 0) => {
                    due.push(roster::close(name, &group.zone, group.places()));
                }
                Some(roster)
                    if is_over && roster::is_under_way(roster) && group.waits_for(roster).is_none() =>
                {
                    due.push(roster::step(roster, group.places()));
                }
                _ => {}
            }
            if roster.is_some() {
                group.members.retain(|name, member| member.is_live() || is_on(roster, name));
            }
        }
        due.into_iter().map(|roster| u64::from(self.take(roster, now))).sum()
    }

    fn status(&self, roster: &Roster, now: Duration, lease: Duration) -> GroupStatus {
        let group = self.groups.get(&roster.group);
        let since = group.map_or(now, |group| group.since);
        let passed = now.saturating_sub(since);
        let waits_for = match group {
            _ if !roster::is_under_way(roster) => String::new(),
            None => "its nodes to register".to_owned(),
            Some(group) => group.waits_for(roster).unwrap_or_else(|| match lease.saturating_sub(passed) {
                Duration::ZERO => String::new(),
                left => format!("clients to follow, for {} s", left.as_secs() + 1),
            }),
        };
        let members = group.into_iter().flat_map(|group| group.members.values());
        let nodes = members.filter(|member| is_on(Some(roster), &member.node.name));
        GroupStatus {
            roster: Some(roster.clone()),
            stage_ms: u64::try_from(passed.as_millis()).unwrap_or(u64::MAX),
            nodes: nodes
                .map(|member| NodeProgress {
                    name: member.node.name.clone(),
                    state: NodeStateMessage::from(member.node.state).into(),
                    report: Some(member.report.clone()),
                })
                .collect(),
            waits_for,
        }
    }
}

impl Group {
    /// What the next step of a roster waits for, besides time.
    fn waits_for(&self, roster: &Roster) -> Option<String> {
        match roster.stage() {
            Stage::Filling => self.unfilled(roster),
            Stage::Opening => self.unopened(roster),
            _ => None,
        }
    }

    fn unfilled(&self, roster: &Roster) -> Option<String> {
        let next = || roster.others.iter().map(|place| (&place.name, self.members.get(&place.name)));
        if let Some((name, _)) = next().find(|(_, member)| member.is_none()) {
            return Some(format!("node {name} to register"));
        }
        let known = || next().filter_map(|(name, member)| Some((name, member?)));
        if let Some((name, _)) = known().find(|(_, member)| !member.is_live()) {
            return Some(format!("node {name}, which is down: start it again, or abort"));
        }
        let (name, member) = known().find(|(_, member)| member.report.filled != roster.change)?;
        let trouble = &member.report.trouble;
        let colon = if trouble.is_empty() { "" } else { ": " };
        Some(format!("node {name} to be filled{colon}{trouble}"))
    }

    fn unopened(&self, roster: &Roster) -> Option<String> {
        let warm = self.members.values().filter(|member| member.node.state == NodeState::Serving).count();
        let missing = self.members.len().max(roster.nodes_min as usize).saturating_sub(warm);
        (missing > 0).then(|| format!("{missing} more warm nodes"))
    }

    pub(super) fn is_down(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|member| !member.is_live())
    }
}
