//! Batches over namespaces.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use evanesce_client::{Client, ConnectionOptions, KeyError, LatchPolicy, ReadError, Typed, WriteError};

use crate::cluster::{Cluster, PATIENCE};

/// Two namespaces of different types, every write in every zone before it returns.
fn namespaces(cache: &Client) -> (Typed<String>, Typed<Vec<u32>>) {
    let all = |name| cache.namespace(name).latch(LatchPolicy::All);
    (all("user").typed(), all("row").typed())
}

#[tokio::test]
async fn each_answer_comes_by_its_handle_in_its_type() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    let (users, rows) = namespaces(&cache);
    users.set("1", &"Ada".to_owned()).await.expect("all zones are well");
    rows.set("1", &vec![7]).await.expect("all zones are well");
    rows.set("2", &vec![8, 9]).await.expect("all zones are well");
    cache.set("plain", "bytes").latch(LatchPolicy::All).await.expect("all zones are well");
    let mut batch = cache.batch();
    let user = batch.add(users.get("1"));
    let nobody = batch.add(users.get("2"));
    let shown = batch.add(rows.get_many(["2", "3", "1"]));
    let item = batch.add(cache.raw().get_item("plain"));
    let mut answers = batch.await;
    assert_eq!(answers.take(item).expect("it answers").map(|item| item.value), Some("bytes".into()));
    assert_eq!(answers.take(nobody), Ok(None));
    assert_eq!(answers.take(user), Ok(Some("Ada".to_owned())));
    let shown = answers.take(shown).expect("good keys");
    assert_eq!(shown.hits, [("2".into(), vec![8, 9]), ("1".into(), vec![7])]);
    assert_eq!((shown.misses, shown.failed.len()), (vec!["3".into()], 0));
}

#[tokio::test]
async fn reads_of_all_namespaces_reach_a_node_at_once() {
    let mut cluster = Cluster::start(&["a"]).await;
    let counted = [cluster.with_counter("a", "n1").await, cluster.with_counter("a", "n2").await];
    let cache = cluster.client("a").await;
    let names: Vec<_> = (0..20).map(|name| cache.namespace(format!("n{name}"))).collect();
    let parts = || counted.iter().map(|parts| parts.load(Ordering::SeqCst)).sum::<usize>();
    let before = parts();
    let mut batch = cache.batch();
    let handles: Vec<_> = names.iter().map(|name| batch.add(name.get_many(["1", "2", "3"]))).collect();
    let mut answers = batch.await;
    for handle in handles {
        assert_eq!(answers.take(handle).expect("good keys").misses, ["1", "2", "3"]);
    }
    assert_eq!(parts() - before, 2, "one for each node");
}

#[tokio::test]
async fn writes_go_beside_reads_with_their_own_outcomes() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    let (users, rows) = namespaces(&cache);
    let likes = cache.namespace("likes").latch(LatchPolicy::All);
    users.set("1", &"Ada".to_owned()).await.expect("all zones are well");
    let mut batch = cache.batch();
    let set = batch.add(rows.set("1", &vec![1]).ttl(Duration::from_secs(60)));
    let many = batch.add(rows.set_many((2..400).map(|row| (row.to_string(), &THREE))));
    let gone = batch.add(users.delete("1"));
    let liked = batch.add(likes.incr("1", 1).initial(7));
    let read = batch.add(users.get("2"));
    let mut answers = batch.await;
    assert_eq!(answers.take(set).expect("all zones are well").acked, 2);
    assert_eq!(answers.take(many).expect("all zones are well").written.len(), 398);
    assert!(answers.take(gone).expect("all zones are well").found);
    assert_eq!(answers.take(liked).expect("all zones are well").number(), Some(7));
    assert_eq!(answers.take(read), Ok(None));
    assert_eq!(rows.get("399").await, Ok(Some(THREE.clone())));
}

static THREE: Vec<u32> = Vec::new();

#[tokio::test]
async fn what_goes_wrong_with_one_is_no_error_of_another() {
    let cluster = Cluster::start(&["a"]).await;
    let cache = cluster.client("a").await;
    let (users, rows) = namespaces(&cache);
    users.set("1", &"Ada".to_owned()).await.expect("the zone is well");
    users.bytes().set("bytes", "no string").await.expect("the zone is well");
    let other = cluster.client("a").await;
    let foreign = other.namespace("user");
    let mut batch = cache.batch();
    let wrong = batch.add(rows.get_many(["1", ""]));
    let undecodable = batch.add(users.get("bytes"));
    let unwritten = batch.add(rows.set("", &vec![1]));
    let foreign = batch.add(foreign.get("1"));
    let user = batch.add(users.get("1"));
    let mut answers = batch.await;
    assert_eq!(answers.take(wrong), Err(ReadError::Key(KeyError::Empty)));
    assert!(matches!(answers.take(undecodable), Err(ReadError::Codec(_))));
    assert_eq!(answers.take(unwritten), Err(WriteError::Key(KeyError::Empty)));
    assert_eq!(answers.take(foreign), Err(ReadError::Key(KeyError::OtherClient)));
    assert_eq!(answers.take(user), Ok(Some("Ada".to_owned())));
    let mut batch = cache.batch();
    let user = batch.add(users.get("1"));
    assert_eq!(answers.take(user), Err(ReadError::Key(KeyError::OtherBatch)));
    _ = batch.await;
}

#[tokio::test]
async fn batch_asks_other_zones_for_what_its_own_does_not_answer() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    let (users, rows) = namespaces(&cache);
    users.set("1", &"Ada".to_owned()).await.expect("all zones are well");
    rows.set("1", &vec![1]).await.expect("all zones are well");
    cluster.kill("a").await;
    let mut batch = cache.batch();
    let (user, row) = (batch.add(users.get("1")), batch.add(rows.get_many(["1", "2"])));
    let mut answers = batch.await;
    assert_eq!(answers.take(user), Ok(Some("Ada".to_owned())));
    let row = answers.take(row).expect("good keys");
    assert_eq!((row.hits.len(), row.misses.len(), row.failed.len()), (1, 1, 0));
    cache.close().await;
    let mut batch = cache.batch();
    let (user, set) = (batch.add(users.get("1")), batch.add(rows.delete("1")));
    let mut answers = batch.await;
    assert_eq!(answers.take(user), Err(ReadError::Closed));
    assert_eq!(answers.take(set), Err(WriteError::Closed));
}

/// What was seen in review: a read that was to ask no other zone did when another one of its batch might.
#[tokio::test]
async fn read_keeps_its_options_among_others_of_its_batch() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    let far = cluster.inside("b").await;
    for key in ["1", "2"] {
        far.set(key, "far").await.expect("the zone is well");
    }
    let mut batch = cache.batch();
    let here = batch.add(cache.raw().get("1").no_fallback());
    let anywhere = batch.add(cache.raw().get("2"));
    let mut answers = batch.await;
    assert_eq!(answers.take(here), Ok(None));
    assert_eq!(answers.take(anywhere), Ok(Some("far".into())));
}

/// What was seen in review: all reads of a batch had the time of the one that was given most.
#[tokio::test]
async fn read_is_asked_nowhere_else_after_its_own_time() {
    let mut cluster = Cluster::start(&["b"]).await;
    cluster.add_frozen("a").await;
    let far = cluster.inside("b").await;
    for key in ["1", "2", "3"] {
        far.set(key, "far").await.expect("the zone is well");
    }
    let attempt = Duration::from_millis(300);
    let connection = ConnectionOptions { stall_timeout: 10 * PATIENCE, ..ConnectionOptions::default() };
    let cache = cluster.builder("a").connection(connection).read_attempt_timeout(attempt);
    let cache = cache.connect().await.expect("a list needs no discovery");
    let mut batch = cache.batch();
    let short = batch.add(cache.raw().get("1").timeout(attempt / 3));
    let sooner = batch.add(cache.raw().get("2").deadline(tokio::time::Instant::now() + attempt / 3));
    let long = batch.add(cache.raw().get("3"));
    let mut answers = batch.await;
    assert!(matches!(answers.take(short), Err(ReadError::Unanswered { .. })));
    assert!(matches!(answers.take(sooner), Err(ReadError::Unanswered { .. })));
    assert_eq!(answers.take(long), Ok(Some("far".into())));
}

#[tokio::test]
async fn reads_that_load_or_touch_go_beside_the_others() {
    let cluster = Cluster::start(&["a", "b"]).await;
    let cache = cluster.client("a").await;
    let (users, rows) = namespaces(&cache);
    users.set("1", &"Ada".to_owned()).await.expect("all zones are well");
    let mut batch = cache.batch();
    let read = batch.add(users.get("1"));
    let touched = batch.add(users.get_and_touch("1", Duration::from_secs(60)));
    let loaded = batch.add(rows.get_or_load("1", async |_| Ok::<_, Infallible>(Some(vec![7]))));
    let mut answers = batch.await;
    assert_eq!(answers.take(read), Ok(Some("Ada".to_owned())));
    assert_eq!(answers.take(touched), Ok(Some("Ada".to_owned())));
    assert_eq!(answers.take(loaded).expect("it is loaded"), Some(vec![7]));
    let mut batch = cache.batch();
    let token = batch.add(cache.raw().get_for_cas("1"));
    let other = cluster.client("a").await.batch().await.take(token);
    assert!(matches!(other, Err(ReadError::Key(KeyError::OtherBatch))));
    _ = batch.await;
}
