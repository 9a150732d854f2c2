//! Segments: memory in large pieces, filled from front to back and emptied at once.

use crate::budget::Charge;
use crate::evict::Queue;
use crate::item::{self, Header, Marks, NEVER};

/// What one segment costs beside its bytes: its place in the list, in a queue, the allocator's own.
pub(crate) const SEGMENT_OVERHEAD_BYTES: usize = 128;

/// The bytes of a segment, and the charge for them.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    /// Held for the bytes.
    _charge: Charge,
}

impl Buffer {
    pub(crate) fn new(segment_bytes: usize, charge: Charge) -> Buffer {
        Buffer { bytes: vec![0; segment_bytes].into_boxed_slice(), _charge: charge }
    }
}

/// A segment in use.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) queue: Queue,
    /// No more items come in.
    pub(crate) sealed: bool,
    buffer: Buffer,
    used: usize,
    live_bytes: usize,
    live_items: usize,
    /// No live item expires earlier.
    pub(crate) expires_min: u64,
}

impl Segment {
    pub(crate) fn new(queue: Queue, buffer: Buffer) -> Segment {
        Segment { queue, sealed: false, buffer, used: 0, live_bytes: 0, live_items: 0, expires_min: NEVER }
    }

    pub(crate) fn into_buffer(self) -> Buffer {
        self.buffer
    }

    pub(crate) fn live_items(&self) -> usize {
        self.live_items
    }

    pub(crate) fn dead_bytes(&self) -> usize {
        self.used - self.live_bytes
    }

    pub(crate) fn has_room(&self, footprint: usize) -> bool {
        self.used + footprint <= self.buffer.bytes.len()
    }

    /// The item at `offset` and everything behind it.
    pub(crate) fn at(&self, offset: u32) -> &[u8] {
        &self.buffer.bytes[offset as usize..self.used]
    }

    pub(crate) fn at_mut(&mut self, offset: u32) -> &mut [u8] {
        &mut self.buffer.bytes[offset as usize..self.used]
    }

    /// Takes the next `footprint` bytes. The caller has asked [`Segment::has_room`].
    pub(crate) fn push(&mut self, footprint: usize, expires_ms: u64) -> (u32, &mut [u8]) {
        let start = self.used;
        self.used += footprint;
        self.live_bytes += footprint;
        self.live_items += 1;
        self.widen(expires_ms);
        (start as u32, &mut self.buffer.bytes[start..self.used])
    }

    /// An item of this segment expires at this instant now.
    pub(crate) fn widen(&mut self, expires_ms: u64) {
        self.expires_min = self.expires_min.min(expires_ms);
    }

    /// The item at `offset` left the table. Answers its footprint.
    pub(crate) fn kill(&mut self, offset: u32) -> usize {
        let bytes = self.at_mut(offset);
        let footprint = Header::decode(bytes).footprint();
        item::kill(bytes);
        self.live_bytes -= footprint;
        self.live_items -= 1;
        footprint
    }

    /// The first live item at or behind `offset`.
    pub(crate) fn next_live(&self, mut offset: u32) -> Option<(u32, Header)> {
        while (offset as usize) < self.used {
            let header = Header::decode(self.at(offset));
            if !header.marks.has(Marks::DEAD) {
                return Some((offset, header));
            }
            offset += header.footprint() as u32;
        }
        None
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
    pub(crate) fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// One past the largest number ever given.
    pub(crate) fn end(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Bytes of items no longer in the table, in all segments.
    pub(crate) fn dead_bytes(&self) -> usize {
        self.dead_bytes
    }

    pub(crate) fn insert(&mut self, segment: Segment) -> u32 {
        if let Some(id) = self.free.pop() {
            self.slots[id as usize] = Some(segment);
            return id;
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

    /// As [`Segment::kill`], and keeps the sum of dead bytes. Answers the footprint.
    pub(crate) fn kill(&mut self, id: u32, offset: u32) -> usize {
        let footprint = self.get_mut(id).kill(offset);
        self.dead_bytes += footprint;
        footprint
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
