//! The store: interim body behind the final signatures.

use parking_lot::Mutex;

use crate::naive::Naive;
use crate::{
    Arithmetic, ArithmeticOutcome, Delete, DeleteOutcome, Hit, Lookup, Read, StoreConfig, StoreConfigError,
    StoreStats, Time, Value, Write, WriteOutcome,
};

/// The store. Every method takes `&self`, may be called from any thread, and never blocks for long.
pub struct Store {
    inner: Mutex<Naive>,
    config: StoreConfig,
}

impl Store {
    /// Makes an empty store.
    ///
    /// # Errors
    ///
    /// When the configuration cannot work: the caller's fault.
    pub fn new(config: StoreConfig) -> Result<Store, StoreConfigError> {
        config.layout()?;
        let naive = Naive { item_bytes_max: config.item_bytes_max, ..Naive::default() };
        Ok(Store { inner: Mutex::new(naive), config })
    }

    /// Looks a key up and lets `visit` see what is there while the shard is locked.
    pub fn read<R>(&self, read: &Read<'_>, now: Time, visit: impl FnOnce(Lookup<'_>) -> R) -> R {
        match self.inner.lock().read(read, now) {
            None => visit(Lookup::Miss),
            Some(hit) => visit(Lookup::Hit(Hit {
                value: Value::Inline(&hit.item.value),
                flags: hit.item.flags,
                cas: hit.item.cas,
                expiry: hit.item.expiry,
                last_access: hit.item.last_access,
                hit_before: hit.item.fetched,
                stale: hit.item.stale,
                win: hit.win,
                win_sent: hit.item.win_sent,
            })),
        }
    }

    /// Looks many keys up; `visit` sees the index in `reads` and what is there, in the order of `reads`.
    pub fn read_batch(&self, reads: &[Read<'_>], now: Time, mut visit: impl FnMut(usize, Lookup<'_>)) {
        for (index, read) in reads.iter().enumerate() {
            self.read(read, now, |lookup| visit(index, lookup));
        }
    }

    /// Writes one item.
    pub fn write(&self, write: &Write<'_>, now: Time) -> WriteOutcome {
        self.inner.lock().write(write, now)
    }

    /// Deletes or invalidates one item.
    pub fn delete(&self, delete: &Delete<'_>, now: Time) -> DeleteOutcome {
        self.inner.lock().delete(delete, now)
    }

    /// Adds to or subtracts from a number.
    pub fn arithmetic(&self, op: &Arithmetic<'_>, now: Time) -> ArithmeticOutcome {
        self.inner.lock().arithmetic(op, now)
    }

    /// From `at` on, every item written before `at` is gone. `at` may lie in the future; a later call
    /// replaces one that still waits.
    pub fn flush(&self, at: Time) {
        self.inner.lock().flush(at);
    }

    /// One bounded step of proactive expiry: visits about `items_max` items, answers how many it dropped.
    pub fn expire(&self, now: Time, items_max: usize) -> usize {
        let mut naive = self.inner.lock();
        let past = |item: &crate::naive::NaiveItem| matches!(item.expiry, crate::Expiry::At(at) if at <= now);
        let keys: Vec<_> =
            naive.items.iter().filter(|(_, item)| past(item)).map(|(key, _)| key.clone()).collect();
        keys.iter().take(items_max).filter(|key| naive.items.remove(*key).is_some()).count()
    }

    /// Counts and sizes.
    pub fn stats(&self) -> StoreStats {
        let naive = self.inner.lock();
        let bytes = naive.items.iter().map(|(key, item)| (key.len() + item.value.len()) as u64).sum();
        StoreStats {
            items: naive.items.len() as u64,
            bytes,
            item_bytes: bytes,
            limit_bytes: self.config.memory_bytes as u64,
            ..StoreStats::default()
        }
    }
}
