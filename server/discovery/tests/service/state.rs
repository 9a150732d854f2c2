//! What survives on disk, and what happens when it cannot.

use std::path::Path;
use std::time::Duration;

use evanesce_discovery::{DiscoveryError, StateError};
use evanesce_grpc::discovery::v1::{NodeState, RegisterRequest};

use crate::world::{
    client, eventually, next, registration, renewal, start, start_patient, states, warnings, watch,
};

/// One discovery's life with the nodes named; the epoch it last published.
async fn live_once(directory: &Path, nodes: &[RegisterRequest]) -> u64 {
    let discovery = start(Some(directory)).unwrap();
    let mut client = client(&discovery).await;
    for node in nodes {
        client.register(node.clone()).await.unwrap();
    }
    let mut stream = client.watch(watch(0)).await.unwrap().into_inner();
    let mut topology = next(&mut stream).await;
    while states(&topology).len() < nodes.len() {
        topology = next(&mut stream).await;
    }
    discovery.drain(Duration::from_secs(5)).await;
    topology.epoch
}

#[tokio::test]
async fn restarted_discovery_remembers_nodes_and_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let before = live_once(directory.path(), &[registration("n1", 1), registration("n2", 2)]).await;
    let discovery = start_patient(directory.path());
    let mut client = client(&discovery).await;
    assert_eq!(warnings(&discovery).await.len(), 1, "it says that it is not settled");
    let mut stream = client.watch(watch(before)).await.unwrap().into_inner();
    client.renew(renewal("n1", 1)).await.expect("its lease was remembered");
    client.renew(renewal("n2", 2)).await.expect("its lease was remembered");
    let topology = next(&mut stream).await;
    assert!(topology.epoch > before);
    assert_eq!(states(&topology), [("n1", NodeState::Serving), ("n2", NodeState::Serving)]);
    assert_eq!(warnings(&discovery).await, Vec::<String>::new());
}

#[tokio::test]
async fn node_that_died_with_the_discovery_is_down_after_a_lease() {
    let directory = tempfile::tempdir().unwrap();
    let nodes = [registration("n1", 1), registration("n2", 2), registration("n3", 3)];
    live_once(directory.path(), &nodes).await;
    let discovery = start(Some(directory.path())).unwrap();
    let mut client = client(&discovery).await;
    let mut stream = client.watch(watch(0)).await.unwrap().into_inner();
    let renewing = async {
        let mut every = tokio::time::interval(Duration::from_millis(100));
        loop {
            every.tick().await;
            client.renew(renewal("n1", 1)).await.unwrap();
            client.renew(renewal("n2", 2)).await.unwrap();
        }
    };
    let topology =
        tokio::select! { topology = next(&mut stream) => topology, () = renewing => unreachable!() };
    let (up, down) = (NodeState::Serving, NodeState::Down);
    assert_eq!(states(&topology), [("n1", up), ("n2", up), ("n3", down)]);
}

#[tokio::test]
async fn damaged_or_foreign_state_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.json");
    live_once(directory.path(), &[registration("n1", 1)]).await;
    let good = std::fs::read_to_string(&path).unwrap();
    let twice = good.replacen("\"nodes\":[", &format!("\"nodes\":[{},", node_of(&good)), 1);
    for (text, expected) in [
        (good[..good.len() / 2].to_owned(), "is no registry's state"),
        (String::new(), "is no registry's state"),
        ("{\"format\":\"tractor\",\"version\":1}".to_owned(), "its format is \"tractor\""),
        (good.replace("\"version\":1,", "\"version\":2,"), "start the release that wrote it"),
        (good.replace("\"state\":\"serving\"", "\"state\":\"asleep\""), "is no registry's state"),
        (good.replace("\"weight\":1", "\"weight\":0"), "is no registry's state"),
        (twice, "is no registry's state"),
        (good.replace("\"groups\":", "\"extra\":1,\"groups\":"), "is no registry's state"),
    ] {
        assert_ne!(text, good, "the text was changed: {expected}");
        std::fs::write(&path, &text).unwrap();
        let error = start(Some(directory.path())).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("registry.json"), "{error}");
    }
    std::fs::write(&path, good).unwrap();
    start(Some(directory.path())).expect("the good one is still good");
}

/// The text of the first node in a state file.
fn node_of(state: &str) -> &str {
    let from = state.find("{\"name\":\"n1\"").unwrap();
    let to = from + state[from..].find('}').unwrap();
    &state[from..=to]
}

#[tokio::test]
async fn state_directory_belongs_to_one_discovery() {
    let directory = tempfile::tempdir().unwrap();
    let first = start(Some(directory.path())).unwrap();
    let error = start(Some(directory.path())).unwrap_err();
    assert!(matches!(error, DiscoveryError::State(StateError::Held { .. })), "{error}");
    first.drain(Duration::from_secs(5)).await;
    start(Some(directory.path())).expect("it is free again");
}

#[tokio::test]
async fn state_directory_that_cannot_be_made_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = start(Some(&file.path().join("below"))).unwrap_err();
    assert!(error.to_string().contains("give the discovery a state directory"), "{error}");
}

#[tokio::test]
async fn disk_that_fails_is_warned_of_and_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let discovery = start(Some(&state)).unwrap();
    let mut client = client(&discovery).await;
    eventually("the directory is gone", async || std::fs::remove_dir_all(&state).ok()).await;
    client.register(registration("n1", 1)).await.expect("it goes on serving");
    let warned = async || warnings(&discovery).await.into_iter().find(|text| text.contains("cannot write"));
    eventually("a warning", warned).await;
    std::fs::create_dir(&state).unwrap();
    eventually("no warning", async || warned().await.is_none().then_some(())).await;
    assert!(std::fs::read_to_string(state.join("registry.json")).unwrap().contains("n1"));
}
