//! Reads beside a node that is being given what it is to hold.

use std::sync::Arc;
use std::time::Duration;

use evanesce_topology::NodeState;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::core::tests::{core, topology};

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
