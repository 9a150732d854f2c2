//! A zone that grows by a node: two rings in force, and the switch to one.

use std::time::Duration;

use evanesce_client::{
    ArithmeticOutcome, Client, CompareAndSetOutcome, ConnectError, LatchPolicy, RingRole, StaticNodes,
};

use crate::cluster::{Cluster, eventually, patient};

/// Where a resize is: see `SecondRing`.
const PHASES: [Phase; 4] = [Phase::Before, Phase::Next, Phase::Previous, Phase::After];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Next,
    Previous,
    After,
}

/// A zone of two nodes, and a third that is to join them.
async fn grown() -> Cluster {
    let mut cluster = Cluster::start(&["a"]).await;
    cluster.add_node("a", "n3").await;
    cluster
}

fn list(cluster: &Cluster, phase: Phase) -> StaticNodes {
    let nodes = |names: &[&'static str]| -> Vec<_> {
        names.iter().map(|name| (*name, cluster.address("a", name))).collect()
    };
    let (old, new) = (nodes(&["n1", "n2"]), nodes(&["n1", "n2", "n3"]));
    let read = if matches!(phase, Phase::Before | Phase::Next) { &old } else { &new };
    let list = read.iter().fold(StaticNodes::new(), |list, (name, address)| list.node("a", *name, *address));
    match phase {
        Phase::Before | Phase::After => list,
        Phase::Next => list.second_ring("a", RingRole::Next, new),
        Phase::Previous => list.second_ring("a", RingRole::Previous, old),
    }
}

async fn client(cluster: &Cluster, phase: Phase) -> Client {
    let builder = patient(list(cluster, phase)).zone("a").latch(LatchPolicy::All);
    builder.connect().await.expect("a list needs no discovery")
}

/// Keys that move to the third node.
fn moving(cache: &Client) -> impl Iterator<Item = String> {
    (0..).map(|key| format!("key-{key}")).filter(|key| {
        let owners = cache.owners(key).expect("a good key");
        owners.iter().any(|owner| owner.node == "n3" && owner.written_only)
    })
}

fn first_moving(cache: &Client) -> String {
    moving(cache).next().expect("a third of all keys")
}

#[tokio::test]
async fn both_owners_are_written_and_the_old_one_is_read_until_the_switch() {
    let cluster = grown().await;
    let cache = client(&cluster, Phase::Next).await;
    let new = cluster.inside_node("a", "n3").await;
    let keys: Vec<_> = moving(&cache).take(50).collect();
    for key in &keys {
        let written = cache.set(key, "v").await.expect("all nodes are well");
        assert_eq!(
            (written.acked, written.failed + written.pending),
            (1, 0),
            "one replica, whatever its rings"
        );
        eventually("the new owner has it", async || new.get(key).await.expect("it answers")).await;
        new.set(key, "only there").await.expect("it is well");
    }
    let got = cache.get_many(&keys).await.expect("good keys");
    assert!(got.hits.len() == 50 && got.hits.iter().all(|(_, value)| value == "v"));
    assert_eq!(cache.get(&keys[0]).await, Ok(Some("v".into())));
    assert_eq!(cache.diagnostics().resized, ["a"]);
    cache.replace_nodes(&list(&cluster, Phase::Previous)).await.expect("a good list");
    let got = cache.get_many(&keys).await.expect("good keys");
    assert!(got.hits.len() == 50 && got.hits.iter().all(|(_, value)| value == "only there"));
    cache.replace_nodes(&list(&cluster, Phase::After)).await.expect("a good list");
    cache.set(&keys[0], "after").await.expect("all nodes are well");
    assert_eq!(new.get(&keys[0]).await, Ok(Some("after".into())));
    assert_eq!(cache.owners(&keys[0]).expect("a good key").len(), 1);
    assert_eq!(cache.diagnostics().resized, [""; 0]);
}

/// Clients hear of a new topology one after the other: those of adjacent phases must see what the others write.
#[tokio::test]
async fn clients_of_adjacent_phases_read_what_either_writes() {
    let cluster = grown().await;
    let mut clients = Vec::new();
    for phase in PHASES {
        clients.push((phase, client(&cluster, phase).await));
    }
    let keys: Vec<_> = moving(&clients[1].1).take(20).collect();
    for pair in clients.windows(2) {
        for key in &keys {
            for ((writes, writer), (_, reader)) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                writer.set(key, format!("by {writes:?}")).await.expect("all nodes are well");
                eventually("the other sees it", async || {
                    let value = reader.get(key).await.expect("it answers")?;
                    (value == format!("by {writes:?}")).then_some(())
                })
                .await;
            }
        }
    }
}

#[tokio::test]
async fn deletes_and_touches_reach_both_owners() {
    let cluster = grown().await;
    let cache = client(&cluster, Phase::Next).await;
    let new = cluster.inside_node("a", "n3").await;
    let key = first_moving(&cache);
    cache.set(&key, "v").await.expect("all nodes are well");
    cache.touch(&key, Duration::from_secs(5)).await.expect("all nodes are well");
    eventually("it is touched there", async || {
        let item = new.get_item(&key).await.expect("it answers")?;
        (item.ttl?.as_secs() <= 6).then_some(())
    })
    .await;
    assert!(cache.delete(&key).await.expect("all nodes are well").found);
    eventually("it is deleted there", async || {
        new.get(&key).await.expect("it answers").is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn old_owner_decides_until_the_switch_and_the_new_one_gets_the_outcome() {
    let cluster = grown().await;
    let cache = client(&cluster, Phase::Next).await;
    let new = cluster.inside_node("a", "n3").await;
    let mut keys = moving(&cache);
    let mut key = || keys.next().expect("a third of all keys");
    let counter = key();
    cache.set(&counter, "5").await.expect("all nodes are well");
    eventually("the new owner has it", async || new.get(&counter).await.expect("it answers")).await;
    let counted = cache.incr(&counter, 1).await.expect("all nodes are well");
    assert!(matches!(counted, ArithmeticOutcome::Counted { number: 6, .. }), "{counted:?}");
    eventually("it has the number", async || {
        (new.get(&counter).await.expect("it answers")? == "6").then_some(())
    })
    .await;
    let added = key();
    assert!(cache.add(&added, "added").await.expect("all nodes are well").is_stored());
    eventually("it has what was added", async || {
        (new.get(&added).await.expect("it answers")? == "added").then_some(())
    })
    .await;
    let item = cache.get_for_cas(&added).await.expect("it answers").expect("a hit");
    let changed = cache.compare_and_set(&added, item.cas, "changed").await.expect("all nodes are well");
    assert!(matches!(changed, CompareAndSetOutcome::Stored(_)));
    eventually("it has what was changed", async || {
        (new.get(&added).await.expect("it answers")? == "changed").then_some(())
    })
    .await;
    cache.replace_nodes(&list(&cluster, Phase::Previous)).await.expect("a good list");
    assert_eq!(cache.incr(&counter, 1).await.expect("all nodes are well").number(), Some(7));
}

#[tokio::test]
async fn new_owner_that_was_away_gets_what_it_missed() {
    let mut cluster = grown().await;
    let cache = client(&cluster, Phase::Next).await;
    let key = first_moving(&cache);
    cluster.kill_node("a", "n3").await;
    let written = cache.set(&key, "v").await.expect("the old owner is well");
    assert_eq!((written.acked, written.failed), (1, 0), "nobody waits for it, nor counts it");
    eventually("it is owed", async || (cache.diagnostics().repairs_pending == 1).then_some(())).await;
    cluster.start_node_again("a", "n3").await;
    let new = cluster.inside_node("a", "n3").await;
    eventually("it gets it", async || new.get(&key).await.expect("it answers")).await;
}

/// A write that the old owner missed before the resize would reach it after the new one was filled from it.
#[tokio::test]
async fn what_an_old_owner_missed_before_is_given_to_the_new_one_too() {
    let mut cluster = grown().await;
    let cache = client(&cluster, Phase::Before).await;
    let key = first_moving(&client(&cluster, Phase::Next).await);
    let old = cache.owners(&key).expect("a good key")[0].node.clone();
    cluster.kill_node("a", &old).await;
    cache.set(&key, "v").await.expect_err("there is no other zone");
    cache.replace_nodes(&list(&cluster, Phase::Next)).await.expect("a good list");
    cluster.start_node_again("a", &old).await;
    for name in [old.as_str(), "n3"] {
        let owner = cluster.inside_node("a", name).await;
        eventually("it gets it", async || owner.get(&key).await.expect("it answers")).await;
    }
}

#[tokio::test]
async fn large_value_survives_the_switch() {
    let cluster = grown().await;
    let cache = client(&cluster, Phase::Next).await;
    let value: Vec<u8> = (0..3 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let key = first_moving(&cache);
    cache.set(&key, value.clone()).await.expect("all nodes are well");
    cache.replace_nodes(&list(&cluster, Phase::After)).await.expect("a good list");
    eventually("all chunks have arrived", async || {
        (cache.get(&key).await.expect("it answers")? == value).then_some(())
    })
    .await;
}

#[tokio::test]
async fn lists_that_cannot_be_used_leave_the_present_one() {
    let cluster = grown().await;
    let cache = client(&cluster, Phase::Before).await;
    let epoch = cache.topology().expect("it is open").epoch;
    let error = cache.replace_nodes(&StaticNodes::new()).await.expect_err("there is no node");
    assert!(matches!(error, ConnectError::Nodes(_)), "{error}");
    assert_eq!(cache.topology().expect("it is open").epoch, epoch);
    cache.close().await;
    let error = cache.replace_nodes(&cluster.all()).await.expect_err("it is closed");
    assert!(matches!(error, ConnectError::NotReplaceable), "{error}");
}
