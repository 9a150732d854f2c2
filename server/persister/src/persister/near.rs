//! The near caches of namespaces. A client keeps one as it was first asked for, for as long as it lives.

use std::sync::{Arc, Weak};

use evanesce_client::{Client, NearCache};

use super::{DEFAULT, Persister, Route, State};
use crate::config::Config;

impl Persister {
    /// Says no to what would not be done.
    pub(super) fn check_near(&self, before: &State, next: &State, config: &Config, faults: &mut Vec<String>) {
        for (name, (near, client)) in &before.near {
            let Some(namespace) = config.namespaces.get(name) else { continue };
            let is_same =
                self.client_of(next, name).is_some_and(|next| Weak::ptr_eq(client, &Arc::downgrade(next)));
            if is_same && namespace.near != Some(*near) {
                faults.push(format!(
                    "[namespaces.{name}] its near cache is there, of {} bytes for {:?}: near_cache and near_ttl change at a restart",
                    near.bytes_max, near.ttl
                ));
            }
        }
    }

    /// Makes those that are not there yet.
    pub(super) fn keep_near(&self, before: &State, next: &mut State, config: &Config) {
        next.near.clone_from(&before.near);
        for (name, namespace) in &config.namespaces {
            let (Some(near), Some(client)) = (namespace.near, self.client_of(next, name)) else { continue };
            let keys = match &name[..] {
                DEFAULT => client.raw().clone(),
                name => client.namespace(name),
            };
            let _ = keys.near_cache(NearCache::new(near.bytes_max).ttl(near.ttl));
            let of_client = Arc::downgrade(client);
            next.near.insert(name.clone(), (near, of_client));
        }
    }

    /// The client of a namespace's cluster.
    fn client_of<'a>(&'a self, state: &'a State, name: &str) -> Option<&'a Arc<Client>> {
        match state.route(name)? {
            Route::Tier(tier) => Some(&tier.client),
            Route::Other(client) => Some(client),
            Route::Own => Some(&self.own),
            Route::Nowhere(_) => None,
        }
    }
}
