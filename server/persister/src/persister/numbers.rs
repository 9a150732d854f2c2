//! What a persister tells of itself, by number and by name.

use std::sync::Arc;

use super::{ClusterState, Persister, Reach, Store};
use crate::log::LogState;
use crate::tier::Tier;

/// One number of one owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    /// Whose.
    pub owner: Owner,
    /// What it counts.
    pub name: &'static str,
    /// How many.
    pub value: u64,
}

/// Whose a number is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A namespace's.
    Namespace(String),
    /// A store's.
    Store(String),
}

impl Persister {
    /// Names of the namespaces that have a store.
    #[must_use]
    pub fn namespaces(&self) -> Vec<String> {
        let mut names: Vec<String> = self.state.load().all().map(|tier| tier.name.clone()).collect();
        names.sort();
        names
    }

    /// Every number: of each namespace (`user:misses`) and each store (`store main:loads`), sorted by owner.
    #[must_use]
    pub fn numbers(&self) -> Vec<Number> {
        let state = self.state.load();
        let mut tiers: Vec<&Arc<Tier>> = state.all().collect();
        tiers.sort_by(|a, b| a.name.cmp(&b.name));
        let mut numbers = Vec::new();
        for tier in tiers {
            let number = |(name, value)| Number { owner: Owner::Namespace(tier.name.clone()), name, value };
            numbers.extend(tier.counts.list().map(number));
            numbers.extend(log_numbers(&tier.log_state()).map(number));
        }
        for (store, Store { gate, .. }) in &state.stores {
            let number = |(name, value)| Number { owner: Owner::Store(store.clone()), name, value };
            numbers.extend(gate.counts().list().map(number));
            numbers.push(number(("calls_under_way", gate.calls() as u64)));
            numbers.push(number(("breaker_is_open", u64::from(gate.breaker() != "closed"))));
        }
        numbers
    }

    /// What `stats persister` tells: settings, states and [`numbers`](Self::numbers).
    #[must_use]
    pub fn stats(&self) -> Vec<(String, String)> {
        let state = self.state.load();
        let mut stats = Vec::new();
        for ClusterState { name, cluster, reach } in self.clusters() {
            let (is_reached, epoch) = match reach {
                Reach::Reached(client) => (true, client.topology().map_or(0, |topology| topology.epoch.0)),
                Reach::Unreached(_) => (false, 0),
            };
            stats.push((format!("cluster:{name}:cluster"), cluster));
            stats.push((format!("cluster:{name}:is_reached"), u64::from(is_reached).to_string()));
            stats.push((format!("cluster:{name}:epoch"), epoch.to_string()));
        }
        let lives = state.named_by.iter().map(|(name, cluster)| (format!("{name}:cluster"), cluster.clone()));
        stats.extend(lives);
        for (name, store) in &state.stores {
            stats.push((format!("store:{name}:kind"), store.gate.store().kind().to_owned()));
            stats.push((format!("store:{name}:breaker"), store.gate.breaker().to_owned()));
        }
        for name in self.namespaces() {
            let mode = state.named(&name).map(|tier| tier.config.mode.to_string());
            stats.push((format!("{name}:mode"), mode.unwrap_or_default()));
        }
        stats.extend(self.numbers().into_iter().map(|Number { owner, name, value }| {
            let owner = match owner {
                Owner::Namespace(namespace) => namespace,
                Owner::Store(store) => format!("store:{store}"),
            };
            (format!("{owner}:{name}"), value.to_string())
        }));
        stats
    }
}

fn log_numbers(state: &LogState) -> [(&'static str, u64); 6] {
    [
        ("log_waiting", state.waiting as u64),
        ("log_waiting_bytes", state.waiting_bytes),
        ("log_file_bytes", state.file_bytes),
        ("log_oldest_age_ms", state.oldest_age_ms),
        ("log_dead_letters", state.dead as u64),
        ("log_failed", u64::from(state.failed)),
    ]
}
