//! Registering, renewing, registering again, leaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evanesce_membership::{EndpointError, MembershipOptions, Registration, TopologyWatch};
use evanesce_topology::NodeState;
use tokio::net::TcpListener;

use crate::world::{Place, addresses, eventually, facts, follow, options, register, shows, state};

#[tokio::test]
async fn node_registers_with_every_discovery_and_stays() {
    let (a, b) = (Place::start().await, Place::start().await);
    let node = register(&[&a, &b], "n1", 1);
    node.registered().await;
    let (at_a, at_b) = (follow(&[&a]), follow(&[&b]));
    shows(&at_a, "n1", NodeState::Joining).await;
    shows(&at_b, "n1", NodeState::Joining).await;
    node.set_state(NodeState::Serving);
    shows(&at_a, "n1", NodeState::Serving).await;
    let topology = shows(&at_b, "n1", NodeState::Serving).await;
    assert_eq!(topology.groups[0].nodes[0].capabilities, ["meta"]);
    // Another node lapses meanwhile, so a lease has passed for this one as well.
    let other = register(&[&a], "n2", 2);
    shows(&at_a, "n2", NodeState::Joining).await;
    drop(other);
    let topology = shows(&at_a, "n2", NodeState::Down).await;
    assert_eq!(state(&topology, "n1"), Some(NodeState::Serving));
    assert!(node.status().iter().all(|status| status.registered && status.last_error.is_none()));
    assert!(node.epoch_seen() > evanesce_topology::Epoch(0));
}

#[tokio::test]
async fn deregistered_node_is_down_at_once() {
    let (a, b) = (Place::start().await, Place::start().await);
    let node = register(&[&a, &b], "n1", 1);
    let (at_a, at_b) = (follow(&[&a]), follow(&[&b]));
    shows(&at_a, "n1", NodeState::Joining).await;
    shows(&at_b, "n1", NodeState::Joining).await;
    assert!(node.deregister(Duration::from_secs(10)).await);
    shows(&at_a, "n1", NodeState::Down).await;
    shows(&at_b, "n1", NodeState::Down).await;
    node.set_state(NodeState::Serving);
    assert!(node.status().iter().all(|status| !status.registered), "it has left for good");
}

#[tokio::test]
async fn deregistering_from_a_dead_discovery_takes_no_longer_than_told() {
    let mut place = Place::start().await;
    let node = register(&[&place], "n1", 1);
    node.registered().await;
    place.kill();
    let deadline = Duration::from_secs(5);
    let ended = tokio::time::timeout(deadline * 2, node.deregister(deadline)).await;
    assert_eq!(ended, Ok(false));
}

#[tokio::test]
async fn discovery_that_forgot_its_nodes_is_registered_with_again() {
    let mut place = Place::start().await;
    let node = register(&[&place], "n1", 1);
    node.registered().await;
    let watch = follow(&[&place]);
    shows(&watch, "n1", NodeState::Joining).await;
    drop(watch);
    place.kill();
    place.lose_memory();
    place.restart().await;
    let watch = follow(&[&place]);
    shows(&watch, "n1", NodeState::Joining).await;
    eventually("it is registered", async || node.status()[0].registered.then_some(())).await;
}

/// An operator shortened the lease and started the discovery again, which remembered its nodes. They were renewed as
/// often as the old lease wanted, and so lapsed in between, again and again.
#[tokio::test]
async fn discovery_restarted_with_a_shorter_lease_is_renewed_more_often() {
    let mut place = Place::start().await;
    place.kill();
    place.lease = Duration::from_secs(12);
    place.restart().await;
    let node = register(&[&place], "n1", 1);
    let watch = follow(&[&place]);
    shows(&watch, "n1", NodeState::Joining).await;
    place.kept("n1").await;
    place.kill();
    place.lease = Duration::from_millis(1500);
    place.restart().await;
    node.set_state(NodeState::Serving);
    shows(&watch, "n1", NodeState::Serving).await;
    let mut topologies = watch.subscribe();
    let lapses =
        topologies.wait_for(|topology| state(topology.as_ref().unwrap(), "n1") == Some(NodeState::Down));
    tokio::time::timeout(place.lease * 2, lapses).await.expect_err("it stays");
}

#[tokio::test]
async fn refused_node_says_so_and_is_let_in_when_the_name_is_vacated() {
    let place = Place::start().await;
    let first = register(&[&place], "n1", 1);
    first.registered().await;
    let second = register(&[&place], "n1", 2);
    let refusal = eventually("a refusal", async || {
        second.status().into_iter().find(|status| status.refused).and_then(|status| status.last_error)
    });
    let refusal = refusal.await;
    assert!(refusal.contains("is held by the node at 127.0.0.1:20001"), "{refusal}");
    drop(first);
    tokio::time::timeout(Duration::from_secs(30), second.registered()).await.expect("it is let in");
    assert_eq!(second.status()[0].last_error, None);
}

#[tokio::test]
async fn discovery_that_is_away_does_not_hold_up_the_others() {
    let (mut a, b) = (Place::start().await, Place::start().await);
    a.kill();
    let node = register(&[&a, &b], "n1", 1);
    tokio::time::timeout(Duration::from_secs(30), node.registered()).await.expect("b accepts it");
    let watch = follow(&[&a, &b]);
    shows(&watch, "n1", NodeState::Joining).await;
    let error = eventually("an error", async || node.status()[0].last_error.clone()).await;
    assert!(error.contains("cannot connect"), "{error}");
    a.restart().await;
    eventually("a is registered with", async || node.status()[0].registered.then_some(())).await;
}

/// A thousand nodes registered with discoveries that were slow to answer, gave up their connections and made new ones,
/// which kept the discoveries slow.
#[tokio::test]
async fn late_answer_does_not_cost_the_connection() {
    let place = Place::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let slow = MembershipOptions { call_timeout: Duration::from_millis(400), ..MembershipOptions::default() };
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(slow.call_timeout * 3 / 2).await;
            let mut far = tokio::net::TcpStream::connect(place.address).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        }
    });
    let node = Registration::start(&[address], facts("n1", 1), slow).unwrap();
    node.registered().await;
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn lists_without_a_usable_address_are_refused() {
    let none: [&str; 0] = [];
    let error = Registration::start(&none, facts("n1", 1), options()).unwrap_err();
    assert_eq!(error, EndpointError::None);
    let error = TopologyWatch::start(&["nowhere"], "HOME", options()).unwrap_err();
    assert!(error.to_string().contains("write host:port"), "{error}");
    assert_eq!(addresses(&[]), Vec::<String>::new());
}
