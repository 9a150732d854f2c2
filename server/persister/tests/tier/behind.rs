//! Writes that wait in a log, beside other gateways.

use std::fs::File;
use std::path::Path;

use evanesce_client::{LoadedItem, Version};

use super::*;

/// What appends `+`, and leaves what is absent.
async fn append(gateway: &Gateway, key: &str) -> Decided<&'static str> {
    let tier = gateway.tier();
    let appended = tier.decide(key.as_bytes(), |item| {
        let Some(item) = item else { return Step::Leave("absent") };
        Step::Change { value: [&item.value[..], b"+"].concat().into(), flags: item.flags }
    });
    appended.await.expect("it is decided")
}

async fn drained(gateway: &Gateway) {
    eventually("all goes down", || async { gateway.number("log_waiting") == 0 }).await;
}

/// What the cluster has of a key, that it is known to be absent included.
async fn shown(gateway: &Gateway, key: &str) -> Option<(Bytes, Version)> {
    let item = gateway.client.raw().get_item_or_absent(key).await.expect("the nodes answer")?;
    Some((item.value, item.version.expect("nodes keep versions")))
}

/// What was seen: of a key that was counted by two gateways in turns, behind a store that was slow, two counts were lost: the drain of
/// an older write deleted the newer one of the other gateway from the cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_of_an_old_write_leaves_newer_writes_and_no_older_loads() {
    let world = World::new().await;
    let gateway = world.gateway("a", mode(Mode::WriteBehind)).await;
    world.store.down.store(true, Ordering::SeqCst);
    for key in ["user:written", "user:loaded"] {
        gateway.set(key, "old").await;
    }
    let waits = || async { gateway.number("log_oldest_age_ms") > 6_000 };
    eventually("they wait for longer than a load looks back", waits).await;
    // Another gateway's, whose log has it.
    let raw = world.client().await.raw().clone();
    raw.set("user:written", "newer").await.expect("it is written");
    // As of one that waited for longer than loads yield for, and that an eviction left to be loaded.
    raw.delete("user:loaded")
        .version(version_of(&gateway, "user:loaded").await)
        .await
        .expect("it is deleted");
    let before = |_| async {
        let value = Bytes::from("from before");
        Ok::<_, StoreError>(Some(LoadedItem { value, flags: 0, ttl: None }))
    };
    let load = raw.get_item_or_load("user:loaded", before).ttl(Duration::from_secs(60));
    load.yields_to_writes_of(Duration::from_millis(1)).await.expect("it is loaded");
    let is_loaded =
        || async { shown(&gateway, "user:loaded").await.is_some_and(|(value, _)| value == "from before") };
    eventually("it is filled", is_loaded).await;
    world.store.down.store(false, Ordering::SeqCst);
    drained(&gateway).await;
    assert_eq!(shown(&gateway, "user:written").await.expect("it stays").0, "newer");
    assert_eq!(gateway.get("user:loaded").await, Some("old".into()));
}

async fn version_of(gateway: &Gateway, key: &str) -> Version {
    shown(gateway, key).await.expect("it is there").1
}

/// What was seen: a gateway's delete waited in its log, another loaded the store's old value, appended to it, and its version was
/// newer than the delete's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_that_waits_is_not_undone_by_a_decision_through_another_gateway() {
    let world = World::new().await;
    let (a, b) = (
        world.gateway("a", mode(Mode::WriteBehind)).await,
        world.gateway("b", mode(Mode::WriteBehind)).await,
    );
    for key in ["user:deleted", "user:touched"] {
        world.store.put(key, "v").await;
        assert_eq!(a.get(key).await, Some("v".into()));
    }
    world.store.refuses.store(true, Ordering::SeqCst);
    assert!(a.tier().delete(b"user:deleted").await.expect("the log takes it"));
    assert!(!a.tier().delete(b"user:deleted").await.expect("the log takes it"), "it is deleted already");
    let ends = |item: Option<&evanesce_client::Item>| match item {
        Some(item) => Step::Store { value: item.value.clone(), flags: 0, ttl: Ttl::At(1) },
        None => Step::Leave(()),
    };
    a.tier().decide(b"user:touched", ends).await.expect("the log takes it");
    for key in ["user:deleted", "user:touched"] {
        assert_eq!(append(&b, key).await, Decided::Left("absent"), "{key}");
        assert_eq!(b.get(key).await, None, "{key}");
    }
    eventually("they are dead", || async { a.number("log_dead_letters") == 2 }).await;
    world.store.refuses.store(false, Ordering::SeqCst);
    a.persister.retry_dead_letters("user", None).expect("there is a log");
    drained(&a).await;
    for key in ["user:deleted", "user:touched"] {
        assert_eq!((world.store.value(key).await, b.get(key).await), (None, None), "{key}");
    }
    a.set("user:deleted", "again").await;
    assert_eq!(b.get("user:deleted").await, Some("again".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newer_value_in_the_store_is_shown_over_a_write_that_waits_for_an_operator() {
    let world = World::new().await;
    let gateway = world.gateway("a", mode(Mode::WriteBehind)).await;
    world.store.refuses.store(true, Ordering::SeqCst);
    gateway.set("user:1", "ours").await;
    eventually("it is dead", || async { gateway.number("log_dead_letters") == 1 }).await;
    let ours = version_of(&gateway, "user:1").await;
    let item = StoreItem { value: "newer".into(), flags: 0, expires_at: None, version: None };
    let newer = KeyChange { key: "user:1".into(), version: ours.as_u64() + 1, change: Change::Put(item) };
    world.store.items.write(&[newer], Instant::now()).await.remove(0).expect("in memory");
    gateway.client.raw().delete("user:1").version(ours).await.expect("as if it was evicted");
    assert_eq!(gateway.get("user:1").await, Some("newer".into()));
}

/// What was seen: the store had a newer value than the one that was drained, and the cluster showed the drained one until it
/// expired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_does_not_go_on_showing_what_the_store_had_something_newer_than() {
    let world = World::new().await;
    let gateway = world.gateway("a", mode(Mode::WriteBehind)).await;
    world.store.refuses.store(true, Ordering::SeqCst);
    gateway.set("user:1", "ours").await;
    eventually("it is dead", || async { gateway.number("log_dead_letters") == 1 }).await;
    let version = version_of(&gateway, "user:1").await.as_u64() + 1;
    let item = StoreItem { value: "newer".into(), flags: 0, expires_at: None, version: None };
    let newer = KeyChange { key: "user:1".into(), version, change: Change::Put(item) };
    world.store.items.write(&[newer], Instant::now()).await.remove(0).expect("in memory");
    world.store.refuses.store(false, Ordering::SeqCst);
    gateway.persister.retry_dead_letters("user", None).expect("there is a log");
    drained(&gateway).await;
    assert_eq!(gateway.get("user:1").await, Some("newer".into()));
}

/// What was seen: a gateway whose log was full had the home zone decide, was refused by its log, and deleted what another gateway
/// had been told was written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decision_for_which_the_log_has_no_room_leaves_what_others_wrote() {
    let world = World::new().await;
    let log = LogConfig { flush: FlushPolicy::EveryWrite, bytes_max: 10_000, retries_max: 1_000 };
    let full = world.gateway("full", NamespaceConfig { log, ..mode(Mode::WriteBehind) }).await;
    let other = world.gateway("other", mode(Mode::WriteBehind)).await;
    world.store.down.store(true, Ordering::SeqCst);
    full.set("user:large", vec![b'v'; 9_500]).await;
    other.set("user:1", "theirs").await;
    let tier = full.tier();
    let refused = tier.decide(b"user:1", |item| {
        let flags = item.map_or(0, |item| item.flags);
        Step::<()>::Store { value: vec![b'v'; 1_000].into(), flags, ttl: Ttl::Never }
    });
    let refused = refused.await.expect_err("there is no room").to_string();
    assert!(refused.contains("write-behind log is full"), "{refused}");
    assert_eq!(shown(&full, "user:1").await.expect("it stays").0, "theirs");
}

/// A log's thread ends a moment after the log was closed or a start was refused, and until then has the lock.
async fn nobody_has(log: &Path) {
    let is_free = || async { File::open(log.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok()) };
    eventually("the log's thread has ended", is_free).await;
}

/// What was seen: after a start with another mode, without the namespace or over another store, acknowledged writes that waited went
/// nowhere, and nobody was told; or to the wrong store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_that_would_orphan_writes_that_wait_is_refused() {
    let world = World::new().await;
    world.store.down.store(true, Ordering::SeqCst);
    let gateway = world.gateway("g", mode(Mode::WriteBehind)).await;
    gateway.set("user:1", "v").await;
    assert_eq!(gateway.persister.close(Instant::now()).await, 1);
    drop(gateway);
    let log = world.directory.path().join("g").join("user");
    nobody_has(&log).await;
    let client = world.client().await;
    let config = |written| world.config("g", &mode(written), StoreLimits::default());
    let refused =
        async |config| Persister::start(client.clone(), config).await.expect_err("a write waits").to_string();
    let told = refused(config(Mode::WriteThrough)).await;
    assert!(
        told.contains("1 writes wait in") && told.contains("make it so, over the store it had"),
        "{told}"
    );
    let mut gone = config(Mode::WriteBehind);
    gone.namespaces.clear();
    assert!(refused(gone).await.contains("no namespace \"user\" is write-behind"));
    let mut elsewhere = config(Mode::WriteBehind);
    let place = |store: &mut StoreConfig| _ = store.written.insert("path".to_owned(), "other".into());
    elsewhere.stores.values_mut().for_each(place);
    nobody_has(&log).await;
    let told = refused(elsewhere).await;
    assert!(told.contains("for the store \"main\" with other settings than now"), "{told}");
    nobody_has(&log).await;
    world.store.down.store(false, Ordering::SeqCst);
    let mut login = config(Mode::WriteBehind);
    let password = |store: &mut StoreConfig| _ = store.written.insert("password".to_owned(), "new".into());
    login.stores.values_mut().for_each(password);
    let persister = Persister::start(client.clone(), login).await.expect("it is the same store");
    let again = Gateway { client: client.clone(), persister };
    drained(&again).await;
    assert_eq!(again.persister.close(Instant::now() + PATIENCE).await, 0);
    drop(again);
    nobody_has(&log).await;
    Persister::start(client.clone(), config(Mode::WriteThrough)).await.expect("nothing waits any more");
}

/// What was seen: a reload that was refused for one namespace had made the log of another that of a store which was not put in force:
/// what waited there was for the wrong store after a restart, or refused it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_that_is_refused_leaves_a_log_to_its_store() {
    let world = World::new().await;
    let gateway = world.gateway("g", mode(Mode::WriteBehind)).await;
    let config = || world.config("g", &mode(Mode::WriteBehind), StoreLimits::default());
    let mut elsewhere = config();
    let place = |store: &mut StoreConfig| _ = store.written.insert("path".to_owned(), "other".into());
    elsewhere.stores.values_mut().for_each(place);
    // No log: it cannot be read, and so is a fault.
    let left = world.directory.path().join("g/left/0000000000000001.log");
    std::fs::create_dir_all(&left).expect("it can be made");
    gateway.persister.reload(elsewhere).await.expect_err("there is a fault");
    std::fs::remove_dir_all(left.parent().expect("it has one")).expect("it can be removed");
    world.store.down.store(true, Ordering::SeqCst);
    gateway.set("user:1", "v").await;
    assert_eq!(gateway.persister.close(Instant::now()).await, 1);
    let client = gateway.client.clone();
    drop(gateway);
    Persister::start(client, config()).await.expect("it is the store it was");
}
