//! Namespaces of a real node, through its sockets.

#![expect(clippy::unwrap_used, reason = "a test panics on failure")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use evanesce_node::{NamespaceConfig, Node, NodeConfig, RunningNode};

/// How long anything may take that should happen at once.
const PATIENCE: Duration = Duration::from_secs(10);

const LIMIT: usize = 4 << 20;

fn ask(address: SocketAddr, request: &str) -> String {
    let mut peer = TcpStream::connect(address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    peer.read_to_string(&mut reply).unwrap();
    reply
}

/// Asks from a thread that may wait.
async fn asked(address: SocketAddr, request: impl Into<String>) -> String {
    let request = request.into();
    tokio::task::spawn_blocking(move || ask(address, &request)).await.unwrap()
}

async fn start() -> RunningNode {
    let named = |name: &str| NamespaceConfig { name: name.to_owned(), ..NamespaceConfig::default() };
    let namespaces = vec![
        NamespaceConfig { guarantee_bytes: 8 << 20, ..named("user") },
        NamespaceConfig { limit_bytes: Some(LIMIT), ..named("session") },
    ];
    let threads = 1.try_into().unwrap();
    let http = Some("127.0.0.1:0".parse().unwrap());
    let config = NodeConfig { memory_bytes: 32 << 20, threads, http, namespaces, ..NodeConfig::default() };
    Node::start(config).await.unwrap()
}

/// `stats namespaces` by name.
async fn stats(node: &RunningNode) -> BTreeMap<String, u64> {
    let reply = asked(node.memcached_addr(), "stats namespaces\r\nquit\r\n").await;
    let reply = reply.strip_suffix("END\r\n").unwrap();
    let stats = reply.lines().map(|line| line.strip_prefix("STAT ").unwrap().split_once(' ').unwrap());
    stats.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// Sets of so many keys of a namespace, without replies.
fn sets(prefix: &str, keys: usize, value: &str) -> String {
    let set = |key| format!("set {prefix}{key} 0 0 {} noreply\r\n{value}\r\n", value.len());
    (0..keys).map(set).collect::<String>() + "mn\r\nquit\r\n"
}

#[tokio::test]
async fn limit_is_kept_and_nobody_else_pays_for_it() {
    let node = start().await;
    let value = "v".repeat(1_000);
    for (prefix, keys) in [("user:", 4_000), ("", 4_000), ("session:", 20_000)] {
        assert_eq!(asked(node.memcached_addr(), sets(prefix, keys, &value)).await, "MN\r\n");
    }
    let stats = stats(&node).await;
    let of = |name: &str| stats[name];
    assert_eq!(["user:items", "default:items", "session:sets"].map(of), [4_000, 4_000, 20_000]);
    assert!(of("session:segment_bytes") <= LIMIT as u64 && of("session:items") > 3_000, "{stats:?}");
    assert_eq!(of("session:items") + of("session:evictions"), 20_000);
    assert_eq!(["user:evictions", "default:evictions"].map(of), [0, 0]);
    assert_eq!(["user:guarantee", "user:limit", "session:limit"].map(of), [8 << 20, 0, LIMIT as u64]);
    assert_eq!(stats.len(), 3 * 10);
    node.drain(PATIENCE).await;
}

#[tokio::test]
async fn lookups_are_counted_where_they_belong_and_from_a_reset_on() {
    let node = start().await;
    let requests = "set user:1 0 0 1\r\nx\r\nget user:1 user:2 session:1 other:1\r\nmg user:1\r\nquit\r\n";
    asked(node.memcached_addr(), requests).await;
    let before = stats(&node).await;
    let lookups = ["user:hits", "user:misses", "session:misses", "default:misses"];
    assert_eq!(lookups.map(|name| before[name]), [2, 1, 1, 1]);
    let metrics =
        asked(node.http_addr().unwrap(), "GET /metrics HTTP/1.1\r\nhost: n\r\nconnection: close\r\n\r\n")
            .await;
    for line in [
        "evanesce_node_namespace_lookups_total{namespace=\"user\",outcome=\"hit\"} 2",
        "evanesce_node_namespace_items{namespace=\"user\"} 1",
        "evanesce_node_namespace_items{namespace=\"default\"} 0",
        "evanesce_node_namespace_limit_bytes{namespace=\"session\"} 4194304",
        "# HELP evanesce_node_namespace_items Items of the namespace in the store.",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line:?} in {metrics}");
    }
    assert!(!metrics.contains("namespace_limit_bytes{namespace=\"user\"}"), "{metrics}");
    asked(node.memcached_addr(), "stats reset\r\nquit\r\n").await;
    let after = stats(&node).await;
    assert_eq!(lookups.map(|name| after[name]), [0; 4]);
    assert_eq!(after["user:items"], 1);
    node.drain(PATIENCE).await;
}
