//! Reading: what a lookup sees, and what it leaves behind.

use crate::item::{self, Header, Marks, NEVER};
use crate::prefetch::prefetch;
use crate::room::NeedRoom;
use crate::segment::Location;
use crate::shard::{Hash, NewItem, Shard};
use crate::table::SEARCH_LINES;
use crate::{Hit, Lookup, Read, Time, Value, Version};

/// Lines of each item that are asked for ahead, at most: more than so many at a time are not on their way anyway.
const LINES_AHEAD_MAX: usize = 20;

/// What [`Shard::look`] found, ready to be shown.
pub(crate) enum Sight {
    /// Nothing.
    Miss,
    /// An item, and what is to be said about it.
    Item {
        location: Location,
        /// As it was before the lookup, but with the expiry after it.
        header: Header,
        win: bool,
        /// The lookup's touch ended the item: drop it when it was shown.
        ends: bool,
    },
    /// An item that `vivify` made, already expired: never stored.
    Stillborn { header: Header },
}

impl Shard {
    /// Asks for what lookups of these hashes will read, so that the memory's answers overlap: first for the table's
    /// slots, then for the items they name. Tells where each item most likely is.
    pub(crate) fn read_ahead(
        &self,
        indexes: impl Iterator<Item = usize> + Clone,
        hashes: &[Hash],
        mut hint: impl FnMut(usize, Location),
    ) {
        if self.unseen.is_some() {
            return;
        }
        for index in indexes.clone() {
            self.table.prefetch(hashes[index].order, SEARCH_LINES);
        }
        for index in indexes {
            if let Some(found) = self.table.find(hashes[index].order, |_| true) {
                let location = Location::unpack(found.place);
                let segment = self.segments.get(location.segment);
                prefetch(segment.at(location.offset), segment.mean_lines().min(LINES_AHEAD_MAX));
                hint(index, location);
            }
        }
    }

    /// Does all that a lookup changes, except to drop an item that its own touch ended: that is still to be
    /// shown by [`Shard::show`].
    pub(crate) fn look(
        &mut self,
        hash: Hash,
        hint: Option<Location>,
        read: &Read<'_>,
        now: Time,
    ) -> Result<Sight, NeedRoom> {
        let Some((location, before)) = self.live_at(hash, hint, read.key, now) else {
            let sight = self.vivify(hash, read, now)?;
            self.usage_of(read.key).misses += 1;
            return Ok(sight);
        };
        let mut shown = before;
        shown.expires_ms = read.touch.map_or(before.expires_ms, item::expires_ms);
        let judged = if read.recache_after_touch { &shown } else { &before };
        let wins = before.marks.has(Marks::STALE) || is_due(judged, read, now);
        let win = read.may_win && wins && !before.marks.has(Marks::WIN_SENT);
        let mut after = shown;
        after.marks.set(Marks::WIN_SENT, win || before.marks.has(Marks::WIN_SENT));
        if read.counts_as_access {
            after.marks.set(Marks::FETCHED, true);
            after.marks.set_frequency(before.marks.frequency() + 1);
            after.touch(now);
        }
        let mut location = location;
        let ends = after.is_expired(now);
        if after.expires_ms != before.expires_ms && !ends {
            location = self.set_header(hash, read.key, location, &after, now)?;
        } else if after != before {
            self.note(location, &after);
        }
        self.usage_of(read.key).hits += 1;
        Ok(Sight::Item { location, header: shown, win, ends })
    }

    /// Shows what [`Shard::look`] found.
    pub(crate) fn show<R>(
        &mut self,
        hash: Hash,
        sight: &Sight,
        now: Time,
        visit: impl FnOnce(Lookup<'_>) -> R,
    ) -> R {
        match sight {
            Sight::Miss => visit(Lookup::Miss),
            Sight::Stillborn { header } => visit(Lookup::Hit(shown(header, Value::Inline(&[]), true, now))),
            Sight::Item { location, header, win, ends } => {
                let value = self.value(*location, header);
                let result = visit(Lookup::Hit(shown(header, value, *win, now)));
                if *ends {
                    self.remove(hash, *location);
                }
                result
            }
        }
    }

    fn vivify(&mut self, hash: Hash, read: &Read<'_>, now: Time) -> Result<Sight, NeedRoom> {
        let Some(expiry) = read.vivify else { return Ok(Sight::Miss) };
        let mut marks = Marks::default();
        marks.set(Marks::WIN_SENT, true);
        marks.set(Marks::FETCHED, read.counts_as_access);
        let new = NewItem {
            key: read.key,
            value: &[],
            flags: 0,
            expires_ms: item::expires_ms(expiry),
            marks,
            cas: read.cas_override,
            version: None,
            old: None,
        };
        if new.expires_ms <= now.0 {
            return Ok(Sight::Stillborn { header: self.stillborn(hash, &new, now) });
        }
        self.put(hash, new, now)?;
        let (location, mut header) =
            self.live(hash, read.key, now).expect("it was just stored, and nothing flushed");
        // The winner itself does not see that the win was sent.
        header.marks = Marks::default();
        Ok(Sight::Item { location, header, win: true, ends: false })
    }

    fn stillborn(&mut self, hash: Hash, new: &NewItem<'_>, now: Time) -> Header {
        let mut header = Header {
            key_bytes: 0,
            marks: Marks::default(),
            body_bytes: 0,
            expires_ms: new.expires_ms,
            version: self.stamp(hash, Version::default(), now),
            cas: new.cas,
            accessed: 0,
            flags: 0,
        };
        header.touch(now);
        header
    }

    /// Gives an item another header: in place if it is as long, behind all others otherwise.
    pub(crate) fn set_header(
        &mut self,
        hash: Hash,
        key: &[u8],
        location: Location,
        header: &Header,
        now: Time,
    ) -> Result<Location, NeedRoom> {
        let segment = self.segments.get(location.segment);
        let bytes = segment.at(location.offset);
        if segment.footprint(header) == item::footprint(bytes, header) {
            self.begin_change(hash, location);
            self.segments.get_mut(location.segment).reshape(location.offset, header);
            self.finish_change();
            return Ok(location);
        }
        self.move_with(hash, key, location, header, now)
    }
}

/// Less time remains than the reader asks for.
fn is_due(header: &Header, read: &Read<'_>, now: Time) -> bool {
    let remaining = u128::from(header.expires_ms.saturating_sub(now.0));
    header.expires_ms != NEVER && read.recache_below.is_some_and(|below| remaining < below.as_millis())
}

/// An item as callers see it.
pub(crate) fn shown<'a>(header: &Header, value: Value<'a>, win: bool, now: Time) -> Hit<'a> {
    Hit {
        value,
        flags: header.flags,
        cas: header.token(),
        version: header.version,
        expiry: item::expiry(header.expires_ms),
        last_access: header.last_access(now),
        hit_before: header.marks.has(Marks::FETCHED),
        stale: header.marks.has(Marks::STALE),
        win,
        win_sent: header.marks.has(Marks::WIN_SENT),
    }
}
