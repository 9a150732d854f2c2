//! A registry, a clock that is moved by hand, and nodes with short names.

use std::sync::Arc;
use std::time::Duration;

use evanesce_discovery::registry::{
    Granted, Kept, LeaseTerms, Moment, Refusal, Register, Registry, Renew, Return, Ticked,
};
use evanesce_topology::{Node, NodeState, RingProfile, Topology};

/// The one cluster of most tests.
pub(crate) const CLUSTER: &str = "HOME";

/// The wall clock at the start, in milliseconds.
pub(crate) const WALL_MS: u64 = 1_795_208_565_000;

/// A registry under test.
pub(crate) struct Scene {
    /// The registry.
    pub(crate) registry: Registry,
    /// The clock.
    pub(crate) now: Moment,
}

/// A node's facts: `group` is in the zone of its first letter.
pub(crate) fn node(name: &str, incarnation: u64) -> Node {
    Node {
        name: name.to_owned(),
        ring_text: name.to_owned(),
        weight: 1,
        state: NodeState::Serving,
        incarnation,
        memcached: ([127, 0, 0, 1], 20_000 + u16::try_from(incarnation % 10_000).unwrap()).into(),
        grpc: None,
        http: None,
        version: "0.1.0".to_owned(),
        capabilities: Vec::new(),
    }
}

/// The registration of `node(name, incarnation)` in the group named by the first letter of `name`.
pub(crate) fn registration(name: &str, incarnation: u64) -> Register {
    let group = name[..1].to_owned();
    Register {
        cluster: CLUSTER.to_owned(),
        profile: RingProfile::EVANESCE,
        zone: format!("zone-{group}"),
        group,
        node: node(name, incarnation),
        epoch_seen: 0,
    }
}

impl Scene {
    /// A registry that knows nothing.
    pub(crate) fn blank() -> Self {
        Self::restored(Vec::new(), Moment { elapsed: Duration::ZERO, wall_ms: WALL_MS })
    }

    /// A registry that starts with `membership`.
    pub(crate) fn restored(membership: Vec<Kept>, now: Moment) -> Self {
        let registry = Registry::new(LeaseTerms::default(), membership, now).unwrap();
        Self { registry, now }
    }

    /// The registry ends and another starts from what it kept.
    pub(crate) fn restart(&mut self) {
        *self = Self::restored(self.registry.membership(), self.now);
    }

    /// Moves both clocks, ticking all the way.
    pub(crate) fn pass(&mut self, duration: Duration) -> Vec<Ticked> {
        let step = Duration::from_millis(500);
        let mut left = duration;
        let mut ticks = Vec::new();
        while !left.is_zero() {
            self.leap(left.min(step));
            left = left.saturating_sub(step);
            ticks.push(self.tick());
        }
        ticks
    }

    /// Moves both clocks without a tick.
    pub(crate) fn leap(&mut self, duration: Duration) {
        self.now.elapsed += duration;
        self.now.wall_ms += u64::try_from(duration.as_millis()).unwrap();
    }

    /// Moves the clocks, while the nodes named renew every 3 s, in state serving.
    pub(crate) fn pass_renewing(&mut self, duration: Duration, nodes: &[(&str, u64)]) -> Vec<Ticked> {
        let mut left = duration;
        let mut ticks = Vec::new();
        while !left.is_zero() {
            for &(name, incarnation) in nodes {
                self.renew(name, incarnation).unwrap();
            }
            let step = left.min(Duration::from_secs(3));
            ticks.extend(self.pass(step));
            left -= step;
        }
        ticks
    }

    pub(crate) fn tick(&mut self) -> Ticked {
        self.registry.tick(self.now)
    }

    pub(crate) fn register(&mut self, name: &str, incarnation: u64) -> Result<Granted, Refusal> {
        self.registry.register(registration(name, incarnation), self.now)
    }

    pub(crate) fn renew(&mut self, name: &str, incarnation: u64) -> Result<Granted, Refusal> {
        self.renew_as(name, incarnation, NodeState::Serving)
    }

    pub(crate) fn renew_as(
        &mut self,
        name: &str,
        incarnation: u64,
        state: NodeState,
    ) -> Result<Granted, Refusal> {
        let renew = Renew {
            cluster: CLUSTER.to_owned(),
            group: name[..1].to_owned(),
            name: name.to_owned(),
            incarnation,
            state,
            epoch_seen: 0,
        };
        self.registry.renew(&renew, self.now)
    }

    pub(crate) fn give_back(&mut self, name: &str, incarnation: u64) -> Result<(), Refusal> {
        let (cluster, group, name) = (CLUSTER.to_owned(), name[..1].to_owned(), name.to_owned());
        self.registry.give_back(&Return { cluster, group, name, incarnation }, self.now)
    }

    pub(crate) fn watched(&mut self, epoch_seen: u64) {
        self.registry.watched(CLUSTER, epoch_seen, self.now).unwrap();
    }

    /// What is published.
    pub(crate) fn topology(&self) -> Option<Arc<Topology>> {
        self.registry.published().get(CLUSTER).cloned()
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.topology().map_or(0, |topology| topology.epoch.0)
    }

    /// The state in which a node is published; none when it is not.
    pub(crate) fn state(&self, name: &str) -> Option<NodeState> {
        let topology = self.topology()?;
        let mut nodes = topology.groups.iter().flat_map(|group| &group.nodes);
        nodes.find(|node| node.name == name).map(|node| node.state)
    }
}
