//! What nodes ask of each other, and what they refuse.

#![expect(clippy::unwrap_used, reason = "a test panics on failure")]

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use evanesce_grpc::discovery::v1::{Node as NodeMessage, NodeState, RingHash, RingProfile, ServerGroup};
use evanesce_grpc::packed::{Attributes, PackedItem, unpack};
use evanesce_grpc::peer::v1::peer_client::PeerClient;
use evanesce_grpc::peer::v1::{Heat, Item, StreamItemsRequest, TakeItemsRequest};
use evanesce_node::{Node, NodeConfig, RunningNode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};

fn any_port() -> Option<SocketAddr> {
    Some("127.0.0.1:0".parse().unwrap())
}

async fn start(config: NodeConfig) -> RunningNode {
    Node::start(NodeConfig { grpc: any_port(), ..config }).await.unwrap()
}

fn member(name: &str) -> NodeMessage {
    NodeMessage {
        name: name.to_owned(),
        ring_text: name.to_owned(),
        weight: 1,
        state: NodeState::Warming.into(),
        incarnation: 1,
        memcached: "127.0.0.1:1".to_owned(),
        ..NodeMessage::default()
    }
}

/// For the first of two nodes.
fn request(heat: Heat) -> StreamItemsRequest {
    let nodes = vec![member("n1"), member("n2")];
    let group = ServerGroup { name: "b".to_owned(), zone: "b".to_owned(), mode: 1, nodes, second: None };
    StreamItemsRequest {
        cluster: "HOME".to_owned(),
        profile: Some(RingProfile { hash: RingHash::Evanesce.into(), points_per_node: 400 }),
        group: Some(group),
        owner: "n1".to_owned(),
        heat: heat.into(),
        ..StreamItemsRequest::default()
    }
}

fn unpacked(packed: &[u8]) -> Vec<Item> {
    let item = |item: PackedItem<'_>| {
        let (key, value) = (Bytes::copy_from_slice(item.key), Bytes::copy_from_slice(item.value));
        let Attributes { flags, expires_ms, version, cas } = item.attributes;
        Item { key, value, flags, expires_ms, version, cas }
    };
    unpack(packed).map(|came| item(came.unwrap())).collect()
}

async fn given(node: &RunningNode, request: StreamItemsRequest) -> Result<Vec<Item>, Status> {
    let address = node.grpc_addr().unwrap();
    let mut client = PeerClient::connect(format!("http://{address}")).await.unwrap();
    let mut messages = client.stream_items(request).await?.into_inner();
    let mut items = Vec::new();
    let mut next = Some(0);
    while let Some(message) = messages.message().await? {
        items.extend(unpacked(&message.items));
        next = message.next;
    }
    assert_eq!(next, None, "the last message says that it is the last");
    Ok(items)
}

async fn talk(node: &RunningNode, input: &str) -> String {
    let mut stream = TcpStream::connect(node.memcached_addr()).await.unwrap();
    stream.write_all(input.as_bytes()).await.unwrap();
    stream.write_all(b"quit\r\n").await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn each_owner_is_given_its_keys_and_together_they_are_given_all() {
    let node = start(NodeConfig::default()).await;
    let sets: String = (0..1000).map(|at| format!("set key-{at} {at} 0 1 noreply\r\nx\r\n")).collect();
    talk(&node, &(sets + "get key-3 key-4 key-5 key-6 key-7\r\n")).await;
    let mut keys = Vec::new();
    for owner in ["n1", "n2"] {
        for heat in [Heat::Read, Heat::Rest] {
            let read_since_ms = u64::MAX;
            let items =
                given(&node, StreamItemsRequest { owner: owner.to_owned(), read_since_ms, ..request(heat) });
            let items = items.await.unwrap();
            assert!(items.iter().all(|item| item.key == format!("key-{}", item.flags)));
            let read = |item: &Item| (3..=7).contains(&item.flags);
            assert!(items.iter().all(|item| read(item) == (heat == Heat::Read)));
            assert!(heat == Heat::Read || items.len() > 100, "{owner} is given {}", items.len());
            keys.extend(items.into_iter().map(|item| item.key));
        }
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 1000);
}

#[tokio::test]
async fn item_comes_as_it_is_and_none_that_is_over() {
    let node = start(NodeConfig::default()).await;
    talk(&node, "ms k 2 T1000 F7 E99\r\nab\r\nset gone 0 -1 1\r\nx\r\nms stale 1\r\nx\r\nmd stale I\r\n")
        .await;
    let mut items = Vec::new();
    for owner in ["n1", "n2"] {
        items.extend(
            given(&node, StreamItemsRequest { owner: owner.to_owned(), ..request(Heat::Rest) })
                .await
                .unwrap(),
        );
    }
    let [item] = &items[..] else { panic!("{items:?}") };
    assert_eq!((&item.key[..], &item.value[..], item.flags, item.cas), (&b"k"[..], &b"ab"[..], 7, Some(99)));
    assert!(item.version > 0 && item.expires_ms > 0);
}

/// Breaks a stream after so many messages and takes it up. Where, what came before and after, and what a whole one has.
async fn broken(node: &RunningNode, after: usize) -> (Option<u64>, [Vec<Item>; 2], usize) {
    let all = given(node, request(Heat::Rest)).await.unwrap().len();
    let address = node.grpc_addr().unwrap();
    let mut client = PeerClient::connect(format!("http://{address}")).await.unwrap();
    let mut messages = client.stream_items(request(Heat::Rest)).await.unwrap().into_inner();
    let (mut before, mut next) = (Vec::new(), None);
    for _ in 0..after {
        let message = messages.message().await.unwrap().unwrap();
        before.extend(unpacked(&message.items));
        next = message.next;
    }
    drop(messages);
    let from = next.expect("the stream goes on");
    let rest = given(node, StreamItemsRequest { from, ..request(Heat::Rest) }).await.unwrap();
    (next, [before, rest], all)
}

async fn with_values(count: usize, value_bytes: usize) -> RunningNode {
    filled(NodeConfig::default(), count, value_bytes).await
}

async fn filled(config: NodeConfig, count: usize, value_bytes: usize) -> RunningNode {
    let node = start(config).await;
    let value = "v".repeat(value_bytes);
    let set = |at| format!("set key-{at} 0 0 {value_bytes} noreply\r\n{value}\r\n");
    let sets: String = (0..count).map(set).collect();
    talk(&node, &(sets + "version\r\n")).await;
    node
}

fn keys(items: [Vec<Item>; 2]) -> usize {
    let mut keys: Vec<_> = items.into_iter().flatten().map(|item| item.key).collect();
    keys.sort();
    keys.dedup();
    keys.len()
}

#[tokio::test]
async fn stream_that_broke_goes_on_where_it_was() {
    let node = with_values(10_000, 300).await;
    let (from, items, all) = broken(&node, 2).await;
    let [before, rest] = &items;
    assert!(!before.is_empty() && from > Some(0), "{} items, {from:?}", before.len());
    assert!(before.len() + rest.len() == all, "{} and {} of {all}", before.len(), rest.len());
    assert_eq!(keys(items), all);
}

#[tokio::test]
async fn larger_items_come_in_parts_and_again_when_it_broke_between_these() {
    let node = with_values(200, 10_000).await;
    let (_, items, all) = broken(&node, 1).await;
    assert!(!items[0].is_empty() && items[0].len() < all, "one message has {} of {all}", items[0].len());
    assert_eq!(keys(items), all);
}

#[tokio::test]
async fn streams_together_give_no_more_bytes_a_second_than_they_may() {
    let limit = 1 << 20;
    let config = NodeConfig { warm_up_rate: NonZeroU64::new(limit), ..NodeConfig::default() };
    let node = filled(config, 200, 10_000).await;
    let began = Instant::now();
    let of =
        |owner: &str| given(&node, StreamItemsRequest { owner: owner.to_owned(), ..request(Heat::Rest) });
    let (first, second) = tokio::join!(of("n1"), of("n2"));
    let took = began.elapsed();
    let items = [first.unwrap(), second.unwrap()];
    assert!(items.iter().all(|items| items.len() > 50), "{} and {}", items[0].len(), items[1].len());
    assert_eq!(keys(items), 200);
    // Of each stream's last message nobody waits for the end.
    let least = Duration::from_secs_f64((200.0 * 10_000.0 - 2.0 * 300_000.0) / limit as f64);
    assert!(took >= least, "{took:?}");
}

#[tokio::test]
async fn slow_stream_says_where_it_is_every_second() {
    let config = NodeConfig {
        warm_up_rate: NonZeroU64::new(1 << 20),
        item_bytes_max: 2 << 20,
        ..NodeConfig::default()
    };
    // Items of nearly two seconds each, several of them for the first of two nodes.
    let node = filled(config, 8, 2_000_000).await;
    let address = node.grpc_addr().unwrap();
    let client = PeerClient::connect(format!("http://{address}")).await.unwrap();
    let mut client = client.max_decoding_message_size(4 << 20);
    let mut messages = client.stream_items(request(Heat::Rest)).await.unwrap().into_inner();
    let (mut items, mut before) = (0, (Instant::now(), Some(0)));
    while items < 3 {
        let message = messages.message().await.unwrap().expect("the stream goes on");
        assert!(before.0.elapsed() < Duration::from_millis(1_700), "no sign for {:?}", before.0.elapsed());
        let came = unpacked(&message.items).len();
        assert!(came > 0 || message.next >= before.1, "{:?} after {:?}", message.next, before.1);
        (items, before) = (items + came, (Instant::now(), message.next));
    }
}

#[tokio::test]
async fn crooked_requests_are_refused_with_what_is_wrong() {
    let node = start(NodeConfig::default()).await;
    let good = request(Heat::Read);
    let crooked = [
        (StreamItemsRequest { heat: 0, ..good.clone() }, "the heat is missing"),
        (StreamItemsRequest { owner: "n3".to_owned(), ..good.clone() }, "node \"n3\" is not on the ring"),
        (StreamItemsRequest { group: None, ..good.clone() }, "the group is missing"),
        (StreamItemsRequest { profile: None, ..good.clone() }, "profile"),
        (StreamItemsRequest { cluster: "AWAY".to_owned(), ..good.clone() }, "a node of cluster HOME"),
    ];
    for (request, what) in crooked {
        let status = given(&node, request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(what), "{status}");
    }
    assert!(given(&node, good).await.unwrap().is_empty());
}

#[tokio::test]
async fn node_that_asks_for_passwords_gives_nothing() {
    let directory = std::env::temp_dir().join(format!("evanesce-peer-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let users = directory.join("users");
    std::fs::write(&users, "ada:secret\n").unwrap();
    let node = start(NodeConfig { auth_file: Some(users), ..NodeConfig::default() }).await;
    let status = given(&node, request(Heat::Read)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    std::fs::remove_dir_all(&directory).unwrap();
}

// Whoever reaches the address could make a node hold a gigabyte with one message.
#[tokio::test]
async fn message_beyond_the_largest_item_is_refused_and_one_of_it_is_taken() {
    let config = NodeConfig { item_bytes_max: 1 << 20, group: "b".to_owned(), ..NodeConfig::default() };
    let node = start(config).await;
    let address = node.grpc_addr().unwrap();
    let mut client = PeerClient::connect(format!("http://{address}")).await.unwrap();
    let mut take = async |bytes: usize| {
        let item = Item { key: "k".into(), value: vec![b'v'; bytes].into(), version: 5, ..Item::default() };
        let (cluster, group) = ("HOME".to_owned(), "b".to_owned());
        let request = TakeItemsRequest { cluster, group, items: vec![item], ..TakeItemsRequest::default() };
        client.take_items(request).await
    };
    assert_eq!(take(4 << 20).await.unwrap_err().code(), Code::OutOfRange);
    take((1 << 20) - 100).await.unwrap();
    assert_eq!(talk(&node, "mg k s\r\n").await, format!("HD s{}\r\n", (1 << 20) - 100));
}
