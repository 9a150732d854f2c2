//! Looking over what a memory file gave: at once where an item is asked for, and all of it before long.
//!
//! A table that was found again is right unless the file is damaged, and so are the items. A damaged item that is taken for
//! whole could lead anywhere. So the table comes first ([`crate::look`]), and an item of an [unchecked](crate::segment::Segment::is_unchecked) segment is looked over
//! each time it is asked for, and a segment as a whole before anything goes through it; a shard in which something is wrong
//! reads all of its items anew, and drops what makes no sense.

use crate::Time;
use crate::item::{self, Header, Marks};
use crate::large;
use crate::segment::{Kind, Location};
use crate::shard::{Hash, Shard};
use crate::table::SEARCH_LINES;

/// Items whose slots are read ahead, so that the memory's answers overlap.
const LOOK_AHEAD: usize = 32;

/// A live item on its way through a check.
type Ahead = Vec<(Location, Header, Hash)>;

impl Shard {
    /// When the store last ran, as a memory file knows it.
    pub(crate) fn ran(&self) -> Time {
        self.shared.arena.ledger().map(|ledger| ledger.ran()).unwrap_or_default()
    }

    /// Looks through the table, then through unchecked segments, until `items_max` items were looked at. Answers how many, and
    /// whether that was all. While it only looks, the shard is not [at work](Shard::begin): a store that ends meanwhile left it whole.
    pub(crate) fn check(&mut self, now: Time, items_max: usize) -> (usize, bool) {
        let mut looked = self.look_ahead(now, items_max);
        while self.may_hide_items() && looked < items_max {
            let id = self.check_next;
            self.check_next += 1;
            let Some(segment) = self.segments.try_get(id).filter(|segment| segment.is_unchecked()) else {
                continue;
            };
            looked += 1 + segment.live_items() as usize;
            self.check_segment(id, now);
        }
        (looked, !self.may_hide_items())
    }

    /// Whether the table may lack an item that is whole: one of its slots may be damaged in a way that nobody can see before all
    /// segments were looked through. The item is there again then, unless a delete of it is remembered.
    pub(crate) fn may_hide_items(&self) -> bool {
        self.check_next < self.check_end
    }

    /// Looks through a segment if nobody has since the start. Answers whether it is still what it was: not if it was
    /// damaged, nor if nothing in it lives any more.
    pub(crate) fn check_segment(&mut self, id: u32, now: Time) -> bool {
        let segment = self.segments.get(id);
        if !segment.is_unchecked() {
            return true;
        }
        let kind = segment.kind();
        // What is in the table is what is looked for.
        if !self.look_at_all(now) {
            return false;
        }
        let is_whole = match kind {
            Kind::Items => self.items_are_whole(id),
            Kind::Pieces => self.pieces_are_whole(id),
        };
        if !is_whole {
            self.mend(now);
            return false;
        }
        self.segments.get_mut(id).set_checked();
        if kind == Kind::Items {
            let had_begun = self.has_begun();
            self.settle_segment(id, now.max(self.ran()));
            if !had_begun && self.has_begun() {
                self.finish();
            }
        }
        self.segments.try_get(id).is_some()
    }

    /// Every live item of the segment makes sense and is in the table, and there are as many as are counted.
    fn items_are_whole(&self, id: u32) -> bool {
        let segment = self.segments.get(id);
        let (mut offset, mut items, mut bytes) = (0, 0, 0);
        let mut ahead = Ahead::with_capacity(LOOK_AHEAD);
        while offset < segment.end() {
            let Some((header, footprint)) = segment.checked(offset) else { return false };
            if !header.marks.has(Marks::DEAD) {
                let location = Location { segment: id, offset };
                let hash = self.shared.hash(item::key(segment.at(offset)));
                self.table.prefetch(hash.order, SEARCH_LINES);
                ahead.push((location, header, hash));
                items += 1;
                bytes += footprint as u32;
            }
            offset += footprint as u32;
            if ahead.len() == LOOK_AHEAD && !self.are_known(&mut ahead) {
                return false;
            }
        }
        let is_counted = (items, bytes) == (segment.live_items(), segment.live_bytes());
        is_counted && offset == segment.end() && self.are_known(&mut ahead)
    }

    fn are_known(&self, ahead: &mut Ahead) -> bool {
        ahead.drain(..).all(|(location, header, hash)| {
            hash.shard as usize == self.index()
                && self.table.find(hash.order, |place| place == location.pack()).is_some()
                && (!header.marks.has(Marks::LARGE) || self.is_sound(location))
        })
    }

    /// The pieces of the segment make sense, and so do the items that may list them; as many are listed as are counted.
    fn pieces_are_whole(&self, id: u32) -> bool {
        let segment = self.segments.get(id);
        let (mut offset, mut items, mut bytes) = (0, 0, 0);
        while offset < segment.end() {
            let Some((hash, footprint)) = large::checked_piece(segment.at(offset)) else { return false };
            let hash = self.shared.split(hash);
            if hash.shard as usize == self.index() {
                let mut all_sound = true;
                self.table.find(hash.order, |place| {
                    all_sound &= self.is_sound(Location::unpack(place));
                    false
                });
                if !all_sound {
                    return false;
                }
                if self.item_of_piece(hash, Location { segment: id, offset }).is_some() {
                    items += 1;
                    bytes += footprint as u32;
                }
            }
            offset += footprint as u32;
        }
        (offset, items, bytes) == (segment.end(), segment.live_items(), segment.live_bytes())
    }

    /// Whether a live item that makes sense lies at a place of the table.
    pub(crate) fn is_sound(&self, location: Location) -> bool {
        let segment = self.segments.get(location.segment);
        let Some((header, _)) = segment.checked(location.offset) else { return false };
        let bytes = segment.at(location.offset);
        if header.marks.has(Marks::DEAD) || !header.marks.has(Marks::LARGE) {
            return !header.marks.has(Marks::DEAD);
        }
        let hash = self.shared.hash(item::key(bytes)).whole;
        large::places(item::body(bytes, &header)).all(|piece| self.is_piece(hash, piece))
    }

    fn is_piece(&self, hash: u64, piece: Location) -> bool {
        let there = self.segments.try_get(piece.segment);
        let there = there.filter(|there| there.kind() == Kind::Pieces && piece.offset < there.end());
        let found = there.and_then(|there| large::checked_piece(there.at(piece.offset)));
        found.is_some_and(|(of, _)| of == hash)
    }

    /// What a check leaves behind: when its items expire is known again, those that are over are gone, and what was decided
    /// before is not gone on with. The shard is at work from the first of these on.
    fn settle_segment(&mut self, id: u32, now: Time) {
        self.segments.get_mut(id).forget_due(now, self.flushes.latest());
        let mut next = self.segments.get(id).next_live(0);
        while let Some((offset, mut header)) = next {
            let location = Location { segment: id, offset };
            let segment = self.segments.get(id);
            // The item's own removal may free the segment: look ahead first.
            next = segment.next_live(segment.behind(offset, &header));
            let key = item::key(segment.at(offset));
            if header.is_expired(now) || self.is_flushed(&header, key) {
                let (hash, key) = (self.shared.hash(key), key.to_vec());
                self.begin();
                self.count_ended(&header, &key, now);
                self.remove(hash, location);
                continue;
            }
            self.segments.get_mut(id).note(&header);
            if header.marks.has(Marks::DECIDED) {
                self.begin();
                header.marks.set(Marks::DECIDED, false);
                self.note(location, &header);
            }
        }
    }

    /// Something is damaged: all items are read anew.
    #[cold]
    pub(crate) fn mend(&mut self, now: Time) {
        let is_first = self.begin();
        self.mended += 1;
        self.rebuild(now.max(self.ran()));
        if is_first {
            self.finish();
        }
    }
}
