//! A list of nodes in place of discovery.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use evanesce_topology::{
    Epoch, GroupMode, Node, NodeState, RingHash, RingProfile, RingRole, SecondRing, ServerGroup, Topology,
    TopologyError, evcache_ring_text,
};
use thiserror::Error;

/// The nodes of a cluster, zone by zone: one server group in each.
///
/// As text: `zone-a=name/ip:port,name/ip:port;zone-b=name/ip:port`. All clients of a cluster must have the same zones
/// and names, in any order, since the names place the keys. A node without a name (`ip:port`) is named by its
/// address, so it cannot move.
///
/// While a zone is resized its keys have two owners, one on each of two rings: `a=n1/ip:port>n1/ip:port,n2/ip:port` reads the
/// nodes before the `>` and writes to those behind it, too, which are being filled; `a=n1/..,n2/..<n1/..` reads the new
/// nodes already, and writes to the old ones until every client does. [`Client::replace_nodes`] goes from one list to the
/// next. See [`SecondRing`](crate::SecondRing).
///
/// [`Client::replace_nodes`]: crate::Client::replace_nodes
///
/// ```
/// use evanesce_client::StaticNodes;
///
/// let nodes: StaticNodes = "a=n1/10.0.0.1:11211,n2/10.0.0.2:11211;b=n1/10.0.1.1:11211".parse()?;
/// assert_eq!(nodes.zones().collect::<Vec<_>>(), ["a", "b"]);
/// # Ok::<(), evanesce_client::StaticNodesError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StaticNodes {
    zones: BTreeMap<String, Zone>,
    profile: RingProfile,
}

/// The nodes of a zone, by name and address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Zone {
    nodes: Vec<(String, SocketAddr)>,
    second: Option<(RingRole, Vec<(String, SocketAddr)>)>,
}

/// Why a list of nodes cannot be used. The caller's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StaticNodesError {
    /// There is no node.
    #[error("the list has no node: write zone=name/ip:port,name/ip:port;zone=...")]
    Empty,
    /// A part without `=`.
    #[error("{part:?} has no zone: write zone=name/ip:port")]
    NoZone {
        /// The part.
        part: String,
    },
    /// A node whose address is none.
    #[error("{node:?} has no address: write name/ip:port, with an IP address")]
    Address {
        /// The node.
        node: String,
    },
    /// A name is wrong or occurs twice.
    #[error(transparent)]
    Topology(#[from] TopologyError),
}

impl StaticNodes {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node. The name places its keys, and outlives its address; 1 to 128 letters, digits, `-`, `_`, `.`.
    #[must_use]
    pub fn node(mut self, zone: impl Into<String>, name: impl Into<String>, address: SocketAddr) -> Self {
        self.zones.entry(zone.into()).or_default().nodes.push((name.into(), address));
        self
    }

    /// Gives a zone a second ring, of all nodes that are on it: it is written and never read. Default none.
    #[must_use]
    pub fn second_ring<N: Into<String>>(
        mut self,
        zone: impl Into<String>,
        role: RingRole,
        nodes: impl IntoIterator<Item = (N, SocketAddr)>,
    ) -> Self {
        let nodes = nodes.into_iter().map(|(name, address)| (name.into(), address)).collect();
        self.zones.entry(zone.into()).or_default().second = Some((role, nodes));
        self
    }

    /// How keys find their node; default [`RingProfile::EVANESCE`]. With [`RingProfile::EVCACHE`] the name is the
    /// host name in the ring text.
    #[must_use]
    pub fn profile(mut self, profile: RingProfile) -> Self {
        self.profile = profile;
        self
    }

    /// The zones, by name.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        self.zones.keys().map(String::as_str)
    }

    /// The list as a topology.
    pub(crate) fn topology(&self, cluster: &str, epoch: Epoch) -> Result<Arc<Topology>, StaticNodesError> {
        if self.zones.is_empty() {
            return Err(StaticNodesError::Empty);
        }
        let groups = self.zones.iter().map(|(name, zone)| {
            let second = zone.second.as_ref();
            ServerGroup {
                name: name.clone(),
                zone: name.clone(),
                mode: GroupMode::ReadWrite,
                nodes: self.as_nodes(&zone.nodes),
                second: second.map(|(role, nodes)| SecondRing {
                    role: *role,
                    nodes: self.as_nodes(nodes),
                    change: 0,
                }),
            }
        });
        let topology = Topology::new(cluster.to_owned(), epoch, self.profile, groups.collect())?;
        Ok(Arc::new(topology))
    }

    fn as_nodes(&self, nodes: &[(String, SocketAddr)]) -> Vec<Node> {
        nodes.iter().map(|(name, address)| self.as_node(name, *address)).collect()
    }

    fn as_node(&self, name: &str, memcached: SocketAddr) -> Node {
        let ring_text = match self.profile.hash {
            RingHash::Evanesce => name.to_owned(),
            RingHash::Evcache => evcache_ring_text(name, memcached.ip()),
        };
        Node {
            name: name.to_owned(),
            ring_text,
            weight: 1,
            state: NodeState::Serving,
            incarnation: 0,
            memcached,
            grpc: None,
            http: None,
            version: String::new(),
            capabilities: Vec::new(),
        }
    }
}

impl FromStr for StaticNodes {
    type Err = StaticNodesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut list = Self::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (zone, nodes) =
                part.split_once('=').ok_or_else(|| StaticNodesError::NoZone { part: part.to_owned() })?;
            let second = nodes.find(['>', '<']);
            let (nodes, second) = nodes.split_at(second.unwrap_or(nodes.len()));
            for (name, address) in parse_nodes(nodes)? {
                list = list.node(zone.trim(), name, address);
            }
            if let Some(second) = second.strip_prefix('>') {
                list = list.second_ring(zone.trim(), RingRole::Next, parse_nodes(second)?);
            } else if let Some(second) = second.strip_prefix('<') {
                list = list.second_ring(zone.trim(), RingRole::Previous, parse_nodes(second)?);
            }
        }
        if list.zones.is_empty() {
            return Err(StaticNodesError::Empty);
        }
        Ok(list)
    }
}

fn parse_nodes(nodes: &str) -> Result<Vec<(String, SocketAddr)>, StaticNodesError> {
    nodes.split(',').map(|node| parse_node(node.trim())).collect()
}

fn parse_node(node: &str) -> Result<(String, SocketAddr), StaticNodesError> {
    let error = || StaticNodesError::Address { node: node.to_owned() };
    let (name, address) = match node.split_once('/') {
        Some((name, address)) => (Some(name), address),
        None => (None, node),
    };
    let address: SocketAddr = address.parse().map_err(|_| error())?;
    Ok((name.map_or_else(|| name_of(address), str::to_owned), address))
}

/// An address in the letters that a name may have.
fn name_of(address: SocketAddr) -> String {
    format!("{}-{}", address.ip(), address.port()).replace(':', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_becomes_one_group_for_each_zone() {
        let nodes: StaticNodes =
            "b=n1/127.0.0.1:2 ; a=n2/127.0.0.1:4,n1/127.0.0.1:3".parse().expect("a good list");
        let topology = nodes.topology("HOME", Epoch(1)).expect("a good topology");
        let names = |group: &ServerGroup| {
            group.nodes.iter().map(|node| node.ring_text.clone()).collect::<Vec<_>>().join(",")
        };
        let groups: Vec<_> =
            topology.groups.iter().map(|group| (group.zone.as_str(), names(group))).collect();
        assert_eq!(groups, [("a", "n1,n2".to_owned()), ("b", "n1".to_owned())]);
    }

    #[test]
    fn zone_that_is_resized_has_both_rings() {
        let next: StaticNodes =
            "a=n1/127.0.0.1:1>n1/127.0.0.1:1, n2/127.0.0.1:2;b=n1/127.0.0.1:3".parse().expect("a list");
        let topology = next.topology("HOME", Epoch(7)).expect("a good topology");
        let second = topology.groups[0].second.as_ref().expect("it is there");
        assert_eq!((second.role, second.nodes.len(), topology.groups[0].nodes.len()), (RingRole::Next, 2, 1));
        assert_eq!((topology.epoch, &topology.groups[1].second), (Epoch(7), &None));
        let previous: StaticNodes = "a=n2/127.0.0.1:2<n1/127.0.0.1:1".parse().expect("a list");
        let topology = previous.topology("HOME", Epoch(8)).expect("a good topology");
        assert_eq!(topology.groups[0].second.as_ref().map(|second| second.role), Some(RingRole::Previous));
        assert!(matches!("a=n1/127.0.0.1:1>".parse::<StaticNodes>(), Err(StaticNodesError::Address { .. })));
    }

    #[test]
    fn evcache_profile_writes_netflix_ring_texts() {
        let nodes: StaticNodes = "a=n1/10.0.0.1:5".parse().expect("a good list");
        let topology =
            nodes.profile(RingProfile::EVCACHE).topology("HOME", Epoch(1)).expect("a good topology");
        assert_eq!(topology.groups[0].nodes[0].ring_text, "n1/10.0.0.1:11211");
    }

    #[test]
    fn node_without_a_name_is_named_by_its_address() {
        assert_eq!(parse_node("127.0.0.1:7").expect("an address").0, "127.0.0.1-7");
        let nodes: StaticNodes = "a=[::1]:7".parse().expect("a good list");
        assert!(nodes.topology("HOME", Epoch(1)).is_ok());
    }

    #[test]
    fn broken_lists_say_what_is_wrong() {
        assert_eq!(" ; ".parse::<StaticNodes>(), Err(StaticNodesError::Empty));
        assert!(matches!("127.0.0.1:1".parse::<StaticNodes>(), Err(StaticNodesError::NoZone { .. })));
        assert!(matches!("a=n1/host:1".parse::<StaticNodes>(), Err(StaticNodesError::Address { .. })));
        let twice: StaticNodes = "a=n1/127.0.0.1:1,n1/127.0.0.1:2".parse().expect("it reads");
        assert!(matches!(twice.topology("HOME", Epoch(1)), Err(StaticNodesError::Topology(_))));
    }
}
