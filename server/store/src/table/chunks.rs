//! Chunks of 64 slots, in slabs of memory that the owner of the table lends.
//!
//! ```text
//! slab:  | chunk 0 | chunk 1 | ... | chunk usable-1 | labels, 12 bytes a chunk | unused |
//!
//! label: | owner u32 | prefix u32 | depth u8 | position u8 | packed u8 | 0 |        owner: all ones where nobody has the chunk
//! ```
//!
//! Chunks in use are always the first ones: freeing one moves the last one into its place. So nothing
//! fragments, there is no free list, and slabs come back from the end. Each chunk has a label that names its owner, so that
//! the move can be told to it, and says what page it is part of, so that the pages can be found again in slabs alone.

use std::ops::DerefMut;

/// Slots in a chunk.
pub(crate) const SLOTS: usize = 64;

/// Bytes in a chunk.
pub(crate) const CHUNK_BYTES: usize = SLOTS * SLOT_BYTES;

/// Bytes in a slot.
const SLOT_BYTES: usize = 8;

/// Bytes of a chunk's label.
const LABEL_BYTES: usize = 12;

/// Bytes in which a label names the owner.
const OWNER_BYTES: usize = 4;

/// One chunk of this many is left unused. It stands for what the table holds on the heap: per page of some
/// ten chunks a record of 64 bytes and one or two directory entries of 4, so about 7 bytes a chunk. Thus the
/// slabs given to a table are all the memory it costs.
const ONE_UNUSED_OF: usize = 64;

/// The slots of one chunk, each a little-endian number.
pub(crate) type Chunk = [[u8; SLOT_BYTES]; SLOTS];

/// Who refers to a chunk and must be told when it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The page of this number.
    Page(u32),
    /// The ghosts, as their chunk at this position.
    Ghosts(u32),
}

/// What the label of a page's chunk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// The bits that all orders of the page share, from the top.
    pub(crate) prefix: u32,
    /// How many those are.
    pub(crate) depth: u8,
    /// Which of the page's chunks it is.
    pub(crate) position: u8,
    pub(crate) is_packed: bool,
}

/// Whose a chunk is, by its label alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Labelled {
    Nobody,
    Page(Label),
    Ghosts(u32),
}

/// A chunk that took the place of a freed one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    pub(crate) owner: Owner,
    pub(crate) from: u32,
    pub(crate) to: u32,
}

/// All chunks of a table.
pub(crate) struct Chunks<S> {
    slabs: Vec<S>,
    /// A slab has `1 << shift` chunks; chunk number `n` lies in slab `n >> shift`.
    shift: u32,
    /// How many chunks of a slab hold slots: the first ones.
    usable: u32,
    /// How many chunks are in use.
    used: u32,
}

impl Label {
    /// By this number labels lie in the order of their pages, and of the chunks of each: one comparison, for a start sorts all.
    pub(crate) fn rank(&self) -> u64 {
        let Self { prefix, depth, position, is_packed } = *self;
        u64::from(prefix) << 32 | u64::from(depth) << 16 | u64::from(position) << 8 | u64::from(is_packed)
    }
}

impl Owner {
    const GHOSTS: u32 = 1 << 31;
    const NOBODY: [u8; OWNER_BYTES] = [0xff; OWNER_BYTES];

    fn to_bytes(self) -> [u8; OWNER_BYTES] {
        match self {
            Self::Page(number) => number.to_le_bytes(),
            Self::Ghosts(position) => (position | Self::GHOSTS).to_le_bytes(),
        }
    }

    fn from_bytes(bytes: [u8; OWNER_BYTES]) -> Self {
        let number = u32::from_le_bytes(bytes);
        if number & Self::GHOSTS == 0 { Self::Page(number) } else { Self::Ghosts(number & !Self::GHOSTS) }
    }
}

impl<S> Chunks<S> {
    /// A store without any slab; each slab given to it will have `slab_bytes`.
    ///
    /// # Panics
    ///
    /// When `slab_bytes` is no power of two or below 4 KiB.
    pub(crate) fn new(slab_bytes: usize) -> Self {
        assert!(slab_bytes.is_power_of_two() && slab_bytes >= 8 * CHUNK_BYTES, "slabs of {slab_bytes} bytes");
        let chunks = slab_bytes / CHUNK_BYTES;
        let owners = (chunks * LABEL_BYTES).div_ceil(CHUNK_BYTES);
        let usable = chunks - owners - chunks.div_ceil(ONE_UNUSED_OF);
        Self { slabs: Vec::new(), shift: chunks.trailing_zeros(), usable: usable as u32, used: 0 }
    }

    /// How many chunks are in use.
    pub(crate) fn used(&self) -> usize {
        self.used as usize
    }

    /// How many chunks can be taken before another slab is needed.
    #[inline]
    pub(crate) fn free(&self) -> usize {
        self.slabs.len() * self.usable as usize - self.used as usize
    }

    /// How many slabs there are.
    pub(crate) fn slabs(&self) -> usize {
        self.slabs.len()
    }

    /// How many chunks a slab adds.
    pub(crate) fn usable(&self) -> usize {
        self.usable as usize
    }

    /// Gives back the last slab, or nothing while a chunk of it is in use.
    pub(crate) fn pop(&mut self) -> Option<S> {
        if self.free() < self.usable() { None } else { self.slabs.pop() }
    }

    /// Gives back all slabs; whatever the chunks held is gone.
    pub(crate) fn clear(&mut self) -> Vec<S> {
        self.used = 0;
        std::mem::take(&mut self.slabs)
    }

    /// The number of the `nth` chunk.
    fn number(&self, nth: u32) -> u32 {
        (nth / self.usable) << self.shift | (nth % self.usable)
    }

    #[inline]
    fn slab_of(&self, number: u32) -> usize {
        (number >> self.shift) as usize
    }

    #[inline]
    fn index_of(&self, number: u32) -> usize {
        (number & ((1 << self.shift) - 1)) as usize
    }

    /// Where in its slab a chunk has its label.
    fn label_at(&self, number: u32) -> usize {
        self.usable() * CHUNK_BYTES + self.index_of(number) * LABEL_BYTES
    }
}

impl<S: DerefMut<Target = [u8]>> Chunks<S> {
    /// Takes a slab in.
    ///
    /// # Panics
    ///
    /// When the slab has another length than the store was made for.
    pub(crate) fn give(&mut self, mut slab: S) {
        assert_eq!(slab.len(), CHUNK_BYTES << self.shift, "all slabs have one length");
        let labels = self.usable() * CHUNK_BYTES;
        slab[labels..labels + self.usable() * LABEL_BYTES].fill(0xff);
        self.slabs.push(slab);
    }

    /// Takes slabs in as they are, in their order. Answers whether what they are used for makes sense.
    pub(crate) fn restore(&mut self, slabs: Vec<S>) -> bool {
        self.slabs = slabs;
        let all = (self.slabs.len() * self.usable()) as u32;
        let is_used = |nth: &u32| self.label(self.number(*nth)) != Labelled::Nobody;
        let used = (0..all).take_while(is_used).count() as u32;
        let is_dense = !(used..all).any(|nth| is_used(&nth));
        self.used = used;
        is_dense
    }

    /// Every chunk in use, and what its label says.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (u32, Labelled)> {
        (0..self.used).map(|nth| self.number(nth)).map(|number| (number, self.label(number)))
    }

    fn label(&self, number: u32) -> Labelled {
        let (at, slab) = (self.label_at(number), &self.slabs[self.slab_of(number)]);
        let label: &[u8; LABEL_BYTES] = slab[at..].first_chunk().expect("each chunk of a slab has a label");
        let [a, b, c, d, prefix @ .., depth, position, packed, _] = *label;
        let owner = [a, b, c, d];
        if owner == Owner::NOBODY {
            return Labelled::Nobody;
        }
        match Owner::from_bytes(owner) {
            Owner::Ghosts(at) => Labelled::Ghosts(at),
            Owner::Page(_) => {
                let prefix = u32::from_le_bytes(prefix);
                Labelled::Page(Label { prefix, depth, position, is_packed: packed != 0 })
            }
        }
    }

    /// Says what page a chunk is part of.
    pub(crate) fn set_label(&mut self, number: u32, label: Label) {
        let (at, slab) = (self.label_at(number), self.slab_of(number));
        let slab: &mut [u8] = &mut self.slabs[slab];
        let place = &mut slab[at + OWNER_BYTES..at + LABEL_BYTES];
        place[..4].copy_from_slice(&label.prefix.to_le_bytes());
        place[4..].copy_from_slice(&[label.depth, label.position, u8::from(label.is_packed), 0]);
    }

    /// The slots of a chunk.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> &Chunk {
        let slab: &[u8] = &self.slabs[self.slab_of(number)];
        let chunk = &slab.as_chunks::<CHUNK_BYTES>().0[self.index_of(number)];
        chunk.as_chunks().0.try_into().expect("a chunk's bytes are its slots")
    }

    /// The slots of a chunk, to change.
    #[inline]
    pub(crate) fn get_mut(&mut self, number: u32) -> &mut Chunk {
        let (slab, index) = (self.slab_of(number), self.index_of(number));
        let slab: &mut [u8] = &mut self.slabs[slab];
        let chunk = &mut slab.as_chunks_mut::<CHUNK_BYTES>().0[index];
        chunk.as_chunks_mut().0.try_into().expect("a chunk's bytes are its slots")
    }

    /// Takes a chunk into use, with whatever it holds.
    ///
    /// # Panics
    ///
    /// When no chunk is free.
    pub(crate) fn take(&mut self, owner: Owner) -> u32 {
        assert!(self.free() > 0, "who takes a chunk has looked for a free one");
        let number = self.number(self.used);
        self.used += 1;
        self.set_owner(number, owner);
        number
    }

    /// Frees a chunk. The last chunk takes its place, and its owner must be told.
    pub(crate) fn release(&mut self, number: u32) -> Option<Moved> {
        self.used -= 1;
        let last = self.number(self.used);
        if last == number {
            self.set_nobodys(last);
            return None;
        }
        let owner = self.owner(last);
        *self.get_mut(number) = *self.get(last);
        self.set_owner(number, owner);
        if let Labelled::Page(label) = self.label(last) {
            self.set_label(number, label);
        }
        self.set_nobodys(last);
        Some(Moved { owner, from: last, to: number })
    }

    /// Who refers to a chunk.
    pub(crate) fn owner(&self, number: u32) -> Owner {
        let at = self.label_at(number);
        let slab: &[u8] = &self.slabs[self.slab_of(number)];
        Owner::from_bytes(*slab[at..].first_chunk().expect("each chunk of a slab has a label"))
    }

    /// Names another owner of a chunk.
    pub(crate) fn set_owner(&mut self, number: u32, owner: Owner) {
        self.name(number, owner.to_bytes());
    }

    fn set_nobodys(&mut self, number: u32) {
        self.name(number, Owner::NOBODY);
    }

    fn name(&mut self, number: u32, owner: [u8; OWNER_BYTES]) {
        let (at, slab) = (self.label_at(number), self.slab_of(number));
        let slab: &mut [u8] = &mut self.slabs[slab];
        slab[at..at + OWNER_BYTES].copy_from_slice(&owner);
    }
}
