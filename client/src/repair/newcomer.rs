//! A node that has just started gets what others have missed.
//!
//! Its siblings give it the items it owns. One of them that has missed a write, a delete above all, gives what that write
//! replaced, and whoever wrote it knows of the sibling alone. So what waits for any node goes to the newcomer, too: it has
//! the larger version, whichever comes first.

use std::sync::Arc;

use crate::cluster::Cluster;
use crate::core::Core;
use crate::member::Member;

/// Of what waits for nodes, what a newcomer of `now` owns is put into its queue, too. A newcomer is a process that `before`
/// did not have.
pub(crate) fn hand_to_newcomers(core: &Core, before: &Cluster, now: &Cluster) {
    let is_new = |member: &&Arc<Member>| {
        before.member(&member.id()).is_none_or(|known| known.incarnation != member.incarnation)
    };
    let newcomers: Vec<&Arc<Member>> = now.members().filter(is_new).collect();
    if newcomers.is_empty() {
        return;
    }
    let mut repairs = core.repairs.lock();
    let mut given_up = 0;
    for (node, repair) in repairs.waiting() {
        let hash = now.placement().key_hash(repair.key.as_bytes());
        let owners = (0..now.groups()).filter_map(|group| now.owner(group, hash));
        for owner in owners.filter(|owner| owner.id() != node) {
            if newcomers.iter().any(|newcomer| Arc::ptr_eq(newcomer, owner)) {
                given_up += repairs.put(owner.id(), repair.clone());
            }
        }
    }
    drop(repairs);
    core.metrics.repairs_dropped.increment(given_up);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use evanesce_transport::ConnectionOptions;
    use evanesce_wire::request::{Exptime, SetMode};

    use super::*;
    use crate::core::tests::{core_with, topology};
    use crate::key::Key;
    use crate::repair::{NodeId, Repair};
    use crate::request::Change;
    use crate::version::Version;

    const NODES: &str = "a=n1/127.0.0.1:1;b=n1/127.0.0.1:2;c=n1/127.0.0.1:3";

    fn node(group: &str) -> NodeId {
        NodeId { group: group.into(), node: "n1".into() }
    }

    /// The second topology is the first, with another process in these groups.
    fn started(groups: &[&str]) -> Vec<&'static str> {
        let core = core_with(ConnectionOptions::default());
        core.put(topology(1, NODES)).expect("a good topology");
        let before = core.cluster().expect("it is open");
        let key = Key::new(b"", b"k").expect("a good key");
        let value = Bytes::from_static(b"v");
        let set = Change::Store { mode: SetMode::Set, value, flags: 0, exptime: Exptime(0), compare: None };
        for (version, change) in [(1, set), (2, Change::Delete)] {
            let repair = Repair { key: key.clone(), change, version: Version(version) };
            core.repairs.lock().put(node("a"), repair);
        }
        let mut topology = topology(2, NODES);
        for group in &mut Arc::make_mut(&mut topology).groups {
            if groups.contains(&&*group.name) {
                group.nodes[0].incarnation += 1;
            }
        }
        core.put(topology).expect("a good topology");
        let now = core.cluster().expect("it is open");
        hand_to_newcomers(&core, &before, &now);
        ["a", "b", "c"].into_iter().filter(|group| core.repairs.lock().misses(&node(group), &key)).collect()
    }

    #[tokio::test]
    async fn newcomer_gets_what_waits_for_another_and_others_do_not() {
        assert_eq!(started(&["b"]), ["a", "b"]);
        assert_eq!(started(&["a"]), ["a"]);
        assert_eq!(started(&[]), ["a"]);
    }
}
