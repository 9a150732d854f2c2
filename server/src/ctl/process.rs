//! Verbs that ask or steer processes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use evanesce_grpc::admin::v1::{DrainRequest, GetStatsRequest, GetStatusRequest, GetStatusResponse};
use evanesce_topology::{ServerGroup, Topology};
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::json;

use crate::ctl::Done;
use crate::ctl::reach::Reach;
use crate::ctl::warmth::Warmth;
use crate::output;
use crate::table::table;

/// On the wire, what leaves a drain's deadline to the process's configuration.
pub(crate) const DEADLINE_AS_CONFIGURED: u64 = 0;

/// One process, as it says itself.
#[derive(Debug, Serialize)]
struct Status {
    /// Where it was asked.
    address: String,
    /// By the topology, for one that does not answer; else its own.
    name: String,
    #[serde(flatten)]
    answer: Answer,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Status(Box<StatusAnswer>),
    None { error: String },
}

#[derive(Debug, Serialize)]
struct StatusAnswer {
    role: String,
    cluster: String,
    zone: String,
    state: String,
    ready: bool,
    version: String,
    pid: u64,
    uptime_ms: u64,
    warnings: Vec<String>,
    addresses: BTreeMap<String, String>,
    /// Of a node: how far it is from its siblings, and how far its warm-up is.
    #[serde(flatten)]
    warmth: Option<Warmth>,
}

impl From<GetStatusResponse> for StatusAnswer {
    fn from(answer: GetStatusResponse) -> Self {
        let GetStatusResponse {
            role, cluster, zone, state, version, pid, uptime_ms, ready, warnings, ..
        } = answer;
        let addresses = answer.addresses.into_iter().collect();
        let warmth = None;
        Self { role, cluster, zone, state, ready, version, pid, uptime_ms, warnings, addresses, warmth }
    }
}

/// `status`: the processes named, or the discoveries and what the topology names. Well where all answer, or where all are
/// ready, if that is what counts.
pub(crate) async fn status(
    reach: &Reach,
    named: &[String],
    ready_counts: bool,
    as_json: bool,
) -> anyhow::Result<Done> {
    let (targets, failure) = if named.is_empty() {
        let topology = reach.topology().await;
        let targets = targets_of(reach, topology.as_deref().ok());
        (targets, topology.err())
    } else {
        (named.iter().map(|address| (address.clone(), String::new())).collect(), None)
    };
    let asked = targets.into_iter().map(|(address, name)| ask_status(reach, address, name));
    let statuses = join_all(asked).await;
    if as_json {
        output::json(&statuses)?;
    } else {
        output::text(&status_table(&statuses))?;
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    let all = statuses.iter().all(|status| match &status.answer {
        Answer::Status(answer) => answer.ready || !ready_counts,
        Answer::None { .. } => false,
    });
    Ok(if all { Done::Well } else { Done::Short })
}

/// Addresses with the names they should have.
fn targets_of(reach: &Reach, topology: Option<&Topology>) -> Vec<(String, String)> {
    let discoveries = reach.discoveries().iter().map(|address| (address.clone(), String::new()));
    let nodes = topology.into_iter().flat_map(|topology| &topology.groups).flat_map(ServerGroup::all_nodes);
    let nodes = nodes.filter_map(|node| Some((node.grpc?.to_string(), node.name.clone())));
    discoveries.chain(nodes).collect()
}

async fn ask_status(reach: &Reach, address: String, name: String) -> Status {
    let asked = async {
        let mut admin = reach.admin(&address).await?;
        let status = reach.within(admin.get_status(GetStatusRequest {})).await?.into_inner();
        // It has answered: without its counters it is shown all the same.
        let stats = match status.role.as_str() {
            "node" => reach.within(admin.get_stats(GetStatsRequest {})).await.ok(),
            _ => None,
        };
        let warmth = stats.and_then(|stats| Warmth::of(&stats.into_inner().stats));
        let name = status.name.clone();
        Ok::<_, anyhow::Error>((name, StatusAnswer { warmth, ..StatusAnswer::from(status) }))
    };
    match asked.await {
        Ok((name, answer)) => Status { address, name, answer: Answer::Status(Box::new(answer)) },
        Err(error) => Status { address, name, answer: Answer::None { error: format!("{error:#}") } },
    }
}

fn status_table(statuses: &[Status]) -> String {
    let header = ["name", "role", "zone", "state", "ready", "up", "differing", "gRPC", "remarks"];
    let rows = statuses.iter().map(|Status { address, name, answer }| {
        let [role, zone, state, ready, up, differing, remarks] = match answer {
            Answer::Status(answer) => [
                answer.role.clone(),
                answer.zone.clone(),
                answer.state.clone(),
                if answer.ready { "yes" } else { "no" }.to_owned(),
                humantime::format_duration(Duration::from_secs(answer.uptime_ms / 1000)).to_string(),
                answer.warmth.as_ref().map_or_else(|| "-".to_owned(), Warmth::differing),
                remarks(answer),
            ],
            Answer::None { error } => {
                let unknown = || "-".to_owned();
                [unknown(), unknown(), unknown(), "no".to_owned(), unknown(), unknown(), error.clone()]
            }
        };
        let name = if name.is_empty() { "-".to_owned() } else { name.clone() };
        [name, role, zone, state, ready, up, differing, address.clone(), remarks]
    });
    table(header, rows)
}

/// What it warns of, and how far it is where it warms.
fn remarks(answer: &StatusAnswer) -> String {
    let warming = answer.warmth.as_ref().filter(|_| answer.state == "warming").and_then(Warmth::progress);
    warming.into_iter().chain(answer.warnings.iter().cloned()).collect::<Vec<_>>().join("; ")
}

/// `stats`: one process's counters and gauges.
pub(crate) async fn stats(reach: &Reach, target: &str, as_json: bool) -> anyhow::Result<Done> {
    let address = reach.address_of(target).await?;
    let asked = async {
        let mut admin = reach.admin(&address).await?;
        reach.within(admin.get_stats(GetStatsRequest {})).await
    };
    let stats = asked.await.with_context(|| format!("{target} at {address}"))?.into_inner().stats;
    if as_json {
        let stats: serde_json::Map<_, _> =
            stats.into_iter().map(|stat| (stat.name, serde_json::Value::from(stat.value))).collect();
        output::json(&stats)?;
    } else {
        output::text(&table(["name", "value"], stats.into_iter().map(|stat| [stat.name, stat.value])))?;
    }
    Ok(Done::Well)
}

/// `drain`: asks; the process ends in its own time.
pub(crate) async fn drain(
    reach: &Reach,
    target: &str,
    deadline: Option<Duration>,
    as_json: bool,
) -> anyhow::Result<Done> {
    let address = reach.address_of(target).await?;
    let deadline_ms = deadline.map_or(DEADLINE_AS_CONFIGURED, deadline_ms);
    let asked = async {
        let mut admin = reach.admin(&address).await?;
        reach.within(admin.drain(DrainRequest { deadline_ms })).await
    };
    asked.await.with_context(|| format!("{target} at {address}"))?;
    if as_json {
        output::json(&json!({ "target": target, "address": address, "draining": true }))?;
    } else {
        output::text(&format!("{target} drains and will end\n"))?;
    }
    Ok(Done::Well)
}

/// A deadline on the wire: at once is the shortest there is, and not the one configured.
fn deadline_ms(deadline: Duration) -> u64 {
    u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drain_at_once_is_not_a_drain_as_configured() {
        assert_eq!(deadline_ms(Duration::ZERO), 1);
        assert_eq!(deadline_ms(Duration::from_micros(900)), 1);
        assert_eq!(deadline_ms(Duration::from_secs(2)), 2000);
        assert_eq!(deadline_ms(Duration::MAX), u64::MAX);
    }
}
