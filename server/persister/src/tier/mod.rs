//! One namespace over its store.
//!
//! ```text
//!                    read-through            write-through             write-behind
//!  get, gets         cluster, or loaded      the same                  the same; the log before the store
//!  set               cluster                 store, then cluster       log, then cluster
//!  delete            cluster                 store, then cluster       log, then cluster
//!  add, cas, incr,   loaded, decided by      and what was decided      and what was decided
//!  append, touch     the key's home zone     goes to the store         goes to the log
//! ```
//!
//! Store and cluster are given one version, so that whichever of two writes is the newer is so in both. What was loaded is
//! stamped [`WRITE_MAX`] before its load: a write that was on its way to the store meanwhile is newer than that. While a delete
//! waits in the log, the cluster remembers that there is nothing.

mod counts;
mod decide;
mod descend;
mod drain;
mod error;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use evanesce_client::{ABSENT_FLAGS, Client, Item, LoadedItem, Namespace, Origin, Ttl, Version};
use futures_util::future::{join, join_all};
use tokio::time::Instant;

use crate::clock::unix_now;
use crate::config::{Mode, NamespaceConfig};
use crate::gate::{Budget, Gate};
use crate::log::{Log, LogState, now_ms};
use crate::store::{Applied, Change, Loaded, StoreError, StoreItem};

pub(crate) use counts::TierCounts;
pub use decide::{Decided, Step};
pub(crate) use drain::Drain;
pub use error::TierError;

/// The longest a write may be on its way to the store before the cluster has it, and so what loads yield to. Write
/// timeouts are cut to it.
pub(crate) const WRITE_MAX: Duration = Duration::from_secs(10);

/// How old a change may be for nobody to have overtaken it: a load stamps what it brings [`WRITE_MAX`] before itself.
const FRESH: Duration = Duration::from_millis(WRITE_MAX.as_millis() as u64 / 2);

/// What a caller waits beyond the load's own time: for leases, and for the cluster.
const LOAD_SLACK: Duration = Duration::from_millis(500);

/// A read that loads, as the namespace is configured.
macro_rules! as_configured {
    ($get:expr, $config:expr) => {{
        let config = &$config;
        let mut get = $get
            .ttl(config.ttl)
            .jitter(config.jitter)
            .stale(config.stale)
            .early(config.refresh_ahead)
            .load_timeout(config.load_timeout)
            .timeout(config.load_timeout + LOAD_SLACK);
        if !config.negative_ttl.is_zero() {
            get = get.absent_ttl(config.negative_ttl);
        }
        if config.mode.writes() {
            get = get.yields_to_writes_of(WRITE_MAX);
        }
        get
    }};
}

/// A namespace over its store. Cheap to clone in an `Arc`.
pub struct Tier {
    pub(crate) name: String,
    pub(crate) config: NamespaceConfig,
    /// That of the cluster its keys live in. Whoever closes one waits for its tiers to be dropped.
    pub(crate) client: Arc<Client>,
    /// Keys and values as they are.
    keys: Namespace,
    pub(crate) gate: Arc<Gate>,
    budget: Budget,
    pub(crate) log: Option<Arc<Log>>,
    pub(crate) counts: Arc<TierCounts>,
    turns: decide::Turns,
}

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stored {
    /// What it was stamped with, where the cluster keeps versions.
    pub version: Option<Version>,
}

impl std::fmt::Debug for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tier")
            .field("namespace", &self.name)
            .field("mode", &self.config.mode)
            .finish_non_exhaustive()
    }
}

impl Tier {
    pub(crate) fn log_state(&self) -> LogState {
        self.log.as_ref().map(|log| log.state()).unwrap_or_default()
    }

    pub(crate) fn new(
        name: &str,
        config: NamespaceConfig,
        client: Arc<Client>,
        gate: Arc<Gate>,
        log: Option<Arc<Log>>,
        counts: Arc<TierCounts>,
    ) -> Self {
        let budget = Budget::new(config.budget.unwrap_or(gate.limits().queue_max));
        let (name, keys) = (name.to_owned(), client.raw().clone());
        Self { name, config, client, keys, gate, budget, log, counts, turns: decide::Turns::default() }
    }

    /// How it stands to its store.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.config.mode
    }

    /// The client of its cluster, where that is not the own one.
    #[must_use]
    pub fn other_cluster(&self) -> Option<&Arc<Client>> {
        self.config.cluster.as_ref().map(|_| &self.client)
    }

    /// All keys of the cluster, as they are: for what the tier has no way for.
    #[must_use]
    pub fn keys(&self) -> &Namespace {
        &self.keys
    }

    /// Reads a key, and loads it when it is not there.
    ///
    /// # Errors
    ///
    /// [`TierError`], within the namespace's `load_timeout` and half a second.
    pub async fn get(self: &Arc<Self>, key: &[u8]) -> Result<Option<Item>, TierError> {
        if let Some(error) = self.gate.refusal(&self.budget).filter(|_| !self.waits(key)) {
            return self.get_or_refuse(key, error).await;
        }
        let tier = Arc::clone(self);
        let loader = move |key: Bytes| async move { tier.load(key).await };
        let get = as_configured!(self.keys.get_item_or_load(key, loader), self.config);
        let (found, origin) = get.run_with_origin().await?;
        self.count(origin);
        Ok(found)
    }

    /// Reads many keys by one request to each node, near cache first, and loads those that are not there together. The answers are
    /// in the order of the keys, and each fares by itself.
    ///
    /// # Errors
    ///
    /// [`TierError`], when a key is none, or the client is closed.
    pub async fn get_many<K: AsRef<[u8]>>(
        self: &Arc<Self>,
        keys: &[K],
    ) -> Result<Vec<Result<Option<Item>, TierError>>, TierError> {
        if let Some(error) = self.gate.refusal(&self.budget) {
            return Ok(self.get_many_or_refuse(keys, error).await);
        }
        let tier = Arc::clone(self);
        let loader = move |keys: Vec<Bytes>| {
            let tier = Arc::clone(&tier);
            async move { tier.load_many(keys).await }
        };
        let get = as_configured!(self.keys.get_items_or_load_many(keys, loader), self.config);
        let answers = get.run_with_origins().await?.into_iter().map(|found| {
            let (found, origin) = found?;
            self.count(origin);
            Ok(found)
        });
        Ok(answers.collect())
    }

    /// Hits are hits, and what waits in the log is there; the rest is not asked for.
    async fn get_many_or_refuse<K: AsRef<[u8]>>(
        self: &Arc<Self>,
        keys: &[K],
        error: StoreError,
    ) -> Vec<Result<Option<Item>, TierError>> {
        let get = async |key: &[u8]| match self.waits(key) {
            true => self.get(key).await,
            false => self.get_or_refuse(key, error.clone()).await,
        };
        join_all(keys.iter().map(|key| get(key.as_ref()))).await
    }

    fn count(&self, origin: Origin) {
        match origin {
            Origin::Cache => {}
            Origin::Stale => self.counts.stale_served.add(1),
            Origin::Absent => self.counts.negative_hits.add(1),
            Origin::Loader => self.counts.misses.add(1),
        }
    }

    /// Reads a key while none can be loaded, with no way to a lease and back.
    async fn get_or_refuse(&self, key: &[u8], error: StoreError) -> Result<Option<Item>, TierError> {
        match self.keys.get_item_or_absent(key).run().await? {
            Some(item) if item.flags == ABSENT_FLAGS => {
                self.counts.negative_hits.add(1);
                Ok(None)
            }
            Some(item) => Ok(Some(item)),
            None => {
                self.gate.counts().refused.add(1);
                Err(TierError::Store { error, maybe_applied: false })
            }
        }
    }

    /// Whether a write of the key waits in the log.
    fn waits(&self, key: &[u8]) -> bool {
        self.log.as_ref().is_some_and(|log| log.has(key))
    }

    /// Reads a key with the token that the home zone compares, and loads it when it is not there.
    ///
    /// # Errors
    ///
    /// [`TierError`].
    pub async fn get_for_cas(self: &Arc<Self>, key: &[u8]) -> Result<Option<Item>, TierError> {
        if let Some(item) = self.keys.get_for_cas(key).with_absent().run().await? {
            return Ok(Some(item).filter(|item| item.flags != ABSENT_FLAGS));
        }
        let Some(loaded) = self.get(key).await? else { return Ok(None) };
        // What was loaded may be refused for a write that was newer, and then has no token yet.
        let again = self.keys.get_for_cas(key).run().await?;
        Ok(Some(again.unwrap_or(loaded)))
    }

    /// Loads a key from the log, if a write of it waits there, or else from the store.
    async fn load(&self, key: Bytes) -> Result<Option<LoadedItem>, TierError> {
        Ok(self.below(key).await?.and_then(loaded_item))
    }

    /// What log or store have of a key, expired or not: the newer, where the log's may have been overtaken.
    async fn below(&self, key: Bytes) -> Result<Option<StoreItem>, TierError> {
        let found = self.log.as_ref().map_or(Ok(None), |log| log.find(&key));
        let Some(waiting) = found.map_err(|error| TierError::LogRead(Arc::new(error)))? else {
            return self.stored(key, self.config.load_timeout).await;
        };
        if waiting.is_dead || !is_fresh(waiting.stamped_ms, now_ms()) {
            // A store that does not tell is not asked for long: the log's is the newest that is known then.
            let stored = self.stored(key, self.config.load_timeout / 2).await.ok().flatten();
            let is_newer = |stored: &StoreItem| stored.version > Some(waiting.change.version);
            if let Some(newer) = stored.filter(is_newer) {
                return Ok(Some(newer));
            }
        }
        self.counts.from_log.add(1);
        Ok(match waiting.change.change {
            Change::Put(item) => Some(item),
            Change::Delete => None,
        })
    }

    /// Loads many keys: those that wait in the log from there, the others together.
    async fn load_many(&self, keys: Vec<Bytes>) -> Vec<(Bytes, Result<Option<LoadedItem>, TierError>)> {
        let (waiting, rest): (Vec<Bytes>, Vec<Bytes>) = keys.into_iter().partition(|key| self.waits(key));
        let waiting = waiting.into_iter().map(async |key| (key.clone(), self.load(key).await));
        let deadline = Instant::now() + self.config.load_timeout;
        self.counts.loads.add(rest.len());
        let loaded = self.gate.load_many(&rest, &self.budget, deadline);
        let (mut all, loaded) = join(join_all(waiting), loaded).await;
        let loaded = loaded.into_iter().map(|loaded| Ok(self.counted(loaded)?.and_then(loaded_item)));
        all.extend(rest.into_iter().zip(loaded));
        all
    }

    /// What the store has of a key, expired or not.
    async fn stored(&self, key: Bytes, within: Duration) -> Result<Option<StoreItem>, TierError> {
        self.counts.loads.add(1);
        self.counted(self.gate.load(key, &self.budget, Instant::now() + within).await)
    }

    /// Counts what a load came to.
    fn counted(&self, loaded: Loaded) -> Result<Option<StoreItem>, TierError> {
        let loaded = loaded.map_err(|error| {
            self.counts.load_failures.add(1);
            TierError::Store { error, maybe_applied: false }
        })?;
        let is_there = loaded.as_ref().is_some_and(|item| item.expires_at.is_none_or(|at| at > unix_now()));
        self.counts.loads_absent.add(usize::from(!is_there));
        Ok(loaded)
    }

    /// Stores an item.
    ///
    /// # Errors
    ///
    /// [`TierError`]. Where the store may have it, the cluster's copy is deleted.
    pub async fn set(&self, key: &[u8], value: Bytes, flags: u32, ttl: Ttl) -> Result<Stored, TierError> {
        let keys = &self.keys;
        if !self.config.mode.writes() {
            let written = keys.set(key, value).flags(flags).ttl(ttl).run().await?;
            return Ok(Stored { version: written.version });
        }
        if is_over(ttl) {
            // A set of what has expired already: a store without expiry would keep it.
            self.delete(key).await?;
            return Ok(Stored { version: None });
        }
        let item = StoreItem { value: value.clone(), flags, expires_at: expires_at(ttl), version: None };
        let (applied, version) = self.descend_newest(key, Change::Put(item)).await?;
        // Of what waits in the log the cluster shows the newest, whoever comes first.
        if applied == Applied::Superseded && self.log.is_none() {
            return Ok(Stored { version: Some(version) });
        }
        let set = keys.set(key, value).flags(flags).ttl(self.in_cluster(ttl)).version(version);
        let written = set.run().await?;
        Ok(Stored { version: written.version })
    }

    /// Deletes a key. Returns whether it was there: in the cluster, or waiting in the log; the store is not asked.
    ///
    /// # Errors
    ///
    /// [`TierError`]. Where the store may have done it, the cluster's copy is deleted.
    pub async fn delete(&self, key: &[u8]) -> Result<bool, TierError> {
        if !self.config.mode.writes() {
            return Ok(self.keys.delete(key).run().await?.found);
        }
        if let Some(log) = &self.log {
            return self.delete_behind(log, key).await;
        }
        let (_, version) = self.descend_newest(key, Change::Delete).await?;
        Ok(self.keys.delete(key).version(version).run().await?.found)
    }

    /// Until the store has it, the cluster remembers that there is nothing: other gateways would load what the store has still,
    /// and make something newer of it.
    async fn delete_behind(&self, log: &Log, key: &[u8]) -> Result<bool, TierError> {
        let there = self.keys.clone().skip_near_cache();
        // Only the answer depends on it.
        let there = there.get_item_or_absent(key).run().await.unwrap_or_default();
        let found = match there {
            Some(item) => item.flags != ABSENT_FLAGS,
            None => log.has(key),
        };
        let (_, version) = self.descend_newest(key, Change::Delete).await?;
        let (nothing, ttl) = (Bytes::new(), self.config.ttl);
        self.keys.set(key, nothing).flags(ABSENT_FLAGS).ttl(ttl).version(version).run().await?;
        Ok(found)
    }

    /// How long the cluster keeps what is written with this TTL: not longer than what it loads.
    fn in_cluster(&self, ttl: Ttl) -> Ttl {
        let most = self.config.ttl;
        match ttl {
            Ttl::Never => Ttl::After(most),
            Ttl::After(ttl) => Ttl::After(ttl.min(most)),
            Ttl::At(at) => match Duration::from_secs(at.saturating_sub(unix_now())) {
                left if left > most => Ttl::After(most),
                _ => ttl,
            },
        }
    }
}

/// What the store has, as a loader tells it; `None` when it has expired.
fn loaded_item(item: StoreItem) -> Option<LoadedItem> {
    let StoreItem { value, flags, expires_at, .. } = item;
    let ttl = match expires_at {
        None => None,
        Some(at) => Some(at.checked_sub(unix_now()).filter(|left| *left > 0).map(Duration::from_secs)?),
    };
    Some(LoadedItem { value, flags, ttl })
}

/// Whether nobody can have overtaken what was stamped then. Of what was stamped by a clock that was set back since, nobody knows.
fn is_fresh(stamped_ms: u64, now_ms: u64) -> bool {
    now_ms.checked_sub(stamped_ms).is_some_and(|age| age < FRESH.as_millis() as u64)
}

/// Whether what has this TTL has expired already.
fn is_over(ttl: Ttl) -> bool {
    match ttl {
        Ttl::Never => false,
        Ttl::At(at) => at <= unix_now(),
        Ttl::After(ttl) => ttl.is_zero(),
    }
}

/// When an item with this TTL expires, in seconds since the Unix epoch, rounded up as nodes do.
fn expires_at(ttl: Ttl) -> Option<u64> {
    match ttl {
        Ttl::Never => None,
        Ttl::At(at) => Some(at),
        Ttl::After(ttl) => {
            let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().checked_add(ttl)?;
            Some(at.as_secs() + u64::from(at.subsec_nanos() > 0))
        }
    }
}

#[cfg(test)]
mod tests;
