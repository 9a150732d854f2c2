//! GDSF: an item's rank is its hits over its size, plus the rank of what was evicted last when it was read last.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Policy;

pub(super) struct Gdsf {
    capacity_bytes: u64,
    held_bytes: u64,
    /// The rank of the item that was evicted last: what ages the others.
    clock: f64,
    items: Vec<Item>,
    /// Lowest rank first. A rank may have risen since: then the item goes in again.
    order: BinaryHeap<Reverse<(Rank, u32)>>,
}

#[derive(Clone, Copy, Default)]
struct Item {
    rank: f64,
    bytes: u32,
    /// 0: not there.
    hits: u32,
}

/// A rank with an order; ranks are never NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rank(f64);

impl Eq for Rank {}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Rank) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Rank) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Gdsf {
    pub(super) fn new(capacity_bytes: u64, keys: u32) -> Gdsf {
        let items = vec![Item::default(); keys as usize];
        Gdsf { capacity_bytes, held_bytes: 0, clock: 0.0, items, order: BinaryHeap::new() }
    }

    fn evict(&mut self) {
        let Some(Reverse((rank, key))) = self.order.pop() else { return };
        let item = &mut self.items[key as usize];
        if item.rank > rank.0 {
            self.order.push(Reverse((Rank(item.rank), key)));
            return;
        }
        self.clock = item.rank;
        self.held_bytes -= u64::from(item.bytes);
        item.hits = 0;
    }
}

impl Policy for Gdsf {
    fn request(&mut self, key: u32, bytes: u32) -> bool {
        let rank = |hits: u32, bytes: u32| f64::from(hits) / f64::from(bytes.max(1));
        let item = &mut self.items[key as usize];
        if item.hits > 0 {
            item.hits += 1;
            item.rank = self.clock + rank(item.hits, item.bytes);
            return true;
        }
        if u64::from(bytes) > self.capacity_bytes {
            return false;
        }
        while self.held_bytes + u64::from(bytes) > self.capacity_bytes {
            self.evict();
        }
        let item = Item { rank: self.clock + rank(1, bytes), bytes, hits: 1 };
        self.items[key as usize] = item;
        self.held_bytes += u64::from(bytes);
        self.order.push(Reverse((Rank(item.rank), key)));
        false
    }

    #[cfg(test)]
    fn held_bytes(&self) -> u64 {
        self.held_bytes
    }
}
