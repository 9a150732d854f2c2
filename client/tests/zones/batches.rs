//! Batches over namespaces.

use std::sync::atomic::Ordering;
use std::time::Duration;

use evanesce_client::{Client, KeyError, LatchPolicy, ReadError, Typed, WriteError};

use crate::cluster::Cluster;

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
