//! Looking an item up: the one that is live under a key.

use crate::Time;
use crate::item::{self, Header, Marks};
use crate::segment::Location;
use crate::shard::{Hash, Shard};

impl Shard {
    /// The item under `key` at `now`, if there is one; an expired or flushed one is found out here. The operation has
    /// called [`Shard::settle`] when it began, and not again: a flush comes before it or after it.
    #[inline]
    pub(crate) fn live(&mut self, hash: Hash, key: &[u8], now: Time) -> Option<(Location, Header)> {
        self.live_at(hash, None, key, now)
    }

    /// As [`Shard::live`], with a hint where the item may be.
    pub(crate) fn live_at(
        &mut self,
        hash: Hash,
        hint: Option<Location>,
        key: &[u8],
        now: Time,
    ) -> Option<(Location, Header)> {
        let location = match hint.filter(|hint| self.is_live_at(*hint, key)) {
            Some(hint) => hint,
            None => {
                let is_it = |place| self.key_is(Location::unpack(place), key);
                Location::unpack(self.table.find(hash.order, is_it)?.place)
            }
        };
        let segment = self.segments.get(location.segment);
        if segment.is_unchecked() {
            return self.live_unchecked(hash, location, key, now);
        }
        let header = segment.header(location.offset);
        if header.is_expired(now) || self.is_flushed(&header, key) {
            self.end(hash, location, &header, key, now);
            return None;
        }
        Some((location, header))
    }

    /// Whether a hint still holds: an item that is not dead is in the table.
    fn is_live_at(&self, hint: Location, key: &[u8]) -> bool {
        let Some(segment) = self.segments.try_get(hint.segment).filter(|segment| hint.offset < segment.end())
        else {
            return false;
        };
        let bytes = segment.at(hint.offset);
        item::key_is(bytes, key) && !item::is_dead(bytes)
    }

    /// As [`Shard::live_at`], where nobody has looked through the segment since a memory file gave it: the item may be
    /// damaged, and what this store decided before is not gone on with.
    #[cold]
    fn live_unchecked(
        &mut self,
        hash: Hash,
        location: Location,
        key: &[u8],
        now: Time,
    ) -> Option<(Location, Header)> {
        if !self.is_sound(location) {
            self.mend(now);
            return self.live(hash, key, now);
        }
        let mut header = self.header(location);
        header.marks.set(Marks::DECIDED, false);
        let latest = now.max(self.ran());
        if header.is_expired(latest) || self.is_flushed(&header, key) {
            self.end(hash, location, &header, key, latest);
            return None;
        }
        Some((location, header))
    }

    /// An item is found to be expired or flushed, by a read as by a write.
    fn end(&mut self, hash: Hash, location: Location, header: &Header, key: &[u8], now: Time) {
        let is_first = self.begin();
        self.count_ended(header, key, now);
        self.remove(hash, location);
        if is_first {
            self.finish();
        }
    }
}
