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
/// Cells of a namespace: its flush's watermark; when the next one is due, plus 1; its items; their bytes.
const NAMESPACE_CELLS: usize = 4;
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
/// A shard's cell with the latest version of anything it ever stored.
const SEEN: usize = 5;
/// A shard's cell that is not 0 while it is being changed.
const WORKS: usize = 6;
/// The cell of a shard or segment with the checksum of others.
const SUM: usize = 7;
/// State of a segment that is a slab of a table, without its shard.
const SLAB: u64 = 3;
/// What checksums begin with: cells of 0 are not right.
const SUM_SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// What checksums are multiplied by: odd, with bits all over.
const SUM_FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

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
        let cells = SHARD_CELLS + self.namespaces * NAMESPACE_CELLS + self.tombstones * TOMBSTONE_CELLS;
        cells.next_multiple_of(SEGMENT_CELLS)
    }

    fn shard_at(&self, shard: usize) -> usize {
        HEADER_CELLS + shard * self.shard_cells()
    }

    fn namespace_at(&self, shard: usize, namespace: usize) -> usize {
        self.shard_at(shard) + SHARD_CELLS + namespace * NAMESPACE_CELLS
    }

    fn tombstone_at(&self, shard: usize, index: usize) -> usize {
        self.namespace_at(shard, self.namespaces) + index * TOMBSTONE_CELLS
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
/// cell 1 number in the shard; 2 bytes used; 3 when it was sealed, 0 while it is open; 4 what versions count from;
/// 5 live items (upper half) and their bytes; 6 is 0; 7 a checksum of the others
/// ```
///
/// Of a slab of the table (kind 3) cell 1 is its position among the shard's slabs, and 2 to 6 are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) id: u32,
    pub(crate) kind: Kind,
    pub(crate) home: Home,
    pub(crate) sealed: Option<u64>,
    pub(crate) used: u32,
    pub(crate) base: u64,
    pub(crate) live_items: u32,
    pub(crate) live_bytes: u32,
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
        self.put(at + 5, live(kept.live_items, kept.live_bytes));
        fence();
        let kind = match kept.kind {
            Kind::Items => 1,
            Kind::Pieces => 2,
        };
        let queue = u64::from(kept.home.queue == Queue::Main);
        self.put(at, kind | u64::from(kept.home.space) << 8 | queue << 16 | (shard as u64) << 32);
        self.add_up(at);
        fence();
    }

    /// A segment is a slab of a shard's table from now on.
    #[cold]
    pub(crate) fn lent(&self, number: u32, shard: usize, position: usize) {
        let at = self.geometry.segment_at(number);
        self.put(at + 1, position as u64);
        (2..7).for_each(|cell| self.put(at + cell, 0));
        fence();
        self.put(at, SLAB | (shard as u64) << 32);
        self.add_up(at);
        fence();
    }

    /// Shard and position of a slab; `None` if the segment is none, or if what is written there makes no sense.
    pub(crate) fn slab(&self, number: u32) -> Option<(usize, usize)> {
        let at = self.geometry.segment_at(number);
        let (state, position) = (self.get(at), self.get(at + 1));
        let shard = (state >> 32) as usize;
        let is_sane = state & u64::from(u32::MAX) == SLAB
            && shard < self.geometry.shards
            && position < self.geometry.segments as u64
            && self.adds_up(number);
        is_sane.then_some((shard, position as usize))
    }

    /// What is written of a segment is what was to be written.
    pub(crate) fn adds_up(&self, number: u32) -> bool {
        let at = self.geometry.segment_at(number);
        self.get(at + SUM) == self.sum(at, SUM)
    }

    fn add_up(&self, at: usize) {
        self.put(at + SUM, self.sum(at, SUM));
    }

    /// A checksum of some cells: of random damage one in billions goes unseen.
    fn sum(&self, at: usize, cells: usize) -> u64 {
        (0..cells)
            .fold(SUM_SEED, |sum, cell| (sum ^ self.get(at + cell)).wrapping_mul(SUM_FACTOR).rotate_left(29))
    }

    /// So many bytes of a segment are whole, and so much of them lives.
    #[cold]
    pub(crate) fn used(&self, number: u32, used: u32, live_items: u32, live_bytes: u32) {
        let at = self.geometry.segment_at(number);
        fence();
        self.put(at + 2, u64::from(used));
        fence();
        self.put(at + 5, live(live_items, live_bytes));
        self.add_up(at);
    }

    #[cold]
    pub(crate) fn sealed(&self, number: u32, sealed: u64) {
        let at = self.geometry.segment_at(number);
        self.put(at + 3, sealed);
        self.add_up(at);
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
        let [state, id, used, sealed, base, live] = [0, 1, 2, 3, 4, 5].map(|cell| self.get(at + cell));
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
        let (id, used, live_items, live_bytes) = (id as u32, used as u32, (live >> 32) as u32, live as u32);
        is_sane.then_some((shard, Kept { id, kind, home, sealed, used, base, live_items, live_bytes }))
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

    /// The shard is being changed: until [`Ledger::rests`] its table and what is counted may be in any state.
    pub(crate) fn works(&self, shard: usize) {
        self.put(self.geometry.shard_at(shard) + WORKS, 1);
        fence();
    }

    /// Whether the shard is being changed, or was when the store ended.
    pub(crate) fn is_at_work(&self, shard: usize) -> bool {
        self.get(self.geometry.shard_at(shard) + WORKS) != 0
    }

    /// Nothing of the shard is being changed; its latest version, and items and bytes of each namespace.
    pub(crate) fn rests(&self, shard: usize, seen: Version, usage: impl Iterator<Item = (u64, u64)>) {
        let at = self.geometry.shard_at(shard);
        self.put(at + SEEN, seen.0);
        for (namespace, (items, bytes)) in usage.enumerate() {
            let at = self.geometry.namespace_at(shard, namespace);
            self.put(at + 2, items);
            self.put(at + 3, bytes);
        }
        self.put(at + SUM, self.counts_sum(shard));
        fence();
        self.put(at + WORKS, 0);
    }

    /// What [`Ledger::rests`] was told last, unless it does not add up.
    pub(crate) fn counts(&self, shard: usize) -> Option<(Version, Vec<(u64, u64)>)> {
        let at = self.geometry.shard_at(shard);
        let seen = Version(self.get(at + SEEN));
        let usage = (0..self.geometry.namespaces).map(|namespace| {
            let at = self.geometry.namespace_at(shard, namespace);
            (self.get(at + 2), self.get(at + 3))
        });
        let usage = usage.collect();
        (self.get(at + SUM) == self.counts_sum(shard) && seen <= Version::LAST).then_some((seen, usage))
    }

    fn counts_sum(&self, shard: usize) -> u64 {
        let seen = self.sum(self.geometry.shard_at(shard) + SEEN, 1);
        let namespaces = 0..self.geometry.namespaces;
        namespaces.fold(seen, |sum, namespace| {
            sum.rotate_left(7) ^ self.sum(self.geometry.namespace_at(shard, namespace) + 2, 2)
        })
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
        let at = self.geometry.namespace_at(shard, namespace);
        self.put(at, watermark.0);
        fence();
        self.put(at + 1, pending.map_or(0, |at| at.0.saturating_add(1)));
    }

    pub(crate) fn flush(&self, shard: usize, namespace: usize) -> (Version, Option<Time>) {
        let at = self.geometry.namespace_at(shard, namespace);
        (Version(self.get(at)), self.get(at + 1).checked_sub(1).map(Time))
    }
}

fn live(items: u32, bytes: u32) -> u64 {
    u64::from(items) << 32 | u64::from(bytes)
}

/// Keeps the compiler from moving stores across. What a killed process did is seen whole, so that is enough.
#[inline]
fn fence() {
    compiler_fence(Ordering::SeqCst);
    #[cfg(test)]
    super::tests::may_crash();
}
