//! Buffers of a thread, lent to whichever of its connections has something to do.

use std::cell::RefCell;

use evanesce_wire::request::Request;

use crate::BATCH_REQUESTS_MAX;
use crate::reply_buffer::ReplyBuffer;

/// Size of a lent read buffer: four hundred small gets, or a system call for 16 KiB of values; fits the first-level
/// cache.
pub(crate) const READ_BUFFER_BYTES: usize = 16 << 10;

/// Buffers of each kind that a thread keeps: more are lent at once only while services wait or readers are slow.
const KEPT_MAX: usize = 16;

/// What a thread lends. None of it is ever waited for: an empty pool makes a new buffer.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    reads: RefCell<Vec<Vec<u8>>>,
    replies: RefCell<Vec<ReplyBuffer>>,
    batches: RefCell<Vec<Vec<Request<'static>>>>,
}

impl Pool {
    /// An empty buffer with room for [`READ_BUFFER_BYTES`].
    pub(crate) fn read_buffer(&self) -> Vec<u8> {
        self.reads.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(READ_BUFFER_BYTES))
    }

    /// Takes a read buffer back.
    pub(crate) fn give_read_buffer(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        keep(&self.reads, buffer);
    }

    /// An empty reply buffer.
    pub(crate) fn reply_buffer(&self) -> ReplyBuffer {
        self.replies.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a reply buffer back.
    pub(crate) fn give_reply_buffer(&self, mut buffer: ReplyBuffer) {
        buffer.clear();
        keep(&self.replies, buffer);
    }

    /// An empty batch.
    pub(crate) fn batch<'a>(&self) -> Vec<Request<'a>> {
        self.batches.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(BATCH_REQUESTS_MAX))
    }

    /// Takes a batch back. Collecting an emptied vector into one of another lifetime keeps its memory.
    pub(crate) fn give_batch(&self, mut batch: Vec<Request<'_>>) {
        batch.clear();
        keep(&self.batches, batch.into_iter().map(|_| unreachable!("the batch was cleared")).collect());
    }

    /// Read buffers at home.
    #[cfg(test)]
    pub(crate) fn read_buffers(&self) -> usize {
        self.reads.borrow().len()
    }
}

fn keep<T>(kept: &RefCell<Vec<T>>, buffer: T) {
    let mut kept = kept.borrow_mut();
    if kept.len() < KEPT_MAX {
        kept.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_given_back_keeps_its_memory() {
        let pool = Pool::default();
        let mut batch = pool.batch();
        batch.push(Request::Version);
        let memory = batch.as_ptr() as usize;
        pool.give_batch(batch);
        let again = pool.batch();
        assert_eq!((again.as_ptr() as usize, again.len()), (memory, 0));
        assert!(again.capacity() >= BATCH_REQUESTS_MAX);
    }

    #[test]
    fn pool_keeps_a_bounded_number() {
        let pool = Pool::default();
        for _ in 0..2 * KEPT_MAX {
            pool.give_read_buffer(Vec::with_capacity(READ_BUFFER_BYTES));
        }
        assert_eq!(pool.read_buffers(), KEPT_MAX);
    }
}
