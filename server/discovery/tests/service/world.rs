//! Discoveries on free ports, and plain gRPC clients of them.

use std::path::Path;
use std::time::{Duration, Instant};

use evanesce_discovery::{Discovery, DiscoveryConfig, DiscoveryError, RunningDiscovery};
use evanesce_grpc::admin::v1::GetStatusRequest;
use evanesce_grpc::admin::v1::admin_client::AdminClient;
use evanesce_grpc::discovery::v1;
use evanesce_grpc::discovery::v1::discovery_client::DiscoveryClient;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// No wait of these tests takes longer on a machine that works at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Short leases, so that they lapse within a test.
pub(crate) fn config(state_dir: Option<&Path>) -> DiscoveryConfig {
    DiscoveryConfig {
        listen_grpc: "127.0.0.1:0".parse().unwrap(),
        listen_http: None,
        state_dir: state_dir.map(Path::to_owned),
        lease: Duration::from_millis(1500),
        renew_every: Duration::from_millis(500),
        zone: "a".to_owned(),
    }
}

pub(crate) fn start(state_dir: Option<&Path>) -> Result<RunningDiscovery, DiscoveryError> {
    Discovery::start(config(state_dir))
}

/// A discovery whose leases do not lapse within a test.
pub(crate) fn start_patient(state_dir: &Path) -> RunningDiscovery {
    Discovery::start(DiscoveryConfig { lease: PATIENCE * 10, ..config(Some(state_dir)) }).unwrap()
}

pub(crate) async fn channel(discovery: &RunningDiscovery) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", discovery.grpc_addr())).unwrap();
    endpoint.connect().await.unwrap()
}

pub(crate) async fn client(discovery: &RunningDiscovery) -> DiscoveryClient<Channel> {
    DiscoveryClient::new(channel(discovery).await)
}

/// The warnings that the discovery shows.
pub(crate) async fn warnings(discovery: &RunningDiscovery) -> Vec<String> {
    let mut client = AdminClient::new(channel(discovery).await);
    client.get_status(GetStatusRequest {}).await.unwrap().into_inner().warnings
}

pub(crate) fn registration(name: &str, incarnation: u64) -> v1::RegisterRequest {
    v1::RegisterRequest {
        cluster: "HOME".to_owned(),
        profile: Some(v1::RingProfile { hash: v1::RingHash::Evcache.into(), points_per_node: 160 }),
        group: "g".to_owned(),
        zone: "a".to_owned(),
        node: Some(v1::Node {
            name: name.to_owned(),
            ring_text: name.to_owned(),
            weight: 1,
            state: v1::NodeState::Serving.into(),
            incarnation,
            memcached: format!("127.0.0.1:{}", 20_000 + incarnation),
            ..v1::Node::default()
        }),
        ..Default::default()
    }
}

pub(crate) fn renewal(name: &str, incarnation: u64) -> v1::RenewRequest {
    v1::RenewRequest {
        cluster: "HOME".to_owned(),
        group: "g".to_owned(),
        name: name.to_owned(),
        incarnation,
        state: v1::NodeState::Serving.into(),
        ..Default::default()
    }
}

pub(crate) fn watch(epoch_seen: u64) -> v1::WatchRequest {
    v1::WatchRequest { cluster: "HOME".to_owned(), epoch_seen }
}

/// The next topology of a stream.
pub(crate) async fn next(stream: &mut Streaming<v1::WatchResponse>) -> v1::Topology {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await.expect("a topology in time");
    message.expect("the stream lives").expect("the stream goes on").topology.expect("a topology")
}

/// Each node's name and state.
pub(crate) fn states(topology: &v1::Topology) -> Vec<(&str, v1::NodeState)> {
    let nodes = topology.groups.iter().flat_map(|group| &group.nodes);
    nodes.map(|node| (node.name.as_str(), node.state())).collect()
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
