//! Ghosts: fingerprints of items that were evicted, so that one which comes back is known.
//!
//! A group is one cache line of 32 fingerprints, the youngest first; the oldest falls out at the end. The
//! order of a key chooses its chunk and the group in it, other bits of its hash are the fingerprint.
//!
//! The ghosts grow and shrink by one chunk at a time, as linear hashing does. A fingerprint does not tell to
//! which of two chunks it belongs, so a new chunk starts as a copy of the one from which it takes half of the
//! keys: nothing is forgotten, and what is in the wrong one of the two falls out in time.

use std::ops::DerefMut;

use super::chunks::{CHUNK_BYTES, Chunk, Chunks, Owner};

/// Fingerprints in a group.
const GROUP: usize = 32;

/// Groups in a chunk.
const GROUPS: usize = CHUNK_BYTES / (GROUP * 2);

/// Fingerprints in a chunk.
const CHUNK: usize = GROUP * GROUPS;

/// Ghosts kept for each hundred items. S3-FIFO wants as many as the main queue has items; measured on traces, a few less
/// are better where sizes vary, and no worse elsewhere.
const PER_HUNDRED_ITEMS: usize = 75;

/// Chunks that the ghosts leave free: what the next insert may take, so that no ghost makes it wait for a
/// slab.
const LEFT_FREE: usize = super::INSERT_CHUNKS_MAX;

/// The fingerprints of one table; they live among its chunks.
#[derive(Default)]
pub(crate) struct Ghosts {
    /// The numbers of their chunks.
    numbers: Vec<u32>,
}

/// The fingerprint for these bits of a hash: never 0, which is no ghost.
fn fingerprint(mix: u32) -> u16 {
    ((mix >> 16) as u16).max(1)
}

/// The group of an order, within its chunk. The bits are not those that choose the chunk.
fn group_of(order: u64) -> usize {
    (order >> 32) as usize % GROUPS
}

type Group = [[u8; 2]; GROUP];

fn group(chunk: &Chunk, index: usize) -> &Group {
    let lines = chunk.as_flattened().as_chunks::<2>().0.as_chunks::<GROUP>().0;
    &lines[index]
}

fn group_mut(chunk: &mut Chunk, index: usize) -> &mut Group {
    let lines = chunk.as_flattened_mut().as_chunks_mut::<2>().0.as_chunks_mut::<GROUP>().0;
    &mut lines[index]
}

impl Ghosts {
    /// Those whose chunks lie at these positions; `None` if one is missing.
    pub(crate) fn restored(mut chunks: Vec<(u32, u32)>) -> Option<Self> {
        chunks.sort_unstable();
        let is_whole = chunks.iter().enumerate().all(|(at, (position, _))| at == *position as usize);
        is_whole.then(|| Self { numbers: chunks.into_iter().map(|(_, number)| number).collect() })
    }

    /// How many chunks they have.
    #[cfg(test)]
    pub(crate) fn chunks(&self) -> usize {
        self.numbers.len()
    }

    /// The numbers of their chunks.
    #[cfg(test)]
    pub(crate) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// Notes that one of their chunks has another number now.
    pub(crate) fn renumber(&mut self, position: u32, to: u32) {
        self.numbers[position as usize] = to;
    }

    /// The position of the chunk for an order, when there is any chunk. Its first bits decide, the first one
    /// counting least: others may be no random ones.
    fn position(&self, order: u64) -> Option<usize> {
        let chunks = self.numbers.len();
        let mask = chunks.next_power_of_two() - 1;
        let position = order.reverse_bits() as usize & mask;
        let position = if position < chunks { position } else { position & (mask >> 1) };
        (chunks > 0).then_some(position)
    }

    /// Remembers a key.
    pub(crate) fn insert<S: DerefMut<Target = [u8]>>(&self, chunks: &mut Chunks<S>, order: u64, mix: u32) {
        let Some(position) = self.position(order) else { return };
        let group = group_mut(chunks.get_mut(self.numbers[position]), group_of(order));
        group.copy_within(..GROUP - 1, 1);
        group[0] = fingerprint(mix).to_le_bytes();
    }

    /// Whether a key is remembered.
    pub(crate) fn knows<S: DerefMut<Target = [u8]>>(&self, chunks: &Chunks<S>, order: u64, mix: u32) -> bool {
        let wanted = fingerprint(mix).to_le_bytes();
        let Some(position) = self.position(order) else { return false };
        group(chunks.get(self.numbers[position]), group_of(order))
            .iter()
            .fold(false, |known, it| known | (*it == wanted))
    }

    /// Forgets a key; says whether it was remembered.
    pub(crate) fn take<S: DerefMut<Target = [u8]>>(
        &self,
        chunks: &mut Chunks<S>,
        order: u64,
        mix: u32,
    ) -> bool {
        let wanted = fingerprint(mix).to_le_bytes();
        let Some(position) = self.position(order) else { return false };
        let group = group_mut(chunks.get_mut(self.numbers[position]), group_of(order));
        let Some(found) = group.iter().position(|it| *it == wanted) else { return false };
        group.copy_within(found + 1.., found);
        group[GROUP - 1] = [0; 2];
        true
    }

    /// Takes another chunk if a table of so many items should have more ghosts and chunks are at hand.
    pub(crate) fn grow<S: DerefMut<Target = [u8]>>(&mut self, chunks: &mut Chunks<S>, items: usize) {
        if self.numbers.len() >= wanted(items) || chunks.free() <= LEFT_FREE {
            return;
        }
        let position = self.numbers.len();
        let number = chunks.take(Owner::Ghosts(position as u32));
        let half_of = position.checked_ilog2().map(|bit| self.numbers[position ^ 1 << bit]);
        *chunks.get_mut(number) = half_of.map_or([[0; 8]; _], |half_of| *chunks.get(half_of));
        self.numbers.push(number);
    }

    /// Whether ghosts of a table of so many items lack more than a quarter of their chunks, with none at hand.
    pub(crate) fn are_short<S>(&self, chunks: &Chunks<S>, items: usize) -> bool {
        let have = self.numbers.len();
        have > 0 && have * 5 / 4 < wanted(items) && chunks.free() <= LEFT_FREE
    }

    /// The number of the chunk to release if a table of so many items should have fewer ghosts by more than a
    /// quarter.
    pub(crate) fn shrink(&mut self, items: usize) -> Option<u32> {
        let wanted = if items == 0 { 0 } else { wanted(items) * 5 / 4 };
        if self.numbers.len() > wanted { self.numbers.pop() } else { None }
    }

    /// The number of a chunk to release in order to forget all.
    #[cfg(test)]
    pub(crate) fn pop(&mut self) -> Option<u32> {
        self.numbers.pop()
    }
}

/// Chunks of ghosts for a table of so many items.
fn wanted(items: usize) -> usize {
    (items * PER_HUNDRED_ITEMS / 100).div_ceil(CHUNK).max(1)
}
