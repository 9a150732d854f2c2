//! All namespaces of a client over their stores: started, served, reloaded and closed.

mod changes;
mod clusters;
mod logs;
mod near;
mod numbers;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use evanesce_client::{Client, Version};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::config::{ClusterConfig, Config, Mode, NamespaceConfig, NearConfig, StoreConfig, StoreLimits};
use crate::gate::Gate;
use crate::log::{DeadLetter, Log, LogError};
use crate::metrics::Gauge;
use crate::store::{Applied, Change, KeyChange, StoreError, StoreItem};
use crate::tier::{Drain, Tier, TierCounts};
use changes::check_same_log;
pub use clusters::{ClusterState, Clusters, Reach, Route};
use clusters::{Home, home};
use logs::{Place, check_left_logs, drain_to_its_end, open_log};
pub use numbers::{Number, Owner};

/// What keys of no other namespace have.
const DEFAULT: &str = "default";

/// Longest key, as in memcached.
const KEY_BYTES_MAX: usize = 250;

/// Between two looks whether the logs are empty, at the end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long tasks that drain logs take to end: as long as a lot takes to be read.
const DRAINS_END_MAX: Duration = Duration::from_secs(5);

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

/// The tier of one client, or of one for each of some clusters.
pub struct Persister {
    own: Arc<Client>,
    state: ArcSwap<State>,
    /// Held while it changes.
    changing: Mutex<()>,
    /// What metrics were set that may go down. Lock order: alone.
    pub(crate) gauges: parking_lot::Mutex<BTreeSet<Gauge>>,
    /// Whether it ends, with all that is on its way from logs to stores.
    closes: watch::Sender<bool>,
}

#[derive(Default, Clone)]
struct State {
    /// By namespace.
    routes: HashMap<Bytes, Route>,
    /// That of the keys of no other.
    default: Route,
    others: BTreeMap<String, Reach>,
    clusters: BTreeMap<String, ClusterConfig>,
    /// The clusters that namespaces name.
    named_by: BTreeMap<String, String>,
    /// The near caches of namespaces, each in its client: they stay as they were made.
    near: BTreeMap<String, (NearConfig, Weak<Client>)>,
    stores: BTreeMap<String, Store>,
    drains: BTreeMap<String, Arc<Drain>>,
}

#[derive(Clone)]
struct Store {
    written: toml::Table,
    limits: StoreLimits,
    gate: Arc<Gate>,
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
    pub async fn start(clusters: impl Into<Clusters>, config: Config) -> Result<Self, StartErrors> {
        let Clusters { own, others } = clusters.into();
        let (state, closes) = (ArcSwap::default(), watch::Sender::default());
        let (changing, gauges) = (Mutex::default(), parking_lot::Mutex::default());
        let persister = Self { own, state, changing, gauges, closes };
        persister.reload_over(others, config).await?;
        Ok(persister)
    }

    /// Puts another configuration in force, over the clusters that there were. Stores and logs that stay the same are kept; requests
    /// under way end as they began.
    ///
    /// # Errors
    ///
    /// What cannot be opened, or may not change while writes wait in a log. What was in force stays in force then.
    pub async fn reload(&self, config: Config) -> Result<(), StartErrors> {
        let others = self.state.load().others.clone();
        self.reload_over(others, config).await
    }

    /// The same over these clusters beside the own one: see [`Clusters::others`].
    ///
    /// # Errors
    ///
    /// Those of [`reload`](Self::reload), and clusters that `config` names and nobody tells of.
    pub async fn reload_over(
        &self,
        others: BTreeMap<String, Reach>,
        config: Config,
    ) -> Result<(), StartErrors> {
        let _changing = self.changing.lock().await;
        let before = self.state.load_full();
        let mut faults = Vec::new();
        before.check_logs_that_end(&config, &mut faults);
        check_left_logs(&config, &mut faults).await;
        let stores = open_stores(&before, &config, &mut faults).await;
        let clusters = config.clusters.clone();
        let mut next = State { stores, others, clusters, ..State::default() };
        for (name, namespace) in &config.namespaces {
            next.named_by.extend(namespace.cluster.iter().map(|cluster| (name.clone(), cluster.clone())));
            match self.next_route(&before, &next, name, namespace, &config).await {
                Ok(route) => next.add(name, route),
                Err(fault) => faults.extend(fault),
            }
        }
        self.check_near(&before, &next, &config, &mut faults);
        if faults.is_empty() {
            // Only now: what is not put in force has no log.
            next.claim_logs(&mut faults);
        }
        if !faults.is_empty() {
            return Err(StartErrors(faults));
        }
        let drain = |tier: &Arc<Tier>| (tier.name.clone(), Arc::new(Drain::start(tier, &self.closes)));
        next.drains = next.all().map(drain).collect();
        self.keep_near(&before, &mut next, &config);
        let ended = before.drains_that_end(&next);
        self.state.store(Arc::new(next));
        // Requests under way may have written to them since nothing waited there.
        for (log, drain) in ended {
            drain_to_its_end(log, drain).await;
        }
        Ok(())
    }

    /// Where the keys of a namespace are served; no fault in the error where its store is one already.
    async fn next_route(
        &self,
        before: &State,
        next: &State,
        name: &str,
        namespace: &NamespaceConfig,
        config: &Config,
    ) -> Result<Route, Option<String>> {
        let client = match home(name, namespace, config, &next.others)? {
            Home::Unreached(why) => return Ok(Route::Nowhere(why)),
            Home::Own if namespace.mode == Mode::None => return Ok(Route::Own),
            Home::Other(client) if namespace.mode == Mode::None => {
                return Ok(Route::Other(Arc::clone(client)));
            }
            Home::Own => &self.own,
            Home::Other(client) => client,
        };
        let store = namespace.store.as_ref().and_then(|store| next.stores.get(store)).ok_or(None)?;
        let log_dir = config.log_dir.as_deref();
        Ok(Route::Tier(tier(before, client, store, name, namespace, log_dir).await?))
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
        let change = KeyChange { key, version: self.own.stamp().as_u64(), change };
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
        self.closes.send_replace(true);
        // Their logs are free to be opened again then.
        let _ = timeout(DRAINS_END_MAX, self.closes.closed()).await;
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
        self.routes.values().chain([&self.default]).filter_map(Route::tier)
    }

    fn route(&self, name: &str) -> Option<&Route> {
        if name == DEFAULT { Some(&self.default) } else { self.routes.get(name.as_bytes()) }
    }

    fn named(&self, name: &str) -> Option<&Arc<Tier>> {
        self.route(name)?.tier()
    }

    fn add(&mut self, name: &str, route: Route) {
        match name {
            DEFAULT => self.default = route,
            _ => _ = self.routes.insert(Bytes::copy_from_slice(name.as_bytes()), route),
        }
    }
}

/// The tier of a namespace over a store that is open.
async fn tier(
    before: &State,
    client: &Arc<Client>,
    store: &Store,
    name: &str,
    config: &NamespaceConfig,
    log_dir: Option<&Path>,
) -> Result<Arc<Tier>, String> {
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
    if let Some(newest) = log.as_ref().and_then(|log| Version::from_u64(log.newest_version()?)) {
        // The clock may have been set back since: what is written now is not to be older than what waits.
        client.stamp_above(newest);
    }
    let counts = old.map_or_else(|| Arc::new(TierCounts::default()), |old| Arc::clone(&old.counts));
    Ok(Arc::new(Tier::new(name, config.clone(), Arc::clone(client), gate, log, counts)))
}
