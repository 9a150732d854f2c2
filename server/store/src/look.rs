//! Looking through the table that a memory file gave: each page before it is first used, and all of them before long.
//!
//! A table that was found again in its slabs is known by the labels of its chunks alone. A slot that is damaged could lead
//! anywhere. So whoever goes to an order of the table [reaches](Shard::reach) it first: the page's slots are read, must lie as
//! they should, and may name no more items of a segment than live in it as the ledger counts. When all pages were
//! looked through, each segment has had all of its items named. Segments are checked, evicted from and compacted
//! only then. Of a shard in which something is out of step all items are read anew.

use crate::Time;
use crate::segment::{Kind, Location, Segments};
use crate::shard::Shard;

/// Slots that cost as much to look at as an item that is checked: they lie side by side.
const SLOTS_PER_ITEM: usize = 16;

/// What is still to be found in pages that nobody has looked through.
#[derive(Debug)]
pub(crate) struct Unseen {
    /// By number.
    segments: Vec<Named>,
    /// Pages before this order were looked through.
    next: u64,
}

/// What pages may name of a segment.
#[derive(Debug, Clone, Copy)]
struct Named {
    /// Items begin below this offset.
    end: u32,
    /// Items that no page has named yet.
    left: u32,
}

impl Unseen {
    /// All pages of a table that names the items of these segments; none is shorter than `item_bytes_min`.
    pub(crate) fn new(segments: &Segments, item_bytes_min: u32) -> Unseen {
        let named = |id| match segments.try_get(id).filter(|segment| segment.kind() == Kind::Items) {
            Some(segment) => {
                Named { end: (segment.end() + 1).saturating_sub(item_bytes_min), left: segment.live_items() }
            }
            None => Named { end: 0, left: 0 },
        };
        Unseen { segments: (0..segments.end()).map(named).collect(), next: 0 }
    }

    /// A page names a place. Answers whether it may.
    fn take(&mut self, place: u64) -> bool {
        let Location { segment, offset } = Location::unpack(place);
        let Some(named) = self.segments.get_mut(segment as usize) else { return false };
        let may_be = offset < named.end && named.left > 0;
        named.left -= u32::from(may_be);
        may_be
    }

    /// A segment is in use anew under this number: no page that nobody has looked through names it.
    pub(crate) fn forget(&mut self, id: u32) {
        if let Some(named) = self.segments.get_mut(id as usize) {
            named.left = 0;
        }
    }
}

impl Shard {
    /// An operation at an order begins.
    #[inline]
    pub(crate) fn arrive(&mut self, order: u64, now: Time) {
        self.settle(now);
        self.reach(order, now);
    }

    /// To be called before anything is asked of the table at an order, and before the shard is changed at it.
    #[inline]
    pub(crate) fn reach(&mut self, order: u64, now: Time) {
        if self.unseen.is_some() {
            self.look_at(order, now);
        }
    }

    /// Looks through the page of an order. Answers how many items were found, and where the next page begins; `None` after the
    /// last, and when the shard was mended.
    #[cold]
    fn look_at(&mut self, order: u64, now: Time) -> (usize, Option<u64>) {
        let Some(unseen) = &mut self.unseen else { return (0, None) };
        match self.table.look_through(order, |place| unseen.take(place)) {
            Some(seen) => (seen.items, seen.next),
            None => {
                self.mend(now);
                (0, None)
            }
        }
    }

    /// Looks through pages until as much was done as looking at `items_max` items costs. Answers how much that was.
    pub(crate) fn look_ahead(&mut self, now: Time, items_max: usize) -> usize {
        let mut looked = 0;
        while let Some(unseen) = &self.unseen
            && looked < items_max
        {
            let (items, next) = self.look_at(unseen.next, now);
            looked += 1 + items / SLOTS_PER_ITEM;
            match (&mut self.unseen, next) {
                (Some(unseen), Some(next)) => unseen.next = next,
                (Some(_), None) => self.close_look(now),
                (None, _) => {}
            }
        }
        looked
    }

    /// Looks through all pages that nobody has. Answers whether all was in step; otherwise the shard was mended.
    pub(crate) fn look_at_all(&mut self, now: Time) -> bool {
        let before = self.mended;
        self.look_ahead(now, usize::MAX);
        self.mended == before
    }

    /// All pages were looked through.
    fn close_look(&mut self, now: Time) {
        let unseen = self.unseen.take();
        if unseen.is_some_and(|unseen| unseen.segments.iter().any(|named| named.left > 0)) {
            self.mend(now);
        }
    }
}
