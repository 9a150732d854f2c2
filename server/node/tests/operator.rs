//! What operators ask of a node over sockets: listings beside other work, events, connections, the end.

#![expect(clippy::unwrap_used, reason = "a test panics on failure")]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use evanesce_node::{Node, NodeConfig, RunningNode};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Longest that any step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a reader of lines has room for in the kernel.
const RECEIVE_BYTES: u32 = 4096;

async fn start(config: NodeConfig) -> RunningNode {
    Node::start(config).await.unwrap()
}

fn one_worker() -> NodeConfig {
    NodeConfig { threads: NonZeroUsize::MIN, ..NodeConfig::default() }
}

/// Sends all of `input`, closes that direction, and returns all that came back.
async fn talk(address: SocketAddr, input: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(input).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut replies = Vec::new();
        stream.read_to_end(&mut replies).await.unwrap();
        String::from_utf8_lossy(&replies).into_owned()
    };
    timeout(PATIENCE, exchange).await.unwrap()
}

/// A connection that sent one line and reads lines.
struct Lines(BufReader<TcpStream>);

impl Lines {
    async fn ask(address: SocketAddr, request: &str) -> Lines {
        // Little room, so that one that does not read is soon known for it.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
        Lines(BufReader::new(stream))
    }

    /// The next line without its end; empty at the end.
    async fn next(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await.unwrap().unwrap();
        line.trim_end().to_owned()
    }
}

fn sets(keys: usize) -> Vec<u8> {
    (0..keys).flat_map(|key| format!("set key{key} 0 0 1 noreply\r\nx\r\n").into_bytes()).collect()
}

#[tokio::test]
async fn other_connections_are_served_while_a_listing_goes_on() {
    let node = start(one_worker()).await;
    let address = node.memcached_addr();
    assert_eq!(talk(address, &[&sets(50_000)[..], b"mn\r\n"].concat()).await, "MN\r\n");
    // A reader that takes one line and then no more: the listing waits for it, and nobody else does.
    let mut slow = Lines::ask(address, "lru_crawler metadump all").await;
    assert!(slow.next().await.starts_with("key=key"));
    assert_eq!(talk(address, b"get key7\r\n").await, "VALUE key7 0 1\r\nx\r\nEND\r\n");
    let mut listed = 1;
    loop {
        let line = slow.next().await;
        if line == "END" {
            break;
        }
        assert!(line.starts_with("key=key"), "{line}");
        listed += 1;
    }
    assert_eq!(listed, 50_000);
    let both = talk(address, b"version\r\nlru_crawler mgdump all\r\nversion\r\n").await;
    assert!(both.starts_with("VERSION 1.6.18\r\nOK\r\nmg key") && both.ends_with("EN\r\nVERSION 1.6.18\r\n"));
    node.drain(PATIENCE).await;
}

#[tokio::test]
async fn watcher_is_told_of_requests_and_connections_until_it_hangs_up() {
    let node = start(one_worker()).await;
    let address = node.memcached_addr();
    let mut watcher = Lines::ask(address, "watch fetchers connevents").await;
    assert_eq!(watcher.next().await, "OK");
    assert_eq!(talk(address, b"get a\r\n").await, "END\r\n");
    let came = watcher.next().await;
    assert!(
        came.contains(" type=conn_new rip=127.0.0.1 rport=") && came.contains(" transport=tcp cfd="),
        "{came}"
    );
    let cfd = came.rsplit_once(" cfd=").unwrap().1;
    let got = watcher.next().await;
    assert!(
        got.ends_with(&format!(" type=item_get key=a status=not_found clsid=0 cfd={cfd} size=0")),
        "{got}"
    );
    let left = watcher.next().await;
    assert!(
        left.contains(" type=conn_close rip=127.0.0.1 rport=") && left.contains(" reason=normal cfd="),
        "{left}"
    );
    // What a watcher sends is dropped.
    watcher.0.get_mut().write_all(b"version\r\n").await.unwrap();
    assert!(talk(address, b"stats\r\n").await.contains("STAT log_watchers 1\r\n"));
    drop(watcher);
    let unwatched = async { while !talk(address, b"stats\r\n").await.contains("STAT log_watchers 0\r\n") {} };
    timeout(PATIENCE, unwatched).await.unwrap();
    node.drain(PATIENCE).await;
}

#[tokio::test]
async fn watcher_that_does_not_read_loses_lines_and_holds_up_nobody() {
    let node = start(one_worker()).await;
    let address = node.memcached_addr();
    let mut watcher = Lines::ask(address, "watch").await;
    assert_eq!(watcher.next().await, "OK");
    let gets = format!("get {}\r\n", "k".repeat(240)).repeat(2_000);
    let flooded = async {
        loop {
            let replies = talk(address, gets.as_bytes()).await;
            assert_eq!(replies.len(), 2_000 * 5);
            let stats = talk(address, b"stats\r\n").await;
            if !stats.contains("STAT log_watcher_skipped 0\r\n") {
                return;
            }
        }
    };
    timeout(PATIENCE * 3, flooded).await.unwrap();
    let told = async {
        let read = async { while !watcher.next().await.starts_with("skipped=") {} };
        // What was dropped is told before the next line for which there is room.
        let more = async {
            loop {
                talk(address, b"get k\r\n").await;
            }
        };
        tokio::select! {
            () = read => {}
            () = more => {}
        }
    };
    timeout(PATIENCE * 3, told).await.unwrap();
    node.drain(PATIENCE).await;
}

#[tokio::test]
async fn drain_ends_a_watcher() {
    let node = start(one_worker()).await;
    let mut watcher = Lines::ask(node.memcached_addr(), "watch evictions").await;
    assert_eq!(watcher.next().await, "OK");
    assert_eq!(node.drain(PATIENCE).await.cut_connections, 0);
    assert_eq!(watcher.next().await, "");
}

#[tokio::test]
async fn connections_are_listed_with_both_ends() {
    let node = start(one_worker()).await;
    let address = node.memcached_addr();
    let idle = TcpStream::connect(address).await.unwrap();
    let expected = format!(":addr tcp:{}\r\n", idle.local_addr().unwrap());
    let listed = async {
        loop {
            let text = talk(address, b"stats conns\r\n").await;
            if text.contains(&expected) && text.contains(":state conn_read\r\n") {
                return text;
            }
        }
    };
    let text = timeout(PATIENCE, listed).await.unwrap();
    assert!(text.contains(&format!(":listen_addr tcp:{address}\r\n")) && text.ends_with("END\r\n"), "{text}");
    assert!(text.contains(":secs_since_last_cmd ") && text.contains(":state conn_parse_cmd\r\n"), "{text}");
    node.drain(PATIENCE).await;
}

// In the binary protocol all of it was built before any was sent: tens of megabytes with a hundred thousand connections.
#[tokio::test]
async fn connections_are_listed_in_the_binary_protocol_too() {
    let node = start(one_worker()).await;
    let address = node.memcached_addr();
    let stat = b"\x80\x10\0\x05\0\0\0\0\0\0\0\x05\0\0\0\x07\0\0\0\0\0\0\0\0conns";
    let quit = b"\x80\x17\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&[&stat[..], quit].concat()).await.unwrap();
    let mut replies = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut replies)).await.unwrap().unwrap();
    let mut told = Vec::new();
    while !replies.is_empty() {
        assert_eq!(
            (&replies[..2], &replies[6..8], &replies[12..16]),
            (&b"\x81\x10"[..], &[0, 0][..], &[0, 0, 0, 7][..])
        );
        let body = u32::from_be_bytes(replies[8..12].try_into().unwrap()) as usize;
        told.push(String::from_utf8(replies[24..24 + body].to_vec()).unwrap());
        replies.drain(..24 + body);
    }
    assert_eq!((told.len(), told.pop().as_deref()), (5, Some("")), "{told:?}");
    assert!(told[1].ends_with(&format!(":listen_addrtcp:{address}")), "{told:?}");
    node.drain(PATIENCE).await;
}

#[tokio::test]
async fn shutdown_ends_the_node_where_it_is_enabled() {
    let node = start(NodeConfig { shutdown_command: true, ..one_worker() }).await;
    let address = node.memcached_addr();
    assert!(talk(address, b"stats settings\r\n").await.contains("STAT shutdown_command yes\r\n"));
    assert_eq!(talk(address, b"version\r\nshutdown graceful\r\nversion\r\n").await, "VERSION 1.6.18\r\n");
    timeout(PATIENCE, node.drain_requested()).await.unwrap();
    node.drain(PATIENCE).await;
}

#[tokio::test]
async fn node_names_itself_to_auto_discovery_where_that_is_asked_for() {
    let node = start(NodeConfig { config_get_cluster: true, ..one_worker() }).await;
    let address = node.memcached_addr();
    let payload = format!("1\n127.0.0.1|127.0.0.1|{}\n", address.port());
    let expected = format!("CONFIG cluster 0 {}\r\n{payload}\r\nEND\r\n", payload.len());
    assert_eq!(talk(address, b"config get cluster\r\n").await, expected);
    node.drain(PATIENCE).await;
}
