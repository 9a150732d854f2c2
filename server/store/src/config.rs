//! What a store is made with, checked once.

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use thiserror::Error;

use crate::file::{Geometry, MemoryFileError};
use crate::large;
use crate::namespace::{NamespaceConfig, NamespaceError};
use crate::segment::{GROWTH_PART, SEGMENT_BYTES_MAX, Segment};
use crate::tombstone::Tombstones;

/// The smallest segment: below it the share of half-filled tails grows too large.
const SEGMENT_BYTES_MIN: usize = 4 << 10;
/// Segments do not get smaller than this unless too much would lie open: they are what is evicted at once.
const SEGMENT_BYTES_USUAL: usize = 64 << 10;
/// A budget is cut into this many segments, unless a bound says otherwise.
const SEGMENTS_PER_BUDGET: usize = 4096;
/// Open segments hold at most one part in this many of the budget.
const OPEN_PART_OF_BUDGET: usize = 50;
/// Segments that a shard holds open: small and main, of items; those of pieces and of namespaces with a guarantee or a
/// limit come on top where they are used.
const OPEN_SEGMENTS_PER_SHARD: usize = 2;
/// A shard needs this many segments for its queues to mean anything.
const SEGMENTS_PER_SHARD_MIN: usize = 12;
/// Items up to one part in this many of a segment lie in it whole; at most half of that is left unused at its end, on
/// average.
const INLINE_PART: usize = 8;
/// The largest item that is allowed in any configuration: the list of its pieces must fit a quarter of a segment.
const ITEM_BYTES_LIMIT: usize = 512 << 20;
/// The budget must hold this many of the largest item: an append needs the old and the new one at once.
const LARGEST_ITEMS_MIN: usize = 4;
/// A shard's own structures, beside its segments: locks, counters, queues.
const SHARD_BYTES: usize = 4 << 10;
/// What one segment costs beside its bytes: its description in a list with some room to grow, its places in a queue and
/// among the free ones.
const SEGMENT_OVERHEAD_BYTES: usize =
    size_of::<Option<Segment>>() + size_of::<Option<Segment>>() / GROWTH_PART + 16;
/// Deletes are remembered in one part in this many of the budget: at 1 GiB, the last 65,536.
const TOMBSTONE_PART: usize = 1024;
/// Bytes of one delete.
const TOMBSTONE_BYTES: usize = 16;
/// Fewest deletes that a shard remembers.
const TOMBSTONES_MIN: usize = 16;

/// What a store is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The whole budget in bytes: items, their table, ghosts and all other bookkeeping. 64 MiB by default.
    pub memory_bytes: usize,
    /// The largest item in bytes, key and value together. 1 MiB by default.
    pub item_bytes_max: usize,
    /// Lock domains; a few times the number of threads is a good choice. 4 by default.
    pub shards: NonZeroUsize,
    /// Seed of the hash that all orders and digests go by. Random by default, which guards against keys made to
    /// collide; nodes whose digests and walks are to be compared must have one seed in common.
    pub hash_seed: Option<u64>,
    /// Stands in the versions that this store gives out, 12 bits; writers to the same keys should differ. 0 by default.
    pub writer: u16,
    /// Key prefixes with an account of their own. None by default.
    pub namespaces: Vec<NamespaceConfig>,
    /// The file that is the store's memory, so that the next store made with it finds its items again: on a file system in
    /// memory, else the system writes all of it to a disk again and again. It is as large as the budget, and is made if it
    /// is not there. None by default: what is stored ends with the process.
    pub memory_file: Option<PathBuf>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            memory_bytes: 64 << 20,
            item_bytes_max: 1 << 20,
            shards: NonZeroUsize::new(4).expect("4 is not 0"),
            hash_seed: None,
            writer: 0,
            namespaces: Vec::new(),
            memory_file: None,
        }
    }
}

/// A configuration that cannot work. The caller's fault; another configuration is needed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
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
    /// The namespaces cannot work.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The memory file cannot be had.
    #[error(transparent)]
    MemoryFile(#[from] MemoryFileError),
    /// The system does not give the memory.
    #[error(
        "the system refuses {memory_bytes} bytes of memory ({kind}): give less or raise the process's limit"
    )]
    Refused {
        /// The budget asked for.
        memory_bytes: usize,
        /// The system's reason.
        kind: io::ErrorKind,
    },
}

/// Sizes that follow from a checked configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Bytes of one segment, a power of two.
    pub(crate) segment_bytes: usize,
    /// All segments.
    pub(crate) segments: usize,
    /// Lock domains.
    pub(crate) shards: usize,
    /// The largest key and value together that lie in a segment as they are.
    pub(crate) inline_bytes_max: usize,
    /// The largest key and value together.
    pub(crate) item_bytes_max: usize,
    /// Deletes that a shard remembers.
    pub(crate) tombstones: usize,
}

impl StoreConfig {
    /// Checks the configuration and derives the sizes.
    pub(crate) fn layout(&self) -> Result<Layout, StoreConfigError> {
        let (shards, memory_bytes) = (self.shards.get(), self.memory_bytes);
        let least = shards.saturating_mul((SEGMENTS_PER_SHARD_MIN + 4) * SEGMENT_BYTES_MIN);
        if memory_bytes < least {
            return Err(StoreConfigError::MemoryTooSmall { memory_bytes, shards, least });
        }
        let segment_bytes = segment_bytes(memory_bytes, shards);
        let most = (memory_bytes / LARGEST_ITEMS_MIN).min(ITEM_BYTES_LIMIT);
        let most = std::iter::successors(Some(most), |most| Some(most / 2));
        let fits = |most: &usize| large::list_bytes(segment_bytes, *most) <= segment_bytes / large::LIST_PART;
        let most = most.into_iter().find(fits).unwrap_or(0);
        if self.item_bytes_max > most {
            let item_bytes_max = self.item_bytes_max;
            return Err(StoreConfigError::ItemTooLarge { item_bytes_max, most });
        }
        let tombstones = (memory_bytes / TOMBSTONE_PART / TOMBSTONE_BYTES / shards).max(TOMBSTONES_MIN);
        let fixed = shards * (SHARD_BYTES + Tombstones::bytes_for(tombstones));
        Ok(Layout {
            segment_bytes,
            segments: (memory_bytes - fixed) / (segment_bytes + SEGMENT_OVERHEAD_BYTES),
            shards,
            inline_bytes_max: segment_bytes / INLINE_PART,
            item_bytes_max: self.item_bytes_max,
            tombstones,
        })
    }
}

impl Layout {
    /// How the parts of a memory file follow from it.
    pub(crate) fn geometry(&self, namespaces: usize) -> Geometry {
        Geometry {
            segment_bytes: self.segment_bytes,
            segments: self.segments,
            shards: self.shards,
            namespaces,
            tombstones: Tombstones::places(self.tombstones),
        }
    }

    /// Bytes of the budget that so many segments in use stand for, with everything beside them.
    pub(crate) fn bytes(&self, segments: usize) -> usize {
        let fixed = self.shards * (SHARD_BYTES + Tombstones::bytes_for(self.tombstones));
        fixed + segments * (self.segment_bytes + SEGMENT_OVERHEAD_BYTES)
    }
}

fn segment_bytes(memory_bytes: usize, shards: usize) -> usize {
    let open_bound = memory_bytes / (OPEN_PART_OF_BUDGET * OPEN_SEGMENTS_PER_SHARD * shards);
    let bytes = (memory_bytes / SEGMENTS_PER_BUDGET).clamp(SEGMENT_BYTES_USUAL, SEGMENT_BYTES_MAX);
    let bytes = bytes.min(open_bound).max(SEGMENT_BYTES_MIN);
    1 << bytes.ilog2()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::{StoreConfig, StoreConfigError};

    fn config(memory_bytes: usize, item_bytes_max: usize, shards: usize) -> StoreConfig {
        let shards = NonZeroUsize::new(shards).unwrap();
        StoreConfig { memory_bytes, item_bytes_max, shards, ..StoreConfig::default() }
    }

    #[test]
    fn segments_follow_the_budget_within_bounds() {
        for (mib, shards, segment_kib) in
            [(64, 4, 64), (64, 16, 32), (256, 4, 64), (1024, 4, 256), (1024, 16, 256), (65536, 64, 256)]
        {
            let layout = config(mib << 20, 1 << 20, shards).layout().unwrap();
            assert_eq!(layout.segment_bytes, segment_kib << 10, "{mib} MiB, {shards} shards");
            assert!(2 * shards * layout.segment_bytes * 50 <= mib << 20);
            assert!(layout.bytes(layout.segments) <= mib << 20);
            assert!(layout.segments * layout.segment_bytes > (mib << 20) / 1000 * 985);
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
