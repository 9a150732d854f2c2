//! Between the topology's types and their messages.
//!
//! Outwards nothing can fail. Inwards everything is checked: what comes out of a `try_from` keeps the rules of
//! [`Topology::new`], and no text in it is longer than that allows.

use std::net::SocketAddr;

use evanesce_topology::{
    Epoch, GroupMode, NameError, NameKind, Node, NodeState, RingHash, RingProfile, RingRole, SecondRing,
    ServerGroup, Topology, TopologyError, check_name,
};

use crate::discovery::v1;

/// A message that is no value of ours. The peer's fault: sending it again changes nothing; the connection survives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A message that must be there is not.
    #[error("{field} is missing; set it")]
    Missing {
        /// Its field.
        field: &'static str,
    },
    /// An enum's 0, or a number from a later release.
    #[error("{field} has the unknown number {number}; use a value that this release knows")]
    Enum {
        /// Its field.
        field: &'static str,
        /// What was sent.
        number: i32,
    },
    /// An address that is no `ip:port`.
    #[error("{field} is no address; write it as ip:port")]
    Address {
        /// Its field.
        field: &'static str,
    },
    /// A part breaks a rule of topologies.
    #[error(transparent)]
    Topology(#[from] TopologyError),
}

impl From<NameError> for ConvertError {
    fn from(error: NameError) -> ConvertError {
        ConvertError::Topology(error.into())
    }
}

/// INVALID_ARGUMENT with the message.
impl From<ConvertError> for tonic::Status {
    fn from(error: ConvertError) -> tonic::Status {
        tonic::Status::invalid_argument(error.to_string())
    }
}

impl From<&Topology> for v1::Topology {
    fn from(topology: &Topology) -> v1::Topology {
        v1::Topology {
            cluster: topology.cluster.clone(),
            epoch: topology.epoch.0,
            profile: Some(topology.profile.into()),
            groups: topology.groups.iter().map(v1::ServerGroup::from).collect(),
        }
    }
}

impl TryFrom<v1::Topology> for Topology {
    type Error = ConvertError;

    fn try_from(message: v1::Topology) -> Result<Topology, ConvertError> {
        let profile = profile(message.profile)?;
        let groups = message.groups.into_iter().map(ServerGroup::try_from).collect::<Result<_, _>>()?;
        Ok(Topology::new(message.cluster, Epoch(message.epoch), profile, groups)?)
    }
}

impl From<&ServerGroup> for v1::ServerGroup {
    fn from(group: &ServerGroup) -> v1::ServerGroup {
        v1::ServerGroup {
            name: group.name.clone(),
            zone: group.zone.clone(),
            mode: v1::GroupMode::from(group.mode).into(),
            nodes: group.nodes.iter().map(v1::Node::from).collect(),
            second: group.second.as_ref().map(v1::SecondRing::from),
        }
    }
}

impl From<&SecondRing> for v1::SecondRing {
    fn from(second: &SecondRing) -> v1::SecondRing {
        let nodes = second.nodes.iter().map(v1::Node::from).collect();
        v1::SecondRing { role: v1::RingRole::from(second.role).into(), nodes, change: second.change }
    }
}

/// Checks each node alone; what depends on the other ring is [`Topology::new`]'s affair.
impl TryFrom<v1::SecondRing> for SecondRing {
    type Error = ConvertError;

    fn try_from(message: v1::SecondRing) -> Result<SecondRing, ConvertError> {
        let role = ring_role(message.role)?;
        let nodes = message.nodes.into_iter().map(Node::try_from).collect::<Result<_, _>>()?;
        Ok(SecondRing { role, nodes, change: message.change })
    }
}

/// Checks names and each node alone; what depends on the profile or on peers is [`Topology::new`]'s affair.
impl TryFrom<v1::ServerGroup> for ServerGroup {
    type Error = ConvertError;

    fn try_from(message: v1::ServerGroup) -> Result<ServerGroup, ConvertError> {
        check_name(NameKind::Group, &message.name)?;
        check_name(NameKind::Zone, &message.zone)?;
        let mode = group_mode(message.mode)?;
        let nodes = message.nodes.into_iter().map(Node::try_from).collect::<Result<_, _>>()?;
        let second = message.second.map(SecondRing::try_from).transpose()?;
        Ok(ServerGroup { name: message.name, zone: message.zone, mode, nodes, second })
    }
}

impl From<&Node> for v1::Node {
    fn from(node: &Node) -> v1::Node {
        let text =
            |address: Option<SocketAddr>| address.map(|address| address.to_string()).unwrap_or_default();
        v1::Node {
            name: node.name.clone(),
            ring_text: node.ring_text.clone(),
            weight: node.weight,
            state: v1::NodeState::from(node.state).into(),
            incarnation: node.incarnation,
            memcached: node.memcached.to_string(),
            grpc: text(node.grpc),
            http: text(node.http),
            version: node.version.clone(),
            capabilities: node.capabilities.clone(),
        }
    }
}

/// Checks [`Node::check_alone`].
impl TryFrom<v1::Node> for Node {
    type Error = ConvertError;

    fn try_from(message: v1::Node) -> Result<Node, ConvertError> {
        let node = Node {
            state: node_state(message.state)?,
            memcached: address("node.memcached", &message.memcached)?,
            grpc: optional_address("node.grpc", &message.grpc)?,
            http: optional_address("node.http", &message.http)?,
            name: message.name,
            ring_text: message.ring_text,
            weight: message.weight,
            incarnation: message.incarnation,
            version: message.version,
            capabilities: message.capabilities,
        };
        node.check_alone()?;
        Ok(node)
    }
}

impl From<RingProfile> for v1::RingProfile {
    fn from(profile: RingProfile) -> v1::RingProfile {
        v1::RingProfile {
            hash: v1::RingHash::from(profile.hash).into(),
            points_per_node: profile.points_per_node,
        }
    }
}

impl TryFrom<v1::RingProfile> for RingProfile {
    type Error = ConvertError;

    fn try_from(message: v1::RingProfile) -> Result<RingProfile, ConvertError> {
        let hash = ring_hash(message.hash)?;
        let profile = RingProfile { hash, points_per_node: message.points_per_node };
        profile.check()?;
        Ok(profile)
    }
}

impl From<RingHash> for v1::RingHash {
    fn from(hash: RingHash) -> v1::RingHash {
        match hash {
            RingHash::Evanesce => v1::RingHash::Evanesce,
            RingHash::Evcache => v1::RingHash::Evcache,
        }
    }
}

impl From<GroupMode> for v1::GroupMode {
    fn from(mode: GroupMode) -> v1::GroupMode {
        match mode {
            GroupMode::ReadWrite => v1::GroupMode::ReadWrite,
            GroupMode::WriteOnly => v1::GroupMode::WriteOnly,
            GroupMode::Disabled => v1::GroupMode::Disabled,
        }
    }
}

impl From<RingRole> for v1::RingRole {
    fn from(role: RingRole) -> v1::RingRole {
        match role {
            RingRole::Next => v1::RingRole::Next,
            RingRole::Previous => v1::RingRole::Previous,
        }
    }
}

impl From<NodeState> for v1::NodeState {
    fn from(state: NodeState) -> v1::NodeState {
        match state {
            NodeState::Joining => v1::NodeState::Joining,
            NodeState::Warming => v1::NodeState::Warming,
            NodeState::Serving => v1::NodeState::Serving,
            NodeState::Draining => v1::NodeState::Draining,
            NodeState::Down => v1::NodeState::Down,
        }
    }
}

/// The profile of a message, which must be there.
///
/// # Errors
/// [`ConvertError::Missing`], or the rule that the profile breaks.
pub fn profile(message: Option<v1::RingProfile>) -> Result<RingProfile, ConvertError> {
    message.ok_or(ConvertError::Missing { field: "profile" })?.try_into()
}

/// The node of a message, which must be there.
///
/// # Errors
/// [`ConvertError::Missing`], or the rule that the node breaks.
pub fn node(message: Option<v1::Node>) -> Result<Node, ConvertError> {
    message.ok_or(ConvertError::Missing { field: "node" })?.try_into()
}

/// The topology of a message, which must be there.
///
/// # Errors
/// [`ConvertError::Missing`], or the rule that the topology breaks.
pub fn topology(message: Option<v1::Topology>) -> Result<Topology, ConvertError> {
    message.ok_or(ConvertError::Missing { field: "topology" })?.try_into()
}

/// The hash that an enum field names.
///
/// # Errors
/// [`ConvertError::Enum`].
pub fn ring_hash(number: i32) -> Result<RingHash, ConvertError> {
    match v1::RingHash::try_from(number) {
        Ok(v1::RingHash::Evanesce) => Ok(RingHash::Evanesce),
        Ok(v1::RingHash::Evcache) => Ok(RingHash::Evcache),
        Ok(v1::RingHash::Unspecified) | Err(_) => Err(ConvertError::Enum { field: "profile.hash", number }),
    }
}

/// The mode that an enum field names.
///
/// # Errors
/// [`ConvertError::Enum`].
pub fn group_mode(number: i32) -> Result<GroupMode, ConvertError> {
    match v1::GroupMode::try_from(number) {
        Ok(v1::GroupMode::ReadWrite) => Ok(GroupMode::ReadWrite),
        Ok(v1::GroupMode::WriteOnly) => Ok(GroupMode::WriteOnly),
        Ok(v1::GroupMode::Disabled) => Ok(GroupMode::Disabled),
        Ok(v1::GroupMode::Unspecified) | Err(_) => Err(ConvertError::Enum { field: "group.mode", number }),
    }
}

/// The role that an enum field names.
///
/// # Errors
/// [`ConvertError::Enum`].
pub fn ring_role(number: i32) -> Result<RingRole, ConvertError> {
    match v1::RingRole::try_from(number) {
        Ok(v1::RingRole::Next) => Ok(RingRole::Next),
        Ok(v1::RingRole::Previous) => Ok(RingRole::Previous),
        Ok(v1::RingRole::Unspecified) | Err(_) => Err(ConvertError::Enum { field: "second.role", number }),
    }
}

/// The state that an enum field names.
///
/// # Errors
/// [`ConvertError::Enum`].
pub fn node_state(number: i32) -> Result<NodeState, ConvertError> {
    match v1::NodeState::try_from(number) {
        Ok(v1::NodeState::Joining) => Ok(NodeState::Joining),
        Ok(v1::NodeState::Warming) => Ok(NodeState::Warming),
        Ok(v1::NodeState::Serving) => Ok(NodeState::Serving),
        Ok(v1::NodeState::Draining) => Ok(NodeState::Draining),
        Ok(v1::NodeState::Down) => Ok(NodeState::Down),
        Ok(v1::NodeState::Unspecified) | Err(_) => Err(ConvertError::Enum { field: "node.state", number }),
    }
}

fn address(field: &'static str, text: &str) -> Result<SocketAddr, ConvertError> {
    text.parse().map_err(|_| ConvertError::Address { field })
}

fn optional_address(field: &'static str, text: &str) -> Result<Option<SocketAddr>, ConvertError> {
    if text.is_empty() { Ok(None) } else { address(field, text).map(Some) }
}
