//! What all of these tests need: stores that run the same each time, a small generator, and short ways to ask.

use std::num::NonZeroUsize;

use evanesce_store::{
    Delete, Expiry, Lookup, Read, Store, StoreConfig, StoreStats, Time, Value, Write, WriteOutcome,
};
use proptest::test_runner::{Config, RngSeed};

/// Some instant after the beginning of versions.
pub(crate) const NOW: Time = Time(1_800_000_000_000);
/// A mebibyte.
pub(crate) const MIB: usize = 1 << 20;
/// What properties are tried with, unless the environment says otherwise.
const SEED: u64 = 0x5eed;

/// Properties that are tried with the same cases each time.
pub(crate) fn seeded(cases: u32) -> Config {
    let given = Config::default();
    let rng_seed = match given.rng_seed {
        RngSeed::Random => RngSeed::Fixed(SEED),
        fixed => fixed,
    };
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { given.cases } else { cases };
    // Shown only when the test fails.
    println!("PROPTEST_RNG_SEED={rng_seed} PROPTEST_CASES={cases}");
    Config { rng_seed, cases, failure_persistence: None, ..given }
}

/// A small generator of its own, so that a failure repeats.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

/// A configuration whose store runs the same each time.
pub(crate) fn config(memory_bytes: usize, item_bytes_max: usize, shards: usize) -> StoreConfig {
    let shards = NonZeroUsize::new(shards).expect("tests have shards");
    StoreConfig { memory_bytes, item_bytes_max, shards, hash_seed: Some(7), ..StoreConfig::default() }
}

/// A store that runs the same each time.
pub(crate) fn store(memory_bytes: usize, item_bytes_max: usize, shards: usize) -> Store {
    Store::new(config(memory_bytes, item_bytes_max, shards)).expect("the config works")
}

/// A plain set. It must be stored.
pub(crate) fn set(store: &Store, key: &str, value: &[u8]) {
    set_until(store, key, value, Expiry::Never, NOW);
}

/// A plain set with an expiry. It must be stored.
pub(crate) fn set_until(store: &Store, key: &str, value: &[u8], expiry: Expiry, now: Time) {
    let outcome = store.write(&Write { expiry, ..Write::set(key.as_bytes(), value) }, now);
    assert!(stored(outcome), "{key}, {} bytes: {outcome:?}", value.len());
}

/// A plain delete, whatever comes of it.
pub(crate) fn delete(store: &Store, key: &str, now: Time) {
    store.delete(&Delete::key(key.as_bytes()), now);
}

pub(crate) fn stored(outcome: WriteOutcome) -> bool {
    matches!(outcome, WriteOutcome::Stored { .. })
}

pub(crate) fn get_at(store: &Store, key: &str, now: Time) -> Option<Vec<u8>> {
    store.read(&Read::key(key.as_bytes()), now, |lookup| match lookup {
        Lookup::Hit(hit) => Some(hit.value.contiguous().into_owned()),
        Lookup::Miss => None,
    })
}

pub(crate) fn get(store: &Store, key: &str) -> Option<Vec<u8>> {
    get_at(store, key, NOW)
}

/// Looks without leaving a trace.
pub(crate) fn is_there(store: &Store, key: &str) -> bool {
    let look = Read { counts_as_access: false, ..Read::key(key.as_bytes()) };
    store.read(&look, NOW, |lookup| matches!(lookup, Lookup::Hit(_)))
}

/// The pieces of a large value.
pub(crate) fn pinned(store: &Store, key: &str) -> Option<Vec<bytes::Bytes>> {
    store.read(&Read::key(key.as_bytes()), NOW, |lookup| match lookup {
        Lookup::Hit(hit) => match hit.value {
            Value::Pinned(pieces) => Some(pieces),
            Value::Inline(_) => panic!("{key} is large"),
        },
        Lookup::Miss => None,
    })
}

/// Fails unless the store keeps to its budget.
pub(crate) fn assert_within(store: &Store, memory_bytes: usize) -> StoreStats {
    let stats = store.stats();
    assert!(stats.bytes <= stats.limit_bytes && stats.limit_bytes <= memory_bytes as u64, "{stats:?}");
    stats
}

/// A value of which every part tells its key and its place.
pub(crate) fn telling(key: u64, size: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(size + 64);
    for part in 0..size.div_ceil(64) {
        value.extend_from_slice(&[(key.wrapping_mul(31) as usize + part + 7 * (part >> 8)) as u8; 64]);
    }
    value.truncate(size);
    value
}
