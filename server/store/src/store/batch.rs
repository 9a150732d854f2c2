//! Many operations at once: one lock for those of a shard, and their memory asked for ahead, so that its answers overlap.

use arrayvec::ArrayVec;

use super::Store;
use crate::room::GENTLE_WORK_MAX;
use crate::shard::Hash;
use crate::{Lookup, Read, Time, Write, WriteOutcome};

/// Operations of one batch that are made ahead of each other: the bits of a word.
const AHEAD_MAX: usize = u64::BITS as usize;

impl Store {
    /// Looks many keys up; `visit` sees the index in `reads` and what is there, in any order, but reads of one key in
    /// theirs. As for [`Store::read`], `visit` must not call the store.
    ///
    /// The reads of a shard are made under one lock, and memory is read ahead for all of them, so that its answers
    /// overlap.
    pub fn read_batch(&self, reads: &[Read<'_>], now: Time, mut visit: impl FnMut(usize, Lookup<'_>)) {
        for (chunk, reads) in reads.chunks(AHEAD_MAX).enumerate() {
            self.by_shard(reads.iter().map(|read| read.key), |hashes, group| {
                self.read_group(reads, hashes, group, now, |index, lookup| {
                    visit(chunk * AHEAD_MAX + index, lookup);
                });
            });
        }
    }

    /// Reads the memory that operations on these keys will read, so that its answers overlap; to be called before a
    /// pipeline of writes. Costs two hashes a key instead of one, and is worth it from a few keys on.
    pub fn read_ahead<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        let mut keys = keys.peekable();
        while keys.peek().is_some() {
            self.by_shard(keys.by_ref().take(AHEAD_MAX), |hashes, group| {
                let shard = hashes[group.trailing_zeros() as usize].shard;
                let shard = self.shards[shard as usize].lock();
                shard.read_ahead(bits(group), hashes, |_, _| {});
            });
        }
    }

    /// Groups up to [`AHEAD_MAX`] keys by shard: `visit` sees all hashes and the indexes of one group as bits.
    fn by_shard<'k>(&self, keys: impl Iterator<Item = &'k [u8]>, mut visit: impl FnMut(&[Hash], u64)) {
        let hashes: ArrayVec<Hash, AHEAD_MAX> = keys.map(|key| self.shared.hash(key)).collect();
        let mut left = u64::MAX.checked_shr((AHEAD_MAX - hashes.len()) as u32).unwrap_or(0);
        while left != 0 {
            let shard = hashes[left.trailing_zeros() as usize].shard;
            let group = bits(left)
                .filter(|index| hashes[*index].shard == shard)
                .fold(0, |group, index| group | 1 << index);
            left &= !group;
            visit(&hashes, group);
        }
    }

    /// The reads of a batch that fall into one shard.
    fn read_group(
        &self,
        reads: &[Read<'_>],
        hashes: &[Hash],
        group: u64,
        now: Time,
        mut visit: impl FnMut(usize, Lookup<'_>),
    ) {
        let mut left = group;
        while left != 0 {
            let slot = &self.shards[hashes[left.trailing_zeros() as usize].shard as usize];
            let mut shard = slot.lock();
            shard.settle(now);
            let mut hints = [None; AHEAD_MAX];
            if left & (left - 1) != 0 {
                shard.read_ahead(bits(left), hashes, |index, hint| hints[index] = Some(hint));
            }
            while left != 0 {
                let index = left.trailing_zeros() as usize;
                // One that may need room is done on its own.
                if reads[index].vivify.is_some() || reads[index].touch.is_some() {
                    break;
                }
                shard.reach(hashes[index].order, now);
                let looked = shard.look(hashes[index], hints[index], &reads[index], now);
                let Ok(sight) = looked else { break };
                shard.show(hashes[index], &sight, now, |lookup| visit(index, lookup));
                left &= left - 1;
            }
            drop(shard);
            if left != 0 {
                let index = left.trailing_zeros() as usize;
                self.read(&reads[index], now, |lookup| visit(index, lookup));
                left &= left - 1;
            }
        }
    }

    /// Writes many items, as [`Store::write`] does one after the other; `visit` sees the index in `writes` and what came of
    /// it, in any order, but writes of one key in theirs. As for [`Store::read`], `visit` must not call the store.
    ///
    /// The writes of a shard are made under one lock, some dozens at most, and memory is asked for ahead for all of them.
    pub fn write_batch(&self, writes: &[Write<'_>], now: Time, mut visit: impl FnMut(usize, WriteOutcome)) {
        for (chunk, writes) in writes.chunks(AHEAD_MAX).enumerate() {
            self.by_shard(writes.iter().map(|write| write.key), |hashes, group| {
                self.write_group(writes, hashes, group, now, |index, outcome| {
                    visit(chunk * AHEAD_MAX + index, outcome);
                });
            });
        }
    }

    /// The writes of a batch that fall into one shard.
    fn write_group(
        &self,
        writes: &[Write<'_>],
        hashes: &[Hash],
        group: u64,
        now: Time,
        mut visit: impl FnMut(usize, WriteOutcome),
    ) {
        let mut left = group;
        while left != 0 {
            let slot = &self.shards[hashes[left.trailing_zeros() as usize].shard as usize];
            let mut shard = slot.lock();
            let held = shard.held_segments();
            shard.settle(now);
            shard.write_ahead(bits(left), hashes);
            // All of them together take no longer than one.
            shard.gentle_until = shard.work + GENTLE_WORK_MAX;
            while left != 0 {
                let index = left.trailing_zeros() as usize;
                shard.reach(hashes[index].order, now);
                shard.begin();
                let written = shard.write(hashes[index], &writes[index], now);
                shard.finish();
                if !shard.grant.is_empty() {
                    // What was gathered and not needed goes back to all.
                    shard.grant.clear();
                }
                let Ok(outcome) = written else { break };
                visit(index, outcome);
                left &= left - 1;
            }
            if shard.held_segments() != held {
                slot.publish(&shard);
            }
            drop(shard);
            // One that needs room is done on its own.
            if left != 0 {
                let index = left.trailing_zeros() as usize;
                visit(index, self.write(&writes[index], now));
                left &= left - 1;
            }
        }
    }
}

/// The bits that are set, lowest first.
fn bits(mut word: u64) -> impl Iterator<Item = usize> + Clone {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}
