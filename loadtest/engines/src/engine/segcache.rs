//! Pelikan's segcache. Its table has a fixed size that the user must guess; here it gets the best guess.

use std::time::Duration;

use anyhow::{Result, ensure};
use evanesce_store::Time;
use segcache::{Policy, Value};

use super::{Engine, EngineConfig};

/// Header and alignment of an item, in the mean.
const ITEM_OVERHEAD_BYTES: usize = 9;
/// Bytes of a slot of the table.
const SLOT_BYTES: usize = 8;
/// The table refuses one item in a hundred above this share of its slots, in percent: of an item's two places it
/// fills the first before the second.
const TABLE_FILL_PERCENT: usize = 55;
/// The smallest table the crate takes, as a power of two.
const TABLE_POWER_MIN: u8 = 10;
/// The budget is cut into this many segments, unless a bound says otherwise.
const SEGMENTS_PER_BUDGET: usize = 256;
/// Bounds of a segment: its chains need several, and its largest item must fit.
const SEGMENT_BYTES: (usize, usize) = (64 << 10, 1 << 20);
/// Eviction as in the paper, with the numbers of its documentation. Its S3-FIFO hits less on every load here.
const EVICTION: Policy = Policy::Merge { max: 8, merge: 4, compact: 2 };

pub(super) struct Segcache(segcache::Segcache);

impl Segcache {
    pub(super) fn new(config: &EngineConfig) -> Result<Segcache> {
        let (least, most) = SEGMENT_BYTES;
        let wanted = (config.memory_bytes / SEGMENTS_PER_BUDGET).max(2 * config.item_bytes_max);
        let segment_bytes = wanted.clamp(least, most).next_power_of_two();
        let power = table_power(config);
        let heap_bytes = config.memory_bytes.saturating_sub(SLOT_BYTES << power);
        let heap_bytes = heap_bytes / segment_bytes * segment_bytes;
        ensure!(heap_bytes > 0, "{} bytes are too little for segcache", config.memory_bytes);
        let policy = if config.evicts { EVICTION } else { Policy::None };
        let builder = segcache::Segcache::builder().hash_power(power).heap_size(heap_bytes);
        let segment_bytes = i32::try_from(segment_bytes).expect("at most 1 MiB");
        Ok(Segcache(builder.segment_size(segment_bytes).eviction(policy).build()?))
    }
}

/// The smallest table that holds what then fits the rest of the memory.
fn table_power(config: &EngineConfig) -> u8 {
    let item_bytes = config.item_bytes_mean + ITEM_OVERHEAD_BYTES;
    let holds_all = |power: &u8| {
        let heap_bytes = config.memory_bytes.saturating_sub(SLOT_BYTES << power);
        heap_bytes / item_bytes <= (TABLE_FILL_PERCENT << power) / 100
    };
    (TABLE_POWER_MIN..40).find(holds_all).expect("a table that takes all memory leaves none for items")
}

impl Engine for Segcache {
    fn get(&self, key: &[u8], _now: Time, out: &mut Vec<u8>) -> bool {
        let Some(item) = self.0.get(key) else { return false };
        match item.value() {
            Value::Bytes(value) => out.extend_from_slice(value),
            Value::U64(number) => out.extend_from_slice(&number.to_le_bytes()),
        }
        true
    }

    fn set(&self, key: &[u8], value: &[u8], ttl: Option<Duration>, _now: Time) -> bool {
        self.0.insert(key, value, None, ttl.unwrap_or_default()).is_ok()
    }

    fn upkeep(&self, _now: Time) {
        self.0.expire();
    }

    fn items(&self) -> Option<u64> {
        None
    }
}
