//! A node whose process does not run for longer than a lease: suspended, frozen, on a machine that stood still.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Cluster, address, eventually, exchange, pid, signal};

/// Keys of which every second one is deleted meanwhile.
const KEYS: usize = 200;

/// From so long a silence on a node takes itself for one that has missed what nobody may remember.
const AWAY_LONG: Duration = Duration::from_secs(10);

/// The keys that a node has.
fn held(memcached: SocketAddr) -> Vec<usize> {
    let keys: String = (0..KEYS).map(|key| format!(" key{key}")).collect();
    let answer = exchange(memcached, &format!("get{keys}\r\nquit\r\n"));
    let named = answer.lines().filter_map(|line| line.strip_prefix("VALUE key")?.split(' ').next());
    named.map(|key| key.parse().unwrap()).collect()
}

fn state(cluster: &Cluster, node: &str) -> Option<String> {
    let topology = cluster.ctl_json(&["topology"]);
    let groups = topology["groups"].as_array()?.iter();
    let mut nodes = groups.flat_map(|group| group["nodes"].as_array().unwrap());
    Some(nodes.find(|known| known["name"] == node)?["state"].as_str()?.to_owned())
}

// Seen: a node that had been stopped for minutes answered whoever had been connected to it all the time, and served what had
// been deleted in the other zone; what lay in its sockets it took for the newest write of all.
#[test]
fn node_that_was_frozen_for_long_answers_no_old_connection_and_brings_nothing_back() {
    let cluster = Cluster::start(&["--nodes", "1"]);
    let [near, far] = [0, 1].map(|at| address(&cluster.list("nodes")[at]["memcached"]));
    let sets: String = (0..KEYS).map(|key| format!("set key{key} 0 0 3\r\nold\r\n")).collect();
    exchange(cluster.gateway(), &format!("{sets}quit\r\n"));
    eventually("both zones have all", || {
        [near, far].iter().all(|node| held(*node).len() == KEYS).then_some(())
    });
    let mut silent = TcpStream::connect(far).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    silent.write_all(b"mn\r\n").unwrap();
    silent.read_exact(&mut [0; 4]).unwrap();
    let frozen = pid(&cluster.list("nodes")[1]);
    signal(frozen, Signal::STOP);
    let since = Instant::now();
    let deletes: String = (0..KEYS).step_by(2).map(|key| format!("delete key{key}\r\n")).collect();
    exchange(cluster.gateway(), &format!("{deletes}quit\r\n"));
    eventually("the deletes are done", || (held(near).len() == KEYS / 2).then_some(()));
    // It would bring them by itself.
    signal(pid(&cluster.json["gateway"]), Signal::KILL);
    eventually("it was away for long, and is down for all", || {
        (since.elapsed() > AWAY_LONG + Duration::from_secs(1) && state(&cluster, "b1")? == "down")
            .then_some(())
    });
    silent.write_all(b"get key0\r\nset key1 0 0 5\r\nstale\r\nget key1\r\n").unwrap();
    signal(frozen, Signal::CONT);
    let mut answer = Vec::new();
    // It is closed, or reset with what was not read.
    let _ = silent.read_to_end(&mut answer);
    assert_eq!(String::from_utf8_lossy(&answer), "");
    eventually("it serves again, without what was deleted", || {
        let is_mended = held(far) == (1..KEYS).step_by(2).collect::<Vec<_>>();
        (is_mended && state(&cluster, "b1")? == "serving").then_some(())
    });
    assert_eq!(exchange(far, "get key1\r\nquit\r\n"), "VALUE key1 0 3\r\nold\r\nEND\r\n");
}
