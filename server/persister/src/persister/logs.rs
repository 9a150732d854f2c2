//! Logs at a start and at their end: what waits in one goes to the store it was written for, or the start is refused.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::time::sleep;

use super::changes::without_credentials;
use super::{Drain, LOOK_EVERY, State};
use crate::config::{Config, Mode, NamespaceConfig};
use crate::log::{self, Log};

/// Says, in the directory of a log, for which store its writes are.
const PLACE_FILE: &str = "store";

/// Which store a log's writes are for: its name, and what its settings come to without credentials.
pub(super) struct Place(String);

impl Place {
    pub(super) fn of(store: &str, written: &toml::Table) -> Self {
        let settings = without_credentials(written).to_string();
        Self(format!("{store} {:08x}", crc32fast::hash(settings.as_bytes())))
    }

    /// Refuses a log in which writes for another store wait. Returns whether the log is that of this store already.
    pub(super) fn check(&self, log: &Log, namespace: &str) -> Result<bool, String> {
        let file = log.directory().join(PLACE_FILE);
        let before = match std::fs::read_to_string(&file) {
            Ok(before) => before,
            // A log of a version that did not write it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(format!("[namespaces.{namespace}] {}: {error}", file.display())),
        };
        let waiting = log.state().waiting;
        if before == self.0 || waiting == 0 {
            return Ok(before == self.0);
        }
        let store = before.split(' ').next().unwrap_or_default();
        Err(format!(
            "[namespaces.{namespace}] {waiting} writes wait in its log for the store {store:?} with other settings than now: start \
             with those until nothing waits, or, where it is the same store, remove {}",
            file.display()
        ))
    }

    /// Makes the log that of this store, unless writes for another wait in it.
    pub(super) fn claim(&self, log: &Log, namespace: &str) -> Result<(), String> {
        if self.check(log, namespace)? {
            return Ok(());
        }
        let directory = log.directory();
        self.write(directory)
            .map_err(|error| format!("[namespaces.{namespace}] {}: {error}", directory.display()))
    }

    fn write(&self, directory: &Path) -> io::Result<()> {
        // By rename, and on the disk before that: half of it would refuse a start.
        let file = directory.join(PLACE_FILE);
        let new = file.with_extension("new");
        std::fs::write(&new, &self.0)?;
        File::open(&new)?.sync_all()?;
        std::fs::rename(&new, &file)?;
        File::open(directory)?.sync_all()
    }
}

/// Finds writes that wait in logs of `log_dir` that no namespace takes up any more.
pub(super) async fn check_left_logs(config: &Config, faults: &mut Vec<String>) {
    let Some(log_dir) = config.log_dir.clone() else { return };
    let behind = config.namespaces.iter().filter(|(_, namespace)| namespace.mode == Mode::WriteBehind);
    let taken_up: Vec<String> = behind.map(|(name, _)| name.clone()).collect();
    let look = tokio::task::spawn_blocking(move || left_logs(&log_dir, &taken_up));
    faults.extend(
        look.await.unwrap_or_else(|_| vec!["log_dir was not looked through: interrupted".to_owned()]),
    );
}

fn left_logs(log_dir: &Path, taken_up: &[String]) -> Vec<String> {
    let entries = match std::fs::read_dir(log_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![format!("log_dir {}: {error}", log_dir.display())],
    };
    let mut faults = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if taken_up.iter().any(|taken| taken == name) {
            continue;
        }
        match log::waiting_in(&path) {
            Ok(0) => {}
            Ok(waiting) => faults.push(format!(
                "{waiting} writes wait in {}, and no namespace {name:?} is write-behind: make it so, over the store it had, until \
                 nothing waits; or move the directory away, to give them up",
                path.display()
            )),
            // Whoever has it drains it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => faults.push(format!("the log in {}: {error}", path.display())),
        }
    }
    faults
}

/// Takes no more writes into a log, and drains what is in it.
pub(super) async fn drain_to_its_end(log: Arc<Log>, drain: Arc<Drain>) {
    log.seal().await;
    if log.state().waiting == 0 {
        return;
    }
    tokio::spawn(async move {
        while log.state().waiting > 0 {
            sleep(LOOK_EVERY).await;
        }
        drop(drain);
    });
}

impl State {
    /// Makes each log that of its namespace's store; or none, where one cannot be.
    pub(super) fn claim_logs(&self, faults: &mut Vec<String>) {
        let places: Vec<(&str, &Log, Place)> = self
            .all()
            .filter_map(|tier| {
                let name = tier.config.store.as_deref()?;
                let place = Place::of(name, &self.stores.get(name)?.written);
                Some((tier.name.as_str(), tier.log.as_deref()?, place))
            })
            .collect();
        for (namespace, log, place) in &places {
            faults.extend(place.check(log, namespace).err());
        }
        if !faults.is_empty() {
            return;
        }
        let mut claimed = Vec::with_capacity(places.len());
        for (namespace, log, place) in &places {
            let before = std::fs::read_to_string(log.directory().join(PLACE_FILE)).ok().map(Place);
            match place.claim(log, namespace) {
                Ok(()) => claimed.push((log, before)),
                Err(fault) => {
                    faults.push(fault);
                    break;
                }
            }
        }
        if faults.is_empty() {
            return;
        }
        for (log, before) in claimed {
            let put_back = match before {
                Some(before) => before.write(log.directory()),
                None => std::fs::remove_file(log.directory().join(PLACE_FILE)),
            };
            if let Err(error) = put_back {
                let directory = log.directory().display().to_string();
                faults.push(format!(
                    "{directory}: for which store its writes are could not be put back: {error}"
                ));
            }
        }
    }

    /// Logs that are not those of the next state, each with what drains it.
    pub(super) fn drains_that_end(&self, next: &Self) -> Vec<(Arc<Log>, Arc<Drain>)> {
        let stays = |log: &Arc<Log>| {
            next.all().any(|tier| tier.log.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, log)))
        };
        let logs = self.all().filter_map(|tier| Some((&tier.name, tier.log.as_ref()?)));
        let ended = logs.filter(|(_, log)| !stays(log));
        ended.filter_map(|(name, log)| Some((Arc::clone(log), Arc::clone(self.drains.get(name)?)))).collect()
    }
}

/// Opens the log of a namespace, and tells what is damaged in it.
pub(super) async fn open_log(
    log_dir: &Path,
    name: &str,
    config: &NamespaceConfig,
    place: &Place,
) -> Result<Arc<Log>, String> {
    let (directory, options) = (log::directory(log_dir, name), config.log);
    let at = directory.display().to_string();
    let opened = tokio::task::spawn_blocking(move || Log::open(&directory, options)).await;
    let opened =
        opened.map_err(|_| format!("[namespaces.{name}] the log in {at} was not opened: interrupted"))?;
    let (log, damages) = opened.map_err(|error| format!("[namespaces.{name}] the log in {at}: {error}"))?;
    for damage in damages {
        let what = if damage.is_tail {
            "the end of a file of the log is no whole write"
        } else {
            "the log is damaged"
        };
        tracing::error!(
            namespace = name, file = %damage.path.display(), offset = damage.offset, bytes = damage.bytes,
            "{what}: what is there is skipped, and everything else is taken up"
        );
    }
    place.check(&log, name)?;
    if log.state().waiting > 0 {
        tracing::info!(namespace = name, waiting = log.state().waiting, "writes from before go to the store");
    }
    Ok(Arc::new(log))
}
