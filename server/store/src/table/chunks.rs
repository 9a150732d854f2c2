//! Chunks of 64 slots, in slabs of memory that the owner of the table lends.
//!
//! ```text
//! slab:  | chunk 0 | chunk 1 | ... | chunk usable-1 | owners, 4 bytes a chunk | unused |
//! ```
//!
//! Chunks in use are always the first ones: freeing one moves the last one into its place. So nothing
//! fragments, there is no free list, and slabs come back from the end. Each chunk names its owner, so that
//! the move can be told to it.

use std::ops::DerefMut;

/// Slots in a chunk.
pub(crate) const SLOTS: usize = 64;

/// Bytes in a chunk.
pub(crate) const CHUNK_BYTES: usize = SLOTS * SLOT_BYTES;

/// Bytes in a slot.
const SLOT_BYTES: usize = 8;

/// Bytes in which a chunk names its owner.
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

impl Owner {
    const GHOSTS: u32 = 1 << 31;

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
        let owners = (chunks * OWNER_BYTES).div_ceil(CHUNK_BYTES);
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
    #[cfg(test)]
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

    /// Where in its slab a chunk names its owner.
    fn owner_at(&self, number: u32) -> usize {
        self.usable() * CHUNK_BYTES + self.index_of(number) * OWNER_BYTES
    }
}

impl<S: DerefMut<Target = [u8]>> Chunks<S> {
    /// Takes a slab in.
    ///
    /// # Panics
    ///
    /// When the slab has another length than the store was made for.
    pub(crate) fn give(&mut self, slab: S) {
        assert_eq!(slab.len(), CHUNK_BYTES << self.shift, "all slabs have one length");
        self.slabs.push(slab);
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
            return None;
        }
        let owner = self.owner(last);
        *self.get_mut(number) = *self.get(last);
        self.set_owner(number, owner);
        Some(Moved { owner, from: last, to: number })
    }

    /// Who refers to a chunk.
    pub(crate) fn owner(&self, number: u32) -> Owner {
        let at = self.owner_at(number);
        let slab: &[u8] = &self.slabs[self.slab_of(number)];
        Owner::from_bytes(*slab[at..].first_chunk().expect("each chunk of a slab has an owner's place"))
    }

    /// Names another owner of a chunk.
    pub(crate) fn set_owner(&mut self, number: u32, owner: Owner) {
        let (at, slab) = (self.owner_at(number), self.slab_of(number));
        let slab: &mut [u8] = &mut self.slabs[slab];
        slab[at..at + OWNER_BYTES].copy_from_slice(&owner.to_bytes());
    }
}
