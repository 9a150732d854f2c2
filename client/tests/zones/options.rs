//! What a caller says of one call: deadlines, timeouts, no fallback.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use evanesce_client::{Client, LatchPolicy, LoadError, ReadError, WriteError};
use tokio::time::Instant;

use crate::cluster::{Cluster, PATIENCE};

const MOMENT: Duration = Duration::from_millis(50);

async fn no_value(_: Vec<Bytes>) -> io::Result<Vec<(Bytes, Bytes)>> {
    Ok(Vec::new())
}

/// An item that the zone of the client has not: only the other one does.
async fn only_elsewhere(cluster: &Cluster, key: &str) {
    cluster.inside("b").await.set(key, "v").await.expect("the zone is well");
}

#[tokio::test]
async fn read_that_is_not_to_fall_back_takes_a_miss_for_an_answer() {
    let cluster = Cluster::start(&["a", "b"]).await;
    // Without a copy to the zone that missed, so that each read misses there.
    let cache = cluster.builder("a").miss_fallback(1.0).connect().await.expect("a list");
    for key in ["one", "many", "touched", "loaded", "batched"] {
        only_elsewhere(&cluster, key).await;
    }
    assert_eq!(cache.get("one").no_fallback().await, Ok(None));
    assert_eq!(cache.get_item("one").no_fallback().await, Ok(None));
    assert_eq!(cache.get("one").await, Ok(Some("v".into())));
    let found = cache.get_many(["many"]).no_fallback().await.expect("good keys");
    assert_eq!(found.misses, ["many"]);
    assert_eq!(cache.get_many(["many"]).await.expect("good keys").hits.len(), 1);
    let ttl = Duration::from_secs(100);
    assert_eq!(cache.get_and_touch("touched", ttl).no_fallback().await, Ok(None));
    let mut batch = cache.batch();
    let batched = batch.add(cache.get("batched").no_fallback());
    assert_eq!(batch.await.take(batched), Ok(None));
    let loader = async |_: Bytes| Ok::<_, io::Error>(Some("loaded".into()));
    let found = cache.raw().get_or_load("loaded", loader).no_fallback().await;
    assert!(found.expect("it answers").is_some());
}

#[tokio::test]
async fn read_that_is_not_to_fall_back_still_goes_on_after_an_error() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    cache.set("k", "v").latch(LatchPolicy::All).await.expect("all zones are well");
    cluster.kill("a").await;
    assert_eq!(cache.get("k").no_fallback().await, Ok(Some("v".into())));
}

#[tokio::test]
async fn reads_end_at_their_deadline_whatever_their_timeout() {
    let mut cluster = Cluster::start(&[]).await;
    cluster.add_frozen("a").await;
    let cache = cluster.client("a").await;
    let begun = Instant::now();
    let deadline = || Instant::now() + MOMENT;
    let unanswered = |error: &ReadError| matches!(error, ReadError::Unanswered { .. });
    assert!(cache.get("k").deadline(deadline()).await.is_err_and(|error| unanswered(&error)));
    assert!(cache.get_for_cas("k").deadline(deadline()).await.is_err_and(|error| unanswered(&error)));
    let touch = cache.get_and_touch("k", PATIENCE).deadline(deadline());
    assert!(touch.await.is_err_and(|error| unanswered(&error)));
    let many = cache.get_many(["k", "l"]).deadline(deadline()).await.expect("good keys");
    assert_eq!(many.failed.len(), 2);
    let mut batch = cache.batch().deadline(deadline());
    let one = batch.add(cache.get("k"));
    assert!(batch.await.take(one).is_err_and(|error| unanswered(&error)));
    let loader = async |_: Bytes| Ok::<_, io::Error>(Some("loaded".into()));
    let loaded = cache.raw().get_or_load("k", loader).deadline(deadline()).await;
    assert!(matches!(loaded, Err(LoadError::Timeout)), "{loaded:?}");
    let loaded = cache.raw().get_or_load_many(["k"], no_value).deadline(deadline()).await;
    assert!(matches!(loaded.expect("good keys").failed[..], [(_, LoadError::Timeout)]));
    // The standard library's instants will do.
    assert!(cache.get("k").deadline(std::time::Instant::now() + MOMENT).await.is_err());
    assert!(begun.elapsed() < PATIENCE);
}

#[tokio::test]
async fn writes_end_at_their_deadline_and_later_ones_are_not_sent() {
    let mut cluster = Cluster::start(&["a"]).await;
    cluster.add_frozen("b").await;
    let cache: Client = cluster.client("a").await;
    let begun = Instant::now();
    let all = cache.set("k", "v").latch(LatchPolicy::All).deadline(Instant::now() + MOMENT).await;
    assert!(matches!(all, Err(WriteError::NotAcknowledged { .. })), "{all:?}");
    assert!(begun.elapsed() < PATIENCE);
    let past = Instant::now();
    let too_late =
        |error: WriteError| error == WriteError::TooLate && error.may_retry() && !error.maybe_applied();
    assert!(cache.set("late", "v").deadline(past).await.is_err_and(too_late));
    assert!(cache.add("late", "v").deadline(past).await.is_err_and(too_late));
    assert!(cache.append("k", "v").deadline(past).await.is_err_and(too_late));
    assert!(cache.compare_and_set("k", 1, "v").deadline(past).await.is_err_and(too_late));
    assert!(cache.incr("late", 1).initial(1).deadline(past).await.is_err_and(too_late));
    assert!(cache.delete("k").deadline(past).await.is_err_and(too_late));
    assert!(cache.touch("k", PATIENCE).deadline(past).await.is_err_and(too_late));
    assert!(cache.raw().flush_all().deadline(past).await.is_err_and(too_late));
    let many = cache.set_many([("late", "v"), ("k", "w")]).deadline(past).await.expect("good keys");
    assert_eq!((many.written.len(), many.retryable().count()), (0, 2));
    assert_eq!(cache.get("late").await, Ok(None));
    assert_eq!(cache.get("k").await, Ok(Some("v".into())));
}
