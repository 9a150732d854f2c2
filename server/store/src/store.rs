//! The store: shards behind locks, and the memory they share.

mod batch;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::arena::{Arena, Buffer};
use crate::file::{self, Checked, Found, Refusal, Start};
use crate::item::Header;
use crate::namespace::Namespaces;
use crate::room::{GENTLE_WORK_MAX, NeedRoom};
use crate::segment::Location;
use crate::shard::{Hash, Shard, Shared};
use crate::slot::Slot;
use crate::walk::{Access, Digest, Walked};
use crate::{
    Arithmetic, ArithmeticOutcome, Delete, DeleteOutcome, Evicted, Known, Lookup, NamespaceStats, Read,
    StoreConfig, StoreConfigError, StoreStats, Time, Version, Write, WriteOutcome,
};

/// How often an operation may ask for room before it counts as out of memory. Each time it asks, one need is met for
/// good (table, segment), so a few suffice unless others take what was freed.
const ROOM_ATTEMPTS_MAX: usize = 16;
/// An operation that lacks more segments than this waits until no other such one is at work.
const FEW_SEGMENTS: usize = 2;

/// The store. Every method takes `&self` and may be called from any thread.
///
/// # Panics
///
/// Whatever stores an item panics when its key is longer than 250 bytes: callers check their input.
///
/// Lock order: the lock of large operations, a shard, the arena's free list. No thread ever holds two shards' locks.
#[derive(Debug)]
pub struct Store {
    shards: Box<[Slot]>,
    shared: Arc<Shared>,
    start: Start,
    /// The shard at which the next step of expiry begins.
    expire_next: AtomicUsize,
    /// Held by the one operation that may hold more than a few segments while it waits for others.
    large: Mutex<()>,
}

impl Store {
    /// Makes an empty store. Memory is taken from the system as it fills.
    ///
    /// # Errors
    ///
    /// When the configuration cannot work: the caller's fault. When the system does not give the memory.
    pub fn new(config: StoreConfig) -> Result<Store, StoreConfigError> {
        let layout = config.layout()?;
        let (shards, memory_bytes) = (layout.shards, config.memory_bytes);
        let namespaces = Namespaces::new(config.namespaces, memory_bytes)?;
        let opened = match &config.memory_file {
            Some(path) => {
                let geometry = layout.geometry(namespaces.count());
                Some(file::open(path, geometry, &namespaces, config.hash_seed)?)
            }
            None => None,
        };
        let (arena, seed, found) = match opened {
            Some(Some(opened)) => (opened.arena, Some(opened.seed), Some(opened.found)),
            left_alone => {
                let arena = Arena::new(layout.segments, layout.segment_bytes)
                    .map_err(|error| StoreConfigError::Refused { memory_bytes, kind: error.kind() })?;
                (arena, config.hash_seed, left_alone.map(|_| Found::Refused(Refusal::Foreign)))
            }
        };
        let shared = Arc::new(Shared::new(layout, arena, namespaces, seed, shards));
        let shard = |index| Shard::new(Arc::clone(&shared), index, config.writer);
        let mut shards: Vec<Shard> = (0..shards).map(shard).collect();
        let start = match found {
            None => Start::Memory,
            Some(Found::Nothing) => Start::NewFile,
            Some(Found::Refused(refusal)) => Start::Refused(refusal),
            Some(Found::Items) => Start::Warm(file::recover(&mut shards, &shared.arena)),
        };
        shards.iter().for_each(Shard::finish);
        let shards = shards.into_iter().map(Slot::new).collect();
        Ok(Store { shards, shared, start, expire_next: AtomicUsize::new(0), large: Mutex::new(()) })
    }

    /// How it began: empty, or with the items of a memory file.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// Notes in the memory file, if there is one, that the store ran at this time; to be called by a timer.
    pub fn note_ran(&self, now: Time) {
        if let Some(ledger) = self.shared.arena.ledger() {
            ledger.note_ran(now);
        }
    }

    /// Looks a key up and lets `visit` see what is there while its shard is locked: `visit` must not call the store,
    /// and should copy or clone and return.
    pub fn read<R>(&self, read: &Read<'_>, now: Time, visit: impl FnOnce(Lookup<'_>) -> R) -> R {
        let hash = self.shared.hash(read.key);
        if read.vivify.is_none() && read.touch.is_none() {
            let mut shard = self.shards[hash.shard as usize].lock();
            shard.arrive(hash.order, now);
            if let Ok(sight) = shard.look(hash, None, read, now) {
                return shard.show(hash, &sight, now, visit);
            }
        }
        let mut visit = Some(visit);
        let result = self.run(hash, now, |shard| {
            let sight = shard.look(hash, None, read, now)?;
            Ok(visit.take().map(|visit| shard.show(hash, &sight, now, visit)))
        });
        match (result.flatten(), visit) {
            (Some(result), _) => result,
            (None, Some(visit)) => visit(Lookup::Miss),
            (None, None) => unreachable!("a visit that was taken gave a result"),
        }
    }

    /// All that is known of a key; the question leaves no trace. As for [`Store::read`], `visit` must not call the store.
    pub fn examine<R>(&self, key: &[u8], now: Time, visit: impl FnOnce(Known<'_>) -> R) -> R {
        let hash = self.shared.hash(key);
        let mut shard = self.shards[hash.shard as usize].lock();
        shard.arrive(hash.order, now);
        visit(shard.examine(hash, key, now))
    }

    /// Drops the item of a key if it has exactly this version, and remembers no delete: nobody knows whether there was one.
    /// Answers whether it was there.
    pub fn drop_version(&self, key: &[u8], version: Version, now: Time) -> bool {
        let hash = self.shared.hash(key);
        let slot = &self.shards[hash.shard as usize];
        let mut shard = slot.lock();
        shard.arrive(hash.order, now);
        shard.begin();
        let dropped = shard.drop_version(hash, key, version, now);
        shard.finish();
        slot.publish(&shard);
        dropped
    }

    /// Writes one item.
    pub fn write(&self, write: &Write<'_>, now: Time) -> WriteOutcome {
        let hash = self.shared.hash(write.key);
        let outcome = self.run(hash, now, |shard| shard.write(hash, write, now));
        outcome.unwrap_or(WriteOutcome::OutOfMemory)
    }

    /// Deletes or invalidates one item.
    pub fn delete(&self, delete: &Delete<'_>, now: Time) -> DeleteOutcome {
        let hash = self.shared.hash(delete.key);
        let outcome = self.run(hash, now, |shard| shard.delete(hash, delete, now));
        // Without room for an empty item its key is better gone than stale.
        outcome.unwrap_or_else(|| {
            let delete = Delete { mode: crate::DeleteMode::Remove, ..*delete };
            self.run(hash, now, |shard| shard.delete(hash, &delete, now)).unwrap_or(DeleteOutcome::NotFound)
        })
    }

    /// Adds to or subtracts from a number.
    pub fn arithmetic(&self, op: &Arithmetic<'_>, now: Time) -> ArithmeticOutcome {
        let hash = self.shared.hash(op.key);
        let outcome = self.run(hash, now, |shard| shard.arithmetic(hash, op, now));
        outcome.unwrap_or(ArithmeticOutcome::OutOfMemory)
    }

    /// From `at` on, every item written before `at` is gone. `at` may lie in the future; a later call replaces one that
    /// still waits. Costs the same however much is flushed: items are found out one by one, and their memory comes
    /// back with [`Store::expire`] or when it is needed.
    pub fn flush(&self, at: Time) {
        self.flush_of(None, at);
    }

    /// As [`Store::flush`], but of one namespace's items, or `default`'s. Answers whether there is one of this name.
    pub fn flush_namespace(&self, name: &str, at: Time) -> bool {
        let namespace = self.shared.namespaces.named(name);
        if namespace.is_some() {
            self.flush_of(namespace, at);
        }
        namespace.is_some()
    }

    fn flush_of(&self, namespace: Option<usize>, at: Time) {
        for slot in &self.shards {
            let mut shard = slot.lock();
            // One whose time has come is not replaced but carried out.
            shard.settle(Time(0));
            shard.flushes.add(namespace, at);
            shard.keep_flushes();
            shard.settle(Time(0));
        }
    }

    /// One bounded step of proactive expiry; to be called by a timer. Looks at about `items_max` items (it ends with a
    /// whole segment), one shard after the other, going on where the last step ended. Answers how many expired and
    /// flushed items it dropped; their memory is free for others.
    pub fn expire(&self, now: Time, items_max: usize) -> usize {
        let mut dropped = 0;
        let mut left = items_max;
        for _ in 0..self.shards.len() {
            let at = self.expire_next.fetch_add(1, Ordering::Relaxed) % self.shards.len();
            let slot = &self.shards[at];
            let mut shard = slot.lock();
            let step = shard.expire(now, left);
            slot.publish(&shard);
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

    /// One bounded step of looking through what a memory file gave; to be called by a timer until it answers that all was
    /// looked through. Looks at about `items_max` items, to the end of a segment. Meanwhile the store serves as ever.
    pub fn check(&self, now: Time, items_max: usize) -> Checked {
        let (mut sum, mut left) = (Checked { all: true, mended: 0 }, items_max);
        for slot in &self.shards {
            let mut shard = slot.lock();
            if left > 0 {
                let (looked, all) = shard.check(now, left);
                slot.publish(&shard);
                left = left.saturating_sub(looked);
                sum.all &= all;
            } else {
                sum.all = false;
            }
            sum.mended += shard.mended;
        }
        sum
    }

    /// Visits items in the order of their keys' hashes: those of one small range that begins at `from`. Answers where
    /// the next range begins, `None` after the last. Whatever happens between two calls, an item that is there all the
    /// time is visited exactly once by a walk from 0 to the end. As for [`Store::read`], `visit` must not call the
    /// store. A walk is no access.
    pub fn walk(&self, from: u64, now: Time, mut visit: impl FnMut(&Walked<'_>)) -> Option<u64> {
        self.step(&(from..=u64::MAX), now, None, |shard, hash, location, header| {
            visit(&shard.walked(hash, location, header, now));
        })
    }

    /// As [`Store::walk`], but visits only items that are `wanted` by how they were used. Those that are not cost a fraction:
    /// one line of memory is read of each.
    pub fn walk_used(
        &self,
        from: u64,
        now: Time,
        wanted: impl Fn(Access) -> bool,
        mut visit: impl FnMut(&Walked<'_>),
    ) -> Option<u64> {
        self.step(&(from..=u64::MAX), now, Some(&wanted), |shard, hash, location, header| {
            visit(&shard.walked(hash, location, header, now));
        })
    }

    /// The digest of all items whose keys' hashes lie in `hashes` and whose versions are `since` or later. Locks a
    /// shard for a small part at a time.
    pub fn digest(&self, hashes: RangeInclusive<u64>, since: Version, now: Time) -> Digest {
        let (mut digest, mut from) = (Digest::default(), Some(*hashes.start()));
        while let Some(next) = from.filter(|from| hashes.contains(from)) {
            from = self.step(&(next..=*hashes.end()), now, None, |_, hash, _, header| {
                if header.version >= since {
                    digest.add(hash, header.version);
                }
            });
        }
        digest
    }

    /// Visits what is remembered of deletes in a range of hashes: hash and version, in no order.
    pub fn tombstones(&self, hashes: &RangeInclusive<u64>, mut visit: impl FnMut(u64, Version)) {
        if hashes.is_empty() {
            return;
        }
        let (first, last) =
            (self.shared.split(*hashes.start()).shard, self.shared.split(*hashes.end()).shard);
        for slot in &self.shards[first as usize..=last as usize] {
            slot.lock().tombstones.each(hashes, &mut visit);
        }
    }

    /// Repairs of absent keys with this hash up to this version are refused: nobody knows any more whether the key
    /// was deleted.
    pub fn floor(&self, hash: u64) -> Version {
        self.shards[self.shared.split(hash).shard as usize].lock().tombstones.floor()
    }

    /// The hash of a key, by which walks and digests go.
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.shared.hash(key).whole
    }

    /// Has `tell` told of every item evicted from now on. It is called while a shard is locked: it must be quick and must
    /// not call the store. Once for a store; answers whether this was the first time.
    pub fn observe_evictions(&self, tell: impl Fn(&Evicted<'_>) + Send + Sync + 'static) -> bool {
        self.shared.observer.set(Box::new(tell))
    }

    /// Counts and sizes.
    pub fn stats(&self) -> StoreStats {
        let mut sum = StoreStats::default();
        for slot in &self.shards {
            sum.add(&slot.lock().stats());
        }
        let layout = &self.shared.layout;
        sum.bytes = layout.bytes(self.shared.arena.used()) as u64;
        sum.limit_bytes = layout.bytes(layout.segments) as u64;
        sum
    }

    /// What each namespace holds and what was asked of it; the one of all other keys, `default`, first.
    pub fn namespace_stats(&self) -> Vec<NamespaceStats> {
        let namespaces = &self.shared.namespaces;
        let named =
            |index| NamespaceStats { name: namespaces.name(index).to_owned(), ..NamespaceStats::default() };
        let mut stats: Vec<_> = (0..namespaces.count()).map(named).collect();
        for slot in &self.shards {
            let shard = slot.lock();
            for ((index, stats), usage) in stats.iter_mut().enumerate().zip(shard.usage.all()) {
                stats.add(usage);
                if let Some(space) = Some(namespaces.space(index)).filter(|space| *space > 0) {
                    let segments = shard.spaces[usize::from(space)].segments();
                    stats.segment_bytes += (segments * self.shared.layout.segment_bytes) as u64;
                }
            }
        }
        stats
    }

    /// One step of a walk: the page that begins at or covers the range's start. Answers where the next one begins.
    fn step(
        &self,
        range: &RangeInclusive<u64>,
        now: Time,
        wanted: Option<&dyn Fn(Access) -> bool>,
        visit: impl FnMut(&Shard, u64, Location, &Header),
    ) -> Option<u64> {
        let hash = self.shared.split(*range.start());
        let shard = hash.shard as usize;
        let next = self.shards[shard].lock().walk(hash.order, range, now, wanted, visit);
        match next {
            Some(order) => Some(self.shared.hash_at(shard, order)),
            None => (shard + 1 < self.shards.len()).then(|| self.shared.hash_at(shard + 1, 0)),
        }
    }

    /// Runs an operation in a shard, making room as often as it asks for it. `None`: there is none.
    fn run<R>(
        &self,
        hash: Hash,
        now: Time,
        mut operation: impl FnMut(&mut Shard) -> Result<R, NeedRoom>,
    ) -> Option<R> {
        let (mut grant, mut gentle_work, mut alone) = (Vec::new(), GENTLE_WORK_MAX, None);
        for _ in 0..ROOM_ATTEMPTS_MAX {
            let slot = &self.shards[hash.shard as usize];
            let mut shard = slot.lock();
            let held = shard.held_segments();
            shard.arrive(hash.order, now);
            // Only where there is something: to change nothing spares the other threads a cache line.
            if !grant.is_empty() {
                shard.grant = std::mem::take(&mut grant);
            }
            shard.gentle_until = shard.work + gentle_work;
            shard.begin();
            let result = operation(&mut shard);
            shard.finish();
            gentle_work = shard.gentle_until.saturating_sub(shard.work);
            let mut kept = match shard.grant.is_empty() {
                true => Vec::new(),
                false => std::mem::take(&mut shard.grant),
            };
            if shard.held_segments() != held {
                slot.publish(&shard);
            }
            drop(shard);
            match result {
                Ok(result) => return Some(result),
                Err(NeedRoom::Never) => return None,
                Err(NeedRoom::Segments(count)) if count > FEW_SEGMENTS && alone.is_none() => {
                    // Two that each hold half of what they need would starve each other.
                    kept.clear();
                    alone = Some(self.large.lock());
                }
                Err(NeedRoom::Segments(count)) => {
                    grant = kept;
                    for _ in 0..count {
                        grant.push(self.make_room(&mut gentle_work, now)?);
                    }
                }
            }
        }
        None
    }

    /// Frees a segment: of the shard that holds most, then of the next, one lock at a time.
    fn make_room(&self, gentle_work: &mut u64, now: Time) -> Option<Buffer> {
        let held = |at: &usize| self.shards[*at].held();
        let mut order: Vec<usize> = (0..self.shards.len()).collect();
        order.sort_by_cached_key(|at| std::cmp::Reverse(held(at)));
        order.into_iter().find_map(|at| {
            let slot = &self.shards[at];
            let mut shard = slot.lock();
            shard.settle(now);
            shard.gentle_until = shard.work + *gentle_work;
            shard.begin();
            let buffer = shard.make_room(now);
            shard.finish();
            *gentle_work = shard.gentle_until.saturating_sub(shard.work);
            slot.publish(&shard);
            buffer
        })
    }
}
