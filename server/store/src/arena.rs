//! The arena: all memory for items and their table in one mapping, cut into segments, handed out and taken back.
//!
//! One mapping, because the kernel backs it with large pages (on the node's benchmark of 16 pipelined gets over a
//! million keys that is worth a fifth of the processor time), because nothing that lives in a segment is an address
//! (so the mapping may be a file's), and because what is freed is free for everyone: no allocator keeps it.
//!
//! Beside a prefetch, the only unsafe code of the store is here: it lends out disjoint parts of the mapping, and shows
//! the ledger of a memory file as numbers.

use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use memmap2::{MmapMut, MmapRaw};
use parking_lot::Mutex;

use crate::file::Ledger;

/// Segments that only [`Arena::take_reserved`] gives out, for the survivors of an eviction: as many evictions may
/// need one at the same time as threads are at work, and one that gets none spares nothing.
const RESERVE: usize = 2;
/// Of how many segments an arena has at least one in reserve.
const RESERVE_PART: usize = 16;

/// All segments of a store. The lock is the innermost of all: nothing else is locked while it is held.
#[derive(Debug)]
pub(crate) struct Arena {
    map: MmapRaw,
    segment_bytes: usize,
    count: usize,
    reserve: usize,
    /// Numbers of segments that nobody holds, the next one last.
    free: Mutex<Vec<u32>>,
    /// What a start after this one has to know, where the mapping is a file's.
    ledger: Option<Box<Ledger>>,
}

impl Arena {
    /// Maps `count` segments of `segment_bytes`. Memory is taken from the system only as it is written to.
    ///
    /// # Errors
    ///
    /// The system refused the mapping.
    pub(crate) fn new(count: usize, segment_bytes: usize) -> io::Result<Arc<Arena>> {
        let map = MmapMut::map_anon(count * segment_bytes)?;
        Ok(Arena::of(MmapRaw::from(map), count, segment_bytes, None))
    }

    /// The segments of a memory file, all free for now.
    pub(crate) fn in_file(map: MmapRaw, count: usize, segment_bytes: usize, ledger: Ledger) -> Arc<Arena> {
        assert!(map.len() >= count * segment_bytes, "the file was mapped for so many segments");
        Arena::of(map, count, segment_bytes, Some(Box::new(ledger)))
    }

    fn of(map: MmapRaw, count: usize, segment_bytes: usize, ledger: Option<Box<Ledger>>) -> Arc<Arena> {
        // A kernel without large pages serves small ones: slower, not wrong.
        #[cfg(all(target_os = "linux", not(miri)))]
        let _ = map.advise(memmap2::Advice::HugePage);
        let free = Mutex::new((0..count as u32).rev().collect());
        let reserve = RESERVE.min(count / RESERVE_PART).max(1);
        Arc::new(Arena { map, segment_bytes, count, reserve, free, ledger })
    }

    /// The ledger of a memory file, if this is one.
    #[inline]
    pub(crate) fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_deref()
    }

    /// Takes the segments of these numbers; `None` for one that is not free.
    pub(crate) fn claim(self: &Arc<Self>, numbers: &[u32]) -> Vec<Option<Buffer>> {
        let mut free = self.free.lock();
        let mut is_free = vec![false; self.count];
        free.iter().for_each(|number| is_free[*number as usize] = true);
        let claimed = numbers.iter().map(|&number| {
            let is_free = is_free.get_mut(number as usize)?;
            std::mem::take(is_free).then(|| Buffer { arena: Arc::clone(self), number })
        });
        let claimed = claimed.collect();
        free.retain(|number| is_free[*number as usize]);
        claimed
    }

    /// Segments that are in use.
    pub(crate) fn used(&self) -> usize {
        self.count - self.free.lock().len()
    }

    /// Takes a segment, if one is free that is not in reserve.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Buffer> {
        self.take_leaving(self.reserve)
    }

    /// Takes a segment, of the reserve too.
    pub(crate) fn take_reserved(self: &Arc<Self>) -> Option<Buffer> {
        self.take_leaving(0)
    }

    fn take_leaving(self: &Arc<Self>, left: usize) -> Option<Buffer> {
        let mut free = self.free.lock();
        let number = if free.len() > left { free.pop() } else { None }?;
        Some(Buffer { arena: Arc::clone(self), number })
    }

    fn start(&self, number: u32) -> *mut u8 {
        self.map.as_mut_ptr().wrapping_add(number as usize * self.segment_bytes)
    }
}

/// A mapping of a file as numbers that any thread may read and write. They are kept as the processor keeps them: a file
/// is for machines of one kind, and says so by its magic number.
#[derive(Debug)]
pub(crate) struct Cells(MmapRaw);

impl Cells {
    pub(crate) fn new(map: MmapRaw) -> Cells {
        Cells(map)
    }
}

impl Deref for Cells {
    type Target = [AtomicU64];

    #[expect(unsafe_code, reason = "a mapping is shown as numbers")]
    #[inline]
    fn deref(&self) -> &[AtomicU64] {
        let (start, bytes) = (self.0.as_mut_ptr(), self.0.len());
        // SAFETY:
        // 1. The mapping begins at a page, so it is aligned; it is initialized memory, of which any bytes make numbers;
        //    it lives as long as `self`, and the slice ends within it.
        // 2. Whatever this process does with it goes through these numbers, which are atomic; other processes are kept
        //    out by the file's lock.
        unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), bytes / size_of::<AtomicU64>()) }
    }
}

/// A segment's memory, held by one owner alone; free again when dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    arena: Arc<Arena>,
    number: u32,
}

impl Buffer {
    /// Which of the arena's segments it is.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The ledger of the memory file that it is part of, if it is.
    #[inline]
    pub(crate) fn ledger(&self) -> Option<&Ledger> {
        self.arena.ledger()
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[expect(unsafe_code, reason = "a part of the mapping is lent out")]
    fn deref(&self) -> &[u8] {
        let (start, bytes) = (self.arena.start(self.number), self.arena.segment_bytes);
        // SAFETY:
        // 1. `number < count`: numbers come from the free list, which was made with those alone, and so the part
        //    lies within the mapping, which lives as long as the arena, which this buffer holds.
        // 2. The mapping is initialized memory: the kernel gives zeroed pages, or a file's.
        // 3. Nobody else writes to the part: a number is in the free list or in one `Buffer`, never in two, since it is
        //    put back only when that buffer is dropped; and `&self` keeps this one from being written to. A file's lock
        //    keeps other processes of ours out; whoever else writes to the file breaks what it says, as to any mapping.
        unsafe { std::slice::from_raw_parts(start, bytes) }
    }
}

impl DerefMut for Buffer {
    #[expect(unsafe_code, reason = "a part of the mapping is lent out")]
    fn deref_mut(&mut self) -> &mut [u8] {
        let (start, bytes) = (self.arena.start(self.number), self.arena.segment_bytes);
        // SAFETY: 1 and 2 as in `deref`; 3. nobody else reads or writes the part, since no other buffer has its number
        // and `&mut self` is exclusive. A buffer inside of a `Log` is never lent out as a whole.
        unsafe { std::slice::from_raw_parts_mut(start, bytes) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.arena.free.lock().push(self.number);
    }
}

/// A segment that is only ever appended to, so that readers can keep parts of it without a copy. Its memory is free
/// again when the log and all that was pinned are dropped.
#[derive(Debug)]
pub(crate) struct Log {
    shared: Arc<Buffer>,
    used: usize,
}

impl Log {
    pub(crate) fn new(buffer: Buffer) -> Log {
        Log { shared: Arc::new(buffer), used: 0 }
    }

    /// A log of which so many bytes were appended before.
    pub(crate) fn restored(buffer: Buffer, used: usize) -> Log {
        assert!(used <= buffer.len(), "the caller has checked what it restores");
        Log { shared: Arc::new(buffer), used }
    }

    /// The segment it lies in.
    pub(crate) fn buffer(&self) -> &Buffer {
        &self.shared
    }

    /// Bytes that can still be appended.
    pub(crate) fn room(&self) -> usize {
        self.shared.arena.segment_bytes - self.used
    }

    /// Bytes appended so far.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Appends `bytes` bytes for the caller to fill; answers where they start. There must be room.
    #[expect(unsafe_code, reason = "a part of a segment is lent out while others are pinned")]
    pub(crate) fn append(&mut self, bytes: usize) -> (usize, &mut [u8]) {
        assert!(bytes <= self.room(), "the caller asked for room first");
        let at = self.used;
        self.used += bytes;
        let start = self.shared.arena.start(self.shared.number).wrapping_add(at);
        // SAFETY:
        // 1. `at + bytes` is within the segment, by the assertion; the rest as 1 and 2 of `Buffer::deref`.
        // 2. Nobody reads or writes `at..at + bytes`: what is shown or pinned lies below `used` as it was, and this is
        //    the only `Log` of its buffer, which it made itself and never lends out, exclusively borrowed.
        (at, unsafe { std::slice::from_raw_parts_mut(start, bytes) })
    }

    /// What was appended at `range`.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.end <= self.used, "only what was appended is shown");
        part(&self.shared, range)
    }

    /// What was appended at `range`, for as long as the caller likes.
    pub(crate) fn pin(&self, range: Range<usize>) -> Bytes {
        assert!(range.end <= self.used, "only what was appended is pinned");
        Bytes::from_owner(Pin { shared: Arc::clone(&self.shared), range })
    }
}

/// A part of a log that a reader keeps.
struct Pin {
    shared: Arc<Buffer>,
    /// Below the log's `used`, now and ever.
    range: Range<usize>,
}

impl AsRef<[u8]> for Pin {
    fn as_ref(&self) -> &[u8] {
        part(&self.shared, self.range.clone())
    }
}

/// A part of a log's buffer that was appended before.
#[expect(unsafe_code, reason = "a part of a segment is lent out while more is appended")]
fn part(buffer: &Buffer, range: Range<usize>) -> &[u8] {
    let bytes = buffer.arena.segment_bytes;
    assert!(range.start <= range.end && range.end <= bytes, "a range of the segment");
    let start = buffer.arena.start(buffer.number).wrapping_add(range.start);
    // SAFETY:
    // 1. The range is within the segment, by the assertion; the rest as 1 and 2 of `Buffer::deref`.
    // 2. Nobody writes to it: what a log has appended and returned from is written to no more, and the memory becomes
    //    another owner's only when the last holder of the `Arc` is gone, of whom the borrowed one is one.
    unsafe { std::slice::from_raw_parts(start, range.len()) }
}

#[cfg(test)]
mod tests {
    use super::{Arena, Log};

    #[test]
    fn segment_is_held_by_one_and_free_when_dropped() {
        let arena = Arena::new(32, 4096).unwrap();
        let mut held: Vec<_> = std::iter::from_fn(|| arena.take()).collect();
        assert_eq!((held.len(), arena.used()), (30, 30));
        for (fill, buffer) in held.iter_mut().enumerate() {
            buffer.fill(fill as u8);
        }
        assert!(held.iter().enumerate().all(|(fill, buffer)| buffer.iter().all(|byte| *byte == fill as u8)));
        let reserved = arena.take_reserved().unwrap();
        drop(held.pop());
        assert!(arena.take().is_none(), "the reserve comes first");
        drop(reserved);
        assert!(arena.take().is_some());
    }

    #[test]
    fn pinned_part_outlives_its_log_and_what_is_appended_behind() {
        let arena = Arena::new(16, 4096).unwrap();
        let mut log = Log::new(arena.take().unwrap());
        let (at, bytes) = log.append(100);
        bytes.fill(7);
        let pinned = log.pin(at..at + 100);
        let (_, bytes) = log.append(3000);
        bytes.fill(9);
        assert_eq!((log.bytes(50..101)[50], log.room()), (9, 996));
        drop(log);
        assert!(pinned.iter().all(|byte| *byte == 7));
        assert_eq!(arena.used(), 1);
        drop(pinned);
        assert_eq!(arena.used(), 0);
    }
}
