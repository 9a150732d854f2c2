//! Writing: memcached's rules for set, add, replace, append, prepend and cas.

use std::cmp::Ordering;

use crate::item::{self, Header, Marks};
use crate::room::NeedRoom;
use crate::segment::Location;
use crate::shard::{Hash, NewItem, Shard};
use crate::table::INSERT_LINES;
use crate::{Compare, Time, Value, Version, Write, WriteMode, WriteOutcome};

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
    /// Asks for what writes of these hashes will find in the table, so that the memory's answers overlap.
    pub(crate) fn write_ahead(&self, indexes: impl Iterator<Item = usize>, hashes: &[Hash]) {
        if self.unseen.is_none() {
            indexes.for_each(|index| self.table.prefetch(hashes[index].order, INSERT_LINES));
        }
    }

    /// Carries a write out.
    pub(crate) fn write(
        &mut self,
        hash: Hash,
        write: &Write<'_>,
        now: Time,
    ) -> Result<WriteOutcome, NeedRoom> {
        let old = self.live(hash, write.key, now);
        if let Some(outcome) = self.rule_version(hash, write, old, now)? {
            return Ok(outcome);
        }
        if !self.may_decide(hash, write.key, old, write.decides) {
            return Ok(WriteOutcome::DecidedElsewhere);
        }
        if write.key.len() + write.value.len() > self.shared.layout.item_bytes_max {
            return Ok(self.refuse_too_large(hash, write, old, now));
        }
        let new = NewItem {
            key: write.key,
            value: write.value,
            flags: write.flags,
            expires_ms: item::expires_ms(write.expiry),
            marks: Marks::default(),
            cas: write.cas_override,
            version: self.version_of(hash, write, old),
            old,
        };
        match (rule(write, old.map(|(_, header)| header)), old) {
            (Ruling::Stored { mut marks, expires_ms }, _) => {
                marks.set(Marks::DECIDED, write.decides.is_some());
                self.store(hash, NewItem { marks, expires_ms, ..new }, now)
            }
            (Ruling::Joined, Some((location, header))) => self.join(hash, write, location, &header, now),
            (Ruling::Joined, None) => Ok(WriteOutcome::NotStored),
            (Ruling::Refused(outcome), old) => {
                // As in memcached, an add that finds the item there counts as an access, not as a hit.
                if let (WriteMode::Add, Some((location, mut header))) = (write.mode, old) {
                    header.touch(now);
                    self.note(location, &header);
                }
                Ok(outcome)
            }
        }
    }

    /// Stores an item, or, if it is expired from the start, only drops what is there.
    pub(crate) fn store(
        &mut self,
        hash: Hash,
        new: NewItem<'_>,
        now: Time,
    ) -> Result<WriteOutcome, NeedRoom> {
        let value_bytes = new.value.len();
        if new.expires_ms <= now.0 {
            let there = new.old.map(|(_, old)| old.version).unwrap_or_default();
            if let Some((location, _)) = new.old {
                self.remove(hash, location);
            }
            // A write that has expired is as a delete of its version: nothing older may come back.
            let version = new.version.unwrap_or_else(|| self.stamp(hash, there, now));
            self.remember_delete(hash.whole, version);
            return Ok(WriteOutcome::Stored { cas: new.cas.unwrap_or(version.0), version, value_bytes });
        }
        let header = self.put(hash, new, now)?;
        Ok(WriteOutcome::Stored { cas: header.token(), version: header.version, value_bytes })
    }

    fn join(
        &mut self,
        hash: Hash,
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
        let mut marks = Marks::default();
        marks.set(Marks::DECIDED, write.decides.is_some());
        let new = NewItem {
            key: write.key,
            value: &value,
            flags: header.flags,
            expires_ms: header.expires_ms,
            marks,
            cas: write.cas_override,
            version: self.version_of(hash, write, Some((location, *header))),
            old: Some((location, *header)),
        };
        self.store(hash, new, now)
    }

    /// The version that a write brings along; `None` to stamp it.
    fn version_of(&self, hash: Hash, write: &Write<'_>, old: Option<(Location, Header)>) -> Option<Version> {
        let decided = write.decides.map(|decides| self.stamp_decided(hash, write.key, old, decides));
        write.version.or(decided)
    }

    /// What versions have to say about a write that carries one: `None` if nothing is against it.
    fn rule_version(
        &mut self,
        hash: Hash,
        write: &Write<'_>,
        old: Option<(Location, Header)>,
        now: Time,
    ) -> Result<Option<WriteOutcome>, NeedRoom> {
        let Some(version) = write.version else { return Ok(None) };
        if version > Version::ACCEPTED_MAX {
            return Ok(Some(WriteOutcome::Superseded { version: Version::ACCEPTED_MAX }));
        }
        let watermark = self.flushes.watermark(self.shared.namespaces.of(write.key));
        if version < watermark {
            return Ok(Some(WriteOutcome::Superseded { version: watermark }));
        }
        let deleted = self.tombstones.of(hash.whole);
        if deleted != Version(0) && version <= deleted {
            return Ok(Some(WriteOutcome::Superseded { version: deleted }));
        }
        match old {
            None if write.repair && version <= self.tombstones.floor() => {
                Ok(Some(WriteOutcome::Superseded { version: self.tombstones.floor() }))
            }
            Some((_, old)) if version < old.version => {
                Ok(Some(WriteOutcome::Superseded { version: old.version }))
            }
            Some((location, old)) if version == old.version => {
                self.rule_equal(hash, write, location, &old, now)
            }
            _ => Ok(None),
        }
    }

    /// Two writes of one version: the larger value wins, by length, then bytes, then flags, so that all replicas agree;
    /// of equal ones the later expiry.
    fn rule_equal(
        &mut self,
        hash: Hash,
        write: &Write<'_>,
        location: Location,
        old: &Header,
        now: Time,
    ) -> Result<Option<WriteOutcome>, NeedRoom> {
        let value = self.value(location, old);
        let lengths = write.value.len().cmp(&value.len());
        let order = lengths.then_with(|| compare(write.value, &value)).then(write.flags.cmp(&old.flags));
        match order {
            Ordering::Greater => Ok(None),
            Ordering::Less => Ok(Some(WriteOutcome::Superseded { version: old.version })),
            Ordering::Equal => {
                let expires_ms = item::expires_ms(write.expiry);
                if expires_ms > old.expires_ms {
                    let header = Header { expires_ms, ..*old };
                    self.set_header(hash, write.key, location, &header, now)?;
                }
                let (cas, value_bytes) = (old.token(), write.value.len());
                Ok(Some(WriteOutcome::Stored { cas, version: old.version, value_bytes }))
            }
        }
    }

    fn refuse_too_large(
        &mut self,
        hash: Hash,
        write: &Write<'_>,
        old: Option<(Location, Header)>,
        now: Time,
    ) -> WriteOutcome {
        if write.mode != WriteMode::Set || write.compare.is_some() {
            return WriteOutcome::TooLarge;
        }
        // Whoever sets wants the old value gone, even if the new one cannot be kept, and not to come back.
        let there = old.map(|(_, old)| old.version).or_else(|| self.may_hide_items().then(Version::default));
        let stamped = there.map(|there| self.stamp(hash, there, now));
        if let Some((location, _)) = old {
            self.remove(hash, location);
        }
        if let Some(version) = write.version.or(stamped) {
            self.remember_delete(hash.whole, version);
        }
        WriteOutcome::TooLarge
    }
}

/// The order of a value's bytes and those of another as long.
fn compare(value: &[u8], other: &Value<'_>) -> Ordering {
    match other {
        Value::Inline(other) => value.cmp(other),
        Value::Pinned(pieces) => {
            let mut rest = value;
            let compared = pieces.iter().map(|piece| {
                let (part, after) = rest.split_at(piece.len());
                rest = after;
                part.cmp(piece)
            });
            compared.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        }
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
                Some(compare) if compare.cas != 0 && compare.cas != old.token() => {
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
    if compare.cas != 0 && compare.cas == old.token() {
        return Ruling::Stored { marks: Marks::default(), expires_ms: item::expires_ms(write.expiry) };
    }
    if !compare.invalidate || compare.cas == 0 || compare.cas > old.token() {
        return Ruling::Refused(WriteOutcome::Exists);
    }
    let mut marks = Marks::default();
    marks.set(Marks::STALE, true);
    marks.set(Marks::WIN_SENT, old.marks.has(Marks::WIN_SENT));
    Ruling::Stored { marks, expires_ms: old.expires_ms }
}
