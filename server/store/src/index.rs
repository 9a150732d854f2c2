//! The table: which key lies where. Keys themselves are in the segments.

use crate::budget::Charge;

/// Bits of a slot that tell where the item lies.
const LOCATION_BITS: u32 = 40;
/// In a location: the item has an extent of its own.
const EXTENT_BIT: u64 = 1 << (LOCATION_BITS - 1);
/// Bits of an offset inside a segment, in units of the item alignment: 1 MiB.
const OFFSET_BITS: u32 = 18;
/// Slots of an empty table.
pub(crate) const SLOTS_MIN: usize = 256;
/// A table is full at this many items per hundred slots: beyond it, misses walk too far.
const LOAD_PERCENT: usize = 80;
/// A full table grows to this many of its slots per hundred; small steps keep memory close to the need.
const GROWTH_PERCENT: usize = 125;

/// Where an item lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Location {
    /// In a segment, at an offset in bytes.
    Inline { segment: u32, offset: u32 },
    /// In an extent of its own.
    Extent(u32),
}

impl Location {
    fn pack(self) -> u64 {
        match self {
            Location::Inline { segment, offset } => {
                // Segments count from 1 here, so that no slot in use is 0.
                (u64::from(segment) + 1) << OFFSET_BITS | u64::from(offset / crate::item::ITEM_ALIGN as u32)
            }
            Location::Extent(extent) => EXTENT_BIT | u64::from(extent),
        }
    }

    fn unpack(packed: u64) -> Location {
        if packed & EXTENT_BIT != 0 {
            return Location::Extent((packed & (EXTENT_BIT - 1)) as u32);
        }
        let segment = (packed >> OFFSET_BITS) as u32 - 1;
        let offset = (packed & ((1 << OFFSET_BITS) - 1)) as u32 * crate::item::ITEM_ALIGN as u32;
        Location::Inline { segment, offset }
    }
}

/// A table of slots with linear probing. A slot is 0 or
///
/// ```text
///  63          40 39      38            18 17               0
/// +--------------+--------+---------------+------------------+
/// | tag          | 0      | segment + 1   | offset / 4       |   an item in a segment
/// +--------------+--------+---------------+------------------+
/// | tag          | 1      | number of the extent             |   an item with its own extent
/// +--------------+--------+----------------------------------+
/// ```
///
/// The tag is the upper 24 bits of the key's hash. It alone decides a slot's home (its share of the table's
/// length), so the table grows without reading a single item. Removal moves later slots back; there are no
/// tombstones, and a table in steady churn never needs to be rebuilt.
#[derive(Debug)]
pub(crate) struct Index {
    slots: Box<[u64]>,
    len: usize,
    /// Held for the slots.
    _charge: Charge,
}

impl Index {
    /// An empty table; `charge` is for [`Index::bytes_for`] its slots.
    pub(crate) fn new(slots: usize, charge: Charge) -> Index {
        Index { slots: vec![0; slots].into_boxed_slice(), len: 0, _charge: charge }
    }

    /// Bytes of so many slots.
    pub(crate) fn bytes_for(slots: usize) -> usize {
        slots * size_of::<u64>()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Items that so many slots take.
    pub(crate) fn items_max(slots: usize) -> usize {
        slots / 100 * LOAD_PERCENT + slots % 100 * LOAD_PERCENT / 100
    }

    /// The number of slots to grow to before one more item comes in, if it must grow.
    pub(crate) fn growth(&self) -> Option<usize> {
        let is_full = self.len >= Self::items_max(self.slots.len());
        is_full.then(|| self.slots.len() / 100 * GROWTH_PERCENT + GROWTH_PERCENT)
    }

    /// The number of slots to shrink to, if most of the table is empty.
    pub(crate) fn shrinkage(&self) -> Option<usize> {
        let slots = (self.len * 2).max(SLOTS_MIN);
        (slots * 2 <= self.slots.len()).then_some(slots)
    }

    /// Drops every slot.
    pub(crate) fn clear(&mut self) {
        self.slots.fill(0);
        self.len = 0;
    }

    /// Moves to another number of slots.
    pub(crate) fn resize(&mut self, slots: usize, charge: Charge) {
        let old = std::mem::replace(self, Index::new(slots, charge));
        for slot in old.slots.iter().filter(|slot| **slot != 0) {
            self.insert_slot(*slot);
        }
    }

    /// The first item under `hash` that `is_it` accepts: its position, good until the next change, and place.
    pub(crate) fn find(
        &self,
        hash: u64,
        mut is_it: impl FnMut(Location) -> bool,
    ) -> Option<(usize, Location)> {
        let tag = hash >> LOCATION_BITS;
        let mut position = self.home(tag);
        loop {
            let slot = self.slots[position];
            if slot == 0 {
                return None;
            }
            if slot >> LOCATION_BITS == tag {
                let location = location_of(slot);
                if is_it(location) {
                    return Some((position, location));
                }
            }
            position = self.after(position);
        }
    }

    /// Adds an item. The caller has grown the table if [`Index::growth`] asked for it.
    pub(crate) fn insert(&mut self, hash: u64, location: Location) {
        self.insert_slot(hash >> LOCATION_BITS << LOCATION_BITS | location.pack());
    }

    /// The item at `position` moved.
    pub(crate) fn relocate(&mut self, position: usize, location: Location) {
        let tag = self.slots[position] >> LOCATION_BITS;
        self.slots[position] = tag << LOCATION_BITS | location.pack();
    }

    /// Drops the slot at `position` and closes the gap.
    pub(crate) fn remove(&mut self, position: usize) {
        self.len -= 1;
        let mut gap = position;
        let mut next = self.after(gap);
        loop {
            let slot = self.slots[next];
            if slot == 0 {
                self.slots[gap] = 0;
                return;
            }
            // The slot may move back to the gap unless its home lies after the gap.
            let home = self.home(slot >> LOCATION_BITS);
            if self.distance(home, next) >= self.distance(gap, next) {
                self.slots[gap] = slot;
                gap = next;
            }
            next = self.after(next);
        }
    }

    fn insert_slot(&mut self, slot: u64) {
        let mut position = self.home(slot >> LOCATION_BITS);
        while self.slots[position] != 0 {
            position = self.after(position);
        }
        self.slots[position] = slot;
        self.len += 1;
    }

    fn home(&self, tag: u64) -> usize {
        ((u128::from(tag) * self.slots.len() as u128) >> (64 - LOCATION_BITS)) as usize
    }

    fn after(&self, position: usize) -> usize {
        if position + 1 == self.slots.len() { 0 } else { position + 1 }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }
}

fn location_of(slot: u64) -> Location {
    Location::unpack(slot & ((1 << LOCATION_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::{Index, Location};
    use crate::budget::Budget;

    #[test]
    fn location_comes_back_as_packed() {
        let last = Location::Inline { segment: (1 << 21) - 2, offset: (1 << 20) - 4 };
        for location in [Location::Inline { segment: 0, offset: 0 }, last, Location::Extent(u32::MAX)] {
            assert_eq!(Location::unpack(location.pack()), location);
            assert_ne!(location.pack(), 0);
        }
    }

    proptest! {
        /// Few tags, so that runs are long and wrap around the table's end.
        #[test]
        fn index_agrees_with_a_map(ops in prop::collection::vec((any::<bool>(), 0u64..24, 0u32..12), 1..400)) {
            let budget = Budget::new(1 << 20);
            let mut index = Index::new(20, budget.charge(160).unwrap());
            let mut map = HashMap::new();
            for (add, tag, extent) in ops {
                // Tags crowd at the end of the range.
                let hash = ((1 << 24) - 1 - tag) << 40;
                let location = Location::Extent(extent);
                let found = index.find(hash, |at| at == location);
                prop_assert_eq!(found.is_some(), map.contains_key(&(hash, extent)));
                match (add, found) {
                    (true, None) => {
                        if let Some(slots) = index.growth() {
                            let charge = budget.charge(Index::bytes_for(slots)).unwrap();
                            index.resize(slots, charge);
                        }
                        index.insert(hash, location);
                        map.insert((hash, extent), ());
                    }
                    (false, Some((position, _))) => {
                        index.remove(position);
                        map.remove(&(hash, extent));
                    }
                    _ => {}
                }
                prop_assert_eq!(index.len(), map.len());
            }
        }
    }
}
