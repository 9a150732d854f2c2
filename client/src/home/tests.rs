//! Who may decide, and who may not.

use std::sync::Arc;
use std::time::Duration;

use evanesce_transport::{Completion, ConnectionOptions, TransportError};
use evanesce_wire::reply::Reply;
use evanesce_wire::request::Exptime;
use tokio::net::TcpListener;

use super::*;
use crate::core::tests::{core_with, topology};
use crate::member::Member;
use crate::request::{Stamp, with_change};

struct Nobody;

impl Completion for Nobody {
    fn complete(&self, _token: usize, _outcome: Result<Reply, TransportError>) {}
}

/// An `add` of a client that has just been made, to two zones whose nodes take connections and never answer.
struct Scene {
    core: Arc<Core>,
    home: Arc<Member>,
    /// The home zone's node first.
    nodes: Vec<TcpListener>,
}

impl Scene {
    async fn set(queue_max: usize) -> Self {
        let mut nodes = vec![silent().await, silent().await];
        let addresses: Vec<_> = nodes.iter().map(|node| node.local_addr().expect("it is bound")).collect();
        let core = Arc::new(core_with(ConnectionOptions { queue_max, ..ConnectionOptions::default() }));
        let list = format!("a=n1/{};b=n1/{}", addresses[0], addresses[1]);
        core.put(topology(1, &list)).expect("a good topology");
        let cluster = core.cluster().expect("it is open");
        let hash = cluster.placement().key_hash(key().as_bytes());
        let home = Arc::clone(cluster.owner(cluster.placement().home_order(hash)[0], hash).expect("a node"));
        if home.link.connection.address() != addresses[0] {
            nodes.reverse();
        }
        Self { core, home, nodes }
    }

    async fn add(&self, timeout: Duration) -> WriteError {
        let change = Change::Store {
            mode: SetMode::Add,
            value: "v".into(),
            flags: 0,
            exptime: Exptime(0),
            compare: None,
        };
        let write = HomeWrite { key: key(), change, latch: LatchPolicy::Local, timeout };
        change_at_home(&self.core, write).await.expect_err("nobody answers")
    }
}

fn key() -> Key {
    Key::new(b"", b"k").expect("a good key")
}

async fn silent() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports")
}

/// What was seen in review: with this client's own queue to the home zone full, the next zone was asked, though the
/// home zone was well and others asked it: both could store.
#[tokio::test]
async fn full_queue_to_the_home_zone_lets_no_other_decide() {
    let scene = Scene::set(1).await;
    // Nothing else has run on this runtime yet: the node is still being connected to.
    let connection = &scene.home.link.connection;
    let sent = with_change(&key(), &Change::Delete, Stamp::Without, 0, |request| {
        connection.submit(request, Arc::new(Nobody), 0)
    });
    sent.expect("there is room for one");
    assert_eq!(scene.add(Duration::from_millis(100)).await, WriteError::Busy);
}

/// What was seen in review: when the time was up at the home zone, the next one was sent an `add` for whose answer
/// nobody waited.
#[tokio::test]
async fn nobody_is_asked_after_the_deadline() {
    let mut scene = Scene::set(10).await;
    drop(scene.nodes.remove(0));
    let death = async {
        while !scene.home.link.is_suspect() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), death).await.expect("the death is noticed");
    let error = scene.add(Duration::ZERO).await;
    let WriteError::NotAcknowledged { attempts, maybe_applied: false, .. } = error else { panic!("{error}") };
    assert_eq!(attempts.len(), 1);
}
