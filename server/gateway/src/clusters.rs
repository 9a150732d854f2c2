//! Clients of the clusters beside the gateway's own that its namespaces live in.
//!
//! ```text
//!  start ── reached in time ──────────────────────> served
//!    └───── not reached ──> its keys are errors, tried again ──> served
//!  reload ── new or changed, reached ──> served       not reached: the reload is refused
//!    └───── named no more, or changed ──> what is under way ends ──> closed
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use evanesce_client::Client;
use evanesce_persister::{ClusterConfig, Clusters, Config, Persister, Reach, StartErrors};
use futures_util::future::{join, join_all};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::GatewayConfig;
use crate::gateway::{StartError, connect};
use crate::persister::PersisterFileError;

/// Between two tries to reach a cluster: each waits for a topology for as long as a start does.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// Between two looks whether anything goes on with a cluster that is served no more.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The namespaces of a gateway, in their clusters and over their stores.
pub(crate) struct Namespaces {
    pub(crate) persister: Persister,
    gateway: GatewayConfig,
    /// Held while they change.
    changing: tokio::sync::Mutex<InForce>,
    /// Those who close what is served no more. Lock order: alone.
    closing: Mutex<Vec<JoinHandle<()>>>,
    /// Whether the gateway ends, and nobody waits for what is under way any more.
    ends: watch::Sender<bool>,
}

/// What the persister was told last.
struct InForce {
    config: Config,
    others: BTreeMap<String, Reach>,
}

impl Namespaces {
    /// Connects to the own cluster and to all that namespaces name, and starts the persister over them. One of the others that is
    /// not reached in time holds nothing up.
    pub(crate) async fn start(
        gateway: &GatewayConfig,
        file: &Path,
        config: Config,
    ) -> Result<(Client, Arc<Self>), StartError> {
        let (own, others) = join(connect(gateway), reach_all(gateway, used(&config))).await;
        let own = own?;
        let clusters = Clusters { own: Arc::new(own.clone()), others: others.clone() };
        let persister = Persister::start(clusters, config.clone()).await;
        let persister = persister.map_err(|error| PersisterFileError::start(file, error))?;
        let again = tries(&config, &others);
        let namespaces = Arc::new(Self {
            persister,
            gateway: gateway.clone(),
            changing: tokio::sync::Mutex::new(InForce { config, others }),
            closing: Mutex::default(),
            ends: watch::Sender::default(),
        });
        for (name, cluster) in again {
            tokio::spawn(namespaces.reach_at_last(name, cluster));
        }
        Ok((own, namespaces))
    }

    /// Ends when the cluster is reached, is named no more or otherwise, or the gateway ends.
    fn reach_at_last(
        self: &Arc<Self>,
        name: String,
        cluster: ClusterConfig,
    ) -> impl Future<Output = ()> + use<> {
        let (gateway, mut ends) = (self.gateway.clone(), self.ends.subscribe());
        let namespaces = Arc::downgrade(self);
        async move {
            loop {
                let next = async {
                    sleep(TRY_EVERY).await;
                    reach(&gateway, &cluster).await
                };
                let next = tokio::select! {
                    next = next => next,
                    _ = ends.wait_for(|ends| *ends) => return,
                };
                let Some(namespaces) = namespaces.upgrade() else { return };
                if namespaces.reached(&name, &cluster, next).await {
                    return;
                }
            }
        }
    }

    /// Serves a cluster that was tried again; false when it is to be tried once more.
    async fn reached(&self, name: &str, cluster: &ClusterConfig, next: Reach) -> bool {
        let mut in_force = self.changing.lock().await;
        let is_wanted = in_force.config.clusters.get(name) == Some(cluster)
            && matches!(in_force.others.get(name), Some(Reach::Unreached(_)));
        if !is_wanted {
            self.close_at_last(next);
            return true;
        }
        let Reach::Reached(_) = next else { return false };
        let mut others = in_force.others.clone();
        others.insert(name.to_owned(), next);
        match self.persister.reload_over(others.clone(), in_force.config.clone()).await {
            Ok(()) => {
                tracing::info!(cluster = name, "this cluster is reached now");
                in_force.others = others;
                true
            }
            Err(error) => {
                tracing::error!(cluster = name, %error, "this cluster is reached, and its namespaces cannot be served");
                others.remove(name).into_iter().for_each(|reach| self.close_at_last(reach));
                false
            }
        }
    }

    /// Puts another configuration in force, or nothing of it.
    pub(crate) async fn reload(&self, config: Config) -> Result<(), StartErrors> {
        let mut in_force = self.changing.lock().await;
        let (mut others, mut wanted) = (BTreeMap::new(), BTreeMap::new());
        for (name, cluster) in used(&config) {
            match in_force.others.get(&name) {
                Some(reach) if in_force.config.clusters.get(&name) == Some(&cluster) => {
                    others.insert(name, reach.clone());
                }
                _ => _ = wanted.insert(name, cluster),
            }
        }
        let reached = reach_all(&self.gateway, wanted).await;
        let unreached = reached.iter().filter_map(|(name, reach)| match reach {
            Reach::Reached(_) => None,
            Reach::Unreached(why) => Some(format!("[clusters.{name}] is not reached: {why}")),
        });
        let unreached: Vec<String> = unreached.collect();
        others.extend(reached.clone());
        let reloaded = match unreached.is_empty() {
            true => self.persister.reload_over(others.clone(), config.clone()).await,
            false => Err(StartErrors(unreached)),
        };
        if reloaded.is_err() {
            drop(others);
            reached.into_values().for_each(|reach| self.close_at_last(reach));
            return reloaded;
        }
        let before = std::mem::replace(&mut *in_force, InForce { config, others });
        for (name, reach) in before.others {
            let stays = in_force.others.get(&name).is_some_and(|next| is_same(next, &reach));
            if !stays {
                self.close_at_last(reach);
            }
        }
        Ok(())
    }

    /// Closes a client once nothing of it is under way any more.
    fn close_at_last(&self, reach: Reach) {
        let Reach::Reached(client) = reach else { return };
        let mut ends = self.ends.subscribe();
        let close = async move {
            let idle = async {
                while Arc::strong_count(&client) > 1 {
                    sleep(LOOK_EVERY).await;
                }
            };
            tokio::select! {
                () = idle => {}
                _ = ends.wait_for(|ends| *ends) => {}
            }
            close(&client).await;
        };
        let mut closing = self.closing.lock();
        closing.retain(|closing| !closing.is_finished());
        closing.push(tokio::spawn(close));
    }

    /// Gives the stores what waits until `deadline`, and closes everything but the own client.
    pub(crate) async fn close(&self, deadline: Instant) {
        let waiting = self.persister.clusters();
        let left = self.persister.close(deadline).await;
        if left > 0 {
            tracing::info!(left, "writes wait in the log for the backing store: the next start goes on");
        }
        self.ends.send_replace(true);
        let closed = waiting.into_iter().filter_map(|cluster| match cluster.reach {
            Reach::Reached(client) => Some(async move { close(&client).await }),
            Reach::Unreached(_) => None,
        });
        join_all(closed).await;
        let closing = std::mem::take(&mut *self.closing.lock());
        // They take no longer than a write may.
        let _ = timeout_at(deadline.max(Instant::now() + TRY_EVERY), join_all(closing)).await;
    }
}

/// What was not reached, said and to be tried again.
fn tries(config: &Config, others: &BTreeMap<String, Reach>) -> Vec<(String, ClusterConfig)> {
    let unreached = others.iter().filter_map(|(name, reach)| {
        let Reach::Unreached(why) = reach else { return None };
        tracing::error!(cluster = name, %why, "this cluster is not reached: requests for its keys fail until it is");
        Some((name.clone(), config.clusters.get(name)?.clone()))
    });
    unreached.collect()
}

/// The clusters that some namespace names.
fn used(config: &Config) -> BTreeMap<String, ClusterConfig> {
    let is_used =
        |name: &String| config.namespaces.values().any(|namespace| namespace.cluster.as_ref() == Some(name));
    let clusters = config.clusters.iter().filter(|(name, _)| is_used(name));
    clusters.map(|(name, cluster)| (name.clone(), cluster.clone())).collect()
}

async fn reach_all(
    gateway: &GatewayConfig,
    clusters: BTreeMap<String, ClusterConfig>,
) -> BTreeMap<String, Reach> {
    let reach = |(name, cluster)| async move { (name, reach(gateway, &cluster).await) };
    join_all(clusters.into_iter().map(reach)).await.into_iter().collect()
}

/// Reaches a cluster as the gateway reaches its own: in its zone, and as the same to its nodes.
async fn reach(gateway: &GatewayConfig, cluster: &ClusterConfig) -> Reach {
    let ClusterConfig { cluster, discoveries, zone } = cluster.clone();
    let zone = zone.unwrap_or_else(|| gateway.zone.clone());
    let of_cluster = GatewayConfig { cluster, discoveries, zone, ..gateway.clone() };
    match connect(&of_cluster).await {
        Ok(client) => Reach::Reached(Arc::new(client)),
        Err(error) => Reach::Unreached(error.to_string().into()),
    }
}

fn is_same(a: &Reach, b: &Reach) -> bool {
    match (a, b) {
        (Reach::Reached(a), Reach::Reached(b)) => Arc::ptr_eq(a, b),
        (Reach::Unreached(_), Reach::Unreached(_)) => true,
        _ => false,
    }
}

/// Closes a client, as a gateway that ends closes its own.
pub(crate) async fn close(client: &Client) {
    let cluster = client.topology().map(|topology| topology.cluster.clone());
    let missed = client.close().await;
    if missed > 0 {
        tracing::warn!(?cluster, missed, "writes that nodes have missed are left to the nodes");
    }
}
