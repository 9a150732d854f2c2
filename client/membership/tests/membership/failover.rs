//! Discoveries that die, freeze, restart, forget, and disagree.

use std::time::Duration;

use evanesce_membership::TopologyWatch;
use evanesce_topology::{Epoch, NodeState};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::world::{
    CLUSTER, Place, Sentinel, addresses, eventually, follow, options, register, shows, shows_all,
};

#[tokio::test]
async fn watch_goes_on_with_the_other_discovery() {
    let (mut a, b) = (Place::start().await, Place::start().await);
    let first = register(&[&a, &b], "n1", 1);
    let watch = follow(&[&a, &b]);
    let sentinel = Sentinel::start(&watch);
    shows(&watch, "n1", NodeState::Joining).await;
    assert_eq!(watch.status().following, Some(a.address.to_string()), "the first of the list");
    a.kill();
    let _second = register(&[&a, &b], "n2", 2);
    first.set_state(NodeState::Serving);
    shows(&watch, "n1", NodeState::Serving).await;
    shows(&watch, "n2", NodeState::Joining).await;
    let status = watch.status();
    assert_eq!(status.following, Some(b.address.to_string()));
    assert!(status.last_error.is_some_and(|error| error.contains(&a.address.to_string())));
    assert_eq!(watch.topology().map(|topology| topology.epoch), Some(status.epoch));
    assert!(sentinel.end(watch).await > 0);
}

/// A watcher that held an epoch of one discovery was told an older one by the next, and stayed with what it had,
/// though the next knew of nodes that the first had never heard of.
#[tokio::test]
async fn discovery_behind_the_others_catches_up_with_its_watcher() {
    let (mut ahead, behind) = (Place::start().await, Place::start().await);
    let _there = register(&[&behind], "n2", 2);
    let at_behind = follow(&[&behind]);
    shows(&at_behind, "n2", NodeState::Joining).await;
    let _here = register(&[&ahead], "n1", 1);
    let watch = follow(&[&ahead, &behind]);
    let sentinel = Sentinel::start(&watch);
    let held = shows(&watch, "n1", NodeState::Joining).await.epoch;
    assert!(held > at_behind.status().epoch, "the first is ahead");
    ahead.kill();
    let next = shows(&watch, "n2", NodeState::Joining).await;
    assert!(next.epoch > held);
    sentinel.end(watch).await;
}

#[tokio::test]
async fn all_discoveries_killed_and_restarted_show_nothing_empty_and_nothing_older() {
    let mut places = [Place::start().await, Place::start().await, Place::start().await];
    let names = ["n1", "n2", "n3", "n4"];
    let [a, b, c] = &places;
    let nodes = names.map(|name| register(&[a, b, c], name, u64::from(name.as_bytes()[1])));
    let watch = follow(&[a, b, c]);
    let sentinel = Sentinel::start(&watch);
    shows_all(&watch, &names, NodeState::Joining).await;
    for round in [NodeState::Warming, NodeState::Serving] {
        places.iter_mut().for_each(Place::kill);
        eventually("nobody is followed", async || watch.status().following.is_none().then_some(())).await;
        assert!(watch.topology().is_some(), "what was known stays");
        for place in &mut places {
            place.restart().await;
        }
        nodes.iter().for_each(|node| node.set_state(round));
        let topology = shows_all(&watch, &names, round).await;
        assert_eq!(topology.groups[0].nodes.len(), names.len());
    }
    sentinel.end(watch).await;
}

/// The registry's disks were lost with it. The first node to register again must not be the whole topology.
#[tokio::test]
async fn discovery_that_lost_its_memory_is_not_believed_before_a_lease() {
    let mut place = Place::start().await;
    let (n1, n2) = (register(&[&place], "n1", 1), register(&[&place], "n2", 2));
    let watch = follow(&[&place]);
    shows_all(&watch, &["n1", "n2"], NodeState::Joining).await;
    let mut topologies = watch.subscribe();
    topologies.borrow_and_update();
    // The loss is told from a first start by the age of the epochs seen: let them be older than a lease.
    let lapsing = register(&[&place], "n3", 3);
    shows(&watch, "n3", NodeState::Joining).await;
    drop(lapsing);
    shows(&watch, "n3", NodeState::Down).await;
    eventually("the last epoch is older than a lease", async || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.saturating_sub(Duration::from_millis(watch.status().epoch.0));
        (age > Duration::from_millis(1700)).then_some(())
    })
    .await;
    topologies.borrow_and_update();
    place.kill();
    place.lose_memory();
    place.restart().await;
    n1.set_state(NodeState::Serving);
    n2.set_state(NodeState::Serving);
    topologies.changed().await.unwrap();
    let topology = topologies.borrow_and_update().clone().unwrap();
    assert_eq!(topology.groups[0].nodes.len(), 2, "the first one after the loss has all that live");
}

/// A process that accepts connections and never answers: frozen, or behind a broken proxy.
#[tokio::test]
async fn discovery_that_never_answers_is_passed_over() {
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = Place::start().await;
    let _node = register(&[&place], "n1", 1);
    let list = [frozen.local_addr().unwrap().to_string(), place.address.to_string()];
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(frozen.accept().await.unwrap());
        }
    });
    let watch = TopologyWatch::start(&list, CLUSTER, options()).unwrap();
    shows(&watch, "n1", NodeState::Joining).await;
    held.abort();
}

/// The discovery froze after it had been followed for a while: its connection stays open, so only pings tell.
#[tokio::test]
async fn followed_discovery_that_freezes_is_left() {
    let (a, b) = (Place::start().await, Place::start().await);
    let node = register(&[&a, &b], "n1", 1);
    let (through, freeze) = freezable(a.address).await;
    let list = [through, b.address.to_string()];
    let watch = TopologyWatch::start(&list, CLUSTER, options()).unwrap();
    shows(&watch, "n1", NodeState::Joining).await;
    assert_eq!(watch.status().following.as_ref(), Some(&list[0]));
    freeze.send(()).unwrap();
    eventually("b is followed", async || (watch.status().following.as_ref() == Some(&list[1])).then_some(()))
        .await;
    node.set_state(NodeState::Serving);
    shows(&watch, "n1", NodeState::Serving).await;
}

/// A way to `target` that takes one connection and can be frozen: bytes are no longer carried, nothing is closed.
async fn freezable(target: std::net::SocketAddr) -> (String, tokio::sync::oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (freeze, frozen) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(target).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = frozen => {
                let mut sink = Vec::new();
                let _ = near.read_to_end(&mut sink).await;
            }
        }
    });
    (address, freeze)
}

#[tokio::test]
async fn silent_discovery_is_passed_over_for_one_that_knows_the_cluster() {
    let (ignorant, place) = (Place::start().await, Place::start().await);
    let _node = register(&[&place], "n1", 1);
    let watch = follow(&[&ignorant, &place]);
    shows(&watch, "n1", NodeState::Joining).await;
    assert_eq!(watch.status().following, Some(place.address.to_string()));
}

#[tokio::test]
async fn dropped_watch_closes_its_channel() {
    let place = Place::start().await;
    let watch = follow(&[&place]);
    assert_eq!(watch.status().epoch, Epoch(0));
    let mut topologies = watch.subscribe();
    drop(watch);
    eventually("the channel closes", async || topologies.changed().await.err()).await;
    assert_eq!(addresses(&[&place]).len(), 1);
}
