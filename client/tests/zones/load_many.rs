//! Loading many keys at once: each once, by as few calls as can be, and what one lacks is not another's error.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use evanesce_client::{Client, LatchPolicy, LoadError, LoadMany};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, PATIENCE, eventually};

/// Has a value for each key that does not begin with `no`, and remembers what it was asked for.
#[derive(Clone, Default)]
struct Database {
    calls: Arc<Mutex<Vec<Vec<Bytes>>>>,
    /// When there, a load waits for it.
    gate: Option<Arc<Notify>>,
    fails: bool,
}

impl Database {
    fn gated() -> (Self, Arc<Notify>) {
        let gate = Arc::new(Notify::new());
        (Self { gate: Some(Arc::clone(&gate)), ..Self::default() }, gate)
    }

    async fn load(self, keys: Vec<Bytes>) -> Result<BTreeMap<Bytes, Bytes>, io::Error> {
        self.calls.lock().push(keys.clone());
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        if self.fails {
            return Err(io::Error::other("no database"));
        }
        let present = keys.into_iter().filter(|key| !key.starts_with(b"no"));
        Ok(present.map(|key| (key.clone(), [b"loaded ", &key[..]].concat().into())).collect())
    }

    /// Each call's keys, sorted.
    fn calls(&self) -> Vec<Vec<Bytes>> {
        let mut calls = self.calls.lock().clone();
        calls.iter_mut().for_each(|keys| keys.sort());
        calls
    }
}

async fn load(cache: &Client, keys: &[&str], database: &Database) -> LoadMany<Bytes> {
    let database = database.clone();
    let operation = cache.raw().get_or_load_many(keys, move |keys| database.clone().load(keys));
    operation.absent_ttl(Duration::from_secs(600)).timeout(PATIENCE).await.expect("good keys")
}

fn hits(found: &LoadMany<Bytes>) -> Vec<(&str, &str)> {
    let text = |bytes| std::str::from_utf8(bytes).expect("text");
    found.hits.iter().map(|(key, value)| (text(key), text(value))).collect()
}

/// Until all zones have what was loaded.
async fn stored(cluster: &Cluster, zone: &str, keys: &[&str]) {
    let alone = cluster.inside(zone).await;
    for key in keys {
        let is_there = async || (!alone.add(key, "x").await.expect("well").is_stored()).then_some(());
        eventually("the fill", is_there).await;
    }
}

#[tokio::test]
async fn missing_keys_are_loaded_by_one_call_and_told_apart() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let cache = cluster.client("a").await;
    cache.set("there", "stored").latch(LatchPolicy::All).await.expect("well");
    let database = Database::default();
    let keys = ["z", "there", "none", "a", "z"];
    let found = load(&cache, &keys, &database).await;
    assert_eq!(hits(&found), [("z", "loaded z"), ("there", "stored"), ("a", "loaded a"), ("z", "loaded z")]);
    assert_eq!(found.absent, ["none"]);
    assert!(found.is_complete());
    assert_eq!(database.calls(), [["a", "none", "z"]]);
    for zone in ["a", "b", "c"] {
        stored(&cluster, zone, &["a", "none", "z"]).await;
    }
    let again = load(&cache, &keys, &Database { fails: true, ..database.clone() }).await;
    assert_eq!(hits(&again), hits(&found), "nothing is left to load");
    assert_eq!(again.absent, ["none"]);
}

#[tokio::test]
async fn each_key_is_loaded_once_by_many_callers_of_many_clients() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let (database, gate) = Database::gated();
    let mut callers = JoinSet::new();
    for zone in ["a", "b", "c", "a"] {
        let cache = cluster.client(zone).await;
        for first in 0..5 {
            let (cache, database) = (cache.clone(), database.clone());
            callers.spawn(async move {
                let keys: Vec<String> = (first..first + 20).map(|key| format!("k{key}")).collect();
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                load(&cache, &keys, &database).await.hits.len()
            });
        }
    }
    let opening = tokio::spawn(async move {
        loop {
            gate.notify_waiters();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(callers.join_all().await.into_iter().all(|hits| hits == 20));
    opening.abort();
    let mut loaded = database.calls().concat();
    loaded.sort();
    let mut expected: Vec<Bytes> = (0..24).map(|key| format!("k{key}").into()).collect();
    expected.sort();
    assert_eq!(loaded, expected, "each once");
}

#[tokio::test]
async fn failure_leaves_what_was_found() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    cache.set("there", "stored").latch(LatchPolicy::All).await.expect("well");
    let fails = Database { fails: true, ..Database::default() };
    let found = load(&cache, &["lost", "there"], &fails).await;
    assert_eq!(hits(&found), [("there", "stored")]);
    assert!(found.absent.is_empty() && !found.is_complete());
    let (key, error) = &found.failed[0];
    assert!(key == "lost" && matches!(error, LoadError::Loader(_)), "{error}");
    let found = load(&cache, &["lost"], &Database::default()).await;
    assert_eq!(hits(&found), [("lost", "loaded lost")], "the next one loads");
}

#[tokio::test]
async fn key_that_another_client_loads_holds_up_no_other() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let (cache, other) = (cluster.client("a").await, cluster.client("b").await);
    let (elsewhere, gate) = Database::gated();
    let loading = tokio::spawn({
        let elsewhere = elsewhere.clone();
        async move { load(&other, &["slow"], &elsewhere).await.hits.len() }
    });
    eventually("the load there", async || (elsewhere.calls().len() == 1).then_some(())).await;
    let here = Database::default();
    let both = tokio::spawn({
        let here = here.clone();
        async move { load(&cache, &["slow", "quick"], &here).await }
    });
    eventually("the load here", async || (here.calls() == [["quick"]]).then_some(())).await;
    gate.notify_one();
    let found = both.await.expect("sound");
    assert_eq!(hits(&found), [("slow", "loaded slow"), ("quick", "loaded quick")]);
    assert_eq!(loading.await.expect("sound"), 1);
    assert_eq!((here.calls().len(), elsewhere.calls().len()), (1, 1));
}

#[tokio::test]
async fn key_that_another_client_fails_to_load_is_loaded_here() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let (cache, other) = (cluster.client("a").await, cluster.client("b").await);
    let (elsewhere, gate) = Database::gated();
    let elsewhere = Database { fails: true, ..elsewhere };
    let loading = tokio::spawn({
        let elsewhere = elsewhere.clone();
        async move { load(&other, &["k"], &elsewhere).await.failed.len() }
    });
    eventually("the load there", async || (elsewhere.calls().len() == 1).then_some(())).await;
    let here = Database::default();
    let both = tokio::spawn({
        let here = here.clone();
        async move { load(&cache, &["k", "quick"], &here).await }
    });
    eventually("the load here", async || (here.calls() == [["quick"]]).then_some(())).await;
    gate.notify_one();
    assert_eq!(loading.await.expect("sound"), 1);
    let found = both.await.expect("sound");
    assert_eq!(hits(&found), [("k", "loaded k"), ("quick", "loaded quick")]);
    assert_eq!(here.calls(), [["quick"], ["k"]]);
}

#[tokio::test]
async fn delete_while_they_are_loaded_wins_for_its_key() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let (cache, other) = (cluster.client("a").await, cluster.client("b").await);
    let (database, gate) = Database::gated();
    let loading = tokio::spawn({
        let (cache, database) = (cache.clone(), database.clone());
        async move { load(&cache, &["gone", "kept"], &database).await.hits.len() }
    });
    eventually("the load", async || (database.calls().len() == 1).then_some(())).await;
    other.delete("gone").latch(LatchPolicy::All).await.expect("well");
    gate.notify_one();
    assert_eq!(loading.await.expect("sound"), 2);
    for zone in ["a", "b"] {
        stored(&cluster, zone, &["kept"]).await;
    }
    cache.set("later", "v").latch(LatchPolicy::All).await.expect("the fills were sent before");
    assert_eq!(cache.get("gone").await, Ok(None));
}

#[tokio::test]
async fn stale_keys_are_served_and_loaded_anew_by_one_call() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    for key in ["a", "b", "c"] {
        cache.set(key, "old").ttl(Duration::from_secs(50)).await.expect("well");
    }
    let database = Database::default();
    let ask = async || {
        let database = database.clone();
        let namespace = cache.raw().clone().ttl(Duration::from_secs(1000));
        let operation = namespace.get_or_load_many(["a", "b", "c"], move |keys| database.clone().load(keys));
        operation.stale(Duration::from_secs(100)).await.expect("good keys")
    };
    assert_eq!(hits(&ask().await), [("a", "old"), ("b", "old"), ("c", "old")], "nobody waits");
    eventually("the new ones", async || (ask().await.get("c")? == "loaded c").then_some(())).await;
    let mut loaded = database.calls().concat();
    loaded.sort();
    assert_eq!(loaded, ["a", "b", "c"]);
}

#[tokio::test]
async fn more_keys_than_a_call_takes_are_loaded_by_several() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    let database = Database::default();
    let keys: Vec<String> = (0..2_500).map(|key| format!("key {key}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(load(&cache, &keys, &database).await.hits.len(), 2_500);
    let calls = database.calls();
    assert!(calls.len() >= 3 && calls.iter().all(|keys| keys.len() <= 1_000));
    assert_eq!(calls.concat().len(), 2_500);
}

#[tokio::test]
async fn caller_with_little_time_gets_what_is_there() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    cache.set("there", "stored").await.expect("well");
    let (database, gate) = Database::gated();
    let loader = {
        let database = database.clone();
        move |keys| database.clone().load(keys)
    };
    let operation = cache.raw().get_or_load_many(["lost", "there"], loader);
    let found = operation.timeout(Duration::from_millis(300)).await.expect("good keys");
    assert_eq!(hits(&found), [("there", "stored")]);
    assert!(matches!(found.failed[..], [(_, LoadError::Timeout)]), "{found:?}");
    gate.notify_one();
    eventually("the load goes on", async || cache.get("lost").await.expect("it answers")).await;
}

#[tokio::test]
async fn typed_values_are_loaded_and_one_that_cannot_be_encoded_fails_alone() {
    let cluster = Cluster::start(&["a"]).await;
    let users = cluster.client("a").await.namespace("user").typed::<Odd>();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let loader = move |keys: Vec<Bytes>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let number = |key: &Bytes| key.len() as u32;
        let loaded = keys.iter().map(|key| (key.clone(), Odd(number(key)))).collect::<Vec<_>>();
        async move { Ok::<_, io::Error>(loaded) }
    };
    let found = users.get_or_load_many(["1", "22", "333"], loader).await.expect("good keys");
    assert_eq!(
        found.into_map().into_iter().collect::<BTreeMap<_, _>>(),
        [("1".into(), Odd(1)), ("333".into(), Odd(3))].into()
    );
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    stored(&cluster, "a", &["user:1", "user:333"]).await;
    assert_eq!(users.get("333").await, Ok(Some(Odd(3))));
}

/// An odd number: no other can be encoded.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
struct Odd(u32);

impl serde::Serialize for Odd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 2 {
            1 => serializer.serialize_newtype_struct("Odd", &self.0),
            _ => Err(serde::ser::Error::custom("it is even")),
        }
    }
}
