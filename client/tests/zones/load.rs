//! Loading what is not there: once, and never over something newer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use evanesce_client::{Client, LatchPolicy, LoadError};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, PATIENCE, eventually};

/// Counts how often it is called, and says so.
#[derive(Clone, Default)]
struct Database {
    loads: Arc<AtomicUsize>,
    /// When there, a load waits for it.
    gate: Option<Arc<Notify>>,
}

impl Database {
    async fn load(self, _key: Bytes) -> Result<Option<Bytes>, io::Error> {
        let load = self.loads.fetch_add(1, Ordering::SeqCst) + 1;
        match &self.gate {
            Some(gate) => gate.notified().await,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        Ok(Some(format!("load {load}").into()))
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }
}

async fn load(cache: &Client, key: &str, database: &Database) -> Option<Bytes> {
    let database = database.clone();
    let found = cache.raw().get_or_load(key, |key| database.load(key)).timeout(PATIENCE).await;
    found.expect("it is loaded")
}

#[tokio::test]
async fn hundred_callers_of_four_clients_load_once() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let database = Database::default();
    let mut callers = JoinSet::new();
    for zone in ["a", "b", "c", "a"] {
        let cache = cluster.client(zone).await;
        for _ in 0..25 {
            let (cache, database) = (cache.clone(), database.clone());
            callers.spawn(async move { load(&cache, "k", &database).await });
        }
    }
    let found = callers.join_all().await;
    assert!(found.iter().all(|found| *found == Some("load 1".into())), "{found:?}");
    assert_eq!(database.loads(), 1);
    for zone in ["a", "b", "c"] {
        let alone = cluster.inside(zone).await;
        eventually("the fill", async || alone.get("k").await.expect("it answers")).await;
    }
}

#[tokio::test]
async fn delete_while_it_is_loaded_wins() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let (cache, other) = (cluster.client("a").await, cluster.client("b").await);
    let gate = Arc::new(Notify::new());
    let database = Database { gate: Some(Arc::clone(&gate)), ..Database::default() };
    let loading = tokio::spawn({
        let (cache, database) = (cache.clone(), database.clone());
        async move { load(&cache, "k", &database).await }
    });
    eventually("the load", async || (database.loads() == 1).then_some(())).await;
    other.delete("k").latch(LatchPolicy::All).await.expect("all zones are well");
    gate.notify_one();
    assert_eq!(loading.await.expect("it does not panic"), Some("load 1".into()));
    cache.set("later", "v").latch(LatchPolicy::All).await.expect("the fill was sent before");
    assert_eq!(cache.get("k").await, Ok(None));
}

#[tokio::test]
async fn caller_after_a_delete_does_not_join_a_load_from_before() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    let gate = Arc::new(Notify::new());
    let old = Database { gate: Some(Arc::clone(&gate)), ..Database::default() };
    let loading = tokio::spawn({
        let (cache, old) = (cache.clone(), old.clone());
        async move { load(&cache, "k", &old).await }
    });
    eventually("the load", async || (old.loads() == 1).then_some(())).await;
    cache.delete("k").await.expect("the zone is well");
    let new = Database::default();
    let later = tokio::spawn({
        let (cache, new) = (cache.clone(), new.clone());
        async move { load(&cache, "k", &new).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.notify_one();
    loading.await.expect("it does not panic");
    later.await.expect("it does not panic");
    assert_eq!(new.loads(), 1);
}

/// What was seen in the stampede suite: another process deleted the key in the middle of a load, and callers that came
/// after it joined that load and were given what it had found before.
#[tokio::test]
async fn caller_after_a_delete_elsewhere_loads_anew() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let (cache, other) = (cluster.client("a").await, cluster.client("b").await);
    let gate = Arc::new(Notify::new());
    let old = Database { gate: Some(Arc::clone(&gate)), ..Database::default() };
    let ask = |database: &Database| {
        let (cache, database) = (cache.clone(), database.clone());
        tokio::spawn(async move { load(&cache, "k", &database).await })
    };
    let before = ask(&old);
    eventually("the load", async || (old.loads() == 1).then_some(())).await;
    other.delete("k").latch(LatchPolicy::All).await.expect("all zones are well");
    let new = Database { loads: Arc::new(AtomicUsize::new(6)), gate: None };
    let after = ask(&new);
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.notify_one();
    assert_eq!(before.await.expect("it does not panic"), Some("load 1".into()));
    assert_eq!(after.await.expect("it does not panic"), Some("load 7".into()));
}

#[tokio::test]
async fn stale_item_is_served_and_loaded_anew_by_one() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    let database = Database::default();
    let stale = Duration::from_secs(100);
    cache.set("k", "old").ttl(Duration::from_secs(50)).latch(LatchPolicy::All).await.expect("well");
    let ask = async || {
        let database = database.clone();
        let namespace = cache.raw().clone().ttl(Duration::from_secs(1000));
        let found = namespace.get_or_load("k", |key| database.load(key)).stale(stale).await;
        found.expect("it answers").expect("it is there")
    };
    for _ in 0..20 {
        assert_eq!(ask().await, "old", "nobody waits");
    }
    eventually("the new one", async || (ask().await == "load 1").then_some(())).await;
    assert_eq!(database.loads(), 1);
    let left = cache.get_item("k").await.expect("it answers").expect("a hit").ttl.expect("it expires");
    assert!((1000..=1101).contains(&left.as_secs()), "up to a tenth less, and the stale time: {left:?}");
}

#[tokio::test]
async fn absent_key_is_remembered_and_a_miss_to_others() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    let loads = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let loads = Arc::clone(&loads);
        let loader = async move |_| {
            loads.fetch_add(1, Ordering::SeqCst);
            Ok::<_, io::Error>(None)
        };
        let found = cache.raw().get_or_load("k", loader).absent_ttl(Duration::from_secs(60)).await;
        assert_eq!(found.expect("it answers"), None);
        eventually("the mark", async || {
            let at_node = cluster.inside("a").await;
            (at_node.add("k", "x").await.expect("well") == evanesce_client::StoreOutcome::NotStored)
                .then_some(())
        })
        .await;
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert_eq!(cache.get("k").await, Ok(None));
    assert_eq!(cache.get_many(["k"]).await.expect("good keys").misses.len(), 1);
}

#[tokio::test]
async fn failure_and_panic_of_a_loader_are_told_and_the_next_one_loads() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    let fails = async |_: Bytes| Err(io::Error::other("no database"));
    let error = cache.raw().get_or_load("k", fails).await.expect_err("it fails");
    assert!(matches!(error, LoadError::Loader(_)), "{error}");
    assert!(error.to_string().contains("no database"));
    let panics = async |_: Bytes| -> Result<Option<Bytes>, io::Error> { panic!("as it should") };
    let error = cache.raw().get_or_load("k", panics).await.expect_err("it panics");
    assert!(matches!(error, LoadError::LoaderPanicked), "{error}");
    let slow = async |_: Bytes| {
        tokio::time::sleep(PATIENCE).await;
        Ok::<_, io::Error>(None)
    };
    let limit = Duration::from_millis(20);
    let error = cache.raw().get_or_load("k", slow).load_timeout(limit).await.expect_err("it is too slow");
    assert!(matches!(error, LoadError::Timeout), "{error}");
    assert_eq!(load(&cache, "k", &Database::default()).await, Some("load 1".into()));
}

#[tokio::test]
async fn without_any_zone_it_is_loaded_all_the_same() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    cluster.kill("a").await;
    cluster.kill("b").await;
    assert_eq!(load(&cache, "k", &Database::default()).await, Some("load 1".into()));
}

#[tokio::test]
async fn typed_value_is_loaded_and_read_back() {
    let cluster = Cluster::start(&["a"]).await;
    let users = cluster.client("a").await.namespace("user").typed::<(String, u32)>();
    let ada = ("Ada".to_owned(), 36);
    for _ in 0..2 {
        let loaded = ada.clone();
        let loader = async move |_| Ok::<_, io::Error>(Some(loaded));
        let found = users.get_or_load("42", loader).await.expect("it answers");
        assert_eq!(found, Some(ada.clone()));
        eventually("the fill", async || users.get("42").await.expect("it answers")).await;
    }
}

/// What was seen in review: a load without a lease was stamped when it ended, and undid deletes made meanwhile.
#[tokio::test]
async fn delete_wins_over_a_load_that_no_zone_granted() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    for zone in ["a", "b"] {
        cluster.kill(zone).await;
    }
    let gate = Arc::new(Notify::new());
    let database = Database { gate: Some(Arc::clone(&gate)), ..Database::default() };
    let loading = tokio::spawn({
        let (cache, database) = (cache.clone(), database.clone());
        async move { load(&cache, "k", &database).await }
    });
    eventually("the load", async || (database.loads() == 1).then_some(())).await;
    for zone in ["a", "b"] {
        cluster.start_again(zone).await;
    }
    let all = async |key| cache.set(key, "v").latch(LatchPolicy::All).await.ok();
    eventually("the zones are back", async || all("any").await).await;
    let other = cluster.client("b").await;
    other.delete("k").latch(LatchPolicy::All).await.expect("all zones are well");
    gate.notify_one();
    assert_eq!(loading.await.expect("it does not panic"), Some("load 1".into()));
    for key in ["any", "later", "last"] {
        all(key).await.expect("all zones are well, and the fill was sent before");
    }
    assert_eq!(cache.get("k").await, Ok(None));
}

/// What was seen in review: a loader that panicked before it gave a future took the load with it, and its lease stayed.
#[tokio::test]
async fn loader_that_panics_at_once_is_told_like_any_other() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    let panics =
        |_: Bytes| -> std::future::Ready<Result<Option<Bytes>, io::Error>> { panic!("as it should") };
    let error = cache.raw().get_or_load("k", panics).await.expect_err("it panics");
    assert!(matches!(error, LoadError::LoaderPanicked), "{error}");
    assert_eq!(load(&cache, "k", &Database::default()).await, Some("load 1".into()));
}

#[tokio::test]
async fn item_near_its_end_is_served_and_loaded_anew() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    let database = Database::default();
    cache.set("k", "old").ttl(Duration::from_secs(100)).latch(LatchPolicy::All).await.expect("well");
    let ask = async |load_times: f64| {
        let database = database.clone();
        let namespace = cache.raw().clone().ttl(Duration::from_secs(1000));
        let found = namespace.get_or_load("k", |key| database.load(key)).early(load_times).await;
        found.expect("it answers").expect("it is there")
    };
    assert_eq!(load(&cache, "other", &database).await, Some("load 1".into()), "now its time is known");
    for _ in 0..20 {
        assert_eq!(ask(0.0).await, "old");
    }
    assert_eq!(database.loads(), 1);
    // An hour ahead is as good as at its end.
    assert_eq!(ask(1e6).await, "old", "nobody waits");
    eventually("the new one", async || (ask(0.0).await == "load 2").then_some(())).await;
    assert_eq!(database.loads(), 2);
}

/// The home zone grants the lease, and its replies come too late to be waited for.
#[tokio::test]
async fn lease_of_which_no_reply_comes_in_time_holds_nobody_up() {
    let mut cluster = Cluster::start(&["a"]).await;
    for name in ["n1", "n2"] {
        cluster.with_distance("a", name, Duration::from_millis(300)).await;
    }
    let cache = cluster.client("a").await;
    let begun = tokio::time::Instant::now();
    assert_eq!(load(&cache, "k", &Database::default()).await, Some("load 1".into()));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
