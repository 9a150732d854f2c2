//! The ledger: what a start after this one has to know of segments and shards, written down as they change.
//!
//! A process that is killed leaves its stores to the mapping behind in the order in which the compiler put them. So
//! the ledger needs no log and no flush: an item's bytes come before the number that says that they are used, whatever
//! is changed where it lies is named before and until it is whole, and the compiler is kept from changing that order.

use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use crate::arena::Cells;
use crate::evict::{Home, Queue};
use crate::item;
use crate::segment::{Kind, Location};
use crate::{Time, Version};

/// Cells of the header: a page of 4 KiB.
pub(crate) const HEADER_CELLS: usize = 512;
/// Cells of a shard before its flushes.
const SHARD_CELLS: usize = 8;
/// Cells of a flush: the watermark, and when the next one is due, plus 1.
const FLUSH_CELLS: usize = 2;
/// Cells of a tombstone: hash and version.
const TOMBSTONE_CELLS: usize = 2;
/// Cells of a segment: a cache line.
const SEGMENT_CELLS: usize = 8;
/// Segments begin at a multiple of this: the largest page of any system that we know.
const ALIGN_BYTES: usize = 64 << 10;
/// Bytes of a cell.
const CELL_BYTES: usize = size_of::<u64>();

/// The header's cell that says when the store last ran.
const RAN: usize = 48;

/// How large the ledger's parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) segment_bytes: usize,
    pub(crate) segments: usize,
    pub(crate) shards: usize,
    /// The default one too.
    pub(crate) namespaces: usize,
    /// Of each shard.
    pub(crate) tombstones: usize,
}

impl Geometry {
    fn shard_cells(&self) -> usize {
        let cells = SHARD_CELLS + self.namespaces * FLUSH_CELLS + self.tombstones * TOMBSTONE_CELLS;
        cells.next_multiple_of(SEGMENT_CELLS)
    }

    fn shard_at(&self, shard: usize) -> usize {
        HEADER_CELLS + shard * self.shard_cells()
    }

    fn flush_at(&self, shard: usize, namespace: usize) -> usize {
        self.shard_at(shard) + SHARD_CELLS + namespace * FLUSH_CELLS
    }

    fn tombstone_at(&self, shard: usize, index: usize) -> usize {
        self.flush_at(shard, self.namespaces) + index * TOMBSTONE_CELLS
    }

    fn segment_at(&self, number: u32) -> usize {
        self.shard_at(self.shards) + number as usize * SEGMENT_CELLS
    }

    /// Bytes of the ledger, before the first segment.
    pub(crate) fn ledger_bytes(&self) -> usize {
        ((self.shard_at(self.shards) + self.segments * SEGMENT_CELLS) * CELL_BYTES)
            .next_multiple_of(ALIGN_BYTES)
    }

    /// Bytes of the ledger and all segments.
    pub(crate) fn file_bytes(&self) -> usize {
        self.ledger_bytes() + self.segments * self.segment_bytes
    }
}

/// What the ledger keeps of a segment.
///
/// ```text
/// cell 0    63      32 31    24 23   16 15     8 7     0
///          +----------+--------+-------+--------+-------+
///          | shard    |        | queue | space  | kind  |   0: the segment is free
///          +----------+--------+-------+--------+-------+
/// cell 1 number in the shard; 2 bytes used; 3 when it was sealed, 0 while it is open; 4 what versions count from
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) id: u32,
    pub(crate) kind: Kind,
    pub(crate) home: Home,
    pub(crate) sealed: Option<u64>,
    pub(crate) used: u32,
    pub(crate) base: u64,
}

/// An item that is being changed where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) location: Location,
    /// Bytes of the item, before and after.
    pub(crate) footprint: usize,
    /// Of its key.
    pub(crate) hash: u64,
    /// As it was.
    pub(crate) version: Version,
}

/// The ledger of a store. Each shard's part is written under the shard's lock, a segment's by the shard that holds it.
#[derive(Debug)]
pub(crate) struct Ledger {
    cells: Cells,
    pub(crate) geometry: Geometry,
    /// Open, and with it locked, for as long as the mapping is used.
    _file: std::fs::File,
}

impl Ledger {
    pub(crate) fn new(cells: Cells, geometry: Geometry, file: std::fs::File) -> Ledger {
        assert!(cells.len() * CELL_BYTES >= geometry.ledger_bytes(), "the ledger was mapped as a whole");
        Ledger { cells, geometry, _file: file }
    }

    /// The cells of the header.
    pub(crate) fn header(&self) -> &[AtomicU64] {
        &self.cells[..HEADER_CELLS]
    }

    fn put(&self, at: usize, number: u64) {
        self.cells[at].store(number, Ordering::Relaxed);
    }

    fn get(&self, at: usize) -> u64 {
        self.cells[at].load(Ordering::Relaxed)
    }

    /// The store ran at this time.
    pub(crate) fn note_ran(&self, now: Time) {
        self.cells[RAN].fetch_max(now.0, Ordering::Relaxed);
    }

    /// When the store last ran.
    pub(crate) fn ran(&self) -> Time {
        Time(self.get(RAN))
    }

    /// A segment is in use from now on.
    #[cold]
    pub(crate) fn opened(&self, number: u32, shard: usize, kept: &Kept) {
        let at = self.geometry.segment_at(number);
        self.put(at + 1, u64::from(kept.id));
        self.put(at + 2, u64::from(kept.used));
        self.put(at + 3, kept.sealed.unwrap_or(0));
        self.put(at + 4, kept.base);
        fence();
        let kind = match kept.kind {
            Kind::Items => 1,
            Kind::Pieces => 2,
        };
        let queue = u64::from(kept.home.queue == Queue::Main);
        self.put(at, kind | u64::from(kept.home.space) << 8 | queue << 16 | (shard as u64) << 32);
        fence();
    }

    /// So many bytes of a segment are whole.
    #[cold]
    pub(crate) fn used(&self, number: u32, used: u32) {
        fence();
        self.put(self.geometry.segment_at(number) + 2, u64::from(used));
        fence();
    }

    #[cold]
    pub(crate) fn sealed(&self, number: u32, sealed: u64) {
        self.put(self.geometry.segment_at(number) + 3, sealed);
    }

    /// Nothing in a segment is part of the store any more.
    #[cold]
    pub(crate) fn retired(&self, number: u32) {
        fence();
        self.put(self.geometry.segment_at(number), 0);
        fence();
    }

    /// Whether a segment is in use, or says something that makes no sense.
    pub(crate) fn is_used(&self, number: u32) -> bool {
        self.get(self.geometry.segment_at(number)) != 0
    }

    /// Shard and description of a segment; `None` if it is free or if what is written there makes no sense.
    pub(crate) fn segment(&self, number: u32) -> Option<(usize, Kept)> {
        let at = self.geometry.segment_at(number);
        let [state, id, used, sealed, base] = [0, 1, 2, 3, 4].map(|cell| self.get(at + cell));
        let kind = match state & 0xff {
            1 => Kind::Items,
            2 => Kind::Pieces,
            _ => return None,
        };
        let queue = if state >> 16 & 0xff == 0 { Queue::Small } else { Queue::Main };
        let shard = (state >> 32) as usize;
        let is_sane = shard < self.geometry.shards
            && id < self.geometry.segments as u64
            && used <= self.geometry.segment_bytes as u64;
        let home = Home { space: (state >> 8) as u8, queue };
        let sealed = Some(sealed).filter(|sealed| *sealed != 0);
        is_sane.then_some((shard, Kept { id: id as u32, kind, home, sealed, used: used as u32, base }))
    }

    /// An item is about to be changed where it lies.
    pub(crate) fn changing(&self, shard: usize, change: &Change) {
        let at = self.geometry.shard_at(shard);
        self.put(at + 1, change.hash);
        self.put(at + 2, change.version.0);
        self.put(at + 3, change.footprint as u64);
        fence();
        self.put(at, change.location.pack());
        fence();
    }

    /// The item is whole again.
    #[cold]
    pub(crate) fn changed(&self, shard: usize) {
        fence();
        self.put(self.geometry.shard_at(shard), 0);
        fence();
    }

    /// The item that was being changed when the store ended.
    pub(crate) fn change(&self, shard: usize) -> Option<Change> {
        let at = self.geometry.shard_at(shard);
        let [place, hash, version, footprint] = [0, 1, 2, 3].map(|cell| self.get(at + cell));
        let (location, footprint) = (Location::unpack(place), footprint as usize);
        let is_sane = place != 0 && item::BLANK_BYTES.contains(&footprint) && version <= Version::LAST.0;
        is_sane.then_some(Change { location, footprint, hash, version: Version(version) })
    }

    pub(crate) fn put_floor(&self, shard: usize, floor: Version) {
        self.put(self.geometry.shard_at(shard) + 4, floor.0);
        fence();
    }

    pub(crate) fn floor(&self, shard: usize) -> Version {
        Version(self.get(self.geometry.shard_at(shard) + 4))
    }

    pub(crate) fn put_tombstone(&self, shard: usize, index: usize, hash: u64, version: Version) {
        let at = self.geometry.tombstone_at(shard, index);
        // Never a hash with another's version.
        self.put(at + 1, 0);
        fence();
        self.put(at, hash);
        fence();
        self.put(at + 1, version.0);
        fence();
    }

    pub(crate) fn tombstone(&self, shard: usize, index: usize) -> (u64, Version) {
        let at = self.geometry.tombstone_at(shard, index);
        (self.get(at), Version(self.get(at + 1)))
    }

    pub(crate) fn put_flush(
        &self,
        shard: usize,
        namespace: usize,
        watermark: Version,
        pending: Option<Time>,
    ) {
        let at = self.geometry.flush_at(shard, namespace);
        self.put(at, watermark.0);
        fence();
        self.put(at + 1, pending.map_or(0, |at| at.0.saturating_add(1)));
    }

    pub(crate) fn flush(&self, shard: usize, namespace: usize) -> (Version, Option<Time>) {
        let at = self.geometry.flush_at(shard, namespace);
        (Version(self.get(at)), self.get(at + 1).checked_sub(1).map(Time))
    }
}

/// Keeps the compiler from moving stores across. What a killed process did is seen whole, so that is enough.
#[inline]
fn fence() {
    compiler_fence(Ordering::SeqCst);
    #[cfg(test)]
    super::tests::may_crash();
}
