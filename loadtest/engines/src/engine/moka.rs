//! moka, with boxed keys and counted values.

use std::time::{Duration, Instant};

use evanesce_store::Time;
use moka::Expiry;
use moka::sync::Cache;

use super::{Engine, EngineConfig, Key, Value};

/// What an item costs beside its key and value: as `density` finds it, 16 and 50 bytes, mimalloc.
const ITEM_OVERHEAD_BYTES: usize = 290;

pub(super) struct Moka(Cache<Key, Value>);

/// Every item gets the same TTL, by the means for TTLs that differ.
struct Ttl(Duration);

impl Expiry<Key, Value> for Ttl {
    fn expire_after_create(&self, _key: &Key, _value: &Value, _now: Instant) -> Option<Duration> {
        Some(self.0)
    }
}

impl Moka {
    pub(super) fn new(config: &EngineConfig) -> Moka {
        let weigh = |key: &Key, value: &Value| (key.len() + value.len() + ITEM_OVERHEAD_BYTES) as u32;
        let builder = Cache::builder().max_capacity(config.memory_bytes as u64).weigher(weigh);
        Moka(match config.ttl {
            Some(ttl) => builder.expire_after(Ttl(ttl)).build(),
            None => builder.build(),
        })
    }
}

impl Engine for Moka {
    fn get(&self, key: &[u8], _now: Time, out: &mut Vec<u8>) -> bool {
        let Some(value) = self.0.get(key) else { return false };
        out.extend_from_slice(&value);
        true
    }

    fn set(&self, key: &[u8], value: &[u8], _ttl: Option<Duration>, _now: Time) -> bool {
        self.0.insert(key.into(), value.into());
        true
    }

    fn upkeep(&self, _now: Time) {
        self.0.run_pending_tasks();
    }

    fn items(&self) -> Option<u64> {
        self.0.run_pending_tasks();
        Some(self.0.entry_count())
    }
}
