//! A table found again in its slabs, as a memory file holds them: the labels of chunks say what pages there are. The slots of
//! a page are looked through before it is used, and not sooner: so a start takes no time for them.

use std::ops::DerefMut;

use super::Table;
use super::chunks::{Chunks, Label, Labelled, Owner, SLOTS};
use super::directory::Directory;
use super::ghosts::Ghosts;
use super::page::{CHUNKS_MAX, DEPTH_MAX, ITEMS_MAX, Page, place_in, tag_in};

/// What was seen of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Items that it holds; none if it had been looked through before.
    pub(crate) items: usize,
    /// Where the next page begins; `None` after the last.
    pub(crate) next: Option<u64>,
}

/// Orders, one past the last.
const ORDERS: u128 = 1 << 64;

impl<S: DerefMut<Target = [u8]>> Table<S> {
    /// The table of so many items that left these slabs, in their order; `None` if they make no sense. Its pages are unseen:
    /// [`Table::look_through`] comes before anything else that is asked of an order.
    pub(crate) fn restored(slab_bytes: usize, slabs: Vec<S>, items: usize) -> Option<Self> {
        let mut chunks = Chunks::new(slab_bytes);
        if !chunks.restore(slabs) {
            return None;
        }
        let (mut labelled, mut ghosts) = (Vec::new(), Vec::new());
        for (number, label) in chunks.labels() {
            match label {
                Labelled::Page(label) => labelled.push((label, number)),
                Labelled::Ghosts(position) => ghosts.push((position, number)),
                Labelled::Nobody => return None,
            }
        }
        let pages = pages(labelled)?;
        let directory = Directory::restored(&pages)?;
        for (number, page) in pages.iter().enumerate() {
            page.numbers().iter().for_each(|&chunk| chunks.set_owner(chunk, Owner::Page(number as u32)));
        }
        Some(Self { directory, chunks, ghosts: Ghosts::restored(ghosts)?, len: items })
    }

    /// Looks through the page of an order if nobody has since the table was found again; of each place `is_place` says whether
    /// an item may lie there. `None` if it makes no sense: nothing more is to be asked of this table then.
    pub(crate) fn look_through(&mut self, order: u64, mut is_place: impl FnMut(u64) -> bool) -> Option<Seen> {
        let number = self.directory.number(order);
        let page = self.directory.page(number);
        let next = page.end();
        if !page.is_unseen() {
            return Some(Seen { items: 0, next });
        }
        let items = looked_through(&self.chunks, page, &mut is_place)?;
        self.directory.page_mut(number).set_seen(items);
        Some(Seen { items, next })
    }
}

/// The pages of these chunks, in order, with empty ones between them where no chunk tells of any.
fn pages(mut labelled: Vec<(Label, u32)>) -> Option<Vec<Page>> {
    labelled.sort_unstable_by_key(|(label, _)| label.rank());
    let (mut pages, mut end) = (Vec::new(), 0);
    for of_page in labelled.chunk_by(|(one, _), (other, _)| one.prefix == other.prefix) {
        let first = &of_page[0].0;
        let mut page = Page::restored(first)?;
        if of_page.len() > CHUNKS_MAX {
            return None;
        }
        for (position, (label, number)) in of_page.iter().enumerate() {
            if *label != (Label { position: position as u8, ..*first }) {
                return None;
            }
            page.push(*number);
        }
        fill(&mut pages, end, u128::from(page.start()))?;
        end = page.end().map_or(ORDERS, u128::from);
        pages.push(page);
    }
    fill(&mut pages, end, ORDERS)?;
    Some(pages)
}

/// Covers the orders from `next` to `end` with empty pages.
fn fill(pages: &mut Vec<Page>, mut next: u128, end: u128) -> Option<()> {
    // Pages that overlap.
    if next > end {
        return None;
    }
    while next < end {
        let aligned = next.trailing_zeros().min(ORDERS.ilog2());
        let bits = aligned.min((end - next).ilog2());
        let depth = ORDERS.ilog2() - bits;
        if depth > DEPTH_MAX {
            return None;
        }
        let prefix = (next >> u32::BITS) as u32;
        pages.push(Page::restored(&Label { prefix, depth: depth as u8, position: 0, is_packed: false })?);
        next += 1 << bits;
    }
    Some(())
}

/// How many items a page holds, if they lie as they should.
fn looked_through<S: DerefMut<Target = [u8]>>(
    chunks: &Chunks<S>,
    page: &Page,
    is_place: &mut impl FnMut(u64) -> bool,
) -> Option<usize> {
    let (mut items, mut last_tag, mut after_empty) = (0, 0, 0);
    for (index, &number) in page.numbers().iter().enumerate() {
        for (at, slot) in chunks.get(number).iter().enumerate() {
            let (at, slot) = (index * SLOTS + at, u64::from_le_bytes(*slot));
            if slot == 0 {
                after_empty = at + 1;
                continue;
            }
            let (tag, home) = (tag_in(slot), page.home(tag_in(slot)));
            let lies_right = tag >= last_tag && home >= after_empty && home <= at;
            if !lies_right || !is_place(place_in(slot)) {
                return None;
            }
            last_tag = tag;
            items += 1;
        }
    }
    (items <= ITEMS_MAX || page.labels().any(|(_, label)| label.is_packed)).then_some(items)
}

#[cfg(test)]
mod tests {
    use super::Table;

    /// Bytes of a slab.
    const SLAB: usize = 16 << 10;

    /// Orders of all shapes: spread, and crowded in a corner.
    fn order(n: u64) -> u64 {
        let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if n.is_multiple_of(3) { spread >> 4 } else { spread }
    }

    fn insert(table: &mut Table<Vec<u8>>, n: u64) {
        while table.room(order(n)) == super::super::Room::Slab {
            table.give(vec![0xa5; SLAB]);
        }
        table.insert(order(n), n + 1, |place| order(place - 1));
    }

    fn remove(table: &mut Table<Vec<u8>>, n: u64) {
        let found = table.find(order(n), |place| place == n + 1).expect("it is there");
        table.remove(found);
    }

    /// Looks through all pages. Answers how many items they hold.
    fn looked_through(table: &mut Table<Vec<u8>>, mut is_place: impl FnMut(u64) -> bool) -> Option<usize> {
        let (mut items, mut next) = (0, Some(0));
        while let Some(order) = next {
            let seen = table.look_through(order, &mut is_place)?;
            (items, next) = (items + seen.items, seen.next);
        }
        Some(items)
    }

    /// All places, in the order of a walk.
    fn walked(table: &Table<Vec<u8>>) -> Vec<u64> {
        let (mut places, mut next) = (Vec::new(), Some(0));
        while let Some(order) = next {
            next = table.page(order, &mut places);
        }
        places
    }

    #[test]
    fn table_of_the_same_slabs_is_the_same_and_goes_on() {
        for items in [0, 1, 50, 900, 40_000] {
            let mut table = Table::new(SLAB);
            (0..items).for_each(|n| insert(&mut table, n));
            (0..items).step_by(7).for_each(|n| table.ghost_insert(order(n), n as u32));
            (0..items).filter(|n| n % 5 < 2 || (n % 3 == 0 && *n > 900)).for_each(|n| remove(&mut table, n));
            let (len, places, mut seen) = (table.len(), walked(&table), 0);
            let slabs = table.chunks.clear();
            let mut table = Table::restored(SLAB, slabs, len).expect("the slabs are whole");
            let is_place = |_| {
                seen += 1;
                true
            };
            assert_eq!(looked_through(&mut table, is_place), Some(len));
            assert_eq!((table.len(), walked(&table), seen), (len, places.clone(), len), "{items} items");
            for place in &places {
                let found = table.find(order(place - 1), |there| there == *place);
                assert_eq!(found.map(|found| found.place), Some(*place));
            }
            (items..2 * items).for_each(|n| insert(&mut table, n));
            places.iter().for_each(|place| remove(&mut table, place - 1));
            assert_eq!(table.len() as u64, items);
            assert_eq!(walked(&table).len() as u64, items);
        }
    }

    /// Pages are looked through as they are needed, and change meanwhile.
    #[test]
    fn unseen_pages_keep_what_they_hold_while_others_change() {
        let mut table = Table::new(SLAB);
        (0..40_000).for_each(|n| insert(&mut table, n));
        let slabs = table.chunks.clear();
        let mut table = Table::restored(SLAB, slabs, 40_000).expect("the slabs are whole");
        let mut named = 0;
        for n in (0..40_000).step_by(9) {
            named += table.look_through(order(n), |_| true).expect("it is whole").items;
            remove(&mut table, n);
        }
        // As many come as there were, so that chunks and pages move.
        for n in 40_000..50_000 {
            named += table.look_through(order(n), |_| true).expect("it is whole").items;
            insert(&mut table, n);
        }
        named += looked_through(&mut table, |_| true).expect("the rest is whole");
        assert_eq!(named, 40_000, "each was seen once");
        let left: Vec<u64> = (0..50_000).filter(|n| *n >= 40_000 || n % 9 != 0).collect();
        assert_eq!(table.len(), left.len());
        assert_eq!(walked(&table).len(), left.len());
        left.iter().for_each(|n| remove(&mut table, *n));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn damaged_slabs_are_refused_or_lead_nowhere() {
        let mut refused = 0;
        for seed in 0..400_u64 {
            let mut table = Table::new(SLAB);
            (0..3_000).for_each(|n| insert(&mut table, n));
            let mut slabs = table.chunks.clear();
            let mixed = order(3 * seed + 1);
            let count = slabs.len();
            slabs[mixed as usize % count][(mixed >> 20) as usize % SLAB] ^= (mixed >> 50) as u8 | 1;
            let table = Table::restored(SLAB, slabs, 3_000).and_then(|mut table| {
                looked_through(&mut table, |place| (1..=3_000).contains(&place))?;
                Some(table)
            });
            refused += u64::from(table.is_none());
            if let Some(mut table) = table {
                walked(&table);
                (3_000..4_000).for_each(|n| insert(&mut table, n));
            }
        }
        assert!(refused > 100, "{refused}");
    }
}
