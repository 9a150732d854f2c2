//! What this node has promised to those who decide: below which version it agrees to no decision of a key any more.
//!
//! One zone decides for all, and which one that is clients may see differently. So whoever is to decide, and does not go on
//! from its own last decision, first has more than half of the zones promise that they agree to nothing older than what it is
//! going to decide, and asks them in the same breath what they have. Of two who do that at once one meets the other's promise at
//! some zone. What comes of an older decision is stored all the same, so that zones do not differ; it only is not agreed to.
//!
//! ```text
//!  promise: floor of the key is raised ── then the item is looked at ──> version, floor
//!  outcome: the item is stored ── then the floor is looked at ──> agreed to, or the floor
//! ```
//!
//! Whichever comes second sees the first: no lock is held over both.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use evanesce_store::Version;
use parking_lot::{Mutex, MutexGuard};

/// So that workers seldom wait for each other.
const STRIPES: usize = 32;

/// Promises that a stripe remembers for sure, and half of those at most: with all stripes some three megabytes. What came of
/// a promise takes its place, so these are promises of which nothing has come: yet, or because the decider changed its mind
/// or went away. One of another key is forgotten for each that is too many, the oldest first; that matters if, within the time of a
/// write, so many changes were begun and not made.
const REMEMBERED_MIN: usize = 1 << 10;

/// Of all keys. Lock order: a stripe's before a shard's of the store.
#[derive(Debug)]
pub(crate) struct Promises {
    hasher: RandomState,
    stripes: Vec<Mutex<Stripe>>,
}

/// By a key's hash; two keys of one hash share a promise, which at worst is one too many.
#[derive(Debug, Default)]
struct Stripe {
    young: HashMap<u64, Version>,
    old: HashMap<u64, Version>,
}

/// A key's, held.
pub(crate) struct Promise<'a> {
    hash: u64,
    stripe: MutexGuard<'a, Stripe>,
}

impl Default for Promises {
    fn default() -> Self {
        let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
        Self { hasher: RandomState::new(), stripes }
    }
}

impl Promises {
    /// Holds the key's: nothing is promised meanwhile.
    pub(crate) fn of(&self, key: &[u8]) -> Promise<'_> {
        let hash = self.hasher.hash_one(key);
        let stripe = self.stripes[hash as usize % STRIPES].lock();
        Promise { hash, stripe }
    }
}

impl Promise<'_> {
    /// Below which no decision is agreed to.
    pub(crate) fn floor(&self) -> Option<Version> {
        self.stripe.young.get(&self.hash).or_else(|| self.stripe.old.get(&self.hash)).copied()
    }

    /// What the node has of the key is no older, and promises as much by being there.
    pub(crate) fn forget(&mut self) {
        self.stripe.young.remove(&self.hash);
        self.stripe.old.remove(&self.hash);
    }

    /// Nothing older than this is agreed to from now on.
    pub(crate) fn raise(&mut self, floor: Version) {
        if self.stripe.young.len() >= REMEMBERED_MIN {
            self.stripe.old = std::mem::take(&mut self.stripe.young);
        }
        self.stripe.young.insert(self.hash, floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_is_kept_while_others_are_made_up_to_a_limit() {
        let promises = Promises::default();
        assert_eq!(promises.of(b"k").floor(), None);
        promises.of(b"k").raise(Version(5));
        promises.of(b"k").raise(Version(7));
        for other in 0..REMEMBERED_MIN {
            promises.of(other.to_string().as_bytes()).raise(Version(1));
        }
        assert_eq!(promises.of(b"k").floor(), Some(Version(7)));
        promises.of(b"gone").raise(Version(9));
        promises.of(b"gone").forget();
        assert_eq!(promises.of(b"gone").floor(), None);
        for other in 0..4 * STRIPES * REMEMBERED_MIN {
            promises.of(other.to_string().as_bytes()).raise(Version(1));
        }
        assert_eq!(promises.of(b"k").floor(), None);
        for stripe in &promises.stripes {
            let stripe = stripe.lock();
            assert!(stripe.young.len() + stripe.old.len() <= 2 * REMEMBERED_MIN);
        }
    }
}
