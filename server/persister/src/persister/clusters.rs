//! Which cluster a key lives in, and whether a store stands behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use evanesce_client::Client;

use super::{Persister, State};
use crate::config::{Config, NamespaceConfig};
use crate::tier::{Tier, TierError};

/// The clusters that namespaces live in.
///
/// Whoever closes the client of one that is named no more waits until it has the only reference to it: what is under way, and
/// what a log owes, holds another.
#[derive(Clone)]
pub struct Clusters {
    /// That of all keys whose namespace names no cluster.
    pub own: Arc<Client>,
    /// The others, by their names in the configuration.
    pub others: BTreeMap<String, Reach>,
}

/// Whether there is a client of a cluster.
#[derive(Clone)]
pub enum Reach {
    /// There is.
    Reached(Arc<Client>),
    /// There is none yet, and this is why: its keys are answered with an error that says so.
    Unreached(Arc<str>),
}

impl From<Client> for Clusters {
    fn from(own: Client) -> Self {
        Self { own: Arc::new(own), others: BTreeMap::new() }
    }
}

/// One cluster beside the own one.
#[derive(Clone)]
pub struct ClusterState {
    /// Its name in the configuration.
    pub name: String,
    /// What its nodes register as.
    pub cluster: String,
    /// Whether there is a client of it.
    pub reach: Reach,
}

/// Where a key is served.
#[derive(Clone, Default)]
pub enum Route {
    /// By the own cluster alone.
    #[default]
    Own,
    /// By another cluster alone.
    Other(Arc<Client>),
    /// By a cluster and the store of its namespace.
    Tier(Arc<Tier>),
    /// By nobody yet: its cluster was not reached.
    Nowhere(TierError),
}

impl Route {
    pub(super) fn tier(&self) -> Option<&Arc<Tier>> {
        match self {
            Self::Tier(tier) => Some(tier),
            _ => None,
        }
    }
}

impl Persister {
    /// Where a key is served: as the namespace before its first colon says, or else `default`.
    #[must_use]
    pub fn route(&self, key: &[u8]) -> Route {
        let state = self.state.load();
        let named = key.iter().position(|byte| *byte == b':').and_then(|end| state.routes.get(&key[..end]));
        named.unwrap_or(&state.default).clone()
    }

    /// The clusters beside the own one that namespaces live in, by name.
    #[must_use]
    pub fn clusters(&self) -> Vec<ClusterState> {
        let state = self.state.load();
        let told = state.others.iter().filter_map(|(name, reach)| {
            let cluster = state.clusters.get(name)?.cluster.clone();
            Some(ClusterState { name: name.clone(), cluster, reach: reach.clone() })
        });
        told.collect()
    }

    /// Whether any namespace names a cluster beside the own one.
    #[must_use]
    pub fn has_others(&self) -> bool {
        !self.state.load().others.is_empty()
    }

    /// The client of the cluster that a key lives in, where that is not the own one, and is reached.
    #[must_use]
    pub fn other_cluster_of(&self, key: &[u8]) -> Option<Arc<Client>> {
        match self.route(key) {
            Route::Other(client) => Some(client),
            Route::Tier(tier) => tier.other_cluster().cloned(),
            Route::Own | Route::Nowhere(_) => None,
        }
    }

    /// The tier of a key. `None` where a cluster is all there is.
    #[must_use]
    pub fn tier_of(&self, key: &[u8]) -> Option<Arc<Tier>> {
        self.route(key).tier().cloned()
    }
}

/// Where the keys of a namespace live.
pub(super) enum Home<'a> {
    Own,
    Other(&'a Arc<Client>),
    Unreached(TierError),
}

/// The cluster of a namespace; a fault where nobody has told of it.
pub(super) fn home<'a>(
    name: &str,
    namespace: &NamespaceConfig,
    config: &Config,
    others: &'a BTreeMap<String, Reach>,
) -> Result<Home<'a>, String> {
    let Some(cluster) = &namespace.cluster else { return Ok(Home::Own) };
    match others.get(cluster) {
        Some(Reach::Reached(client)) => Ok(Home::Other(client)),
        Some(Reach::Unreached(why)) => {
            let cluster = registered(config, namespace).unwrap_or(cluster).into();
            Ok(Home::Unreached(TierError::Unreached { cluster, why: Arc::clone(why) }))
        }
        None => {
            Err(format!("[namespaces.{name}] lives in the cluster {cluster:?}, and there is no client of it"))
        }
    }
}

/// What the nodes of a namespace's cluster register as; `None` for the own one.
pub(super) fn registered<'a>(config: &'a Config, namespace: &NamespaceConfig) -> Option<&'a str> {
    config.clusters.get(namespace.cluster.as_ref()?).map(|cluster| &cluster.cluster[..])
}

impl State {
    /// What the nodes of a tier's cluster register as.
    pub(super) fn registered(&self, tier: &Tier) -> Option<&str> {
        self.clusters.get(tier.config.cluster.as_ref()?).map(|cluster| &cluster.cluster[..])
    }
}
