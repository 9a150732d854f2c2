//! What a topology must keep to be one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::membership::{Epoch, Node, RingHash, RingProfile, ServerGroup, Topology};
use crate::name::{NameError, NameKind, RingTextError, check_name, check_ring_text};

/// A cluster has a few groups per zone; 256 is far beyond any, and bounds what a watcher can be made to hold.
pub const GROUPS_MAX: usize = 256;

/// The largest groups known have some 400 nodes; so many of weight 1 fit [`RING_POINTS_MAX`] with the default profile.
pub const NODES_PER_GROUP_MAX: usize = 1024;

/// Weights are ratios between peers; beyond this the points of a single node crowd out memory.
pub const WEIGHT_MAX: u32 = 1024;

/// Beyond this, more points buy no balance worth their memory.
pub const POINTS_PER_NODE_MAX: u32 = 16_384;

/// A ring of this many points takes 96 MiB and half a second; a larger one is a slip in the weights.
pub const RING_POINTS_MAX: usize = 1 << 22;

/// Releases are `x.y.z`, perhaps with a suffix.
pub const VERSION_BYTES_MAX: usize = 64;

/// A handful exist; the bound keeps a hostile registration small.
pub const CAPABILITIES_MAX: usize = 64;

/// Capabilities are single words.
pub const CAPABILITY_BYTES_MAX: usize = 64;

/// A topology, or a part of one, that breaks a rule. The fault is of whoever wrote it; nothing to retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// A name breaks the rules of names.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A ring text breaks the rules of ring texts.
    #[error("node {node}: {fault}")]
    RingText {
        /// The node's name.
        node: String,
        /// The rule.
        fault: RingTextError,
    },
    /// A weight outside 1..=[`WEIGHT_MAX`].
    #[error("node {node}: weight {weight} is outside 1 to {WEIGHT_MAX}; give it its share beside its peers'")]
    Weight {
        /// The node's name.
        node: String,
        /// Its weight.
        weight: u32,
    },
    /// A weight that the profile `evcache` cannot keep.
    #[error(
        "node {node}: weight {weight} on an evcache ring, whose foreign clients know no weights; \
         give it 1 or use an evanesce ring"
    )]
    WeightOnEvcache {
        /// The node's name.
        node: String,
        /// Its weight.
        weight: u32,
    },
    /// An address that nobody can connect to: an unspecified IP or port 0.
    #[error("node {node}: nobody can connect to {address}; give it the IP and port that its clients reach")]
    Address {
        /// The node's name.
        node: String,
        /// The address.
        address: SocketAddr,
    },
    /// A version longer than [`VERSION_BYTES_MAX`].
    #[error("node {node}: version has {bytes} bytes; give it at most {VERSION_BYTES_MAX}, as x.y.z")]
    Version {
        /// The node's name.
        node: String,
        /// The version's length.
        bytes: usize,
    },
    /// More than [`CAPABILITIES_MAX`] capabilities, or one that is empty or longer than [`CAPABILITY_BYTES_MAX`].
    #[error(
        "node {node}: give it at most {CAPABILITIES_MAX} capabilities of 1 to {CAPABILITY_BYTES_MAX} printable characters"
    )]
    Capabilities {
        /// The node's name.
        node: String,
    },
    /// Points per unit of weight that the profile's hash cannot lay.
    #[error(
        "{hash} ring with {points} points per node; give it 1 to {POINTS_PER_NODE_MAX}, \
         and a multiple of 4 for evcache"
    )]
    Points {
        /// The profile's hash.
        hash: RingHash,
        /// Its points per unit of weight.
        points: u32,
    },
    /// A group whose ring would be larger than [`RING_POINTS_MAX`].
    #[error(
        "group {group}: a ring of {points} points; use smaller weights to stay at or below {RING_POINTS_MAX}"
    )]
    RingTooLarge {
        /// The group's name.
        group: String,
        /// Its points.
        points: usize,
    },
    /// Two groups have one name.
    #[error("two groups are named {group}; group names are unique in a cluster")]
    DuplicateGroup {
        /// The name.
        group: String,
    },
    /// Two nodes of a group have one name.
    #[error("group {group}: two nodes are named {node}; node names are unique in a group")]
    DuplicateNode {
        /// The group's name.
        group: String,
        /// The name.
        node: String,
    },
    /// Two nodes of a group have one ring text, so one of them would own nothing.
    #[error("group {group}: two nodes have the ring text {ring_text:?}; ring texts are unique in a group")]
    DuplicateRingText {
        /// The group's name.
        group: String,
        /// The text.
        ring_text: String,
    },
    /// A second ring beside no first one, or without nodes.
    #[error("group {group}: its second ring, or the ring beside it, has no node; leave the second one out")]
    LoneRing {
        /// The group's name.
        group: String,
    },
    /// A node on both rings of a group that is not the same on both.
    #[error("group {group}: node {node} differs between its two rings; only its weight may")]
    TwoFaces {
        /// The group's name.
        group: String,
        /// The node's name.
        node: String,
    },
    /// More than [`GROUPS_MAX`] groups.
    #[error("{groups} groups; a cluster has at most {GROUPS_MAX}")]
    TooManyGroups {
        /// How many there are.
        groups: usize,
    },
    /// More than [`NODES_PER_GROUP_MAX`] nodes.
    #[error("group {group}: {nodes} nodes; a group has at most {NODES_PER_GROUP_MAX}")]
    TooManyNodes {
        /// The group's name.
        group: String,
        /// How many there are.
        nodes: usize,
    },
}

impl Topology {
    /// A topology that keeps every rule, its groups and nodes sorted by name.
    ///
    /// One without groups, or with groups without nodes, is a topology too: see [`Topology::is_empty`].
    ///
    /// # Errors
    /// The first rule that a part breaks.
    pub fn new(
        cluster: String,
        epoch: Epoch,
        profile: RingProfile,
        groups: Vec<ServerGroup>,
    ) -> Result<Topology, TopologyError> {
        let mut topology = Topology { cluster, epoch, profile, groups };
        topology.groups.sort_by(|a, b| a.name.cmp(&b.name));
        for group in &mut topology.groups {
            group.nodes.sort_by(|a, b| a.name.cmp(&b.name));
            if let Some(second) = &mut group.second {
                second.nodes.sort_by(|a, b| a.name.cmp(&b.name));
            }
        }
        topology.check()?;
        Ok(topology)
    }

    /// Whether every rule is kept: for one whose fields were written by hand. Order is [`Topology::new`]'s affair.
    ///
    /// # Errors
    /// The first rule that a part breaks.
    pub fn check(&self) -> Result<(), TopologyError> {
        check_name(NameKind::Cluster, &self.cluster)?;
        self.profile.check()?;
        if self.groups.len() > GROUPS_MAX {
            return Err(TopologyError::TooManyGroups { groups: self.groups.len() });
        }
        let mut names = BTreeSet::new();
        for group in &self.groups {
            group.check(self.profile)?;
            if !names.insert(&group.name) {
                return Err(TopologyError::DuplicateGroup { group: group.name.clone() });
            }
        }
        Ok(())
    }
}

impl RingProfile {
    /// Whether a ring can be laid by it.
    ///
    /// # Errors
    /// [`TopologyError::Points`].
    pub fn check(self) -> Result<(), TopologyError> {
        let whole = self.hash != RingHash::Evcache || self.points_per_node.is_multiple_of(4);
        if whole && (1..=POINTS_PER_NODE_MAX).contains(&self.points_per_node) {
            return Ok(());
        }
        Err(TopologyError::Points { hash: self.hash, points: self.points_per_node })
    }
}

impl ServerGroup {
    /// Whether its names, its nodes and the size of its ring keep every rule.
    ///
    /// # Errors
    /// The first rule that a part breaks.
    pub fn check(&self, profile: RingProfile) -> Result<(), TopologyError> {
        check_name(NameKind::Group, &self.name)?;
        check_name(NameKind::Zone, &self.zone)?;
        self.check_ring(profile, &self.nodes)?;
        let Some(second) = &self.second else { return Ok(()) };
        if self.nodes.is_empty() || second.nodes.is_empty() {
            return Err(TopologyError::LoneRing { group: self.name.clone() });
        }
        self.check_ring(profile, &second.nodes)?;
        self.check_same(&second.nodes)
    }

    fn check_ring(&self, profile: RingProfile, nodes: &[Node]) -> Result<(), TopologyError> {
        if nodes.len() > NODES_PER_GROUP_MAX {
            return Err(TopologyError::TooManyNodes { group: self.name.clone(), nodes: nodes.len() });
        }
        for node in nodes {
            node.check(profile)?;
        }
        self.check_unique(nodes)?;
        // Neither factor exceeds its limit here, so the sum stays far below a usize.
        let points =
            nodes.iter().map(|node| node.weight as usize * profile.points_per_node as usize).sum::<usize>();
        if points > RING_POINTS_MAX {
            return Err(TopologyError::RingTooLarge { group: self.name.clone(), points });
        }
        Ok(())
    }

    fn check_unique(&self, nodes: &[Node]) -> Result<(), TopologyError> {
        let (mut names, mut texts) = (BTreeSet::new(), BTreeSet::new());
        for node in nodes {
            if !names.insert(&node.name) {
                let (group, node) = (self.name.clone(), node.name.clone());
                return Err(TopologyError::DuplicateNode { group, node });
            }
            if !texts.insert(&node.ring_text) {
                let (group, ring_text) = (self.name.clone(), node.ring_text.clone());
                return Err(TopologyError::DuplicateRingText { group, ring_text });
            }
        }
        Ok(())
    }

    /// Whether those that are on both rings are the same on both.
    fn check_same(&self, others: &[Node]) -> Result<(), TopologyError> {
        let ours: BTreeMap<_, _> = self.nodes.iter().map(|node| (&node.name, node)).collect();
        for other in others {
            let Some(&node) = ours.get(&other.name) else { continue };
            if *other != (Node { weight: other.weight, ..node.clone() }) {
                let (group, node) = (self.name.clone(), node.name.clone());
                return Err(TopologyError::TwoFaces { group, node });
            }
        }
        Ok(())
    }
}

impl Node {
    /// Whether it may be a member of a cluster with this profile.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self, profile: RingProfile) -> Result<(), TopologyError> {
        self.check_alone()?;
        if profile.hash == RingHash::Evcache && self.weight != 1 {
            return Err(TopologyError::WeightOnEvcache { node: self.name.clone(), weight: self.weight });
        }
        Ok(())
    }

    /// Whether it keeps the rules that do not depend on its cluster's profile.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check_alone(&self) -> Result<(), TopologyError> {
        check_name(NameKind::Node, &self.name)?;
        let node = || self.name.clone();
        check_ring_text(&self.ring_text).map_err(|fault| TopologyError::RingText { node: node(), fault })?;
        if !(1..=WEIGHT_MAX).contains(&self.weight) {
            return Err(TopologyError::Weight { node: node(), weight: self.weight });
        }
        let addresses = [Some(self.memcached), self.grpc, self.http];
        if let Some(&address) = addresses.iter().flatten().find(|address| !is_reachable(address)) {
            return Err(TopologyError::Address { node: node(), address });
        }
        if self.version.len() > VERSION_BYTES_MAX {
            return Err(TopologyError::Version { node: node(), bytes: self.version.len() });
        }
        if self.capabilities.len() > CAPABILITIES_MAX
            || !self.capabilities.iter().all(|word| is_capability(word))
        {
            return Err(TopologyError::Capabilities { node: node() });
        }
        Ok(())
    }
}

fn is_reachable(address: &SocketAddr) -> bool {
    !address.ip().is_unspecified() && address.port() != 0
}

fn is_capability(word: &str) -> bool {
    (1..=CAPABILITY_BYTES_MAX).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic())
}
