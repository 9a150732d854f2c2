//! Nodes that ask for a password.

use std::path::Path;

use evanesce_client::{
    Cause, Client, ClientBuilder, ConnectionOptions, Credentials, NodeError, ReadError, StaticNodes,
    TransportError, WriteError,
};
use evanesce_node::{Node, NodeConfig, RunningNode};

async fn node(users: &Path) -> (RunningNode, ClientBuilder) {
    std::fs::write(users, "ann:hunter2\n").expect("it is ours");
    let config = NodeConfig { auth_file: Some(users.to_owned()), ..NodeConfig::default() };
    let node = Node::start(config).await.expect("the node starts");
    let nodes = StaticNodes::new().node("a", "n1", node.memcached_addr());
    (node, Client::builder("HOME").nodes(nodes).zone("a"))
}

fn ann(password: &str) -> Credentials {
    Credentials::new("ann", password).expect("it can be told")
}

#[tokio::test]
async fn client_with_credentials_is_let_in_whatever_else_is_set_of_connections() {
    let dir = tempfile::tempdir().expect("there is room");
    let (_node, builder) = node(&dir.path().join("users")).await;
    let connection = ConnectionOptions { credentials: Some(ann("stale")), ..ConnectionOptions::default() };
    let builder = builder.credentials(ann("hunter2")).connection(connection);
    assert!(!format!("{builder:?}").contains("hunter2"));
    let cache = builder.connect().await.expect("there are nodes");
    cache.set("k", "v").await.expect("it is let in");
    assert_eq!(cache.get("k").await, Ok(Some("v".into())));
}

#[tokio::test]
async fn node_that_does_not_let_in_is_told_with_its_own_words() {
    let dir = tempfile::tempdir().expect("there is room");
    let (_node, builder) = node(&dir.path().join("users")).await;
    for (builder, expected, words) in [
        (builder.clone(), Cause::PasswordMissing, "unauthenticated"),
        (builder.credentials(ann("hunter3")), Cause::PasswordRefused, "authentication failure"),
    ] {
        let cache = builder.connect().await.expect("there are nodes");
        let read = cache.get("k").await.expect_err("it is not let in");
        let ReadError::Unanswered { attempts } = &read else { panic!("{read:?}") };
        let NodeError::Transport(TransportError::Unreachable { cause, .. }) = attempts[0].cause else {
            panic!("{read:?}")
        };
        assert_eq!((cause, &*attempts[0].detail), (expected, words));
        let written = cache.set("k", "v").await.expect_err("it is not let in");
        assert!(matches!(written, WriteError::NotAcknowledged { acked: 0, .. }), "{written:?}");
        let diagnostics = cache.diagnostics().to_string();
        for told in [read.to_string(), written.to_string(), diagnostics] {
            assert!(told.contains(&cause.to_string()) && told.contains(words), "{told}");
            assert!(!told.contains("hunter"), "{told}");
        }
    }
}
