//! Walking: all items in the order of their hashes, and digests of ranges, for repair and warm-up.

use std::ops::RangeInclusive;

use crate::item;
use crate::prefetch::prefetch;
use crate::read::shown;
use crate::segment::Location;
use crate::shard::Shard;
use crate::{Hit, Time, Version};

/// Items of a page that are asked for at a time.
const AHEAD: usize = 16;

/// Lines of each that are asked for: a small item as a whole, of another its beginning.
const LINES_AHEAD: usize = 4;

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
    /// Visits the live items of the table's page that covers `order`, by hash. Answers where the next page begins.
    pub(crate) fn walk(
        &mut self,
        order: u64,
        range: &RangeInclusive<u64>,
        now: Time,
        mut visit: impl FnMut(&Shard, u64, Location),
    ) -> Option<u64> {
        self.arrive(order, now);
        let mut places = Vec::new();
        let next = self.table.page(order, &mut places);
        let mut items = Vec::with_capacity(places.len());
        for places in places.chunks(AHEAD) {
            // The items of a page lie anywhere; all that follows reads the lines that are asked for here.
            for at in places.iter().map(|place| Location::unpack(*place)) {
                prefetch(self.segments.get(at.segment).at(at.offset), LINES_AHEAD);
            }
            let located = places.iter().map(|place| {
                let location = Location::unpack(*place);
                let key = item::key(self.segments.get(location.segment).at(location.offset));
                (self.shared.hash(key).whole, location)
            });
            items.extend(located.filter(|(hash, _)| range.contains(hash)));
        }
        items.sort_unstable_by_key(|(hash, _)| *hash);
        for (hash, location) in items {
            if self.segments.get(location.segment).is_unchecked() && !self.is_sound(location) {
                continue;
            }
            let header = self.header(location);
            let key = item::key(self.segments.get(location.segment).at(location.offset));
            if !header.is_expired(now) && !self.is_flushed(&header, key) {
                visit(self, hash, location);
            }
        }
        next
    }

    /// An item, to be shown by a walk.
    pub(crate) fn walked(&self, hash: u64, location: Location, now: Time) -> Walked<'_> {
        let header = self.header(location);
        let key = item::key(self.segments.get(location.segment).at(location.offset));
        Walked { hash, key, hit: shown(&header, self.value(location, &header), false, now) }
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
