//! The verb that waits until nodes are warm: what a rolling restart does between two nodes.

use std::time::Duration;

use evanesce_grpc::admin::v1::GetStatusRequest;
use evanesce_topology::{Node, NodeState, Topology};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::ctl::Done;
use crate::ctl::reach::Reach;
use crate::output;

/// Between two looks: leases are renewed less often.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Whose warmth is waited for, and how long.
pub(crate) struct Wanted {
    /// Names; all nodes where there is none.
    pub(crate) nodes: Vec<String>,
    /// Only of this zone.
    pub(crate) zone: Option<String>,
    pub(crate) within: Duration,
}

/// `wait-warm`: until each node wanted serves, by the topology and by its own word, and no ring of its group is being
/// changed.
pub(crate) async fn wait_warm(reach: &Reach, wanted: &Wanted, as_json: bool) -> anyhow::Result<Done> {
    let until = Instant::now() + wanted.within;
    let mut told = Vec::new();
    loop {
        let cold = match reach.topology().await {
            Ok(topology) => cold(reach, &topology, wanted).await,
            Err(error) => vec![format!("{error:#}")],
        };
        let is_warm = cold.is_empty();
        let is_late = Instant::now() >= until;
        if is_warm || is_late {
            if as_json {
                output::json(&json!({ "warm": is_warm, "waits_for": cold }))?;
            } else if is_warm {
                output::text("warm\n")?;
            } else {
                output::complain(&format!("not warm within {:?}: {}", wanted.within, cold.join("; ")));
            }
            return Ok(if is_warm { Done::Well } else { Done::Short });
        }
        if !as_json && cold != told {
            output::complain(&format!("waits for {}", cold.join("; ")));
            told = cold;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What is not warm yet, one sentence each.
async fn cold(reach: &Reach, topology: &Topology, wanted: &Wanted) -> Vec<String> {
    let groups = topology.groups.iter();
    let groups = groups.filter(|group| wanted.zone.as_ref().is_none_or(|zone| *zone == group.zone));
    let is_wanted = |node: &&Node| wanted.nodes.is_empty() || wanted.nodes.contains(&node.name);
    let mut cold: Vec<String> = Vec::new();
    let mut nodes: Vec<&Node> = Vec::new();
    for group in groups {
        let ours: Vec<&Node> = group.all_nodes().filter(is_wanted).collect();
        if !ours.is_empty() && group.second.is_some() {
            cold.push(format!("the change of group {} to end", group.name));
        }
        nodes.extend(ours);
    }
    let missing = wanted.nodes.iter().filter(|name| nodes.iter().all(|node| node.name != **name));
    cold.extend(missing.map(|name| format!("node {name} to be on a ring")));
    if nodes.is_empty() && wanted.nodes.is_empty() {
        cold.push("a node to be there".to_owned());
    }
    let asked = nodes.into_iter().map(|node| is_cold(reach, node));
    cold.extend(join_all(asked).await.into_iter().flatten());
    cold
}

/// Why the node is not warm. One that has just been killed looks well to its discovery until its lease is over; so it is
/// asked itself, too.
async fn is_cold(reach: &Reach, node: &Node) -> Option<String> {
    if node.state != NodeState::Serving {
        return Some(format!("node {}, which is {}", node.name, node.state));
    }
    let address = node.grpc?.to_string();
    let asked = async {
        let mut admin = reach.admin(&address).await?;
        reach.within(admin.get_status(GetStatusRequest {})).await
    };
    match asked.await {
        Ok(answer) if answer.get_ref().ready => None,
        Ok(answer) => Some(format!("node {}, which says it is {}", node.name, answer.get_ref().state)),
        Err(error) => Some(format!("node {}: {error:#}", node.name)),
    }
}
