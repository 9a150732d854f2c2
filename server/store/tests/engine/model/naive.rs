//! A naive twin of the store: a map, one item a time, the rules written down plainly.
//!
//! Stamps cannot be foretold, so the twin is told the one that the store gave, and checks that it is later than all
//! that was known of the key.

use std::collections::HashMap;
use std::fmt;

use evanesce_store::{
    Arithmetic, ArithmeticOutcome, Delete, DeleteMode, DeleteOutcome, Direction, Expiry, Read, Time, Version,
    Write, WriteMode, WriteOutcome,
};

/// An item of the twin.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NaiveItem {
    pub(crate) value: Vec<u8>,
    pub(crate) flags: u32,
    pub(crate) version: Version,
    /// The token that is shown; the version's number unless a caller chose one.
    pub(crate) cas: u64,
    pub(crate) expiry: Expiry,
    pub(crate) last_access: Time,
    pub(crate) fetched: bool,
    pub(crate) stale: bool,
    pub(crate) win_sent: bool,
}

impl fmt::Debug for NaiveItem {
    /// All but the value, of which only the length: a failing test is to be read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NaiveItem { value, flags, version, cas, expiry, last_access, fetched, stale, win_sent } = self;
        let bits = (fetched, stale, win_sent);
        let shown = (flags, version, cas, expiry, last_access, bits);
        write!(f, "[{} bytes, flags, version, cas, expiry, access, bits: {shown:?}]", value.len())
    }
}

/// What the twin answers to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NaiveHit {
    /// As it was before the read, but with the expiry after it.
    pub(crate) item: NaiveItem,
    pub(crate) win: bool,
}

/// A namespace's flush.
#[derive(Debug, Clone, Copy, Default)]
struct Flush {
    pending: Option<Time>,
    /// The watermark is this version or later: only the store knows it to the bit.
    least: Version,
}

/// The twin.
#[derive(Debug, Default)]
pub(crate) struct Naive {
    pub(crate) items: HashMap<Vec<u8>, NaiveItem>,
    pub(crate) tombstones: HashMap<Vec<u8>, Version>,
    item_bytes_max: usize,
    pub(crate) now_max: Time,
    /// The floor of the key at work, from the store.
    pub(crate) floor: Version,
    /// The version that the store reports of the operation at work, if it does.
    pub(crate) told: Option<Version>,
    /// The operation at work was superseded, says the store.
    pub(crate) superseded: bool,
    /// What was wrong with a stamp.
    pub(crate) fault: Option<String>,
    /// The last stamp of each key.
    stamps: HashMap<Vec<u8>, Version>,
    flushes: [Flush; 4],
}

fn is_past(expiry: Expiry, now: Time) -> bool {
    matches!(expiry, Expiry::At(at) if at <= now)
}

fn instant(expiry: Expiry) -> u64 {
    match expiry {
        Expiry::Never => u64::MAX,
        Expiry::At(at) => at.0,
    }
}

/// The namespace of a key, among the four of the model.
pub(crate) fn namespace(key: &[u8]) -> usize {
    ["a:", "b:", "c:"].iter().position(|name| key.starts_with(name.as_bytes())).map_or(0, |at| at + 1)
}

impl Naive {
    pub(crate) fn new(item_bytes_max: usize) -> Naive {
        Naive { item_bytes_max, ..Naive::default() }
    }

    /// What is known of a key's versions, to be put back with [`Naive::recall`].
    pub(crate) fn known(&self, key: &[u8]) -> [Option<Version>; 2] {
        [self.tombstones.get(key).copied(), self.stamps.get(key).copied()]
    }

    pub(crate) fn recall(&mut self, key: &[u8], known: [Option<Version>; 2]) {
        for (map, known) in [&mut self.tombstones, &mut self.stamps].into_iter().zip(known) {
            map.remove(key);
            map.extend(known.map(|version| (key.to_vec(), version)));
        }
        self.fault = None;
    }

    pub(crate) fn settle(&mut self, key: &[u8], now: Time) {
        self.now_max = self.now_max.max(now);
        for index in 0..self.flushes.len() {
            if let Some(at) = self.flushes[index].pending.filter(|at| *at <= self.now_max) {
                self.carry_out(index, at);
            }
        }
        if self.items.get(key).is_some_and(|item| is_past(item.expiry, now)) {
            self.items.remove(key);
        }
    }

    fn carry_out(&mut self, index: usize, at: Time) {
        self.items.retain(|key, _| namespace(key) != index);
        let flush = &mut self.flushes[index];
        flush.pending = None;
        flush.least = flush.least.max(Version::at(at, 0));
    }

    /// The store's stamp, which must be later than all that is known of the key.
    fn stamp(&mut self, key: &[u8]) -> Version {
        let item = self.items.get(key).map(|item| item.version).unwrap_or_default();
        let known = item.max(self.tombstone(key)).max(self.flushes[namespace(key)].least);
        let known = known.max(self.stamps.get(key).copied().unwrap_or_default());
        let Some(told) = self.told else { return known };
        if told <= known {
            self.fault = Some(format!("stamp {told:?} is not later than {known:?}"));
        }
        self.stamps.insert(key.to_vec(), told);
        told
    }

    fn tombstone(&self, key: &[u8]) -> Version {
        self.tombstones.get(key).copied().unwrap_or_default()
    }

    fn bury(&mut self, key: &[u8], version: Version) {
        self.items.remove(key);
        let version = version.max(self.tombstone(key));
        self.tombstones.insert(key.to_vec(), version);
    }

    /// Keeps an item, or buries it if it is expired from the start.
    fn keep(&mut self, key: &[u8], item: NaiveItem, now: Time) {
        if is_past(item.expiry, now) {
            self.bury(key, item.version);
        } else {
            self.items.insert(key.to_vec(), item);
        }
    }

    pub(crate) fn flush(&mut self, namespace: Option<usize>, at: Time) {
        self.settle(&[], Time(0));
        let all = 0..self.flushes.len();
        for index in all.filter(|index| namespace.is_none_or(|namespace| namespace == *index)) {
            self.flushes[index].pending = Some(at);
            if at <= self.now_max {
                self.carry_out(index, at);
            }
        }
    }

    pub(crate) fn read(&mut self, read: &Read<'_>, now: Time) -> Option<NaiveHit> {
        self.settle(read.key, now);
        if !self.items.contains_key(read.key) {
            return self.vivify(read, now);
        }
        let item = self.items.get_mut(read.key).expect("just looked");
        let judged = read.touch.filter(|_| read.recache_after_touch).unwrap_or(item.expiry);
        let recache = match (read.recache_below, judged) {
            (Some(below), Expiry::At(at)) => u128::from(at.0.saturating_sub(now.0)) < below.as_millis(),
            _ => false,
        };
        let win = read.may_win && !item.win_sent && (item.stale || recache);
        if let Some(expiry) = read.touch {
            item.expiry = expiry;
        }
        let hit = NaiveHit { item: item.clone(), win };
        item.win_sent |= win;
        if read.counts_as_access {
            item.fetched = true;
            item.last_access = now;
        }
        if is_past(item.expiry, now) {
            self.items.remove(read.key);
        }
        Some(hit)
    }

    fn vivify(&mut self, read: &Read<'_>, now: Time) -> Option<NaiveHit> {
        let expiry = read.vivify?;
        let version = self.stamp(read.key);
        let cas = read.cas_override.unwrap_or(version.0);
        let item = NaiveItem { expiry, ..empty(version, cas, now) };
        if !is_past(expiry, now) {
            let kept = NaiveItem { win_sent: true, fetched: read.counts_as_access, ..item.clone() };
            self.items.insert(read.key.to_vec(), kept);
        }
        Some(NaiveHit { item, win: true })
    }

    pub(crate) fn write(&mut self, write: &Write<'_>, now: Time) -> WriteOutcome {
        self.settle(write.key, now);
        if let Some(outcome) = write.version.and_then(|version| self.rule_version(write, version)) {
            return outcome;
        }
        let old = self.items.get(write.key).cloned();
        if write.key.len() + write.value.len() > self.item_bytes_max {
            return self.refuse_too_large(write);
        }
        let new = NaiveItem {
            value: write.value.to_vec(),
            flags: write.flags,
            expiry: write.expiry,
            ..empty(Version(0), 0, now)
        };
        let mut new = match self.rule(write, old, new, now) {
            Ok(new) => new,
            Err(outcome) => return outcome,
        };
        new.version = write.version.unwrap_or_else(|| self.stamp(write.key));
        new.cas = write.cas_override.unwrap_or(new.version.0);
        let (cas, version, value_bytes) = (new.cas, new.version, new.value.len());
        self.keep(write.key, new, now);
        WriteOutcome::Stored { cas, version, value_bytes }
    }

    /// A set wants the old value gone, even if the new one cannot be kept.
    fn refuse_too_large(&mut self, write: &Write<'_>) -> WriteOutcome {
        if write.mode == WriteMode::Set && write.compare.is_none() {
            match write.version {
                Some(version) => self.bury(write.key, version),
                None if self.items.contains_key(write.key) => {
                    let version = self.stamp(write.key);
                    self.bury(write.key, version);
                }
                None => {}
            }
        }
        WriteOutcome::TooLarge
    }

    /// What versions have to say.
    fn rule_version(&mut self, write: &Write<'_>, version: Version) -> Option<WriteOutcome> {
        let refuse = |version| Some(WriteOutcome::Superseded { version });
        let deleted = self.tombstone(write.key);
        let old = self.items.get_mut(write.key);
        let there = old.as_ref().map(|old| old.version).unwrap_or_default();
        let flush = self.flushes[namespace(write.key)].least;
        if let Some(told) = self.told.filter(|_| self.superseded && flush.0 > 0) {
            let is_explained = [deleted, there, self.floor].contains(&told);
            if !is_explained && told > version && told >= flush {
                return refuse(told);
            }
        }
        if version < flush {
            return refuse(flush);
        }
        if version <= deleted {
            return refuse(deleted);
        }
        let Some(old) = old else {
            return if write.repair && version <= self.floor { refuse(self.floor) } else { None };
        };
        if version < old.version {
            return refuse(old.version);
        }
        if version > old.version {
            return None;
        }
        if write.value == old.value {
            if instant(write.expiry) > instant(old.expiry) {
                old.expiry = write.expiry;
            }
            return Some(WriteOutcome::Stored { cas: old.cas, version, value_bytes: old.value.len() });
        }
        // Which value is the larger one is the store's secret; that all stores agree on it is another test's matter.
        if self.superseded { refuse(old.version) } else { None }
    }

    /// memcached's rules: what the item becomes, or why it does not.
    fn rule(
        &mut self,
        write: &Write<'_>,
        old: Option<NaiveItem>,
        mut new: NaiveItem,
        now: Time,
    ) -> Result<NaiveItem, WriteOutcome> {
        match (write.mode, old) {
            (WriteMode::Add, Some(_)) => {
                self.items.get_mut(write.key).expect("just looked").last_access = now;
                return Err(WriteOutcome::NotStored);
            }
            (WriteMode::Add, None) => {}
            (WriteMode::Set | WriteMode::Replace, old) => match (write.compare, old) {
                (Some(_), None) => return Err(WriteOutcome::NotFound),
                (None, None) if write.mode == WriteMode::Replace => return Err(WriteOutcome::NotStored),
                (None, _) => {}
                (Some(compare), Some(old)) => {
                    if compare.cas == 0 || compare.cas != old.cas {
                        if !compare.invalidate || compare.cas == 0 || compare.cas > old.cas {
                            return Err(WriteOutcome::Exists);
                        }
                        new.expiry = old.expiry;
                        new.stale = true;
                        new.win_sent = old.win_sent;
                    }
                }
            },
            (WriteMode::Append { vivify } | WriteMode::Prepend { vivify }, None) => match vivify {
                Some(expiry) => new.expiry = expiry,
                None => return Err(WriteOutcome::NotStored),
            },
            (mode, Some(old)) => {
                if write.compare.is_some_and(|compare| compare.cas != 0 && compare.cas != old.cas) {
                    return Err(WriteOutcome::Exists);
                }
                if write.key.len() + write.value.len() + old.value.len() > self.item_bytes_max {
                    return Err(WriteOutcome::NotStored);
                }
                new.value = match mode {
                    WriteMode::Append { .. } => [&old.value[..], write.value].concat(),
                    _ => [write.value, &old.value[..]].concat(),
                };
                new.flags = old.flags;
                new.expiry = old.expiry;
            }
        }
        Ok(new)
    }

    pub(crate) fn delete(&mut self, delete: &Delete<'_>, now: Time) -> DeleteOutcome {
        self.settle(delete.key, now);
        let old = self.items.get(delete.key).cloned();
        let there = old.as_ref().map(|old| old.version).unwrap_or_default();
        let newest = there.max(self.tombstone(delete.key));
        if delete.version.is_some_and(|version| version < newest) {
            return DeleteOutcome::Superseded { version: newest };
        }
        let Some(old) = old else {
            if let Some(version) = delete.version {
                self.bury(delete.key, version);
            }
            return DeleteOutcome::NotFound;
        };
        if delete.compare.is_some_and(|cas| cas != old.cas) {
            return DeleteOutcome::Exists;
        }
        let version = delete.version.unwrap_or_else(|| self.stamp(delete.key));
        let cas = delete.cas_override;
        let item = match delete.mode {
            DeleteMode::Remove => {
                self.bury(delete.key, version);
                return DeleteOutcome::Deleted;
            }
            // The item is the same one, so it keeps its token.
            DeleteMode::DropValue => {
                NaiveItem { expiry: old.expiry, ..empty(version, cas.unwrap_or(old.cas), now) }
            }
            DeleteMode::Invalidate { touch, drop_value } => {
                let cas = cas.unwrap_or(version.0);
                let kept = if drop_value { empty(version, cas, now) } else { old.clone() };
                let expiry = touch.unwrap_or(old.expiry);
                NaiveItem { version, cas, expiry, stale: true, win_sent: false, ..kept }
            }
        };
        self.keep(delete.key, item, now);
        DeleteOutcome::Deleted
    }

    pub(crate) fn arithmetic(&mut self, op: &Arithmetic<'_>, now: Time) -> ArithmeticOutcome {
        self.settle(op.key, now);
        let Some(old) = self.items.get(op.key).cloned() else { return self.start_number(op, now) };
        if !old.value.is_empty() && op.compare.is_some_and(|cas| cas != 0 && cas != old.cas) {
            return ArithmeticOutcome::Exists;
        }
        let text = String::from_utf8_lossy(&old.value).into_owned();
        let Some(number) = text.split(' ').next().and_then(|text| text.parse::<u64>().ok()) else {
            return ArithmeticOutcome::NotANumber;
        };
        let number = match op.direction {
            Direction::Increment => number.wrapping_add(op.delta),
            Direction::Decrement => number.saturating_sub(op.delta),
        };
        let digits = number.to_string();
        let mut item = old;
        if digits.len() > item.value.len() {
            item.fetched = false;
            item.stale = false;
            item.win_sent = false;
        }
        let padding = " ".repeat(item.value.len().saturating_sub(digits.len()));
        item.value = (digits + &padding).into_bytes();
        item.last_access = now;
        item.version = self.stamp(op.key);
        item.cas = op.cas_override.unwrap_or(item.version.0);
        item.expiry = op.touch.unwrap_or(item.expiry);
        let (cas, version, expiry) = (item.cas, item.version, item.expiry);
        self.keep(op.key, item, now);
        ArithmeticOutcome::Number { number, cas, version, expiry, created: false }
    }

    fn start_number(&mut self, op: &Arithmetic<'_>, now: Time) -> ArithmeticOutcome {
        let Some((number, expiry)) = op.initial else { return ArithmeticOutcome::NotFound };
        let text = number.to_string();
        let write = Write { expiry, cas_override: op.cas_override, ..Write::set(op.key, text.as_bytes()) };
        match self.write(&write, now) {
            WriteOutcome::Stored { cas, version, .. } => {
                ArithmeticOutcome::Number { number, cas, version, expiry, created: true }
            }
            _ => ArithmeticOutcome::OutOfMemory,
        }
    }
}

/// An item with no value and no flags, as if newly set.
fn empty(version: Version, cas: u64, now: Time) -> NaiveItem {
    NaiveItem {
        value: Vec::new(),
        flags: 0,
        version,
        cas,
        expiry: Expiry::Never,
        last_access: now,
        fetched: false,
        stale: false,
        win_sent: false,
    }
}
