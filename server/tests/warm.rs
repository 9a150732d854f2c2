//! Nodes whose memory is a file, ended in every way and started again.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use rustix::process::Signal;

use crate::support::{Standalone, eventually, exchange, signal};

/// Keys of each test.
const KEYS: usize = 2_000;

fn start(file: &Path) -> Standalone {
    let file = file.to_str().unwrap();
    Standalone::start(
        &["--listen", "127.0.0.1:0", "--memory", "32MiB", "--threads", "2", "--memory-file", file],
        &[("RUST_LOG", "info")],
    )
}

/// Values of many lengths, some of which lie in pieces.
fn value(key: usize, round: usize) -> String {
    let length = if key.is_multiple_of(100) { 30_000 } else { key % 300 };
    format!("{key} of round {round} {}", "v".repeat(length))
}

/// One write of a key.
fn write(requests: &mut String, key: usize, round: usize) {
    let value = value(key, round);
    write!(requests, "set key{key} {round} 0 {} noreply\r\n{value}\r\n", value.len()).unwrap();
}

/// Everything that is there.
fn read_all(node: &Standalone) -> HashMap<usize, String> {
    let mut requests = String::new();
    (0..KEYS).for_each(|key| write!(requests, "get key{key}\r\n").unwrap());
    requests.push_str("quit\r\n");
    let answer = exchange(node.memcached, &requests);
    let mut lines = answer.split("\r\n");
    let mut found = HashMap::new();
    while let Some(line) = lines.next() {
        let Some(key) = line.strip_prefix("VALUE key").and_then(|rest| rest.split(' ').next()) else {
            continue;
        };
        found.insert(key.parse().unwrap(), lines.next().unwrap().to_owned());
    }
    found
}

#[test]
fn node_that_is_told_to_end_finds_every_item_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("memory");
    let mut node = start(&file);
    let mut requests = String::new();
    (0..KEYS).for_each(|key| write(&mut requests, key, 1));
    (0..KEYS).step_by(3).for_each(|key| write(&mut requests, key, 2));
    (0..KEYS).step_by(7).for_each(|key| write!(requests, "delete key{key} noreply\r\n").unwrap());
    // Expired before the node is back, and never served.
    (0..KEYS).step_by(11).for_each(|key| write!(requests, "touch key{key} 1 noreply\r\n").unwrap());
    requests.push_str("mn\r\nquit\r\n");
    assert_eq!(exchange(node.memcached, &requests), "MN\r\n");
    signal(node.process.0.id(), Signal::TERM);
    assert_eq!(node.process.exit_code(), Some(0));
    let node = start(&file);
    let is_expired =
        |found: &HashMap<usize, String>| !(0..KEYS).step_by(11).any(|key| found.contains_key(&key));
    let found = eventually("what was touched expires", || Some(read_all(&node)).filter(is_expired));
    for key in 0..KEYS {
        let round = if key % 3 == 0 { 2 } else { 1 };
        let is_there = key % 7 != 0 && key % 11 != 0;
        assert_eq!(found.get(&key), is_there.then(|| value(key, round)).as_ref(), "key{key}");
    }
}

#[test]
fn node_that_is_killed_amid_writes_serves_nothing_stale() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("memory");
    let mut node = start(&file);
    for round in 1..=3 {
        let acknowledged = write_until_killed(&mut node, round);
        node = start(&file);
        let found = read_all(&node);
        // What was acknowledged is there; what was sent and not acknowledged may be; nothing is older.
        let lost =
            (0..acknowledged).filter(|key| found.get(key) != Some(&value(*key, round))).collect::<Vec<_>>();
        assert!(lost.is_empty(), "round {round}: {acknowledged} acknowledged, {lost:?} lost");
        for (key, there) in &found {
            let rounds = if *key < acknowledged { round..=round } else { round.max(2) - 1..=round };
            assert!(rounds.clone().any(|round| *there == value(*key, round)), "round {round}: key{key}");
        }
        let whole = (0..KEYS).filter(|key| found.contains_key(key)).count();
        assert!(round == 1 || whole + 2 >= KEYS, "round {round}: {whole} of {KEYS} items");
        fill(&node, round);
    }
}

/// Writes every key once more, one after the other, and kills the node amid it. Answers how many were acknowledged.
fn write_until_killed(node: &mut Standalone, round: usize) -> usize {
    let mut stream = TcpStream::connect(node.memcached).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let mut requests = String::new();
    (0..KEYS).for_each(|key| write(&mut requests, key, round));
    let requests = requests.replace(" noreply", "");
    let pid = node.process.0.id();
    let writer = std::thread::spawn(move || stream.write_all(requests.as_bytes()).is_ok());
    let mut acknowledged = 0;
    let mut line = String::new();
    while answers.read_line(&mut line).is_ok_and(|bytes| bytes > 0) && line == "STORED\r\n" {
        acknowledged += 1;
        line.clear();
        if acknowledged == KEYS / 4 * round {
            signal(pid, Signal::KILL);
        }
    }
    let _ = answers.read_to_end(&mut Vec::new());
    writer.join().unwrap();
    assert_eq!(node.process.exit_code(), None);
    assert!(acknowledged >= KEYS / 4 * round, "{acknowledged}");
    acknowledged
}

/// Writes all keys, so that all are of this round.
fn fill(node: &Standalone, round: usize) {
    let mut requests = String::new();
    (0..KEYS).for_each(|key| write(&mut requests, key, round));
    requests.push_str("mn\r\nquit\r\n");
    assert_eq!(exchange(node.memcached, &requests), "MN\r\n");
}

#[test]
fn file_of_another_program_is_told_of_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("memory");
    std::fs::write(&file, "my only copy").unwrap();
    let mut node = start(&file);
    assert_eq!(exchange(node.memcached, "set a 0 0 1\r\nx\r\nquit\r\n"), "STORED\r\n");
    signal(node.process.0.id(), Signal::TERM);
    assert_eq!(node.process.exit_code(), Some(0));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "my only copy");
}
