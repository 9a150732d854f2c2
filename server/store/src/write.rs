//! Writing: memcached's rules for set, add, replace, append, prepend and cas.

use crate::extent::Prepared;
use crate::index::Location;
use crate::item::{self, Header, Marks};
use crate::room::NeedRoom;
use crate::shard::{NewItem, Shard};
use crate::{Compare, Time, Write, WriteMode, WriteOutcome};

/// What the rules say about a write, before there is room for it.
enum Ruling {
    /// It is refused.
    Refused(WriteOutcome),
    /// It is stored, with these bits and this expiry.
    Stored { marks: Marks, expires_ms: u64 },
    /// It is joined to what is there, which keeps its flags and expiry.
    Joined,
}

impl Shard {
    /// Carries a write out. `prepared` is its value again, if it is large.
    pub(crate) fn write(
        &mut self,
        hash: u64,
        write: &Write<'_>,
        prepared: &mut Option<Prepared>,
        now: Time,
    ) -> Result<WriteOutcome, NeedRoom> {
        let old = self.live(hash, write.key, now);
        if write.key.len() + write.value.len() > self.shared.layout.item_bytes_max {
            return Ok(self.refuse_too_large(hash, write, old));
        }
        let new = NewItem {
            key: write.key,
            value: write.value,
            prepared: Some(prepared),
            flags: write.flags,
            expires_ms: item::expires_ms(write.expiry),
            marks: Marks::default(),
            cas: write.cas_override,
        };
        match (rule(write, old.map(|(_, header)| header)), old) {
            (Ruling::Stored { marks, expires_ms }, _) => {
                self.store(hash, NewItem { marks, expires_ms, ..new }, now)
            }
            (Ruling::Joined, Some((location, header))) => self.join(hash, write, location, &header, now),
            (Ruling::Joined, None) => Ok(WriteOutcome::NotStored),
            (Ruling::Refused(outcome), old) => {
                // As in memcached, an add that finds the item there counts as an access, not as a hit.
                if let (WriteMode::Add, Some((location, mut header))) = (write.mode, old) {
                    header.touch(now);
                    self.set_header(location, &header);
                }
                Ok(outcome)
            }
        }
    }

    /// Stores an item, or, if it is expired from the start, only drops what is there.
    pub(crate) fn store(&mut self, hash: u64, new: NewItem<'_>, now: Time) -> Result<WriteOutcome, NeedRoom> {
        let value_bytes = new.value.len();
        if new.expires_ms <= now.0 {
            if let Some((location, _)) = self.live(hash, new.key, now) {
                self.remove(hash, location);
            }
            let cas = new.cas.unwrap_or_else(|| self.shared.next_cas());
            return Ok(WriteOutcome::Stored { cas, value_bytes });
        }
        let cas = self.put(hash, new, now)?;
        Ok(WriteOutcome::Stored { cas, value_bytes })
    }

    fn join(
        &mut self,
        hash: u64,
        write: &Write<'_>,
        location: Location,
        header: &Header,
        now: Time,
    ) -> Result<WriteOutcome, NeedRoom> {
        let old = self.value(location, header).contiguous();
        if write.key.len() + old.len() + write.value.len() > self.shared.layout.item_bytes_max {
            return Ok(WriteOutcome::NotStored);
        }
        let value = match write.mode {
            WriteMode::Prepend { .. } => [write.value, &old].concat(),
            _ => [&old, write.value].concat(),
        };
        let new = NewItem {
            key: write.key,
            value: &value,
            prepared: None,
            flags: header.flags,
            expires_ms: header.expires_ms,
            marks: Marks::default(),
            cas: write.cas_override,
        };
        self.store(hash, new, now)
    }

    fn refuse_too_large(
        &mut self,
        hash: u64,
        write: &Write<'_>,
        old: Option<(Location, Header)>,
    ) -> WriteOutcome {
        // Whoever sets wants the old value gone, even if the new one cannot be kept.
        if let (WriteMode::Set, None, Some((location, _))) = (write.mode, write.compare, old) {
            self.remove(hash, location);
        }
        WriteOutcome::TooLarge
    }
}

fn rule(write: &Write<'_>, old: Option<Header>) -> Ruling {
    let stored = Ruling::Stored { marks: Marks::default(), expires_ms: item::expires_ms(write.expiry) };
    match (write.mode, old) {
        (WriteMode::Add, Some(_)) => Ruling::Refused(WriteOutcome::NotStored),
        (WriteMode::Add, None) => stored,
        (WriteMode::Set | WriteMode::Replace, Some(old)) => match write.compare {
            None => stored,
            Some(compare) => rule_compared(write, compare, &old),
        },
        (WriteMode::Set | WriteMode::Replace, None) if write.compare.is_some() => {
            Ruling::Refused(WriteOutcome::NotFound)
        }
        (WriteMode::Set, None) => stored,
        (WriteMode::Replace, None) => Ruling::Refused(WriteOutcome::NotStored),
        (WriteMode::Append { .. } | WriteMode::Prepend { .. }, Some(old)) => {
            // A token of 0 demands nothing here; in a set it is one that no item has.
            match write.compare {
                Some(compare) if compare.cas != 0 && compare.cas != old.cas => {
                    Ruling::Refused(WriteOutcome::Exists)
                }
                _ => Ruling::Joined,
            }
        }
        (WriteMode::Append { vivify } | WriteMode::Prepend { vivify }, None) => match vivify {
            Some(expiry) => Ruling::Stored { marks: Marks::default(), expires_ms: item::expires_ms(expiry) },
            None => Ruling::Refused(WriteOutcome::NotStored),
        },
    }
}

fn rule_compared(write: &Write<'_>, compare: Compare, old: &Header) -> Ruling {
    if compare.cas != 0 && compare.cas == old.cas {
        return Ruling::Stored { marks: Marks::default(), expires_ms: item::expires_ms(write.expiry) };
    }
    if !compare.invalidate || compare.cas == 0 || compare.cas > old.cas {
        return Ruling::Refused(WriteOutcome::Exists);
    }
    let mut marks = Marks::default();
    marks.set(Marks::STALE, true);
    marks.set(Marks::WIN_SENT, old.marks.has(Marks::WIN_SENT));
    Ruling::Stored { marks, expires_ms: old.expires_ms }
}
