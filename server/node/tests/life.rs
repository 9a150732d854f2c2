//! Nodes from start to drain, on loopback.

#![expect(clippy::unwrap_used, reason = "a test panics on failure")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use evanesce_node::{Node, NodeConfig, StartError};

/// How long anything may take that should happen at once.
const PATIENCE: Duration = Duration::from_secs(10);

fn any_port() -> Option<SocketAddr> {
    Some("127.0.0.1:0".parse().unwrap())
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut peer = TcpStream::connect(address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    peer.read_to_string(&mut reply).unwrap();
    reply
}

fn http(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n"))
}

fn address_of_nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn standalone_node_serves_is_ready_shows_metrics_and_drains() {
    let config = NodeConfig { grpc: any_port(), http: any_port(), ..NodeConfig::default() };
    let node = Node::start(config).await.unwrap();
    node.ready().await;
    let (memcached, admin) = (node.memcached_addr(), node.http_addr().unwrap());
    assert!(node.grpc_addr().is_some());
    let reply = blocking(move || ask(memcached, "set a 0 0 1\r\nx\r\nget a\r\nget b\r\nquit\r\n")).await;
    assert_eq!(reply, "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\nEND\r\n");
    let ready = blocking(move || http(admin, "/health/ready")).await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let metrics = blocking(move || http(admin, "/metrics")).await;
    for line in [
        "evanesce_node_lookups_total{outcome=\"hit\"} 1",
        "evanesce_node_lookups_total{outcome=\"miss\"} 1",
        "evanesce_node_items 1",
        "evanesce_node_requests_total 3",
        "# HELP evanesce_node_lookups_total Keys looked up, by outcome.",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line:?} in {metrics}");
    }
    assert_eq!(node.drain(PATIENCE).await.cut_connections, 0);
    assert!(blocking(move || TcpStream::connect(memcached)).await.is_err());
    assert!(blocking(move || TcpStream::connect(admin)).await.is_err());
}

#[tokio::test]
async fn node_without_its_discovery_serves_but_is_not_ready() {
    let discoveries = vec![address_of_nobody().to_string()];
    let config = NodeConfig { discoveries, http: any_port(), ..NodeConfig::default() };
    let node = Node::start(config).await.unwrap();
    let (memcached, admin) = (node.memcached_addr(), node.http_addr().unwrap());
    assert_eq!(blocking(move || ask(memcached, "version\r\nquit\r\n")).await, "VERSION 1.6.18\r\n");
    let ready = blocking(move || http(admin, "/health/ready")).await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    let mut idle = TcpStream::connect(memcached).unwrap();
    node.drain(PATIENCE).await;
    assert_eq!(blocking(move || idle.read(&mut [0; 1])).await.unwrap(), 0);
}

#[tokio::test]
async fn what_cannot_work_is_told_at_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = vec![taken.local_addr().unwrap().into()];
    let error = Node::start(NodeConfig { listen, ..NodeConfig::default() }).await.err();
    assert!(matches!(error, Some(StartError::Front(_))), "{error:?}");
    let error = Node::start(NodeConfig { memory_bytes: 1000, ..NodeConfig::default() }).await.err();
    assert!(matches!(error, Some(StartError::Store(_))), "{error:?}");
    let discoveries = vec![address_of_nobody().to_string()];
    let error =
        Node::start(NodeConfig { discoveries, name: "a b".to_owned(), ..NodeConfig::default() }).await.err();
    assert!(matches!(error, Some(StartError::Facts(_))), "{error:?}");
}

#[tokio::test]
async fn long_retrieval_of_large_values_comes_back_whole() {
    let node = Node::start(NodeConfig::default()).await.unwrap();
    let memcached = node.memcached_addr();
    let (keys, bytes) = (100, 200_000);
    let reply = blocking(move || {
        let value = "v".repeat(bytes);
        let sets: String =
            (0..keys).map(|key| format!("set k{key} 0 0 {bytes} noreply\r\n{value}\r\n")).collect();
        let all: String = (0..keys).map(|key| format!(" k{key}")).collect();
        ask(memcached, &format!("{sets}get{all}\r\nquit\r\n"))
    })
    .await;
    assert_eq!(
        reply.len(),
        (0..keys).map(|key| format!("VALUE k{key} 0 {bytes}\r\n").len() + bytes + 2).sum::<usize>() + 5
    );
    node.drain(PATIENCE).await;
}
