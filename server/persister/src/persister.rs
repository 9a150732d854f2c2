//! All namespaces of a client over their stores: started, served, reloaded and closed.

mod changes;
mod logs;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use evanesce_client::{Client, NearCache};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::{Config, Mode, NamespaceConfig, StoreConfig, StoreLimits};
use crate::gate::Gate;
use crate::log::{DeadLetter, Log, LogError, LogState};
use crate::store::{Applied, Change, KeyChange, StoreError, StoreItem};
use crate::tier::{Tier, TierCounts, start_drain};
use changes::check_same_log;
use logs::{Place, check_left_logs, drain_to_its_end, open_log};

/// What keys of no other namespace have.
const DEFAULT: &str = "default";

/// Longest key, as in memcached.
const KEY_BYTES_MAX: usize = 250;

/// Between two looks whether the logs are empty, at the end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why the tier does not start, or does not change. The operator's to mend; all that is wrong, together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartErrors(pub Vec<String>);

impl std::fmt::Display for StartErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for StartErrors {}

/// Why an operator's request was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// No such store.
    #[error("there is no store {0:?}: stats tells which there are")]
    NoStore(String),
    /// No such namespace, or it has no log.
    #[error("there is no write-behind namespace {0:?}: stats tells which there are")]
    NoLog(String),
    /// No key of memcached's.
    #[error("the key has {0} bytes: write 1 to {KEY_BYTES_MAX}")]
    Key(usize),
    /// The store failed.
    #[error("backing store: {0}")]
    Store(#[from] StoreError),
    /// The log did not take it.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The tier of one client.
pub struct Persister {
    client: Client,
    state: ArcSwap<State>,
    /// Held while it changes.
    changing: Mutex<()>,
}

#[derive(Default, Clone)]
struct State {
    tiers: HashMap<Bytes, Arc<Tier>>,
    default: Option<Arc<Tier>>,
    stores: BTreeMap<String, Store>,
    drains: BTreeMap<String, Arc<Drain>>,
}

#[derive(Clone)]
struct Store {
    written: toml::Table,
    limits: StoreLimits,
    gate: Arc<Gate>,
}

/// The tasks that drain a log. Dropped, they end.
struct Drain(Vec<JoinHandle<()>>);

impl Drop for Drain {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl std::fmt::Debug for Persister {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Persister").field("namespaces", &self.namespaces()).finish_non_exhaustive()
    }
}

impl Persister {
    /// Opens stores and logs, and begins to drain what waits. What is damaged in a log is told in this process' log.
    ///
    /// # Errors
    ///
    /// All that cannot be opened. Nothing is left open then.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time: tasks of the tier live on the one it is started in.
    pub async fn start(client: Client, config: Config) -> Result<Self, StartErrors> {
        let persister = Self { client, state: ArcSwap::default(), changing: Mutex::default() };
        persister.reload(config).await?;
        Ok(persister)
    }

    /// Puts another configuration in force. Stores and logs that stay the same are kept; requests under way end as they began.
    ///
    /// # Errors
    ///
    /// What cannot be opened, or may not change while writes wait in a log. What was in force stays in force then.
    pub async fn reload(&self, config: Config) -> Result<(), StartErrors> {
        let _changing = self.changing.lock().await;
        let before = self.state.load_full();
        let mut faults = Vec::new();
        before.check_logs_that_end(&config, &mut faults);
        check_left_logs(&config, &mut faults).await;
        let stores = open_stores(&before, &config, &mut faults).await;
        let mut next = State { stores, ..State::default() };
        for (name, namespace) in
            config.namespaces.iter().filter(|(_, namespace)| namespace.mode != Mode::None)
        {
            let log_dir = config.log_dir.as_deref();
            match self.tier(&before, &next, name, namespace, log_dir).await {
                Ok(Some(tier)) => next.add(tier),
                // Its store is a fault already.
                Ok(None) => {}
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() {
            // Only now: what is not put in force has no log.
            next.claim_logs(&mut faults);
        }
        if !faults.is_empty() {
            return Err(StartErrors(faults));
        }
        let drain = |tier: &Arc<Tier>| (tier.name.clone(), Arc::new(Drain(start_drain(tier))));
        next.drains = next.all().map(drain).collect();
        next.all().for_each(|tier| self.keep_near(tier));
        let ended = before.drains_that_end(&next);
        self.state.store(Arc::new(next));
        // Requests under way may have written to them since nothing waited there.
        for (log, drain) in ended {
            drain_to_its_end(log, drain).await;
        }
        Ok(())
    }

    async fn tier(
        &self,
        before: &State,
        next: &State,
        name: &str,
        config: &NamespaceConfig,
        log_dir: Option<&Path>,
    ) -> Result<Option<Arc<Tier>>, String> {
        let store = config.store.as_ref().and_then(|store| next.stores.get(store));
        let Some(store) = store else { return Ok(None) };
        let gate = Arc::clone(&store.gate);
        if config.mode.writes() && !gate.abilities().writes {
            let kind = gate.store().kind();
            return Err(format!(
                "[namespaces.{name}] is {}, and a store of kind {kind} takes no writes",
                config.mode
            ));
        }
        if config.mode.writes() && !gate.abilities().versions {
            tracing::warn!(
                namespace = name,
                store = gate.store().kind(),
                "this store keeps no versions: of two gateways that write one key at once, the older write may stay"
            );
        }
        let place = Place::of(config.store.as_deref().unwrap_or_default(), &store.written);
        let old = before.named(name);
        let log = match log_dir.filter(|_| config.mode == Mode::WriteBehind) {
            None => None,
            Some(log_dir) => match old.and_then(|old| old.log.clone()) {
                Some(log) => {
                    check_same_log(&log, name, config, log_dir)?;
                    place.check(&log, name)?;
                    Some(log)
                }
                None => Some(open_log(log_dir, name, config, &place).await?),
            },
        };
        let counts = old.map_or_else(|| Arc::new(TierCounts::default()), |old| Arc::clone(&old.counts));
        Ok(Some(Arc::new(Tier::new(name, config.clone(), &self.client, gate, log, counts))))
    }

    fn keep_near(&self, tier: &Tier) {
        let Some(near) = tier.config.near else { return };
        let keys = match &tier.name[..] {
            DEFAULT => self.client.raw().clone(),
            name => self.client.namespace(name),
        };
        let _ = keys.near_cache(NearCache::new(near.bytes_max).ttl(near.ttl));
    }

    /// The tier of a key: that of the namespace before its first colon, or else of `default`. `None` where the cluster is
    /// all there is.
    #[must_use]
    pub fn tier_of(&self, key: &[u8]) -> Option<Arc<Tier>> {
        let state = self.state.load();
        let named = key.iter().position(|byte| *byte == b':').and_then(|end| state.tiers.get(&key[..end]));
        named.or(state.default.as_ref()).cloned()
    }

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

    /// What a store has of a key, whatever the cluster has.
    ///
    /// # Errors
    ///
    /// [`OperatorError`].
    pub async fn store_get(&self, store: &str, key: Bytes) -> Result<Option<StoreItem>, OperatorError> {
        check_key(&key)?;
        let gate = self.gate(store)?;
        let loaded = gate.store().load(&[key], Instant::now() + gate.limits().timeout).await;
        Ok(loaded.into_iter().next().unwrap_or(Ok(None))?)
    }

    /// Changes what a store has of a key, stamped now, and nothing in the cluster.
    ///
    /// # Errors
    ///
    /// [`OperatorError`].
    pub async fn store_write(
        &self,
        store: &str,
        key: Bytes,
        change: Change,
    ) -> Result<Applied, OperatorError> {
        check_key(&key)?;
        let gate = self.gate(store)?;
        let change = KeyChange { key, version: self.client.stamp().as_u64(), change };
        let outcome = gate.store().write(&[change], Instant::now() + gate.limits().timeout).await;
        Ok(outcome.into_iter().next().unwrap_or(Ok(Applied::Yes))?)
    }

    /// Asks a store whether it is there.
    ///
    /// # Errors
    ///
    /// [`OperatorError`].
    pub async fn check_store(&self, store: &str) -> Result<(), OperatorError> {
        Ok(self.gate(store)?.check().await?)
    }

    fn gate(&self, store: &str) -> Result<Arc<Gate>, OperatorError> {
        let state = self.state.load();
        let found = state.stores.get(store).map(|store| Arc::clone(&store.gate));
        found.ok_or_else(|| OperatorError::NoStore(store.to_owned()))
    }

    fn log(&self, namespace: &str) -> Result<Arc<Log>, OperatorError> {
        let log = self.state.load().named(namespace).and_then(|tier| tier.log.clone());
        log.ok_or_else(|| OperatorError::NoLog(namespace.to_owned()))
    }

    /// Dead letters of a namespace, oldest first: `most`, behind a key if one is given.
    ///
    /// # Errors
    ///
    /// [`OperatorError`].
    pub fn dead_letters(
        &self,
        namespace: &str,
        most: usize,
        behind: Option<&[u8]>,
    ) -> Result<Vec<DeadLetter>, OperatorError> {
        Ok(self.log(namespace)?.dead_letters(most, behind))
    }

    /// Sends dead letters to the store again: that of `key`, or all. Returns how many.
    ///
    /// # Errors
    ///
    /// [`OperatorError`].
    pub fn retry_dead_letters(&self, namespace: &str, key: Option<&[u8]>) -> Result<usize, OperatorError> {
        let log = self.log(namespace)?;
        Ok(of_dead(&log, key).iter().filter(|key| log.revive(key)).count())
    }

    /// Gives dead letters up for good: that of `key`, or all. Returns how many, once the log knows. The cluster keeps what it has.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]. They are dead letters still when the log does not take it.
    pub async fn drop_dead_letters(
        &self,
        namespace: &str,
        key: Option<&[u8]>,
    ) -> Result<usize, OperatorError> {
        let log = self.log(namespace)?;
        Ok(log.drop_dead(&of_dead(&log, key)).await?)
    }

    /// Gives the stores what waits, until `deadline`; then logs are flushed and all is closed. Returns how many writes wait still:
    /// the next start goes on with them.
    pub async fn close(&self, deadline: Instant) -> usize {
        let state = self.state.load_full();
        let logs: Vec<Arc<Log>> = state.all().filter_map(|tier| tier.log.clone()).collect();
        let drained = async {
            while logs.iter().any(|log| log.is_busy()) {
                sleep(LOOK_EVERY).await;
            }
        };
        // What is left waits on the disk.
        let _ = timeout_at(deadline, drained).await;
        self.state.store(Arc::default());
        state.drains.values().for_each(|drain| drain.0.iter().for_each(JoinHandle::abort));
        let mut left = 0;
        for log in logs {
            left += log.state().waiting;
            log.close().await;
        }
        for store in state.stores.values() {
            store.gate.store().close().await;
        }
        left
    }
}

/// Stores are made for keys that the protocol knows, and what they do with others is theirs.
fn check_key(key: &[u8]) -> Result<(), OperatorError> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) { Ok(()) } else { Err(OperatorError::Key(key.len())) }
}

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

/// This key, or those of all dead letters.
fn of_dead(log: &Log, key: Option<&[u8]>) -> Vec<Bytes> {
    match key {
        Some(key) => vec![Bytes::copy_from_slice(key)],
        None => log.dead_letters(usize::MAX, None).into_iter().map(|letter| letter.key).collect(),
    }
}

async fn open_stores(before: &State, config: &Config, faults: &mut Vec<String>) -> BTreeMap<String, Store> {
    let mut stores = BTreeMap::new();
    let used = |name: &&String| config.namespaces.values().any(|used| used.store.as_ref() == Some(*name));
    for name in config.stores.keys().filter(used) {
        let store = &config.stores[name];
        match open_store(before.stores.get(name), store).await {
            Ok(opened) => _ = stores.insert(name.clone(), opened),
            Err(error) => faults.push(format!("[stores.{name}] cannot be opened: {error}")),
        }
    }
    stores
}

async fn open_store(before: Option<&Store>, config: &StoreConfig) -> Result<Store, StoreError> {
    let same = before.filter(|before| before.written == config.written);
    if let Some(same) = same.filter(|same| same.limits == config.limits) {
        return Ok(same.clone());
    }
    let store = match same {
        Some(same) => Arc::clone(same.gate.store()),
        None => config.settings.open().await?,
    };
    let gate = Arc::new(Gate::new(store, config.limits));
    Ok(Store { written: config.written.clone(), limits: config.limits, gate })
}

impl State {
    fn all(&self) -> impl Iterator<Item = &Arc<Tier>> {
        self.tiers.values().chain(&self.default)
    }

    fn named(&self, name: &str) -> Option<&Arc<Tier>> {
        if name == DEFAULT { self.default.as_ref() } else { self.tiers.get(name.as_bytes()) }
    }

    fn add(&mut self, tier: Arc<Tier>) {
        match &tier.name[..] {
            DEFAULT => self.default = Some(tier),
            _ => _ = self.tiers.insert(Bytes::copy_from_slice(tier.name.as_bytes()), tier),
        }
    }
}
