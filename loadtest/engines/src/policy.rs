//! Eviction policies, simulated item by item: what an engine could reach at a stated overhead an item.

mod gdsf;
mod lru;
mod queue;
mod s3_fifo;
mod w_tiny_lfu;

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// A cache of which only the policy is there. Keys are numbered from 0.
pub(crate) trait Policy {
    /// One cache-aside request: whether it hits. On a miss the item is put in, with so many bytes all told.
    fn request(&mut self, key: u32, bytes: u32) -> bool;

    /// Bytes of the items there now; never above the capacity once a request is done.
    #[cfg(test)]
    fn held_bytes(&self) -> u64;
}

/// Which policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PolicyName {
    /// The least recently used goes first.
    Lru,
    /// A small and a main queue, with ghosts; an item counts as one whatever its size.
    S3Fifo,
    /// S3-FIFO that asks an item for hits in proportion to its size.
    S3FifoSize,
    /// A window before a segmented LRU that admits by frequency.
    WTinyLfu,
    /// Greedy dual: the fewest hits per byte go first, and age.
    Gdsf,
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no policy is hidden");
        f.pad(value.get_name())
    }
}

impl PolicyName {
    /// Every policy.
    pub(crate) const ALL: [PolicyName; 5] =
        [PolicyName::Lru, PolicyName::S3Fifo, PolicyName::S3FifoSize, PolicyName::WTinyLfu, PolicyName::Gdsf];

    /// Makes it for a capacity in bytes and keys below `keys`.
    pub(crate) fn make(self, capacity_bytes: u64, keys: u32) -> Box<dyn Policy> {
        match self {
            PolicyName::Lru => Box::new(lru::Lru::new(capacity_bytes, keys)),
            PolicyName::S3Fifo => Box::new(s3_fifo::S3Fifo::new(capacity_bytes, keys, s3_fifo::Ask::OneHit)),
            PolicyName::S3FifoSize => {
                Box::new(s3_fifo::S3Fifo::new(capacity_bytes, keys, s3_fifo::Ask::BySize))
            }
            PolicyName::WTinyLfu => Box::new(w_tiny_lfu::WTinyLfu::new(capacity_bytes, keys)),
            PolicyName::Gdsf => Box::new(gdsf::Gdsf::new(capacity_bytes, keys)),
        }
    }
}

#[cfg(test)]
mod tests;
