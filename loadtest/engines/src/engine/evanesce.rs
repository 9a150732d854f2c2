//! Our own engine, looked after as the node does it.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Result;
use evanesce_store::{Expiry, Lookup, Read, Store, StoreConfig, Time, Value, Write, WriteOutcome};

use super::{Engine, EngineConfig, Usage};

/// Items that one step of expiry looks at, as in the node.
const EXPIRE_ITEMS_MAX: usize = 1000;
/// Steps of expiry in one go, as in the node.
const EXPIRE_STEPS_MAX: usize = 64;
/// Lookups that the store gets at once: memcached's clients rarely ask for more.
const READS_MAX: usize = 64;
/// The least memory of a shard, as in the node.
const SHARD_BYTES_MIN: usize = 4 << 20;
/// Every run hashes alike.
const HASH_SEED: u64 = 1;
/// The budget must hold this many of the largest item.
const LARGEST_ITEMS_MIN: usize = 4;

pub(super) struct Evanesce(Store);

impl Evanesce {
    pub(super) fn new(config: &EngineConfig) -> Result<Evanesce> {
        let shards = config.shards.min(config.memory_bytes / SHARD_BYTES_MIN).max(1);
        let defaults = StoreConfig::default();
        let item_bytes_max = defaults.item_bytes_max.max(config.item_bytes_max);
        Ok(Evanesce(Store::new(StoreConfig {
            memory_bytes: config.memory_bytes,
            item_bytes_max: item_bytes_max.min(config.memory_bytes / LARGEST_ITEMS_MIN),
            shards: NonZeroUsize::new(shards).expect("at least 1"),
            hash_seed: Some(HASH_SEED),
            ..defaults
        })?))
    }
}

impl Engine for Evanesce {
    fn get(&self, key: &[u8], now: Time, out: &mut Vec<u8>) -> bool {
        self.0.read(&Read::key(key), now, |lookup| match lookup {
            Lookup::Miss => false,
            Lookup::Hit(hit) => {
                match hit.value {
                    Value::Inline(value) => out.extend_from_slice(value),
                    Value::Pinned(pieces) => pieces.iter().for_each(|piece| out.extend_from_slice(piece)),
                }
                true
            }
        })
    }

    fn get_batch(&self, keys: &[&[u8]], now: Time, visit: &mut dyn FnMut(usize, Option<&[u8]>)) {
        let mut reads = [Read::key(&[]); READS_MAX];
        for (chunk, keys) in keys.chunks(READS_MAX).enumerate() {
            reads.iter_mut().zip(keys).for_each(|(read, key)| *read = Read::key(key));
            self.0.read_batch(&reads[..keys.len()], now, |index, lookup| match lookup {
                Lookup::Hit(hit) => visit(chunk * READS_MAX + index, Some(&hit.value.contiguous())),
                Lookup::Miss => visit(chunk * READS_MAX + index, None),
            });
        }
    }

    fn set(&self, key: &[u8], value: &[u8], ttl: Option<Duration>, now: Time) -> bool {
        let expires = |ttl: Duration| Expiry::At(Time(now.0 + ttl.as_millis() as u64));
        let expiry = ttl.map_or(Expiry::Never, expires);
        let outcome = self.0.write(&Write { expiry, ..Write::set(key, value) }, now);
        matches!(outcome, WriteOutcome::Stored { .. })
    }

    fn upkeep(&self, now: Time) {
        for _ in 0..EXPIRE_STEPS_MAX {
            if self.0.expire(now, EXPIRE_ITEMS_MAX) < EXPIRE_ITEMS_MAX / 2 {
                break;
            }
        }
    }

    fn items(&self) -> Option<u64> {
        Some(self.0.stats().items)
    }

    fn evictions(&self) -> Option<u64> {
        Some(self.0.stats().evictions)
    }

    fn peek(&self, key: &[u8], now: Time) -> Option<bool> {
        let read = Read { counts_as_access: false, ..Read::key(key) };
        Some(self.0.read(&read, now, |lookup| matches!(lookup, Lookup::Hit(_))))
    }

    fn usage(&self) -> Option<Usage> {
        let stats = self.0.stats();
        Some(Usage { bytes: stats.bytes, item_bytes: stats.item_bytes, limit_bytes: stats.limit_bytes })
    }
}
