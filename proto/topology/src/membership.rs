//! Who is in a cluster.

use std::net::SocketAddr;

/// The numbered membership of a cluster. Groups and nodes are sorted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The cluster's name.
    pub cluster: String,
    /// Its number: of two topologies of a cluster the one with the larger is newer.
    pub epoch: Epoch,
    /// How keys find their node.
    pub profile: RingProfile,
    /// The server groups.
    pub groups: Vec<ServerGroup>,
}

/// The number of a topology. 0 is before every topology.
///
/// A hybrid clock: a registry's next epoch is the larger of its clock in milliseconds since the Unix epoch and one
/// more than any epoch it has issued or been shown, so registries that never speak to each other stay comparable
/// and one that lost its disk does not start again below its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

/// How keys find their node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RingProfile {
    /// What hashes keys and points.
    pub hash: RingHash,
    /// Points per unit of weight.
    pub points_per_node: u32,
}

/// What hashes keys and points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RingHash {
    /// xxh3 of 64 bits.
    Evanesce,
    /// MD5 ketama, as Netflix's client computes it.
    Evcache,
}

/// One full copy of the data, in one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerGroup {
    /// Its name, unique in the cluster.
    pub name: String,
    /// Where it is.
    pub zone: String,
    /// Whether it is read and written.
    pub mode: GroupMode,
    /// Its nodes, each with a part of the keys: those that are read, and decide.
    pub nodes: Vec<Node>,
    /// While the group is resized, the ring that is in force beside that of its nodes.
    pub second: Option<SecondRing>,
}

/// A ring that is written and never read: while a group is resized, its keys have two owners.
///
/// ```text
///   epoch 41   nodes: old
///   epoch 42   nodes: old   second: new, next          the new owners are filled
///   epoch 43   nodes: new   second: old, previous      clients that still hold 42 read what all write
///   epoch 44   nodes: new
/// ```
///
/// Clients that do not know of it follow the other ring alone, and are right about what to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondRing {
    /// Whether it is the one to come or the one before.
    pub role: RingRole,
    /// All nodes on it, sorted by name. One that is on both rings has one name, and is the same but for its weight.
    pub nodes: Vec<Node>,
    /// The number of the change that made it, by which its nodes say that they are filled; 0 where nobody is to say so.
    pub change: u64,
}

/// Which of two rings in force the second one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RingRole {
    /// The one to come: its owners are being filled.
    Next,
    /// The one before: its owners are written on until every client has the topology that made it so.
    Previous,
}

/// Whether a server group is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GroupMode {
    /// Both.
    #[default]
    ReadWrite,
    /// Written only: being filled.
    WriteOnly,
    /// Neither.
    Disabled,
}

/// One server process, as its registration tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The ring name, unique in the group: outlives process and address.
    pub name: String,
    /// What the ring hashes; opaque.
    pub ring_text: String,
    /// Its share of the ring beside its peers', at least 1.
    pub weight: u32,
    /// Where it is in its life.
    pub state: NodeState,
    /// Chosen at random by the process at its start.
    pub incarnation: u64,
    /// Where it speaks memcached.
    pub memcached: SocketAddr,
    /// Where it speaks gRPC, if it does.
    pub grpc: Option<SocketAddr>,
    /// Where it speaks HTTP, if it does.
    pub http: Option<SocketAddr>,
    /// Its release, as x.y.z.
    pub version: String,
    /// What it can do beyond memcached.
    pub capabilities: Vec<String>,
}

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NodeState {
    /// Registered, not yet on duty.
    #[default]
    Joining,
    /// Takes writes, and items streamed from peers.
    Warming,
    /// On duty.
    Serving,
    /// About to leave.
    Draining,
    /// Its lease lapsed or was given back; still on the ring.
    Down,
}

impl Topology {
    /// Whether it has no node at all: nothing that a client should follow.
    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(|group| group.nodes.is_empty())
    }

    /// How many nodes there are in all groups, on the rings that are read.
    pub fn node_count(&self) -> usize {
        self.groups.iter().map(|group| group.nodes.len()).sum()
    }

    /// The zones that have a group, each once, sorted.
    pub fn zones(&self) -> Vec<&str> {
        let mut zones: Vec<_> = self.groups.iter().map(|group| group.zone.as_str()).collect();
        zones.sort_unstable();
        zones.dedup();
        zones
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<&ServerGroup> {
        self.groups.iter().find(|group| group.name == name)
    }
}

impl RingProfile {
    /// The default: xxh3 of 64 bits, enough points that the fullest of 100 equal nodes holds at most 1.08 of the mean.
    pub const EVANESCE: RingProfile = RingProfile { hash: RingHash::Evanesce, points_per_node: 4000 };

    /// What Netflix's client computes: 160 points. It knows no weights, so a node's must be 1.
    pub const EVCACHE: RingProfile = RingProfile { hash: RingHash::Evcache, points_per_node: 160 };

    /// The standard profile of a hash.
    pub const fn standard(hash: RingHash) -> RingProfile {
        match hash {
            RingHash::Evanesce => RingProfile::EVANESCE,
            RingHash::Evcache => RingProfile::EVCACHE,
        }
    }
}

/// [`RingProfile::EVANESCE`].
impl Default for RingProfile {
    fn default() -> RingProfile {
        RingProfile::EVANESCE
    }
}

impl ServerGroup {
    /// All nodes, on whichever ring, each once: those on the second ring alone come last.
    pub fn all_nodes(&self) -> impl Iterator<Item = &Node> {
        let others = self.second.iter().flat_map(|second| &second.nodes);
        self.nodes.iter().chain(others.filter(|node| self.nodes.iter().all(|ours| ours.name != node.name)))
    }
}

impl GroupMode {
    /// Whether reads go to the group.
    pub fn is_read(self) -> bool {
        self == GroupMode::ReadWrite
    }

    /// Whether writes go to the group.
    pub fn is_written(self) -> bool {
        self != GroupMode::Disabled
    }
}
