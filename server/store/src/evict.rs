//! Eviction: S3-FIFO over whole segments.
//!
//! ```text
//!   new item ──> small queue ──── read since? ──yes──> main queue ── frequency > 0? ──┐ yes: again,
//!                    │                                     ^  │                       │ one less
//!                    │ no                                  │  └───────<───────────────┘
//!                    v                                     │  │ no
//!                  ghosts ──── comes again ────────────────┘  v
//!                                                          evicted
//! ```
//!
//! A queue's units are sealed segments and single extents, oldest first. A segment's items are judged one by
//! one when its turn comes: survivors are copied behind the main queue, the rest goes at once.

use std::collections::VecDeque;

use crate::Time;
use crate::index::Location;
use crate::item::{Header, Marks};
use crate::segment::Segment;
use crate::shard::Shard;

/// The small queue holds one part in this many of a shard's items.
const SMALL_PART: usize = 10;
/// Segments with less than one part in this many of dead bytes are not worth compacting.
const COMPACT_PART: usize = 8;
/// A shard whose dead bytes are below one part in this many does not look for a segment to compact.
const COMPACT_SHARD_PART: usize = 16;

/// Which queue an item is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    /// New items, a tenth of the memory.
    Small,
    /// Items that came or were read again.
    Main,
}

/// What a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A sealed segment.
    Segment(u32),
    /// An extent.
    Extent(u32),
}

/// One queue.
#[derive(Debug, Default)]
pub(crate) struct Fifo {
    pub(crate) units: VecDeque<Unit>,
    /// The segment that new items go to; not among the units.
    pub(crate) open: Option<u32>,
    /// Bytes of segments, the open one too, and extents.
    pub(crate) bytes: usize,
}

/// Both queues.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    pub(crate) small: Fifo,
    pub(crate) main: Fifo,
}

impl Queues {
    pub(crate) fn of(&mut self, queue: Queue) -> &mut Fifo {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }

    /// The queue to evict from next.
    fn next(&self) -> Queue {
        let small_share = (self.small.bytes + self.main.bytes) / SMALL_PART;
        let small_is_due = self.small.bytes > small_share && !self.small.units.is_empty();
        if small_is_due || self.main.units.is_empty() { Queue::Small } else { Queue::Main }
    }
}

/// What becomes of an item whose unit is evicted.
enum Fate {
    /// It goes on in the main queue with this frequency.
    Stays(u8),
    /// It was expired.
    Expires,
    /// It goes.
    Goes,
}

impl Shard {
    /// Frees some memory, or brings some closer to being freed. `harshly` spares no item, whatever its
    /// frequency. Answers whether there was anything to do.
    pub(crate) fn reclaim(&mut self, now: Time, harshly: bool) -> bool {
        if let Some(segment) = self.most_dead() {
            self.take_from_queue(segment);
            self.compact(segment, now);
            return true;
        }
        if self.queues.small.units.is_empty() && self.queues.main.units.is_empty() {
            self.seal(Queue::Small);
            self.seal(Queue::Main);
        }
        let queue = self.queues.next();
        match self.queues.of(queue).units.pop_front() {
            Some(Unit::Segment(segment)) => self.evict_segment(segment, now, harshly),
            Some(Unit::Extent(extent)) => self.evict_extent(extent, now, harshly),
            None => return false,
        }
        true
    }

    fn fate(queue: Queue, header: &Header, now: Time, harshly: bool) -> Fate {
        let frequency = header.marks.frequency();
        match queue {
            _ if header.is_expired(now) => Fate::Expires,
            _ if harshly || frequency == 0 => Fate::Goes,
            Queue::Small => Fate::Stays(0),
            Queue::Main => Fate::Stays(frequency - 1),
        }
    }

    fn evict_segment(&mut self, id: u32, now: Time, harshly: bool) {
        let queue = self.segments.get(id).queue;
        self.empty_segment(id, |shard, location, header, segment| {
            let hash = shard.hash_in(segment, location.1, header);
            match Self::fate(queue, header, now, harshly) {
                Fate::Stays(frequency) => {
                    let mut header = *header;
                    header.marks.set_frequency(frequency);
                    shard.relocate(segment, location, &header, hash, Queue::Main);
                }
                Fate::Expires => {
                    shard.count_expired(header);
                    shard.unlink(hash, location, header);
                }
                Fate::Goes => {
                    shard.count_evicted(hash, queue, header);
                    shard.unlink(hash, location, header);
                }
            }
        });
    }

    /// Copies what lives in a segment behind its own queue.
    fn compact(&mut self, id: u32, now: Time) {
        let queue = self.segments.get(id).queue;
        self.empty_segment(id, |shard, location, header, segment| {
            let hash = shard.hash_in(segment, location.1, header);
            if header.is_expired(now) {
                shard.count_expired(header);
                shard.unlink(hash, location, header);
            } else {
                shard.relocate(segment, location, header, hash, queue);
            }
        });
    }

    /// Detaches a segment that is in no queue any more, lets `each` deal with its live items in order, and
    /// keeps or frees its buffer. All live items must have left when `each` has seen them.
    fn empty_segment(&mut self, id: u32, mut each: impl FnMut(&mut Shard, (u32, u32), &Header, &Segment)) {
        let segment = self.segments.detach(id);
        let mut next = segment.next_live(0);
        while let Some((offset, header)) = next {
            each(self, (id, offset), &header, &segment);
            next = segment.next_live(offset + header.footprint() as u32);
        }
        self.queues.of(segment.queue).bytes -= self.shared.layout.segment_bytes;
        self.segments.release(id);
        self.keep_spare(segment.into_buffer());
    }

    fn hash_in(&self, segment: &Segment, offset: u32, header: &Header) -> u64 {
        self.shared.hash(&segment.at(offset)[header.key_start()..header.value_start()])
    }

    /// Moves an item of a detached segment to a queue's open one.
    fn relocate(
        &mut self,
        segment: &Segment,
        (id, offset): (u32, u32),
        header: &Header,
        hash: u64,
        queue: Queue,
    ) {
        let footprint = header.footprint();
        if !self.has_open_room(queue, footprint) {
            // What survives of one segment fits one segment, so one spare is enough.
            let spare = self.spares.pop().expect("a spare is kept for survivors");
            self.seal(queue);
            self.open(queue, spare);
        }
        let from = Location::Inline { segment: id, offset };
        let (position, _) = self.index.find(hash, |at| at == from).expect("a live item is in the table");
        let (to, bytes) = self.push_open(queue, footprint, header.expires_ms);
        bytes.copy_from_slice(&segment.at(offset)[..footprint]);
        header.encode(bytes);
        self.index.relocate(position, to);
    }

    /// Takes an item of a detached segment out of the table.
    pub(crate) fn unlink(&mut self, hash: u64, (segment, offset): (u32, u32), header: &Header) {
        let location = Location::Inline { segment, offset };
        let (position, _) = self.index.find(hash, |at| at == location).expect("a live item is in the table");
        self.index.remove(position);
        self.item_bytes -= header.footprint();
    }

    fn evict_extent(&mut self, id: u32, now: Time, harshly: bool) {
        let extent = self.extents.get_mut(id);
        let (queue, bytes) = (extent.queue, extent.charged_bytes());
        let hash = self.shared.hash(&extent.key);
        let fate = Self::fate(queue, &extent.header, now, harshly);
        if let Fate::Stays(frequency) = fate {
            extent.header.marks.set_frequency(frequency);
            extent.queue = Queue::Main;
            self.queues.of(queue).bytes -= bytes;
            self.queues.main.bytes += bytes;
            self.queues.main.units.push_back(Unit::Extent(id));
            return;
        }
        let header = extent.header;
        match fate {
            Fate::Expires => self.count_expired(&header),
            _ => self.count_evicted(hash, queue, &header),
        }
        self.remove(hash, Location::Extent(id));
    }

    fn count_evicted(&mut self, hash: u64, queue: Queue, header: &Header) {
        self.counters.evictions += 1;
        self.counters.evicted_unfetched += u64::from(!header.marks.has(Marks::FETCHED));
        if queue == Queue::Small {
            self.ghost.insert(hash);
        }
    }

    /// The sealed segment with the most dead bytes, if it is worth compacting.
    fn most_dead(&self) -> Option<u32> {
        let segment_bytes = self.shared.layout.segment_bytes;
        let worth_looking = (self.segments.count() * segment_bytes / COMPACT_SHARD_PART).max(segment_bytes);
        if self.segments.dead_bytes() < worth_looking {
            return None;
        }
        let sealed = self.segments.iter().filter(|(_, segment)| segment.sealed);
        let (id, segment) = sealed.max_by_key(|(_, segment)| segment.dead_bytes())?;
        (segment.dead_bytes() >= segment_bytes / COMPACT_PART).then_some(id)
    }

    fn take_from_queue(&mut self, id: u32) {
        let units = &mut self.queues.of(self.segments.get(id).queue).units;
        units.retain(|unit| *unit != Unit::Segment(id));
    }

    /// Takes an extent's or a sealed segment's unit out of its queue.
    pub(crate) fn forget_unit(&mut self, queue: Queue, unit: Unit) {
        let bytes = match unit {
            Unit::Segment(_) => self.shared.layout.segment_bytes,
            Unit::Extent(id) => self.extents.get(id).charged_bytes(),
        };
        let fifo = self.queues.of(queue);
        fifo.bytes -= bytes;
        if let Some(at) = fifo.units.iter().position(|other| *other == unit) {
            fifo.units.remove(at);
        }
    }
}
