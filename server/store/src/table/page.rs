//! A page: the items whose orders share their first `depth` bits, as an ordered table with open addressing.
//!
//! ```text
//! slot:  | 24 bits tag | 40 bits place |           0: empty
//!
//! order: | depth bits: the same in all of the page | bits that tell where an item belongs | ... |
//!              | 24 bits tag: from depth, rounded down to a multiple of 8 |
//!
//! slots: | . a b c . d e e f g . . h i . . . . . . j k . l m n | tail |
//! ```
//!
//! The home of a tag rises with the tag. Tags never fall from slot to slot, and between an item's home and
//! its slot no slot is empty. So a search starts at the home and ends at the first greater tag or empty slot.
//! There is no way round from the end to the beginning: items pushed beyond the last home lie in the tail.
//!
//! A tag starts at a multiple of 8 bits so that a page can split and merge without asking the items for their
//! orders; only a split that makes the depth a multiple of 8 must ask. At least 17 bits of a tag tell items
//! of a page apart.

use super::chunks::{Label, SLOTS};

/// Chunks a page may have: as many as make its record one cache line.
pub(crate) const CHUNKS_MAX: usize = 14;

/// Items a page may have; with more it splits.
pub(crate) const ITEMS_MAX: usize = capacity(CHUNKS_MAX);

/// Slots per hundred that may be taken. More saves memory and makes searches and moves longer: with 93 a
/// growing table is 88 full on the average and an item lies some 4 slots from its home.
const LOAD_MAX: usize = 93;

/// Slots at the end which are nobody's home. Fewer, and pages grow before they are full, because an item
/// would be pushed out; more, and the others crowd.
const TAIL: usize = 18;

/// The deepest page. A walk that stopped at the border of such a page can go on in a page of any depth, since
/// a tag at the very front of the order still tells on which side of the border an item lies.
pub(crate) const DEPTH_MAX: u32 = TAG_BITS;

/// Bits of a place in a slot.
pub(crate) const PLACE_BITS: u32 = 40;

/// Bits of a tag in a slot.
pub(crate) const TAG_BITS: u32 = 24;

/// A tag starts at a multiple of this many bits of the order.
pub(crate) const TAG_STEP: u32 = 8;

/// A page's record.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub(crate) struct Page {
    /// The bits all its orders share, from the top.
    prefix: u32,
    items: u16,
    depth: u8,
    /// How many chunks it has, whether it is packed, and whether it is unseen.
    shape: u8,
    /// The numbers of its chunks.
    numbers: [u32; CHUNKS_MAX],
}

/// Set in the shape of a page whose items all have their home at the first slot. A page is packed when its
/// items crowd so much at one home that they cannot be spread, which takes an adversary: its searches are
/// slow, and right.
const PACKED: u8 = 1 << 7;

/// Set in the shape of a page that was found again in its slabs, and whose slots nobody has looked through since.
const UNSEEN: u8 = 1 << 6;

/// The bits of a shape that count chunks.
const CHUNKS: u8 = UNSEEN - 1;

/// Items that so many chunks may hold.
#[inline]
pub(crate) const fn capacity(chunks: usize) -> usize {
    chunks * SLOTS * LOAD_MAX / 100
}

/// Chunks that so many items need at least.
pub(crate) const fn chunks_for(items: usize) -> usize {
    (items * 100).div_ceil(SLOTS * LOAD_MAX)
}

/// The slot for an item.
#[inline]
pub(crate) fn slot_of(tag: u64, place: u64) -> u64 {
    debug_assert!(tag >> TAG_BITS == 0 && place != 0 && place >> PLACE_BITS == 0);
    tag << PLACE_BITS | place
}

/// The tag in a slot.
#[inline]
pub(crate) fn tag_in(slot: u64) -> u64 {
    slot >> PLACE_BITS
}

/// The place in a slot.
#[inline]
pub(crate) fn place_in(slot: u64) -> u64 {
    slot & ((1 << PLACE_BITS) - 1)
}

impl Page {
    /// How many items it holds.
    #[inline]
    pub(crate) fn items(&self) -> usize {
        self.items as usize
    }

    /// Says how many items it holds.
    #[inline]
    pub(crate) fn set_items(&mut self, items: usize) {
        self.items = items as u16;
    }

    /// How many bits all its orders share.
    #[inline]
    pub(crate) fn depth(&self) -> u32 {
        u32::from(self.depth)
    }

    /// The first order it covers.
    pub(crate) fn start(&self) -> u64 {
        u64::from(self.prefix) << 32
    }

    /// The first order after it; `None` when it is the last page.
    pub(crate) fn end(&self) -> Option<u64> {
        self.start().checked_add(1_u64.checked_shl(64 - self.depth())?)
    }

    /// How many chunks it has.
    #[inline]
    pub(crate) fn chunks(&self) -> usize {
        (self.shape & CHUNKS) as usize
    }

    /// How many slots it has.
    #[inline]
    pub(crate) fn slots(&self) -> usize {
        self.chunks() * SLOTS
    }

    /// Whether another item may be put in without another chunk, as far as the number of items goes.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.items() < capacity(self.chunks())
    }

    /// The numbers of its chunks.
    #[inline]
    pub(crate) fn numbers(&self) -> &[u32] {
        &self.numbers[..self.chunks()]
    }

    /// The number of the chunk in which a slot lies.
    #[inline]
    pub(crate) fn number_at(&self, slot: usize) -> u32 {
        self.numbers[slot / SLOTS]
    }

    /// Its chunks, and what their labels should say.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (u32, Label)> {
        let (prefix, depth, is_packed) = (self.prefix, self.depth, self.shape & PACKED != 0);
        let label = move |position| Label { prefix, depth, position: position as u8, is_packed };
        self.numbers().iter().enumerate().map(move |(position, &number)| (number, label(position)))
    }

    /// A page without chunks that covers what such a label says, unseen; `None` if none can.
    pub(crate) fn restored(label: &Label) -> Option<Page> {
        let Label { prefix, depth, is_packed, .. } = *label;
        let depth_bits = u32::from(depth);
        let is_sane = depth_bits <= DEPTH_MAX && prefix.checked_shl(depth_bits).unwrap_or(0) == 0;
        let mut page = Page { prefix, depth, shape: UNSEEN, ..Page::default() };
        page.set_packed(is_packed);
        is_sane.then_some(page)
    }

    /// Nobody has looked through its slots, nor counted them, since it was found again.
    #[inline]
    pub(crate) fn is_unseen(&self) -> bool {
        self.shape & UNSEEN != 0
    }

    /// It was looked through, and so many items were found.
    pub(crate) fn set_seen(&mut self, items: usize) {
        self.shape &= !UNSEEN;
        self.set_items(items);
    }

    /// Appends a chunk.
    pub(crate) fn push(&mut self, number: u32) {
        self.numbers[self.chunks()] = number;
        self.shape += 1;
    }

    /// Takes the last chunk away.
    pub(crate) fn pop(&mut self) -> u32 {
        self.shape -= 1;
        self.numbers[self.chunks()]
    }

    /// Notes that one of its chunks has another number now.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) {
        let chunks = self.chunks();
        for number in self.numbers[..chunks].iter_mut().filter(|number| **number == from) {
            *number = to;
        }
    }

    /// Spreads the homes over the slots, or packs them all on the first.
    pub(crate) fn set_packed(&mut self, packed: bool) {
        self.shape = self.shape & !PACKED | if packed { PACKED } else { 0 };
    }

    /// Makes this the lower half of what it was; the upper half has no chunks yet.
    pub(crate) fn split(&mut self) -> Self {
        let bit = 1 << (31 - self.depth());
        self.depth += 1;
        Self { prefix: self.prefix | bit, depth: self.depth, ..Self::default() }
    }

    /// Makes this, a lower half, the whole again.
    pub(crate) fn join(&mut self) {
        self.depth -= 1;
    }

    /// Whether this is the upper one of the two pages that a split made.
    pub(crate) fn is_upper(&self) -> bool {
        self.depth > 0 && self.prefix >> (32 - self.depth()) & 1 == 1
    }

    /// Where in an order the tags of this page start.
    #[inline]
    pub(crate) fn base(&self) -> u32 {
        self.depth() / TAG_STEP * TAG_STEP
    }

    /// The tag of an order in this page.
    #[inline]
    pub(crate) fn tag(&self, order: u64) -> u64 {
        order << self.base() >> (64 - TAG_BITS)
    }

    /// The bit of an order or its tag that decides between the halves of this page, if it were split.
    pub(crate) fn is_in_upper_half(&self, tag: u64) -> bool {
        tag >> (TAG_BITS - 1 - self.depth() % TAG_STEP) & 1 == 1
    }

    /// The slot of an item of a lower or upper half, as it is in the whole.
    pub(crate) fn slot_in_whole(&self, slot: u64) -> u64 {
        if !self.depth().is_multiple_of(TAG_STEP) {
            return slot;
        }
        let first = self.start() << (self.base() - TAG_STEP) >> (64 - TAG_BITS);
        slot_of(first | tag_in(slot) >> TAG_STEP, place_in(slot))
    }

    /// The depth a page would need to tell two of its tags apart; `None` if no depth does.
    pub(crate) fn depth_to_part(&self, tag: u64, other: u64) -> Option<u32> {
        let differing = (tag ^ other) << (64 - TAG_BITS);
        (differing != 0).then(|| self.base() + differing.leading_zeros() + 1)
    }

    /// The slot at which the search for a tag starts.
    #[inline]
    pub(crate) fn home(&self, tag: u64) -> usize {
        self.homing()(tag)
    }

    /// As [`Page::home`], for many tags.
    #[inline]
    pub(crate) fn homing(&self) -> impl Fn(u64) -> usize + use<> {
        let (shift, homes) = (self.depth() % TAG_STEP, self.homes());
        move |tag| {
            let telling = (tag << shift) & ((1 << TAG_BITS) - 1);
            ((telling * homes) >> TAG_BITS) as usize
        }
    }

    /// How many slots are homes.
    #[inline]
    fn homes(&self) -> u64 {
        if self.shape & PACKED == 0 { self.slots().saturating_sub(TAIL) as u64 } else { 0 }
    }
}
