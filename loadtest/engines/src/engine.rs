//! The engines under measurement, behind one interface.

mod evanesce;
mod foyer;
mod moka;
mod quick_cache;
mod segcache;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use evanesce_store::Time;
use serde::Serialize;

/// A key as engines without memory of their own hold it.
type Key = Box<[u8]>;
/// A value likewise: counted, so that a reader need not copy it under a lock.
type Value = Arc<[u8]>;

/// An engine as the loads use it. Calls go through a table of functions for every engine alike: a nanosecond each.
pub(crate) trait Engine: Send + Sync {
    /// Looks a key up and copies its value to the end of `out`, as a reply would; `false` on a miss.
    fn get(&self, key: &[u8], now: Time, out: &mut Vec<u8>) -> bool;

    /// Looks many keys up; `visit` sees each key's index and its value, in any order.
    fn get_batch(&self, keys: &[&[u8]], now: Time, visit: &mut dyn FnMut(usize, Option<&[u8]>)) {
        let mut out = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            out.clear();
            let hit = self.get(key, now, &mut out);
            visit(index, hit.then_some(&out));
        }
    }

    /// Stores an item; `false` when the engine refuses it.
    fn set(&self, key: &[u8], value: &[u8], ttl: Option<Duration>, now: Time) -> bool;

    /// What the engine wants done from time to time.
    fn upkeep(&self, _now: Time) {}

    /// Items there now, once all pending work is done. `None` where the engine does not tell.
    fn items(&self) -> Option<u64>;

    /// Items it evicted so far. `None` where it does not tell.
    fn evictions(&self) -> Option<u64> {
        None
    }

    /// Whether a key is there, without counting as an access. `None` where that cannot be asked.
    fn peek(&self, _key: &[u8], _now: Time) -> Option<bool> {
        None
    }

    /// Bytes in use. `None` where the engine does not tell.
    fn usage(&self) -> Option<Usage> {
        None
    }
}

/// Bytes an engine says are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// All of the budget that is in use.
    pub(crate) bytes: u64,
    /// What items hold of it: headers, keys, values.
    pub(crate) item_bytes: u64,
    /// The budget.
    pub(crate) limit_bytes: u64,
}

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum EngineName {
    /// Ours: segments, S3-FIFO.
    Evanesce,
    /// Pelikan's: segments by TTL.
    Segcache,
    /// A hash table with W-TinyLFU.
    Moka,
    /// A sharded table with Clock-PRO.
    QuickCache,
    /// foyer's cache in memory, with S3-FIFO.
    Foyer,
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no engine is hidden");
        f.pad(value.get_name())
    }
}

/// What an engine is made with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct EngineConfig {
    /// The whole budget.
    pub(crate) memory_bytes: usize,
    /// The largest key and value together that will come.
    pub(crate) item_bytes_max: usize,
    /// The mean of key and value together, for engines whose tables must be sized beforehand.
    pub(crate) item_bytes_mean: usize,
    /// What each item's TTL will be, for engines that know only one for all.
    pub(crate) ttl: Option<Duration>,
    /// Whether to evict when full; otherwise engines that can refuse do so.
    pub(crate) evicts: bool,
    /// Lock domains, where they can be chosen.
    pub(crate) shards: usize,
}

impl EngineName {
    /// Every engine, ours first: the others are set against it.
    pub(crate) const ALL: [EngineName; 5] = [
        EngineName::Evanesce,
        EngineName::Segcache,
        EngineName::Moka,
        EngineName::QuickCache,
        EngineName::Foyer,
    ];

    /// The engines chosen, or all, ours first and each once.
    pub(crate) fn chosen(names: &[EngineName]) -> Vec<EngineName> {
        let is_chosen = |name: &EngineName| names.is_empty() || names.contains(name);
        EngineName::ALL.into_iter().filter(is_chosen).collect()
    }

    /// Whether items can have a TTL.
    pub(crate) fn has_ttl(self) -> bool {
        matches!(self, EngineName::Evanesce | EngineName::Segcache | EngineName::Moka)
    }

    /// Makes it, empty.
    ///
    /// # Errors
    /// When the engine cannot work with this configuration.
    pub(crate) fn make(self, config: &EngineConfig) -> Result<Box<dyn Engine>> {
        Ok(match self {
            EngineName::Evanesce => Box::new(evanesce::Evanesce::new(config)?),
            EngineName::Segcache => Box::new(segcache::Segcache::new(config)?),
            EngineName::Moka => Box::new(moka::Moka::new(config)),
            EngineName::QuickCache => Box::new(quick_cache::QuickCache::new(config)?),
            EngineName::Foyer => Box::new(foyer::Foyer::new(config)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evanesce_store::Time;

    use super::{EngineConfig, EngineName};
    use crate::load::{Payload, write_key};

    fn config() -> EngineConfig {
        EngineConfig {
            memory_bytes: 16 << 20,
            item_bytes_max: 64 << 10,
            item_bytes_mean: 200,
            ttl: None,
            evicts: true,
            shards: 2,
        }
    }

    #[test]
    fn every_engine_answers_what_was_stored_and_misses_what_was_not() {
        for name in EngineName::ALL {
            let engine = name.make(&config()).unwrap();
            let (mut key, mut payload, mut out) = ([0; 32], Payload::new(1000), Vec::new());
            for number in 0..1000 {
                write_key(number, &mut key);
                assert!(engine.set(&key, payload.value(number, 100), None, Time(1)), "{name}");
            }
            for number in 0..2000 {
                write_key(number, &mut key);
                out.clear();
                let hit = engine.get(&key, Time(2), &mut out);
                assert_eq!(hit, number < 1000, "{name}, key {number}");
                assert!(!hit || Payload::is_right(&out, number), "{name}, key {number}");
            }
            assert!(engine.items().is_none_or(|items| items == 1000), "{name}");
        }
    }

    #[test]
    fn every_engine_answers_each_key_of_a_batch_once() {
        for name in EngineName::ALL {
            let engine = name.make(&config()).unwrap();
            let mut payload = Payload::new(1000);
            let keys: Vec<[u8; 20]> = (0..64).map(key_of).collect();
            for number in (0..64).step_by(2) {
                engine.set(&keys[number as usize], payload.value(number, 100), None, Time(1));
            }
            let (asked, mut seen) = (keys.iter().map(|key| &key[..]).collect::<Vec<_>>(), [0; 64]);
            engine.get_batch(&asked, Time(2), &mut |index, value| {
                seen[index] += 1;
                assert_eq!(value.is_some(), index % 2 == 0, "{name}");
                assert!(value.is_none_or(|value| Payload::is_right(value, index as u64)), "{name}");
            });
            assert_eq!(seen, [1; 64], "{name}");
        }
    }

    fn key_of(number: u64) -> [u8; 20] {
        let mut key = [0; 20];
        write_key(number, &mut key);
        key
    }

    #[test]
    fn every_engine_stays_near_its_limit_when_it_evicts() {
        for name in EngineName::ALL {
            let engine = name.make(&config()).unwrap();
            let (mut key, mut payload) = ([0; 32], Payload::new(1000));
            let ttl = name.has_ttl().then_some(Duration::from_secs(3600));
            let mut refused = 0;
            for number in 0..200_000 {
                write_key(number, &mut key);
                refused += u32::from(!engine.set(&key, payload.value(number, 168), ttl, Time(1)));
            }
            // segcache refuses an item now and then whose places in the table are all taken.
            let refused_max = if name == EngineName::Segcache { 200 } else { 0 };
            assert!(refused <= refused_max, "{name} refused {refused}");
            assert!(engine.items().is_none_or(|items| (25_000..90_000).contains(&items)), "{name}");
        }
    }
}
