//! A client's view of the topology, written down while faults happen.

use std::time::Duration;

use anyhow::{Context, bail};
use evanesce_membership::{MembershipOptions, TopologyWatch};
use evanesce_tests::{Deadline, UpReport, eventually};
use evanesce_topology::{NodeState, Topology};
use tokio::runtime::Runtime;

/// Follows the topology from a runtime of its own.
pub(crate) struct Watcher {
    watch: TopologyWatch,
    runtime: Runtime,
    seen: tokio::task::JoinHandle<Vec<(u64, usize)>>,
    stop: tokio::sync::oneshot::Sender<()>,
}

impl Watcher {
    /// Follows a cluster at these discoveries.
    ///
    /// # Errors
    /// When an address is wrong.
    pub(crate) fn start(discoveries: &[String], cluster: &str) -> anyhow::Result<Watcher> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let inside = runtime.enter();
        let watch = TopologyWatch::start(discoveries, cluster, MembershipOptions::default())?;
        let mut topologies = watch.subscribe();
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let seen = runtime.spawn(async move {
            let mut seen = Vec::new();
            loop {
                tokio::select! {
                    _ = &mut stopped => return seen,
                    changed = topologies.changed() => if changed.is_err() { return seen },
                }
                let topology = topologies.borrow_and_update().clone();
                seen.push(topology.map_or((0, 0), |topology| (topology.epoch.0, topology.node_count())));
            }
        });
        drop(inside);
        Ok(Watcher { watch, runtime, seen, stop })
    }

    /// Waits until the topology is as it should be.
    ///
    /// # Errors
    /// When it is not in time.
    pub(crate) fn until(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Topology) -> bool,
    ) -> anyhow::Result<Duration> {
        let begun = std::time::Instant::now();
        let look = || self.watch.topology().filter(|topology| holds(topology)).map(|_| ());
        eventually(what, Deadline::within(limit), look)
            .with_context(|| format!("{:?}; topology {:?}", self.watch.status(), self.watch.topology()))?;
        Ok(begun.elapsed())
    }

    /// The newest topology.
    ///
    /// # Errors
    /// When there was none yet.
    pub(crate) fn topology(&self) -> anyhow::Result<std::sync::Arc<Topology>> {
        self.watch.topology().context("no topology yet")
    }

    /// Ends it and checks what it saw: no topology without nodes, no epoch that is not larger than the last.
    ///
    /// # Errors
    /// When it saw one.
    pub(crate) fn finish(self) -> anyhow::Result<Vec<(u64, usize)>> {
        let _ = self.stop.send(());
        let seen = self.runtime.block_on(self.seen)?;
        if seen.iter().any(|&(_, nodes)| nodes == 0) {
            bail!("a client saw an empty topology: (epoch, nodes) {seen:?}");
        }
        if seen.windows(2).any(|pair| pair[1].0 <= pair[0].0) {
            bail!("a client saw an epoch run backwards: (epoch, nodes) {seen:?}");
        }
        Ok(seen)
    }
}

/// The gRPC addresses of all discoveries.
pub(crate) fn addresses(report: &UpReport) -> Vec<String> {
    report.discovery.iter().map(|discovery| discovery.grpc.to_string()).collect()
}

/// Whether every node is there and serves.
pub(crate) fn all_serve(topology: &Topology, nodes: usize) -> bool {
    let mut states = topology.groups.iter().flat_map(|group| &group.nodes).map(|node| node.state);
    topology.node_count() == nodes && states.all(|state| state == NodeState::Serving)
}

/// The incarnations of a zone's nodes, by ring name.
pub(crate) fn incarnations(topology: &Topology, zone: &str) -> Vec<(String, u64)> {
    let groups = topology.groups.iter().filter(|group| group.zone == zone);
    let nodes = groups.flat_map(|group| &group.nodes).map(|node| (node.name.clone(), node.incarnation));
    let mut found: Vec<_> = nodes.collect();
    found.sort();
    found
}
