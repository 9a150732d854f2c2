//! Room for what comes: open segments, the table's memory, and the eviction they ask for.

use crate::Time;
use crate::arena::Buffer;
use crate::evict::{Fifo, Home, Queue};
use crate::item::{Header, Marks};
use crate::large;
use crate::segment::{Kind, Location, Segment};
use crate::shard::{Hash, Shard};
use crate::table::Room;

/// Work of evictions that may spare items by their frequency before one spares none, in items judged and units of 256
/// bytes moved: bounds the time that one operation can take, whatever the readers did, to a few milliseconds.
pub(crate) const GENTLE_WORK_MAX: u64 = 4 << 10;
/// Rounds of making every kind of room that an item needs. The second finds what the first left; more are needed only
/// while other threads take what was freed.
const ROUNDS_MAX: usize = 8;
/// A space may hold this many segments whatever its limit: two open ones of each kind.
const SEGMENTS_MIN: usize = 4;

/// A space of fewer segments keeps none that goes on being filled: it would be too large a part of what it may evict.
const FILLING_SEGMENTS_MIN: usize = 16;
/// Segments that may be opened before one that goes on being filled is ended all the same: its items are to have their
/// turn.
const FILLING_ROUNDS_MAX: u8 = 4;

/// The operation needs so many segments that this shard does not have and should not make alone. Nothing was changed; the
/// store frees them, in whatever shard, and asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NeedRoom {
    /// Segments.
    Segments(usize),
    /// None will help.
    Never,
}

impl Shard {
    /// Makes sure that there is room for an item: in the table, in its queue, and for its pieces.
    pub(crate) fn room_for(
        &mut self,
        hash: Hash,
        value_bytes: usize,
        header: &Header,
        home: Home,
        now: Time,
    ) -> Result<(), NeedRoom> {
        let pieces = match header.marks.has(Marks::LARGE) {
            true => large::segments_for(self.shared.layout.segment_bytes, value_bytes),
            false => 0,
        };
        let is_open = pieces == 0 && self.has_room(home, Kind::Items, header.footprint_max());
        if is_open && self.table_has_room(hash) {
            return Ok(());
        }
        if !is_open {
            self.keep_to_limit(home.space, pieces, now);
        }
        // Making one kind of room may take another away again: evictions fill and end open segments.
        for _ in 0..ROUNDS_MAX {
            self.gather(pieces, now)?;
            self.table_room(hash, now)?;
            self.open_room(home, header.footprint_max(), header, now)?;
            let is_open = self.has_room(home, Kind::Items, header.footprint_max());
            if is_open && self.grant.len() >= pieces && matches!(self.table.room(hash.order), Room::Ready) {
                return Ok(());
            }
        }
        Err(NeedRoom::Segments((pieces + 1).saturating_sub(self.grant.len()).max(1)))
    }

    /// Makes sure that a queue has an open segment with room for `footprint` bytes.
    pub(crate) fn open_room(
        &mut self,
        home: Home,
        footprint: usize,
        header: &Header,
        now: Time,
    ) -> Result<(), NeedRoom> {
        if self.has_room(home, Kind::Items, footprint) {
            return Ok(());
        }
        let buffer = self.buffer(now)?;
        // Survivors of an eviction may have opened a segment in the meantime.
        if self.has_room(home, Kind::Items, footprint) {
            self.grant.push(buffer);
        } else {
            self.open(home, Kind::Items, buffer, header, now);
        }
        Ok(())
    }

    /// The same for an item that survives: from the reserve, and without evicting.
    pub(crate) fn survivors_room(
        &mut self,
        home: Home,
        kind: Kind,
        footprint: usize,
        header: &Header,
        now: Time,
    ) -> bool {
        if self.has_room(home, kind, footprint) {
            return true;
        }
        let Some(buffer) = self.shared.arena.take_reserved().or_else(|| self.grant.pop()) else {
            return false;
        };
        self.open(home, kind, buffer, header, now);
        true
    }

    /// Makes sure that so many segments are in hand.
    fn gather(&mut self, segments: usize, now: Time) -> Result<(), NeedRoom> {
        while self.grant.len() < segments {
            let missing = segments - self.grant.len();
            let buffer = self.new_buffer(now, missing)?;
            self.grant.push(buffer);
        }
        Ok(())
    }

    fn table_has_room(&self, hash: Hash) -> bool {
        matches!(self.table.room(hash.order), Room::Ready) && !self.table.ghosts_are_short()
    }

    /// Makes sure that the table takes one more item.
    fn table_room(&mut self, hash: Hash, now: Time) -> Result<(), NeedRoom> {
        loop {
            match self.table.room(hash.order) {
                Room::Ready if !self.table.ghosts_are_short() => return Ok(()),
                Room::Never => return Err(NeedRoom::Never),
                Room::Ready | Room::Slab => {
                    let slab = self.buffer(now)?;
                    self.give_slab(slab);
                }
            }
        }
    }

    /// A buffer for a new segment, of items or of the table.
    fn buffer(&mut self, now: Time) -> Result<Buffer, NeedRoom> {
        match self.grant.pop() {
            Some(buffer) => Ok(buffer),
            None => self.new_buffer(now, 1),
        }
    }

    fn new_buffer(&mut self, now: Time, wanted: usize) -> Result<Buffer, NeedRoom> {
        loop {
            if let Some(buffer) = self.shared.arena.take() {
                return Ok(buffer);
            }
            if !self.spare_slabs() && (self.is_poor() || !self.reclaim(now)) {
                break;
            }
        }
        Err(NeedRoom::Segments(wanted))
    }

    /// Evicts from a space until it may hold one segment more, and those of a large item's pieces. An item that exceeds
    /// its namespace's limit by itself is let in all the same, alone.
    fn keep_to_limit(&mut self, space: u8, pieces: usize, now: Time) {
        let space = usize::from(space);
        let limit = self.spaces[space].limit.max(SEGMENTS_MIN).max(pieces + 1);
        while self.spaces[space].segments().saturating_add(pieces) >= limit && self.reclaim_from(space, now) {
        }
    }

    /// Gives the table's idle memory back. Answers whether there was any.
    pub(crate) fn spare_slabs(&mut self) -> bool {
        let before = self.table.slabs();
        while self.spare_slab() {}
        self.table.slabs() < before
    }

    /// Frees memory until there is a segment, or nothing is left.
    pub(crate) fn make_room(&mut self, now: Time) -> Option<Buffer> {
        loop {
            if let Some(buffer) = self.shared.arena.take() {
                return Some(buffer);
            }
            if !self.spare_slabs() && !self.reclaim(now) {
                return None;
            }
        }
    }

    /// This shard holds so little that others should give first.
    fn is_poor(&self) -> bool {
        self.held_segments() < self.shared.fair_segments / 2
    }

    fn fifo(&mut self, home: Home) -> &mut Fifo {
        self.spaces[usize::from(home.space)].of(home.queue)
    }

    fn has_room(&mut self, home: Home, kind: Kind, footprint: usize) -> bool {
        self.with_room(home, kind, footprint).is_some()
    }

    /// The open segment that takes so many bytes more.
    fn with_room(&mut self, home: Home, kind: Kind, footprint: usize) -> Option<u32> {
        let fifo = self.fifo(home);
        let (filling, open) = (fifo.filling.filter(|_| kind == Kind::Items), fifo.open[kind as usize]);
        let has_room = |id: &u32| self.segments.get(*id).room() >= footprint;
        filling.filter(has_room).or_else(|| open.filter(has_room))
    }

    /// Opens a segment. Of those of items that were open before, the one with more room goes on being filled, for a
    /// while. One of pieces ends at once: a large item's pieces should lie, and be evicted, one after the other.
    fn open(&mut self, home: Home, kind: Kind, buffer: Buffer, header: &Header, now: Time) {
        let id = self.segments.insert(Segment::new(kind, home, buffer, header.version, now));
        self.keep_opened(id);
        if let Some(unseen) = &mut self.unseen {
            unseen.forget(id);
        }
        let fifo = self.fifo(home);
        fifo.segments += 1;
        let before = fifo.open[kind as usize].replace(id);
        let ended = match kind {
            Kind::Pieces => before,
            Kind::Items => self.keep_filling(home, before),
        };
        ended.into_iter().for_each(|ended| self.seal(home, ended));
    }

    /// Chooses between the segment that is being filled and the one that was open before. Answers which is to end.
    fn keep_filling(&mut self, home: Home, before: Option<u32>) -> Option<u32> {
        let filling = self.fifo(home).filling.take();
        if self.spaces[usize::from(home.space)].segments() < FILLING_SEGMENTS_MIN {
            filling.into_iter().for_each(|filling| self.seal(home, filling));
            return before;
        }
        let rounds = self.fifo(home).filling_rounds;
        let room = |id: &Option<u32>| id.map_or(0, |id| self.segments.get(id).room());
        let stays = rounds < FILLING_ROUNDS_MAX && room(&filling) >= room(&before);
        let (emptier, fuller) = if stays { (filling, before) } else { (before, filling) };
        let fifo = self.fifo(home);
        fifo.filling = emptier;
        fifo.filling_rounds = if stays { rounds + 1 } else { 0 };
        fuller
    }

    /// Ends an open segment of a queue.
    pub(crate) fn seal(&mut self, home: Home, id: u32) {
        self.seals += 1;
        self.segments.get_mut(id).sealed = Some(self.seals);
        self.keep_sealed(id);
        self.fifo(home).units.push_back(id);
    }

    /// Ends all open segments of a space.
    pub(crate) fn seal_all(&mut self, space: u8) {
        for queue in [Queue::Small, Queue::Main] {
            let home = Home { space, queue };
            let fifo = self.fifo(home);
            let open =
                fifo.filling.take().into_iter().chain(std::mem::take(&mut fifo.open).into_iter().flatten());
            for id in open {
                match self.segments.get(id).live_items() {
                    0 => self.drop_empty(id),
                    _ => self.seal(home, id),
                }
            }
        }
    }

    /// Adds an item to a queue's open segment, which has room.
    pub(crate) fn push_open(&mut self, home: Home, header: &Header, key: &[u8], body: &[&[u8]]) -> Location {
        let segment =
            self.with_room(home, Kind::Items, header.footprint_max()).expect("the caller made room");
        let offset = self.segments.get_mut(segment).push(header, key, body);
        Location { segment, offset }
    }

    /// Adds a piece to a queue's open segment of pieces, which has room.
    pub(crate) fn push_piece(&mut self, home: Home, hash: Hash, piece: &[u8]) -> Location {
        let bytes = large::PIECE_HEADER_BYTES + piece.len();
        let segment = self.with_room(home, Kind::Pieces, bytes).expect("the caller made room");
        let offset = self.segments.get_mut(segment).push_piece(hash.whole, piece);
        Location { segment, offset }
    }

    /// Puts a large value's pieces away; the segments for them are in hand. Answers the list of them.
    pub(crate) fn push_pieces(
        &mut self,
        home: Home,
        hash: Hash,
        value: &[u8],
        header: &Header,
        now: Time,
    ) -> Vec<u8> {
        let piece_bytes = large::piece_bytes_max(self.shared.layout.segment_bytes, value.len());
        let mut places = Vec::with_capacity(value.len().div_ceil(piece_bytes));
        for piece in value.chunks(piece_bytes) {
            if !self.has_room(home, Kind::Pieces, large::PIECE_HEADER_BYTES + piece.len()) {
                let buffer = self.grant.pop().expect("segments for all pieces are in hand");
                self.open(home, Kind::Pieces, buffer, header, now);
            }
            places.push(self.push_piece(home, hash, piece));
        }
        large::encode_list(&places)
    }

    /// Frees a segment whose last live item just left.
    pub(crate) fn drop_empty(&mut self, id: u32) {
        let (home, kind) = (self.segments.get(id).home, self.segments.get(id).kind());
        let fifo = self.fifo(home);
        for open in [&mut fifo.open[kind as usize], &mut fifo.filling] {
            *open = open.filter(|open| *open != id);
        }
        self.detach(id).retire();
        self.segments.release(id);
    }
}
