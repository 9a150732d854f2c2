//! The directory: which page covers an order. Also the keeper of the pages' records.
//!
//! The first bits of an order choose an entry, and the entry names a page. Where a page is shallower than the
//! directory, several entries in a row name it. Records are numbered densely: the last one takes the place of
//! a removed one.

use super::page::{DEPTH_MAX, Page};

/// Records that are allocated together: 4 KiB. So that a table that grows copies none of them.
const RECORDS: usize = 64;

/// Entries a directory may have whatever the number of pages, so that a small table can tell uneven orders
/// apart.
const ENTRIES_ALWAYS: usize = 1 << 10;

/// Entries a directory may have per page. Uniform orders need two; more are needed only when many orders
/// share their first bits, and then memory has to be bounded.
const ENTRIES_PER_PAGE: usize = 8;

/// A directory that lost pages may have so many times as many entries as one that grows.
const UNEVEN: usize = 16;

/// All pages and the way to them.
pub(crate) struct Directory {
    /// `1 << bits` numbers of pages.
    entries: Vec<u32>,
    /// At least 1, so that the shift by `64 - bits` is always one.
    bits: u32,
    records: Vec<Box<[Page; RECORDS]>>,
    pages: usize,
    /// How many pages there are of each depth.
    depths: [u32; DEPTH_MAX as usize + 1],
}

impl Directory {
    /// A directory with one page, which covers all orders and has no chunks.
    pub(crate) fn new() -> Self {
        let mut depths = [0; DEPTH_MAX as usize + 1];
        depths[0] = 1;
        Self { entries: vec![0; 2], bits: 1, records: vec![no_records()], pages: 1, depths }
    }

    /// A directory of pages that cover all orders, in order; `None` if they are too uneven to be one's own.
    pub(crate) fn restored(pages: &[Page]) -> Option<Self> {
        let bits = pages.iter().map(Page::depth).max()?.max(1);
        if 1 << bits > ENTRIES_ALWAYS.max(pages.len() * ENTRIES_PER_PAGE) * UNEVEN {
            return None;
        }
        let depths = [0; DEPTH_MAX as usize + 1];
        let mut directory = Self { entries: vec![0; 1 << bits], bits, records: Vec::new(), pages: 0, depths };
        for page in pages {
            directory.depths[page.depth() as usize] += 1;
            let number = directory.push(*page);
            directory.point(number);
        }
        Some(directory)
    }

    /// How many pages there are.
    #[cfg(test)]
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// The number of the page that covers an order.
    #[inline]
    pub(crate) fn number(&self, order: u64) -> u32 {
        self.entries[(order >> (64 - self.bits)) as usize]
    }

    /// The record of a page.
    #[inline]
    pub(crate) fn page(&self, number: u32) -> &Page {
        let number = number as usize;
        &self.records[number / RECORDS][number % RECORDS]
    }

    /// The record of a page, to change.
    #[inline]
    pub(crate) fn page_mut(&mut self, number: u32) -> &mut Page {
        let number = number as usize;
        &mut self.records[number / RECORDS][number % RECORDS]
    }

    /// Whether a page may have this depth.
    pub(crate) fn allows(&self, depth: u32) -> bool {
        let entries_max = ENTRIES_ALWAYS.max(self.pages * ENTRIES_PER_PAGE);
        depth <= self.bits || depth <= DEPTH_MAX && 1 << depth <= entries_max
    }

    /// Splits a page of an allowed depth: its record becomes the lower half's, and the upper half gets a
    /// number.
    pub(crate) fn split(&mut self, number: u32) -> u32 {
        let upper = self.page_mut(number).split();
        let depth = upper.depth();
        if depth > self.bits {
            self.entries = self.entries.iter().flat_map(|&entry| [entry, entry]).collect();
            self.bits += 1;
        }
        self.depths[depth as usize - 1] -= 1;
        self.depths[depth as usize] += 2;
        let upper_number = self.push(upper);
        self.point(upper_number);
        upper_number
    }

    /// The page that was split from this one or from which this one was split, if it has not been split
    /// since.
    pub(crate) fn buddy(&self, number: u32) -> Option<u32> {
        let page = self.page(number);
        let sibling = page.start() ^ 1_u64.checked_shl(64 - page.depth())?;
        let buddy = self.number(sibling);
        (self.page(buddy).depth() == page.depth()).then_some(buddy)
    }

    /// Makes two halves one page under the number of the lower half, and removes the upper half's record,
    /// which has no chunks any more. The last record takes its place: the answer is that one's former number.
    pub(crate) fn merge(&mut self, lower: u32, upper: u32) -> u32 {
        let depth = self.page(lower).depth() as usize;
        self.page_mut(lower).join();
        self.depths[depth] -= 2;
        self.depths[depth - 1] += 1;
        self.point(lower);
        let last = self.pop(upper);
        self.halve();
        last
    }

    /// Lets the entries of a page name it.
    fn point(&mut self, number: u32) {
        let page = self.page(number);
        let first = (page.start() >> (64 - self.bits)) as usize;
        let count = 1 << (self.bits - page.depth());
        self.entries[first..first + count].fill(number);
    }

    fn push(&mut self, page: Page) -> u32 {
        let number = self.pages as u32;
        if self.pages == self.records.len() * RECORDS {
            self.records.push(no_records());
        }
        self.pages += 1;
        *self.page_mut(number) = page;
        number
    }

    fn pop(&mut self, number: u32) -> u32 {
        self.pages -= 1;
        let last = self.pages as u32;
        if last != number {
            *self.page_mut(number) = *self.page(last);
            self.point(number);
        }
        // One block of records stays in hand, so that no single page's coming and going allocates.
        self.records.truncate(self.pages.div_ceil(RECORDS) + 1);
        last
    }

    /// Halves the directory while no page needs even half of the entries.
    fn halve(&mut self) {
        while self.bits > 1
            && self.depths[self.bits as usize] == 0
            && self.depths[self.bits as usize - 1] == 0
        {
            self.entries = self.entries.iter().copied().step_by(2).collect();
            self.bits -= 1;
        }
    }
}

/// A block of records of which none is in use.
fn no_records() -> Box<[Page; RECORDS]> {
    Box::new([Page::default(); RECORDS])
}
