//! How pages grow, split, shrink and merge.
//!
//! Each of these takes all slots of a page out, in order, and lays them out anew: at most 14 chunks, 7 KiB.

use std::ops::DerefMut;

use super::chunks::{Moved, Owner, SLOTS};
use super::page::{CHUNKS_MAX, ITEMS_MAX, Page, chunks_for, place_in, slot_of, tag_in};
use super::{INSERT_CHUNKS_MAX, Table};

/// Items that must still fit before a page gives up a chunk, so that it does not want it back at once.
const SHRINK_SLACK: usize = 16;

/// Items up to which two pages become one: well below what makes one split, so that a third of its items must
/// come or go before the other happens.
const MERGE_ITEMS_MAX: usize = ITEMS_MAX * 7 / 10;

/// All slots of a page, by their tags.
type Slots = Vec<u64>;

impl<S: DerefMut<Target = [u8]>> Table<S> {
    /// Whether a full page can be split until an item of this order finds room.
    #[cold]
    pub(super) fn can_part(&self, page: &Page, order: u64) -> bool {
        let slots = self.gather(page);
        let tag = page.tag(order);
        let ends = [slots.first(), slots.last()].into_iter().flatten();
        let depth = ends.filter_map(|&end| page.depth_to_part(tag, tag_in(end))).min();
        depth.is_some_and(|depth| self.directory.allows(depth))
    }

    /// Puts an item into a page that must be laid out anew for it.
    #[cold]
    pub(super) fn insert_and_reshape(&mut self, order: u64, place: u64, order_of: impl Fn(u64) -> u64) {
        let order_of = |other| if other == place { order } else { order_of(other) };
        let mut number = self.directory.number(order);
        let page = self.directory.page(number);
        let tag = page.tag(order);
        let mut slots = self.gather(page);
        slots.insert(slots.partition_point(|&slot| tag_in(slot) < tag), slot_of(tag, place));
        while slots.len() > ITEMS_MAX || !self.spread(number, &slots, 0) {
            if !self.can_split(number, slots.len()) {
                return self.pack(number, &slots);
            }
            let (upper, upper_slots) = self.split(number, &mut slots, &order_of);
            if self.directory.number(order) == upper {
                self.settle(number, &slots, 0);
                (number, slots) = (upper, upper_slots);
            } else {
                self.settle(upper, &upper_slots, 0);
            }
        }
    }

    /// Whether a page of so many items may be split: two halves may need one chunk more.
    fn can_split(&self, number: u32, items: usize) -> bool {
        let page = self.directory.page(number);
        self.directory.allows(page.depth() + 1) && page.chunks() + self.chunks.free() > chunks_for(items)
    }

    /// Gives up what a page that lost items needs no more.
    #[cold]
    pub(super) fn relax(&mut self, number: u32) {
        let page = self.directory.page(number);
        let chunks = if page.items() == 0 { 0 } else { chunks_for(page.items() + SHRINK_SLACK) };
        if chunks < page.chunks() {
            self.settle(number, &self.gather(page), chunks);
        }
        let mut merged = self.merge(number);
        while let Some(number) = merged {
            merged = self.merge(number);
        }
        if let Some(number) = self.ghosts.shrink(self.len) {
            self.release(number);
        }
    }

    /// Merges a page with its buddy if they fit well into one; answers that one's number.
    fn merge(&mut self, number: u32) -> Option<u32> {
        if self.directory.page(number).items() > MERGE_ITEMS_MAX || self.chunks.free() < INSERT_CHUNKS_MAX {
            return None;
        }
        let buddy = self.directory.buddy(number)?;
        let (lower, upper) =
            if self.directory.page(number).is_upper() { (buddy, number) } else { (number, buddy) };
        let (lower_page, upper_page) = (self.directory.page(lower), self.directory.page(upper));
        // An unseen buddy stays by itself: what it holds is not known.
        let is_unseen = lower_page.is_unseen() || upper_page.is_unseen();
        if is_unseen || lower_page.items() + upper_page.items() > MERGE_ITEMS_MAX {
            return None;
        }
        let mut slots: Slots =
            self.gather(lower_page).into_iter().map(|slot| lower_page.slot_in_whole(slot)).collect();
        slots.extend(self.gather(upper_page).into_iter().map(|slot| upper_page.slot_in_whole(slot)));
        self.resize(upper, 0);
        let last = self.directory.merge(lower, upper);
        let whole = if last == lower { upper } else { lower };
        if last != upper {
            self.rename(upper);
        }
        let chunks = if slots.is_empty() { 0 } else { chunks_for(slots.len() + SHRINK_SLACK) };
        self.settle(whole, &slots, chunks);
        Some(whole)
    }

    /// Splits a page that may be split. `slots` were all of it and are then those of its lower half. Neither
    /// half is laid out.
    fn split(&mut self, number: u32, slots: &mut Slots, order_of: &impl Fn(u64) -> u64) -> (u32, Slots) {
        let page = self.directory.page(number);
        let middle = slots.partition_point(|&slot| !page.is_in_upper_half(tag_in(slot)));
        let old_base = page.base();
        let mut upper_slots = slots.split_off(middle);
        let upper = self.directory.split(number);
        for (number, slots) in [(number, &mut *slots), (upper, &mut upper_slots)] {
            let page = self.directory.page(number);
            if page.base() != old_base {
                for slot in slots.iter_mut() {
                    let place = place_in(*slot);
                    *slot = slot_of(page.tag(order_of(place)), place);
                }
                slots.sort_unstable();
            }
        }
        // Each half gets what it needs at least, before one of them may ask for more.
        self.resize(number, chunks_for(slots.len()).min(CHUNKS_MAX));
        self.resize(upper, chunks_for(upper_slots.len()).min(CHUNKS_MAX));
        (upper, upper_slots)
    }

    /// All slots of a page.
    fn gather(&self, page: &Page) -> Slots {
        let mut slots = vec![0; page.slots() + 1];
        let mut count = 0;
        for &number in page.numbers() {
            for slot in self.chunks.get(number) {
                // Without a branch: which slots are empty cannot be predicted.
                slots[count] = u64::from_le_bytes(*slot);
                count += usize::from(slots[count] != 0);
            }
        }
        slots.truncate(count);
        slots
    }

    /// Makes these the slots of a page, in as few chunks as they allow, but not fewer than `least`.
    fn settle(&mut self, number: u32, slots: &[u64], least: usize) {
        if slots.len() > ITEMS_MAX || !self.spread(number, slots, least) {
            self.pack(number, slots);
        }
    }

    /// Makes these the slots of a page, each at its home or close behind. Says no if that takes more chunks
    /// than there are; the page must then be laid out otherwise.
    fn spread(&mut self, number: u32, slots: &[u64], least: usize) -> bool {
        self.directory.page_mut(number).set_packed(false);
        let most = CHUNKS_MAX.min(self.directory.page(number).chunks() + self.chunks.free());
        (chunks_for(slots.len()).max(least)..=most).any(|chunks| {
            self.resize(number, chunks);
            self.lay_out(number, slots)
        })
    }

    /// Makes these the slots of a page, one after the other: the way when they all crowd at one home.
    fn pack(&mut self, number: u32, slots: &[u64]) {
        self.directory.page_mut(number).set_packed(true);
        self.resize(number, chunks_for(slots.len()).min(CHUNKS_MAX));
        assert!(self.lay_out(number, slots), "an insert without room");
    }

    /// Writes these slots into the chunks a page has; says whether they fitted.
    fn lay_out(&mut self, number: u32, slots: &[u64]) -> bool {
        let page = self.directory.page_mut(number);
        page.set_items(slots.len());
        page.labels().for_each(|(chunk, label)| self.chunks.set_label(chunk, label));
        let home = page.homing();
        let mut places = slots.iter().scan(0, |free, &slot| {
            let at = home(tag_in(slot)).max(*free);
            *free = at + 1;
            Some((at, slot))
        });
        let mut next = places.next();
        for (index, &number) in page.numbers().iter().enumerate() {
            let end = (index + 1) * SLOTS;
            let chunk = self.chunks.get_mut(number);
            *chunk = [[0; 8]; SLOTS];
            while let Some((at, slot)) = next.filter(|(at, _)| *at < end) {
                chunk[at % SLOTS] = slot.to_le_bytes();
                next = places.next();
            }
        }
        next.is_none()
    }

    /// Gives a page this many chunks, without regard to what they hold.
    fn resize(&mut self, number: u32, chunks: usize) {
        while self.directory.page(number).chunks() < chunks {
            let chunk = self.chunks.take(Owner::Page(number));
            self.directory.page_mut(number).push(chunk);
        }
        while self.directory.page(number).chunks() > chunks {
            let chunk = self.directory.page_mut(number).pop();
            self.release(chunk);
        }
    }

    /// Frees a chunk to which nobody refers any more.
    pub(super) fn release(&mut self, number: u32) {
        match self.chunks.release(number) {
            Some(Moved { owner: Owner::Page(page), from, to }) => {
                self.directory.page_mut(page).renumber(from, to);
            }
            Some(Moved { owner: Owner::Ghosts(position), to, .. }) => self.ghosts.renumber(position, to),
            None => {}
        }
    }

    /// Tells the chunks of a page its number.
    fn rename(&mut self, number: u32) {
        for &chunk in self.directory.page(number).numbers() {
            self.chunks.set_owner(chunk, Owner::Page(number));
        }
    }
}
