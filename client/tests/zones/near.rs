//! The near cache before real nodes: nothing older than this client's own writes, and no request for what it holds.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use evanesce_client::{Client, LatchPolicy, Namespace, NearCache};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, eventually};

/// Longer than any test: what is gone before was invalidated.
fn long() -> NearCache {
    NearCache::new(1 << 20).ttl(Duration::from_secs(3600))
}

/// Stores behind the back of whoever has a near cache.
async fn set_elsewhere(other: &Client, key: &str, value: &'static str) {
    other.set(key, value).latch(LatchPolicy::All).await.expect("all zones are well");
}

async fn get(users: &Namespace, key: &str) -> Option<Bytes> {
    users.get(key).await.expect("it answers")
}

#[tokio::test]
async fn what_was_read_is_served_without_a_node() {
    let mut cluster = Cluster::start(&["a"]).await;
    let users = cluster.client("a").await.namespace("user").near_cache(long());
    users.set("42", "v").await.expect("well");
    assert_eq!(get(&users, "42").await, Some("v".into()));
    cluster.kill("a").await;
    assert_eq!(get(&users, "42").await, Some("v".into()), "nobody is left to ask");
    assert!(users.get("42").skip_near_cache().timeout(Duration::from_millis(1)).await.is_err());
}

#[tokio::test]
async fn write_of_another_client_is_seen_once_the_near_ttl_ends() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let (cache, other) = (cluster.client("a").await, cluster.client("b").await);
    let users = cache.namespace("user").near_cache(NearCache::new(1 << 20).ttl(Duration::from_millis(20)));
    users.set("42", "old").latch(LatchPolicy::All).await.expect("well");
    assert_eq!(get(&users, "42").await, Some("old".into()));
    set_elsewhere(&other, "user:42", "new").await;
    eventually("the new one", async || (get(&users, "42").await? == "new").then_some(())).await;
}

#[tokio::test]
async fn own_writes_are_seen_at_once_and_others_when_the_near_cache_is_skipped() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.builder("a").near_cache_of("user", long()).connect().await.expect("a list");
    let other = cluster.client("b").await;
    let users = cache.namespace("user");
    users.set("42", "one").await.expect("well");
    assert_eq!(get(&users, "42").await, Some("one".into()));
    users.set("42", "two").await.expect("well");
    assert_eq!(get(&users, "42").await, Some("two".into()));
    set_elsewhere(&other, "user:42", "three").await;
    assert_eq!(get(&users, "42").await, Some("two".into()), "that is what a near cache is");
    assert_eq!(users.get("42").skip_near_cache().await, Ok(Some("three".into())));
    assert_eq!(get(&users, "42").await, Some("three".into()), "nothing older after it");
    other.delete("user:42").latch(LatchPolicy::All).await.expect("well");
    assert_eq!(users.clone().skip_near_cache().get("42").await, Ok(None));
    assert_eq!(get(&users, "42").await, None);
}

#[tokio::test]
async fn each_kind_of_write_invalidates() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.builder("a").near_cache(long()).connect().await.expect("a list");
    let near = async |key| get(cache.raw(), key).await.map(|value| value.to_vec());
    for key in ["set", "delete", "append", "cas", "many", "gone", "flush"] {
        cache.set(key, "1").latch(LatchPolicy::All).await.expect("well");
        assert_eq!(near(key).await, Some(b"1".to_vec()));
    }
    cache.set("set", "2").latch(LatchPolicy::None).await.expect("well");
    assert_eq!(near("set").await, Some(b"2".to_vec()));
    cache.delete("delete").await.expect("well");
    assert_eq!(near("delete").await, None);
    cache.append("append", "2").latch(LatchPolicy::All).await.expect("well");
    assert_eq!(near("append").await, Some(b"12".to_vec()));
    cache.incr("append", 1).latch(LatchPolicy::All).await.expect("well");
    assert_eq!(near("append").await, Some(b"13".to_vec()));
    let item = cache.get_for_cas("cas").await.expect("it answers").expect("a hit");
    cache.compare_and_set("cas", item.cas, "2").latch(LatchPolicy::All).await.expect("well");
    assert_eq!(near("cas").await, Some(b"2".to_vec()));
    cache.set_many([("many", "2")]).await.expect("good keys");
    assert_eq!(near("many").await, Some(b"2".to_vec()));
    cache.delete_many(["gone"]).await.expect("good keys");
    assert_eq!(near("gone").await, None);
    cache.raw().flush_all().await.expect("well");
    assert_eq!(near("flush").await, None);
}

#[tokio::test]
async fn touch_to_a_shorter_life_is_seen() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.builder("a").near_cache(long()).connect().await.expect("a list");
    cache.set("k", "v").await.expect("well");
    let ttl = async || cache.get_item("k").await.expect("it answers").expect("a hit").ttl.expect("it ends");
    assert!(ttl().await > Duration::from_secs(600));
    cache.touch("k", Duration::from_secs(100)).await.expect("well");
    assert!(ttl().await <= Duration::from_secs(101));
    cache.get_and_touch("k", Duration::from_secs(50)).await.expect("well");
    assert!(ttl().await <= Duration::from_secs(51));
}

#[tokio::test]
async fn bulk_read_asks_for_what_is_not_near_and_keeps_the_order() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.builder("a").near_cache_of("user", long()).connect().await.expect("a list");
    let other = cluster.client("b").await;
    let users = cache.namespace("user").typed::<String>();
    for key in ["1", "2", "3"] {
        users.set(key, &format!("value {key}")).latch(LatchPolicy::All).await.expect("well");
    }
    assert_eq!(users.get("2").await, Ok(Some("value 2".into())));
    other.delete("user:2").latch(LatchPolicy::All).await.expect("well");
    let found = users.get_many(["3", "2", "0", "1"]).await.expect("good keys");
    let keys: Vec<_> = found.hits.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    assert_eq!(keys, [(&b"3"[..], "value 3"), (b"2", "value 2"), (b"1", "value 1")]);
    assert_eq!(found.misses, ["0"]);
    other.delete_many(["user:1", "user:3"]).latch(LatchPolicy::All).await.expect("well");
    assert_eq!(users.get_many(["1", "2", "3"]).await.expect("good keys").hits.len(), 3);
    let found = users.get_many(["1", "2", "3"]).skip_near_cache().await.expect("good keys");
    assert_eq!(found.misses.len(), 3);
    let mut batch = cache.batch();
    let one = batch.add(users.get("1"));
    assert_eq!(batch.await.take(one), Ok(None), "a batch looks there, too");
}

#[tokio::test]
async fn loaded_and_absent_keys_are_served_from_near() {
    let mut cluster = Cluster::start(&["a"]).await;
    let cache = cluster.builder("a").near_cache(long()).connect().await.expect("a list");
    let load = async |key: &'static str, value: Option<&'static str>| {
        let loader = async move |_: Bytes| Ok::<_, io::Error>(value.map(Bytes::from));
        let found = cache.raw().get_or_load(key, loader).absent_ttl(Duration::from_secs(600)).await;
        found.expect("it is loaded")
    };
    for (key, value) in [("present", Some("v")), ("absent", None)] {
        assert_eq!(load(key, value).await, value.map(Bytes::from));
        let at_node = cluster.inside("a").await;
        eventually("the fill", async || {
            let stored = at_node.add(key, "x").await.expect("well").is_stored();
            (!stored).then_some(())
        })
        .await;
        assert_eq!(load(key, Some("never called")).await, value.map(Bytes::from), "from the node");
    }
    cluster.kill("a").await;
    assert_eq!(load("present", Some("never called")).await, Some("v".into()));
    assert_eq!(load("absent", Some("never called")).await, None);
}

#[tokio::test]
async fn large_and_compressed_values_are_kept_whole() {
    let mut cluster = Cluster::start(&["a"]).await;
    let near = NearCache::new(64 << 20).ttl(Duration::from_secs(3600));
    let cache = cluster.builder("a").near_cache(near).item_bytes_max(64 << 10).connect().await;
    let rows = cache.expect("a list").namespace("rows").typed::<Vec<u64>>();
    let row: Vec<u64> = (0..100_000).map(|number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let long_key = "k".repeat(1_000);
    rows.set(&long_key, &row).await.expect("well");
    assert_eq!(rows.get(&long_key).await.expect("it answers"), Some(row.clone()));
    cluster.kill("a").await;
    assert_eq!(rows.get(&long_key).await.expect("nobody is asked"), Some(row));
}

/// Four writers of one key each, who read what they wrote: through the near cache nothing older comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_beside_a_writer_put_nothing_older_than_its_writes_near() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.builder("a").near_cache(long()).connect().await.expect("a list");
    let mut tasks = JoinSet::new();
    for name in ["p", "q", "r", "s"] {
        for _ in 0..2 {
            let cache = cache.clone();
            tasks.spawn(async move {
                for _ in 0..500 {
                    get(cache.raw(), name).await;
                    tokio::task::yield_now().await;
                }
            });
        }
        let cache = cache.clone();
        tasks.spawn(async move {
            for number in 0..200_u32 {
                let value = number.to_string();
                cache.set(name, value.clone()).await.expect("well");
                assert_eq!(get(cache.raw(), name).await, Some(value.into()));
            }
        });
    }
    tasks.join_all().await;
}
