//! Reads: the local zone, misses, bulk, types, keys.

use std::collections::HashMap;
use std::time::Duration;

use evanesce_client::{CodecError, LatchPolicy, ReadError};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, eventually};

#[tokio::test]
async fn miss_is_none_and_hit_is_the_value() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    assert_eq!(cache.get("k").await, Ok(None));
    cache.set("k", "v").await.expect("all zones are well");
    assert_eq!(cache.get("k").await, Ok(Some("v".into())));
}

#[tokio::test]
async fn read_comes_from_the_local_zone() {
    let cluster = Cluster::start(&["a", "b"]).await;
    for zone in ["a", "b"] {
        cluster.inside(zone).await.set("k", zone).await.expect("the zone is well");
    }
    assert_eq!(cluster.client("a").await.get("k").await, Ok(Some("a".into())));
    assert_eq!(cluster.client("b").await.get("k").await, Ok(Some("b".into())));
}

#[tokio::test]
async fn item_has_flags_token_and_ttl() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    cache.set("k", "v").flags(0xde00_beef).ttl(Duration::from_secs(60)).await.expect("the zone is well");
    let item = cache.get_item("k").await.expect("it answers").expect("it is there");
    assert_eq!((item.value, item.flags), ("v".into(), 0xde00_beef));
    assert!(item.cas > 0);
    assert!(item.ttl.is_some_and(|ttl| (58..=61).contains(&ttl.as_secs())));
    cache.set("k", "v").ttl(evanesce_client::Ttl::Never).await.expect("the zone is well");
    assert_eq!(cache.get_item("k").await.expect("it answers").expect("it is there").ttl, None);
}

#[tokio::test]
async fn miss_finds_the_item_in_another_zone() {
    let cluster = Cluster::start(&["a", "b"]).await;
    cluster.inside("b").await.set("k", "b").ttl(Duration::from_secs(100)).await.expect("the zone is well");
    let alone = cluster.builder("a").miss_fallback(0.0).connect().await.expect("a list needs no discovery");
    assert_eq!(alone.get("k").await, Ok(None), "no allowance, no fallback");
    assert_eq!(cluster.client("a").await.get("k").await, Ok(Some("b".into())));
}

#[tokio::test]
async fn item_found_in_another_zone_is_copied_with_its_version_and_ttl() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let b = cluster.inside("b").await;
    for key in ["k", "l"] {
        b.set(key, "b").ttl(Duration::from_secs(100)).flags(7).await.expect("the zone is well");
    }
    let (cache, a) = (cluster.client("a").await, cluster.inside("a").await);
    assert_eq!(cache.get("k").await, Ok(Some("b".into())));
    assert_eq!(cache.get_many(["l"]).await.expect("good keys").hits.len(), 1);
    for key in ["k", "l"] {
        let copied = eventually("the copy", async || a.get_item(key).await.expect("it answers")).await;
        let original = b.get_item(key).await.expect("it answers").expect("it is there");
        assert_eq!((copied.version, copied.flags), (original.version, 7));
        assert!(copied.version.is_some());
        assert!(copied.ttl.is_some_and(|ttl| (95..=101).contains(&ttl.as_secs())), "{copied:?}");
    }
}

#[tokio::test]
async fn bulk_read_tells_hits_from_misses_and_asks_elsewhere_for_the_missing() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await.namespace("user");
    let keys: Vec<String> = (0..1000).map(|index| format!("key-{index}")).collect();
    for (index, key) in keys.iter().enumerate().filter(|(index, _)| index % 2 == 0) {
        cache.set(key, index.to_string()).latch(LatchPolicy::All).await.expect("all zones are well");
    }
    cluster.inside("b").await.set("user:key-1", "elsewhere").await.expect("the zone is well");
    let got = cache.get_many(&keys).await.expect("good keys");
    assert_eq!((got.hits.len(), got.misses.len(), got.failed.len()), (501, 499, 0));
    assert_eq!(got.hits[1], ("key-1".into(), "elsewhere".into()), "in the order asked");
    assert_eq!(got.get("key-4").expect("a hit"), "4");
    let map: HashMap<_, _> = got.into_map();
    assert_eq!(map[&b"key-998"[..]], "998");
}

#[tokio::test]
async fn repeated_keys_are_answered_as_often() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    cache.set("k", "v").await.expect("the zone is well");
    let got = cache.get_many(["k", "gone", "k"]).await.expect("good keys");
    assert_eq!((got.hits.len(), got.misses.len()), (2, 1));
}

#[tokio::test]
async fn typed_values_come_back_and_raw_bytes_are_told_apart() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    let users = cache.namespace("user").typed::<(String, u32)>();
    let ada = ("Ada".to_owned(), 36);
    users.set("42", &ada).await.expect("the zone is well");
    assert_eq!(users.get("42").await, Ok(Some(ada.clone())));
    assert_eq!(users.get_and_touch("42", Duration::from_secs(9)).await, Ok(Some(ada)));
    cache.set("user:43", "bytes").await.expect("the zone is well");
    let error = users.get("43").await.expect_err("not a typed value");
    assert!(matches!(error, ReadError::Codec(CodecError::OtherCodec { found: 0, .. })), "{error}");
    let got = users.get_many(["42", "43", "44"]).await.expect("good keys");
    assert_eq!((got.hits.len(), got.misses.len(), got.failed.len()), (1, 1, 1));
}

#[tokio::test]
async fn get_and_touch_touches_every_zone() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    assert_eq!(cache.get_and_touch("k", Duration::from_secs(9)).await, Ok(None));
    cache.set("k", "v").ttl(Duration::from_secs(500)).latch(LatchPolicy::All).await.expect("all are well");
    assert_eq!(cache.get_and_touch("k", Duration::from_secs(9)).await, Ok(Some("v".into())));
    for zone in ["a", "b"] {
        let inside = cluster.inside(zone).await;
        crate::cluster::eventually("the touch arrives", async || {
            let item = inside.get_item("k").await.expect("it answers").expect("it is there");
            item.ttl.filter(|ttl| ttl.as_secs() <= 10)
        })
        .await;
    }
}

#[tokio::test]
async fn binary_and_longest_keys_work() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    let keys: [&[u8]; 4] = [b"with space", b"\0\r\n\xff", &[0; 186], &[b'k'; 250]];
    for key in keys {
        cache.set(key, key.to_vec()).latch(LatchPolicy::All).await.expect("all zones are well");
        assert_eq!(cache.get(key).await, Ok(Some(key.to_vec().into())));
        assert!(cache.delete(key).latch(LatchPolicy::All).await.expect("all zones are well").found);
        assert_eq!(cache.get(key).await, Ok(None));
    }
}

#[tokio::test]
async fn owners_are_one_for_each_zone_nearest_first() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let cache = cluster.client("b").await;
    let owners = cache.owners("k").expect("a good key");
    let zones: Vec<_> = owners.iter().map(|owner| owner.zone.as_str()).collect();
    assert_eq!(zones, ["b", "c", "a"]);
    assert!(owners.iter().all(|owner| owner.node == owners[0].node), "the same names lie on the same rings");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_cancelled_reads_never_give_a_wrong_value() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    for index in 0..100 {
        let key = format!("key-{index}");
        cache.set(&key, key.clone()).latch(LatchPolicy::All).await.expect("all zones are well");
    }
    let mut reads = JoinSet::new();
    for index in 0..1000 {
        let cache = cache.clone();
        reads.spawn(async move {
            let (dropped, kept) = (format!("key-{}", index % 100), format!("key-{}", (index + 1) % 100));
            tokio::select! {
                biased;
                _ = cache.get(&dropped).run() => {}
                () = tokio::task::yield_now() => {}
            }
            assert_eq!(cache.get(&kept).await, Ok(Some(kept.into())));
        });
    }
    while let Some(done) = reads.join_next().await {
        done.expect("no read is wrong");
    }
}

#[tokio::test]
async fn zones_are_read_in_the_order_of_their_measured_latency() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    for name in ["n1", "n2"] {
        cluster.with_distance("b", name, Duration::from_millis(20)).await;
    }
    let cache = cluster.client("a").await;
    let order = || -> Vec<String> {
        let owners = cache.owners("k").expect("a good key");
        owners.into_iter().map(|owner| owner.zone).collect()
    };
    assert_eq!(order(), ["a", "b", "c"], "by name while nothing is known");
    eventually("the nearer zone first", async || {
        let many = (0..256).map(|key| (key.to_string(), "v"));
        assert!(cache.set_many(many).latch(LatchPolicy::All).await.expect("good keys").is_complete());
        (order() == ["a", "c", "b"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn client_that_only_reads_learns_which_zone_is_near() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    for name in ["n1", "n2"] {
        cluster.with_distance("b", name, Duration::from_millis(20)).await;
    }
    let cache = cluster.client("a").await;
    eventually("the nearer zone first", async || {
        assert_eq!(cache.get("k").no_fallback().await, Ok(None));
        (cache.diagnostics().zones == ["a", "c", "b"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn typed_item_tells_its_life_and_version() {
    let cluster = Cluster::start(&["a"]).await;
    let users = cluster.client("a").await.namespace("user").typed::<String>();
    let written = users.set("42", &"Ada".to_owned()).ttl(Duration::from_secs(100)).await.expect("well");
    let item = users.get_item("42").await.expect("it answers").expect("a hit");
    assert_eq!((&item.value[..], item.version), ("Ada", written.version));
    assert!((99..=101).contains(&item.ttl.expect("it expires").as_secs()), "{item:?}");
    let many = users.get_many_items(["0", "42"]).await.expect("good keys");
    assert_eq!((many.get("42"), many.misses.len()), (Some(&item), 1));
    users.bytes().set("raw", "v").await.expect("well");
    assert!(matches!(users.get_item("raw").await, Err(ReadError::Codec(CodecError::OtherCodec { .. }))));
}

#[tokio::test]
async fn number_is_read_as_it_is_counted() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    assert_eq!(cache.get_number("n").await, Ok(None));
    cache.incr("n", 1).initial(1_000).await.expect("well");
    assert_eq!(cache.get_number("n").await, Ok(Some(1_000)));
    cache.decr("n", 1).await.expect("well");
    assert_eq!(cache.get_number("n").await, Ok(Some(999)));
    cache.set("n", "many").await.expect("well");
    assert_eq!(cache.get_number("n").await, Err(ReadError::Codec(CodecError::NotANumber)));
    let long = "k".repeat(1_000);
    assert!(matches!(cache.get_number(&long).await, Err(ReadError::Key(_))), "nobody can count there");
}

#[tokio::test]
async fn values_come_in_the_order_of_the_keys() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let rows = cluster.client("a").await.namespace("row").typed::<u32>();
    let stored: Vec<(String, u32)> =
        (0..20).filter(|row| row % 3 > 0).map(|row| (row.to_string(), row)).collect();
    rows.set_many(stored.iter().map(|(key, row)| (key, row)))
        .latch(LatchPolicy::All)
        .await
        .expect("good keys");
    let keys: Vec<String> = (0..20).rev().map(|row| row.to_string()).collect();
    let found = rows.get_many(&keys).await.expect("good keys");
    let expected: Vec<Option<u32>> = (0..20).rev().map(|row| (row % 3 > 0).then_some(row)).collect();
    assert_eq!(
        found.in_order_of(&keys).into_iter().map(Option::<&u32>::copied).collect::<Vec<_>>(),
        expected
    );
}
