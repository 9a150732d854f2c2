//! The budget: one counter for all memory of a store, and charges that give back what they hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory of one store, in bytes. The counter guards nothing but itself, so relaxed order is enough.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Budget> {
        Arc::new(Budget { used: AtomicUsize::new(0), limit })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes` if they are left. Nothing may be allocated before its charge is held.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Charge { budget: Arc::clone(self), bytes })
    }
}

/// A part of the budget, held as long as the memory it stands for.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    /// Splits `bytes` off, if there are as many.
    pub(crate) fn split(&mut self, bytes: usize) -> Option<Charge> {
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(Charge { budget: Arc::clone(&self.budget), bytes })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn charge_beyond_the_limit_is_refused() {
        let budget = Budget::new(100);
        let first = budget.charge(60).unwrap();
        assert!(budget.charge(41).is_none());
        assert!(budget.charge(usize::MAX).is_none());
        drop(first);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn split_charge_gives_back_both_parts() {
        let budget = Budget::new(100);
        let mut charge = budget.charge(100).unwrap();
        let part = charge.split(30).unwrap();
        assert!(charge.split(71).is_none());
        drop(charge);
        assert_eq!(budget.used(), 30);
        drop(part);
        assert_eq!(budget.used(), 0);
    }
}
