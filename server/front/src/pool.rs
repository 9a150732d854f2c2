//! Buffers of a thread, lent to whichever of its connections has something to do.

use std::cell::RefCell;

use evanesce_wire::request::Request;

use crate::BATCH_REQUESTS_MAX;
use crate::reply_buffer::ReplyBuffer;

/// Size of a lent read buffer: four hundred small gets, or a system call for 16 KiB of values; fits the first-level
/// cache.
pub(crate) const READ_BUFFER_BYTES: usize = 16 << 10;

/// Kits that a thread keeps. More than a few are lent at once only while services wait, as those of a gateway do for each
/// request; for each that is made anew beyond these, the allocator is asked for what is too large to be at hand.
const KEPT_MAX: usize = 64;

/// Of these, how many are kept with room for many replies.
const KEPT_LARGE_MAX: usize = 16;

/// As much room for replies has any kit that is kept.
const REPLY_BYTES_SMALL: usize = 16 << 10;

/// All that a connection is lent while it is being served. A connection that waits has none, or one without memory of
/// its own but for the replies it waits with.
#[derive(Debug, Default)]
pub(crate) struct Kit {
    /// What was read.
    pub(crate) read: Vec<u8>,
    /// What is to be written.
    pub(crate) replies: ReplyBuffer,
    /// Room for the requests of a batch; empty.
    batch: Vec<Request<'static>>,
}

/// What a thread lends. None of it is ever waited for: an empty pool makes a new kit.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    // Boxed, because a kit goes from hand to hand with every request.
    #[expect(clippy::vec_box, reason = "kits are moved in and out, not looked at here")]
    kits: RefCell<Vec<Box<Kit>>>,
}

impl Pool {
    /// A kit with nothing in it.
    #[inline]
    pub(crate) fn lend(&self) -> Box<Kit> {
        self.kits.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a kit back, whatever is in it.
    #[inline]
    pub(crate) fn take_back(&self, mut kit: Box<Kit>) {
        kit.read.clear();
        if !kit.replies.is_empty() {
            kit.replies.clear();
        }
        let mut kits = self.kits.borrow_mut();
        if kits.len() >= KEPT_MAX {
            return;
        }
        // The one that came last is lent next, and is to have its room; the one that sinks is needed in a rush only.
        if let Some(sunk) = kits.len().checked_sub(KEPT_LARGE_MAX) {
            kits[sunk].replies.keep_at_most(REPLY_BYTES_SMALL);
        }
        kits.push(kit);
    }

    /// Kits at home.
    #[cfg(test)]
    pub(crate) fn kits(&self) -> usize {
        self.kits.borrow().len()
    }
}

impl Kit {
    /// The read buffer, with room.
    #[inline]
    pub(crate) fn read_buffer(&mut self) -> &mut Vec<u8> {
        if self.read.capacity() < READ_BUFFER_BYTES {
            self.read.reserve_exact(READ_BUFFER_BYTES);
        }
        &mut self.read
    }

    /// Takes the room for a batch away; [`Kit::put_batch`] brings it back.
    #[inline]
    pub(crate) fn take_batch<'a>(&mut self) -> Vec<Request<'a>> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.reserve(BATCH_REQUESTS_MAX);
        batch
    }

    /// Brings it back. Collecting an emptied vector into one of another lifetime keeps its memory.
    #[inline]
    pub(crate) fn put_batch(&mut self, mut batch: Vec<Request<'_>>) {
        batch.clear();
        self.batch = batch.into_iter().map(|_| unreachable!("the batch was cleared")).collect();
    }

    /// A kit with the replies of this one and nothing else, for a connection that has to wait; this one goes home.
    pub(crate) fn set_aside(mut self: Box<Self>, pool: &Pool) -> Box<Self> {
        let mut replies = std::mem::take(&mut self.replies);
        replies.shrink();
        pool.take_back(self);
        Box::new(Self { replies, ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_put_back_keeps_its_memory() {
        let mut kit = Kit::default();
        let mut batch = kit.take_batch();
        batch.push(Request::Version);
        let memory = batch.as_ptr() as usize;
        kit.put_batch(batch);
        let again = kit.take_batch();
        assert_eq!((again.as_ptr() as usize, again.len()), (memory, 0));
        assert!(again.capacity() >= BATCH_REQUESTS_MAX);
    }

    #[test]
    fn kit_that_is_lent_next_keeps_its_room_after_a_rush() {
        let pool = Pool::default();
        let kits: Vec<_> = (0..2 * KEPT_LARGE_MAX).map(|_| pool.lend()).collect();
        kits.into_iter().for_each(|kit| pool.take_back(kit));
        let mut kit = pool.lend();
        kit.replies.buf().resize(2 * REPLY_BYTES_SMALL, 0);
        pool.take_back(kit);
        assert!(pool.lend().replies.buf().capacity() >= 2 * REPLY_BYTES_SMALL);
    }

    #[test]
    fn pool_keeps_a_bounded_number() {
        let pool = Pool::default();
        let kits: Vec<_> = (0..2 * KEPT_MAX).map(|_| pool.lend()).collect();
        kits.into_iter().for_each(|kit| pool.take_back(kit));
        assert_eq!(pool.kits(), KEPT_MAX);
    }

    #[test]
    fn pool_keeps_room_for_many_replies_in_a_few() {
        let pool = Pool::default();
        let mut kits: Vec<_> = (0..2 * KEPT_MAX).map(|_| pool.lend()).collect();
        for kit in &mut kits {
            kit.replies.buf().resize(2 * REPLY_BYTES_SMALL, 0);
        }
        kits.into_iter().for_each(|kit| pool.take_back(kit));
        let mut kits: Vec<_> = (0..pool.kits()).map(|_| pool.lend()).collect();
        let large = kits.iter_mut().map(|kit| kit.replies.buf().capacity() > REPLY_BYTES_SMALL);
        assert_eq!(large.filter(|large| *large).count(), KEPT_LARGE_MAX);
    }

    #[test]
    fn kit_set_aside_keeps_its_replies_and_no_other_memory() {
        let pool = Pool::default();
        let mut kit = pool.lend();
        kit.read_buffer().extend_from_slice(b"read");
        let batch = kit.take_batch();
        kit.put_batch(batch);
        kit.replies.buf().extend_from_slice(b"unread");
        let aside = kit.set_aside(&pool);
        assert_eq!(
            (aside.replies.to_vec(), aside.read.capacity(), aside.batch.capacity()),
            (b"unread".to_vec(), 0, 0)
        );
        assert_eq!(pool.kits(), 1);
        let home = pool.lend();
        assert!(home.read.is_empty() && home.replies.is_empty() && home.read.capacity() >= READ_BUFFER_BYTES);
    }
}
