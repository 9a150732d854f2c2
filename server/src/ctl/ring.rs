//! Verbs that show the topology and what its ring says.

use std::net::SocketAddr;

use anyhow::Context;
use evanesce_topology::{Node, Placement, ServerGroup, Topology};
use serde::Serialize;

use crate::ctl::Done;
use crate::ctl::reach::Reach;
use crate::output;
use crate::table::table;

#[derive(Serialize)]
struct TopologyOut<'a> {
    cluster: &'a str,
    epoch: u64,
    ring: String,
    points_per_node: u32,
    groups: Vec<GroupOut<'a>>,
}

#[derive(Serialize)]
struct GroupOut<'a> {
    name: &'a str,
    zone: &'a str,
    mode: String,
    nodes: Vec<NodeOut<'a>>,
    /// While the group is resized.
    #[serde(skip_serializing_if = "Option::is_none")]
    second: Option<SecondOut<'a>>,
}

/// A ring that is written and not read.
#[derive(Serialize)]
struct SecondOut<'a> {
    role: String,
    change: u64,
    nodes: Vec<NodeOut<'a>>,
}

#[derive(Serialize)]
struct NodeOut<'a> {
    name: &'a str,
    ring: &'a str,
    weight: u32,
    state: String,
    memcached: SocketAddr,
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
    version: &'a str,
    capabilities: &'a [String],
}

impl<'a> From<&'a Node> for NodeOut<'a> {
    fn from(node: &'a Node) -> Self {
        let Node { name, ring_text, weight, memcached, grpc, http, version, capabilities, .. } = node;
        let state = node.state.to_string();
        Self {
            name,
            ring: ring_text,
            weight: *weight,
            state,
            memcached: *memcached,
            grpc: *grpc,
            http: *http,
            version,
            capabilities,
        }
    }
}

/// One node that a key belongs to.
#[derive(Serialize)]
struct Owner<'a> {
    zone: &'a str,
    group: &'a str,
    /// Whether it is on the second ring only: written, and not read.
    written_only: bool,
    /// The node's fields, its name as `node`.
    node: &'a str,
    ring: &'a str,
    state: String,
    memcached: SocketAddr,
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

#[derive(Serialize)]
struct Where<'a> {
    key: &'a str,
    cluster: &'a str,
    epoch: u64,
    owners: Vec<Owner<'a>>,
}

/// `topology`.
pub(crate) async fn topology(reach: &Reach, as_json: bool) -> anyhow::Result<Done> {
    let topology = reach.topology().await?;
    if as_json {
        output::json(&topology_out(&topology))?;
    } else {
        output::text(&topology_table(&topology))?;
    }
    Ok(Done::Well)
}

fn topology_out(topology: &Topology) -> TopologyOut<'_> {
    TopologyOut {
        cluster: &topology.cluster,
        epoch: topology.epoch.0,
        ring: topology.profile.hash.to_string(),
        points_per_node: topology.profile.points_per_node,
        groups: topology.groups.iter().map(group_of).collect(),
    }
}

fn group_of(group: &ServerGroup) -> GroupOut<'_> {
    let nodes = group.nodes.iter().map(NodeOut::from).collect();
    let second = group.second.as_ref().map(|second| SecondOut {
        role: second.role.to_string(),
        change: second.change,
        nodes: second.nodes.iter().map(NodeOut::from).collect(),
    });
    GroupOut { name: &group.name, zone: &group.zone, mode: group.mode.to_string(), nodes, second }
}

fn topology_table(topology: &Topology) -> String {
    let header =
        ["zone", "group", "mode", "node", "state", "weight", "memcached", "gRPC", "ring", "ring text"];
    let rows = topology.groups.iter().flat_map(|group| {
        group.all_nodes().map(|node| {
            let grpc = node.grpc.map_or("-".to_owned(), |grpc| grpc.to_string());
            let [zone, group_name, name] = [&group.zone, &group.name, &node.name].map(String::clone);
            let (mode, state, weight) =
                (group.mode.to_string(), node.state.to_string(), node.weight.to_string());
            [
                zone,
                group_name,
                mode,
                name,
                state,
                weight,
                node.memcached.to_string(),
                grpc,
                rings_of(group, node),
                node.ring_text.clone(),
            ]
        })
    });
    let nodes = table(header, rows);
    format!("cluster {}, epoch {}, ring {}\n\n{nodes}", topology.cluster, topology.epoch.0, topology.profile)
}

/// Which of a group's rings a node is on: the one that is read, the next or previous one, or both.
fn rings_of(group: &ServerGroup, node: &Node) -> String {
    let is_among = |nodes: &[Node]| nodes.iter().any(|other| other.name == node.name);
    let second = group.second.as_ref().filter(|second| is_among(&second.nodes));
    match (is_among(&group.nodes), second) {
        (true, Some(second)) => format!("read+{}", second.role),
        (false, Some(second)) => second.role.to_string(),
        (_, None) => "read".to_owned(),
    }
}

/// `where`: the node of each zone that the ring names.
pub(crate) async fn find(reach: &Reach, key: &str, as_json: bool) -> anyhow::Result<Done> {
    let topology = reach.topology().await?;
    let placement = Placement::new(topology).context("the topology has no ring that can be built")?;
    let found = owners(&placement, key);
    if as_json {
        output::json(&found)?;
    } else {
        let header = ["zone", "group", "node", "state", "used", "memcached", "gRPC"];
        let rows = found.owners.iter().map(|owner| {
            let grpc = owner.grpc.map_or("-".to_owned(), |grpc| grpc.to_string());
            let [zone, group, node] = [owner.zone, owner.group, owner.node].map(str::to_owned);
            let used = if owner.written_only { "written" } else { "read, written" }.to_owned();
            [zone, group, node, owner.state.clone(), used, owner.memcached.to_string(), grpc]
        });
        output::text(&table(header, rows))?;
    }
    Ok(Done::Well)
}

fn owners<'a>(placement: &'a Placement, key: &'a str) -> Where<'a> {
    let topology = placement.topology();
    let hash = placement.key_hash(key.as_bytes());
    let groups = topology.groups.iter().enumerate();
    let owners = groups.flat_map(|(index, group)| {
        let read = placement.owner(index, hash).map(|owner| (placement.node(owner), false));
        let second = placement.second_owner(index, hash).zip(group.second.as_ref());
        let second = second.map(|(node, second)| (&second.nodes[node], true));
        read.into_iter().chain(second).map(|(node, written_only)| {
            let NodeOut { name: node, ring, state, memcached, grpc, http, .. } = node.into();
            let (zone, group) = (group.zone.as_str(), group.name.as_str());
            Owner { zone, group, written_only, node, ring, state, memcached, grpc, http }
        })
    });
    Where { key, cluster: &topology.cluster, epoch: topology.epoch.0, owners: owners.collect() }
}
