//! Bulk reads of a client that is held up.

use std::cmp::Ordering;
use std::sync::Arc;

use evanesce_transport::ConnectionOptions;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::lines::LINE_KEYS_MAX;
use super::*;
use crate::core::tests::{core_with, topology};
use crate::request::Want;

/// How long an attempt may last; long, since the first answer must come in time on a busy machine.
const ATTEMPT: Duration = Duration::from_millis(300);

/// Answers the greeting and the first of two requests, and nothing after that.
async fn answer_one(listener: TcpListener) {
    let (stream, _) = listener.accept().await.expect("the client connects");
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.expect("the client greets");
    stream.write_all(b"MN\r\n").await.expect("the client reads");
    line.clear();
    stream.read_line(&mut line).await.expect("the client asks");
    assert!(line.starts_with("get key-0 key-1 "), "{line}");
    stream.write_all(b"VALUE key-0 0 3\r\none\r\nEND\r\n").await.expect("the client reads");
    std::future::pending::<()>().await;
}

fn keys(count: usize) -> Vec<Key> {
    (0..count).map(|at| Key::new(b"", format!("key-{at}").as_bytes()).expect("a good key")).collect()
}

fn plan() -> ReadPlan {
    ReadPlan {
        want: Want::Flags,
        touch: None,
        attempt_timeout: ATTEMPT,
        timeout: ATTEMPT,
        near: false,
        falls_back: true,
    }
}

/// Keeps this runtime from running until the attempt's timer fires late.
#[expect(clippy::disallowed_methods, reason = "a runtime that does not run is what is tested")]
fn hold_up() {
    std::thread::sleep(ATTEMPT * 2);
}

/// What was seen in review: a bulk read that was held up with some answers in hand asked for all keys again, and when
/// that failed the answers were gone.
#[tokio::test]
async fn answers_in_hand_outlive_a_second_attempt_that_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let nodes = format!("a=n1/{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(answer_one(listener));
    let core = Arc::new(core_with(ConnectionOptions::default()));
    core.put(topology(1, &nodes)).expect("a good topology");
    let cluster = core.cluster().expect("it is open");
    let keys = keys(LINE_KEYS_MAX + 1);
    let member = cluster.owner(0, cluster.placement().key_hash(b"one")).expect("it has a node");
    let plan = plan();
    let stop = async {
        while member.link.connection.outstanding() != 1 {
            tokio::task::yield_now().await;
        }
        // One answer is there.
        hold_up();
    };
    let (found, ()) = tokio::join!(read_many(&core, &cluster, &keys, &plan), stop);
    assert_eq!(found[0].as_ref().expect("it was answered").as_ref().expect("a hit").item.value, "one");
    assert!(found[1].as_ref().expect("it was answered").is_none());
    assert!(found[LINE_KEYS_MAX].is_err());
}

/// Answers no line before one more has come than a part has, and then each: nothing is found.
async fn answer_the_second_attempt(listener: TcpListener) {
    let (stream, _) = listener.accept().await.expect("the client connects");
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.expect("the client greets");
    stream.write_all(b"MN\r\n").await.expect("the client reads");
    for asked in 1.. {
        if stream.read_line(&mut line).await.expect("the client asks") == 0 {
            return;
        }
        let answers = match asked.cmp(&(BATCH_KEYS_MAX / LINE_KEYS_MAX + 1)) {
            Ordering::Less => 0,
            Ordering::Equal => asked,
            Ordering::Greater => 1,
        };
        stream.write_all("END\r\n".repeat(answers).as_bytes()).await.expect("the client reads");
    }
}

#[tokio::test]
async fn keys_behind_a_late_part_are_asked_for_when_nobody_else_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let nodes = format!("a=n1/{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(answer_the_second_attempt(listener));
    let core = Arc::new(core_with(ConnectionOptions::default()));
    core.put(topology(1, &nodes)).expect("a good topology");
    let cluster = core.cluster().expect("it is open");
    let keys = keys(BATCH_KEYS_MAX + 1);
    let plan = ReadPlan { timeout: 100 * ATTEMPT, ..plan() };
    let found = read_many(&core, &cluster, &keys, &plan).await;
    assert!(found.iter().all(|found| matches!(found, Ok(None))));
}

/// Answers the greeting of each connection, and the first request of each with `reply`.
async fn answer_each(listener: TcpListener, reply: &'static [u8]) {
    loop {
        let (stream, _) = listener.accept().await.expect("the client connects");
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.expect("the client greets");
            stream.write_all(b"MN\r\n").await.expect("the client reads");
            stream.read_line(&mut line).await.expect("the client asks");
            stream.write_all(reply).await.expect("the client reads");
            // Held open: only the client can end it.
            std::future::pending::<()>().await;
        });
    }
}

#[tokio::test]
async fn reply_about_other_keys_is_not_believed_and_ends_the_connection() {
    let replies: [&[u8]; 3] = [
        b"VALUE key-7 0 3\r\none\r\nEND\r\n",
        b"VALUE key-1 0 3\r\none\r\nVALUE key-0 0 3\r\ntwo\r\nEND\r\n",
        b"VALUE key-0 0 3\r\none\r\nVALUE key-0 0 3\r\ntwo\r\nEND\r\n",
    ];
    for reply in replies {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let nodes = format!("a=n1/{}", listener.local_addr().expect("it is bound"));
        tokio::spawn(answer_each(listener, reply));
        let core = Arc::new(core_with(ConnectionOptions::default()));
        core.put(topology(1, &nodes)).expect("a good topology");
        let cluster = core.cluster().expect("it is open");
        let (keys, plan) = (keys(2), plan());
        let member = cluster.owner(0, cluster.placement().key_hash(b"one")).expect("it has a node");
        let found = read_many(&core, &cluster, &keys, &plan).await;
        assert!(found.iter().all(Result::is_err));
        // Until it is seen to be lost.
        while member.link.connection.is_up() {
            tokio::task::yield_now().await;
        }
    }
}
