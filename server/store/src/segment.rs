//! Segments: memory in large parts, filled from front to back and emptied at once.

use std::collections::HashMap;

use crate::arena::{Buffer, Log};
use crate::due::Due;
use crate::evict::Home;
use crate::file::{Kept, Ledger};
use crate::item::{self, Header, Marks, VERSION_SLACK};
use crate::large;
use crate::prefetch::LINE_BYTES;
use crate::{Time, Version};

/// Bits of an offset in a segment: 256 KiB.
const OFFSET_BITS: u32 = 18;
/// The largest segment: its offsets are so many bits.
pub(crate) const SEGMENT_BYTES_MAX: usize = 1 << OFFSET_BITS;

/// The list of segments grows by one part in this many of itself.
pub(crate) const GROWTH_PART: usize = 8;

/// Where an item or a piece lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) segment: u32,
    /// In bytes.
    pub(crate) offset: u32,
}

impl Location {
    /// Bits of a packed location.
    pub(crate) const BITS: u32 = 40;

    /// As the table keeps it: 40 bits, never 0.
    ///
    /// ```text
    ///  39              18 17               0
    /// +------------------+------------------+
    /// | segment + 1      | offset           |
    /// +------------------+------------------+
    /// ```
    pub(crate) fn pack(self) -> u64 {
        (u64::from(self.segment) + 1) << OFFSET_BITS | u64::from(self.offset)
    }

    pub(crate) fn unpack(packed: u64) -> Location {
        // What is no place at all, which only a damaged file holds, names a segment that is never there.
        let segment = ((packed >> OFFSET_BITS) as u32).wrapping_sub(1);
        Location { segment, offset: packed as u32 & ((1 << OFFSET_BITS) - 1) }
    }
}

/// What lies in a segment.
#[derive(Debug)]
enum Body {
    /// Items, whose marks change where they lie.
    Items(Buffer),
    /// Pieces of large values, which never change.
    Pieces(Log),
}

/// Which of the two a segment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Items,
    Pieces,
}

/// A segment in use.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) home: Home,
    /// When it was sealed, as a count of seals; `None` while it is open.
    pub(crate) sealed: Option<u64>,
    body: Body,
    used: u32,
    live_bytes: u32,
    live_items: u32,
    /// What the versions of items count from.
    base: u64,
    /// No item in it is covered by a flush up to this one.
    looked: Version,
    due: Due,
    /// A memory file held it, and nobody has looked through it since.
    is_unchecked: bool,
}

impl Segment {
    /// An empty one, for items of about this version and time.
    pub(crate) fn new(kind: Kind, home: Home, buffer: Buffer, version: Version, now: Time) -> Segment {
        let body = match kind {
            Kind::Items => Body::Items(buffer),
            Kind::Pieces => Body::Pieces(Log::new(buffer)),
        };
        Segment {
            home,
            sealed: None,
            body,
            used: 0,
            live_bytes: 0,
            live_items: 0,
            base: version.0.saturating_sub(VERSION_SLACK),
            looked: version,
            due: Due::new(now.0),
            is_unchecked: false,
        }
    }

    /// One that a memory file holds.
    pub(crate) fn restored(kept: &Kept, buffer: Buffer, looked: Version, now: Time) -> Segment {
        let body = match kept.kind {
            Kind::Items => Body::Items(buffer),
            Kind::Pieces => Body::Pieces(Log::restored(buffer, kept.used as usize)),
        };
        Segment {
            home: kept.home,
            sealed: kept.sealed,
            body,
            used: kept.used,
            live_bytes: kept.live_bytes.min(kept.used),
            live_items: kept.live_items,
            base: kept.base,
            looked,
            due: Due::new(now.0),
            is_unchecked: true,
        }
    }

    /// The header at `offset` and the bytes of its item, if they can be one.
    pub(crate) fn checked(&self, offset: u32) -> Option<(Header, usize)> {
        item::checked(self.at(offset), self.base)
    }

    /// Its memory goes, and a memory file forgets it.
    pub(crate) fn retire(self) {
        if let Some((ledger, number)) = self.ledger() {
            ledger.retired(number);
        }
    }

    /// What a memory file is to know of it.
    pub(crate) fn kept(&self, id: u32) -> Kept {
        Kept {
            id,
            kind: self.kind(),
            home: self.home,
            sealed: self.sealed,
            used: self.used,
            base: self.base,
            live_items: self.live_items,
            live_bytes: self.live_bytes,
        }
    }

    fn buffer(&self) -> &Buffer {
        match &self.body {
            Body::Items(buffer) => buffer,
            Body::Pieces(log) => log.buffer(),
        }
    }

    /// The arena's number of it, and the ledger that is to know of it, if the arena is a file.
    #[inline]
    pub(crate) fn ledger(&self) -> Option<(&Ledger, u32)> {
        let buffer = self.buffer();
        buffer.ledger().map(|ledger| (ledger, buffer.number()))
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.body {
            Body::Items(_) => Kind::Items,
            Body::Pieces(_) => Kind::Pieces,
        }
    }

    /// Live items or pieces.
    pub(crate) fn live_items(&self) -> u32 {
        self.live_items
    }

    /// Bytes of what lives.
    pub(crate) fn live_bytes(&self) -> u32 {
        self.live_bytes
    }

    pub(crate) fn dead_bytes(&self) -> usize {
        (self.used - self.live_bytes) as usize
    }

    /// A memory file held it, and nobody has looked through it since: its items may be damaged.
    #[inline]
    pub(crate) fn is_unchecked(&self) -> bool {
        self.is_unchecked
    }

    /// It was looked through.
    pub(crate) fn set_checked(&mut self) {
        self.is_unchecked = false;
    }

    /// From this instant on it is worth looking for expired items.
    pub(crate) fn due_ms(&self) -> u64 {
        self.due.next_ms()
    }

    /// Flushes after this one may cover items in it.
    pub(crate) fn looked(&self) -> Version {
        self.looked
    }

    /// Lines that its items lie on, on average.
    pub(crate) fn mean_lines(&self) -> usize {
        self.live_bytes as usize / (self.live_items.max(1) as usize * LINE_BYTES) + 2
    }

    /// Bytes not yet used.
    pub(crate) fn room(&self) -> usize {
        match &self.body {
            Body::Items(buffer) => buffer.len() - self.used as usize,
            Body::Pieces(log) => log.room(),
        }
    }

    /// The item at `offset` and everything behind it.
    pub(crate) fn at(&self, offset: u32) -> &[u8] {
        match &self.body {
            Body::Items(buffer) => &buffer[offset as usize..self.used as usize],
            Body::Pieces(log) => log.bytes(offset as usize..log.used()),
        }
    }

    /// As [`Segment::at`], to change an item's header. Pieces do not change.
    pub(crate) fn at_mut(&mut self, offset: u32) -> &mut [u8] {
        match &mut self.body {
            Body::Items(buffer) => &mut buffer[offset as usize..self.used as usize],
            Body::Pieces(_) => unreachable!("only items are changed where they lie"),
        }
    }

    pub(crate) fn header(&self, offset: u32) -> Header {
        Header::decode(self.at(offset), self.base)
    }

    /// Bytes that an item of this header takes here.
    pub(crate) fn footprint(&self, header: &Header) -> usize {
        header.footprint(self.base)
    }

    /// Adds an item. The caller has made sure of the room. Answers where it lies.
    pub(crate) fn push(&mut self, header: &Header, key: &[u8], body: &[&[u8]]) -> u32 {
        let offset = self.used;
        let Body::Items(buffer) = &mut self.body else { unreachable!("items go to segments of items") };
        let bytes = &mut buffer[offset as usize..];
        let mut end = header.encode(bytes, self.base);
        for part in std::iter::once(&key).chain(body) {
            bytes[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        self.grow(end);
        self.note(header);
        offset
    }

    /// Writes an item over another that is as long.
    pub(crate) fn overwrite(&mut self, offset: u32, header: &Header, key: &[u8], body: &[u8]) {
        self.note(header);
        let base = self.base;
        let bytes = self.at_mut(offset);
        let start = header.encode(bytes, base);
        bytes[start..start + key.len()].copy_from_slice(key);
        bytes[start + key.len()..start + key.len() + body.len()].copy_from_slice(body);
    }

    /// Gives an item another header that is as long.
    pub(crate) fn reshape(&mut self, offset: u32, header: &Header) {
        self.note(header);
        let base = self.base;
        header.encode(self.at_mut(offset), base);
    }

    /// Adds a piece of a large value. The caller has made sure of the room. Answers where it lies.
    pub(crate) fn push_piece(&mut self, hash: u64, bytes: &[u8]) -> u32 {
        let Body::Pieces(log) = &mut self.body else { unreachable!("pieces go to segments of pieces") };
        let (offset, place) = log.append(large::PIECE_HEADER_BYTES + bytes.len());
        large::encode_piece(place, hash, bytes);
        self.grow(large::PIECE_HEADER_BYTES + bytes.len());
        offset as u32
    }

    /// A part of the log of pieces that a reader may keep.
    pub(crate) fn pin(&self, start: usize, bytes: usize) -> bytes::Bytes {
        match &self.body {
            Body::Pieces(log) => log.pin(start..start + bytes),
            Body::Items(_) => unreachable!("only pieces are pinned"),
        }
    }

    fn grow(&mut self, bytes: usize) {
        self.used += bytes as u32;
        self.live_bytes += bytes as u32;
        self.live_items += 1;
        self.keep_used();
    }

    #[inline]
    fn keep_used(&self) {
        if let Some((ledger, number)) = self.ledger() {
            ledger.used(number, self.used, self.live_items, self.live_bytes);
        }
    }

    /// An item of this segment has this version and expiry now.
    pub(crate) fn note(&mut self, header: &Header) {
        self.due.add(header.expires_ms);
    }

    /// It is about to be looked through for expired items and those of flushes up to `flush`. Forgets what was known
    /// of expiries: [`Segment::note`] tells anew.
    pub(crate) fn forget_due(&mut self, now: Time, flush: Version) {
        self.looked = flush;
        self.due = Due::new(now.0);
    }

    /// The item or piece at `offset` is no longer part of the store. Answers its bytes.
    pub(crate) fn kill(&mut self, offset: u32) -> usize {
        let bytes = match self.kind() {
            Kind::Items => {
                let header = self.header(offset);
                let bytes = self.at_mut(offset);
                item::kill(bytes);
                item::footprint(bytes, &header)
            }
            Kind::Pieces => large::piece_footprint(self.at(offset)),
        };
        self.live_bytes -= bytes as u32;
        self.live_items -= 1;
        self.keep_used();
        bytes
    }

    /// The first live item at or behind `offset`.
    pub(crate) fn next_live(&self, mut offset: u32) -> Option<(u32, Header)> {
        while offset < self.used {
            let header = self.header(offset);
            if !header.marks.has(Marks::DEAD) {
                return Some((offset, header));
            }
            offset += item::footprint(self.at(offset), &header) as u32;
        }
        None
    }

    /// Where the item behind the one at `offset` lies.
    pub(crate) fn behind(&self, offset: u32, header: &Header) -> u32 {
        offset + item::footprint(self.at(offset), header) as u32
    }

    /// The offset after the last item.
    pub(crate) fn end(&self) -> u32 {
        self.used
    }
}

/// All segments of a shard, by number.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    slots: Vec<Option<Segment>>,
    free: Vec<u32>,
    dead_bytes: usize,
}

impl Segments {
    /// Those of a memory file, by number.
    pub(crate) fn restored(mut found: HashMap<u32, Segment>) -> Segments {
        let end = found.keys().max().map_or(0, |id| id + 1);
        let slots: Vec<_> = (0..end).map(|id| found.remove(&id)).collect();
        let free = (0..end).rev().filter(|id| slots[*id as usize].is_none()).collect();
        let dead_bytes = slots.iter().flatten().map(Segment::dead_bytes).sum();
        Segments { slots, free, dead_bytes }
    }

    /// All that is in them counts as dead until [`Segments::revive`] says otherwise.
    pub(crate) fn count_as_dead(&mut self) {
        self.dead_bytes = 0;
        for segment in self.slots.iter_mut().flatten() {
            (segment.live_items, segment.live_bytes) = (0, 0);
            self.dead_bytes += segment.dead_bytes();
        }
    }

    /// So many bytes of a segment, an item or a piece, live after all. A memory file is told by [`Segments::recounted`].
    pub(crate) fn revive(&mut self, id: u32, bytes: usize) {
        let segment = self.get_mut(id);
        segment.live_bytes += bytes as u32;
        segment.live_items += 1;
        self.dead_bytes -= bytes;
    }

    /// All was looked through and counted anew.
    pub(crate) fn recounted(&mut self) {
        for segment in self.slots.iter_mut().flatten() {
            segment.set_checked();
            segment.keep_used();
        }
    }

    /// An item that counts as dead is to say so.
    pub(crate) fn mark_dead(&mut self, location: Location) {
        item::kill(self.get_mut(location.segment).at_mut(location.offset));
    }

    /// A segment ends at `offset`: nothing behind it lives.
    pub(crate) fn cut(&mut self, id: u32, offset: u32) {
        let segment = self.get_mut(id);
        let cut = segment.used - offset;
        segment.used = offset;
        segment.keep_used();
        self.dead_bytes -= cut as usize;
    }

    /// Segments in use.
    pub(crate) fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// One past the largest number ever given.
    pub(crate) fn end(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Bytes of what is no longer part of the store, in all segments.
    pub(crate) fn dead_bytes(&self) -> usize {
        self.dead_bytes
    }

    pub(crate) fn insert(&mut self, segment: Segment) -> u32 {
        if let Some(id) = self.free.pop() {
            self.slots[id as usize] = Some(segment);
            return id;
        }
        if self.slots.len() == self.slots.capacity() {
            // Not by doubling: what is reserved and unused would have to be charged.
            self.slots.reserve_exact(self.slots.len() / GROWTH_PART + GROWTH_PART);
        }
        self.slots.push(Some(segment));
        self.slots.len() as u32 - 1
    }

    /// Takes a segment out; its number stays taken until [`Segments::release`].
    pub(crate) fn detach(&mut self, id: u32) -> Segment {
        let segment = self.slots[id as usize].take().expect("only segments in use are detached");
        self.dead_bytes -= segment.dead_bytes();
        segment
    }

    /// Gives the number of a detached segment back.
    pub(crate) fn release(&mut self, id: u32) {
        self.free.push(id);
    }

    pub(crate) fn get(&self, id: u32) -> &Segment {
        self.slots[id as usize].as_ref().expect("the table and the queues name only segments in use")
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> &mut Segment {
        self.slots[id as usize].as_mut().expect("the table and the queues name only segments in use")
    }

    /// As [`Segment::kill`], and keeps the sum of dead bytes. Answers the bytes; none if the segment is detached,
    /// whose memory goes as a whole.
    pub(crate) fn kill(&mut self, location: Location) -> Option<usize> {
        let bytes = self.slots[location.segment as usize].as_mut()?.kill(location.offset);
        self.dead_bytes += bytes;
        Some(bytes)
    }

    /// Every segment in use, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Segment)> {
        self.slots.iter().enumerate().filter_map(|(id, slot)| Some((id as u32, slot.as_ref()?)))
    }

    /// The segment of this number, if it is in use.
    pub(crate) fn try_get(&self, id: u32) -> Option<&Segment> {
        self.slots.get(id as usize)?.as_ref()
    }
}
