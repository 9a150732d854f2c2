//! What a reload may not change, since writes wait or a log is open.

use std::path::Path;

use super::{State, clusters};
use crate::config::{Config, Mode, NamespaceConfig};
use crate::log::{self, Log};

/// What of a store's settings says who we are, and not which store it is.
const CREDENTIALS: [&str; 5] = ["user", "password", "access_key_id", "secret_access_key", "headers"];

/// What a log is and how it is flushed is settled when it is opened.
pub(super) fn check_same_log(
    log: &Log,
    name: &str,
    config: &NamespaceConfig,
    log_dir: &Path,
) -> Result<(), String> {
    let (directory, options) = (log.directory(), log.options());
    let same = directory == log::directory(log_dir, name)
        && options.flush == config.log.flush
        && options.bytes_max == config.log.bytes_max;
    if same {
        return Ok(());
    }
    Err(format!(
        "[namespaces.{name}] its log is open in {}: log_dir, flush and log_max change at a restart of the gateway",
        directory.display()
    ))
}

/// What of a store's settings says which store it is.
pub(super) fn without_credentials(written: &toml::Table) -> toml::Table {
    let mut place = written.clone();
    CREDENTIALS.iter().for_each(|key| _ = place.remove(*key));
    place
}

impl State {
    /// Whether a store's name still means the store it meant; credentials may change.
    fn is_same_place(&self, store: &str, config: &Config) -> bool {
        let (before, next) = (self.stores.get(store), config.stores.get(store));
        before.zip(next).is_some_and(|(before, next)| {
            without_credentials(&before.written) == without_credentials(&next.written)
        })
    }

    /// What waits in a log must have a way to its store.
    pub(super) fn check_logs_that_end(&self, config: &Config, faults: &mut Vec<String>) {
        for tier in self.all() {
            let Some(log) = &tier.log else { continue };
            let next = config.namespaces.get(&tier.name);
            let stays = next.is_some_and(|next| {
                next.mode == Mode::WriteBehind
                    && next.store == tier.config.store
                    && next.store.as_ref().is_some_and(|store| self.is_same_place(store, config))
                    && next.log == tier.config.log
                    && clusters::registered(config, next) == self.registered(tier)
            });
            let waiting = log.state().waiting;
            if !stays && waiting > 0 {
                faults.push(format!(
                    "[namespaces.{}] {waiting} writes wait in its log: its mode, store, cluster and log can change when there are none, \
                     or at a restart with the same store",
                    tier.name
                ));
            }
        }
    }
}
