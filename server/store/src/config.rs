//! What a store is made with, checked once.

use std::num::NonZeroUsize;

use thiserror::Error;

/// The smallest segment: below it the share of half-filled tails grows too large.
pub(crate) const SEGMENT_BYTES_MIN: usize = 4 << 10;
/// The largest segment: one eviction copies at most this much.
pub(crate) const SEGMENT_BYTES_MAX: usize = 1 << 20;
/// A budget is cut into this many segments, unless a bound says otherwise.
const SEGMENTS_PER_BUDGET: usize = 1024;
/// Open segments hold at most one part in this many of the budget.
const OPEN_PART_OF_BUDGET: usize = 50;
/// Segments that a shard may hold open or spare: small, main, compaction, spare.
pub(crate) const OPEN_SEGMENTS_PER_SHARD: usize = 4;
/// A shard needs this many segments for its queues to mean anything.
const SEGMENTS_PER_SHARD_MIN: usize = 16;
/// The largest item that is allowed in any configuration.
const ITEM_BYTES_LIMIT: usize = 1 << 30;
/// The budget must hold this many of the largest item: an append needs the old and the new one at once.
const LARGEST_ITEMS_MIN: usize = 4;

/// What a store is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreConfig {
    /// The whole budget in bytes: items, their table, ghosts and all other bookkeeping. 64 MiB by default.
    pub memory_bytes: usize,
    /// The largest item in bytes, key and value together. 1 MiB by default.
    pub item_bytes_max: usize,
    /// Lock domains; a few times the number of threads is a good choice. 4 by default.
    pub shards: NonZeroUsize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            memory_bytes: 64 << 20,
            item_bytes_max: 1 << 20,
            shards: NonZeroUsize::new(4).expect("4 is not 0"),
        }
    }
}

/// A configuration that cannot work. The caller's fault; another configuration is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreConfigError {
    /// The budget is too small for the shards.
    #[error("memory of {memory_bytes} bytes is too small for {shards} shards: give at least {least} bytes")]
    MemoryTooSmall {
        /// The budget asked for.
        memory_bytes: usize,
        /// The shards asked for.
        shards: usize,
        /// The least budget for these shards.
        least: usize,
    },
    /// The largest item is too large for the budget, or for any store.
    #[error("largest item of {item_bytes_max} bytes is too large: at most {most} bytes fit this memory")]
    ItemTooLarge {
        /// The largest item asked for.
        item_bytes_max: usize,
        /// The largest item that this budget allows.
        most: usize,
    },
}

/// Sizes that follow from a checked configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Bytes of one segment.
    pub(crate) segment_bytes: usize,
    /// The largest footprint of an item inside a segment; larger ones get an extent.
    pub(crate) inline_bytes_max: usize,
    /// The largest key and value together.
    pub(crate) item_bytes_max: usize,
}

impl StoreConfig {
    /// Checks the configuration and derives the sizes.
    pub(crate) fn layout(&self) -> Result<Layout, StoreConfigError> {
        let shards = self.shards.get();
        let least = shards * SEGMENTS_PER_SHARD_MIN * SEGMENT_BYTES_MIN;
        if self.memory_bytes < least {
            let memory_bytes = self.memory_bytes;
            return Err(StoreConfigError::MemoryTooSmall { memory_bytes, shards, least });
        }
        let most = (self.memory_bytes / LARGEST_ITEMS_MIN).min(ITEM_BYTES_LIMIT);
        if self.item_bytes_max > most {
            let item_bytes_max = self.item_bytes_max;
            return Err(StoreConfigError::ItemTooLarge { item_bytes_max, most });
        }
        let open_bound = self.memory_bytes / (OPEN_PART_OF_BUDGET * OPEN_SEGMENTS_PER_SHARD * shards);
        let segment_bytes = (self.memory_bytes / SEGMENTS_PER_BUDGET)
            .max(64 << 10)
            .min(open_bound)
            .clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let segment_bytes = allocators_size(segment_bytes);
        Ok(Layout { segment_bytes, inline_bytes_max: segment_bytes / 4, item_bytes_max: self.item_bytes_max })
    }
}

/// The next size down that allocators have no waste with: powers of two, and below 64 KiB four sizes to each.
/// Any other is rounded up by them, and up to a quarter more memory taken than is charged.
fn allocators_size(bytes: usize) -> usize {
    let power = 1 << bytes.ilog2();
    let step = if bytes < 64 << 10 { power / 4 } else { power };
    bytes / step * step
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::{StoreConfig, StoreConfigError};

    fn config(memory_bytes: usize, item_bytes_max: usize, shards: usize) -> StoreConfig {
        StoreConfig { memory_bytes, item_bytes_max, shards: NonZeroUsize::new(shards).unwrap() }
    }

    #[test]
    fn segments_follow_the_budget_within_bounds() {
        for (mib, shards, segment_kib) in
            [(64, 4, 64), (64, 16, 20), (256, 4, 256), (1024, 4, 1024), (65536, 64, 1024)]
        {
            let layout = config(mib << 20, 1 << 20, shards).layout().unwrap();
            assert_eq!(layout.segment_bytes, segment_kib << 10, "{mib} MiB, {shards} shards");
            assert!(4 * shards * layout.segment_bytes * 50 <= mib << 20);
        }
    }

    #[test]
    fn config_that_cannot_work_is_refused() {
        let small = config(100_000, 1000, 4).layout();
        assert!(matches!(small, Err(StoreConfigError::MemoryTooSmall { least: 262_144, .. })), "{small:?}");
        let large = config(1 << 20, 1 << 20, 4).layout();
        assert!(matches!(large, Err(StoreConfigError::ItemTooLarge { most: 262_144, .. })), "{large:?}");
    }
}
