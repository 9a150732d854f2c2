//! Topologies put in force one after the other.

use std::sync::{Arc, Weak};

use evanesce_topology::Epoch;

use super::*;
use crate::listener::Events;
use crate::member::Link;
use crate::request::Change;
use crate::static_nodes::StaticNodes;

pub(crate) fn core() -> Core {
    core_with(ConnectionOptions::default())
}

pub(crate) fn core_with(connection: ConnectionOptions) -> Core {
    Core::new(
        Settings {
            cluster: "HOME".into(),
            zone: "a".into(),
            read_attempt_timeout: Duration::from_secs(1),
            read_timeout: Duration::from_secs(1),
            write_timeout: Duration::from_secs(1),
            latch: LatchPolicy::default(),
            ttl: Ttl::Never,
            miss_fallback_share: 0.0,
            hedge_share: 0.0,
            repair_bytes_max: 1 << 20,
            chunking: Chunking::default(),
            #[cfg(feature = "near-cache")]
            near: crate::near::NearSettings::default(),
            #[cfg(feature = "discovery")]
            topology_file: None,
            #[cfg(feature = "discovery")]
            membership: Default::default(),
            connection,
            lanes: 0,
            ambient: Default::default(),
        },
        Events::default(),
    )
}

/// One that hedges as often as it reads.
pub(crate) fn core_that_hedges() -> Core {
    let mut core = core();
    core.settings.hedge_share = 1.0;
    core.hedge = Mutex::new(Budgeted::new(Hedge::new(1.0)));
    core
}

/// One of whose nodes in zone `a` a thread has connections of its own to.
pub(crate) fn core_with_a_lane() -> Core {
    let mut core = core();
    core.settings.lanes = 1;
    core
}

impl Core {
    /// Without waiting for connections.
    pub(crate) fn put(&self, topology: Arc<Topology>) -> Result<(), PlacementError> {
        if let Some(cluster) = self.prepare(topology)? {
            self.install(&cluster);
        }
        Ok(())
    }
}

pub(crate) fn topology(epoch: u64, nodes: &str) -> Arc<Topology> {
    let nodes: StaticNodes = nodes.parse().expect("a good list");
    let mut topology = nodes.topology("HOME", Epoch(1)).expect("a good topology");
    Arc::make_mut(&mut topology).epoch = Epoch(epoch);
    topology
}

/// The connection of the only node of a group.
fn link(core: &Core, group: usize) -> Weak<Link> {
    let cluster = core.cluster().expect("it is open");
    let hash = cluster.placement().key_hash(b"any");
    Arc::downgrade(&cluster.owner(group, hash).expect("it has a node").link)
}

fn epoch(core: &Core) -> u64 {
    core.cluster().expect("it is open").placement().topology().epoch.0
}

#[tokio::test]
async fn connections_are_kept_by_address_and_the_others_go() {
    let core = core();
    core.put(topology(1, "a=n1/127.0.0.1:1;b=n1/127.0.0.1:2")).expect("a good topology");
    let (kept, gone) = (link(&core, 0), link(&core, 1));
    core.put(topology(2, "a=n1/127.0.0.1:1;b=n1/127.0.0.1:3")).expect("a good topology");
    assert!(kept.ptr_eq(&link(&core, 0)));
    assert!(gone.upgrade().is_none());
    assert_eq!(epoch(&core), 2);
}

#[tokio::test]
async fn topology_without_nodes_is_refused() {
    let core = core();
    core.put(topology(1, "a=n1/127.0.0.1:1")).expect("a good topology");
    let mut empty = topology(2, "a=n1/127.0.0.1:1");
    Arc::make_mut(&mut empty).groups[0].nodes.clear();
    core.put(empty).expect("it is refused without an error");
    assert_eq!(epoch(&core), 1);
}

#[tokio::test]
async fn closed_client_takes_no_topology() {
    let core = core();
    core.put(topology(1, "a=n1/127.0.0.1:1")).expect("a good topology");
    core.close();
    core.put(topology(2, "a=n1/127.0.0.1:1")).expect("it is ignored");
    assert!(core.cluster().is_none());
}

/// What was seen on a busy machine: a read of what this client had just written was answered by a node that had missed
/// the write, with the older value.
#[tokio::test]
async fn node_that_misses_a_write_is_read_last_and_only_for_that_key() {
    let core = core();
    core.put(topology(1, "a=n1/127.0.0.1:1;b=n1/127.0.0.1:2")).expect("a good topology");
    let cluster = core.cluster().expect("it is open");
    let keys = [b"missed", b"intact"].map(|key| Key::new(b"", key).expect("a good key"));
    let zones = |key| {
        let mut walk = Walk::new(&core, &cluster, key);
        let members = std::iter::from_fn(|| walk.next(Instant::now()));
        members.map(|member| member.zone.clone()).collect::<Vec<_>>()
    };
    assert_eq!(zones(&keys[0]), ["a", "b"]);
    let local = cluster.owner(0, cluster.placement().key_hash(b"missed")).expect("it has a node");
    let version = core.clock.stamp(core.now());
    let repair = Repair { key: keys[0].clone(), change: Change::Delete, version };
    core.repairs.lock().put(local.id(), repair.clone());
    core.repairing.store(true, Ordering::Release);
    assert_eq!(zones(&keys[0]), ["b", "a"]);
    assert_eq!(zones(&keys[1]), ["a", "b"]);
    assert_eq!(core.repairs.lock().take(&local.id(), 1).len(), 1);
    assert_eq!(zones(&keys[0]), ["b", "a"], "it is on its way");
    core.repairs.lock().settled(&local.id(), &repair);
    assert_eq!(zones(&keys[0]), ["a", "b"]);
}
