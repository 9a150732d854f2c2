//! Following the topology that discovery streams.

use std::sync::{Arc, Weak};
use std::time::Duration;

use evanesce_membership::{MembershipOptions, TopologyWatch};
use evanesce_topology::Topology;
use tokio::sync::watch::Receiver;
use tokio::time::timeout;
use tracing::error;

use crate::core::Core;
use crate::error::{ConnectError, TriedDiscovery};

/// Waits for the first topology and puts it in force, then follows the next ones in the background while the client
/// lives. With discovery away the last one stays.
pub(crate) async fn follow(
    core: &Arc<Core>,
    discoveries: &[String],
    patience: Duration,
) -> Result<(), ConnectError> {
    let cluster = &core.settings.cluster;
    let watch = TopologyWatch::start(discoveries, cluster, MembershipOptions::default())?;
    let mut topologies = watch.subscribe();
    let first = timeout(patience, topologies.wait_for(Option::is_some)).await;
    let first = first.ok().and_then(|first| first.ok()?.clone());
    let Some(first) = first else {
        let tried = tried(discoveries, &watch);
        return Err(ConnectError::NoTopology { cluster: cluster.clone(), timeout: patience, tried });
    };
    core.adopt(first).await?;
    *core.watch.lock() = Some(watch);
    tokio::spawn(put_each(Arc::downgrade(core), topologies));
    Ok(())
}

/// Ends with the client, which owns the watch.
async fn put_each(core: Weak<Core>, mut topologies: Receiver<Option<Arc<Topology>>>) {
    while topologies.changed().await.is_ok() {
        let topology = topologies.borrow_and_update().clone();
        let (Some(core), Some(topology)) = (core.upgrade(), topology) else { continue };
        if let Err(fault) = core.adopt(topology).await {
            error!(cluster = %core.settings.cluster, %fault, "refused a topology that breaks its rules");
        }
    }
}

/// What came of each discovery, in the order given.
fn tried(discoveries: &[String], watch: &TopologyWatch) -> Vec<TriedDiscovery> {
    let status = watch.status();
    let reason = |address: &str| {
        let address = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
        let silent = || "it was not asked, or has no topology of this cluster".to_owned();
        status.failures.get(address).cloned().unwrap_or_else(silent)
    };
    let tried = discoveries.iter();
    tried.map(|address| TriedDiscovery { address: address.clone(), reason: reason(address) }).collect()
}
