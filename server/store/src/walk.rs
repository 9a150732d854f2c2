//! Walking: all items in the order of their hashes, and digests of ranges, for repair and warm-up.

use std::ops::RangeInclusive;

use crate::item::{self, Header};
use crate::prefetch::prefetch;
use crate::read::shown;
use crate::segment::Location;
use crate::shard::Shard;
use crate::table::PAGE_ITEMS_MAX;
use crate::{Hit, Time, Version};

/// How many items ahead of its turn an item is asked for.
const AHEAD: usize = 16;

/// Lines of each that are asked for: a small item as a whole, of another its beginning.
const LINES_AHEAD: usize = 4;

/// How an item was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// It was read since it was written.
    pub hit_before: bool,
    /// When it was last read or written, to the second.
    pub last: Time,
}

/// An item as a walk sees it.
#[derive(Debug)]
pub struct Walked<'a> {
    /// The hash of its key, by which the walk goes.
    pub hash: u64,
    /// The key.
    pub key: &'a [u8],
    /// The rest. Nobody has the win.
    pub hit: Hit<'a>,
}

/// What two nodes compare: nodes of one hash seed that hold the same items in the same versions have equal digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest {
    /// Items.
    pub items: u64,
    /// The sum of a hash of each item's key hash and version, wrapping: it does not depend on the order.
    pub sum: u64,
}

impl Digest {
    /// Adds an item.
    pub(crate) fn add(&mut self, hash: u64, version: Version) {
        self.items += 1;
        let mixed = u128::from(hash ^ 0x9e37_79b9_7f4a_7c15) * u128::from(version.0 ^ 0xd6e8_feb8_6659_fd93);
        self.sum = self.sum.wrapping_add((mixed >> 64) as u64 ^ mixed as u64);
    }
}

impl Shard {
    /// Visits the live items of the table's page that covers `order` and that are `wanted`, by hash. Answers where the next
    /// page begins.
    pub(crate) fn walk(
        &mut self,
        order: u64,
        range: &RangeInclusive<u64>,
        now: Time,
        wanted: Option<&dyn Fn(Access) -> bool>,
        mut visit: impl FnMut(&Shard, u64, Location, &Header),
    ) -> Option<u64> {
        self.arrive(order, now);
        let mut places = Vec::with_capacity(PAGE_ITEMS_MAX);
        let next = self.table.page(order, &mut places);
        if let Some(wanted) = wanted {
            let used = |at: Location| item::access(self.segments.get(at.segment).at(at.offset), now);
            places = self.in_turn(&places, 1).filter(|at| wanted(used(*at))).map(Location::pack).collect();
        }
        let mut items = Vec::with_capacity(places.len());
        // All that follows reads the lines that are asked for here.
        for location in self.in_turn(&places, LINES_AHEAD) {
            let key = item::key(self.segments.get(location.segment).at(location.offset));
            items.push((self.shared.hash(key).whole, location));
        }
        items.retain(|(hash, _)| range.contains(hash));
        items.sort_unstable_by_key(|(hash, _)| *hash);
        for (hash, location) in items {
            let segment = self.segments.get(location.segment);
            if segment.is_unchecked() && !self.is_sound(location) {
                continue;
            }
            let header = self.header(location);
            let key = item::key(segment.at(location.offset));
            if !header.is_expired(now) && !self.is_flushed(&header, key) {
                visit(self, hash, location, &header);
            }
        }
        next
    }

    /// Places of items, each with the first `lines` of its item asked for some items before: they lie anywhere.
    fn in_turn<'a>(&'a self, places: &'a [u64], lines: usize) -> impl Iterator<Item = Location> + 'a {
        let ask = move |place: &u64| {
            let at = Location::unpack(*place);
            prefetch(self.segments.get(at.segment).at(at.offset), lines);
        };
        places.iter().take(AHEAD).for_each(ask);
        places.iter().enumerate().map(move |(index, place)| {
            places.get(index + AHEAD).into_iter().for_each(ask);
            Location::unpack(*place)
        })
    }

    /// An item, to be shown by a walk.
    pub(crate) fn walked(&self, hash: u64, location: Location, header: &Header, now: Time) -> Walked<'_> {
        let key = item::key(self.segments.get(location.segment).at(location.offset));
        Walked { hash, key, hit: shown(header, self.value(location, header), false, now) }
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;
    use crate::Version;

    #[test]
    fn digest_tells_versions_and_keys_apart_but_not_the_order() {
        let of = |items: &[(u64, u64)]| {
            let mut digest = Digest::default();
            items.iter().for_each(|(hash, version)| digest.add(*hash, Version(*version)));
            digest
        };
        assert_eq!(of(&[(1, 2), (3, 4)]), of(&[(3, 4), (1, 2)]));
        assert_ne!(of(&[(1, 2), (3, 4)]), of(&[(1, 4), (3, 2)]));
        assert_ne!(of(&[(1, 2)]), of(&[(1, 3)]));
        assert_ne!(of(&[(1, 2)]), Digest::default());
    }
}
