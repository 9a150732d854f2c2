//! Bulk reads of a client that is held up.

use std::cell::Cell;
use std::cmp::Ordering;
use std::sync::Arc;

use evanesce_transport::ConnectionOptions;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::lines::LINE_KEYS_MAX;
use super::*;
use crate::core::tests::{core_that_hedges, core_with, topology};
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
        hedges: false,
        lane: None,
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

/// Takes one connection, and answers each line with what `answer` makes of it.
async fn answer_lines(listener: TcpListener, answer: impl AsyncFn(&str) -> String) {
    let (stream, _) = listener.accept().await.expect("the client connects");
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await.expect("the client asks") > 0 {
        let reply = if line == "mn V\r\n" { "MN\r\n".to_owned() } else { answer(&line).await };
        stream.write_all(reply.as_bytes()).await.expect("the client reads");
        line.clear();
    }
}

/// What a node that has `key-0` alone answers to an `mg`.
fn only_the_first(line: &str) -> String {
    let opaque = line.trim_end().rsplit(' ').next().expect("every mg has an opaque");
    match line.starts_with("mg key-0 ") {
        true => format!("VA 5 f0 {opaque}\r\nspare\r\n"),
        false => format!("EN {opaque}\r\n"),
    }
}

/// Reads so many keys of two zones, of which the first is asked by a line and answers as `slow` does.
async fn read_hedged(
    count: usize,
    slow: impl AsyncFn(&str) -> String + 'static,
) -> Vec<Option<(String, String)>> {
    let (a, b) = (TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await);
    let (a, b) = (a.expect("loopback has ports"), b.expect("loopback has ports"));
    let address = |listener: &TcpListener| listener.local_addr().expect("it is bound");
    let nodes = format!("a=n1/{};b=n1/{}", address(&a), address(&b));
    let local = tokio::task::LocalSet::new();
    local.spawn_local(answer_lines(a, slow));
    local.spawn_local(answer_lines(b, async |line: &str| only_the_first(line)));
    let read = async {
        let core = core_that_hedges();
        core.put(topology(1, &nodes)).expect("a good topology");
        let cluster = core.cluster().expect("it is open");
        let member = cluster.owner(0, cluster.placement().key_hash(b"one")).expect("it has a node");
        // A node of which much is known.
        (0..128).for_each(|_| member.link.round_trips.record(Duration::from_millis(2)));
        let patience = Duration::from_secs(10);
        let plan = ReadPlan { attempt_timeout: patience, timeout: patience, hedges: true, ..plan() };
        let keys = keys(count);
        let found = read_many(&core, &cluster, &keys, &plan).await.into_iter();
        let shown =
            |hit: Hit<'_>| (String::from_utf8_lossy(&hit.item.value).into_owned(), hit.from.zone.clone());
        found.map(|found| found.expect("both were answered").map(shown)).collect()
    };
    local.run_until(read).await
}

fn hit(value: &str, zone: &str) -> Option<(String, String)> {
    Some((value.to_owned(), zone.to_owned()))
}

#[tokio::test]
async fn key_that_a_slow_node_does_not_answer_for_has_its_spares() {
    let slow = async |_line: &str| {
        tokio::time::sleep(Duration::from_millis(200)).await;
        "VALUE key-1 0 3\r\ntwo\r\nEND\r\n".to_owned()
    };
    assert_eq!(read_hedged(2, slow).await, [hit("spare", "b"), hit("two", "a")]);
}

#[tokio::test]
async fn node_that_answers_late_but_before_its_spares_are_done_is_believed() {
    let slow = async |_line: &str| {
        tokio::time::sleep(Duration::from_millis(200)).await;
        "VALUE key-0 0 3\r\none\r\nVALUE key-1 0 3\r\ntwo\r\nEND\r\n".to_owned()
    };
    assert_eq!(read_hedged(2, slow).await, [hit("one", "a"), hit("two", "a")]);
}

#[tokio::test]
async fn bulk_read_waits_for_no_slow_node_when_its_spares_have_all() {
    let never = async |_line: &str| std::future::pending::<String>().await;
    let started = Instant::now();
    assert_eq!(read_hedged(1, never).await, [hit("spare", "b")]);
    assert!(started.elapsed() < Duration::from_secs(5), "the node was waited for");
}

/// What was feared in review: lines of large values that never come in time, where single ones would.
#[tokio::test]
async fn keys_of_a_late_line_that_is_waited_for_are_asked_for_one_by_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let nodes = format!("a=n1/{}", listener.local_addr().expect("it is bound"));
    // More than one on a machine that is held up.
    let lines = Cell::new(0);
    let answer = async move |line: &str| {
        let opaque = line.trim_end().rsplit(' ').next().unwrap_or_default();
        match line {
            line if line.starts_with("get key-0 key-1") => {
                lines.set(lines.get() + 1);
                String::new()
            }
            // Behind the answers to lines, which are too late.
            line if line.starts_with("mg key-0 ") => {
                format!("{}VA 3 f0 {opaque}\r\none\r\n", "END\r\n".repeat(lines.take()))
            }
            _ => format!("EN {opaque}\r\n"),
        }
    };
    let local = tokio::task::LocalSet::new();
    local.spawn_local(answer_lines(listener, answer));
    let read = async {
        let core = core_with(ConnectionOptions::default());
        core.put(topology(1, &nodes)).expect("a good topology");
        let cluster = core.cluster().expect("it is open");
        let plan = ReadPlan { timeout: 100 * ATTEMPT, hedges: true, ..plan() };
        let keys = keys(2);
        let found = read_many(&core, &cluster, &keys, &plan).await;
        let values: Vec<_> = found.into_iter().map(|found| found.expect("it was answered")).collect();
        assert_eq!(values[0].as_ref().expect("a hit").item.value, "one");
        assert!(values[1].is_none());
    };
    local.run_until(read).await;
}
