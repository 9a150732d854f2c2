//! quick_cache, with boxed keys and counted values.

use std::time::Duration;

use anyhow::Result;
use evanesce_store::Time;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::{Engine, EngineConfig, Key, Value};

/// What an item costs beside its key and value: as `density` finds it, 16 and 50 bytes, mimalloc.
const ITEM_OVERHEAD_BYTES: usize = 85;

pub(super) struct QuickCache(Cache<Key, Value, Weigher>);

#[derive(Clone)]
struct Weigher;

impl Weighter<Key, Value> for Weigher {
    fn weight(&self, key: &Key, value: &Value) -> u64 {
        (key.len() + value.len() + ITEM_OVERHEAD_BYTES) as u64
    }
}

impl QuickCache {
    pub(super) fn new(config: &EngineConfig) -> Result<QuickCache> {
        let options = OptionsBuilder::new()
            .weight_capacity(config.memory_bytes as u64)
            .estimated_items_capacity(config.memory_bytes / (config.item_bytes_mean + ITEM_OVERHEAD_BYTES))
            .shards(config.shards)
            .build()?;
        let hashing = DefaultHashBuilder::default();
        Ok(QuickCache(Cache::with_options(options, Weigher, hashing, DefaultLifecycle::default())))
    }
}

impl Engine for QuickCache {
    fn get(&self, key: &[u8], _now: Time, out: &mut Vec<u8>) -> bool {
        let Some(value) = self.0.get(key) else { return false };
        out.extend_from_slice(&value);
        true
    }

    fn set(&self, key: &[u8], value: &[u8], _ttl: Option<Duration>, _now: Time) -> bool {
        self.0.insert(key.into(), value.into());
        true
    }

    fn items(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}
