//! Namespaces over a backing store, as processes: what the README shows, and a gateway that is killed.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use evanesce_persister::stores;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::support::{Cluster, Logged, address, argv, eventually, exchange, pid, run, signal, text};

/// Writes of the gateway that is killed, and how many of them it acknowledges before.
const WRITES: usize = 20_000;
const WRITES_BEFORE: usize = 5_000;

fn store(cluster: &Cluster, arguments: &[&str]) -> (Option<i32>, String) {
    let gateway = cluster.json["gateway"]["grpc"].as_str().unwrap();
    let output = run(&[&["ctl", "store"], arguments, &["--gateway", gateway]].concat());
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn key_in_the_store_alone_is_read_through_into_every_zone_and_a_write_behind_reaches_the_store() {
    let cluster = Cluster::start(&["--demo-store"]);
    assert_eq!(store(&cluster, &["put", "demo", "page:1", "hello"]), (Some(0), "done\n".to_owned()));
    let answer = exchange(cluster.gateway(), "get page:1\r\nquit\r\n");
    assert_eq!(answer, "VALUE page:1 0 5\r\nhello\r\nEND\r\n");
    eventually("it is on one node of each zone", || {
        let nodes = cluster.list("nodes").iter().map(|node| address(&node["memcached"]));
        let holders = nodes.filter(|node| exchange(*node, "get page:1\r\nquit\r\n").contains("hello"));
        (holders.count() == 2).then_some(())
    });
    let answer =
        exchange(cluster.gateway(), "set session:1 0 0 2\r\nhi\r\nset user:1 0 0 3\r\nAda\r\nquit\r\n");
    assert_eq!(answer, "STORED\r\nSTORED\r\n");
    assert_eq!(store(&cluster, &["get", "demo", "user:1"]), (Some(0), "Ada\n".to_owned()), "written through");
    eventually("it is written behind", || {
        (store(&cluster, &["get", "demo", "session:1"]) == (Some(0), "hi\n".to_owned())).then_some(())
    });
    assert_eq!(store(&cluster, &["get", "demo", "none"]).0, Some(1));
    let (code, said) = store(&cluster, &["get", "none", "none"]);
    assert!(code == Some(1) && said.contains("there is no store \"none\""), "{said}");
    let gateway = cluster.json["gateway"]["grpc"].as_str().unwrap();
    let letters = run(&["ctl", "dead-letters", "list", "session", "--json", "--gateway", gateway]);
    assert_eq!(text(&letters.stdout).trim(), "[]");
    let retried = run(&["ctl", "dead-letters", "retry", "session", "--gateway", gateway]);
    assert_eq!((retried.status.code(), text(&retried.stdout).trim()), (Some(1), "0 letters"));
}

/// Sends writes one behind the other, kills the gateway once some are acknowledged, and returns how many were in the end.
fn write_and_kill(cluster: &Cluster) -> usize {
    let stream = TcpStream::connect(cluster.gateway()).unwrap();
    let mut to = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        for n in 0..WRITES {
            // Two of each key: the second is to stay.
            if write!(to, "set session:{} 0 0 6\r\n{n:06}\r\n", n / 2).is_err() {
                return;
            }
        }
    });
    let mut acknowledged = 0;
    for line in BufReader::new(stream).lines() {
        // A killed process resets its connections.
        let Ok(line) = line else { break };
        assert_eq!(line, "STORED");
        acknowledged += 1;
        if acknowledged == WRITES_BEFORE {
            signal(pid(&cluster.json["gateway"]), Signal::KILL);
        }
    }
    writer.join().unwrap();
    acknowledged
}

#[test]
fn acknowledged_writes_of_a_gateway_that_is_killed_are_in_the_store_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(&["--demo-store", "--data-dir", data.path().to_str().unwrap()]);
    let acknowledged = write_and_kill(&cluster);
    assert!((WRITES_BEFORE..WRITES).contains(&acknowledged), "{acknowledged} of {WRITES}");
    let mut again = Logged::start("gateway", &argv(&cluster.json["gateway"])[2..]);
    let memcached = again.serves_at("memcached");
    eventually("all has gone down", || {
        let stats = exchange(memcached, "stats persister\r\nquit\r\n");
        stats.contains("STAT session:log_waiting 0\r\n").then_some(())
    });
    signal(again.process.0.id(), Signal::TERM);
    assert_eq!(again.process.exit_code(), Some(0));
    let settings = format!("kind = 'embedded'\npath = '{}'", data.path().join("store").display());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = stores::settings(settings.parse().unwrap()).unwrap().open().await.unwrap();
        for key in 0..acknowledged / 2 {
            let asked = [format!("session:{key}").into()];
            let loaded =
                store.load(&asked, Instant::now() + Duration::from_secs(20)).await.remove(0).unwrap();
            let value = loaded.unwrap_or_else(|| panic!("key {key} of {acknowledged} writes is lost")).value;
            assert_eq!(value, format!("{:06}", key * 2 + 1), "key {key}: the newer of its two writes");
        }
    });
}
