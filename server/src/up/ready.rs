//! Whether everything is ready, and if not, why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use evanesce_grpc::discovery::v1::discovery_client::DiscoveryClient;
use evanesce_grpc::discovery::v1::{GetTopologyRequest, Node, NodeState};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;

use crate::up::plan::{Kind, Plan, Process};

/// Between two looks at what was not ready.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What one look may take.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// More than any answer to a readiness probe.
const ANSWER_BYTES_MAX: u64 = 16 << 10;

/// What is not ready yet, each with the reason last heard.
#[derive(Debug)]
pub(crate) struct Waiting {
    reasons: BTreeMap<String, String>,
}

impl Waiting {
    pub(crate) fn new(plan: &Plan) -> Self {
        let not_asked = |process: &Process| (process.name.clone(), "not asked yet".to_owned());
        Self { reasons: plan.processes.iter().map(not_asked).collect() }
    }

    /// Looks until nothing is left to wait for.
    pub(crate) async fn until_ready(&mut self, plan: &Plan) {
        loop {
            for process in &plan.processes {
                if self.reasons.contains_key(&process.name) {
                    self.look(plan, process).await;
                }
            }
            if self.reasons.is_empty() {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&mut self, plan: &Plan, process: &Process) {
        let looked = tokio::time::timeout(LOOK_WITHIN, why_not(plan, process)).await;
        match looked.unwrap_or_else(|_| Err("no answer within a second".to_owned())) {
            Ok(()) => self.reasons.remove(&process.name),
            Err(reason) => self.reasons.insert(process.name.clone(), reason),
        };
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reasons.iter().try_for_each(|(name, reason)| writeln!(f, "  {name}: {reason}"))
    }
}

async fn why_not(plan: &Plan, process: &Process) -> Result<(), String> {
    probe(process.place.http).await?;
    match process.kind {
        Kind::Discovery => complete(plan, process.place.grpc).await,
        Kind::Node { .. } | Kind::Gateway => Ok(()),
    }
}

/// Asks `/health/ready`.
async fn probe(http: SocketAddr) -> Result<(), String> {
    let answer = ask(http).await.map_err(|error| format!("{http}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some(_) => Err(reasons(body)),
        None => Err(format!("{http} does not speak HTTP")),
    }
}

/// The reasons in the answer of a process that is not ready, or all of the answer where it is another.
fn reasons(body: &str) -> String {
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    let reasons = answer["reasons"].as_array().map(|reasons| reasons.iter().filter_map(Value::as_str));
    reasons.map_or_else(|| body.trim().to_owned(), |reasons| reasons.collect::<Vec<_>>().join("; "))
}

async fn ask(http: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(http).await?;
    let request = format!("GET /health/ready HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Asks a discovery whether every node serves.
async fn complete(plan: &Plan, grpc: SocketAddr) -> Result<(), String> {
    let nodes = nodes_known(plan, grpc).await?;
    let serving: BTreeSet<_> = nodes
        .iter()
        .filter(|node| node.state() == NodeState::Serving)
        .map(|node| node.name.as_str())
        .collect();
    let missing: Vec<_> = plan.node_names().filter(|name| !serving.contains(name)).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("these nodes do not serve yet: {}", missing.join(", ")))
    }
}

/// The nodes of the topology that are not in the plan; none where no discovery says.
pub(crate) async fn strangers(plan: &Plan) -> Vec<String> {
    let Some(discovery) = plan.discoveries().next() else { return Vec::new() };
    let known = tokio::time::timeout(LOOK_WITHIN, nodes_known(plan, discovery.place.grpc)).await;
    let planned: BTreeSet<_> = plan.node_names().collect();
    let known = known.unwrap_or_else(|_| Ok(Vec::new())).unwrap_or_default().into_iter();
    known.map(|node| node.name).filter(|name| !planned.contains(name.as_str())).collect()
}

async fn nodes_known(plan: &Plan, grpc: SocketAddr) -> Result<Vec<Node>, String> {
    let endpoint = Endpoint::from_shared(format!("http://{grpc}")).map_err(|error| error.to_string())?;
    let channel = endpoint.connect().await.map_err(|error| format!("{grpc}: {error}"))?;
    let request = GetTopologyRequest { cluster: plan.cluster.clone(), ..GetTopologyRequest::default() };
    let answer = DiscoveryClient::new(channel).get_topology(request).await;
    let answer = answer.map_err(|status| format!("no topology: {}", status.message()))?.into_inner();
    Ok(answer.topology.unwrap_or_default().groups.into_iter().flat_map(|group| group.nodes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_without_their_wrapping() {
        let body = r#"{"ready":false,"reasons":["joining: not ready yet","no \"lease\""],"warnings":["no"]}"#;
        assert_eq!(reasons(body), "joining: not ready yet; no \"lease\"");
        assert_eq!(reasons("busy\n"), "busy");
    }
}
