//! What nodes ask, and the bounds it must keep.

use evanesce_grpc::discovery::v1::Roster;
use evanesce_topology::{NameKind, Node, NodeState, RingProfile, Topology, TopologyError, check_name};

use super::refusal::Refusal;
use super::roster;
use super::{EPOCH_AHEAD_MAX, Moment, NODES_PER_CLUSTER_MAX};

/// Epochs on disk lie below this: watchers take none beyond.
const EPOCH_KEPT_LIMIT: u64 = 1 << 62;

/// A node registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Its cluster.
    pub cluster: String,
    /// The ring that it was started with.
    pub profile: RingProfile,
    /// Its server group.
    pub group: String,
    /// Its zone.
    pub zone: String,
    /// What it says of itself.
    pub node: Node,
    /// The newest epoch that it has seen from any discovery.
    pub epoch_seen: u64,
}

/// A node renews its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renew {
    /// Its cluster.
    pub cluster: String,
    /// Its server group.
    pub group: String,
    /// Its ring name.
    pub name: String,
    /// As registered.
    pub incarnation: u64,
    /// Where it is in its life.
    pub state: NodeState,
    /// The newest epoch that it has seen from any discovery.
    pub epoch_seen: u64,
}

/// A node gives its lease back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// Its cluster.
    pub cluster: String,
    /// Its server group.
    pub group: String,
    /// Its ring name.
    pub name: String,
    /// As registered.
    pub incarnation: u64,
}

/// What is kept of a cluster on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Who is on its rings, under the last epoch.
    pub topology: Topology,
    /// Who is to be, by group.
    pub rosters: Vec<Roster>,
}

/// A cluster all of whose groups are open.
impl From<Topology> for Kept {
    fn from(topology: Topology) -> Self {
        Self { topology, rosters: Vec::new() }
    }
}

/// What can be told without looking at the cluster.
pub(super) fn check_register(request: &Register) -> Result<(), Refusal> {
    check(NameKind::Cluster, &request.cluster)?;
    check(NameKind::Group, &request.group)?;
    check(NameKind::Zone, &request.zone)?;
    request.profile.check()?;
    request.node.check(request.profile)?;
    check_live(request.node.state)
}

pub(super) fn check_renew(request: &Renew) -> Result<(), Refusal> {
    check_live(request.state)
}

pub(super) fn check_watch(cluster: &str, epoch_seen: u64, now: Moment) -> Result<(), Refusal> {
    check(NameKind::Cluster, cluster)?;
    if is_sane(epoch_seen, now) { Ok(()) } else { Err(Refusal::AbsurdEpoch(epoch_seen)) }
}

/// What a node claims to have seen; nothing where that is absurd. Its lease matters more than the mistake of whichever
/// discovery told it.
pub(super) fn heeded(epoch_seen: u64, now: Moment) -> u64 {
    if is_sane(epoch_seen, now) { epoch_seen } else { 0 }
}

/// What was kept on disk keeps the same rules.
pub(super) fn check_kept(kept: &Kept) -> Result<(), Refusal> {
    let topology = &kept.topology;
    topology.check()?;
    kept.rosters.iter().try_for_each(roster::check)?;
    if topology.epoch.0 >= EPOCH_KEPT_LIMIT {
        return Err(Refusal::AbsurdEpoch(topology.epoch.0));
    }
    if topology.groups.iter().map(|group| group.nodes.len()).sum::<usize>() > NODES_PER_CLUSTER_MAX {
        return Err(Refusal::TooMany { what: "nodes in the cluster", max: NODES_PER_CLUSTER_MAX });
    }
    Ok(())
}

fn check(kind: NameKind, name: &str) -> Result<(), Refusal> {
    Ok(check_name(kind, name).map_err(TopologyError::from)?)
}

/// A node that speaks is not down; to be so, it gives its lease back.
fn check_live(state: NodeState) -> Result<(), Refusal> {
    if state == NodeState::Down { Err(Refusal::NotLive) } else { Ok(()) }
}

fn is_sane(epoch_seen: u64, now: Moment) -> bool {
    epoch_seen <= now.wall_ms.saturating_add(EPOCH_AHEAD_MAX)
}
