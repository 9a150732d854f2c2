//! Zones that are dead, frozen, or back.

use std::time::Duration;

use evanesce_client::{Client, ConnectionOptions, Fault, LatchPolicy, ReadError, WriteError};
use tokio::time::Instant;

use crate::cluster::{Cluster, PATIENCE, eventually};

#[tokio::test]
async fn death_of_the_local_zone_costs_no_error() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    let cache = cluster.client("a").await;
    cache.set("before", "v").latch(LatchPolicy::All).await.expect("all zones are well");
    cluster.kill("a").await;
    for index in 0..200 {
        assert_eq!(cache.get("before").await, Ok(Some("v".into())));
        let key = format!("key-{index}");
        let written = cache.set(&key, "v").await.expect("two zones are well");
        assert!(written.acked >= 1);
        assert_eq!(cache.get(&key).await.expect("two zones are well"), Some("v".into()));
    }
    let got = cache.get_many(["before", "key-1", "gone"]).await.expect("good keys");
    assert_eq!((got.hits.len(), got.misses.len(), got.failed.len()), (2, 1, 0));
}

#[tokio::test]
async fn zone_that_is_back_is_written_and_read_again() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    cluster.kill("a").await;
    eventually("the death is noticed", async || {
        let written = cache.set("k", "v").latch(LatchPolicy::AllMinusOne).await.ok()?;
        (written.failed == 1).then_some(())
    })
    .await;
    cluster.start_again("a").await;
    eventually("the zone is back", async || cache.set("k", "new").latch(LatchPolicy::All).await.ok()).await;
    assert_eq!(cluster.inside("a").await.get("k").await, Ok(Some("new".into())));
    assert_eq!(cache.get("k").await, Ok(Some("new".into())));
}

#[tokio::test]
async fn frozen_local_zone_is_left_after_an_attempt_and_then_not_asked() {
    let mut cluster = Cluster::start(&["b", "c"]).await;
    cluster.add_frozen("a").await;
    let cache = cluster
        .builder("a")
        .read_attempt_timeout(Duration::from_millis(20))
        .write_timeout(Duration::from_millis(200))
        .connect()
        .await
        .expect("a list needs no discovery");
    cache.set("k", "v").latch(LatchPolicy::AllMinusOne).await.expect("two zones are well");
    for _ in 0..20 {
        assert_eq!(cache.get("k").await, Ok(Some("v".into())));
    }
    // The breaker is open: most reads do not try the frozen node.
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(cache.get("k").await, Ok(Some("v".into())));
    }
    assert!(begun.elapsed() < Duration::from_millis(20) * 25, "{:?}", begun.elapsed());
    let written = cache.set("k", "new").await.expect("the local zone is known to be ill");
    assert!(written.acked >= 1);
}

#[tokio::test]
async fn local_write_to_a_frozen_zone_counts_as_down_at_the_deadline() {
    let mut cluster = Cluster::start(&["b"]).await;
    cluster.add_frozen("a").await;
    let cache = impatient(&cluster).await;
    let written = cache.set("k", "v").await.expect("the other zone is well");
    assert_eq!(written.acked, 1);
}

#[tokio::test]
async fn latch_that_cannot_be_met_says_who_failed() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    cluster.kill("b").await;
    let error =
        eventually("the death is noticed", async || cache.set("k", "v").latch(LatchPolicy::All).await.err())
            .await;
    let WriteError::NotAcknowledged { failed, ref attempts, .. } = error else { panic!("{error}") };
    assert_eq!(failed, 1);
    assert_eq!(attempts[0].zone, "b");
    assert!(error.maybe_applied() && error.may_retry());
    assert_eq!(error.fault(), Fault::Peer);
}

#[tokio::test]
async fn all_zones_dead_is_an_error_and_no_miss() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    cluster.kill("a").await;
    cluster.kill("b").await;
    let error = cache.get("k").await.expect_err("nobody is there");
    let ReadError::Unanswered { ref attempts } = error else { panic!("{error}") };
    assert_eq!(attempts.len(), 2);
    assert!(error.may_retry());
    let got = cache.get_many(["k", "l"]).await.expect("good keys");
    assert_eq!((got.hits.len(), got.misses.len(), got.failed.len()), (0, 0, 2));
    let error = cache.add("k", "v").await.expect_err("nobody is there");
    assert!(!error.maybe_applied(), "{error}");
}

#[tokio::test]
async fn add_to_a_frozen_home_zone_may_be_applied() {
    let mut cluster = Cluster::start(&[]).await;
    cluster.add_frozen("a").await;
    let cache = impatient(&cluster).await;
    let error = cache.add("k", "v").await.expect_err("nobody answers");
    assert!(matches!(error, WriteError::MaybeApplied { .. }), "{error}");
    assert!(error.maybe_applied() && !error.may_retry());
}

#[tokio::test]
async fn add_goes_to_the_next_zone_while_the_home_zone_is_dead() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    let cache = cluster.client("b").await;
    cluster.kill("a").await;
    for index in 0..50 {
        let key = format!("key-{index}");
        // The first that finds the zone dead may lose its request with the connection.
        let stored = eventually("it is stored", async || cache.add(&key, "v").await.ok()).await;
        assert!(stored.is_stored() || cache.get(&key).await.expect("two zones are well").is_some());
    }
}

#[tokio::test]
async fn whole_read_ends_by_its_deadline_when_everyone_is_frozen() {
    let mut cluster = Cluster::start(&[]).await;
    cluster.add_frozen("a").await;
    cluster.add_frozen("b").await;
    let cache = impatient(&cluster).await;
    let begun = Instant::now();
    assert!(cache.get("k").await.is_err());
    assert!(cache.get_many(["k", "l"]).await.expect("good keys").failed.len() == 2);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// What was seen in review: a bulk read that had parts left when its time was up sent each of them all the same, and
/// took the time that this cost for time in which it was held up.
#[tokio::test]
async fn bulk_read_of_a_frozen_node_sends_nothing_after_its_deadline() {
    let mut cluster = Cluster::start(&[]).await;
    cluster.add_frozen("a").await;
    let cache = impatient(&cluster).await;
    let keys: Vec<String> = (0..50_000).map(|index| format!("key-{index}")).collect();
    let got = cache.get_many(&keys).await.expect("good keys");
    assert_eq!(got.failed.len(), keys.len());
    let last = &got.failed[got.failed.len() - 1].1;
    assert!(last.to_string().contains("did not answer in time"), "{last}");
}

/// What was seen in review: a frozen node was asked for each part of a bulk read in turn, and when it had been waited for
/// often enough no time was left for the zones that live: all keys failed.
#[tokio::test]
async fn large_bulk_read_of_a_frozen_zone_is_answered_by_the_other() {
    let mut cluster = Cluster::start(&["b"]).await;
    cluster.add_frozen("a").await;
    let keys: Vec<String> = (0..2_000).map(|index| format!("key-{index}")).collect();
    let inside = cluster.inside("b").await;
    let written = inside.set_many(keys.iter().map(|key| (key, "v"))).await.expect("good keys");
    assert!(written.failed.is_empty());
    // Room for two parts that are late and one that is half so late, as by default.
    let attempt = Duration::from_secs(2);
    let connection = ConnectionOptions { stall_timeout: PATIENCE, ..ConnectionOptions::default() };
    let cache = cluster.builder("a").connection(connection);
    let cache = cache.read_attempt_timeout(attempt).read_timeout(attempt * 5 / 2);
    let cache = cache.connect().await.expect("a list needs no discovery");
    let got = cache.get_many(&keys).await.expect("good keys");
    assert_eq!((got.hits.len(), got.misses.len(), got.failed.len()), (keys.len(), 0, 0));
}

/// The attempt lasts ten seconds here, so only a hedge can bring the answer in time.
#[tokio::test]
async fn read_of_a_node_that_turns_slow_is_answered_by_another_zone() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    let brakes = [cluster.with_brake("a", "n1").await, cluster.with_brake("a", "n2").await];
    let cache = cluster.client("a").await;
    cache.set("k", "v").latch(LatchPolicy::All).await.expect("all zones are well");
    let never = cluster.builder("a").hedge(0.0).connect().await.expect("a list needs no discovery");
    for _ in 0..300 {
        assert_eq!(cache.get("k").await, Ok(Some("v".into())));
        assert_eq!(never.get("k").await, Ok(Some("v".into())));
    }
    for brake in &brakes {
        brake.send_replace(true);
    }
    let begun = Instant::now();
    assert_eq!(cache.get("k").await, Ok(Some("v".into())));
    assert!(begun.elapsed() < PATIENCE / 20, "{:?}", begun.elapsed());
    let slow = tokio::time::timeout(PATIENCE / 20, never.get("k").into_future()).await;
    assert!(slow.is_err(), "without hedges it waits");
}

/// What was seen in the chaos suite: where hedges answered the reads of a node that had stopped, nobody told its breaker,
/// and reads went on to wait for it until the hedges' allowance was spent.
#[tokio::test]
async fn breaker_opens_though_hedges_answer_for_a_node_that_stopped() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    let brakes = [cluster.with_brake("a", "n1").await, cluster.with_brake("a", "n2").await];
    let cache = cluster.builder("a").hedge(1.0).read_attempt_timeout(Duration::from_millis(100));
    let cache = cache.read_timeout(PATIENCE).connect().await.expect("a list needs no discovery");
    cache.set("k", "v").latch(LatchPolicy::All).await.expect("all zones are well");
    for _ in 0..300 {
        assert_eq!(cache.get("k").await, Ok(Some("v".into())));
    }
    for brake in &brakes {
        brake.send_replace(true);
    }
    for _ in 0..10 {
        assert_eq!(cache.get("k").await, Ok(Some("v".into())));
    }
    let is_open = || cache.diagnostics().nodes.iter().any(|node| node.zone == "a" && node.breaker_open);
    eventually("the breaker", async || is_open().then_some(())).await;
}

/// A client in zone a with short timeouts.
async fn impatient(cluster: &Cluster) -> Client {
    cluster
        .builder("a")
        .read_attempt_timeout(Duration::from_millis(20))
        .read_timeout(Duration::from_millis(50))
        .write_timeout(Duration::from_millis(100))
        .connect()
        .await
        .expect("a list needs no discovery")
}

/// What was seen in review: while the breaker of a node was open nothing was repaired there, and when nobody read or
/// wrote any more nothing closed it: deletes were owed for as long as the client lived.
#[tokio::test]
async fn quiet_client_gives_a_node_that_was_frozen_what_it_missed() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    let brakes = [cluster.with_brake("b", "n1").await, cluster.with_brake("b", "n2").await];
    let limit = Duration::from_millis(20);
    let connection = ConnectionOptions {
        stall_timeout: Duration::from_millis(200),
        backoff_max: Duration::from_millis(10),
        ..ConnectionOptions::default()
    };
    let cache = cluster.builder("b").read_attempt_timeout(limit).connection(connection).hedge(0.0);
    let cache = cache.connect().await.expect("a list needs no discovery");
    brakes.iter().for_each(|brake| assert!(brake.send(true).is_ok()));
    for key in 0..40 {
        assert_eq!(cache.get(key.to_string()).await, Ok(None), "the other zone answers");
    }
    cache.set("k", "v").latch(LatchPolicy::One).await.expect("the other zone is well");
    eventually("the write is missed", async || (cache.repairs_pending() == 1).then_some(())).await;
    brakes.iter().for_each(|brake| assert!(brake.send(false).is_ok()));
    eventually("the repair", async || (cache.repairs_pending() == 0).then_some(())).await;
}
