//! foyer's cache in memory, with boxed keys and counted values.

use std::time::Duration;

use evanesce_store::Time;
use foyer_memory::{Cache, CacheBuilder, CacheProperties, S3FifoConfig};

use super::{Engine, EngineConfig, Key, Value};

/// What an item costs beside its key and value: as `density` finds it, 16 and 50 bytes, mimalloc.
const ITEM_OVERHEAD_BYTES: usize = 180;

pub(super) struct Foyer(Cache<Key, Value>);

impl Foyer {
    pub(super) fn new(config: &EngineConfig) -> Foyer {
        let weigh = |key: &Key, value: &Value| key.len() + value.len() + ITEM_OVERHEAD_BYTES;
        let builder = CacheBuilder::new(config.memory_bytes)
            .with_shards(config.shards)
            .with_eviction_config(S3FifoConfig::default())
            .with_weighter(weigh);
        Foyer(builder.build::<CacheProperties>())
    }
}

impl Engine for Foyer {
    fn get(&self, key: &[u8], _now: Time, out: &mut Vec<u8>) -> bool {
        let Some(item) = self.0.get(key) else { return false };
        out.extend_from_slice(item.value());
        true
    }

    fn set(&self, key: &[u8], value: &[u8], _ttl: Option<Duration>, _now: Time) -> bool {
        self.0.insert(key.into(), value.into());
        true
    }

    fn items(&self) -> Option<u64> {
        Some(self.0.entries() as u64)
    }
}
