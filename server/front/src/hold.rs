//! What a waiting connection holds of a budget, and since when.

use std::cell::{Cell, RefCell};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::budget::{Budget, Charge};

/// Bytes held for one request or reply until that is whole.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    charge: RefCell<Option<Charge>>,
    since: Cell<Duration>,
}

impl Hold {
    /// Holds some amount within `kept`: what is held if that will do, else `bytes`. False when the budget has no room;
    /// then nothing is held.
    pub(crate) fn cover(
        &self,
        kept: RangeInclusive<usize>,
        bytes: usize,
        budget: &Arc<Budget>,
        now: Duration,
    ) -> bool {
        let mut charge = self.charge.borrow_mut();
        match charge.take() {
            Some(held) if kept.contains(&held.bytes()) => *charge = Some(held),
            held => {
                if held.is_none() {
                    self.since.set(now);
                }
                drop(held);
                *charge = budget.charge(bytes);
            }
        }
        charge.is_some()
    }

    /// Holds nothing any more.
    #[inline]
    pub(crate) fn release(&self) {
        if self.charge.borrow().is_some() {
            *self.charge.borrow_mut() = None;
        }
    }

    /// What is held is held for something new.
    #[inline]
    pub(crate) fn renew(&self, now: Duration) {
        self.since.set(now);
    }

    /// Since when, and how much, if anything.
    pub(crate) fn held(&self) -> Option<(Duration, usize)> {
        self.charge.borrow().as_ref().map(|charge| (self.since.get(), charge.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn hold_that_grows_is_as_old_as_its_beginning() {
        let (hold, budget) = (Hold::default(), Budget::new(100));
        assert!(hold.cover(10..=20, 10, &budget, secs(1)));
        assert!(hold.cover(5..=20, 5, &budget, secs(2)), "what is held will do");
        assert!(hold.cover(30..=60, 40, &budget, secs(3)));
        assert_eq!((hold.held(), budget.used()), (Some((secs(1), 40)), 40));
        hold.renew(secs(4));
        assert_eq!(hold.held(), Some((secs(4), 40)));
        assert!(!hold.cover(101..=101, 101, &budget, secs(5)));
        assert_eq!((hold.held(), budget.used()), (None, 0));
        assert!(hold.cover(1..=1, 1, &budget, secs(6)));
        hold.release();
        assert_eq!((hold.held(), budget.used()), (None, 0));
    }
}
