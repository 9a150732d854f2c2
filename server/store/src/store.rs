//! The store: shards behind locks, and the budget they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::budget::{Budget, Charge};
use crate::extent::{Prepared, charged_bytes};
use crate::room::NeedRoom;
use crate::shard::{Shard, Shared};
use crate::{
    Arithmetic, ArithmeticOutcome, Delete, DeleteOutcome, Lookup, Read, StoreConfig, StoreConfigError,
    StoreStats, Time, Write, WriteOutcome,
};

/// How often an operation may ask for room before it counts as out of memory. Each time it asks, one need is
/// met for good (table, segment, extent), so a few suffice unless others take what was freed.
const ROOM_ATTEMPTS_MAX: usize = 16;

/// The store. Every method takes `&self` and may be called from any thread.
///
/// # Panics
///
/// Whatever stores an item panics when its key is longer than 250 bytes: callers check their input.
///
/// Lock order: no thread ever holds two shards' locks.
#[derive(Debug)]
pub struct Store {
    shards: Box<[Slot]>,
    shared: Arc<Shared>,
    /// The shard at which the next step of expiry begins.
    expire_next: AtomicUsize,
    /// Held for the shards themselves.
    _charge: Charge,
}

/// A shard on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Slot {
    shard: Mutex<Shard>,
    /// What the shard holds of the budget, as of its last change; readable without the lock.
    held_bytes: AtomicUsize,
}

impl Store {
    /// Makes an empty store.
    ///
    /// # Errors
    ///
    /// When the configuration cannot work: the caller's fault.
    pub fn new(config: StoreConfig) -> Result<Store, StoreConfigError> {
        let layout = config.layout()?;
        let shards = config.shards.get();
        let memory_bytes = config.memory_bytes;
        let budget = Budget::new(memory_bytes);
        let least = shards * (size_of::<Slot>() + Shard::bytes_min(&layout));
        let too_small = StoreConfigError::MemoryTooSmall { memory_bytes, shards, least };
        let charge = budget.charge(shards * size_of::<Slot>()).ok_or(too_small)?;
        let shared = Arc::new(Shared::new(layout, budget, shards));
        let slot = |_| {
            let shard = Shard::new(Arc::clone(&shared))?;
            let held_bytes = AtomicUsize::new(shard.held_bytes());
            Ok(Slot { shard: Mutex::new(shard), held_bytes })
        };
        let shards = (0..shards).map(slot).collect::<Result<_, StoreConfigError>>()?;
        Ok(Store { shards, shared, expire_next: AtomicUsize::new(0), _charge: charge })
    }

    /// Looks a key up and lets `visit` see what is there while its shard is locked: `visit` must not call
    /// the store, and should copy or clone and return.
    pub fn read<R>(&self, read: &Read<'_>, now: Time, visit: impl FnOnce(Lookup<'_>) -> R) -> R {
        let hash = self.shared.hash(read.key);
        let at = self.shard_of(hash);
        let mut visit = Some(visit);
        let result = self.run(at, now, |shard| {
            let sight = shard.look(hash, read, now)?;
            Ok(visit.take().map(|visit| shard.show(hash, &sight, visit)))
        });
        match (result.flatten(), visit) {
            (Some(result), _) => result,
            (None, Some(visit)) => visit(Lookup::Miss),
            (None, None) => unreachable!("a visit that was taken gave a result"),
        }
    }

    /// Looks many keys up; `visit` sees the index in `reads` and what is there, in the order of `reads`. As
    /// for [`Store::read`], `visit` must not call the store.
    pub fn read_batch(&self, reads: &[Read<'_>], now: Time, mut visit: impl FnMut(usize, Lookup<'_>)) {
        let mut index = 0;
        while index < reads.len() {
            // Neighbours in one shard share one locking; a read that needs room is done on its own.
            let at = self.shard_of(self.shared.hash(reads[index].key));
            let mut shard = self.shards[at].shard.lock();
            let started = index;
            while let Some(read) = reads.get(index) {
                let hash = self.shared.hash(read.key);
                if read.vivify.is_some() || self.shard_of(hash) != at {
                    break;
                }
                let Ok(sight) = shard.look(hash, read, now) else { break };
                shard.show(hash, &sight, |lookup| visit(index, lookup));
                index += 1;
            }
            drop(shard);
            if index == started {
                self.read(&reads[index], now, |lookup| visit(index, lookup));
                index += 1;
            }
        }
    }

    /// Writes one item.
    pub fn write(&self, write: &Write<'_>, now: Time) -> WriteOutcome {
        let hash = self.shared.hash(write.key);
        let at = self.shard_of(hash);
        let layout = &self.shared.layout;
        let item_bytes = write.key.len() + write.value.len();
        let is_large = Shard::is_large(layout, write.key.len(), write.value.len(), write.flags);
        let mut prepared = None;
        // Large values are copied before the lock is taken.
        if is_large && item_bytes <= layout.item_bytes_max {
            prepared = self.prepare(write, now);
            if prepared.is_none() {
                return WriteOutcome::OutOfMemory;
            }
        }
        let outcome = self.run(at, now, |shard| shard.write(hash, write, &mut prepared, now));
        outcome.unwrap_or(WriteOutcome::OutOfMemory)
    }

    /// Deletes or invalidates one item.
    pub fn delete(&self, delete: &Delete<'_>, now: Time) -> DeleteOutcome {
        let hash = self.shared.hash(delete.key);
        let at = self.shard_of(hash);
        let outcome = self.run(at, now, |shard| shard.delete(hash, delete, now));
        // Without room for an empty item its key is better gone than stale.
        outcome.unwrap_or_else(|| {
            let delete = Delete { mode: crate::DeleteMode::Remove, ..*delete };
            self.run(at, now, |shard| shard.delete(hash, &delete, now)).unwrap_or(DeleteOutcome::NotFound)
        })
    }

    /// Adds to or subtracts from a number.
    pub fn arithmetic(&self, op: &Arithmetic<'_>, now: Time) -> ArithmeticOutcome {
        let hash = self.shared.hash(op.key);
        let outcome = self.run(self.shard_of(hash), now, |shard| shard.arithmetic(hash, op, now));
        outcome.unwrap_or(ArithmeticOutcome::OutOfMemory)
    }

    /// From `at` on, every item written before `at` is gone. `at` may lie in the future; a later call
    /// replaces one that still waits.
    pub fn flush(&self, at: Time) {
        for slot in &self.shards {
            let mut shard = slot.shard.lock();
            shard.flush(at);
            slot.held_bytes.store(shard.held_bytes(), Ordering::Relaxed);
        }
    }

    /// One bounded step of proactive expiry; to be called by a timer. Looks at about `items_max` items (it
    /// ends with a whole segment), one shard after the other, going on where the last step ended. Answers how
    /// many expired items it dropped; segments with none left give their memory back.
    pub fn expire(&self, now: Time, items_max: usize) -> usize {
        let mut dropped = 0;
        let mut left = items_max;
        for _ in 0..self.shards.len() {
            let at = self.expire_next.fetch_add(1, Ordering::Relaxed) % self.shards.len();
            let slot = &self.shards[at];
            let mut shard = slot.shard.lock();
            let step = shard.expire(now, left);
            slot.held_bytes.store(shard.held_bytes(), Ordering::Relaxed);
            dropped += step.dropped;
            left = left.saturating_sub(step.visited);
            if left == 0 {
                // The shard was not finished: the next step begins with it.
                self.expire_next.store(at, Ordering::Relaxed);
                break;
            }
        }
        dropped
    }

    /// Counts and sizes.
    pub fn stats(&self) -> StoreStats {
        let mut sum = StoreStats::default();
        for slot in &self.shards {
            sum.add(&slot.shard.lock().stats());
        }
        sum.bytes = self.shared.budget.used() as u64;
        sum.limit_bytes = self.shared.budget.limit() as u64;
        sum
    }

    /// The lower half of the hash chooses the shard, the upper half the place in it.
    fn shard_of(&self, hash: u64) -> usize {
        (((hash & u64::from(u32::MAX)) * self.shards.len() as u64) >> 32) as usize
    }

    /// Runs an operation in a shard, making room as often as it asks for it. `None`: there is none.
    fn run<R>(
        &self,
        at: usize,
        now: Time,
        mut operation: impl FnMut(&mut Shard) -> Result<R, NeedRoom>,
    ) -> Option<R> {
        let mut grant = None;
        for _ in 0..ROOM_ATTEMPTS_MAX {
            let slot = &self.shards[at];
            let mut shard = slot.shard.lock();
            shard.grant = grant.take();
            let result = operation(&mut shard);
            shard.grant = None;
            slot.held_bytes.store(shard.held_bytes(), Ordering::Relaxed);
            drop(shard);
            match result {
                Ok(result) => return Some(result),
                Err(NeedRoom(bytes)) => grant = Some(self.make_room(bytes, now)?),
            }
        }
        None
    }

    /// Copies a large value into charged memory.
    fn prepare(&self, write: &Write<'_>, now: Time) -> Option<Prepared> {
        let bytes = charged_bytes(write.key.len(), write.value.len());
        let charge = self.shared.budget.charge(bytes).or_else(|| self.make_room(bytes, now))?;
        Some(Prepared::new(write.value, charge))
    }

    /// Frees `bytes` and charges them: from the shard that holds most, then from the next, one lock at a
    /// time.
    fn make_room(&self, bytes: usize, now: Time) -> Option<Charge> {
        let held = |at: &usize| self.shards[*at].held_bytes.load(Ordering::Relaxed);
        let mut order: Vec<usize> = (0..self.shards.len()).collect();
        order.sort_by_cached_key(|at| std::cmp::Reverse(held(at)));
        order.into_iter().find_map(|at| {
            let slot = &self.shards[at];
            let mut shard = slot.shard.lock();
            let charge = shard.make_room(bytes, now);
            slot.held_bytes.store(shard.held_bytes(), Ordering::Relaxed);
            charge
        })
    }
}
