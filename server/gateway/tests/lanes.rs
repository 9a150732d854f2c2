//! A gateway that reads over connections of its workers' own, before a node to which writes are slow: nobody reads what was
//! there before a write.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evanesce_discovery::{Discovery, DiscoveryConfig, RunningDiscovery};
use evanesce_gateway::{Gateway, GatewayConfig, RunningGateway};
use evanesce_node::{Node, NodeConfig, RunningNode};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// Longest that any step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// For so long a write stands before the node, and with it all that comes behind it on its connection. Within the time that a
/// node may take over a read.
const DELAY: Duration = Duration::from_millis(4);

/// What stands before a node: lets everything through, and holds up what carries a write.
struct Gate {
    address: SocketAddr,
    node: Arc<OnceLock<SocketAddr>>,
    passed: Arc<AtomicUsize>,
    held_up: Arc<AtomicUsize>,
}

impl Gate {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let (passed, held_up) = (Arc::default(), Arc::default());
        let gate = Self { address, node: Arc::default(), passed, held_up };
        let (node, passed) = (Arc::clone(&gate.node), Arc::clone(&gate.passed));
        let held_up = Arc::clone(&gate.held_up);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Nobody is let in before the node is known.
                let Some(&node) = node.get() else { continue };
                passed.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(pass(client, node, Arc::clone(&held_up)));
            }
        });
        gate
    }
}

async fn pass(client: TcpStream, node: SocketAddr, held_up: Arc<AtomicUsize>) {
    let Ok(node) = TcpStream::connect(node).await else { return };
    let _ = (client.set_nodelay(true), node.set_nodelay(true));
    let ((mut from_client, mut to_client), (mut from_node, mut to_node)) =
        (client.into_split(), node.into_split());
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_node, &mut to_client).await });
    let mut bytes = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
        let text = String::from_utf8_lossy(&bytes[..read]);
        if text.lines().any(|line| line.starts_with("ms ") || line.starts_with("md ")) {
            held_up.fetch_add(1, Ordering::Relaxed);
            sleep(DELAY).await;
        }
        if to_node.write_all(&bytes[..read]).await.is_err() {
            break;
        }
    }
    drop(to_node);
    let _ = back.await;
}

struct Cluster {
    discovery: RunningDiscovery,
    node: RunningNode,
    gateway: RunningGateway,
    gate: Gate,
}

impl Cluster {
    /// One node, behind a gate, and a gateway of two workers.
    async fn start() -> Self {
        let loopback: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let config =
            DiscoveryConfig { listen_grpc: loopback, listen_http: None, ..DiscoveryConfig::default() };
        let discovery = Discovery::start(config).expect("a discovery");
        let discoveries = vec![discovery.grpc_addr().to_string()];
        let gate = Gate::open().await;
        let config = NodeConfig {
            zone: "a".to_owned(),
            group: "a".to_owned(),
            name: "a1".to_owned(),
            discoveries: discoveries.clone(),
            advertise_memcached: Some(gate.address),
            ..NodeConfig::default()
        };
        let node = Node::start(config).await.expect("a node");
        gate.node.set(node.memcached_addr()).expect("it is set once");
        node.ready().await;
        let threads = NonZeroUsize::new(2).expect("2 is not 0");
        let gateway = Gateway::start(GatewayConfig { discoveries, threads, ..GatewayConfig::default() });
        let gateway = gateway.await.expect("a gateway");
        Self { discovery, node, gateway, gate }
    }

    async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.gateway.memcached_addr()).await.expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        Client { stream: BufReader::new(stream) }
    }

    async fn end(self) {
        assert!(self.gate.held_up.load(Ordering::Relaxed) > 0, "writes go through the gate");
        assert!(self.gate.passed.load(Ordering::Relaxed) > 1, "there are lanes beside what all share");
        self.gateway.drain(Duration::from_secs(5)).await;
        self.node.drain(Duration::from_secs(5)).await;
        self.discovery.drain(Duration::from_secs(5)).await;
    }
}

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Sends all of `input` at once; the lines that come back, so many unless the machine was too busy for one of the requests:
    /// then `None`. Nothing stands behind the last request, so that what is alone is answered as such.
    async fn ask(&mut self, input: &str, count: usize) -> Option<Vec<String>> {
        let exchange = async {
            self.stream.write_all(input.as_bytes()).await.expect("it reads");
            let mut replies = Vec::new();
            while replies.len() < count {
                let line = self.line().await;
                if line.starts_with("SERVER_ERROR ") {
                    self.stream.write_all(b"mn\r\n").await.expect("it reads");
                    while self.line().await != "MN" {}
                    return None;
                }
                replies.push(line);
            }
            Some(replies)
        };
        timeout(PATIENCE, exchange).await.expect("an answer in time")
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.stream.read_line(&mut line).await.expect("it answers"), 0, "it stays open");
        line.trim_end().to_owned()
    }

    /// Reads until lanes are there, over which reads take no time to speak of.
    async fn warm(&mut self) {
        for _ in 0..50 {
            self.ask("get none\r\n", 1).await;
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Exchanges that count, of those of a test: on a busy machine some fail, and those that do not must be right.
#[derive(Default)]
struct Verdict {
    right: usize,
}

impl Verdict {
    fn judge<const N: usize>(&mut self, replies: Option<Vec<String>>, expected: [&str; N]) {
        let Some(replies) = replies else { return };
        assert_eq!(replies, expected);
        self.right += 1;
    }
}

/// What was feared of lanes: a read that overtakes the write before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_connection_has_written_it_reads_however_it_pipelines() {
    let cluster = Cluster::start().await;
    let mut client = cluster.connect().await;
    client.warm().await;
    let mut verdict = Verdict::default();
    for round in (100..500).step_by(4) {
        let (first, second) = (round.to_string(), (round + 1).to_string());
        let (hit, end) = ("VALUE k 0 3", "END");
        let asked = client.ask(&format!("set k 0 0 3\r\n{first}\r\nget k\r\n"), 4).await;
        verdict.judge(asked, ["STORED", hit, &first, end]);
        let silent = format!("set k 0 0 3 noreply\r\n{second}\r\nget k other\r\nget k\r\n");
        verdict.judge(client.ask(&silent, 6).await, [hit, &second, end, hit, &second, end]);
        verdict.judge(client.ask("delete k\r\nget k\r\n", 2).await, ["DELETED", end]);
        let mixed = "set k 0 0 1\r\nx\r\ndelete k noreply\r\nget k\r\nmg k v\r\n";
        verdict.judge(client.ask(mixed, 3).await, ["STORED", end, "EN"]);
    }
    assert!(verdict.right > 40, "{} of 400 exchanges went well", verdict.right);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_connection_was_told_is_stored_all_others_read() {
    let cluster = Cluster::start().await;
    let mut writer = cluster.connect().await;
    // Of both workers.
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut reader = cluster.connect().await;
        reader.warm().await;
        readers.push(reader);
    }
    // Changes are under way at most times, and not at all.
    let mut other = cluster.connect().await;
    let noise = tokio::spawn(async move {
        for round in 0.. {
            other.ask(&format!("set noise{round} 0 0 1\r\nx\r\n"), 1).await;
            sleep(DELAY / 2).await;
        }
    });
    let mut verdict = Verdict::default();
    for round in 100..200 {
        let value = round.to_string();
        if writer.ask(&format!("set k 0 0 3\r\n{value}\r\n"), 1).await.is_none() {
            continue;
        }
        for reader in &mut readers {
            verdict.judge(reader.ask("get k\r\n", 3).await, ["VALUE k 0 3", &value, "END"]);
            let two = reader.ask("get none\r\nget k\r\n", 4).await;
            verdict.judge(two, ["END", "VALUE k 0 3", &value, "END"]);
        }
    }
    noise.abort();
    assert!(verdict.right > 80, "{} of 800 exchanges went well", verdict.right);
    cluster.end().await;
}
