//! Who will run: names, places and command lines. Pure.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use evanesce_topology::{RingHash, RingProfile, evcache_ring_text};

use crate::up::demo;
use crate::up::places::{Place, Places};

/// How long children may take to drain: `up` has 10 s for everything.
const DRAIN_DEADLINE: &str = "4s";

/// What the operator wants, and with which program.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// The program's file, absolute.
    pub(crate) exe: String,
    pub(crate) cluster: String,
    pub(crate) profile: RingProfile,
    pub(crate) memory: String,
    pub(crate) threads: u16,
    /// As the nodes' flag has them.
    pub(crate) namespaces: Vec<String>,
    /// Whether the gateway has a backing store to try.
    pub(crate) demo_store: bool,
    /// What discoveries grant.
    pub(crate) lease: Duration,
}

/// What a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Discovery,
    Node {
        group: String,
        /// What the ring hashes.
        ring_text: String,
    },
    Gateway,
}

/// One process to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) kind: Kind,
    /// Unique; for a node its ring name.
    pub(crate) name: String,
    pub(crate) zone: String,
    pub(crate) place: Place,
    /// The whole command line, the program first. It works by itself.
    pub(crate) argv: Vec<String>,
}

/// All processes: discoveries first, the gateway last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) cluster: String,
    pub(crate) processes: Vec<Process>,
}

impl Plan {
    pub(crate) fn new(shape: &Shape, data_dir: &Path, places: &Places) -> Self {
        let zones: Vec<String> = (0..places.discoveries.len()).map(zone_name).collect();
        let mut processes = Vec::new();
        for (zone, place) in zones.iter().zip(&places.discoveries) {
            processes.push(discovery(shape, zone, *place, data_dir));
        }
        for (index, zone) in zones.iter().enumerate() {
            let known = discovery_list(&places.discoveries, index);
            let nodes = places.nodes[index].iter().enumerate();
            processes.extend(nodes.map(|(number, place)| node(shape, zone, number + 1, *place, &known)));
        }
        let demo_store = shape.demo_store.then(|| demo::file(data_dir).display().to_string());
        let known = discovery_list(&places.discoveries, 0);
        processes.push(gateway(shape, &zones[0], places.gateway, &known, demo_store.as_deref()));
        Self { cluster: shape.cluster.clone(), processes }
    }

    /// The nodes' names.
    pub(crate) fn node_names(&self) -> impl Iterator<Item = &str> {
        let nodes = self.processes.iter().filter(|process| matches!(process.kind, Kind::Node { .. }));
        nodes.map(|process| process.name.as_str())
    }

    /// The discoveries.
    pub(crate) fn discoveries(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.kind == Kind::Discovery)
    }
}

/// `a`, `b`, `c` and so on.
fn zone_name(index: usize) -> String {
    let letter =
        u8::try_from(index).ok().and_then(|index| b'a'.checked_add(index)).filter(u8::is_ascii_lowercase);
    char::from(letter.expect("zones are limited to the letters")).to_string()
}

/// All discoveries, the zone's own first: that is the one followed.
fn discovery_list(discoveries: &[Place], own: usize) -> String {
    let in_order = discoveries[own..].iter().chain(&discoveries[..own]);
    in_order.map(|place| place.grpc.to_string()).collect::<Vec<_>>().join(",")
}

/// A command line of options with their values.
fn argv(shape: &Shape, role: &str, options: &[(&str, &str)]) -> Vec<String> {
    let options = options.iter().flat_map(|(option, value)| [format!("--{option}"), (*value).to_owned()]);
    [shape.exe.clone(), role.to_owned()].into_iter().chain(options).collect()
}

fn discovery(shape: &Shape, zone: &str, place: Place, data_dir: &Path) -> Process {
    let name = format!("discovery-{zone}");
    let state_dir = data_dir.join(&name).display().to_string();
    let shown = |time: Duration| humantime::format_duration(time).to_string();
    let options = [
        ("zone", zone),
        ("grpc", &place.grpc.to_string()),
        ("http", &place.http.to_string()),
        ("state-dir", &state_dir),
        ("lease", &shown(shape.lease)),
        ("renew-every", &shown(shape.lease * 3 / 10)),
        ("drain-deadline", DRAIN_DEADLINE),
    ];
    let argv = argv(shape, "discovery", &options);
    Process { kind: Kind::Discovery, name, zone: zone.to_owned(), place, argv }
}

fn node(shape: &Shape, zone: &str, number: usize, place: Place, discoveries: &str) -> Process {
    let name = format!("{zone}{number}");
    let group = format!("{}-{zone}", shape.cluster);
    let listen = listen_of(place);
    let (ring, threads) = (shape.profile.to_string(), shape.threads.to_string());
    let (memcached, grpc, http) = (listen.to_string(), place.grpc.to_string(), place.http.to_string());
    let mut options = vec![
        ("cluster", shape.cluster.as_str()),
        ("zone", zone),
        ("group", &group),
        ("name", &name),
        ("discovery", discoveries),
        ("listen", &memcached),
        ("grpc", &grpc),
        ("http", &http),
        ("ring", &ring),
        ("memory", &shape.memory),
        ("threads", &threads),
        ("drain-deadline", DRAIN_DEADLINE),
    ];
    options.extend(shape.namespaces.iter().map(|namespace| ("namespace", namespace.as_str())));
    let argv = argv(shape, "node", &options);
    let ring_text = match shape.profile.hash {
        RingHash::Evanesce => name.clone(),
        RingHash::Evcache => evcache_ring_text(&name, listen.ip()),
    };
    Process { kind: Kind::Node { group, ring_text }, name, zone: zone.to_owned(), place, argv }
}

fn gateway(shape: &Shape, zone: &str, place: Place, discoveries: &str, persister: Option<&str>) -> Process {
    let (listen, grpc, http) = (listen_of(place).to_string(), place.grpc.to_string(), place.http.to_string());
    let threads = shape.threads.to_string();
    let mut options = vec![
        ("cluster", shape.cluster.as_str()),
        ("zone", zone),
        ("discovery", discoveries),
        ("listen", &listen),
        ("grpc", &grpc),
        ("http", &http),
        ("threads", &threads),
        ("drain-deadline", DRAIN_DEADLINE),
    ];
    options.extend(persister.map(|file| ("persister", file)));
    let argv = argv(shape, "gateway", &options);
    Process { kind: Kind::Gateway, name: "gateway".to_owned(), zone: zone.to_owned(), place, argv }
}

fn listen_of(place: Place) -> SocketAddr {
    place.memcached.expect("nodes and gateways speak memcached")
}
