//! What the examples run on: the cluster that the command line names, or a small one of real nodes in this process.
//!
//! ```text
//!  cargo run -p evanesce-client --example home_page                                  nodes of its own
//!  cargo run -p evanesce-client --example home_page -- --discovery 127.0.0.1:11300   those of `evanesce up`
//!  EVANESCE_NODES='a=n1/127.0.0.1:11211' cargo run ...                               these, memcached too
//! ```

use std::time::Duration;

use anyhow::{Context, Result, bail};
use evanesce_client::{Client, ClientBuilder, ConnectionOptions, StaticNodes};
use evanesce_node::{Node, NodeConfig, RunningNode};

const ZONES: [&str; 3] = ["a", "b", "c"];
const NAMES: [&str; 2] = ["n1", "n2"];

/// The machine that runs the examples may be busy with a build: in production the defaults, 20 to 500 ms, are right.
const PATIENCE: Duration = Duration::from_secs(15);

/// A cluster, and a client of it in zone `a`.
pub(crate) struct Cluster {
    /// The client.
    pub(crate) cache: Client,
    nodes: Vec<OwnNode>,
}

struct OwnNode {
    zone: &'static str,
    name: &'static str,
    running: RunningNode,
}

impl Cluster {
    /// Connects to the cluster that is named, or starts one.
    pub(crate) async fn start() -> Result<Self> {
        let mut nodes = Vec::new();
        let builder = Client::builder("HOME").zone("a");
        let mut arguments = std::env::args().skip(1);
        let builder = match (arguments.next().as_deref(), std::env::var("EVANESCE_NODES")) {
            (Some("--discovery"), _) => {
                builder.discovery(Some(arguments.next().context("which discovery?")?))
            }
            (Some(other), _) => bail!("{other} is not known here: give --discovery ADDRESS, or nothing"),
            (None, Ok(list)) => builder.nodes(list.parse().context("EVANESCE_NODES")?),
            (None, Err(_)) => {
                nodes = start_nodes().await?;
                builder.nodes(list_of(&nodes))
            }
        };
        let cache = patient(builder).connect().await?;
        Ok(Self { cache, nodes })
    }

    /// Kills the nodes of these zones and names. False when there are none: a cluster that others run stays as it is.
    pub(crate) async fn kill(&mut self, which: impl Fn(&str, &str) -> bool) -> bool {
        let (dying, left) = std::mem::take(&mut self.nodes)
            .into_iter()
            .partition(|node: &OwnNode| which(node.zone, node.name));
        self.nodes = left;
        let any = !dying.is_empty();
        for OwnNode { zone, name, running } in dying {
            running.drain(Duration::ZERO).await;
            println!("-- node {name} in zone {zone} is dead");
        }
        any
    }
}

async fn start_nodes() -> Result<Vec<OwnNode>> {
    let mut nodes = Vec::new();
    for zone in ZONES {
        for name in NAMES {
            let config = NodeConfig {
                zone: zone.to_owned(),
                group: zone.to_owned(),
                name: name.to_owned(),
                threads: 1.try_into()?,
                ..NodeConfig::default()
            };
            nodes.push(OwnNode { zone, name, running: Node::start(config).await? });
        }
    }
    println!("-- {} nodes in {} zones, in this process", nodes.len(), ZONES.len());
    Ok(nodes)
}

fn list_of(nodes: &[OwnNode]) -> StaticNodes {
    let add =
        |list: StaticNodes, node: &OwnNode| list.node(node.zone, node.name, node.running.memcached_addr());
    nodes.iter().fold(StaticNodes::new(), add)
}

fn patient(builder: ClientBuilder) -> ClientBuilder {
    let connection = ConnectionOptions { stall_timeout: PATIENCE, ..ConnectionOptions::default() };
    let builder = builder.connection(connection).connect_timeout(PATIENCE);
    builder.read_attempt_timeout(PATIENCE).read_timeout(PATIENCE).write_timeout(PATIENCE)
}
