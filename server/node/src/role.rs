//! The node as its operator sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evanesce_admin::{DrainSignal, FlushRefusal, Role, RoleState, RoleStatus};
use evanesce_membership::Registration;
use parking_lot::Mutex;

use crate::facts::Addresses;
use crate::metrics;
use crate::shared::Shared;

/// What the admin side asks.
pub(crate) struct NodeRole {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: String,
    pub(crate) cluster: String,
    pub(crate) zone: String,
    pub(crate) addresses: Addresses,
    pub(crate) drain: DrainSignal,
    pub(crate) state: Mutex<RoleState>,
    /// None when the node stands alone.
    pub(crate) registration: Option<Registration>,
}

impl NodeRole {
    pub(crate) fn set_state(&self, state: RoleState) {
        *self.state.lock() = state;
    }

    pub(crate) fn state(&self) -> RoleState {
        *self.state.lock()
    }

    fn leases(&self) -> usize {
        let status = self.registration.as_ref().map(Registration::status).unwrap_or_default();
        status.iter().filter(|discovery| discovery.registered).count()
    }

    fn warnings(&self) -> Vec<String> {
        let status = self.registration.as_ref().map(Registration::status).unwrap_or_default();
        let without_lease = status.into_iter().filter(|discovery| !discovery.registered);
        let warning = |discovery: evanesce_membership::DiscoveryStatus| {
            let reason = discovery.last_error.unwrap_or_else(|| "no answer yet".to_owned());
            format!("discovery {} holds no lease of this node: {reason}", discovery.address)
        };
        without_lease.map(warning).collect()
    }
}

impl Role for NodeRole {
    fn status(&self) -> RoleStatus {
        let mut status = RoleStatus::new("node", self.state());
        status.name.clone_from(&self.name);
        status.cluster.clone_from(&self.cluster);
        status.zone.clone_from(&self.zone);
        status.warnings = self.warnings();
        status.addresses = BTreeMap::from([("memcached".to_owned(), self.addresses.memcached)]);
        status
    }

    fn stats(&self) -> Vec<(String, String)> {
        let stats = self.shared.stats().into_iter().map(|(name, value)| (name.to_owned(), value));
        let of_namespaces = self.shared.namespace_stats().into_iter();
        stats.chain(of_namespaces.map(|(name, value)| (format!("namespaces:{name}"), value))).collect()
    }

    fn publish_metrics(&self) {
        metrics::publish(&self.shared, self.leases());
    }

    fn flush(&self, namespace: &str) -> Result<u64, FlushRefusal> {
        let unknown = || {
            let known = self.shared.namespaces().into_iter().map(|namespace| namespace.stats.name);
            FlushRefusal::UnknownNamespace { known: known.collect::<Vec<_>>().join(", ") }
        };
        self.shared.flush(namespace).ok_or_else(unknown)
    }

    fn request_drain(&self, deadline: Option<Duration>) {
        self.drain.request(deadline);
    }
}
