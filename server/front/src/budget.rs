//! A budget of bytes that all connections of a front share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many bytes may be held at once.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    max: usize,
    /// How often somebody found it exhausted and none of its own thread's connections to close.
    exhausted: AtomicUsize,
}

/// Bytes taken from a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max, exhausted: AtomicUsize::new(0) })
    }

    /// Bytes held now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Asks all threads to close who has held on for long. Returns how often that was asked now.
    pub(crate) fn ask_others(&self) -> usize {
        self.exhausted.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How often that was asked.
    pub(crate) fn asked(&self) -> usize {
        self.exhausted.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, or nothing if they would exceed the budget.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Charge { budget: Arc::clone(self), bytes })
    }
}

impl Charge {
    /// How much was taken.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charge_beyond_budget_is_refused_until_one_is_dropped() {
        let budget = Budget::new(100);
        let first = budget.charge(60).expect("within budget");
        assert_eq!(first.bytes(), 60);
        assert!(budget.charge(41).is_none());
        assert!(budget.charge(usize::MAX).is_none());
        drop(first);
        assert_eq!(budget.used(), 0);
        assert!(budget.charge(100).is_some());
    }
}
