//! Writes: every zone, latches, conditions.

use std::time::Duration;

use evanesce_client::{ConnectError, ConnectionOptions, Fault, KeyError, LatchPolicy, ReadError, WriteError};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, PATIENCE, eventually};

const ZONES: [&str; 3] = ["a", "b", "c"];

#[tokio::test]
async fn set_with_latch_all_is_in_every_zone() {
    let cluster = Cluster::start(&ZONES).await;
    let cache = cluster.client("b").await;
    let written = cache.set("k", "v").latch(LatchPolicy::All).await.expect("all zones are well");
    assert_eq!((written.acked, written.failed, written.pending), (3, 0, 0));
    for zone in ZONES {
        assert_eq!(cluster.inside(zone).await.get("k").await, Ok(Some("v".into())));
    }
}

#[tokio::test]
async fn each_latch_waits_for_what_it_says() {
    let cluster = Cluster::start(&ZONES).await;
    let cache = cluster.client("a").await;
    let least = [
        (LatchPolicy::None, 0),
        (LatchPolicy::One, 1),
        (LatchPolicy::Local, 1),
        (LatchPolicy::Quorum, 2),
        (LatchPolicy::AllMinusOne, 2),
        (LatchPolicy::All, 3),
    ];
    for (latch, least) in least {
        let written = cache.set("k", "v").latch(latch).await.expect("all zones are well");
        assert!(written.acked >= least, "{latch}: {written:?}");
        assert_eq!(written.acked + written.pending, 3);
    }
}

#[tokio::test]
async fn set_that_is_dropped_reaches_every_zone_all_the_same() {
    let cluster = Cluster::start(&ZONES).await;
    let cache = cluster.client("a").await;
    tokio::select! {
        biased;
        _ = cache.set("k", "v").latch(LatchPolicy::All).run() => panic!("nobody can have answered yet"),
        () = std::future::ready(()) => {}
    }
    for zone in ZONES {
        let inside = cluster.inside(zone).await;
        eventually("the dropped write arrives", async || inside.get("k").await.expect("it answers")).await;
    }
}

#[tokio::test]
async fn ttl_is_the_same_instant_in_every_zone() {
    let cluster = Cluster::start(&ZONES).await;
    let cache = cluster.client("a").await.namespace("user").ttl(Duration::from_secs(100));
    cache.set("k", "v").latch(LatchPolicy::All).await.expect("all zones are well");
    for zone in ZONES {
        let item =
            cluster.inside(zone).await.get_item("user:k").await.expect("it answers").expect("it is there");
        let ttl = item.ttl.expect("it expires");
        assert!((98..=101).contains(&ttl.as_secs()), "{ttl:?}");
    }
}

#[tokio::test]
async fn zero_ttl_has_expired_at_once() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    cache.set("k", "v").ttl(Duration::ZERO).await.expect("the zone is well");
    assert_eq!(cache.get("k").await, Ok(None));
}

#[tokio::test]
async fn delete_and_touch_say_whether_they_found_it() {
    let cluster = Cluster::start(&ZONES).await;
    let cache = cluster.raw_latched("a").await;
    assert!(!cache.delete("k").await.expect("all zones are well").found);
    assert!(!cache.touch("k", Duration::from_secs(5)).await.expect("all zones are well").found);
    cache.set("k", "v").await.expect("all zones are well");
    assert!(cache.touch("k", Duration::from_secs(5)).await.expect("all zones are well").found);
    for zone in ZONES {
        let item = cluster.inside(zone).await.get_item("k").await.expect("it answers").expect("it is there");
        assert!(item.ttl.expect("it expires").as_secs() <= 6);
    }
    assert!(cache.delete("k").await.expect("all zones are well").found);
    for zone in ZONES {
        assert_eq!(cluster.inside(zone).await.get("k").await, Ok(None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_adds_one_is_stored_and_every_zone_has_its_value() {
    let cluster = Cluster::start(&ZONES).await;
    let mut adds = JoinSet::new();
    for (index, zone) in ZONES.iter().cycle().take(60).enumerate() {
        let cache = cluster.client(zone).await;
        adds.spawn(async move {
            let outcome = cache.add("k", index.to_string()).latch(LatchPolicy::All).await;
            (index, outcome.expect("all zones are well").is_stored())
        });
    }
    let stored: Vec<_> = adds.join_all().await.into_iter().filter(|(_, stored)| *stored).collect();
    assert_eq!(stored.len(), 1, "{stored:?}");
    for zone in ZONES {
        let value = cluster.inside(zone).await.get("k").await.expect("it answers").expect("it is there");
        assert_eq!(value, stored[0].0.to_string());
    }
}

#[tokio::test]
async fn replace_stores_only_what_is_there() {
    let cluster = Cluster::start(&ZONES).await;
    let cache = cluster.raw_latched("a").await;
    assert!(!cache.replace("k", "new").await.expect("all zones are well").is_stored());
    cache.set("k", "old").await.expect("all zones are well");
    assert!(cache.replace("k", "new").flags(7).await.expect("all zones are well").is_stored());
    for zone in ZONES {
        let item = cluster.inside(zone).await.get_item("k").await.expect("it answers").expect("it is there");
        assert_eq!((item.value, item.flags), ("new".into(), 7));
    }
}

#[tokio::test]
async fn too_large_value_is_the_callers_fault() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    let error = cache.raw().set("k", vec![0; 2 << 20]).await.expect_err("it is above the limit");
    assert_eq!(error.fault(), Fault::Caller, "{error}");
    assert!(!error.may_retry());
    cache.set("k", "small").await.expect("the connection survives");
}

#[tokio::test]
async fn wrong_keys_are_refused_before_anything_is_sent() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    let long = "k".repeat(251);
    let error = WriteError::Key(KeyError::TooLong { bytes: 251 });
    assert_eq!(cache.raw().set(&long, "v").await, Err(error));
    let longest = "k".repeat(8_193);
    let error = WriteError::Key(KeyError::TooLongToHash { bytes: 8_193 });
    assert_eq!(cache.set(&longest, "v").await, Err(error));
    assert_eq!(cache.get("").await, Err(ReadError::Key(KeyError::Empty)));
    assert_eq!(cache.namespace("a b").get("k").await, Err(ReadError::Key(KeyError::Namespace)));
}

#[tokio::test]
async fn closed_client_says_so() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    let users = cache.namespace("user");
    cache.set("k", "v").await.expect("the zone is well");
    cache.close().await;
    assert_eq!(cache.get("k").await, Err(ReadError::Closed));
    assert_eq!(users.set("k", "v").await, Err(WriteError::Closed));
    assert!(cache.topology().is_none());
}

#[tokio::test]
async fn discovery_that_is_away_is_named_in_the_error() {
    let addresses = ["http://127.0.0.1:1", "127.0.0.1:2"];
    let builder = evanesce_client::Client::builder("HOME").discovery(addresses);
    let error = builder.connect_timeout(Duration::from_millis(500)).connect().await;
    let Err(ConnectError::NoTopology { tried, .. }) = error else { panic!("nobody listens there") };
    for (tried, address) in tried.iter().zip(addresses) {
        assert_eq!(tried.address, address);
        assert!(!tried.reason.contains("not asked"), "{}", tried.reason);
    }
}

impl Cluster {
    /// All keys, with every write in every zone before it returns.
    async fn raw_latched(&self, zone: &str) -> evanesce_client::Namespace {
        self.client(zone).await.raw().clone().latch(LatchPolicy::All)
    }
}

/// What was seen in review: an operation whose timeout lay beyond the clock's end panicked.
#[tokio::test]
async fn endless_timeouts_are_taken() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster
        .builder("a")
        .read_attempt_timeout(Duration::MAX)
        .read_timeout(Duration::MAX)
        .write_timeout(Duration::MAX)
        .connect()
        .await
        .expect("a list needs no discovery");
    cache.set("k", "v").await.expect("the zone is well");
    assert!(!cache.add("k", "v").await.expect("the zone is well").is_stored());
    assert!(cache.touch("k", Duration::from_secs(60)).await.expect("the zone is well").found);
    assert_eq!(cache.get("k").await, Ok(Some("v".into())));
    assert_eq!(cache.get_many(["k"]).timeout(Duration::MAX).await.expect("a good key").hits.len(), 1);
    assert!(cache.delete("k").timeout(Duration::MAX).await.expect("the zone is well").found);
}

#[tokio::test]
async fn many_sets_and_deletes_reach_every_zone_and_tell_keys_apart() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await.namespace("n").latch(LatchPolicy::All);
    let entries = (0..3_000).map(|key| (format!("key-{key}"), key.to_string()));
    let outcome = cache.set_many(entries.clone()).await.expect("good keys");
    assert!(outcome.is_complete());
    assert_eq!(outcome.written.len(), 3_000);
    for zone in ["a", "b"] {
        let alone = cluster.inside(zone).await.namespace("n");
        let got = alone.get_many(entries.clone().map(|(key, _)| key)).await.expect("good keys");
        assert_eq!(got.hits.len(), 3_000);
        assert!(got.hits.iter().all(|(key, value)| key[4..] == value[..]));
    }
    let large = vec![(String::from("ok"), vec![1_u8]), (String::from("large"), vec![0_u8; 2 << 20])];
    let raw = cluster.raw_latched("a").await;
    let outcome = raw.set_many(large).await.expect("good keys");
    assert_eq!((outcome.written.len(), outcome.failed.len()), (1, 1));
    assert_eq!(outcome.failed[0].0, "large");
    let outcome = cache.delete_many(entries.map(|(key, _)| key)).await.expect("good keys");
    assert_eq!(outcome.written.len(), 3_000);
    assert_eq!(cache.get("key-7").await, Ok(None));
    assert!(cache.set_many([("", "v")]).await.is_err(), "nothing is sent");
}

#[tokio::test]
async fn failed_keys_of_a_bulk_write_say_whether_to_send_them_again() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.builder("a").write_timeout(Duration::from_millis(200)).connect().await;
    let cache = cache.expect("a list needs no discovery");
    cluster.kill("b").await;
    let sets = ["1", "2"].map(|key| (key, "v"));
    let outcome = cache.set_many(sets).latch(LatchPolicy::All).await.expect("good keys");
    let mut again: Vec<_> = outcome.retryable().cloned().collect();
    again.sort();
    assert_eq!(again, ["1", "2"]);
    assert_eq!((outcome.lost().count(), outcome.written.len()), (0, 0));
    let large = vec![0; 65 << 20];
    let sets = [("large", large), ("small", b"v".to_vec())];
    let outcome = cache.set_many(sets).await.expect("good keys");
    assert_eq!(outcome.retryable().count(), 0);
    let lost: Vec<_> = outcome.lost().map(|(key, error)| (key.clone(), error.fault())).collect();
    assert_eq!(lost, [("large".into(), Fault::Caller)]);
    assert_eq!(outcome.written.len(), 1);
}

/// What was seen in review: with the latch `None` each write of a bulk was met at once, so that nothing paced them: those
/// beyond what a connection's queue holds failed, and filled the repair queue.
#[tokio::test]
async fn bulk_write_that_waits_for_nobody_is_paced_all_the_same() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    for name in ["n1", "n2"] {
        cluster.with_distance("b", name, Duration::from_millis(5)).await;
    }
    let connection =
        ConnectionOptions { queue_max: 1024, in_flight_max: 1024, ..ConnectionOptions::default() };
    let cache =
        cluster.builder("a").connection(connection).connect().await.expect("a list needs no discovery");
    let keys: Vec<String> = (0..20_000).map(|key| format!("key-{key}")).collect();
    let entries = keys.iter().map(|key| (key, "v"));
    let written = cache.set_many(entries).latch(LatchPolicy::None).await.expect("good keys");
    assert_eq!((written.written.len(), written.failed.len()), (keys.len(), 0));
    assert!(written.written.iter().all(|(_, written)| written.failed == 0));
    for zone in ["a", "b"] {
        let inside = cluster.inside(zone).await;
        eventually("all arrive", async || {
            let got = inside.get_many(&keys).await.expect("good keys");
            (got.hits.len() == keys.len()).then_some(())
        })
        .await;
    }
    assert_eq!(cache.repairs_pending(), 0);
}

#[tokio::test]
async fn bulk_write_has_no_more_keys_under_way_than_it_may() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    let brakes = [cluster.with_brake("b", "n1").await, cluster.with_brake("b", "n2").await];
    let connection = ConnectionOptions { stall_timeout: 10 * PATIENCE, ..ConnectionOptions::default() };
    let cache =
        cluster.builder("a").connection(connection).connect().await.expect("a list needs no discovery");
    let inside = cluster.inside("a").await;
    let keys: Vec<String> = (0..100).map(|key| format!("key-{key}")).collect();
    brakes.iter().for_each(|brake| assert!(brake.send(true).is_ok()));
    let entries = keys.iter().map(|key| (key, "v"));
    let mut job = cache.set_many(entries).latch(LatchPolicy::Local).in_flight(10).into_future();
    let there = async || inside.get_many(&keys).await.expect("good keys").hits.len();
    let begun = eventually("ten are there", async || (there().await >= 10).then_some(()));
    tokio::select! {
        _ = &mut job => panic!("the other zone has answered nothing"),
        () = begun => {}
    }
    assert_eq!(there().await, 10);
    brakes.iter().for_each(|brake| assert!(brake.send(false).is_ok()));
    assert_eq!(job.await.expect("good keys").written.len(), keys.len());
}

/// What was seen in review: where the first value of a key given twice was large, it was stamped once its chunks were
/// there, and so was the last.
#[tokio::test]
async fn key_given_twice_has_its_last_value_though_the_first_is_large() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    let large: Vec<u8> = (0..3 << 20).map(|_| fastrand::u8(..)).collect();
    let entries = [("twice", large), ("once", b"v".to_vec()), ("twice", b"last".to_vec())];
    let written = cache.set_many(entries).latch(LatchPolicy::All).await.expect("good keys");
    assert_eq!((written.written.len(), written.failed.len()), (2, 0));
    assert_eq!(cache.get("twice").await, Ok(Some("last".into())));
    assert_eq!(cache.get("once").await, Ok(Some("v".into())));
}
