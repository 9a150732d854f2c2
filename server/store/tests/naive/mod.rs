//! A naive twin of the store: a map, one item a time, memcached's rules written down plainly.

use std::collections::HashMap;
use std::fmt;

use evanesce_store::{
    Arithmetic, ArithmeticOutcome, Delete, DeleteMode, DeleteOutcome, Direction, Expiry, Read, Time, Write,
    WriteMode, WriteOutcome,
};

/// An item of the twin.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NaiveItem {
    pub(crate) value: Vec<u8>,
    pub(crate) flags: u32,
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
        let NaiveItem { value, flags, cas, expiry, last_access, fetched, stale, win_sent } = self;
        let bits = (fetched, stale, win_sent);
        write!(f, "[{} bytes, flags {flags}, cas {cas}, {expiry:?}, {last_access:?}, {bits:?}]", value.len())
    }
}

/// What the twin answers to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NaiveHit {
    /// As it was before the read, but with the expiry after it.
    pub(crate) item: NaiveItem,
    pub(crate) win: bool,
}

/// The twin.
#[derive(Debug, Default)]
pub(crate) struct Naive {
    pub(crate) items: HashMap<Vec<u8>, NaiveItem>,
    pub(crate) item_bytes_max: usize,
    pub(crate) cas_last: u64,
    pub(crate) flush_pending: Option<Time>,
    pub(crate) now_max: Time,
}

fn is_past(expiry: Expiry, now: Time) -> bool {
    matches!(expiry, Expiry::At(at) if at <= now)
}

impl Naive {
    fn settle(&mut self, key: &[u8], now: Time) {
        self.now_max = self.now_max.max(now);
        if self.flush_pending.is_some_and(|at| at <= self.now_max) {
            self.flush_pending = None;
            self.items.clear();
        }
        if self.items.get(key).is_some_and(|item| is_past(item.expiry, now)) {
            self.items.remove(key);
        }
    }

    fn next_cas(&mut self, wanted: Option<u64>) -> u64 {
        wanted.unwrap_or_else(|| {
            self.cas_last += 1;
            self.cas_last
        })
    }

    pub(crate) fn flush(&mut self, at: Time) {
        self.flush_pending = Some(at);
        self.settle(&[], Time(0));
    }

    pub(crate) fn expire(&mut self, now: Time, all: bool) {
        self.settle(&[], now);
        self.items.retain(|_, item| !(all && is_past(item.expiry, now)));
    }

    pub(crate) fn read(&mut self, read: &Read<'_>, now: Time) -> Option<NaiveHit> {
        self.settle(read.key, now);
        if !self.items.contains_key(read.key) {
            return self.vivify(read, now);
        }
        let item = self.items.get_mut(read.key).expect("just looked");
        let recache = match (read.recache_below, item.expiry) {
            (Some(below), Expiry::At(at)) => u128::from(at.0 - now.0) < below.as_millis(),
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
        let item = NaiveItem {
            value: Vec::new(),
            flags: 0,
            cas: self.next_cas(read.cas_override),
            expiry,
            last_access: now,
            fetched: false,
            stale: false,
            win_sent: false,
        };
        if !is_past(expiry, now) {
            let kept = NaiveItem { win_sent: true, fetched: read.counts_as_access, ..item.clone() };
            self.items.insert(read.key.to_vec(), kept);
        }
        Some(NaiveHit { item, win: true })
    }

    pub(crate) fn write(&mut self, write: &Write<'_>, now: Time) -> WriteOutcome {
        self.settle(write.key, now);
        if write.key.len() + write.value.len() > self.item_bytes_max {
            if write.mode == WriteMode::Set && write.compare.is_none() {
                self.items.remove(write.key);
            }
            return WriteOutcome::TooLarge;
        }
        let old = self.items.get(write.key).cloned();
        let mut new = NaiveItem {
            value: write.value.to_vec(),
            flags: write.flags,
            cas: 0,
            expiry: write.expiry,
            last_access: now,
            fetched: false,
            stale: false,
            win_sent: false,
        };
        match (write.mode, old) {
            (WriteMode::Add, Some(_)) => {
                self.items.get_mut(write.key).expect("just looked").last_access = now;
                return WriteOutcome::NotStored;
            }
            (WriteMode::Add, None) => {}
            (WriteMode::Set | WriteMode::Replace, old) => match (write.compare, old) {
                (Some(_), None) => return WriteOutcome::NotFound,
                (None, None) if write.mode == WriteMode::Replace => return WriteOutcome::NotStored,
                (None, _) => {}
                (Some(compare), Some(old)) => {
                    if compare.cas == 0 || compare.cas != old.cas {
                        if !compare.invalidate || compare.cas == 0 || compare.cas > old.cas {
                            return WriteOutcome::Exists;
                        }
                        new.expiry = old.expiry;
                        new.stale = true;
                        new.win_sent = old.win_sent;
                    }
                }
            },
            (WriteMode::Append { vivify } | WriteMode::Prepend { vivify }, None) => match vivify {
                Some(expiry) => new.expiry = expiry,
                None => return WriteOutcome::NotStored,
            },
            (mode, Some(old)) => {
                if write.compare.is_some_and(|compare| compare.cas != 0 && compare.cas != old.cas) {
                    return WriteOutcome::Exists;
                }
                if write.key.len() + write.value.len() + old.value.len() > self.item_bytes_max {
                    return WriteOutcome::NotStored;
                }
                new.value = match mode {
                    WriteMode::Append { .. } => [&old.value[..], write.value].concat(),
                    _ => [write.value, &old.value[..]].concat(),
                };
                new.flags = old.flags;
                new.expiry = old.expiry;
            }
        }
        new.cas = self.next_cas(write.cas_override);
        let (cas, value_bytes) = (new.cas, new.value.len());
        if is_past(new.expiry, now) {
            self.items.remove(write.key);
        } else {
            self.items.insert(write.key.to_vec(), new);
        }
        WriteOutcome::Stored { cas, value_bytes }
    }

    pub(crate) fn delete(&mut self, delete: &Delete<'_>, now: Time) -> DeleteOutcome {
        self.settle(delete.key, now);
        let Some(old) = self.items.get(delete.key).cloned() else { return DeleteOutcome::NotFound };
        if delete.compare.is_some_and(|cas| cas != old.cas) {
            return DeleteOutcome::Exists;
        }
        let mut item = old;
        match delete.mode {
            DeleteMode::Remove => {
                self.items.remove(delete.key);
                return DeleteOutcome::Deleted;
            }
            DeleteMode::DropValue => {
                item = emptied(&item, now);
                item.cas = delete.cas_override.unwrap_or(item.cas);
            }
            DeleteMode::Invalidate { touch, drop_value } => {
                if drop_value {
                    item = emptied(&item, now);
                }
                item.stale = true;
                item.win_sent = false;
                item.expiry = touch.unwrap_or(item.expiry);
                item.cas = self.next_cas(delete.cas_override);
            }
        }
        if is_past(item.expiry, now) {
            self.items.remove(delete.key);
        } else {
            self.items.insert(delete.key.to_vec(), item);
        }
        DeleteOutcome::Deleted
    }

    pub(crate) fn arithmetic(&mut self, op: &Arithmetic<'_>, now: Time) -> ArithmeticOutcome {
        self.settle(op.key, now);
        let Some(old) = self.items.get(op.key).cloned() else {
            let Some((number, expiry)) = op.initial else { return ArithmeticOutcome::NotFound };
            let text = number.to_string();
            let mut write = Write::set(op.key, text.as_bytes());
            write.expiry = expiry;
            write.cas_override = op.cas_override;
            return match self.write(&write, now) {
                WriteOutcome::Stored { cas, .. } => {
                    ArithmeticOutcome::Number { number, cas, expiry, created: true }
                }
                _ => ArithmeticOutcome::OutOfMemory,
            };
        };
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
        item.cas = self.next_cas(op.cas_override);
        item.expiry = op.touch.unwrap_or(item.expiry);
        let (cas, expiry) = (item.cas, item.expiry);
        if is_past(expiry, now) {
            self.items.remove(op.key);
        } else {
            self.items.insert(op.key.to_vec(), item);
        }
        ArithmeticOutcome::Number { number, cas, expiry, created: false }
    }
}

/// The item with no value and no flags, as if newly set.
fn emptied(item: &NaiveItem, now: Time) -> NaiveItem {
    NaiveItem {
        value: Vec::new(),
        flags: 0,
        cas: item.cas,
        expiry: item.expiry,
        last_access: now,
        fetched: false,
        stale: false,
        win_sent: false,
    }
}
