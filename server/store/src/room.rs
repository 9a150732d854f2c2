//! Room for what comes: open segments, spare buffers, the table's growth, and the eviction they ask for.

use crate::Time;
use crate::budget::Charge;
use crate::evict::{Queue, Unit};
use crate::extent::Extent;
use crate::ghost::Ghost;
use crate::index::{Index, Location};
use crate::segment::{Buffer, SEGMENT_OVERHEAD_BYTES, Segment};
use crate::shard::Shard;

/// Spare buffers of a shard: one for the survivors of an eviction, one for the segment that opens next.
const SPARES_MAX: usize = 2;
/// Evictions that may spare items by their frequency before one spares none, beyond those that the wanted
/// bytes explain: bounds the copying that one write can cause, whatever the readers did.
const GENTLE_EVICTIONS_MAX: usize = 16;

/// The operation needs so many bytes that this shard does not have and should not make alone. Nothing was
/// changed; the store frees them, in whatever shard, and asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NeedRoom(pub(crate) usize);

impl Shard {
    /// Takes a charge, from the store's grant first.
    pub(crate) fn charge(&mut self, bytes: usize) -> Option<Charge> {
        let granted = self.grant.as_mut().and_then(|grant| grant.split(bytes));
        granted.or_else(|| self.shared.budget.charge(bytes))
    }

    /// Makes sure that `queue` has an open segment with room for `footprint` bytes.
    pub(crate) fn open_room(&mut self, queue: Queue, footprint: usize, now: Time) -> Result<(), NeedRoom> {
        if self.has_open_room(queue, footprint) {
            return Ok(());
        }
        let buffer = self.buffer(now)?;
        // Survivors of an eviction may have opened a segment in the meantime.
        if self.has_open_room(queue, footprint) {
            self.keep_spare(buffer);
        } else {
            self.seal(queue);
            self.open(queue, buffer);
        }
        Ok(())
    }

    /// Makes sure that the table takes one more item.
    pub(crate) fn table_room(&mut self, now: Time) -> Result<(), NeedRoom> {
        let mut evictions = 0;
        while let Some(slots) = self.index.growth() {
            let items = Index::items_max(slots);
            let bytes = Index::bytes_for(slots) + Ghost::bytes_for(items);
            if let Some(mut charge) = self.charge(bytes) {
                let ghosts = charge.split(Ghost::bytes_for(items)).expect("it is part of the sum");
                self.ghost.resize(items, ghosts);
                self.index.resize(slots, charge);
            } else if self.spares.len() == SPARES_MAX {
                self.spares.pop();
            } else if self.is_poor() || !self.reclaim(now, self.is_enough(evictions, bytes)) {
                return Err(NeedRoom(bytes));
            }
            evictions += 1;
        }
        Ok(())
    }

    /// A buffer for a new segment, leaving one spare.
    fn buffer(&mut self, now: Time) -> Result<Buffer, NeedRoom> {
        let segment_bytes = self.shared.layout.segment_bytes;
        let bytes = segment_bytes + SEGMENT_OVERHEAD_BYTES;
        for evictions in 0.. {
            if self.spares.len() == SPARES_MAX {
                return Ok(self.spares.pop().expect("there are two"));
            }
            if let Some(charge) = self.charge(bytes) {
                return Ok(Buffer::new(segment_bytes, charge));
            }
            if self.is_poor() || !self.reclaim(now, self.is_enough(evictions, bytes)) {
                break;
            }
        }
        Err(NeedRoom(bytes))
    }

    /// Frees memory until `bytes` can be charged, or nothing is left.
    pub(crate) fn make_room(&mut self, bytes: usize, now: Time) -> Option<Charge> {
        for evictions in 0.. {
            if let Some(charge) = self.shared.budget.charge(bytes) {
                return Some(charge);
            }
            if self.spares.len() == SPARES_MAX {
                self.spares.pop();
            } else if !self.reclaim(now, self.is_enough(evictions, bytes)) {
                return None;
            }
        }
        None
    }

    /// So many evictions were gentle that the next one is not.
    fn is_enough(&self, evictions: usize, bytes: usize) -> bool {
        // A tenth of a segment is what an eviction frees at worst, more often than not.
        evictions >= GENTLE_EVICTIONS_MAX + 10 * bytes / self.shared.layout.segment_bytes
    }

    /// This shard holds so little that others should give first.
    fn is_poor(&self) -> bool {
        self.held_bytes() < self.shared.fair_bytes / 2
    }

    pub(crate) fn has_open_room(&mut self, queue: Queue, footprint: usize) -> bool {
        let open = self.queues.of(queue).open;
        open.is_some_and(|open| self.segments.get(open).has_room(footprint))
    }

    /// Opens a segment for a queue that has none open.
    pub(crate) fn open(&mut self, queue: Queue, buffer: Buffer) {
        let id = self.segments.insert(Segment::new(queue, buffer));
        let segment_bytes = self.shared.layout.segment_bytes;
        let fifo = self.queues.of(queue);
        fifo.open = Some(id);
        fifo.bytes += segment_bytes;
    }

    /// Ends the open segment of a queue, if there is one.
    pub(crate) fn seal(&mut self, queue: Queue) {
        let Some(open) = self.queues.of(queue).open.take() else { return };
        self.segments.get_mut(open).sealed = true;
        self.queues.of(queue).units.push_back(Unit::Segment(open));
    }

    /// Takes the next bytes of a queue's open segment, which has room.
    pub(crate) fn push_open(
        &mut self,
        queue: Queue,
        footprint: usize,
        expires_ms: u64,
    ) -> (Location, &mut [u8]) {
        let segment = self.queues.of(queue).open.expect("the caller made room");
        let (offset, bytes) = self.segments.get_mut(segment).push(footprint, expires_ms);
        (Location::Inline { segment, offset }, bytes)
    }

    pub(crate) fn push_extent(&mut self, extent: Extent) -> Location {
        let (queue, bytes) = (extent.queue, extent.charged_bytes());
        let id = self.extents.insert(extent);
        let fifo = self.queues.of(queue);
        fifo.bytes += bytes;
        fifo.units.push_back(Unit::Extent(id));
        Location::Extent(id)
    }

    /// Keeps a buffer for the next segment, or frees it.
    pub(crate) fn keep_spare(&mut self, buffer: Buffer) {
        if self.spares.len() < SPARES_MAX {
            self.spares.push(buffer);
        }
    }

    /// Frees a segment whose last live item just left.
    pub(crate) fn drop_empty(&mut self, id: u32) {
        let segment = self.segments.detach(id);
        self.segments.release(id);
        let fifo = self.queues.of(segment.queue);
        if segment.sealed {
            self.forget_unit(segment.queue, Unit::Segment(id));
        } else {
            fifo.open = None;
            fifo.bytes -= self.shared.layout.segment_bytes;
        }
        self.keep_spare(segment.into_buffer());
    }
}
