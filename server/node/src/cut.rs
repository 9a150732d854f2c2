//! Connections that are closed instead of being answered.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// The connections that were open when the process turned out not to have run for long. What they ask was asked of a node
/// that had missed nothing, perhaps minutes ago: a write that nobody waits for any more would be the newest of all, and a
/// reader that has been silent knows nothing of the gap. Whoever connects anew is told.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    /// Whether there is any: one load for each batch.
    is_any: AtomicBool,
    connections: Mutex<HashSet<u64>>,
}

impl Cut {
    /// These are to be closed.
    pub(crate) fn all(&self, connections: impl Iterator<Item = u64>) {
        let mut cut = self.connections.lock();
        cut.extend(connections);
        self.is_any.store(!cut.is_empty(), Ordering::Release);
    }

    /// Whether this one is to be closed.
    pub(crate) fn is_cut(&self, connection: u64) -> bool {
        self.is_any.load(Ordering::Acquire) && self.connections.lock().contains(&connection)
    }

    /// It is closed: another may have its number from now on.
    pub(crate) fn closed(&self, connection: u64) {
        if self.is_any.load(Ordering::Acquire) {
            let mut cut = self.connections.lock();
            cut.remove(&connection);
            self.is_any.store(!cut.is_empty(), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_is_cut_until_it_is_closed() {
        let cut = Cut::default();
        assert!(!cut.is_cut(7));
        cut.all([7, 9].into_iter());
        assert_eq!([7, 8, 9].map(|id| cut.is_cut(id)), [true, false, true]);
        cut.closed(7);
        cut.closed(8);
        assert_eq!([7, 9].map(|id| cut.is_cut(id)), [false, true], "another has the number");
        cut.closed(9);
        assert!(!cut.is_any.load(Ordering::Acquire));
    }
}
