//! Following the topology that discovery streams.

use std::sync::{Arc, Weak};
use std::time::Duration;

use evanesce_membership::{Reporter, SavedTopologyError, TopologyWatch};
use evanesce_topology::Topology;
use tokio::sync::watch::Receiver;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{error, warn};

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
    let watch = TopologyWatch::start(discoveries, cluster, core.settings.membership)?;
    let reporter = Reporter::new(discoveries, cluster, core.settings.membership)?;
    // Set once: a client follows once.
    let _ = core.reporter.set(Arc::new(reporter));
    let mut topologies = watch.subscribe();
    let first = timeout(patience, topologies.wait_for(Option::is_some)).await;
    let first = first.ok().and_then(|first| first.ok()?.clone());
    match (first, load(core).await) {
        (Some(first), _) => {
            core.adopt(Arc::clone(&first)).await?;
            save(core, first).await;
        }
        (None, Ok(Some(saved))) => {
            warn!(%cluster, epoch = saved.epoch.0, "no discovery answers: starting with the last topology on disk");
            core.adopt(Arc::new(saved)).await?;
        }
        (None, saved) => {
            let tried = tried(discoveries, &watch);
            let saved = saved.err().map(|error| error.to_string());
            let (cluster, timeout) = (cluster.clone(), patience);
            return Err(ConnectError::NoTopology { cluster, timeout, tried, saved });
        }
    }
    *core.watch.lock() = Some(watch);
    tokio::spawn(put_each(Arc::downgrade(core), topologies));
    Ok(())
}

/// The last topology on disk, if one is kept there.
async fn load(core: &Core) -> Result<Option<Topology>, SavedTopologyError> {
    let Some(file) = core.settings.topology_file.clone() else { return Ok(None) };
    let cluster = core.settings.cluster.clone();
    // The task neither panics nor is aborted, unless its runtime ends: nobody asks then.
    spawn_blocking(move || file.load(&cluster)).await.unwrap_or(Ok(None))
}

/// Keeps a topology on disk, for a start without discovery. That it cannot be kept stops nothing.
async fn save(core: &Core, topology: Arc<Topology>) {
    let Some(file) = core.settings.topology_file.clone() else { return };
    if let Ok(Err(error)) = spawn_blocking(move || file.save(&topology)).await {
        warn!(cluster = %core.settings.cluster, %error, "the topology cannot be kept on disk");
    }
}

/// Ends with the client, which owns the watch.
async fn put_each(core: Weak<Core>, mut topologies: Receiver<Option<Arc<Topology>>>) {
    while topologies.changed().await.is_ok() {
        let topology = topologies.borrow_and_update().clone();
        let (Some(core), Some(topology)) = (core.upgrade(), topology) else { continue };
        if let Err(fault) = core.adopt(Arc::clone(&topology)).await {
            error!(cluster = %core.settings.cluster, %fault, "refused a topology that breaks its rules");
            continue;
        }
        save(&core, topology).await;
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
