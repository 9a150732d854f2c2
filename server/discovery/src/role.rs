//! What a discovery shows an operator.

use std::sync::Arc;
use std::time::Duration;

use evanesce_admin::{DrainSignal, Role, RoleState, RoleStatus, TopologyRefusal};
use evanesce_grpc::discovery::v1;

use crate::desk::Desk;
use crate::metrics::{self, STATES};

/// The discovery's face to the admin side.
pub(crate) struct DiscoveryRole {
    pub(crate) desk: Arc<Desk>,
    pub(crate) zone: String,
    pub(crate) drain: DrainSignal,
}

impl DiscoveryRole {
    fn state(&self) -> RoleState {
        if self.drain.is_requested() || self.desk.is_closed() {
            RoleState::Draining
        } else if self.desk.with(|registry, _| registry.is_settled()) {
            RoleState::Serving
        } else {
            RoleState::Joining
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        self.desk.with(|registry, _| {
            if !registry.is_settled() {
                warnings.push("not settled: waiting a lease for the nodes known before the start".to_owned());
            }
            if let Some(mass) = registry.mass_lapse() {
                warnings.push(format!(
                    "mass lapse: {} of {} nodes are missing, and all are kept as they are until half renew",
                    mass.missing, mass.nodes
                ));
            }
        });
        warnings.extend(self.desk.state_fault());
        warnings
    }
}

impl Role for DiscoveryRole {
    fn status(&self) -> RoleStatus {
        RoleStatus {
            zone: self.zone.clone(),
            warnings: self.warnings(),
            ..RoleStatus::new("discovery", self.state())
        }
    }

    fn stats(&self) -> Vec<(String, String)> {
        let mut stats = vec![("watchers".to_owned(), self.desk.watchers().to_string())];
        self.desk.with(|registry, _| {
            stats.push(("settled".to_owned(), registry.is_settled().to_string()));
            stats.push(("mass_lapse".to_owned(), registry.mass_lapse().is_some().to_string()));
            stats.push(("clusters".to_owned(), registry.clusters().count().to_string()));
            stats.extend(STATES.map(|state| (format!("nodes_{state}"), registry.count(state).to_string())));
            stats.extend(registry.epochs().map(|(name, epoch)| (format!("epoch_{name}"), epoch.to_string())));
        });
        stats
    }

    fn topology(&self, cluster: &str) -> Result<v1::Topology, TopologyRefusal> {
        let (settled, published) =
            self.desk.with(|registry, _| (registry.is_settled(), registry.published()));
        let found = match cluster {
            // A discovery has no cluster of its own; where it knows only one, there is no doubt.
            "" if published.len() == 1 => published.values().next(),
            name => published.get(name),
        };
        match found {
            Some(topology) => Ok(v1::Topology::from(topology.as_ref())),
            None if settled => Err(TopologyRefusal::UnknownCluster),
            None => Err(TopologyRefusal::NotYet),
        }
    }

    fn publish_metrics(&self) {
        ::metrics::gauge!(metrics::WATCHERS.name).set(self.desk.watchers() as f64);
        self.desk.with(|registry, _| {
            for state in STATES {
                let nodes = registry.count(state) as f64;
                ::metrics::gauge!(metrics::NODES.name, "state" => state.to_string()).set(nodes);
            }
            for (cluster, epoch) in registry.epochs() {
                ::metrics::gauge!(metrics::EPOCH.name, "cluster" => cluster.to_owned()).set(epoch.0 as f64);
            }
            ::metrics::gauge!(metrics::SETTLED.name).set(f64::from(u8::from(registry.is_settled())));
            let mass_lapse = registry.mass_lapse().is_some();
            ::metrics::gauge!(metrics::MASS_LAPSE.name).set(f64::from(u8::from(mass_lapse)));
        });
    }

    fn request_drain(&self, deadline: Option<Duration>) {
        self.drain.request(deadline);
    }
}
