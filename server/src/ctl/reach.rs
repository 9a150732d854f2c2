//! Finding whom to ask.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use evanesce_grpc::admin::v1::admin_client::AdminClient;
use evanesce_grpc::convert;
use evanesce_grpc::discovery::v1::discovery_client::DiscoveryClient;
use evanesce_grpc::discovery::v1::{GetTopologyRequest, ListClustersRequest};
use evanesce_topology::{ServerGroup, Topology};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::config::peer;

/// The largest topology taken: thousands of nodes of some hundred bytes fit with room to spare.
const TOPOLOGY_BYTES_MAX: usize = 64 << 20;

/// What to do where no discovery answers.
const NO_DISCOVERY: &str =
    "; name discoveries with --discovery or EVANESCE_DISCOVERY, or start a cluster with `evanesce up`";

/// The registry of a discovery.
pub(crate) type Discovery = DiscoveryClient<Channel>;

/// Whom to ask, and how long to wait.
#[derive(Debug)]
pub(crate) struct Reach {
    discoveries: Vec<String>,
    cluster: Option<String>,
    timeout: Duration,
}

impl Reach {
    pub(crate) fn new(discoveries: Vec<String>, cluster: Option<String>, timeout: Duration) -> Self {
        Self { discoveries, cluster, timeout }
    }

    /// The discoveries' addresses, as ip:port.
    pub(crate) fn discoveries(&self) -> &[String] {
        &self.discoveries
    }

    /// The cluster asked for; empty where a discovery that knows only one is to choose.
    pub(crate) fn cluster(&self) -> String {
        self.cluster.clone().unwrap_or_default()
    }

    /// Asks the first discovery that can be reached; what it says counts.
    pub(crate) async fn ask_discovery<T>(
        &self,
        ask: impl AsyncFn(Discovery) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut failures = Vec::new();
        for address in &self.discoveries {
            match self.channel(address).await {
                Ok(channel) => {
                    let discovery =
                        DiscoveryClient::new(channel).max_decoding_message_size(TOPOLOGY_BYTES_MAX);
                    return ask(discovery).await.with_context(|| format!("discovery {address}"));
                }
                Err(error) => failures.push(format!("{address}: {error:#}")),
            }
        }
        bail!("no discovery answers: {}{NO_DISCOVERY}", failures.join("; "))
    }

    /// How long an answer may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The topology, from the first discovery that has it.
    pub(crate) async fn topology(&self) -> anyhow::Result<Arc<Topology>> {
        let (mut failures, mut reached) = (Vec::new(), false);
        for address in &self.discoveries {
            let asked = match self.channel(address).await {
                Ok(channel) => {
                    reached = true;
                    self.topology_from(channel).await
                }
                Err(error) => Err(error),
            };
            match asked {
                Ok(topology) => return Ok(Arc::new(topology)),
                Err(error) => failures.push(format!("{address}: {error:#}")),
            }
        }
        // One that was reached says itself what to do.
        let advice = if reached { "" } else { NO_DISCOVERY };
        bail!("no discovery has a topology: {}{advice}", failures.join("; "))
    }

    async fn topology_from(&self, channel: Channel) -> anyhow::Result<Topology> {
        let mut client = DiscoveryClient::new(channel).max_decoding_message_size(TOPOLOGY_BYTES_MAX);
        let cluster = self.cluster_of(&mut client).await?;
        let request = GetTopologyRequest { cluster, ..GetTopologyRequest::default() };
        let answer = self.within(client.get_topology(request)).await?.into_inner();
        convert::topology(answer.topology).context("it sent a topology that is none; is its release another?")
    }

    /// The cluster asked for, or the only one there is.
    async fn cluster_of(&self, client: &mut DiscoveryClient<Channel>) -> anyhow::Result<String> {
        let known = self.within(client.list_clusters(ListClustersRequest {})).await?.into_inner();
        match (&self.cluster, known.clusters.as_slice()) {
            (Some(named), known) if known.contains(named) => Ok(named.clone()),
            (None, [only]) => Ok(only.clone()),
            (_, []) if known.settled => bail!("it knows no cluster yet: start nodes"),
            (_, []) => bail!("it has just started and has not settled: ask again in a few seconds"),
            (Some(named), known) => bail!("it knows no cluster {named}: these are {}", known.join(", ")),
            (None, several) => {
                bail!("it knows several clusters, name one with --cluster: {}", several.join(", "))
            }
        }
    }

    /// The admin service of the process at this gRPC address.
    pub(crate) async fn admin(&self, address: &str) -> anyhow::Result<AdminClient<Channel>> {
        Ok(AdminClient::new(self.channel(address).await?))
    }

    /// The gRPC address of a node by name, or the address itself.
    pub(crate) async fn address_of(&self, target: &str) -> anyhow::Result<String> {
        if target.contains(':') {
            return Ok(target.to_owned());
        }
        let topology = self.topology().await?;
        let nodes = || topology.groups.iter().flat_map(ServerGroup::all_nodes);
        match nodes().find(|node| node.name == target) {
            Some(node) => {
                let grpc = node.grpc.map(|grpc| grpc.to_string());
                grpc.ok_or_else(|| anyhow!("node {target} has no gRPC side; start it with --grpc"))
            }
            None => {
                let names: Vec<_> = nodes().map(|node| node.name.as_str()).collect();
                bail!(
                    "no node is named {target}: these are {}; or give an address, ip:port",
                    names.join(", ")
                )
            }
        }
    }

    async fn channel(&self, address: &str) -> anyhow::Result<Channel> {
        let endpoint = peer(address).ok();
        let endpoint = endpoint.and_then(|bare| Endpoint::from_shared(format!("http://{bare}")).ok());
        let endpoint = endpoint.with_context(|| {
            format!("{address:?} is no address: write ip:port, the gRPC port of a discovery, node or gateway")
        })?;
        let connected = tokio::time::timeout(self.timeout, endpoint.connect()).await;
        let connected = connected.map_err(|_| anyhow!("does not answer within {:?}", self.timeout))?;
        // tonic's own words are "transport error"; the cause is what helps.
        connected.map_err(|error| anyhow!("not reachable: {}", root_cause(&error)))
    }

    /// Waits for an answer no longer than was asked for.
    pub(crate) async fn within<T>(&self, call: impl Future<Output = Result<T, Status>>) -> anyhow::Result<T> {
        let answered = tokio::time::timeout(self.timeout, call).await;
        let answered = answered.map_err(|_| anyhow!("no answer within {:?}; see --timeout", self.timeout))?;
        answered.map_err(|status| match status.source() {
            Some(cause) => anyhow!("connection lost: {}", root_cause(cause)),
            None => anyhow!("{} ({:?})", status.message(), status.code()),
        })
    }
}

fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
