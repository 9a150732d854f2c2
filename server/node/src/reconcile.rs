//! Reconciling: nodes of sibling groups find out where they differ, and exchange what does, without whoever wrote it.
//!
//! ```text
//!   this node                                       a node of a sibling group
//!      │── Digest: keys that both own, in slices ────────>│    both walk through their items
//!      │<──────────── items and sum of each slice ────────│
//!      │   slices that differ:
//!      │── Compare: key, version, fingerprint ───────────>│
//!      │<── newer items, deletes, who else has nothing ───│    taken as repairs: the newest wins
//!      │── ListKeys: written since nothing was evicted ──>│
//!      │<───────────── keys; those not here are asked for ┘
//! ```
//!
//! A node only ever mends itself: what others lack they find out when their turn to ask comes. Each goes through the nodes of
//! all sibling groups every so often, and at once when it has been away, or when it is told that writes for it were given up.
//!
//! # Keys that one has and the other has not
//!
//! - Deleted there: the tombstone tells its version, and what is older goes here, too.
//! - Never there, or evicted, expired or flushed there: it stays here, and counts as absent, not as differing.
//! - Not here: it is brought if it must have been missed, that is, if it was written after anything was last evicted
//!   here. So nobody fills himself again with what he has just evicted.
//! - Here for long, while this node was away, and no sibling knows any more whether it was deleted meanwhile: dropped, unless
//!   another sibling has it. A miss is right, and something deleted is not.
//!
//! [`standing`] is what a node knows of its own gaps, [`scope`] which keys two nodes share, [`scan`] paces the walks,
//! [`source`] answers with what [`judge`] finds, [`exchange`] is one node's comparison with another, [`round`] all of them,
//! [`tally`] counts.

mod exchange;
mod judge;
mod keeper;
mod others;
mod round;
mod scan;
mod scope;
mod source;
mod standing;
mod take;
mod tally;
#[cfg(test)]
mod tests;
mod with_owner;

pub(crate) use keeper::{Member, keep_reconciled};
pub(crate) use source::Answers;
pub(crate) use standing::{AWAY_LONG, Standing};
pub(crate) use tally::{Divergence, DivergenceCounts, Tally};
pub(crate) use with_owner::compare_with_owner;
