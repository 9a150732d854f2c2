//! Replays against a cache in memory that can be told to misbehave.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use clap::Parser;
use parking_lot::Mutex;

use super::replay;
use crate::args::{Cli, Command};
use crate::cache::{Cache, Stored};

/// Holds the last `items_max` keys that were written.
#[derive(Default)]
struct Memory {
    items_max: usize,
    inner: Mutex<Inner>,
    fault: Fault,
}

#[derive(Default)]
struct Inner {
    items: HashMap<Vec<u8>, Bytes>,
    order: VecDeque<Vec<u8>>,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Fault {
    #[default]
    None,
    Reads,
    Writes,
    /// Every hit answers another key's value.
    Swapped,
    /// Every write is stored on some replicas only.
    Partial,
}

impl Cache for Memory {
    async fn get(&self, key: &[u8]) -> anyhow::Result<Option<Bytes>> {
        if self.fault == Fault::Reads {
            anyhow::bail!("told to fail");
        }
        let inner = self.inner.lock();
        match self.fault {
            Fault::Swapped => {
                Ok(inner.items.iter().find(|(other, _)| *other != key).map(|(_, value)| value.clone()))
            }
            _ => Ok(inner.items.get(key).cloned()),
        }
    }

    async fn set(&self, key: &[u8], value: &Bytes) -> anyhow::Result<Stored> {
        if self.fault == Fault::Writes {
            anyhow::bail!("told to fail");
        }
        let mut inner = self.inner.lock();
        if inner.items.insert(key.to_vec(), value.clone()).is_none() {
            inner.order.push_back(key.to_vec());
        }
        if inner.order.len() > self.items_max {
            let oldest = inner.order.pop_front().expect("it is not empty");
            inner.items.remove(&oldest);
        }
        Ok(if self.fault == Fault::Partial { Stored::Partial } else { Stored::Full })
    }
}

/// Replays a trace against caches with room for `items_max` keys; the report as JSON.
async fn report(
    trace: &str,
    options: &str,
    zones: &[&str],
    items_max: usize,
    fault: Fault,
) -> serde_json::Value {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(trace.as_bytes()).expect("written");
    let line = format!("evanesce-loadtest replay {} --target 127.0.0.1:1 {options}", file.path().display());
    let cli = Cli::try_parse_from(line.split_whitespace()).expect("parses");
    let Command::Replay(options) = cli.command else { panic!("another command") };
    let memory = |zone: &&str| (zone.to_string(), Arc::new(Memory { items_max, fault, ..Memory::default() }));
    let caches: Vec<_> = zones.iter().map(memory).collect();
    let report = replay(&options, &caches).await.expect("replays");
    serde_json::to_value(report).expect("serialises")
}

fn counts(report: &serde_json::Value) -> [u64; 6] {
    let names = ["requests", "hits", "misses", "read_errors", "write_errors", "wrong"];
    names.map(|name| report[name].as_u64().expect("a number"))
}

#[tokio::test]
async fn misses_are_filled_and_repeats_hit() {
    let trace = "1 100 0 0\n1 100 0 1\n";
    let report = report(trace, "", &["here"], 1000, Fault::None).await;
    assert_eq!(counts(&report), [200, 100, 100, 0, 0, 0]);
    assert_eq!(report["writes"], 100);
}

#[tokio::test]
async fn one_worker_replays_strictly_in_order() {
    // Room for two: 1 2 1 3 1 is miss, miss, hit, miss, miss, first in first out.
    let report = report("1\n2\n1\n3\n1\n", "--concurrency 1", &["here"], 2, Fault::None).await;
    assert_eq!(counts(&report), [5, 1, 4, 0, 0, 0]);
}

#[tokio::test]
async fn limit_ends_the_replay() {
    let report = report("1 100 0 0\n", "--limit 7", &["here"], 1000, Fault::None).await;
    assert_eq!(counts(&report)[0], 7);
}

#[tokio::test]
async fn faults_are_counted_apart() {
    let of =
        async |fault| counts(&report("1 10 0 0\n1 10 0 0\n", "--concurrency 1", &["here"], 99, fault).await);
    assert_eq!(of(Fault::Reads).await, [20, 0, 0, 20, 0, 0]);
    assert_eq!(of(Fault::Writes).await, [20, 0, 20, 0, 20, 0]);
    // Only the first key is ever stored, since it alone misses.
    assert_eq!(of(Fault::Swapped).await, [20, 0, 2, 0, 0, 18]);
}

#[tokio::test]
async fn failures_are_told_one_by_one() {
    let report = report("1 10 0 0\n", "", &["a", "b"], 99, Fault::Reads).await;
    let failures = report["failures"].as_array().expect("a list");
    assert_eq!(failures.len(), 10);
    for failure in failures {
        assert_eq!(failure["what"], "read");
        assert!(failure["unix_ms"].as_u64() > Some(0) && failure["took_ms"].as_f64() >= Some(0.0));
        assert!(!failure["error"].as_str().expect("a text").is_empty());
    }
}

#[tokio::test]
async fn write_that_misses_a_replica_is_no_error() {
    let report = report("1 10 0 0\n", "", &["here"], 99, Fault::Partial).await;
    assert_eq!(counts(&report), [10, 0, 10, 0, 0, 0]);
    assert_eq!(report["writes_partial"], 10);
}

#[tokio::test]
async fn zones_share_the_keys_and_are_reported_apart() {
    let report = report("1 300 0 0\n1 300 0 0\n", "", &["a", "b", "c"], 1000, Fault::None).await;
    assert_eq!(counts(&report), [600, 300, 300, 0, 0, 0]);
    for zone in ["a", "b", "c"] {
        assert!(report["zones"][zone]["requests"].as_u64().expect("a number") > 100);
    }
}

#[tokio::test]
async fn schedule_is_kept_and_the_timeline_adds_up() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("timeline.jsonl");
    let options = format!("--rate 1000/s --interval 10ms --timeline {}", path.display());
    let report = report("1 100 0 0\n", &options, &["here"], 1000, Fault::None).await;
    // The last of 100 is due after 99 ms, and nothing is sent before it is due.
    assert!(report["seconds"].as_f64().expect("a number") >= 0.099);
    let timeline = std::fs::read_to_string(&path).expect("written");
    let lines: Vec<serde_json::Value> =
        timeline.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let requests: u64 = lines.iter().map(|line| line["requests"].as_u64().expect("a number")).sum();
    assert_eq!(requests, 100);
    assert!(lines.len() > 2);
}

#[tokio::test]
async fn damaged_trace_ends_the_replay_with_an_error() {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(b"1 5 0 0\nbroken\n").expect("written");
    let line = format!("evanesce-loadtest replay {} --target 127.0.0.1:1", file.path().display());
    let parsed = Cli::try_parse_from(line.split_whitespace()).expect("parses");
    let Command::Replay(options) = parsed.command else { panic!("another command") };
    let caches = [("here".to_owned(), Arc::new(Memory { items_max: 9, ..Memory::default() }))];
    let error = format!("{:#}", replay(&options, &caches).await.expect_err("the trace is damaged"));
    assert!(error.contains("line 2") && error.contains("requests  5"), "{error}");
}
