//! `evanesce ctl rolling-restart` of a cluster whose processes are started again as they end.

use std::collections::BTreeMap;

use rustix::process::Signal;

use crate::support::{Cluster, evanesce, eventually, pid, signal, text};

/// Keys that have to outlive all restarts.
const KEYS: usize = 20;

/// Which process each node is, and its state.
fn processes(cluster: &Cluster) -> BTreeMap<String, (u64, String)> {
    let statuses = cluster.ctl_json(&["status"]);
    let nodes = statuses.as_array().unwrap().iter().filter(|status| status["role"] == "node");
    let told = |status: &serde_json::Value| {
        let name = status["name"].as_str().unwrap().to_owned();
        (name, (status["pid"].as_u64().unwrap(), status["state"].as_str().unwrap().to_owned()))
    };
    nodes.map(told).collect()
}

#[test]
fn rolling_restart_replaces_every_process_and_loses_no_item() {
    let cluster = Cluster::start(&["--zones", "3", "--nodes", "1", "--restart"]);
    for key in 0..KEYS {
        let set = cluster.ctl(&["set", &format!("k{key}"), "v", "--ttl", "1h"]);
        assert_eq!(set.status.code(), Some(0), "{set:?}");
    }
    let before = processes(&cluster);
    let output = cluster.ctl(&["rolling-restart", "--pause", "0s", "--within", "2m"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    let order: Vec<_> =
        said.lines().filter(|line| line.contains("serves again")).map(|line| &line[..2]).collect();
    assert_eq!(order, ["a1", "b1", "c1"], "{said}");
    let after = processes(&cluster);
    for (name, (pid, _)) in &before {
        assert_ne!(after[name].0, *pid, "{name} is the same process");
        assert_eq!(after[name].1, "serving");
        // Each was given all by its siblings before it was read; a read would have looked there, too.
        let items = cluster.ctl_json(&["stats", name])["curr_items"].as_str().unwrap().to_owned();
        assert_eq!(items, KEYS.to_string(), "{name}");
    }
}

#[test]
fn rolling_restart_is_refused_where_a_node_does_not_serve() {
    let cluster = Cluster::start(&["--zones", "2", "--nodes", "1"]);
    let nodes = cluster.list("nodes");
    assert_eq!(cluster.ctl(&["status", "--ready"]).status.code(), Some(0));
    signal(pid(&nodes[1]), Signal::KILL);
    eventually("its absence is noticed", || {
        let output = cluster.ctl(&["rolling-restart", "a1", "--timeout", "500ms"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        (said.contains("nothing was restarted") && said.contains("b1")).then_some(())
    });
    assert_eq!(cluster.ctl(&["status", "--ready"]).status.code(), Some(1));
    assert_eq!(processes(&cluster)["a1"].0, u64::from(pid(&nodes[0])));
}

#[test]
fn command_that_fails_stops_the_restart_and_tells_how_to_go_on() {
    let cluster = Cluster::start(&["--zones", "2", "--nodes", "1"]);
    let output = cluster.ctl(&["rolling-restart", "--with", "echo {zone}/{group}/{node}; exit 3"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("a/HOME-a/a1"), "{said}");
    assert!(
        said.contains("exit status: 3") && said.contains("go on: evanesce ctl rolling-restart a1 b1"),
        "{said}"
    );
    // A zone of the environment says where somebody is, as in a pod, and leaves no node out.
    let discovery = cluster.list("discovery")[0]["grpc"].as_str().unwrap();
    for (verb, expected) in [(&["wait-warm"][..], 0), (&["rolling-restart", "--with", "exit 3"], 1)] {
        let mut command = evanesce();
        command.args(["ctl", "--discovery", discovery]).args(verb).env("EVANESCE_ZONE", "z");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(expected), "{output:?}");
        assert!(expected == 0 || text(&output.stderr).contains("rolling-restart a1 b1"), "{output:?}");
    }
    let unknown = cluster.ctl(&["rolling-restart", "z9"]);
    assert!(text(&unknown.stderr).contains("no node is named z9: these are a1, b1"), "{unknown:?}");
    let elsewhere = cluster.ctl(&["rolling-restart", "--zone", "z"]);
    assert!(text(&elsewhere.stderr).contains("zone z"), "{elsewhere:?}");
}
