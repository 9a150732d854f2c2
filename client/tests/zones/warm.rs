//! Nodes that start empty beside siblings that are not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evanesce_client::{Client, LatchPolicy, StaticNodes};
use evanesce_discovery::RunningDiscovery;
use evanesce_node::RunningNode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::{PATIENCE, eventually};
use crate::discovered::{discovery, node};

/// Keys of a test: several messages' worth.
const KEYS: usize = 4000;

/// Two zones of two nodes, and a client in the first.
struct Zones {
    discovery: RunningDiscovery,
    nodes: Vec<RunningNode>,
    cache: Client,
}

async fn zones() -> Zones {
    let discovery = discovery();
    let mut nodes = Vec::new();
    for (zone, name) in [("a", "n1"), ("a", "n2"), ("b", "n1"), ("b", "n2")] {
        nodes.push(node(zone, name, &discovery).await);
    }
    let cache = Client::builder("HOME")
        .discovery([discovery.grpc_addr().to_string()])
        .zone("a")
        .read_attempt_timeout(PATIENCE)
        .read_timeout(PATIENCE)
        .write_timeout(PATIENCE)
        .connect()
        .await
        .expect("it finds the nodes");
    eventually("all nodes are written", async || {
        let written = cache.set("seen", "v").latch(LatchPolicy::All).await.ok()?;
        (written.acked == 2).then_some(())
    })
    .await;
    Zones { discovery, nodes, cache }
}

impl Zones {
    /// Replaces the first node of zone `b` by an empty one.
    async fn replace(&mut self) {
        self.nodes.remove(2).drain(Duration::ZERO).await;
        let newcomer = node("b", "n1", &self.discovery).await;
        self.nodes.push(newcomer);
    }

    /// Waits for the end of its warm-up; what the newcomer says of it.
    async fn warm(&self) -> (u64, u64) {
        let address = self.nodes[3].memcached_addr();
        eventually("it is warm", async || (number(address, "evanesce_warm_up_ms").await > 0).then_some(()))
            .await;
        (number(address, "evanesce_warm_up_items").await, number(address, "evanesce_warm_up_refused").await)
    }

    /// A client that sees nothing but zone `b`.
    async fn only_b(&self) -> Client {
        let (n1, n2) = (self.nodes[3].memcached_addr(), self.nodes[2].memcached_addr());
        let nodes = StaticNodes::new().node("b", "n1", n1).node("b", "n2", n2);
        let builder = Client::builder("HOME").nodes(nodes).zone("b");
        builder
            .read_attempt_timeout(PATIENCE)
            .read_timeout(PATIENCE)
            .connect()
            .await
            .expect("a list needs no discovery")
    }
}

/// A number of `stats`.
pub(crate) async fn number(address: SocketAddr, name: &str) -> u64 {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(b"stats\r\nquit\r\n").await.expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("it answers");
    let line =
        text.lines().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '));
    line.expect("it is told").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newcomer_holds_what_its_siblings_have_before_it_is_read() {
    let mut zones = zones().await;
    let cache = zones.cache.clone();
    let keys: Vec<String> = (0..KEYS).map(|at| format!("key-{at}")).collect();
    for (at, key) in keys.iter().enumerate() {
        let ttl = Duration::from_secs(1000 + at as u64);
        cache.set(key, key.clone()).ttl(ttl).latch(LatchPolicy::All).await.expect("all nodes are well");
    }
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    cache.set("large", large.clone()).latch(LatchPolicy::All).await.expect("all nodes are well");
    for key in &keys[..100] {
        cache.delete(key).latch(LatchPolicy::All).await.expect("all nodes are well");
    }
    // Some are read, so that both kinds of items are there.
    cache.get_many(&keys[500..1500]).await.expect("good keys");
    zones.replace().await;
    let (stored, refused) = zones.warm().await;
    assert!(stored > KEYS as u64 / 4 && refused == 0, "{stored} stored, {refused} refused");
    let b = zones.only_b().await;
    for (at, key) in keys.iter().enumerate().skip(100) {
        let item = b.get_item(key).await.expect("the zone is well").unwrap_or_else(|| panic!("no {key}"));
        let here = cache.get_item(key).await.expect("all nodes are well").expect("it is there");
        assert_eq!((item.value.as_ref(), item.version), (key.as_bytes(), here.version));
        let (left, ttl) = (item.ttl.expect("it expires").as_secs(), 1000 + at as u64);
        // It is told in whole seconds, rounded up.
        assert!((ttl - 60..=ttl + 1).contains(&left), "{key} has {left} s left of {ttl}");
    }
    for key in &keys[..100] {
        assert_eq!(b.get(key).await, Ok(None), "{key} was deleted");
    }
    assert_eq!(b.get("large").await, Ok(Some(large.into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_during_a_warm_up_stays() {
    let mut zones = zones().await;
    let cache = zones.cache.clone();
    let keys: Vec<String> = (0..KEYS).map(|at| format!("key-{at}")).collect();
    for key in &keys {
        cache.set(key, "old").latch(LatchPolicy::All).await.expect("all nodes are well");
    }
    let ended = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (cache, keys, ended) = (cache.clone(), keys.clone(), Arc::clone(&ended));
        async move {
            for round in 0.. {
                for (at, key) in keys.iter().enumerate() {
                    if at % 10 == round % 10 {
                        cache.delete(key).await.expect("one zone is well");
                    } else {
                        cache.set(key, round.to_string()).await.expect("one zone is well");
                    }
                }
                if ended.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
    });
    zones.replace().await;
    zones.warm().await;
    ended.store(true, Ordering::Relaxed);
    writing.await.expect("it does not panic");
    let b = zones.only_b().await;
    eventually("what it missed has come", async || {
        for key in &keys {
            if cache.get(key).await != b.get(key).await {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_nodes_of_a_cluster_have_nobody_to_warm_up_from() {
    let discovery = discovery();
    let first = node("a", "n1", &discovery).await;
    let cache = Client::builder("HOME").discovery([discovery.grpc_addr().to_string()]).zone("a");
    let cache = cache.read_timeout(PATIENCE).write_timeout(PATIENCE).connect().await.expect("it finds it");
    cache.set("k", "v").latch(LatchPolicy::All).await.expect("the node is well");
    assert_eq!(cache.get("k").await, Ok(Some("v".into())));
    assert_eq!(number(first.memcached_addr(), "evanesce_warm_up_ms").await, 0);
}
