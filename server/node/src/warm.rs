//! Warm-up: a node that starts empty is given the items it owns by nodes of its sibling groups, before it is read.
//!
//! ```text
//!   joining ── siblings serve ──> warming ── all given, or the time is over ──> serving
//!      │                             │
//!      │                             ├── the items that readers ask for, of all nodes of a sibling group
//!      │                             └── the rest of them
//!      └── nobody has anything ────────────────────────────────────────────────> serving
//! ```
//!
//! A sibling holds the same keys on another ring: what one node owns is spread over all nodes of each other group, so all of
//! them are asked, each for the keys that its ring gives to the newcomer. Items come as repairs, with their versions and what
//! is left of their lives: whatever clients write or delete meanwhile wins. Clients write to a node that warms, and read it
//! when nobody else is there.
//!
//! A stream that breaks is taken up where it broke; a sibling group of which a node does not answer is followed by the next
//! group. When none is whole the node serves with what it has, and says so.
//!
//! [`source`] gives, no faster than [`rate`] allows, [`target`] takes, [`ring`] knows which keys are meant.

mod progress;
mod rate;
mod ring;
mod source;
mod target;

pub(crate) use progress::{Progress, WarmCounts};
pub(crate) use ring::RingError;
pub(crate) use source::PeerService;
pub(crate) use target::{Newcomer, channel, donors, take, take_from_donors, warm_up};

use crate::shared::Shared;

/// In a registration: the node gives its items to peers.
pub(crate) const CAPABILITY_PEER: &str = "peer";

/// Bytes of keys and values in one message, and the first item beyond, or the page of small ones that a walk was at: enough
/// that a message costs little, few enough that a connection's buffers hold several.
pub(crate) const MESSAGE_BYTES: usize = 256 << 10;

/// Beyond the largest item: a message's other items and keys.
const MESSAGE_BYTES_BESIDE: usize = 2 << 20;

/// A node that was told a larger limit than this one may have larger items; up to this they break no answer.
const ITEM_BYTES_ELSEWHERE: usize = 64 << 20;

/// The largest message taken from whoever sends one: that of the largest item, and what may be beside it.
pub(crate) fn request_bytes_max(shared: &Shared) -> usize {
    shared.facts.item_bytes_max.saturating_add(MESSAGE_BYTES_BESIDE)
}

/// The largest answer taken from a node that was asked.
pub(crate) fn answer_bytes_max(shared: &Shared) -> usize {
    request_bytes_max(shared).max(ITEM_BYTES_ELSEWHERE)
}
