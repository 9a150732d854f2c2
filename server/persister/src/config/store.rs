//! What is said of a store.

use std::sync::Arc;
use std::time::Duration;

use super::faults::Faults;
use super::fields::Fields;
use crate::stores::{self, StoreSettings};

/// A store, and how much it is asked for.
#[derive(Clone)]
pub struct StoreConfig {
    /// How it is opened.
    pub settings: Arc<dyn StoreSettings>,
    /// The same as it was written, less the limits: two that are equal are one store.
    pub written: toml::Table,
    /// How much it is asked for.
    pub limits: StoreLimits,
}

impl std::fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What was written has passwords in it; the settings know which.
        f.debug_struct("StoreConfig")
            .field("settings", &self.settings)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// How much a store is asked for, by one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// Calls at once, loads and writes together. 32 by default. To a store that is asked key by key (Cassandra, HTTP, S3; DynamoDB for
    /// writes) a call is one key; to others all that waits, up to a batch.
    pub concurrency_max: usize,
    /// Keys loaded and changes written in a second; no limit by default. A store that is cold or small wants one.
    pub rate_max: Option<usize>,
    /// Keys that wait for a call; more are refused at once. 512 by default: half of what a gateway has under way, so that
    /// hits get through beside them.
    pub queue_max: usize,
    /// How long one call may take. 2 s by default.
    pub timeout: Duration,
    /// Calls in a row that fail before it is left alone. 5 by default.
    pub breaker_errors: usize,
    /// For how long then, before one call tries it. 1 s by default.
    pub breaker_pause: Duration,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            concurrency_max: 32,
            rate_max: None,
            queue_max: 512,
            timeout: Duration::from_secs(2),
            breaker_errors: 5,
            breaker_pause: Duration::from_secs(1),
        }
    }
}

impl StoreConfig {
    pub(super) fn of(name: &str, table: toml::Table, faults: &mut Faults) -> Option<Self> {
        let path = ["stores", name];
        let mut fields = Fields::new(&path, table, faults);
        let default = StoreLimits::default();
        let limits = StoreLimits {
            concurrency_max: fields.number("concurrency_max", 1..=4096).unwrap_or(default.concurrency_max),
            rate_max: fields.number("rate_max", 1..=10_000_000),
            queue_max: fields.number("queue_max", 1..=100_000).unwrap_or(default.queue_max),
            timeout: fields.time("timeout").unwrap_or(default.timeout),
            breaker_errors: fields.number("breaker_errors", 1..=10_000).unwrap_or(default.breaker_errors),
            breaker_pause: fields.time("breaker_pause").unwrap_or(default.breaker_pause),
        };
        if limits.timeout.is_zero() {
            fields.fault_of("timeout", "timeout is zero: no call would ever succeed; write a time");
        }
        let written = fields.rest();
        match stores::settings(written.clone()) {
            Ok(settings) => Some(Self { settings: settings.into(), written, limits }),
            Err(wrong) => {
                wrong.iter().for_each(|wrong| faults.put_of_table(&path, format!("[stores.{name}] {wrong}")));
                None
            }
        }
    }
}
