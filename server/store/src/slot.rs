//! The place of a shard in the store: its lock, and what is known without it.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::shard::Shard;

/// How often a thread looks for a lock to be free before it waits: about as long as waiting costs.
const SPINS_MAX: usize = 64;

/// A shard on cache lines of its own.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Slot {
    shard: Mutex<Shard>,
    /// Segments that the shard holds, as of its last change; readable without the lock.
    held: AtomicUsize,
}

impl Slot {
    pub(crate) fn new(shard: Shard) -> Slot {
        Slot { held: AtomicUsize::new(shard.held_segments()), shard: Mutex::new(shard) }
    }

    /// Segments that the shard held after its last change.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Locks the shard. Whoever holds it is most often done within a microsecond, so looking again for about as long comes
    /// before what costs as much: giving the processor away, and going to sleep.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Shard> {
        for _ in 0..SPINS_MAX {
            if let Some(shard) = self.shard.try_lock() {
                return shard;
            }
            std::hint::spin_loop();
        }
        self.shard.lock()
    }

    pub(crate) fn publish(&self, shard: &Shard) {
        self.held.store(shard.held_segments(), Ordering::Relaxed);
    }
}
