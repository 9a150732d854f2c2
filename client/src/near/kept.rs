//! What one near cache holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use moka::notification::RemovalCause;
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::held::NearCache;
use crate::diagnostics::NearCacheDiagnostics;
use crate::item::Item;
use crate::key::Key;
use crate::metrics::NearMetrics;
use crate::value::Form;
use crate::version::Version;

/// What an item takes besides its key and value: its head here, and the entry, its links and its counters in moka.
const ENTRY_BYTES: usize = 500;

/// The share of a near cache that one item may take: some of them must fit, and bounds are kept to within one.
const ITEM_SHARE: usize = 8;

/// Counters of writes. A write voids the tickets of one key in so many, which then are asked for once more; each takes 16
/// bytes.
const COUNTERS: usize = 1024;

/// Nodes tell whole seconds, the last begun one included.
const TOLD_TO_WITHIN: Duration = Duration::from_secs(1);

/// Items that were read a moment ago, by what goes over the wire as their keys.
pub(super) struct Kept {
    options: NearCache,
    item_bytes_max: usize,
    items: Cache<Bytes, Arc<Entry>>,
    /// Bytes of all entries. moka knows too, but only after its next round of upkeep.
    bytes: Arc<AtomicU64>,
    /// Writes that have ended, by key. Held while an item is put in or taken out, so that no item comes behind the write
    /// that voids it. Lock order: before moka's own.
    writes: Box<[Mutex<u64>]>,
    /// Flushes that have ended.
    flushes: AtomicU64,
    metrics: Arc<NearMetrics>,
}

/// An item, and for how long it is served.
struct Entry {
    value: Bytes,
    flags: u32,
    cas: u64,
    ttl: Option<Duration>,
    version: Option<Version>,
    /// The key, where a hash of it goes over the wire.
    full: Option<Bytes>,
    /// Whether the value is as it lies on the nodes.
    verbatim: bool,
    /// When it was asked for: what nodes tell of its life is no older.
    asked: Instant,
    fresh_until: Instant,
    flushes: u64,
    bytes: u32,
}

/// What had been written when a read began, and when that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    writes: u64,
    flushes: u64,
    asked: Instant,
}

impl Kept {
    pub(super) fn new(options: NearCache, metrics: NearMetrics) -> Self {
        let (metrics, bytes) = (Arc::new(metrics), Arc::new(AtomicU64::new(0)));
        let gone = {
            let (metrics, bytes) = (Arc::clone(&metrics), Arc::clone(&bytes));
            move |_: Arc<Bytes>, entry: Arc<Entry>, cause: RemovalCause| {
                bytes.fetch_sub(entry.bytes.into(), Ordering::Relaxed);
                metrics.bytes.decrement(f64::from(entry.bytes));
                if cause == RemovalCause::Size {
                    metrics.evictions.increment(1);
                }
            }
        };
        let items = Cache::builder()
            .max_capacity(options.bytes_max as u64)
            .weigher(|_: &Bytes, entry: &Arc<Entry>| entry.bytes)
            .time_to_live(options.ttl)
            .eviction_listener(gone)
            .build();
        Self {
            item_bytes_max: (options.bytes_max / ITEM_SHARE).min(u32::MAX as usize),
            options,
            items,
            bytes,
            writes: (0..COUNTERS).map(|_| Mutex::default()).collect(),
            flushes: AtomicU64::new(0),
            metrics,
        }
    }

    pub(super) fn diagnostics(&self, namespace: String) -> NearCacheDiagnostics {
        let (bytes, NearCache { bytes_max, ttl }) = (self.bytes.load(Ordering::Relaxed), self.options);
        NearCacheDiagnostics { namespace, bytes, bytes_max: bytes_max as u64, ttl }
    }

    /// The item of this key, or what a read needs to keep what it brings.
    pub(super) fn find(&self, form: Form, key: &Key) -> Result<Item, Pass> {
        let now = Instant::now();
        let found = self.items.get(key.as_bytes()).and_then(|entry| self.show(&entry, form, key, now));
        match found {
            Some(item) => {
                self.metrics.hits.increment(1);
                Ok(item)
            }
            None => {
                self.metrics.misses.increment(1);
                Err(self.pass(key))
            }
        }
    }

    /// The item as a node would tell it now, unless it is not served any more.
    fn show(&self, entry: &Entry, form: Form, key: &Key, now: Instant) -> Option<Item> {
        let fits = entry.verbatim == form.is_verbatim() && entry.full.as_deref() == key.full();
        let served = now < entry.fresh_until && entry.flushes == self.flushes.load(Ordering::Acquire);
        if !fits || !served {
            return None;
        }
        let age = now.saturating_duration_since(entry.asked);
        let Entry { flags, cas, version, .. } = *entry;
        let ttl = entry.ttl.map(|ttl| ttl.saturating_sub(age));
        Some(Item { value: entry.value.clone(), flags, cas, ttl, version, until_secs: None })
    }

    /// What a read that begins now needs to keep what it brings.
    pub(super) fn pass(&self, key: &Key) -> Pass {
        let (writes, flushes) = (*self.counter(key).lock(), self.flushes.load(Ordering::Acquire));
        Pass { writes, flushes, asked: Instant::now() }
    }

    /// Keeps an item that was asked for with this pass, unless its key has been written since, or the item has no time left
    /// or is too large.
    pub(super) fn keep(&self, pass: Pass, form: Form, key: &Key, item: &Item) {
        let bytes = ENTRY_BYTES + key.as_bytes().len() + key.full().map_or(0, <[u8]>::len) + item.value.len();
        let left = item.ttl.map_or(Duration::MAX, |left| left.saturating_sub(TOLD_TO_WITHIN));
        let fresh = self.options.ttl.min(left);
        if fresh.is_zero() || bytes > self.item_bytes_max {
            return self.drop_missed(pass, key);
        }
        let entry = Arc::new(Entry {
            // Copied: what was read shares the buffer that it was read into.
            value: Bytes::copy_from_slice(&item.value),
            flags: item.flags,
            cas: item.cas,
            ttl: item.ttl,
            version: item.version,
            full: key.full().map(Bytes::copy_from_slice),
            verbatim: form.is_verbatim(),
            asked: pass.asked,
            fresh_until: pass.asked + fresh,
            flushes: pass.flushes,
            bytes: u32::try_from(bytes).expect("an item is smaller than the largest"),
        });
        if self.put(pass, key, entry) > self.options.bytes_max as u64 {
            // moka evicts by itself some dozens of inserts later.
            self.items.run_pending_tasks();
        }
    }

    /// Nothing is to be kept of a read with this pass: nor is what was kept of an earlier one, unless a later one has.
    pub(super) fn drop_missed(&self, pass: Pass, key: &Key) {
        let writes = self.counter(key).lock();
        if *writes == pass.writes {
            self.items.invalidate(key.as_bytes());
        }
    }

    /// Returns the bytes of all entries by now.
    fn put(&self, pass: Pass, key: &Key, entry: Arc<Entry>) -> u64 {
        let writes = self.counter(key).lock();
        if *writes != pass.writes {
            return 0;
        }
        let bytes = u64::from(entry.bytes);
        // Counted before it can be evicted.
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.metrics.bytes.increment(bytes as f64);
        // Not the wire's bytes: those of many keys share one block, and all of it would stay.
        self.items.insert(Bytes::copy_from_slice(key.as_bytes()), entry);
        drop(writes);
        all
    }

    /// The key was written: what was read before is not kept, and what is kept is not served.
    pub(super) fn invalidate(&self, key: &Key) {
        let mut writes = self.counter(key).lock();
        *writes += 1;
        self.items.invalidate(key.as_bytes());
    }

    /// All keys were written.
    pub(super) fn invalidate_all(&self) {
        // Entries have the number they were asked for with: none from before is served.
        self.flushes.fetch_add(1, Ordering::AcqRel);
        self.items.invalidate_all();
    }

    fn counter(&self, key: &Key) -> &Mutex<u64> {
        &self.writes[xxh3_64(key.as_bytes()) as usize % COUNTERS]
    }
}

#[cfg(test)]
mod tests;
