//! A node that is taken into a running cluster, as an operator does it.

use std::process::Stdio;

use crate::support::{Cluster, Process, evanesce, eventually, text};

/// As `up` names the group of the first zone.
const GROUP: &str = "HOME-a";

/// A third node for zone `a`, known to all discoveries.
fn third(cluster: &Cluster) -> Process {
    let discoveries: Vec<&str> =
        cluster.list("discovery").iter().map(|discovery| discovery["grpc"].as_str().unwrap()).collect();
    let mut command = evanesce();
    command.args([
        "node",
        "--zone",
        "a",
        "--group",
        GROUP,
        "--name",
        "a3",
        "--memory",
        "16MiB",
        "--threads",
        "1",
    ]);
    command.args([
        "--cluster",
        "HOME",
        "--listen",
        "127.0.0.1:0",
        "--grpc",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
    ]);
    command.args(["--discovery", &discoveries.join(",")]);
    Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn names(nodes: &serde_json::Value) -> Vec<&str> {
    nodes.as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect()
}

#[test]
fn plan_changes_nothing_and_a_change_shows_both_rings_until_it_is_taken_back() {
    let cluster = Cluster::start(&[]);
    let planned = cluster.ctl(&["node", "add", GROUP, "a3"]);
    let (said, advice) = (text(&planned.stdout), text(&planned.stderr));
    assert_eq!(planned.status.code(), Some(1), "nothing was done");
    assert!(said.contains("ring    a1, a2  ->  a1, a2, a3"), "{said}");
    assert!(said.contains("a3 is not registered yet") && advice.contains("--yes"), "{said}{advice}");
    let begun = cluster.ctl_json(&["node", "add", GROUP, "a3", "--yes", "--no-wait"]);
    assert_eq!((&begun["begun"], &begun["what"]), (&true.into(), &"add a3 to HOME-a".into()));
    let status = text(&cluster.ctl(&["change", "status"]).stdout);
    assert!(status.contains("waits for node a3 to register"), "{status}");
    let _node = third(&cluster);
    let topology = eventually("both rings are in force", || {
        let topology = cluster.ctl_json(&["topology"]);
        topology["groups"][0]["second"].is_object().then_some(topology)
    });
    let group = &topology["groups"][0];
    assert_eq!(
        (names(&group["nodes"]), names(&group["second"]["nodes"])),
        (vec!["a1", "a2"], vec!["a1", "a2", "a3"])
    );
    let found = (0..100).map(|key| cluster.ctl_json(&["where", &format!("key{key}")]));
    let moved = found.into_iter().find(|found| found["owners"][1]["node"] == "a3").unwrap();
    assert_eq!(moved["owners"][1]["written_only"], true, "{moved}");
    let waiting = cluster.ctl(&["wait-warm", "a1", "--within", "0s"]);
    assert!(waiting.status.code() == Some(1) && text(&waiting.stderr).contains("the change of group HOME-a"));
    // Over the other zone's discovery, to which nodes have carried it.
    let other = cluster.list("discovery")[1]["grpc"].as_str().unwrap();
    eventually("the other discovery knows it", || {
        let aborted = crate::support::run(&["ctl", "--discovery", other, "change", "abort", GROUP]);
        (aborted.status.code() == Some(0)).then_some(())
    });
    eventually("one ring is in force again", || {
        cluster.ctl_json(&["topology"])["groups"][0]["second"].is_null().then_some(())
    });
    eventually("the newcomer stands by", || {
        let changes = cluster.ctl_json(&["change", "status"]);
        (changes["standing_by"][0]["node"] == "a3").then_some(())
    });
    assert_eq!(text(&cluster.ctl(&["wait-warm", "--zone", "a"]).stdout), "warm\n");
}

#[test]
fn changes_that_make_no_sense_are_refused_with_exit_code_one() {
    let cluster = Cluster::start(&[]);
    for (arguments, said) in [
        (vec!["node", "add", GROUP, "a1", "--yes"], "is on the ring of group \"HOME-a\" already"),
        (vec!["node", "remove", GROUP, "a7", "--yes"], "is not on the ring"),
        (vec!["node", "remove", "z", "a1", "--yes"], "there is no group \"z\""),
        (vec!["group", "add", GROUP, "a", "--yes"], "is there already"),
        (vec!["change", "abort", GROUP], "no change of group"),
    ] {
        let refused = cluster.ctl(&arguments);
        let heard = text(&refused.stderr);
        assert!(refused.status.code() == Some(1) && heard.contains(said), "{arguments:?}: {heard}");
    }
    assert_eq!(cluster.ctl(&["node", "add", GROUP]).status.code(), Some(2));
}
