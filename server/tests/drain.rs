//! Nodes and groups that are taken in, taken out and told to end, as an operator does it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Output;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Logged, eventually, exchange, run, signal, text};

/// Keys of a test.
const KEYS: usize = 500;

/// A discovery whose leases are short, nodes and a gateway.
struct Scene {
    nodes: BTreeMap<&'static str, (Logged, SocketAddr)>,
    gateway: Option<(Logged, SocketAddr)>,
    at: String,
    _discovery: Logged,
}

impl Scene {
    /// Group `a` of two nodes with items, closed to newcomers.
    fn start() -> Self {
        let terms = ["--grpc", "127.0.0.1:0", "--http", "off", "--lease", "3s", "--renew-every", "500ms"];
        let mut discovery = Logged::start("discovery", &terms);
        let at = discovery.serves_at("grpc").to_string();
        let mut scene = Self { nodes: BTreeMap::new(), gateway: None, at, _discovery: discovery };
        scene.add("a", "n1");
        scene.add("a", "n2");
        scene.serve(&["n1", "n2"]);
        let own = ["--cluster", "HOME", "--zone", "a", "--discovery", &scene.at, "--listen", "127.0.0.1:0"];
        let rest = ["--grpc", "off", "--http", "off", "--threads", "1"];
        let mut gateway = Logged::start("gateway", &[&own[..], &rest].concat());
        let known_at = gateway.serves_at("memcached");
        scene.gateway = Some((gateway, known_at));
        let sets: String = (0..KEYS).map(|key| format!("set key{key} 0 0 1\r\nv\r\n")).collect();
        exchange(known_at, &format!("{sets}quit\r\n"));
        eventually("each item is at one of the two", || {
            (scene.held("n1") + scene.held("n2") == KEYS).then_some(())
        });
        eventually("the group is closed", || {
            let changes = scene.ctl_json(&["change", "status"]);
            (changes["groups"][0]["ring"].as_array()?.len() == 2).then_some(())
        });
        scene
    }

    fn add(&mut self, zone: &str, name: &'static str) {
        let who = ["--cluster", "HOME", "--zone", zone, "--group", zone, "--name", name];
        let places = ["--listen", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--http", "off"];
        let rest =
            ["--discovery", &self.at, "--memory", "16MiB", "--threads", "1", "--drain-deadline", "30s"];
        let mut node = Logged::start("node", &[&who[..], &places, &rest].concat());
        let at = node.serves_at("memcached");
        self.nodes.insert(name, (node, at));
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        run(&[&["ctl", "--discovery", &self.at, "--timeout", "10s"], arguments].concat())
    }

    fn ctl_json(&self, arguments: &[&str]) -> Value {
        let output = self.ctl(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Names and states of a group's nodes.
    fn group(&self, name: &str) -> Option<(String, BTreeMap<String, String>)> {
        let topology = self.ctl_json(&["topology"]);
        let group = topology["groups"].as_array()?.iter().find(|group| group["name"] == name)?.clone();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let nodes = group["nodes"].as_array()?.iter().map(|node| (word(&node["name"]), word(&node["state"])));
        Some((word(&group["mode"]), nodes.collect()))
    }

    fn serve(&self, names: &[&str]) {
        eventually("they serve", || {
            let (_, nodes) = self.group("a")?;
            let serve = nodes.len() == names.len() && nodes.values().all(|state| state == "serving");
            serve.then_some(())
        });
    }

    /// How many of the keys somebody has.
    fn found(at: SocketAddr) -> usize {
        let keys: String = (0..KEYS).map(|key| format!(" key{key}")).collect();
        exchange(at, &format!("get{keys}\r\nquit\r\n")).matches("VALUE ").count()
    }

    fn held(&self, name: &str) -> usize {
        Self::found(self.nodes[name].1)
    }

    /// Tells a node to end, and waits until it has; answers its log.
    fn end(&mut self, name: &str) -> String {
        let (mut node, _) = self.nodes.remove(name).unwrap();
        signal(node.process.0.id(), Signal::TERM);
        assert_eq!(node.process.exit_code(), Some(0), "{}", node.log());
        node.log()
    }
}

#[test]
fn node_that_is_removed_and_told_to_end_hands_its_items_over_first() {
    let mut scene = Scene::start();
    assert!((1..KEYS).contains(&scene.held("n2")));
    let begun = scene.ctl(&["node", "remove", "a", "n2", "--yes", "--no-wait"]);
    assert_eq!(begun.status.code(), Some(0), "{begun:?}");
    eventually("it has heard of it", || {
        (scene.ctl_json(&["stats", "n2"])["evanesce_rings"] == "2").then_some(())
    });
    let log = scene.end("n2");
    assert!(!log.contains("not all was handed over"), "{log}");
    assert_eq!(scene.held("n1"), KEYS, "all is there when it is gone: {log}");
    eventually("it is off the ring", || {
        let (_, nodes) = scene.group("a")?;
        (nodes.keys().collect::<Vec<_>>() == ["n1"]).then_some(())
    });
    eventually("all is found", || (Scene::found(scene.gateway.as_ref()?.1) == KEYS).then_some(()));
}

#[test]
fn group_that_is_added_is_read_when_it_is_warm_and_its_node_and_itself_may_go() {
    let mut scene = Scene::start();
    let begun = scene.ctl(&["group", "add", "b", "b", "--yes", "--no-wait"]);
    assert_eq!(begun.status.code(), Some(0), "{begun:?}");
    scene.add("b", "m1");
    eventually("it is read", || (scene.group("b")?.0 == "read-write").then_some(()));
    assert_eq!(scene.held("m1"), KEYS, "it was warm before");
    // Nobody comes into its keys: its siblings have them, and it is down for all at once.
    scene.end("n2");
    eventually("it has given its lease back", || (scene.group("a")?.1["n2"] == "down").then_some(()));
    eventually("all is found", || (Scene::found(scene.gateway.as_ref()?.1) == KEYS).then_some(()));
    scene.add("a", "n2");
    scene.serve(&["n1", "n2"]);
    assert_eq!(scene.held("n1") + scene.held("n2"), KEYS, "its siblings have warmed it");
    let removed = scene.ctl(&["group", "remove", "b", "--yes"]);
    assert_eq!(removed.status.code(), Some(0), "{}", text(&removed.stderr));
    eventually("it is gone", || scene.group("b").is_none().then_some(()));
    scene.end("m1");
    assert_eq!(Scene::found(scene.gateway.as_ref().unwrap().1), KEYS);
}
