//! The nodes of sibling groups, and which of them holds a key.

use std::sync::Arc;
use std::time::Duration;

use evanesce_grpc::discovery::v1;
use evanesce_grpc::peer::v1::peer_client::PeerClient;
use evanesce_grpc::peer::v1::{CompareRequest, CompareResponse, Entry, Pair};
use evanesce_topology::{GroupMode, Node, NodeRef, NodeState, Placement, Topology};
use futures_util::future::join_all;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tracing::debug;

use super::keeper::Member;
use crate::shared::Shared;
use crate::warm::{CAPABILITY_PEER, answer_bytes_max, channel};

/// How long a question about keys may take: a step's work on a machine that has no time.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The siblings of one node under one topology.
pub(super) struct Others {
    pub(super) cluster: String,
    pub(super) placement: Placement,
    /// This node's group.
    own: usize,
    /// Those that are there, by group; groups without nodes, and this one's, are none.
    pub(super) groups: Vec<Group>,
}

/// A sibling group.
pub(super) struct Group {
    /// Its place in the topology.
    pub(super) at: usize,
    pub(super) nodes: Vec<Other>,
    /// Nodes that are not there, or do not answer.
    pub(super) absent: usize,
}

/// A node of it.
pub(super) struct Other {
    pub(super) at: NodeRef,
    pub(super) client: PeerClient<Channel>,
}

impl Others {
    /// Connects to all siblings; `None` where this node is not in the topology, or not up there.
    pub(super) async fn reach(shared: &Shared, topology: &Arc<Topology>, member: &Member) -> Option<Self> {
        let own = topology.groups.iter().position(|group| group.name == member.group)?;
        // Not before clients write to it, or something would be missed in between.
        let is_there = |node: &&Node| node.name == member.name && node.state != NodeState::Down;
        topology.groups[own].nodes.iter().find(is_there)?;
        let placement = Placement::new(Arc::clone(topology)).ok()?;
        let is_sibling = |at: &usize| {
            let group = &topology.groups[*at];
            *at != own && group.mode != GroupMode::Disabled && !group.nodes.is_empty()
        };
        let siblings = (0..topology.groups.len()).filter(is_sibling);
        let groups = join_all(siblings.map(|at| Group::reach(shared, topology, at))).await;
        Some(Self { cluster: topology.cluster.clone(), placement, own, groups })
    }

    /// Whether no other group is there, or those of their nodes that are up have all just come back themselves: nobody knows more,
    /// as far as anybody can tell. Where all are down one that knows may be the first to come back.
    pub(super) fn all_missed_something(&self) -> bool {
        let topology = self.placement.topology();
        let nodes = self.groups.iter().flat_map(|group| &topology.groups[group.at].nodes);
        have_all_come_back(nodes.map(|node| node.state))
    }

    /// Without any, for a comparison with a node that is none.
    pub(super) fn alone(cluster: String, placement: Placement) -> Self {
        Self { cluster, placement, own: 0, groups: Vec::new() }
    }

    /// This node and another, for that one to know.
    pub(super) fn pair(&self, other: NodeRef, member: &Member) -> Pair {
        let topology = self.placement.topology();
        let group =
            |at: usize| Some(v1::ServerGroup { second: None, ..v1::ServerGroup::from(&topology.groups[at]) });
        Pair {
            cluster: self.cluster.clone(),
            profile: Some(v1::RingProfile::from(topology.profile)),
            asker_group: group(self.own),
            asker: member.name.clone(),
            giver_group: group(other.group),
            giver: self.placement.node(other).name.clone(),
        }
    }

    /// Who holds a key in a group, if it is there.
    pub(super) fn holder<'a>(&self, group: &'a Group, key: &[u8]) -> Option<&'a Other> {
        let owner = self.placement.owner(group.at, self.placement.key_hash(key))?;
        group.nodes.iter().find(|other| other.at == owner)
    }
}

impl Group {
    async fn reach(shared: &Shared, topology: &Topology, at: usize) -> Self {
        let nodes = &topology.groups[at].nodes;
        let reached = join_all(nodes.iter().enumerate().map(|(node, known)| async move {
            let address = answers(known)?;
            let connected = channel(&address.to_string()).await;
            let reached =
                connected.inspect_err(|error| debug!(%address, %error, "a sibling is out of reach"));
            let client = PeerClient::new(reached.ok()?).max_decoding_message_size(answer_bytes_max(shared));
            Some(Other { at: NodeRef { group: at, node }, client })
        }));
        let reached: Vec<Other> = reached.await.into_iter().flatten().collect();
        Self { at, absent: nodes.len() - reached.len(), nodes: reached }
    }
}

fn have_all_come_back(states: impl Iterator<Item = NodeState>) -> bool {
    let (mut is_alone, mut are_any_up) = (true, false);
    for state in states {
        is_alone = false;
        match state {
            NodeState::Joining | NodeState::Warming => are_any_up = true,
            NodeState::Down => {}
            _ => return false,
        }
    }
    is_alone || are_any_up
}

/// Where a node is asked, if it is there.
fn answers(node: &Node) -> Option<std::net::SocketAddr> {
    let knows = node.capabilities.iter().any(|word| word == CAPABILITY_PEER);
    node.grpc.filter(|_| knows && node.state != NodeState::Down)
}

impl Other {
    /// Asks about the first of these entries: as many as it judged.
    pub(super) async fn compare(&self, cluster: &str, entries: &[Entry]) -> Result<CompareResponse, Status> {
        let request = CompareRequest { cluster: cluster.to_owned(), entries: entries.to_vec() };
        let mut client = self.client.clone();
        let answer = timeout(ANSWER_MAX, client.compare(request)).await;
        let answer = answer.map_err(|_| Status::deadline_exceeded("it does not answer"))??.into_inner();
        if answer.judged == 0 || answer.judged as usize > entries.len() {
            return Err(Status::new(Code::Internal, "it answers what was not asked"));
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sibling_that_serves_or_may_come_back_may_know_more() {
        use NodeState::{Down, Draining, Joining, Serving, Warming};
        let knows = [Serving, Draining].map(|state| have_all_come_back([Warming, state].into_iter()));
        assert_eq!(knows, [false; 2]);
        assert!(!have_all_come_back([Down, Down].into_iter()), "the first to come back may know more");
        assert!(have_all_come_back([Warming, Joining, Down].into_iter()), "all were away, and one stays so");
        assert!(have_all_come_back([].into_iter()), "there is no other zone");
    }
}
