//! The node while its group is resized: its keys have two owners then.
//!
//! ```text
//!   topology ──> keep ──> view: which ring gives a key to whom
//!                  │         │
//!                  │         ├── changed: a key changed here ──> forward ──> its other owner (TakeItems)
//!                  ├── fill: next ring in force ──> drop what is not owned, take what the next ring gives (StreamItems)
//!                  └── tidy: one ring again ──> drop what is not owned any more
//! ```
//!
//! What is forwarded is a key's present state, an item or a delete, with its version: so it does not matter how often or in
//! which order it comes, and one that the client has brought to both owners by itself changes nothing. It is sent after the
//! client is answered; the other owner has it a few milliseconds later. A delete that leaves no trace in the store, that of
//! an absent key without a version, is remembered by every node that has siblings or another owner to tell.
//!
//! What is not owned is dropped without a trace, so that it can come back with another resize: never at a topology alone that
//! lacks the node, which may be one of a registry that has lost its memory, but only once a change that this node has seen
//! has ended, or before it is filled.

mod fill;
mod forward;
mod keep;
mod receive;
#[cfg(test)]
pub(crate) mod tests;
mod tidy;
mod verify;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use evanesce_grpc::discovery::v1::NodeReport;
use evanesce_topology::ServerGroup;
use parking_lot::Mutex;
use tokio::sync::watch;

use forward::Forwards;
use verify::Verified;
use view::View;

use crate::warm::WarmCounts;

pub(crate) use keep::{Place, first_place, keep, keep_reporting};
pub(crate) use receive::receive;

/// What a node knows of the rings of its group.
#[derive(Debug, Default)]
pub(crate) struct Resize {
    /// Whether two rings are in force. Set after the view that has them.
    is_on: AtomicBool,
    view: watch::Sender<Option<Arc<View>>>,
    forwards: Forwards,
    /// The change for which this node was filled, and that for which it is being filled; 0 for none.
    filled: watch::Sender<u64>,
    filling: AtomicU64,
    /// What warm-ups had brought when it began.
    fill_began: Mutex<WarmCounts>,
    dropped: AtomicU64,
    /// Who was given all of its keys, for which change.
    given: Mutex<(u64, BTreeSet<String>)>,
    /// What came of the comparisons at the end of the last one.
    verified: Mutex<Verified>,
    trouble: Mutex<String>,
}

/// Counts of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ResizeCounts {
    /// Changes that other owners have.
    pub(crate) forwarded: u64,
    /// Changes that they do not have and will not get.
    pub(crate) forward_dropped: u64,
    /// Changes that wait.
    pub(crate) forward_pending: u64,
    /// Items dropped because they are not owned.
    pub(crate) dropped: u64,
    /// Whether two rings are in force.
    pub(crate) rings: u64,
    /// Of the last fill: items compared with the givers', differences mended, and such as the last look still found.
    pub(crate) verified: [u64; 3],
}

impl Resize {
    /// A key has changed here: its other owner is told, if it has one.
    #[inline]
    pub(crate) fn changed(&self, key: &[u8]) {
        if self.is_on.load(Ordering::Acquire) {
            self.note(key);
        }
    }

    #[cold]
    fn note(&self, key: &[u8]) {
        let view = self.view.borrow().clone();
        if let Some(view) = view {
            view.others(key).for_each(|node| self.forwards.push(&node.name, key));
        }
    }

    /// Whether two rings are in force.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Whether the next ring of this change is in force here: then nothing that changes here is missed by its owners.
    pub(crate) fn is_in_force(&self, change: u64) -> bool {
        self.is_on() && self.view.borrow().as_ref().is_some_and(|view| view.next_change() == Some(change))
    }

    /// Whether a group, as another node has it, has the ring that is read here; none of that is known before the first view.
    pub(crate) fn has_ring(&self, group: &ServerGroup) -> bool {
        self.view.borrow().as_ref().is_none_or(|view| view.has_ring(group))
    }

    /// Whether the ring that is read gives the key to this node, as far as is known.
    pub(crate) fn owns(&self, key: &[u8]) -> bool {
        self.view.borrow().as_ref().is_none_or(|view| view.owns(key))
    }

    /// Whether a ring in force gives the key to this node, as far as is known.
    pub(crate) fn concerns(&self, key: &[u8]) -> bool {
        self.view.borrow().as_ref().is_none_or(|view| view.concerns(key))
    }

    pub(crate) fn counts(&self) -> ResizeCounts {
        let verified = *self.verified.lock();
        ResizeCounts {
            forwarded: self.forwards.sent(),
            forward_dropped: self.forwards.dropped(),
            forward_pending: self.forwards.pending(),
            dropped: self.dropped.load(Ordering::Relaxed),
            rings: 1 + u64::from(self.is_on()),
            verified: [verified.items, verified.mended, verified.left],
        }
    }

    /// What registries are told.
    pub(crate) fn report(&self, items: u64, item_bytes: u64, warm: WarmCounts) -> NodeReport {
        let began = *self.fill_began.lock();
        let is_filling = *self.filled.borrow() > 0 || self.filling.load(Ordering::Relaxed) > 0;
        let since = |now: u64, then: u64| if is_filling { now.saturating_sub(then) } else { 0 };
        let verified = *self.verified.lock();
        NodeReport {
            items,
            item_bytes,
            filled: *self.filled.borrow(),
            filling: self.filling.load(Ordering::Relaxed),
            fill_items: since(warm.taken, began.taken),
            fill_bytes: since(warm.bytes, began.bytes),
            forward_pending: self.forwards.pending(),
            forward_dropped: self.forwards.dropped(),
            trouble: self.trouble.lock().clone(),
            fill_ms: if is_filling { warm.stream_ms } else { 0 },
            fill_per_mille: if is_filling { warm.per_mille } else { 0 },
            verified_items: verified.items,
            verified_mended: verified.mended,
            verified_left: verified.left,
        }
    }

    /// Whether others take keys from this node that they do not have yet: what a drain waits for.
    pub(crate) fn is_handing_over(&self) -> bool {
        let view = self.view.borrow().clone();
        view.is_some_and(|view| view.is_leaving() && !self.has_given(&view))
            || self.is_on() && self.forwards.pending() > 0
    }

    /// A node was given all that the next ring of this change gives it.
    pub(crate) fn gave(&self, change: u64, owner: &str) {
        let mut given = self.given.lock();
        if given.0 != change {
            *given = (change, BTreeSet::new());
        }
        given.1.insert(owner.to_owned());
    }

    /// Whether all who are there and come into keys of this node have been given them.
    fn has_given(&self, view: &View) -> bool {
        let given = self.given.lock();
        view.next_change() == Some(given.0) && view.takers().all(|node| given.1.contains(&node.name))
    }
}
