//! `evanesce ctl` against a running cluster.

use crate::support::{Cluster, eventually, pid, run, signal, text};
use rustix::process::Signal;

#[test]
fn set_value_is_got_and_deleted_and_a_miss_is_exit_code_one() {
    let cluster = Cluster::start(&[]);
    assert_eq!(
        text(&cluster.ctl(&["set", "k", "hello", "--ttl", "1m"]).stdout),
        "stored in 2 server groups\n"
    );
    let got = cluster.ctl(&["get", "k"]);
    assert_eq!((got.status.code(), text(&got.stdout).as_str()), (Some(0), "hello\n"));
    assert_eq!(cluster.ctl_json(&["get", "k", "--zone", "b"])["value"], "hello");
    assert_eq!(cluster.ctl_json(&["delete", "k"])["found"], true);
    let missed = cluster.ctl(&["get", "k"]);
    assert_eq!((missed.status.code(), missed.stdout.len(), missed.stderr.len()), (Some(1), 0, 0));
    assert_eq!(cluster.ctl(&["delete", "k"]).status.code(), Some(1));
}

#[test]
fn status_shows_all_and_a_dead_node_is_named() {
    let cluster = Cluster::start(&[]);
    let ready = |statuses: &serde_json::Value| {
        statuses.as_array().unwrap().iter().filter(|status| status["ready"] == true).count()
    };
    let statuses = cluster.ctl_json(&["status"]);
    assert_eq!(ready(&statuses), 1 + 4, "{statuses}");
    let gateway = cluster.json["gateway"]["grpc"].as_str().unwrap();
    assert_eq!(cluster.ctl_json(&["status", gateway])[0]["role"], "gateway");
    signal(pid(&cluster.list("nodes")[0]), Signal::KILL);
    eventually("the dead node does not answer", || {
        let output = cluster.ctl(&["status", "--timeout", "500ms"]);
        let said = text(&output.stdout);
        let named = said.lines().any(|line| line.starts_with("a1") && line.contains("not reachable"));
        (output.status.code() == Some(1) && named).then_some(())
    });
}

#[test]
fn drained_node_ends_in_order_and_stays_on_the_ring_as_down() {
    let cluster = Cluster::start(&[]);
    assert_eq!(cluster.ctl(&["drain", "b2"]).status.code(), Some(0));
    eventually("the node ended in order", || cluster.output().contains("ended with code 0").then_some(()));
    eventually("the node is on the ring, as down", || {
        let topology = cluster.ctl_json(&["topology"]);
        let nodes = topology["groups"][1]["nodes"].as_array().unwrap();
        assert_eq!((nodes.len(), &nodes[1]["name"]), (2, &"b2".into()));
        (nodes[1]["state"] == "down").then_some(())
    });
}

/// Numbers of a namespace on each node, in the order of the file.
fn of_namespace(cluster: &Cluster, namespace: &str, number: &str) -> Vec<u64> {
    let nodes = cluster.list("nodes").iter().map(|node| node["name"].as_str().unwrap());
    let stats = nodes.map(|node| cluster.ctl_json(&["stats", node]));
    let name = format!("namespaces:{namespace}:{number}");
    stats.map(|stats| stats[&name].as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn flush_of_a_namespace_reaches_every_node_and_leaves_the_others() {
    let cluster =
        Cluster::start(&["--namespace", "user,guarantee=2MiB", "--namespace", "session,limit=4MiB"]);
    for key in ["user:1", "user:2", "session:1", "plain"] {
        assert_eq!(cluster.ctl(&["set", key, "v"]).status.code(), Some(0));
    }
    assert_eq!(of_namespace(&cluster, "user", "guarantee"), [2 << 20; 4]);
    let unconfirmed = cluster.ctl(&["flush", "--all", "--namespace", "user"]);
    let said = text(&unconfirmed.stderr);
    assert!(unconfirmed.status.code() == Some(2) && said.contains("--yes"), "{said}");
    let found = |key| cluster.ctl(&["get", key]).status.code() == Some(0);
    assert!(found("user:1"));
    let flushed = cluster.ctl(&["flush", "--all", "--namespace", "user", "--yes"]);
    let said = text(&flushed.stdout);
    assert_eq!((flushed.status.code(), said.matches(" flushed\n").count()), (Some(0), 4), "{said}");
    assert_eq!(["user:1", "user:2", "session:1", "plain"].map(found), [false, false, true, true]);
    let left = cluster.ctl_json(&["flush", "--all", "--yes"]);
    let items: u64 = left.as_array().unwrap().iter().map(|node| node["items"].as_u64().unwrap()).sum();
    // Each of the four is there once a zone, flushed ones until they are found out.
    assert!((4..=8).contains(&items), "{left}");
    assert_eq!(["session:1", "plain"].map(found), [false, false]);
}

#[test]
fn flush_that_did_not_reach_all_says_where_and_ends_with_code_one() {
    let cluster = Cluster::start(&["--namespace", "user"]);
    let one = cluster.ctl(&["flush", "a1", "--namespace", "usre", "--yes"]);
    let said = text(&one.stdout);
    assert!(one.status.code() == Some(1) && said.contains("it has default, user"), "{said}");
    let discovery = cluster.list("discovery")[0]["grpc"].as_str().unwrap();
    let wrong = cluster.ctl(&["flush", discovery, "--yes"]);
    assert!(wrong.status.code() == Some(1) && text(&wrong.stdout).contains("ask a node"), "{wrong:?}");
    signal(pid(&cluster.list("nodes")[0]), Signal::KILL);
    let all = cluster.ctl(&["flush", "--all", "--yes", "--timeout", "500ms"]);
    let said = text(&all.stdout);
    assert_eq!((all.status.code(), said.matches(" flushed\n").count()), (Some(1), 3), "{said}");
    assert!(said.lines().any(|line| line.starts_with("a1") && line.contains("not flushed")), "{said}");
    for usage in [
        &["flush", "--yes"][..],
        &["flush", "a1", "--all", "--yes"],
        &["flush", "a1", "--namespace", "", "--yes"],
    ] {
        assert_eq!(cluster.ctl(usage).status.code(), Some(2), "{usage:?}");
    }
}

#[test]
fn stats_are_asked_by_name_and_an_unknown_name_is_told_the_known() {
    let cluster = Cluster::start(&[]);
    let pid_of_a1 = pid(&cluster.list("nodes")[0]).to_string();
    assert_eq!(cluster.ctl_json(&["stats", "a1"])["pid"], pid_of_a1);
    let unknown = cluster.ctl(&["stats", "z9"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("no node is named z9: these are a1, a2, b1, b2"), "{unknown:?}");
}

#[test]
fn without_a_discovery_it_says_what_to_do() {
    // Port 1 of an address nobody uses.
    let output = run(&["ctl", "--discovery", "127.0.0.1:1", "topology"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("127.0.0.1:1: not reachable") && said.contains("evanesce up"), "{said}");
}

#[test]
fn cluster_that_is_not_there_is_told_which_are() {
    let cluster = Cluster::start(&[]);
    let output = cluster.ctl(&["topology", "--cluster", "HOEM"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("HOEM") && said.contains("HOME") && !said.contains("evanesce up"), "{said}");
}

#[test]
fn discovery_may_be_written_as_a_url_and_no_other_way() {
    let cluster = Cluster::start(&[]);
    let url = format!("http://{}/", cluster.list("discovery")[0]["grpc"].as_str().unwrap());
    assert_eq!(run(&["ctl", "--discovery", &url, "set", "k", "v"]).status.code(), Some(0));
    for wrong in ["127.0.0.1:11300,", "::1:11300", "https://127.0.0.1:11300"] {
        assert_eq!(run(&["ctl", "--discovery", wrong, "topology"]).status.code(), Some(2), "{wrong}");
    }
}
