//! Reading: what a lookup sees, and what it leaves behind.

use crate::index::Location;
use crate::item::{self, Header, Marks, NEVER};
use crate::room::NeedRoom;
use crate::shard::{NewItem, Shard};
use crate::{Hit, Lookup, Read, Time};

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
    /// Does all that a lookup changes, except to drop an item that its own touch ended: that is still to be
    /// shown by [`Shard::show`].
    pub(crate) fn look(&mut self, hash: u64, read: &Read<'_>, now: Time) -> Result<Sight, NeedRoom> {
        let Some((location, before)) = self.live(hash, read.key, now) else {
            return self.vivify(hash, read, now);
        };
        let wins = before.marks.has(Marks::STALE) || is_due(&before, read, now);
        let win = read.may_win && wins && !before.marks.has(Marks::WIN_SENT);
        let mut shown = before;
        shown.expires_ms = read.touch.map_or(before.expires_ms, item::expires_ms);
        let mut after = shown;
        after.marks.set(Marks::WIN_SENT, win || before.marks.has(Marks::WIN_SENT));
        if read.counts_as_access {
            after.marks.set(Marks::FETCHED, true);
            after.marks.set_frequency(before.marks.frequency() + 1);
            after.touch(now);
        }
        if after != before {
            self.set_header(location, &after);
        }
        Ok(Sight::Item { location, header: shown, win, ends: after.is_expired(now) })
    }

    /// Shows what [`Shard::look`] found.
    pub(crate) fn show<R>(&mut self, hash: u64, sight: &Sight, visit: impl FnOnce(Lookup<'_>) -> R) -> R {
        match sight {
            Sight::Miss => visit(Lookup::Miss),
            Sight::Stillborn { header } => visit(Lookup::Hit(hit(header, crate::Value::Inline(&[]), true))),
            Sight::Item { location, header, win, ends } => {
                let value = self.value(*location, header);
                let result = visit(Lookup::Hit(hit(header, value, *win)));
                if *ends {
                    self.remove(hash, *location);
                }
                result
            }
        }
    }

    fn vivify(&mut self, hash: u64, read: &Read<'_>, now: Time) -> Result<Sight, NeedRoom> {
        let Some(expiry) = read.vivify else { return Ok(Sight::Miss) };
        let mut marks = Marks::default();
        marks.set(Marks::WIN_SENT, true);
        marks.set(Marks::FETCHED, read.counts_as_access);
        let new = NewItem {
            key: read.key,
            value: &[],
            prepared: None,
            flags: 0,
            expires_ms: item::expires_ms(expiry),
            marks,
            cas: read.cas_override,
        };
        if new.expires_ms <= now.0 {
            return Ok(Sight::Stillborn { header: self.stillborn(&new, now) });
        }
        self.put(hash, new, now)?;
        let (location, mut header) = self.live(hash, read.key, now).expect("it was just stored");
        // The winner itself does not see that the win was sent.
        header.marks = Marks::default();
        Ok(Sight::Item { location, header, win: true, ends: false })
    }

    fn stillborn(&self, new: &NewItem<'_>, now: Time) -> Header {
        let mut header = Header {
            key_bytes: 0,
            marks: Marks::default(),
            value_bytes: 0,
            expires_ms: new.expires_ms,
            cas: new.cas.unwrap_or_else(|| self.shared.next_cas()),
            last_access_secs: 0,
            flags: 0,
        };
        header.touch(now);
        header
    }
}

/// Less time remains than the reader asks for.
fn is_due(header: &Header, read: &Read<'_>, now: Time) -> bool {
    let remaining = u128::from(header.expires_ms.saturating_sub(now.0));
    header.expires_ms != NEVER && read.recache_below.is_some_and(|below| remaining < below.as_millis())
}

fn hit<'a>(header: &Header, value: crate::Value<'a>, win: bool) -> Hit<'a> {
    Hit {
        value,
        flags: header.flags,
        cas: header.cas,
        expiry: item::expiry(header.expires_ms),
        last_access: header.last_access(),
        hit_before: header.marks.has(Marks::FETCHED),
        stale: header.marks.has(Marks::STALE),
        win,
        win_sent: header.marks.has(Marks::WIN_SENT),
    }
}
