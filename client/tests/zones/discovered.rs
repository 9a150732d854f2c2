//! The client with discovery in place of a list.

use std::net::SocketAddr;
use std::time::Duration;

use evanesce_client::{Client, LatchPolicy};
use evanesce_discovery::{Discovery, DiscoveryConfig, RunningDiscovery};
use evanesce_node::{Node, NodeConfig, RunningNode};

use crate::cluster::{PATIENCE, eventually};

pub(crate) fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

pub(crate) fn discovery() -> RunningDiscovery {
    let config = DiscoveryConfig {
        listen_grpc: any_port(),
        listen_http: None,
        lease: Duration::from_secs(1),
        renew_every: Duration::from_millis(100),
        ..DiscoveryConfig::default()
    };
    Discovery::start(config).expect("it starts")
}

/// A node of a group that is called as its zone.
pub(crate) async fn node(zone: &str, name: &str, discovery: &RunningDiscovery) -> RunningNode {
    let config = NodeConfig {
        zone: zone.to_owned(),
        group: zone.to_owned(),
        name: name.to_owned(),
        grpc: Some(any_port()),
        discoveries: vec![discovery.grpc_addr().to_string()],
        threads: 1.try_into().expect("one is not zero"),
        ..NodeConfig::default()
    };
    let node = Node::start(config).await.expect("it starts");
    node.ready().await;
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_finds_the_nodes_follows_newcomers_and_goes_on_without_discovery() {
    let discovery = discovery();
    let _a = node("a", "n1", &discovery).await;
    let cache = Client::builder("HOME")
        .discovery([discovery.grpc_addr().to_string()])
        .zone("a")
        .read_attempt_timeout(PATIENCE)
        .read_timeout(PATIENCE)
        .write_timeout(PATIENCE)
        .connect_timeout(PATIENCE)
        .connect()
        .await
        .expect("it finds the node");
    let written = cache.set("k", "v").latch(LatchPolicy::All).await.expect("the node is well");
    assert_eq!(written.acked, 1);
    let _b = node("b", "n1", &discovery).await;
    eventually("the newcomer is written to", async || {
        let written = cache.set("k", "v").latch(LatchPolicy::All).await.expect("all nodes are well");
        (written.acked == 2).then_some(())
    })
    .await;
    discovery.drain(Duration::ZERO).await;
    let written = cache.set("k", "new").latch(LatchPolicy::All).await.expect("the nodes are well");
    assert_eq!(written.acked, 2);
    assert_eq!(cache.get("k").await, Ok(Some("new".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_starts_with_the_topology_on_disk_while_no_discovery_answers() {
    let directory = tempfile::tempdir().expect("a directory");
    let discovery = discovery();
    let address = discovery.grpc_addr().to_string();
    let _a = node("a", "n1", &discovery).await;
    let builder = || {
        let builder = Client::builder("HOME").discovery([address.clone()]).zone("a");
        builder
            .read_timeout(PATIENCE)
            .write_timeout(PATIENCE)
            .topology_file(directory.path().join("topology"))
    };
    let cache = builder().connect_timeout(PATIENCE).connect().await.expect("it finds the node");
    cache.set("k", "v").latch(LatchPolicy::All).await.expect("the node is well");
    drop(cache);
    discovery.drain(Duration::ZERO).await;
    let cache = builder().connect_timeout(Duration::from_millis(50)).connect().await.expect("it is on disk");
    assert_eq!(cache.get("k").await, Ok(Some("v".into())));
    std::fs::write(directory.path().join("topology"), "something else").expect("it is written");
    let error =
        builder().connect_timeout(Duration::from_millis(50)).connect().await.err().expect("it is none");
    assert!(error.to_string().contains("no topology this version can read"), "{error}");
}
