//! `evanesce up`: comes up whole, says who is where, reports the dead, and leaves nobody behind.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{
    Cluster, Process, address, argv, evanesce, eventually, exchange, is_running, pid, run, signal, text,
};
use rustix::process::Signal;
use serde_json::Value;

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Sets a key through the gateway, and looks for it on every node.
fn set_key_is_where_the_ring_says(cluster: &Cluster) {
    let answer = exchange(cluster.gateway(), "set k 0 60 2\r\nhi\r\nget k\r\nquit\r\n");
    assert_eq!(answer, "STORED\r\nVALUE k 0 2\r\nhi\r\nEND\r\n");
    let found = cluster.ctl_json(&["where", "k"]);
    let named: BTreeSet<_> =
        found["owners"].as_array().unwrap().iter().map(|owner| &owner["memcached"]).map(address).collect();
    assert_eq!(named.len(), 2, "one node of each zone: {found}");
    eventually("the key is on exactly the nodes that the ring names", || {
        let holders = cluster.list("nodes").iter().map(|node| address(&node["memcached"]));
        let holders: BTreeSet<_> =
            holders.filter(|node| exchange(*node, "get k\r\nquit\r\n").starts_with("VALUE k 0 2")).collect();
        (holders == named).then_some(())
    });
}

#[test]
fn cluster_comes_up_and_a_key_is_on_one_node_of_each_zone() {
    let cluster = Cluster::start(&["--cluster", "TRY"]);
    assert_eq!(keys(&cluster.json), BTreeSet::from(["cluster", "discovery", "gateway", "nodes"]));
    assert_eq!(cluster.json["cluster"], "TRY");
    assert_eq!(cluster.list("discovery").len(), 2);
    assert_eq!(keys(&cluster.list("discovery")[0]), BTreeSet::from(["zone", "grpc", "http", "pid", "argv"]));
    let gateway_keys = BTreeSet::from(["memcached", "grpc", "http", "pid", "argv"]);
    assert_eq!(keys(&cluster.json["gateway"]), gateway_keys);
    let node_keys = ["name", "zone", "group", "ring", "memcached", "grpc", "http", "pid", "argv"];
    for node in cluster.list("nodes") {
        assert_eq!(keys(node), BTreeSet::from(node_keys));
        assert_eq!(node["ring"], node["name"]);
        assert!(is_running(pid(node)));
    }
    set_key_is_where_the_ring_says(&cluster);
}

#[test]
fn evcache_ring_has_netflixs_texts_and_a_key_is_where_it_says() {
    let cluster = Cluster::start(&["--ring", "evcache"]);
    for node in cluster.list("nodes") {
        let (name, ip) = (node["name"].as_str().unwrap(), address(&node["memcached"]).ip());
        assert_eq!(node["ring"], format!("{name}/{ip}:11211"));
    }
    set_key_is_where_the_ring_says(&cluster);
}

#[test]
fn lease_is_what_discoveries_grant() {
    let cluster = Cluster::start(&["--lease", "2s"]);
    for discovery in cluster.list("discovery") {
        let argv = discovery["argv"].as_array().unwrap();
        let at = argv.iter().position(|argument| argument == "--lease").unwrap();
        assert_eq!(argv[at + 1..at + 4], ["2s", "--renew-every", "600ms"]);
    }
    assert_eq!(run(&["up", "--lease", "1ms"]).status.code(), Some(2));
}

#[test]
fn namespaces_that_no_node_would_take_are_told_before_anything_starts() {
    let output = run(&[
        "up",
        "--memory",
        "16MiB",
        "--namespace",
        "a,guarantee=10MiB",
        "--namespace",
        "b,guarantee=9MiB",
    ]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("--namespace: namespaces guarantee"), "{said}");
    assert_eq!(run(&["up", "--namespace", "a,limit=much"]).status.code(), Some(2));
}

#[test]
fn two_clusters_at_once_do_not_meet() {
    let (first, second) = (Cluster::start(&[]), Cluster::start(&[]));
    let addresses = |cluster: &Cluster| {
        cluster.list("nodes").iter().map(|node| address(&node["memcached"])).collect::<BTreeSet<_>>()
    };
    assert!(addresses(&first).is_disjoint(&addresses(&second)));
    assert_ne!(first.gateway(), second.gateway());
}

#[test]
fn interrupt_ends_everything_within_ten_seconds() {
    let mut cluster = Cluster::start(&[]);
    let (children, began) = (cluster.children(), Instant::now());
    signal(cluster.up().0.id(), Signal::INT);
    assert_eq!(cluster.up().exit_code(), Some(0), "{}", cluster.output());
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(children.iter().filter(|pid| is_running(**pid)).count(), 0);
}

#[test]
fn killed_up_leaves_no_child() {
    let mut cluster = Cluster::start(&[]);
    let children = cluster.children();
    assert_eq!(children.len(), 2 + 4 + 1);
    signal(cluster.up().0.id(), Signal::KILL);
    eventually("no child is left", || children.iter().all(|pid| !is_running(*pid)).then_some(()));
}

#[test]
fn dead_node_is_reported_and_starts_again_from_its_command_line() {
    let cluster = Cluster::start(&[]);
    let node = &cluster.list("nodes")[3];
    signal(pid(node), Signal::KILL);
    eventually("the death is reported", || {
        let report = format!("{} (pid {}) was ended by signal 9", node["name"].as_str().unwrap(), pid(node));
        cluster.output().contains(&report).then_some(())
    });
    let words = argv(node);
    let again = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut again = Process(again.unwrap());
    let memcached = address(&node["memcached"]);
    eventually("the node answers again", || TcpStream::connect(memcached).ok());
    assert!(exchange(memcached, "version\r\nquit\r\n").starts_with("VERSION"));
    let grpc = node["grpc"].as_str().unwrap();
    eventually("the node is ready again", || {
        (cluster.ctl_json(&["status", grpc])[0]["ready"] == true).then_some(())
    });
    signal(again.0.id(), Signal::TERM);
    assert_eq!(again.exit_code(), Some(0));
}

#[test]
fn dead_node_is_started_again_when_asked() {
    let cluster = Cluster::start(&["--restart"]);
    let before = pid(&cluster.list("nodes")[0]);
    signal(before, Signal::KILL);
    let after = eventually("the file names a new process", || {
        let now = pid(&cluster.read_json()?["nodes"][0]);
        (now != before).then_some(now)
    });
    assert!(is_running(after));
}

#[test]
fn state_that_cannot_be_kept_is_reported_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    // Where the discovery's state would be, there is a file.
    std::fs::write(dir.path().join("discovery-a"), "in the way").unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let output = run(&["up", "--zones", "1", "--nodes", "1", "--data-dir", data_dir]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("discovery-a") && said.contains("ended with code 1"), "{said}");
}

#[test]
fn logs_of_a_failed_start_are_kept_where_the_failure_names_them() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = evanesce();
    // How to log is handed down to children, who refuse this.
    command.env("TMPDIR", temporary.path()).env("EVANESCE_LOG", "a=b=c");
    let output = command.args(["up", "--zones", "1", "--nodes", "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let named = said.split("its log: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    assert!(std::fs::read_to_string(named).unwrap().contains("a=b=c"), "{said}");
}

#[test]
fn json_that_cannot_be_written_is_told_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("missing").join("cluster.json")] {
        let output = run(&["up", "--json", path.to_str().unwrap(), "--data-dir", "/dev/null"]);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("--json") && said.contains(path.to_str().unwrap()), "{said}");
    }
}

#[test]
fn json_of_an_earlier_run_is_gone_before_this_one_is_up() {
    // A script that waits for the file took the pids of the run before.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cluster.json");
    std::fs::write(&path, "{}").unwrap();
    // A start that fails for another reason leaves no file to be taken for its own.
    let output = run(&["up", "--json", path.to_str().unwrap(), "--data-dir", "/dev/null"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!path.exists());
}

#[test]
fn json_may_go_to_a_pipe() {
    // What stands for standard output was replaced by a file: with /dev/stdout and as root, for the whole machine.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stdout");
    std::os::unix::fs::symlink("/dev/stdout", &path).unwrap();
    let mut command = evanesce();
    command.args(["up", "--zones", "1", "--nodes", "1", "--memory", "16MiB", "--json"]).arg(&path);
    let mut up = Process(command.stdout(Stdio::piped()).spawn().unwrap());
    let out = up.0.stdout.take().unwrap();
    let mut values = serde_json::Deserializer::from_reader(out).into_iter::<Value>();
    assert_eq!(values.next().unwrap().unwrap()["cluster"], "HOME");
    assert!(path.is_symlink());
    signal(up.0.id(), Signal::INT);
    assert_eq!(up.exit_code(), Some(0));
}

#[test]
fn remembered_nodes_that_this_run_does_not_start_are_named() {
    // A smaller cluster over the state of a larger one came up, and half of all keys failed.
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let larger = Cluster::start(&["--data-dir", data_dir]);
    drop(larger);
    let smaller = Cluster::start(&["--data-dir", data_dir, "--zones", "1", "--nodes", "1"]);
    eventually("the others are named", || smaller.output().contains("a2, b1, b2").then_some(()));
}
