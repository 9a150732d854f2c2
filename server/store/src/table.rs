//! The table: from the order of a key to the place of its item, kept in order.
//!
//! An *order* is 64 bits of a key's hash, uniform over all 64; a *place* is a number of 40 bits, never 0,
//! that says where the item lies. Keys are not in the table: a search asks its caller whether the item at a
//! place is the one.
//!
//! ```text
//! order --first bits--> directory --> page record (1 line) --> chunk of 64 slots, in a slab
//! ```
//!
//! - A lookup costs one directory entry, one record and mostly one or two lines of slots.
//! - A *page* covers a range of orders. It grows and shrinks by chunks of 512 bytes, splits when it has
//!   [`CHUNKS_MAX`](page::CHUNKS_MAX) of them, and merges with its buddy: no single change moves more than
//!   one page.
//! - Memory comes as *slabs*, which the caller gives when [`Table::room`] asks, and goes back through
//!   [`Table::spare`]. See [`chunks`] for why nothing fragments.
//! - [`Table::page`] walks the items in order, whatever changes meanwhile.
//! - *Ghosts*, fingerprints of evicted items, live in the same chunks.
//!
//! The table has no lock and no clock. It is right for any orders; it is fast for uniform ones.

mod chunks;
mod directory;
mod ghosts;
mod page;
mod reshape;
mod restore;
#[cfg(test)]
mod tests;

use std::ops::DerefMut;

use self::chunks::{Chunks, SLOTS};
use self::directory::Directory;
use self::ghosts::Ghosts;
use self::page::{ITEMS_MAX, Page, place_in, slot_of, tag_in};
use crate::prefetch::{LINE_BYTES, prefetch};

/// Chunks that one insert may take: a page that splits may need two more than it has, and each half one more,
/// lest its last item is pushed out at the end.
pub(crate) const INSERT_CHUNKS_MAX: usize = 4;

/// A page looks whether it could be smaller each time it has lost so many items: seldom enough to cost
/// little, and often beside the 59 items of a chunk.
const RELAX_EVERY: usize = 16;

/// Slots among which a search goes by halves, before it goes on one by one: seven of eight searches end there.
const NEAR: usize = 16;

/// Slots at which a search for an empty one looks at once: there is none among most of them.
const EMPTY_AT_ONCE: usize = 8;

/// A map from orders to places.
pub(crate) struct Table<S> {
    directory: Directory,
    chunks: Chunks<S>,
    ghosts: Ghosts,
    len: usize,
}

/// Items of a page at most.
pub(crate) const PAGE_ITEMS_MAX: usize = ITEMS_MAX;

/// Lines that a search reads at most, but for few.
pub(crate) const SEARCH_LINES: usize = 2;

/// Lines that an insert reads and writes, up to the empty slot, mostly.
pub(crate) const INSERT_LINES: usize = 6;

/// What an insert needs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Nothing: go on.
    Ready,
    /// Another slab: see [`Table::give`].
    Slab,
    /// The impossible: too many items share the first bits of this order. Refuse the item.
    Never,
}

/// An item that was found: good until the next insert, remove, ghost insert or clear.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Where the item lies.
    pub(crate) place: u64,
    /// The number of its page.
    page: u32,
    /// Its slot in the page.
    at: u32,
}

impl<S: DerefMut<Target = [u8]>> Table<S> {
    /// An empty table that owns no slab; each slab given to it will have `slab_bytes`.
    ///
    /// # Panics
    ///
    /// When `slab_bytes` is no power of two or below 4 KiB.
    pub(crate) fn new(slab_bytes: usize) -> Self {
        Self {
            directory: Directory::new(),
            chunks: Chunks::new(slab_bytes),
            ghosts: Ghosts::default(),
            len: 0,
        }
    }

    /// How many items there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many slabs the table owns.
    pub(crate) fn slabs(&self) -> usize {
        self.chunks.slabs()
    }

    /// Bytes of the slabs that are in use, ghosts included.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.used() * self::chunks::CHUNK_BYTES
    }

    /// What an insert of this order needs first. Ask before each insert.
    #[inline]
    pub(crate) fn room(&self, order: u64) -> Room {
        let page = self.directory.page(self.directory.number(order));
        if page.items() >= ITEMS_MAX && !self.can_part(page, order) {
            Room::Never
        } else if self.chunks.free() < INSERT_CHUNKS_MAX {
            Room::Slab
        } else {
            Room::Ready
        }
    }

    /// Takes a slab in, whatever it holds.
    ///
    /// # Panics
    ///
    /// When the slab has another length than [`Table::new`] was told.
    pub(crate) fn give(&mut self, slab: S) {
        self.chunks.give(slab);
    }

    /// Gives back a slab that is not needed any more. A quarter of a slab stays free beyond what an insert
    /// may take, so that a slab does not come and go with a few items.
    #[inline]
    pub(crate) fn spare(&mut self) -> Option<S> {
        let left = self.chunks.usable() / 4 + INSERT_CHUNKS_MAX;
        let needless = self.chunks.used() == 0 || self.chunks.free() >= self.chunks.usable() + left;
        if needless { self.chunks.pop() } else { None }
    }

    /// Forgets everything, ghosts too, and gives back all slabs.
    pub(crate) fn clear(&mut self) -> Vec<S> {
        self.directory = Directory::new();
        self.ghosts = Ghosts::default();
        self.len = 0;
        self.chunks.clear()
    }

    /// Finds the item of this order of whose place the caller says that it is the one. Asked are the places
    /// of all items with the same tag: those of this order, and seldom another.
    #[inline]
    pub(crate) fn find(&self, order: u64, mut is_it: impl FnMut(u64) -> bool) -> Option<Found> {
        let number = self.directory.number(order);
        let page = self.directory.page(number);
        let tag = page.tag(order);
        let (mut at, mut slot) = self.seek(page, tag);
        while slot != 0 && tag_in(slot) == tag {
            let place = place_in(slot);
            if is_it(place) {
                return Some(Found { place, page: number, at: at as u32 });
            }
            at += 1;
            slot = self.slot(page, at);
        }
        None
    }

    /// Asks for the lines that a search for an order or its insert begins with, so that the cache misses of several
    /// overlap.
    #[inline]
    pub(crate) fn prefetch(&self, order: u64, lines: usize) {
        let page = self.directory.page(self.directory.number(order));
        let home = page.home(page.tag(order));
        if home < page.slots() {
            let slots = self.chunks.get(page.number_at(home))[home % SLOTS..].as_flattened();
            prefetch(slots, lines);
            let rest = lines.saturating_sub(slots.len().div_ceil(LINE_BYTES));
            if rest > 0 && home + SLOTS < page.slots() {
                prefetch(self.chunks.get(page.number_at(home + SLOTS)).as_flattened(), rest);
            }
        }
    }

    /// Puts an item in. [`Table::room`] has said [`Room::Ready`] for its order, and nothing has changed
    /// since. Only when a split makes the depth of a page a multiple of 8, once in its way from 256 pages to
    /// 65,536, the orders of the some 800 places in it are asked; never that of the new place.
    ///
    /// # Panics
    ///
    /// When there is no room.
    #[inline]
    pub(crate) fn insert(&mut self, order: u64, place: u64, order_of: impl Fn(u64) -> u64) {
        let number = self.directory.number(order);
        let page = self.directory.page(number);
        let tag = page.tag(order);
        let slot = slot_of(tag, place);
        self.len += 1;
        if page.has_room() {
            let (at, _) = self.seek(page, tag);
            // No slot from the home up to there is empty, so both searches may start at once.
            if let Some(end) = self.seek_empty(page, page.home(tag)) {
                self.open(number, at, end, slot);
                let page = self.directory.page_mut(number);
                page.set_items(page.items() + 1);
                return;
            }
        }
        self.insert_and_reshape(order, place, order_of);
    }

    /// Says that an item that was found lies elsewhere now.
    #[inline]
    pub(crate) fn relocate(&mut self, found: Found, place: u64) {
        let at = found.at as usize;
        let number = self.directory.page(found.page).number_at(at);
        let slot = &mut self.chunks.get_mut(number)[at % SLOTS];
        debug_assert_eq!(place_in(u64::from_le_bytes(*slot)), found.place, "found before the last change");
        *slot = slot_of(tag_in(u64::from_le_bytes(*slot)), place).to_le_bytes();
    }

    /// Takes an item out that was found.
    #[inline]
    pub(crate) fn remove(&mut self, found: Found) {
        let at = found.at as usize;
        let page = self.directory.page(found.page);
        debug_assert_eq!(place_in(self.slot(page, at)), found.place, "found before the last change");
        let end = self.seek_settled(page, at + 1);
        self.close(found.page, at, end);
        let page = self.directory.page_mut(found.page);
        page.set_items(page.items() - 1);
        let items = page.items();
        self.len -= 1;
        if items.is_multiple_of(RELAX_EVERY) {
            self.relax(found.page);
        }
    }

    /// Appends the places of all items from this order to the end of its page, and says at which order the
    /// next page starts; `None` after the last. An item whose order is lower by less than the tags tell may
    /// be among them.
    ///
    /// A walk that starts at 0 and goes on where it was told meets each item that stays in the table once,
    /// whatever is inserted and removed between its steps.
    pub(crate) fn page(&self, order: u64, out: &mut Vec<u64>) -> Option<u64> {
        let page = self.directory.page(self.directory.number(order));
        let tag = page.tag(order);
        for &number in page.numbers() {
            let slots = self.chunks.get(number).iter().map(|slot| u64::from_le_bytes(*slot));
            out.extend(slots.filter(|&slot| slot != 0 && tag_in(slot) >= tag).map(place_in));
        }
        page.end()
    }

    /// Remembers a key that was evicted, by its order and other bits of its hash. The first ghost makes the
    /// table keep about nine for each ten items, as far as it has chunks that items do not need.
    pub(crate) fn ghost_insert(&mut self, order: u64, mix: u32) {
        self.ghosts.grow(&mut self.chunks, self.len);
        self.ghosts.insert(&mut self.chunks, order, mix);
    }

    /// Whether another slab is wanted for ghosts. Items do without; hit ratios do not.
    #[inline]
    pub(crate) fn ghosts_are_short(&self) -> bool {
        self.ghosts.are_short(&self.chunks, self.len)
    }

    /// Whether a key is remembered; one in some two thousand others is, wrongly.
    #[inline]
    pub(crate) fn ghost_knows(&self, order: u64, mix: u32) -> bool {
        self.ghosts.knows(&self.chunks, order, mix)
    }

    /// Forgets a key; says whether it was remembered.
    pub(crate) fn ghost_take(&mut self, order: u64, mix: u32) -> bool {
        self.ghosts.take(&mut self.chunks, order, mix)
    }

    /// Forgets all ghosts.
    #[cfg(test)]
    pub(crate) fn ghosts_clear(&mut self) {
        while let Some(number) = self.ghosts.pop() {
            self.release(number);
        }
    }

    /// The slot at a position of a page; 0 at its end.
    #[inline]
    fn slot(&self, page: &Page, at: usize) -> u64 {
        if at >= page.slots() {
            return 0;
        }
        u64::from_le_bytes(self.chunks.get(page.number_at(at))[at % SLOTS])
    }

    /// The first position, and its slot, where an item of this tag may be: there is this tag, a greater one,
    /// or nothing.
    #[inline]
    fn seek(&self, page: &Page, tag: u64) -> (usize, u64) {
        // Less one, an empty slot is greater than all others, and none gets another tag, since no place is 0.
        let least = tag << page::PLACE_BITS;
        let home = page.home(tag);
        let mut from = home;
        if home < page.slots() {
            // From the home on, slots that are less come first. Their end is found by halves, and without a branch that
            // could be mispredicted; lines are asked for first, since each half is known only when the one before is.
            let rest = &self.chunks.get(page.number_at(home))[home % SLOTS..];
            if let Some(near) = rest.first_chunk::<NEAR>() {
                prefetch(near.as_flattened(), SEARCH_LINES);
                let less = near.partition_point(|slot| u64::from_le_bytes(*slot).wrapping_sub(1) < least);
                if less < NEAR {
                    return (home + less, u64::from_le_bytes(near[less]));
                }
                from += NEAR;
            }
        }
        self.seek_by(page, from, |_, slot| slot.wrapping_sub(1) >= least)
    }

    /// The first empty position; `None` if there is none.
    #[inline]
    fn seek_empty(&self, page: &Page, from: usize) -> Option<usize> {
        let mut at = from;
        while at < page.slots() {
            for slots in self.chunks.get(page.number_at(at))[at % SLOTS..].chunks(EMPTY_AT_ONCE) {
                // All are looked at, without a branch that could be mispredicted.
                if slots.iter().fold(false, |any, slot| any | (*slot == [0; _])) {
                    return slots.iter().position(|slot| *slot == [0; _]).map(|place| at + place);
                }
                at += slots.len();
            }
        }
        None
    }

    /// The first position that is empty or whose item is at its home.
    #[inline]
    fn seek_settled(&self, page: &Page, from: usize) -> usize {
        self.seek_by(page, from, |at, slot| slot == 0 || page.home(tag_in(slot)) == at).0
    }

    /// The first position, and its slot, at which a search ends; the end of the page and 0 if it ends
    /// nowhere.
    #[inline]
    fn seek_by(&self, page: &Page, from: usize, is_end: impl Fn(usize, u64) -> bool) -> (usize, u64) {
        let mut at = from;
        while at < page.slots() {
            for slot in &self.chunks.get(page.number_at(at))[at % SLOTS..] {
                let slot = u64::from_le_bytes(*slot);
                if is_end(at, slot) {
                    return (at, slot);
                }
                at += 1;
            }
        }
        (at, 0)
    }

    /// Puts a slot at a position and moves what is there up, as far as the empty position `end`.
    #[inline]
    fn open(&mut self, number: u32, at: usize, end: usize, slot: u64) {
        let page = self.directory.page(number);
        let mut coming = slot.to_le_bytes();
        for index in at / SLOTS..=end / SLOTS {
            let first = if index == at / SLOTS { at % SLOTS } else { 0 };
            let last = if index == end / SLOTS { end % SLOTS } else { SLOTS - 1 };
            let chunk = self.chunks.get_mut(page.number_at(index * SLOTS));
            let going = chunk[last];
            chunk.copy_within(first..last, first + 1);
            chunk[first] = coming;
            coming = going;
        }
    }

    /// Takes the slot at a position away and moves down what is there up to `end`.
    #[inline]
    fn close(&mut self, number: u32, at: usize, end: usize) {
        let page = self.directory.page(number);
        let mut coming = [0; _];
        for index in (at / SLOTS..=(end - 1) / SLOTS).rev() {
            let first = if index == at / SLOTS { at % SLOTS } else { 0 };
            let last = if index == (end - 1) / SLOTS { (end - 1) % SLOTS } else { SLOTS - 1 };
            let chunk = self.chunks.get_mut(page.number_at(index * SLOTS));
            let going = chunk[first];
            chunk.copy_within(first + 1..=last, first);
            chunk[last] = coming;
            coming = going;
        }
    }
}
