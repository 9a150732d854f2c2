//! Reads beside a node that is being given what it is to hold.

use std::sync::Arc;
use std::time::Duration;

use evanesce_topology::NodeState;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::core::tests::{core, topology};
use crate::read_many::read_many;

/// How long an attempt may last.
const ATTEMPT: Duration = Duration::from_millis(200);

/// A node that answers nothing until so many requests have come, and then each.
async fn node(requests: usize, answer: fn(&str) -> String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound").to_string();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("the client connects");
        let mut lines = BufReader::new(stream).lines();
        lines.next_line().await.expect("the client greets");
        lines.get_mut().write_all(b"MN\r\n").await.expect("the client reads");
        let (mut came, mut answers) = (0, String::new());
        while let Some(line) = lines.next_line().await.expect("the client asks") {
            let opaque = line.split(' ').find(|token| token.starts_with('O')).expect("it is numbered");
            answers.push_str(&answer(opaque));
            came += 1;
            if came >= requests {
                let answers = std::mem::take(&mut answers);
                lines.get_mut().write_all(answers.as_bytes()).await.expect("the client reads");
            }
        }
    });
    address
}

/// Reads a key of a zone that is slow until it was asked `asked` times, while the node of the other is filled and has nothing.
async fn read_beside_a_newcomer(asked: usize, attempts: u32) -> Result<bool, ReadError> {
    let slow = node(asked, |opaque| format!("VA 1 f0 {opaque}\r\nx\r\n")).await;
    let newcomer = node(1, |opaque| format!("EN {opaque}\r\n")).await;
    let core = core();
    let mut nodes = topology(1, &format!("a=n1/{slow};b=n1/{newcomer}"));
    Arc::make_mut(&mut nodes).groups[1].nodes[0].state = NodeState::Warming;
    core.adopt(nodes).await.expect("a good topology");
    let (cluster, key) = (core.cluster().expect("it is open"), Key::new(b"", b"k").expect("a good key"));
    let mut plan = ReadPlan::new(&core, Want::Flags, ATTEMPT * attempts);
    plan.attempt_timeout = ATTEMPT;
    Ok(read(&core, &cluster, &key, &plan, Instant::now()).await?.is_some())
}

/// What was seen under load: while a node was filled, readers that the other zones answered late got its misses.
#[tokio::test]
async fn newcomer_has_not_the_last_word_while_others_are_slow() {
    assert_eq!(read_beside_a_newcomer(2, 20).await, Ok(true));
}

#[tokio::test]
async fn newcomer_has_the_last_word_where_nobody_else_says_one() {
    assert_eq!(read_beside_a_newcomer(1_000, 3).await, Ok(false));
}

/// Reads a key, alone and with others, that a node of zone `b` has and a newcomer in the own zone has not, once it was seen to that
/// they are in that node's way.
async fn read_beside_a_near_newcomer(see_to: impl AsyncFn(&Member)) {
    let other = node(1, |opaque| format!("VA 1 f0 {opaque}\r\nx\r\n")).await;
    let newcomer = node(1, |opaque| format!("EN {opaque}\r\n")).await;
    let core = core();
    let mut nodes = topology(1, &format!("a=n1/{newcomer};b=n1/{other}"));
    Arc::make_mut(&mut nodes).groups[0].nodes[0].state = NodeState::Warming;
    core.adopt(nodes).await.expect("a good topology");
    let (cluster, key) = (core.cluster().expect("it is open"), Key::new(b"", b"k").expect("a good key"));
    let member = cluster.owner(1, cluster.placement().key_hash(b"k")).expect("it has a node");
    let plan = ReadPlan::new(&core, Want::Item, ATTEMPT * 5);
    let alone = async { read(&core, &cluster, &key, &plan, Instant::now()).await };
    let (_, found) = tokio::join!(biased; see_to(member), alone);
    assert_eq!(found.expect("it answers").expect("it is there").from.zone, "b");
    let keys = [key.clone()];
    let (_, mut found) = tokio::join!(biased; see_to(member), read_many(&core, &cluster, &keys, &plan));
    assert_eq!(found.remove(0).expect("it answers").expect("it is there").from.zone, "b");
}

/// What was seen under load: nodes of which five reads were late count as ill, and readers got the misses of the newcomer in their own
/// zone until they were well.
#[tokio::test]
async fn who_is_ill_has_the_last_word_before_a_newcomer() {
    let make_ill = async |member: &Member| {
        let (now, address) = (Instant::now(), ([127, 0, 0, 1], 1).into());
        while member.link.admit(now) {
            let late = TransportError::Timeout { address, sent: true };
            member.link.judge(Err(late)).expect_err("it is late");
        }
    };
    read_beside_a_near_newcomer(make_ill).await;
}

/// What was seen under load: while the other zones bore no more readers got the misses of the newcomer.
#[tokio::test]
async fn who_bears_no_more_has_the_last_word_before_a_newcomer() {
    let make_full = async |member: &Member| {
        let permits: Vec<_> = std::iter::from_fn(|| member.link.permit(Instant::now())).collect();
        assert!(!permits.is_empty());
        tokio::time::sleep(SHED_PAUSE * 5).await;
    };
    read_beside_a_near_newcomer(make_full).await;
}
