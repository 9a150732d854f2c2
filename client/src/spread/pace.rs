//! The writes of a bulk operation that are under way.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

/// A place among the writes that an operation has under way. The next one gets it when the last of its holders lets go.
pub(crate) type Slot = Arc<OwnedSemaphorePermit>;

/// Holds a slot until all replicas have answered, whatever the latch waits for, so that no node's queue overflows. Nobody
/// waits for a node that is known to be away or not to answer.
///
/// ```text
///  sent --- a leg ends, others are open at nodes that are well ---> held
///    |
///    +-- a leg ends, and the others, if any, are open at nodes that are suspect ---> let go
/// ```
pub(super) struct Pace {
    /// `None` once let go. Lock order: alone.
    held: Mutex<Option<Held>>,
}

struct Held {
    _slot: Slot,
    /// Legs without an answer.
    open: Vec<usize>,
}

impl Pace {
    pub(super) fn new(slot: &Slot, legs: usize) -> Self {
        let held = Held { _slot: Arc::clone(slot), open: (0..legs).collect() };
        Self { held: Mutex::new(Some(held)) }
    }

    /// A leg has ended. `is_suspect` says of another whether its node is.
    pub(super) fn ended(&self, leg: usize, is_suspect: impl Fn(usize) -> bool) {
        let Some(open) = self.open_but(leg) else { return };
        if open.into_iter().all(is_suspect) {
            let held = self.held.lock().take();
            drop(held);
        }
    }

    fn open_but(&self, leg: usize) -> Option<Vec<usize>> {
        let mut held = self.held.lock();
        let held = held.as_mut()?;
        held.open.retain(|open| *open != leg);
        Some(held.open.clone())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    fn pace(slots: &Arc<Semaphore>) -> Pace {
        let slot = Arc::clone(slots).try_acquire_owned().expect("a slot is left");
        Pace::new(&Arc::new(slot), 3)
    }

    #[test]
    fn slot_is_held_until_the_last_leg_has_ended() {
        let slots = Arc::new(Semaphore::new(1));
        let pace = pace(&slots);
        for leg in [1, 0] {
            pace.ended(leg, |_| false);
            assert_eq!(slots.available_permits(), 0);
        }
        pace.ended(2, |_| unreachable!("none is open"));
        assert_eq!(slots.available_permits(), 1);
    }

    #[test]
    fn legs_at_suspect_nodes_are_not_waited_for_and_others_are() {
        let slots = Arc::new(Semaphore::new(1));
        let pace = pace(&slots);
        pace.ended(0, |leg| leg == 1);
        assert_eq!(slots.available_permits(), 0);
        pace.ended(2, |leg| leg == 1);
        assert_eq!(slots.available_permits(), 1);
        pace.ended(1, |_| unreachable!("it is let go"));
    }

    #[test]
    fn write_that_is_dropped_lets_go() {
        let slots = Arc::new(Semaphore::new(1));
        drop(pace(&slots));
        assert_eq!(slots.available_permits(), 1);
    }
}
