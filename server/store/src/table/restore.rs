//! A table found again in its slabs, as a memory file holds them: the labels of chunks say what pages there are.

use std::ops::DerefMut;

use super::Table;
use super::chunks::{Chunks, Label, Labelled, Owner, SLOTS};
use super::directory::Directory;
use super::ghosts::Ghosts;
use super::page::{CHUNKS_MAX, DEPTH_MAX, ITEMS_MAX, Page, place_in, tag_in};

/// Orders, one past the last.
const ORDERS: u128 = 1 << 64;

impl<S: DerefMut<Target = [u8]>> Table<S> {
    /// The table that left these slabs, in their order; `None` if they make no sense. Slots are read once; of each place
    /// `is_place` says whether an item may lie there.
    pub(crate) fn restored(
        slab_bytes: usize,
        slabs: Vec<S>,
        mut is_place: impl FnMut(u64) -> bool,
    ) -> Option<Self> {
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
        let mut pages = pages(labelled)?;
        for page in &mut pages {
            page.set_items(looked_through(&chunks, page, &mut is_place)?);
        }
        let len = pages.iter().map(Page::items).sum();
        let directory = Directory::restored(&pages)?;
        for (number, page) in pages.iter().enumerate() {
            page.numbers().iter().for_each(|&chunk| chunks.set_owner(chunk, Owner::Page(number as u32)));
        }
        Some(Self { directory, chunks, ghosts: Ghosts::restored(ghosts)?, len })
    }
}

/// The pages of these chunks, in order, with empty ones between them where no chunk tells of any.
fn pages(mut labelled: Vec<(Label, u32)>) -> Option<Vec<Page>> {
    labelled.sort_unstable();
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
            let mut table = Table::restored(SLAB, slabs, |_| {
                seen += 1;
                true
            })
            .expect("the slabs are whole");
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
            let table = Table::restored(SLAB, slabs, |place| (1..=3_000).contains(&place));
            refused += u64::from(table.is_none());
            if let Some(mut table) = table {
                walked(&table);
                (3_000..4_000).for_each(|n| insert(&mut table, n));
            }
        }
        assert!(refused > 100, "{refused}");
    }
}
