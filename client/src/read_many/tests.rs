//! Bulk reads of a client that is held up.

use std::sync::Arc;

use evanesce_transport::ConnectionOptions;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

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
    let opaque = line.trim_end().rsplit(' ').next().expect("it has words");
    let reply = format!("VA 3 f0 {opaque}\r\none\r\n");
    stream.write_all(reply.as_bytes()).await.expect("the client reads");
    std::future::pending::<()>().await;
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
    let keys = [b"one", b"two"].map(|key| Key::new(b"", key).expect("a good key"));
    let member = cluster.owner(0, cluster.placement().key_hash(b"one")).expect("it has a node");
    let plan =
        ReadPlan { want: Want::Flags, touch: None, attempt_timeout: ATTEMPT, timeout: ATTEMPT, near: false };
    let stop = async {
        while member.link.connection.outstanding() != 1 {
            tokio::task::yield_now().await;
        }
        // One answer is there.
        hold_up();
    };
    let (found, ()) = tokio::join!(read_many(&core, &cluster, &keys, &plan), stop);
    assert_eq!(found[0].as_ref().expect("it was answered").as_ref().expect("a hit").item.value, "one");
    assert!(found[1].is_err());
}
