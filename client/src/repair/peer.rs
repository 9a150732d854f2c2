//! Asks another zone whether what a node has missed is still the newest, before the node is given it.
//!
//! Several clients may owe a node an older and a newer write of one key. Without the question whoever finds the node
//! first would have its readers see the older one, or something deleted, until the other client is there, too; and for
//! good if that has ended.
//!
//! ```text
//!  version at the peer?
//!   ├─ newer ─────────> ours is not sent: whoever wrote the newer one owes it
//!   ├─ absent, a set ─> is it taken there?
//!   │                     ├─ yes ─> ours is sent: it was evicted, or missed there
//!   │                     └─ no ──> a delete is sent: it was deleted, or nobody remembers
//!   └─ else, or no answer ────────> ours is sent
//! ```

use std::sync::Arc;

use evanesce_transport::{Completion, TransportError};
use evanesce_wire::reply::{MetaStatus, Reply};

use crate::cluster::Cluster;
use crate::core::Core;
use crate::member::Member;
use crate::repair::drain::Sent;
use crate::request::{Change, Done, with_repair, with_version_question};
use crate::version::Version;

/// Sends a repair once a peer knows of nothing newer; at once when there is no peer to ask.
pub(super) fn send_if_newest(core: &Core, cluster: &Cluster, sent: &Arc<Sent>, token: usize) {
    match peer(core, cluster, sent, token) {
        Some(peer) => Question { sent: Arc::clone(sent), peer, asked: Asked::ForVersion }.ask(token),
        None => sent.send(token),
    }
}

/// Another node that holds the key, is well and has missed nothing that we know of: of another server group, or the owner
/// on the other ring of its own.
fn peer(core: &Core, cluster: &Cluster, sent: &Sent, token: usize) -> Option<Arc<Member>> {
    let hash = cluster.placement().key_hash(sent.repair(token).key.as_bytes());
    let others = cluster.read_order().iter().filter_map(|group| cluster.owner(*group, hash));
    let mut peers = others.filter(|peer| {
        let connection = &peer.link.connection;
        peer.id() != sent.member.id() && connection.is_up() && connection.speaks_versions()
    });
    let peer = peers.find(|peer| !peer.link.is_suspect() && !core.repairs.lock().misses_any(&peer.id()))?;
    Some(Arc::clone(peer))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The version of its item.
    ForVersion,
    /// To take the write, which tells a delete that it remembers from an item that it never had.
    ToTakeIt,
}

/// What a peer is asked before a repair is sent.
struct Question {
    sent: Arc<Sent>,
    peer: Arc<Member>,
    asked: Asked,
}

impl Question {
    fn ask(self, token: usize) {
        let question = Arc::new(self);
        let (repair, link) = (question.sent.repair(token), &question.peer.link);
        let completion = Arc::clone(&question) as Arc<dyn Completion>;
        let opaque = link.next_opaque();
        let asked = match question.asked {
            Asked::ForVersion => with_version_question(&repair.key, opaque, |request| {
                link.connection.submit(request, completion, token)
            }),
            Asked::ToTakeIt => {
                with_repair(repair, opaque, |request| link.connection.submit(request, completion, token))
            }
        };
        if asked.is_err() {
            question.sent.send(token);
        }
    }

    fn on_version(&self, token: usize, absent: bool, version: Option<Version>) {
        let repair = self.sent.repair(token);
        match version {
            Some(version) if version > repair.version => self.sent.superseded(token, version),
            None if absent && matches!(repair.change, Change::Store { .. }) => {
                let (sent, peer) = (Arc::clone(&self.sent), Arc::clone(&self.peer));
                Self { sent, peer, asked: Asked::ToTakeIt }.ask(token);
            }
            _ => self.sent.send(token),
        }
    }
}

impl Completion for Question {
    fn complete(&self, token: usize, outcome: Result<Reply, TransportError>) {
        let Ok(reply) = self.peer.link.judge(outcome) else { return self.sent.send(token) };
        match self.asked {
            Asked::ForVersion => {
                self.on_version(token, reply.status == MetaStatus::Miss, reply.version().map(Version));
            }
            Asked::ToTakeIt => match Done::of(&reply) {
                Ok(Done::Superseded { .. }) => self.sent.send_delete(token),
                _ => self.sent.send(token),
            },
        }
    }
}
