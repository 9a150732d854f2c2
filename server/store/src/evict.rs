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
//! A queue's units are sealed segments, oldest first. A segment's items are judged one by one when its turn comes:
//! survivors are copied behind the main queue, the rest goes at once. A large item's pieces are in segments of their
//! own in the same queues; the first piece decides for all of the item when its turn comes, the others follow.
//!
//! S3-FIFO: Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.

use std::collections::VecDeque;

use crate::Time;
use crate::item::{self, Header, Marks};
use crate::large;
use crate::segment::{Kind, Location, Segment};
use crate::shard::{Hash, Shard};
use crate::table::SEARCH_LINES;

/// The small queue holds one part in this many of a space's segments.
const SMALL_PART: usize = 10;
/// Segments with less than one part in this many of dead bytes are not worth compacting.
const COMPACT_PART: usize = 8;
/// A shard whose dead bytes are below one part in this many does not look for a segment to compact.
const COMPACT_SHARD_PART: usize = 24;
/// Items whose slots are read ahead of their judgement, so that the memory's answers overlap.
const LOOK_AHEAD: usize = 32;

/// Bytes moved that count as much work as one item judged.
const WORK_BYTES: usize = 256;

/// Which queue an item is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    /// New items, a tenth of the memory.
    Small,
    /// Items that came or were read again.
    Main,
}

/// Which queue of which space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) space: u8,
    pub(crate) queue: Queue,
}

/// One queue.
#[derive(Debug, Default)]
pub(crate) struct Fifo {
    /// Sealed segments, oldest first.
    pub(crate) units: VecDeque<u32>,
    /// The segments that new items and pieces go to; not among the units.
    pub(crate) open: [Option<u32>; 2],
    /// A segment of items that was open before: what still fits goes there, so that little is left unused at its end.
    pub(crate) filling: Option<u32>,
    /// Segments that were opened while `filling` stayed the same.
    pub(crate) filling_rounds: u8,
    /// Segments, the open ones too.
    pub(crate) segments: usize,
}

/// Both queues of a space: of all namespaces that share memory freely, or of one with a guarantee or a limit.
#[derive(Debug, Default)]
pub(crate) struct Space {
    pub(crate) small: Fifo,
    pub(crate) main: Fifo,
    /// Segments that the other spaces cannot take.
    pub(crate) guarantee: usize,
    /// The most segments.
    pub(crate) limit: usize,
}

impl Space {
    pub(crate) fn of(&mut self, queue: Queue) -> &mut Fifo {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }

    pub(crate) fn segments(&self) -> usize {
        self.small.segments + self.main.segments
    }

    /// The segment to evict next.
    fn next(&self) -> Option<u32> {
        let small_is_due = self.small.segments > self.segments() / SMALL_PART;
        let (first, second) = match small_is_due {
            true => (&self.small, &self.main),
            false => (&self.main, &self.small),
        };
        first.units.front().or(second.units.front()).copied()
    }
}

/// What becomes of an item whose segment is evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It goes on in the main queue with this frequency.
    Stays(u8),
    /// It was expired or flushed.
    Ends,
    /// It goes.
    Goes,
}

impl Shard {
    /// Frees some memory, or brings some closer to being freed. When the operation has done all the gentle work that it
    /// may, no item is spared, whatever its frequency. Answers whether there was anything to do.
    pub(crate) fn reclaim(&mut self, now: Time) -> bool {
        if let Some(segment) = self.most_dead() {
            self.compact(segment, now);
            return true;
        }
        self.reclaim_from(self.victim_space(), now)
    }

    /// As [`Shard::reclaim`], from one space.
    pub(crate) fn reclaim_from(&mut self, space: usize, now: Time) -> bool {
        if self.spaces[space].next().is_none() {
            self.seal_all(space as u8);
        }
        let Some(segment) = self.spaces[space].next() else { return false };
        self.evict(segment, now, self.work >= self.gentle_until);
        true
    }

    /// The space to evict from: of those that hold more than their guarantee, the one whose next segment is oldest, or
    /// else the largest, whose open segments end then.
    fn victim_space(&self) -> usize {
        let age = |space: &Space| space.next().and_then(|id| self.segments.get(id).sealed);
        let all = || self.spaces.iter().enumerate();
        let above = || all().filter(|(_, space)| space.segments() > space.guarantee);
        let oldest = above().filter_map(|(index, space)| Some((age(space)?, index))).min();
        let size = |(_, space): &(usize, &Space)| space.segments();
        let largest = || above().max_by_key(size).or_else(|| all().max_by_key(size)).map(|(index, _)| index);
        oldest.map(|(_, index)| index).or_else(largest).expect("there is always the shared space")
    }

    /// What becomes of an item, judged by a part of it that `decides` or only follows.
    fn fate(&self, home: Home, item: (&Header, &[u8]), decides: bool, now: Time, harshly: bool) -> Fate {
        let (header, key) = item;
        let frequency = header.marks.frequency();
        match home.queue {
            _ if header.is_expired(now) || self.is_flushed(header, key) => Fate::Ends,
            _ if harshly => Fate::Goes,
            _ if !decides => Fate::Stays(frequency),
            _ if frequency == 0 => Fate::Goes,
            Queue::Small => Fate::Stays(0),
            Queue::Main => Fate::Stays(frequency - 1),
        }
    }

    fn evict(&mut self, id: u32, now: Time, harshly: bool) {
        if !self.check_segment(id, now) {
            return;
        }
        let segment = self.detach(id);
        match segment.kind() {
            Kind::Items => self.each_item(id, &segment, |shard, location, header, hash| {
                let key = item::key(segment.at(location.offset));
                let decides = !header.marks.has(Marks::LARGE);
                let fate = shard.fate(segment.home, (header, key), decides, now, harshly);
                shard.carry_out(fate, &segment, location, header, hash, now);
            }),
            Kind::Pieces => self.evict_pieces(id, &segment, now, Some(harshly)),
        }
        segment.retire();
        self.segments.release(id);
    }

    /// Copies what lives in a segment behind its own queue.
    pub(crate) fn compact(&mut self, id: u32, now: Time) {
        if !self.check_segment(id, now) {
            return;
        }
        let segment = self.detach(id);
        match segment.kind() {
            Kind::Items => self.each_item(id, &segment, |shard, location, header, hash| {
                let key = item::key(segment.at(location.offset));
                if header.is_expired(now) || shard.is_flushed(header, key) {
                    shard.carry_out(Fate::Ends, &segment, location, header, hash, now);
                } else if !shard.relocate(&segment, location, header, hash, segment.home.queue, now) {
                    shard.carry_out(Fate::Goes, &segment, location, header, hash, now);
                }
            }),
            Kind::Pieces => self.evict_pieces(id, &segment, now, None),
        }
        segment.retire();
        self.segments.release(id);
    }

    /// Takes a sealed segment out of its queue and out of the list of segments.
    pub(crate) fn detach(&mut self, id: u32) -> Segment {
        let segment = self.segments.detach(id);
        let fifo = self.spaces[usize::from(segment.home.space)].of(segment.home.queue);
        fifo.segments -= 1;
        match fifo.units.front() {
            _ if segment.sealed.is_none() => {}
            Some(first) if *first == id => drop(fifo.units.pop_front()),
            _ => fifo.units.retain(|unit| *unit != id),
        }
        segment
    }

    /// Visits the live items of a detached segment in order, a few at a time.
    fn each_item(
        &mut self,
        id: u32,
        segment: &Segment,
        mut visit: impl FnMut(&mut Shard, Location, &Header, Hash),
    ) {
        let mut ahead = Vec::with_capacity(LOOK_AHEAD);
        let mut next = segment.next_live(0);
        while next.is_some() {
            while let Some((offset, header)) = next.filter(|_| ahead.len() < LOOK_AHEAD) {
                let hash = self.shared.hash(item::key(segment.at(offset)));
                self.table.prefetch(hash.order, SEARCH_LINES);
                ahead.push((Location { segment: id, offset }, header, hash));
                next = segment.next_live(segment.behind(offset, &header));
            }
            for (location, header, hash) in ahead.drain(..) {
                self.work += 1;
                visit(self, location, &header, hash);
            }
        }
    }

    fn carry_out(
        &mut self,
        fate: Fate,
        segment: &Segment,
        location: Location,
        header: &Header,
        hash: Hash,
        now: Time,
    ) {
        if let Fate::Stays(frequency) = fate {
            let mut header = *header;
            header.marks.set_frequency(frequency);
            if self.relocate(segment, location, &header, hash, Queue::Main, now) {
                return;
            }
        }
        let bytes = segment.at(location.offset);
        let key = item::key(bytes);
        match fate {
            Fate::Ends => self.count_ended(header, key, now),
            _ => self.count_evicted(hash, segment.home.queue, header, key, now),
        }
        if header.marks.has(Marks::LARGE) {
            self.kill_pieces(item::body(bytes, header));
        }
        self.unlink(hash, location);
        self.forget(key, item::footprint(bytes, header));
    }

    /// Moves an item of a detached segment to a queue's open one, if there is room for it.
    fn relocate(
        &mut self,
        segment: &Segment,
        location: Location,
        header: &Header,
        hash: Hash,
        queue: Queue,
        now: Time,
    ) -> bool {
        let home = Home { queue, ..segment.home };
        if !self.survivors_room(home, Kind::Items, header.footprint_max(), header, now) {
            return false;
        }
        let bytes = segment.at(location.offset);
        let (key, body) = (item::key(bytes), item::body(bytes, header));
        let found = self.table.find(hash.order, |place| place == location.pack());
        let found = found.expect("a live item is in the table");
        let to = self.push_open(home, header, key, &[body]);
        self.table.relocate(found, to.pack());
        self.work += (body.len() / WORK_BYTES) as u64;
        let after = self.segments.get(to.segment).footprint(header);
        let before = item::footprint(bytes, header);
        let usage = self.usage_of(key);
        usage.item_bytes = usage.item_bytes + after as u64 - before as u64;
        true
    }

    /// Judges the pieces of a detached segment by their items; `harshly` is `None` to move all that live.
    fn evict_pieces(&mut self, id: u32, segment: &Segment, now: Time, harshly: Option<bool>) {
        let mut offset = 0;
        while offset < segment.end() {
            let bytes = segment.at(offset);
            let (hash, piece) = large::decode_piece(bytes);
            let (hash, from) = (self.shared.split(hash), Location { segment: id, offset });
            offset += large::piece_footprint(bytes) as u32;
            let Some(item) = self.item_of_piece(hash, from) else { continue };
            let mut header = self.header(item);
            let at = self.segments.get(item.segment).at(item.offset);
            let decides = large::places(item::body(at, &header)).next() == Some(from);
            let fate = match harshly {
                None if !header.is_expired(now) => Fate::Stays(header.marks.frequency()),
                harshly => {
                    let harshly = harshly.unwrap_or(false);
                    self.fate(segment.home, (&header, item::key(at)), decides, now, harshly)
                }
            };
            if let Fate::Stays(frequency) = fate {
                header.marks.set_frequency(frequency);
                self.note(item, &header);
                let queue = if harshly.is_some() { Queue::Main } else { segment.home.queue };
                if self.relocate_piece(Home { queue, ..segment.home }, item, &header, from, hash, piece, now)
                {
                    continue;
                }
            }
            let key = item::key(self.segments.get(item.segment).at(item.offset)).to_vec();
            match fate {
                Fate::Ends => self.count_ended(&header, &key, now),
                _ => self.count_evicted(hash, segment.home.queue, &header, &key, now),
            }
            self.remove(hash, item);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a piece, its item, and where it goes")]
    fn relocate_piece(
        &mut self,
        home: Home,
        item: Location,
        header: &Header,
        from: Location,
        hash: Hash,
        piece: &[u8],
        now: Time,
    ) -> bool {
        let bytes = large::PIECE_HEADER_BYTES + piece.len();
        if !self.survivors_room(home, Kind::Pieces, bytes, header, now) {
            return false;
        }
        let to = self.push_piece(home, hash, piece);
        self.work += 1 + (piece.len() / WORK_BYTES) as u64;
        self.begin_change(hash, item);
        let bytes = self.segments.get_mut(item.segment).at_mut(item.offset);
        large::replace(item::body_mut(bytes, header), from, to);
        self.finish_change();
        true
    }

    /// The large item that lists this piece.
    pub(crate) fn item_of_piece(&self, hash: Hash, piece: Location) -> Option<Location> {
        let found = self.table.find(hash.order, |place| {
            let location = Location::unpack(place);
            // An item of a detached segment does not answer: its fate is being carried out.
            let Some(segment) = self.segments.try_get(location.segment) else { return false };
            let header = segment.header(location.offset);
            let lists = |body| large::places(body).any(|place| place == piece);
            header.marks.has(Marks::LARGE) && lists(item::body(segment.at(location.offset), &header))
        });
        found.map(|found| Location::unpack(found.place))
    }

    /// Takes an item out of the table.
    pub(crate) fn unlink(&mut self, hash: Hash, location: Location) {
        let found = self.table.find(hash.order, |place| place == location.pack());
        self.table.remove(found.expect("a live item is in the table"));
    }

    fn count_evicted(&mut self, hash: Hash, queue: Queue, header: &Header, key: &[u8], now: Time) {
        self.shared.observer.evicted(header, key, now);
        self.counters.evicted_unfetched += u64::from(!header.marks.has(Marks::FETCHED));
        self.usage_of(key).evictions += 1;
        if queue == Queue::Small {
            self.table.ghost_insert(hash.order, hash.mix);
        }
    }

    /// The sealed segment with the most dead bytes, if it is worth compacting.
    fn most_dead(&self) -> Option<u32> {
        let segment_bytes = self.shared.layout.segment_bytes;
        let worth_looking = (self.segments.count() * segment_bytes / COMPACT_SHARD_PART).max(segment_bytes);
        if self.segments.dead_bytes() < worth_looking {
            return None;
        }
        let sealed = self.segments.iter().filter(|(_, segment)| segment.sealed.is_some());
        let (id, segment) = sealed.max_by_key(|(_, segment)| segment.dead_bytes())?;
        (segment.dead_bytes() >= segment_bytes / COMPACT_PART).then_some(id)
    }
}
