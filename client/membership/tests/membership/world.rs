//! Discoveries that can be killed and started again at the same address, and nodes to register with them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evanesce_discovery::{Discovery, DiscoveryConfig, RunningDiscovery};
use evanesce_membership::{MembershipOptions, NodeFacts, Registration, TopologyWatch};
use evanesce_topology::{Node, NodeState, RingProfile, Topology};

/// No wait of these tests takes longer on a machine that works at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Short, so that leases lapse within a test.
const LEASE: Duration = Duration::from_millis(1500);

pub(crate) const CLUSTER: &str = "HOME";

/// A discovery with a place and a directory that outlive it.
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    directory: tempfile::TempDir,
    /// How long its leases last; a third of it between renewals.
    pub(crate) lease: Duration,
    /// How often it lost its memory.
    losses: u32,
    running: Option<RunningDiscovery>,
}

impl Place {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let mut place = Self { address, directory, lease: LEASE, losses: 0, running: None };
        place.restart().await;
        place
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// Starts it again where it was, from what it kept.
    pub(crate) async fn restart(&mut self) {
        let config = DiscoveryConfig {
            listen_grpc: self.address,
            listen_http: None,
            state_dir: Some(self.state_dir()),
            lease: self.lease,
            renew_every: self.lease / 3,
            zone: String::new(),
        };
        // The killed one lets go of its address and its lock a moment after it is dropped.
        let running =
            eventually("the discovery starts", async || Discovery::start(config.clone()).ok()).await;
        self.address = running.grpc_addr();
        self.running = Some(running);
    }

    /// Loses what it kept. (A killed one may still be writing, so its directory is left to it.)
    pub(crate) fn lose_memory(&mut self) {
        self.losses += 1;
    }

    /// Waits until a node is on its disk.
    pub(crate) async fn kept(&self, name: &str) {
        let file = self.state_dir().join("registry.json");
        eventually("the node is on disk", async || {
            std::fs::read_to_string(&file).ok()?.contains(name).then_some(())
        })
        .await;
    }

    fn state_dir(&self) -> PathBuf {
        self.directory.path().join(format!("state-{}", self.losses))
    }
}

pub(crate) fn addresses(places: &[&Place]) -> Vec<String> {
    places.iter().map(|place| place.address.to_string()).collect()
}

/// Impatient, so that tests are short.
pub(crate) fn options() -> MembershipOptions {
    MembershipOptions {
        keepalive_every: Duration::from_millis(200),
        keepalive_timeout: Duration::from_millis(300),
        backoff_max: Duration::from_millis(200),
        silence_max: Duration::from_millis(300),
        ..MembershipOptions::default()
    }
}

pub(crate) fn facts(name: &str, incarnation: u64) -> NodeFacts {
    NodeFacts {
        cluster: CLUSTER.to_owned(),
        profile: RingProfile::EVANESCE,
        group: "g".to_owned(),
        zone: "a".to_owned(),
        node: Node {
            name: name.to_owned(),
            ring_text: name.to_owned(),
            weight: 1,
            state: NodeState::Joining,
            incarnation,
            memcached: ([127, 0, 0, 1], 20_000 + u16::try_from(incarnation).unwrap()).into(),
            grpc: None,
            http: None,
            version: "0.1.0".to_owned(),
            capabilities: vec!["meta".to_owned()],
        },
    }
}

pub(crate) fn register(places: &[&Place], name: &str, incarnation: u64) -> Registration {
    Registration::start(&addresses(places), facts(name, incarnation), options()).unwrap()
}

pub(crate) fn follow(places: &[&Place]) -> TopologyWatch {
    TopologyWatch::start(&addresses(places), CLUSTER, options()).unwrap()
}

/// The state of a node in a topology.
pub(crate) fn state(topology: &Topology, name: &str) -> Option<NodeState> {
    let mut nodes = topology.groups.iter().flat_map(|group| &group.nodes);
    nodes.find(|node| node.name == name).map(|node| node.state)
}

/// Waits until the watch shows a node in a state.
pub(crate) async fn shows(watch: &TopologyWatch, name: &str, expected: NodeState) -> Arc<Topology> {
    shows_all(watch, &[name], expected).await
}

/// Waits until the watch shows all nodes in a state.
pub(crate) async fn shows_all(watch: &TopologyWatch, names: &[&str], expected: NodeState) -> Arc<Topology> {
    let fits = |topology: &Topology| names.iter().all(|name| state(topology, name) == Some(expected));
    let mut topologies = watch.subscribe();
    let found = topologies.wait_for(|topology| topology.as_deref().is_some_and(fits));
    match tokio::time::timeout(PATIENCE, found).await {
        Ok(found) => found.expect("the watch lives").clone().expect("it fits"),
        Err(_) => panic!("{names:?} never {expected}: {:?}", watch.status()),
    }
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Checks every topology that a watch shows, until it is dropped: never empty, never older.
pub(crate) struct Sentinel {
    task: tokio::task::JoinHandle<u64>,
}

impl Sentinel {
    pub(crate) fn start(watch: &TopologyWatch) -> Self {
        let mut topologies = watch.subscribe();
        topologies.mark_changed();
        let task = tokio::spawn(async move {
            let mut last = 0;
            while topologies.changed().await.is_ok() {
                let topology = topologies.borrow_and_update().clone();
                let Some(topology) = topology else {
                    assert_eq!(last, 0, "the topology went away");
                    continue;
                };
                assert!(topology.groups.iter().any(|group| !group.nodes.is_empty()), "an empty topology");
                assert!(topology.epoch.0 > last, "{} after {last}", topology.epoch);
                last = topology.epoch.0;
            }
            last
        });
        Self { task }
    }

    /// Ends when the watch is gone; the last epoch seen.
    pub(crate) async fn end(self, watch: TopologyWatch) -> u64 {
        drop(watch);
        self.task.await.unwrap()
    }
}
