//! A gateway before real nodes and a real discovery, spoken to over a socket: bytes in, bytes out.

use std::net::SocketAddr;
use std::time::Duration;

use evanesce_client::Client;
use evanesce_discovery::{Discovery, DiscoveryConfig, RunningDiscovery};
use evanesce_gateway::{Gateway, GatewayConfig, RunningGateway};
use evanesce_node::{Node, NodeConfig, RunningNode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest that any step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Cluster {
    discovery: RunningDiscovery,
    nodes: Vec<RunningNode>,
    gateway: RunningGateway,
}

impl Cluster {
    /// Two zones of one node each, and a gateway in zone a.
    async fn start() -> Self {
        Self::with(GatewayConfig::default()).await
    }

    async fn with(gateway: GatewayConfig) -> Self {
        let loopback: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let config =
            DiscoveryConfig { listen_grpc: loopback, listen_http: None, ..DiscoveryConfig::default() };
        let discovery = Discovery::start(config).expect("a discovery");
        let discoveries = vec![discovery.grpc_addr().to_string()];
        let mut nodes = Vec::new();
        for zone in ["a", "b"] {
            let config = NodeConfig {
                zone: zone.to_owned(),
                group: zone.to_owned(),
                name: format!("{zone}1"),
                discoveries: discoveries.clone(),
                ..NodeConfig::default()
            };
            let node = Node::start(config).await.expect("a node");
            node.ready().await;
            nodes.push(node);
        }
        let gateway = GatewayConfig { discoveries, node_timeout: Some(PATIENCE), ..gateway };
        let gateway = Gateway::start(gateway);
        let gateway = gateway.await.expect("a gateway");
        let cluster = Self { discovery, nodes, gateway };
        cluster.see_both_zones().await;
        cluster
    }

    /// The gateway may have started with the topology of one zone: wait until a write reaches both.
    async fn see_both_zones(&self) {
        eventually(async || {
            self.ask(b"set probe 0 0 1\r\np\r\n").await;
            let there = talk(self.nodes[1].memcached_addr(), b"get probe\r\n").await;
            there.starts_with("VALUE").then_some(())
        })
        .await;
    }

    async fn ask(&self, input: &[u8]) -> String {
        talk(self.gateway.memcached_addr(), input).await
    }

    async fn end(self) {
        self.gateway.drain(Duration::from_secs(5)).await;
        for node in self.nodes {
            node.drain(Duration::from_secs(5)).await;
        }
        self.discovery.drain(Duration::from_secs(5)).await;
    }
}

/// Tries until `attempt` gives something.
async fn eventually<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let trying = async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.expect("it comes in time")
}

/// Sends all of `input`, closes that direction, and returns all that came back.
async fn talk(addr: SocketAddr, input: &[u8]) -> String {
    String::from_utf8_lossy(&talk_bytes(addr, input).await).into_owned()
}

async fn talk_bytes(addr: SocketAddr, input: &[u8]) -> Vec<u8> {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await.expect("it listens");
        stream.write_all(input).await.expect("it reads");
        stream.shutdown().await.expect("half a close");
        let mut replies = Vec::new();
        stream.read_to_end(&mut replies).await.expect("it answers");
        replies
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_is_in_every_zone_and_read_back_verbatim() {
    let cluster = Cluster::start().await;
    let replies = cluster.ask(b"set k 4294967295 0 4\r\na\r\nb\r\nget k\r\ngets none\r\n").await;
    assert_eq!(replies, "STORED\r\nVALUE k 4294967295 4\r\na\r\nb\r\nEND\r\nEND\r\n");
    for node in &cluster.nodes {
        // The local zone has it when it is acknowledged, the other soon.
        let replies = eventually(async || {
            let replies = talk(node.memcached_addr(), b"get k\r\n").await;
            (replies != "END\r\n").then_some(replies)
        });
        assert_eq!(replies.await, "VALUE k 4294967295 4\r\na\r\nb\r\nEND\r\n");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order() {
    let cluster = Cluster::start().await;
    let input = b"set a 0 0 1\r\n1\r\nget a\r\nset a 0 0 1\r\n2\r\nget a b\r\nadd a 0 0 1\r\n3\r\n\
                  add b 0 0 1\r\n4\r\nreplace b 0 0 1\r\n5\r\nreplace c 0 0 1\r\n6\r\nget b\r\n\
                  touch b 60\r\ntouch c 60\r\ngat 60 b c\r\ndelete b\r\ndelete b\r\nget b\r\nmn\r\n";
    let replies = cluster.ask(input).await;
    assert_eq!(
        replies,
        "STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\nSTORED\r\nVALUE a 0 1\r\n2\r\nEND\r\nNOT_STORED\r\n\
         STORED\r\nSTORED\r\nNOT_STORED\r\nVALUE b 0 1\r\n5\r\nEND\r\n\
         TOUCHED\r\nNOT_FOUND\r\nVALUE b 0 1\r\n5\r\nEND\r\nDELETED\r\nNOT_FOUND\r\nEND\r\nMN\r\n"
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meta_commands_pass_and_what_is_of_one_node_is_refused() {
    let cluster = Cluster::start().await;
    let input =
        b"ms m 2 F7 T60 O1\r\nhi\r\nmg m v f t s k Omark\r\nmg none v\r\nmg none v q\r\nmg bWV0YQ== b v\r\n\
                  ms m 2 ME\r\nno\r\nmd m q\r\nmd m\r\nma n t\r\nmg m v E5\r\nms m 1 E5\r\nx\r\n";
    let replies = cluster.ask(input).await;
    // Expiry is rounded up to a whole second: a second more may be left.
    let replies = replies.replace("t61", "t60");
    let lines: Vec<&str> = replies.split("\r\n").collect();
    assert_eq!(lines[..5], ["HD O1", "VA 2 f7 t60 s2 km Omark", "hi", "EN", "EN"], "{replies}");
    assert_eq!(lines[5..7], ["NS", "NF"], "{replies}");
    assert!(lines[7..10].iter().all(|line| line.starts_with("SERVER_ERROR ")), "{replies}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_one_place_is_decided_at_home_and_is_in_every_zone() {
    let cluster = Cluster::start().await;
    let input = b"incr n 1\r\nappend k 0 0 1\r\nx\r\ncas k 0 0 1 9\r\nx\r\nset k 7 0 1\r\nb\r\n\
                  append k 0 0 1\r\nc\r\nprepend k 0 0 1 noreply\r\na\r\nincr k 1\r\nget k\r\n\
                  ma n N60 J40 v\r\nma n D2 v\r\nincr n 3\r\ndecr n 1 noreply\r\nma none q\r\nget n\r\n\
                  ms k 1 MA\r\nd\r\n";
    let replies = cluster.ask(input).await;
    assert_eq!(
        replies,
        "NOT_FOUND\r\nNOT_STORED\r\nNOT_FOUND\r\nSTORED\r\nSTORED\r\n\
         CLIENT_ERROR cannot increment or decrement non-numeric value\r\nVALUE k 7 3\r\nabc\r\nEND\r\n\
         VA 2\r\n40\r\nVA 2\r\n42\r\n45\r\nNF\r\nVALUE n 0 2\r\n44\r\nEND\r\nHD\r\n"
    );
    let replies = cluster.ask(b"gets k\r\nmg k c\r\ngats 60 k\r\n").await;
    let lines: Vec<&str> = replies.split("\r\n").collect();
    let token = lines[0].strip_prefix("VALUE k 7 4 ").expect("the token of the home zone");
    assert_eq!(lines[3], format!("HD c{token}"), "{replies}");
    let input = format!(
        "cas k 0 0 1 1{token}\r\nx\r\ncas k 8 0 1 {token}\r\ny\r\ncas k 8 0 1 {token}\r\nz\r\nms k 1 C{token}\r\nx\r\n"
    );
    assert_eq!(cluster.ask(input.as_bytes()).await, "EXISTS\r\nSTORED\r\nEXISTS\r\nEX\r\n");
    for node in &cluster.nodes {
        let in_zone = async || talk(node.memcached_addr(), b"get k n\r\n").await;
        while in_zone().await != "VALUE k 8 1\r\ny\r\nVALUE n 0 2\r\n44\r\nEND\r\n" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    cluster.end().await;
}

/// A program beside the gateway has loaded the key, and found none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn append_to_what_is_remembered_to_be_absent_is_not_stored() {
    let cluster = Cluster::start().await;
    let client = Client::builder("HOME").discovery([cluster.discovery.grpc_addr().to_string()]).zone("a");
    let client = client.connect().await.expect("the cluster is there");
    let nothing = |_| async { Ok::<_, std::io::Error>(None) };
    let load = client.raw().get_or_load("k", nothing).absent_ttl(Duration::from_secs(60));
    assert_eq!(load.await.expect("it answers"), None);
    let marked = async {
        while client.raw().get_for_cas("k").with_absent().await.expect("it answers").is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, marked).await.expect("it is remembered");
    for command in ["append", "prepend"] {
        let reply = cluster.ask(format!("{command} k 0 0 1\r\nx\r\n").as_bytes()).await;
        assert_eq!(reply, "NOT_STORED\r\n", "{command}");
    }
    let replies = cluster.ask(b"get k\r\nset k 0 0 1\r\nb\r\nappend k 0 0 1\r\nc\r\nget k\r\n").await;
    assert_eq!(replies, "END\r\nSTORED\r\nSTORED\r\nVALUE k 0 2\r\nbc\r\nEND\r\n");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flush_of_all_is_refused_and_noreply_is_silent() {
    let cluster = Cluster::start().await;
    let input =
        b"flush_all\r\nflush_all noreply\r\nset q 0 0 1 noreply\r\nz\r\nget q\r\nversion\r\nbogus\r\n";
    let replies = cluster.ask(input).await;
    let lines: Vec<&str> = replies.split("\r\n").collect();
    assert!(lines[0].starts_with("SERVER_ERROR "), "{replies}");
    assert_eq!(lines[1..], ["VALUE q 0 1", "z", "END", "VERSION 1.6.18", "ERROR", ""], "{replies}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flush_of_all_empties_every_zone_where_it_is_allowed() {
    let mut cluster = Cluster::with(GatewayConfig { flush_command: true, ..GatewayConfig::default() }).await;
    // In one packet: what stands before is gone, what stands behind stays.
    let input = b"set k 0 0 1\r\nx\r\nflush_all\r\nget k\r\nset l 0 0 1\r\ny\r\nflush_all noreply\r\nset m 0 0 1\r\nz\r\n\
                  get k l m\r\nflush_all 100\r\nget m\r\n";
    let replies = cluster.ask(input).await;
    let found = "VALUE m 0 1\r\nz\r\nEND\r\n";
    assert_eq!(replies, format!("STORED\r\nOK\r\nEND\r\nSTORED\r\nSTORED\r\n{found}OK\r\n{found}"));
    let other = talk(cluster.nodes[1].memcached_addr(), b"get k l m\r\n").await;
    assert_eq!(other, found);
    let flushed = talk_bytes(cluster.gateway.memcached_addr(), &binary(0x08, b"", b"", b"", 0)).await;
    assert_eq!(binary_replies(&flushed), [(0x08, 0x00, &b""[..])]);
    let gone = cluster.nodes.remove(1);
    gone.drain(Duration::from_secs(1)).await;
    let replies = cluster.ask(b"flush_all\r\n").await;
    assert!(replies.starts_with("SERVER_ERROR ") && replies.contains("b1"), "{replies}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn home_zone_gives_one_win_and_tells_of_accesses() {
    let cluster = Cluster::start().await;
    let input = b"mg w v N30 t\r\nmg w v N30\r\nmg w s h\r\nms w 2 c\r\nhi\r\nmg w v N30 h\r\nmg w v u h l\r\nmg none h l q\r\n\
                  ms r 1 T20\r\na\r\nmg r v R30\r\nmg r v R30\r\nmg r v R10 T100 t\r\n";
    let replies = cluster.ask(input).await.replace(" t31", " t30").replace(" t101", " t100");
    let lines: Vec<&str> = replies.split_terminator("\r\n").collect();
    assert_eq!(lines[..5], ["VA 0 t30 W", "", "VA 0 Z", "", "HD s0 h1 Z"], "{replies}");
    // The winner's value is in every zone, and its token is no secret.
    assert!(lines[5].starts_with("HD c") && lines[5].len() > 10, "{replies}");
    assert_eq!(lines[6..10], ["VA 2 h0", "hi", "VA 2 h1 l0", "hi"], "{replies}");
    assert_eq!(lines[10..], ["HD", "VA 1 W", "a", "VA 1 Z", "a", "VA 1 t100 Z", "a"], "{replies}");
    let token = lines[5].strip_prefix("HD c").unwrap();
    let input = format!("mg w c\r\nms w 2 C{token}\r\nho\r\nms w 2 C{token} MR\r\nhu\r\nget w\r\n");
    let replies = cluster.ask(input.as_bytes()).await;
    assert_eq!(replies, format!("HD c{token}\r\nHD\r\nEX\r\nVALUE w 0 2\r\nho\r\nEND\r\n"));
    cluster.end().await;
}

/// The token of a binary reply.
fn token(reply: &[u8]) -> &[u8] {
    &reply[16..24]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_tokens_are_of_every_zone_and_compared_at_home() {
    let cluster = Cluster::start().await;
    let gateway = cluster.gateway.memcached_addr();
    let set = &[0, 0, 0, 0, 0, 0, 0, 60][..];
    for key in [&b"t1"[..], b"t2", b"t3", b"t4"] {
        let stored = talk_bytes(gateway, &binary(0x01, set, key, b"v", 0)).await;
        let got = talk_bytes(gateway, &binary(0x00, b"", key, b"", 0)).await;
        assert!(token(&stored) == token(&got) && token(&got) != [0; 8]);
        let mut swap = binary(0x01, set, key, b"w", 0);
        swap[16..24].copy_from_slice(token(&got));
        let replies = talk_bytes(gateway, &[&swap[..], &swap[..]].concat()).await;
        let replies: Vec<(u8, u8)> =
            binary_replies(&replies).iter().map(|(opcode, status, _)| (*opcode, *status)).collect();
        assert_eq!(replies, [(0x01, 0x00), (0x01, 0x02)]);
    }
    cluster.end().await;
}

/// A key with control characters goes to nodes as base64, which makes it longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_that_no_node_takes_is_the_callers_error() {
    let cluster = Cluster::start().await;
    let (long, short) = ("\x01".repeat(200), "\x01".repeat(100));
    let input = format!(
        "set {long} 0 0 1\r\nx\r\nget a {long}\r\ndelete {long}\r\nmg {long} v\r\nset {short} 0 0 1\r\nx\r\nget {short}\r\n"
    );
    let replies = cluster.ask(input.as_bytes()).await;
    let lines: Vec<&str> = replies.split("\r\n").collect();
    assert!(lines[..4].iter().all(|line| line.starts_with("CLIENT_ERROR the key has ")), "{replies}");
    assert_eq!(lines[4..], ["STORED", &format!("VALUE {short} 0 1"), "x", "END", ""], "{replies}");
    cluster.end().await;
}

/// What was seen in review: the keys behind the one that failed were answered with their neighbours' values.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retrieval_that_fails_takes_nothing_from_those_behind_it() {
    let cluster = Cluster::start().await;
    let long = "\x01".repeat(200);
    let sets: String = ["a", "b", "c", "d"].map(|key| format!("set {key} 0 0 2\r\n{key}!\r\n")).concat();
    assert_eq!(cluster.ask(sets.as_bytes()).await, "STORED\r\n".repeat(4));
    let input = format!("get {long} a\r\nget b\r\nget none c {long} d\r\nget c d\r\n");
    let replies = cluster.ask(input.as_bytes()).await;
    let found = |key| format!("VALUE {key} 0 2\r\n{key}!\r\n");
    let lines: Vec<&str> = replies.split_inclusive("\r\n").collect();
    let is_refusal = |line: &str| line.starts_with("CLIENT_ERROR the key has ");
    assert!(is_refusal(lines[0]) && is_refusal(lines[4]), "{replies}");
    assert_eq!(lines[1..4].concat(), found("b") + "END\r\n", "{replies}");
    assert_eq!(lines[5..].concat(), found("c") + &found("d") + "END\r\n", "{replies}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_retrievals_and_large_values_pass_whole() {
    let cluster = Cluster::start().await;
    let large = "v".repeat(600_000);
    let stored = cluster.ask(format!("set large 0 0 {}\r\n{large}\r\n", large.len()).as_bytes()).await;
    assert_eq!(stored, "STORED\r\n");
    let sets: String = (0..300).map(|i| format!("set k{i} 0 0 2 noreply\r\nv{}\r\n", i % 10)).collect();
    assert_eq!(cluster.ask(sets.as_bytes()).await, "");
    let keys: String = (0..300).map(|i| format!(" k{i}")).collect();
    let replies = cluster.ask(format!("get{keys} large none\r\n").as_bytes()).await;
    let small: String = (0..300).map(|i| format!("VALUE k{i} 0 2\r\nv{}\r\n", i % 10)).collect();
    assert_eq!(replies, format!("{small}VALUE large 0 600000\r\n{large}\r\nEND\r\n"));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_writes_go_on_when_the_local_zone_dies() {
    let mut cluster = Cluster::start().await;
    assert_eq!(cluster.ask(b"set k 0 0 1\r\nx\r\n").await, "STORED\r\n");
    let local = cluster.nodes.remove(0);
    local.drain(Duration::from_secs(1)).await;
    assert_eq!(
        cluster.ask(b"get k\r\nset k 0 0 1\r\ny\r\nget k\r\n").await,
        "VALUE k 0 1\r\nx\r\nEND\r\nSTORED\r\nVALUE k 0 1\r\ny\r\nEND\r\n"
    );
    cluster.end().await;
}

/// A supervisor must be able to tell a gateway that waits for its cluster from one that hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_a_cluster_is_alive_and_not_ready() {
    let http = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let config = GatewayConfig {
        discoveries: vec!["127.0.0.1:1".to_owned()],
        http: Some(http),
        connect_timeout: PATIENCE,
        ..GatewayConfig::default()
    };
    let gateway = tokio::spawn(Gateway::start(config));
    let status = |path: &'static str| async move {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut stream = TcpStream::connect(http).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.ok()?;
        reply.split(' ').nth(1).map(str::to_owned)
    };
    let alive = async {
        while status("/health/live").await.as_deref() != Some("200") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, alive).await.expect("it is alive before it has a cluster");
    assert_eq!(status("/health/ready").await.as_deref(), Some("503"));
    gateway.abort();
}

/// A request of the binary protocol; what follows the header, and the lengths of extras, key and body.
fn binary(opcode: u8, extras: &[u8], key: &[u8], value: &[u8], cas: u8) -> Vec<u8> {
    let body = (extras.len() + key.len() + value.len()) as u8;
    let mut request = vec![0x80, opcode, 0, key.len() as u8, extras.len() as u8, 0, 0, 0, 0, 0, 0, body];
    request.extend_from_slice(b"mark\0\0\0\0\0\0\0");
    request.push(cas);
    [&request[..], extras, key, value].concat()
}

/// Opcode, status and body of each reply. Whether there is a token is left out.
fn binary_replies(mut bytes: &[u8]) -> Vec<(u8, u8, &[u8])> {
    let mut replies = Vec::new();
    while let [0x81, opcode, _, _, _, 0, 0, status, 0, 0, high, low, b'm', b'a', b'r', b'k', ..] = bytes {
        let (body, rest) = bytes[24..].split_at(usize::from(*high) << 8 | usize::from(*low));
        replies.push((*opcode, *status, body));
        bytes = rest;
    }
    assert_eq!(bytes, b"", "whole replies and nothing else");
    replies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_protocol_offers_what_text_does_and_refuses_the_rest() {
    let cluster = Cluster::start().await;
    let (set, expiry) = (&[0, 0, 0, 7, 0, 0, 0, 60][..], &[0, 0, 0, 60][..]);
    let from_40 = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 60];
    let requests = [
        // A key that no text command can name.
        binary(0x01, set, b"a b", b"value", 0),
        binary(0x0c, b"", b"a b", b"", 0),
        binary(0x11, set, b"k", b"v", 0),
        binary(0x12, set, b"k", b"w", 0),
        binary(0x1d, expiry, b"k", b"", 0),
        binary(0x1c, expiry, b"k", b"", 0),
        binary(0x09, b"", b"none", b"", 0),
        binary(0x24, expiry, b"none", b"", 0),
        binary(0x0c, b"", b"none", b"", 0),
        binary(0x14, b"", b"k", b"", 0),
        binary(0x04, b"", b"k", b"", 0),
        binary(0x01, set, b"k", b"v", 9),
        binary(0x19, b"", b"k", b"w", 0),
        binary(0x15, &from_40, b"n", b"", 0),
        binary(0x05, &from_40, b"n", b"", 0),
        binary(0x05, &from_40, b"n", b"", 9),
        binary(0x06, &from_40, b"a b", b"", 0),
        binary(0x08, b"", b"", b"", 0),
        binary(0x0b, b"", b"", b"", 0),
        binary(0x0a, b"", b"", b"", 0),
        binary(0x07, b"", b"", b"", 0),
    ];
    let bytes = talk_bytes(cluster.gateway.memcached_addr(), &requests.concat()).await;
    let not_offered = &b"the gateway does not offer this command yet, ask a node"[..];
    let expected = [
        (0x01, 0x00, &b""[..]),
        (0x0c, 0x00, b"\0\0\0\x07a bvalue"),
        (0x12, 0x02, b"Data exists for key."),
        (0x1d, 0x00, b"\0\0\0\x07v"),
        (0x1c, 0x00, b""),
        (0x0c, 0x01, b"none"),
        (0x04, 0x01, b"Not found"),
        (0x01, 0x01, b"Not found"),
        (0x19, 0x05, b"Not stored."),
        (0x05, 0x00, b"\0\0\0\0\0\0\0\x29"),
        (0x05, 0x83, not_offered),
        (0x06, 0x06, b"Non-numeric server-side value for incr or decr"),
        (0x08, 0x83, not_offered),
        (0x0b, 0x00, b"1.6.18"),
        (0x0a, 0x00, b""),
        (0x07, 0x00, b""),
    ];
    assert_eq!(binary_replies(&bytes), expected);
    let in_text = talk(cluster.nodes[1].memcached_addr(), b"mg YSBi b v f\r\n").await;
    assert_eq!(in_text, "VA 5 f7\r\nvalue\r\n", "the other zone has it too");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_of_one_node_says_where_to_ask_and_gateways_are_listed() {
    let cluster = Cluster::start().await;
    let replies =
        cluster.ask(b"lru_crawler metadump all\r\nwatch\r\nshutdown\r\nmn V\r\nconfig get other\r\n").await;
    let lines: Vec<&str> = replies.split_terminator("\r\n").collect();
    assert!(lines[0].starts_with("SERVER_ERROR keys are listed by each node"), "{replies}");
    assert!(lines[1].starts_with("SERVER_ERROR events are told by each node"), "{replies}");
    assert_eq!(lines[2..], ["ERROR: shutdown not enabled", "MN", "ERROR"]);
    let replies = cluster.ask(b"ms k 1 V5\r\nx\r\nmd k V5\r\nmg k V\r\n").await;
    assert_eq!(
        replies.matches("SERVER_ERROR the gateway does not offer this flag yet").count(),
        3,
        "{replies}"
    );
    let replies = cluster.ask(b"config get cluster\r\n").await;
    let members = format!("\n127.0.0.1|127.0.0.1|{}\n\r\nEND\r\n", cluster.gateway.memcached_addr().port());
    assert!(replies.starts_with("CONFIG cluster 0 ") && replies.ends_with(&members), "{replies}");
    let (head, payload) = replies.strip_suffix("\r\nEND\r\n").unwrap().split_once("\r\n").unwrap();
    assert_eq!(head, format!("CONFIG cluster 0 {}", payload.len()));
    let version: u64 = payload.lines().next().unwrap().parse().unwrap();
    assert!(version > 1_700_000_000, "{version}");
    cluster.end().await;
}
