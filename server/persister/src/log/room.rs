//! Room in the log that is taken before what is to be written in it is known to be wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::index::{INDEX_BYTES, Index};
use super::record::{BODY_HEAD_BYTES, HEAD_BYTES};
use super::{Log, LogError, Shared};

/// Room in a log. Given back when it is dropped: what was written in it is counted itself then.
pub(crate) struct Room {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shared.reserved.give_back(self.bytes);
    }
}

/// Bytes of all rooms.
#[derive(Debug, Default)]
pub(super) struct Reserved(AtomicU64);

impl Reserved {
    fn give_back(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What a change with a key and a value of so many bytes takes, on the disk and in memory.
pub(super) fn cost(key: usize, value: usize) -> u64 {
    (HEAD_BYTES + BODY_HEAD_BYTES + key + value) as u64 + INDEX_BYTES
}

impl Log {
    /// Room for a change with a key and a value of so many bytes.
    ///
    /// # Errors
    ///
    /// When there is none, or nothing is written any more.
    pub(crate) fn reserve(&self, key: usize, value: usize) -> Result<Room, LogError> {
        let (shared, bytes) = (Arc::clone(&self.shared), cost(key, value));
        shared.refuse_if_failed()?;
        // All rooms are taken under the index's lock.
        let index = shared.index.lock();
        shared.refuse_if_full(&index, bytes, 0)?;
        shared.reserved.0.fetch_add(bytes, Ordering::Relaxed);
        drop(index);
        Ok(Room { shared, bytes })
    }
}

impl Shared {
    pub(super) fn refuse_if_failed(&self) -> Result<(), LogError> {
        self.failed.lock().clone().map_or(Ok(()), |why| Err(LogError::Failed(why)))
    }

    /// Whether there is room for so many bytes beside others that are about to be taken.
    pub(super) fn refuse_if_full(&self, index: &Index, wanted: u64, others: u64) -> Result<(), LogError> {
        if wanted > self.options.bytes_max {
            return Err(LogError::TooLarge);
        }
        let taken = index.cost() + self.reserved.0.load(Ordering::Relaxed);
        match taken + wanted + others > self.options.bytes_max {
            true => Err(LogError::Full { waiting: index.len(), dead: index.dead() }),
            false => Ok(()),
        }
    }
}
