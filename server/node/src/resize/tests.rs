//! What a node answers whose group has another ring than the asker thinks.

use std::sync::Arc;

use evanesce_grpc::discovery::v1;
use evanesce_grpc::peer::v1::{CompareRequest, DigestRequest, Entry, Pair, Slices};
use evanesce_store::{Store, StoreConfig};
use evanesce_topology::{
    Epoch, GroupMode, Node, NodeState, RingProfile, RingRole, SecondRing, ServerGroup, Topology,
};
use tonic::{Code, Status};

use super::view::View;
use crate::clock::Clock;
use crate::reconcile::Answers;
use crate::settings::{Facts, Protection};
use crate::shared::Shared;
use crate::warm::Newcomer;

/// What a node shares that nobody knows yet.
pub(crate) fn shared() -> Shared {
    let facts = Facts {
        protection: Protection::default(),
        memcached: "127.0.0.1:11211".parse().unwrap(),
        item_bytes_max: 1 << 20,
        connections_max: 10,
        idle_timeout: None,
        shutdown_command: false,
        configuration: None,
    };
    let store = Store::new(StoreConfig { memory_bytes: 16 << 20, ..StoreConfig::default() }).unwrap();
    let shared = Shared::new(store, Clock::start(), 1, None, facts);
    shared.standing.settle(true);
    shared
}

fn group(name: &str, nodes: &[&str]) -> ServerGroup {
    let node = |name: &&str| Node {
        name: (*name).to_owned(),
        ring_text: (*name).to_owned(),
        weight: 1,
        state: NodeState::Serving,
        incarnation: 1,
        memcached: "127.0.0.1:11211".parse().unwrap(),
        grpc: None,
        http: None,
        version: String::new(),
        capabilities: Vec::new(),
    };
    let nodes = nodes.iter().map(node).collect();
    ServerGroup {
        name: name.to_owned(),
        zone: name.to_owned(),
        mode: GroupMode::ReadWrite,
        nodes,
        second: None,
    }
}

/// A node `n1` of group `a`, which has these nodes as far as it knows.
fn knowing(nodes: &[&str]) -> Answers {
    let shared = Arc::new(shared());
    shared.resize.view.send_replace(Some(Arc::new(seen(group("a", nodes)))));
    Answers::new(shared, "HOME".to_owned())
}

/// As `n1` sees its group.
fn seen(group_a: ServerGroup) -> View {
    let groups = vec![group_a, group("b", &["m1"])];
    let topology = Topology::new("HOME".to_owned(), Epoch(1), RingProfile::EVANESCE, groups).unwrap();
    let me = Newcomer {
        cluster: "HOME".to_owned(),
        group: "a".to_owned(),
        name: "n1".to_owned(),
        discoveries: Vec::new(),
        limit: std::time::Duration::ZERO,
    };
    View::new(Arc::new(topology), &me, None).unwrap()
}

async fn asked(answers: &Answers, nodes: &[&str]) -> Result<bool, Status> {
    let message = |group: &ServerGroup| Some(v1::ServerGroup::from(group));
    let pair = Pair {
        cluster: "HOME".to_owned(),
        profile: Some(v1::RingProfile::from(RingProfile::EVANESCE)),
        asker_group: message(&group("b", &["m1"])),
        asker: "m1".to_owned(),
        giver_group: message(&group("a", nodes)),
        giver: "n1".to_owned(),
    };
    let slices = Some(Slices { salt: 7, count: 256 });
    let request = DigestRequest { pair: Some(pair), slices, at_once: true };
    answers.digest(request).await.map(|digests| digests.settled)
}

async fn vouches_for(answers: &Answers, keys: std::ops::Range<u32>) -> bool {
    let entry = |key| Entry { key: format!("key{key}").into(), version: 1, fingerprint: 0 };
    let request = CompareRequest { cluster: "HOME".to_owned(), entries: keys.map(entry).collect() };
    answers.compare(request).await.unwrap().settled
}

// A node that has given half of its keys away is not to be asked by the ring of before: whoever was away would drop what is
// not here by its word.
#[tokio::test]
async fn asker_with_another_ring_is_refused_and_foreign_keys_are_not_vouched_for() {
    let answers = knowing(&["n1", "n2"]);
    assert!(asked(&answers, &["n1", "n2"]).await.unwrap());
    for nodes in [&["n1"][..], &["n1", "n2", "n3"], &["n1", "n4"]] {
        let refused = asked(&answers, nodes).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{nodes:?}");
    }
    assert!(!vouches_for(&answers, 0..100).await, "half of them are of another");
    let alone = knowing(&["n1"]);
    assert!(asked(&alone, &["n1"]).await.unwrap() && vouches_for(&alone, 0..100).await);
}

// A group grew while a node compared with its sibling, and what it had just dropped as another's came back.
#[test]
fn key_concerns_a_node_by_either_ring_and_by_none_that_lacks_the_node() {
    let keys: Vec<String> = (0..100).map(|key| format!("key{key}")).collect();
    let count = |view: &View| keys.iter().filter(|key| view.concerns(key.as_bytes())).count();
    let with_second = |first: &[&str], second: &[&str]| {
        let nodes = group("a", second).nodes;
        let second = Some(SecondRing { role: RingRole::Next, nodes, change: 1 });
        seen(ServerGroup { second, ..group("a", first) })
    };
    let both = seen(group("a", &["n1", "n2"]));
    let own = keys.iter().filter(|key| both.owns(key.as_bytes())).count();
    assert!((1..100).contains(&own));
    assert_eq!(count(&both), own);
    assert_eq!(count(&with_second(&["n1", "n2"], &["n2"])), own, "the ring that is read");
    assert_eq!(count(&with_second(&["n2"], &["n1", "n2"])), own, "the next ring, for which it is filled");
    assert_eq!((count(&seen(group("a", &["n1"]))), count(&seen(group("a", &["n2"])))), (100, 100));
}
