//! The gateway as its operator sees it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use evanesce_admin::{DrainSignal, Role, RoleState, RoleStatus, Stores, Topology, TopologyRefusal};
use evanesce_persister::{ClusterState, Persister, Reach};
use parking_lot::Mutex;

use crate::metrics;
use crate::service::Shared;

/// What the admin side asks.
pub(crate) struct GatewayRole {
    /// Empty until the cluster is found.
    pub(crate) shared: OnceLock<Arc<Shared>>,
    pub(crate) cluster: String,
    pub(crate) zone: String,
    pub(crate) memcached: SocketAddr,
    pub(crate) drain: DrainSignal,
    pub(crate) state: Mutex<RoleState>,
}

impl Role for GatewayRole {
    fn status(&self) -> RoleStatus {
        let mut status = RoleStatus::new("gateway", *self.state.lock());
        status.cluster.clone_from(&self.cluster);
        status.zone.clone_from(&self.zone);
        let persister = self.shared.get().and_then(|shared| shared.persister());
        status
            .warnings
            .extend(persister.iter().flat_map(|persister| persister.clusters()).filter_map(unreached));
        status.addresses = BTreeMap::from([("memcached".to_owned(), self.memcached)]);
        status
    }

    fn stats(&self) -> Vec<(String, String)> {
        let Some(shared) = self.shared.get() else { return Vec::new() };
        let mut stats = shared.stats();
        stats.extend(shared.persister().into_iter().flat_map(Persister::stats));
        stats
    }

    fn topology(&self, cluster: &str) -> Result<Topology, TopologyRefusal> {
        let shared = self.shared.get();
        let topology = if cluster.is_empty() || cluster == self.cluster {
            shared.and_then(|shared| shared.client.topology())
        } else {
            let others = shared.and_then(|shared| shared.persister()).map(Persister::clusters);
            let other = others.into_iter().flatten().find(|other| cluster == other.cluster);
            match other.ok_or(TopologyRefusal::UnknownCluster)?.reach {
                Reach::Reached(client) => client.topology(),
                Reach::Unreached(_) => None,
            }
        };
        let topology = topology.ok_or(TopologyRefusal::NotYet)?;
        Ok(Topology::from(&*topology))
    }

    fn stores(&self) -> Option<&dyn Stores> {
        let shared = self.shared.get().filter(|shared| shared.namespaces.is_some())?;
        Some(&**shared)
    }

    fn publish_metrics(&self) {
        if let Some(shared) = self.shared.get() {
            metrics::publish(shared);
            if let Some(persister) = shared.persister() {
                persister.publish_metrics();
            }
        }
    }

    fn request_drain(&self, deadline: Option<Duration>) {
        self.drain.request(deadline);
    }
}

/// What is to be said of a cluster that is not reached.
fn unreached(ClusterState { cluster, reach, .. }: ClusterState) -> Option<String> {
    match reach {
        Reach::Reached(_) => None,
        Reach::Unreached(why) => Some(format!("cluster {cluster} is not reached, and is tried again: {why}")),
    }
}
