//! Namespaces over stores, with clients of real nodes in two zones.

mod behind;
mod decisions;
mod many;
mod reload;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use evanesce_client::{Client, ClientBuilder, StaticNodes, Ttl};
use evanesce_node::{Node, NodeConfig, RunningNode};
use evanesce_persister::stores::StoreSettings;
use evanesce_persister::stores::memory::Memory;
use evanesce_persister::{
    Abilities, BackingStore, Change, Config, Decided, FlushPolicy, KeyChange, Loaded, LogConfig, Mode,
    NamespaceConfig, Outcome, Persister, Step, StoreConfig, StoreError, StoreItem, StoreLimits, Tier,
    failed_all,
};
use futures_util::future::{BoxFuture, join_all};
use tokio::time::{Instant, sleep, timeout};

/// Longest that any step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store in memory that counts, can be slow, and can be down.
#[derive(Debug, Default)]
struct Faulty {
    items: Memory,
    loads: AtomicUsize,
    keys_loaded: AtomicUsize,
    writes: AtomicUsize,
    down: AtomicBool,
    refuses: AtomicBool,
    slow_ms: AtomicUsize,
}

impl Faulty {
    async fn fault(&self) -> Option<StoreError> {
        sleep(Duration::from_millis(self.slow_ms.load(Ordering::SeqCst) as u64)).await;
        self.down.load(Ordering::SeqCst).then(|| StoreError::transient("the store is down"))
    }

    async fn put(&self, key: &str, value: &str) {
        let item = StoreItem {
            value: Bytes::copy_from_slice(value.as_bytes()),
            flags: 5,
            expires_at: None,
            version: None,
        };
        let change =
            KeyChange { key: Bytes::copy_from_slice(key.as_bytes()), version: 1, change: Change::Put(item) };
        self.items.write(&[change], Instant::now()).await.remove(0).expect("it is in memory");
    }

    async fn value(&self, key: &str) -> Option<Bytes> {
        let loaded = self.items.load(&[Bytes::copy_from_slice(key.as_bytes())], Instant::now()).await;
        loaded.into_iter().next()?.expect("it is in memory").map(|item| item.value)
    }
}

impl BackingStore for Faulty {
    fn kind(&self) -> &'static str {
        "faulty"
    }

    fn abilities(&self) -> Abilities {
        self.items.abilities()
    }

    fn load<'a>(&'a self, keys: &'a [Bytes], deadline: Instant) -> BoxFuture<'a, Vec<Loaded>> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.keys_loaded.fetch_add(keys.len(), Ordering::SeqCst);
        Box::pin(async move {
            match self.fault().await {
                Some(error) => failed_all(keys.len(), &error),
                None => self.items.load(keys, deadline).await,
            }
        })
    }

    fn write<'a>(&'a self, changes: &'a [KeyChange], deadline: Instant) -> BoxFuture<'a, Vec<Outcome>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            if self.refuses.load(Ordering::SeqCst) {
                return failed_all(changes.len(), &StoreError::permanent("it does not like it"));
            }
            match self.fault().await {
                Some(error) => failed_all(changes.len(), &error),
                None => self.items.write(changes, deadline).await,
            }
        })
    }

    fn check(&self, _deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { self.fault().await.map_or(Ok(()), Err) })
    }
}

#[derive(Debug)]
struct Given(Arc<Faulty>);

impl StoreSettings for Given {
    fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn BackingStore>, StoreError>> {
        Box::pin(async { Ok(Arc::clone(&self.0) as Arc<dyn BackingStore>) })
    }
}

/// Two zones of a node each, a store, and as many gateways as a test makes.
struct World {
    nodes: Vec<RunningNode>,
    store: Arc<Faulty>,
    directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let mut nodes = Vec::new();
        for zone in ["a", "b"] {
            let config = NodeConfig {
                zone: zone.to_owned(),
                group: zone.to_owned(),
                name: format!("{zone}1"),
                ..NodeConfig::default()
            };
            nodes.push(Node::start(config).await.expect("a node"));
        }
        Self { nodes, store: Arc::default(), directory: tempfile::tempdir().expect("a directory") }
    }

    fn address(&self, zone: usize) -> SocketAddr {
        self.nodes[zone].memcached_addr()
    }

    async fn client(&self) -> Client {
        let (a, b) = (self.address(0), self.address(1));
        let nodes: StaticNodes = format!("a=a1/{a};b=b1/{b}").parse().expect("sound nodes");
        patient(nodes).zone("a").connect().await.expect("the nodes are there")
    }

    fn config(&self, gateway: &str, namespace: &NamespaceConfig, limits: StoreLimits) -> Config {
        let store = StoreConfig {
            settings: Arc::new(Given(Arc::clone(&self.store))),
            written: toml::Table::new(),
            limits,
        };
        let namespace = NamespaceConfig { store: Some("main".to_owned()), ..namespace.clone() };
        Config {
            stores: BTreeMap::from([("main".to_owned(), store)]),
            namespaces: BTreeMap::from([("user".to_owned(), namespace)]),
            log_dir: Some(self.directory.path().join(gateway)),
            ..Config::default()
        }
    }

    async fn gateway(&self, name: &str, namespace: NamespaceConfig) -> Gateway {
        self.gateway_with(name, namespace, StoreLimits::default()).await
    }

    async fn gateway_with(&self, name: &str, namespace: NamespaceConfig, limits: StoreLimits) -> Gateway {
        let client = self.client().await;
        let config = self.config(name, &namespace, limits);
        let persister = Persister::start(client.clone(), config).await.expect("it starts");
        Gateway { client, persister }
    }

    /// What the node of a zone has of a key, with its version.
    async fn in_zone(&self, zone: usize, key: &str) -> Option<(Bytes, u64)> {
        let nodes: StaticNodes = format!("z=n/{}", self.address(zone)).parse().expect("a sound node");
        let client = patient(nodes).zone("z").connect().await.expect("the node is there");
        let item = client.raw().get_item(key).await.expect("the node answers")?;
        Some((item.value, item.version.map_or(0, |version| version.as_u64())))
    }
}

/// These machines are slow, and no test here is about a slow node.
fn patient(nodes: StaticNodes) -> ClientBuilder {
    let client = Client::builder("HOME").nodes(nodes);
    client.read_timeout(PATIENCE).read_attempt_timeout(PATIENCE).write_timeout(PATIENCE)
}

struct Gateway {
    client: Client,
    persister: Persister,
}

impl Gateway {
    fn tier(&self) -> Arc<Tier> {
        self.persister.tier_of(b"user:1").expect("it is configured")
    }

    async fn get(&self, key: &str) -> Option<Bytes> {
        let found = self.tier().get(key.as_bytes()).await;
        found.expect("it can be read").map(|item| item.value)
    }

    async fn set(&self, key: &str, value: impl Into<Bytes>) {
        self.tier().set(key.as_bytes(), value.into(), 7, Ttl::Never).await.expect("it can be written");
    }

    fn number(&self, name: &str) -> u64 {
        let numbers = self.persister.numbers();
        numbers.into_iter().find(|number| number.name == name).expect("it is counted").value
    }
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let wait = async {
        while !holds().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

fn mode(mode: Mode) -> NamespaceConfig {
    NamespaceConfig { mode, ..NamespaceConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_in_the_store_alone_is_loaded_once_by_two_thousand_readers_and_is_in_every_zone_then() {
    let world = World::new().await;
    world.store.put("user:1", "Ada").await;
    world.store.slow_ms.store(100, Ordering::SeqCst);
    let gateways = [
        world.gateway("g1", mode(Mode::ReadThrough)).await,
        world.gateway("g2", mode(Mode::ReadThrough)).await,
    ];
    let readers = (0..2_000).map(|n| gateways[n % 2].get("user:1"));
    assert!(join_all(readers).await.iter().all(|value| value.as_deref() == Some(b"Ada")));
    assert_eq!(world.store.keys_loaded.load(Ordering::SeqCst), 1, "one load for all");
    for zone in 0..2 {
        let there = || async { world.in_zone(zone, "user:1").await.is_some() };
        eventually("it is in every zone", there).await;
    }
    let loads: u64 = gateways.iter().map(|gateway| gateway.number("loads")).sum();
    let coalesced: u64 = gateways.iter().map(|gateway| gateway.number("coalesced")).sum();
    assert!(loads == 1 && coalesced > 0, "{loads} loads, {coalesced} coalesced");
    assert!(
        gateways[0].persister.tier_of(b"other:1").is_none()
            && gateways[0].persister.tier_of(b"user").is_none()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absent_key_is_remembered_and_a_set_makes_it_present() {
    let world = World::new().await;
    let gateway = world.gateway("g", mode(Mode::WriteThrough)).await;
    for _ in 0..5 {
        assert_eq!(gateway.get("user:none").await, None);
    }
    assert_eq!(world.store.keys_loaded.load(Ordering::SeqCst), 1);
    assert_eq!(gateway.number("negative_hits"), 4);
    gateway.set("user:none", "now").await;
    assert_eq!(gateway.get("user:none").await, Some("now".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_through_gives_store_and_cluster_one_version() {
    let world = World::new().await;
    let gateway = world.gateway("g", mode(Mode::WriteThrough)).await;
    gateway.set("user:1", "Ada").await;
    let stored = world.store.items.load(&["user:1".into()], Instant::now()).await.remove(0);
    let stored = stored.expect("it is in memory").expect("it was written");
    let (value, version) = world.in_zone(0, "user:1").await.expect("it was written");
    assert_eq!((&stored.value, stored.version, stored.flags), (&value, Some(version), 7));
    assert!(gateway.tier().delete(b"user:1").await.expect("it can be deleted"));
    assert_eq!((world.store.value("user:1").await, world.in_zone(0, "user:1").await), (None, None));
    assert_eq!(gateway.get("user:1").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_that_the_store_did_not_take_is_an_error_and_not_in_the_cluster() {
    let world = World::new().await;
    let gateway = world.gateway("g", mode(Mode::WriteThrough)).await;
    gateway.set("user:1", "before").await;
    world.store.down.store(true, Ordering::SeqCst);
    let refused = gateway.tier().set(b"user:1", "after".into(), 0, Ttl::Never).await;
    let refused = refused.expect_err("the store is down").to_string();
    assert_eq!(refused, "backing store: the store is down");
    assert_eq!(world.in_zone(0, "user:1").await, None, "it may be in the store: the next reader looks there");
    world.store.down.store(false, Ordering::SeqCst);
    assert_eq!(gateway.get("user:1").await, Some("before".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_behind_is_read_from_the_log_while_it_waits_and_then_is_in_the_store() {
    let world = World::new().await;
    let gateway = world.gateway("g", mode(Mode::WriteBehind)).await;
    world.store.put("user:1", "old").await;
    world.store.down.store(true, Ordering::SeqCst);
    gateway.set("user:1", "new").await;
    gateway.set("user:2", "two").await;
    gateway.tier().delete(b"user:3").await.expect("it can be deleted");
    // As if it was evicted.
    gateway.client.raw().delete("user:1").await.expect("it can be deleted");
    assert_eq!(gateway.get("user:1").await, Some("new".into()), "the log is asked before the store");
    assert_eq!(gateway.get("user:3").await, None);
    assert_eq!(gateway.number("log_waiting"), 3);
    world.store.down.store(false, Ordering::SeqCst);
    eventually("all goes down", || async { gateway.number("log_waiting") == 0 }).await;
    assert_eq!(world.store.value("user:1").await, Some("new".into()));
    assert_eq!(world.store.value("user:2").await, Some("two".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_that_write_the_same_keys_leave_the_same_newest_value_everywhere() {
    let world = World::new().await;
    let gateways = [
        world.gateway("g1", mode(Mode::WriteBehind)).await,
        world.gateway("g2", mode(Mode::WriteBehind)).await,
    ];
    let key = |n: usize| format!("user:{n}");
    for round in 0..3 {
        let mut all: Vec<_> = (0..2_000).collect();
        while !all.is_empty() {
            let some = all.split_off(all.len().saturating_sub(200));
            join_all(some.into_iter().map(|n| {
                let (gateway, key) = (&gateways[n % 2], key(n / 2));
                async move { gateway.set(&key, format!("{round} by {}", n % 2)).await }
            }))
            .await;
        }
    }
    for gateway in &gateways {
        eventually("all goes down", || async { gateway.number("log_waiting") == 0 }).await;
    }
    for n in 0..1_000 {
        let stored = world.store.items.load(&[key(n).into()], Instant::now()).await.remove(0);
        let stored = stored.expect("it is in memory").expect("it was written");
        assert!(stored.value.starts_with(b"2 by"), "{:?}", stored.value);
        for gateway in &gateways {
            assert_eq!(gateway.get(&key(n)).await.as_ref(), Some(&stored.value), "key {n}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_wait_again_after_a_start_with_the_store_down() {
    let world = World::new().await;
    world.store.down.store(true, Ordering::SeqCst);
    let first = world.gateway("g", mode(Mode::WriteBehind)).await;
    for n in 0..50 {
        first.set(&format!("user:{n}"), "v").await;
    }
    let left = first.persister.close(Instant::now()).await;
    assert_eq!(left, 50);
    drop(first);
    world.store.down.store(false, Ordering::SeqCst);
    let again = world.gateway("g", mode(Mode::WriteBehind)).await;
    eventually("all goes down", || async { again.number("log_waiting") == 0 }).await;
    assert_eq!(world.store.items.len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_that_the_store_will_never_take_is_a_dead_letter_until_an_operator_decides() {
    let world = World::new().await;
    let gateway = world.gateway("g", mode(Mode::WriteBehind)).await;
    world.store.refuses.store(true, Ordering::SeqCst);
    gateway.set("user:1", "v").await;
    gateway.set("user:2", "v").await;
    eventually("they are dead", || async { gateway.number("log_dead_letters") == 2 }).await;
    let letters = gateway.persister.dead_letters("user", 10, None).expect("there is a log");
    assert!(letters.iter().all(|letter| letter.error == "it does not like it"), "{letters:?}");
    assert!(gateway.persister.dead_letters("none", 10, None).is_err());
    world.store.refuses.store(false, Ordering::SeqCst);
    assert_eq!(gateway.persister.drop_dead_letters("user", Some(b"user:2")).await, Ok(1));
    assert_eq!(gateway.persister.retry_dead_letters("user", None), Ok(1));
    eventually("it goes down", || async { gateway.number("log_waiting") == 0 }).await;
    assert_eq!(world.store.items.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_log_refuses_and_loses_nothing_that_it_took() {
    let world = World::new().await;
    world.store.down.store(true, Ordering::SeqCst);
    let log = LogConfig {
        flush: FlushPolicy::Every(Duration::from_millis(100)),
        bytes_max: 20_000,
        retries_max: 1_000,
    };
    let gateway = world.gateway("g", NamespaceConfig { log, ..mode(Mode::WriteBehind) }).await;
    let mut taken = 0;
    let refused = loop {
        let key = format!("user:{taken}");
        match gateway.tier().set(key.as_bytes(), vec![b'v'; 1_000].into(), 0, Ttl::Never).await {
            Ok(_) => taken += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!(refused.contains("write-behind log is full") && taken >= 15, "{taken} taken, then {refused}");
    world.store.down.store(false, Ordering::SeqCst);
    eventually("all goes down", || async { gateway.number("log_waiting") == 0 }).await;
    assert_eq!(world.store.items.len(), taken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_that_is_down_fails_misses_fast_while_hits_and_stale_items_are_served() {
    let world = World::new().await;
    let namespace = NamespaceConfig {
        ttl: Duration::from_secs(1),
        stale: Duration::from_secs(600),
        jitter: 0.0,
        ..mode(Mode::ReadThrough)
    };
    let gateway = world.gateway("g", namespace).await;
    world.store.put("user:1", "Ada").await;
    assert_eq!(gateway.get("user:1").await, Some("Ada".into()));
    world.store.down.store(true, Ordering::SeqCst);
    eventually("it is stale", || async {
        assert_eq!(gateway.get("user:1").await, Some("Ada".into()), "it is served all the while");
        gateway.number("stale_served") > 0
    })
    .await;
    eventually("the breaker opens", || async {
        let _ = gateway.tier().get(b"user:2").await;
        gateway.number("breaker_is_open") == 1
    })
    .await;
    assert_eq!(gateway.get("user:1").await, Some("Ada".into()));
    world.store.down.store(false, Ordering::SeqCst);
    eventually("the store is asked again", || async { gateway.tier().get(b"user:3").await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_misses_are_answered_or_refused_in_time_and_the_store_sees_its_rate() {
    const KEYS: usize = 20_000;
    let world = World::new().await;
    world.store.slow_ms.store(5, Ordering::SeqCst);
    let limits = StoreLimits { rate_max: Some(1_000), concurrency_max: 4, ..StoreLimits::default() };
    let gateway = world.gateway_with("g", mode(Mode::ReadThrough), limits).await;
    let begun = Instant::now();
    let (mut absent, mut refused) = (0, 0);
    for some in (0..KEYS).collect::<Vec<_>>().chunks(5_000) {
        let reads = some.iter().map(|n| {
            let tier = gateway.tier();
            async move { tier.get(format!("user:cold {n}").as_bytes()).await }
        });
        for read in timeout(PATIENCE, join_all(reads)).await.expect("every one is answered") {
            match read {
                Ok(found) => absent += usize::from(found.is_none()),
                Err(_) => refused += 1,
            }
        }
    }
    assert_eq!(absent + refused, KEYS);
    assert!(refused > 0 && absent > 0, "{absent} absent, {refused} refused");
    let seen = world.store.keys_loaded.load(Ordering::SeqCst) as f64;
    let most = begun.elapsed().as_secs_f64() * 1_000.0 + 100.0;
    assert!(seen <= most, "the store was asked for {seen} keys, {most} at most");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_keeps_what_is_the_same_and_refuses_what_would_strand_writes() {
    let world = World::new().await;
    let gateway = world.gateway("g", mode(Mode::WriteBehind)).await;
    world.store.down.store(true, Ordering::SeqCst);
    gateway.set("user:1", "v").await;
    let reload = |config| gateway.persister.reload(config);
    let limits = StoreLimits::default();
    let refused = reload(world.config("g", &mode(Mode::ReadThrough), limits)).await;
    assert!(refused.expect_err("a write waits").to_string().contains("1 writes wait in its log"));
    let longer = NamespaceConfig { ttl: Duration::from_secs(60), ..mode(Mode::WriteBehind) };
    reload(world.config("g", &longer, StoreLimits { concurrency_max: 3, ..limits }))
        .await
        .expect("it may change");
    assert_eq!(gateway.number("log_waiting"), 1);
    let mut elsewhere = world.config("g", &longer, limits);
    elsewhere
        .stores
        .values_mut()
        .for_each(|store| _ = store.written.insert("path".to_owned(), "other".into()));
    assert!(
        reload(elsewhere).await.expect_err("a write waits").to_string().contains("1 writes wait in its log")
    );
    world.store.down.store(false, Ordering::SeqCst);
    eventually("it goes down", || async { gateway.number("log_waiting") == 0 }).await;
    let mut smaller = mode(Mode::WriteBehind);
    smaller.log.bytes_max = 8 << 20;
    let refused = reload(world.config("g", &smaller, limits)).await.expect_err("the log is open");
    assert!(refused.to_string().contains("change at a restart"), "{refused}");
    reload(world.config("g", &mode(Mode::ReadThrough), limits)).await.expect("nothing waits");
    assert_eq!(gateway.tier().mode(), Mode::ReadThrough);
    reload(Config::default()).await.expect("everything may end");
    assert!(gateway.persister.tier_of(b"user:1").is_none());
}
