//! The store and its twin, side by side: every operation is put to both.

use std::time::Duration;

use evanesce_store::{
    Arithmetic, ArithmeticOutcome, Compare, Delete, DeleteMode, DeleteOutcome, Direction, Expiry, Hit,
    Lookup, NamespaceConfig, Read, Store, StoreConfig, Time, Version, Write, WriteMode, WriteOutcome,
};
use proptest::prelude::{prop_assert, prop_assert_eq};
use proptest::test_runner::TestCaseError;

use super::naive::{Naive, NaiveHit, NaiveItem, namespace};
use super::ops::{Del, Mode, Op, Stamp, Token, Ttl, WriteOp};
use crate::kit::{NOW, config};

/// The namespaces of the model, the default one first.
const NAMESPACES: [&str; 4] = ["default", "a", "b", "c"];

/// The store, its twin and the clock.
pub(crate) struct Both {
    pub(crate) store: Store,
    naive: Naive,
    now: Time,
    /// The store may have lost items to eviction.
    evicts: bool,
    /// Hits and misses that lookups had, by namespace.
    lookups: [(u64, u64); 4],
}

/// What an operation of the store says of versions.
trait Outcome: PartialEq + std::fmt::Debug {
    fn version(&self) -> Option<Version>;
    fn is_superseded(&self) -> bool {
        false
    }
}

impl Outcome for WriteOutcome {
    fn version(&self) -> Option<Version> {
        match self {
            WriteOutcome::Stored { version, .. } | WriteOutcome::Superseded { version } => Some(*version),
            _ => None,
        }
    }

    fn is_superseded(&self) -> bool {
        matches!(self, WriteOutcome::Superseded { .. })
    }
}

impl Outcome for DeleteOutcome {
    fn version(&self) -> Option<Version> {
        None
    }
}

impl Outcome for ArithmeticOutcome {
    fn version(&self) -> Option<Version> {
        match self {
            ArithmeticOutcome::Number { version, .. } => Some(*version),
            _ => None,
        }
    }
}

impl Both {
    pub(crate) fn new(memory_bytes: usize, item_bytes_max: usize, shards: usize, evicts: bool) -> Both {
        let named = |name: &str| NamespaceConfig { name: name.to_owned(), ..NamespaceConfig::default() };
        let guaranteed = NamespaceConfig { guarantee_bytes: memory_bytes / 4, ..named("b") };
        let limited = NamespaceConfig { limit_bytes: Some(memory_bytes / 2), ..named("c") };
        let namespaces = vec![named("a"), guaranteed, limited];
        let config = StoreConfig { namespaces, ..config(memory_bytes, item_bytes_max, shards) };
        let store = Store::new(config).expect("the config works");
        Both { store, naive: Naive::new(item_bytes_max), now: NOW, evicts, lookups: [(0, 0); 4] }
    }

    fn at(&self, ttl: Ttl) -> Expiry {
        ttl.map_or(Expiry::Never, |ms| Expiry::At(Time(self.now.0.saturating_add_signed(ms.into()))))
    }

    fn token(&self, key: &[u8], token: Token) -> u64 {
        match token {
            Token::Near(by) => {
                self.naive.items.get(key).map_or(0, |item| item.cas).wrapping_add_signed(by.into())
            }
            Token::Number(number) => number,
        }
    }

    fn version(&self, stamp: Stamp) -> Version {
        let half = (self.now.0 / 500).saturating_add_signed(stamp.halves.into());
        Version::at(Time(half * 500), stamp.writer)
    }

    pub(crate) fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::Clock { by_ms } => self.now = Time(self.now.0.saturating_add_signed((*by_ms).into())),
            Op::Expire { items_max } => {
                self.store.expire(self.now, *items_max);
                self.naive.settle(&[], self.now);
            }
            Op::Flush { namespace, in_ms } => {
                let at = Time(self.now.0.saturating_add_signed((*in_ms).into()));
                match namespace {
                    Some(index) => {
                        prop_assert!(self.store.flush_namespace(NAMESPACES[usize::from(*index)], at));
                    }
                    None => self.store.flush(at),
                }
                self.naive.flush(namespace.map(usize::from), at);
            }
            Op::Walk => self.walk()?,
            Op::Read { key, .. } => self.read(&key_of(*key), op)?,
            Op::Write(write) => self.write(&key_of(write.key), write)?,
            Op::SetNumber { key, text } => {
                let key = key_of(*key);
                self.put(&Write::set(&key, text.as_bytes()))?;
            }
            Op::Delete { key, .. } => self.delete(&key_of(*key), op)?,
            Op::Arithmetic { key, .. } => self.arithmetic(&key_of(*key), op)?,
        }
        self.accounts_agree()
    }

    /// Tells the twin what the store dropped by itself, so that the next operation finds both alike: what was evicted,
    /// and what was found expired before the clock was set back.
    fn notice_drops(&mut self, key: &[u8]) {
        self.naive.settle(key, self.now);
        let may_drop = |item: &NaiveItem| {
            self.evicts || matches!(item.expiry, Expiry::At(at) if at <= self.naive.now_max)
        };
        let may_drop = self.naive.items.get(key).is_some_and(may_drop);
        if may_drop && self.peek(key).is_none() {
            self.naive.items.remove(key);
        }
        self.naive.floor = self.store.floor(self.store.hash(key));
    }

    /// Looks without leaving a trace, but among the counts.
    fn peek(&mut self, key: &[u8]) -> Option<NaiveHit> {
        let look = Read { counts_as_access: false, ..Read::key(key) };
        let found = self.store.read(&look, self.now, seen);
        self.count_lookup(key, found.is_some());
        found
    }

    fn count_lookup(&mut self, key: &[u8], hit: bool) {
        let (hits, misses) = &mut self.lookups[namespace(key)];
        *(if hit { hits } else { misses }) += 1;
    }

    /// The version of the key's delete, as the store remembers it.
    fn tombstone(&self, key: &[u8]) -> Option<Version> {
        let hash = self.store.hash(key);
        let mut found = None;
        self.store.tombstones(&(hash..=hash), |of, version| {
            assert_eq!(of, hash, "a tombstone out of the range");
            found = found.max(Some(version));
        });
        found
    }

    /// The twin answers the same, and is left with the same; or would if the key had been evicted to make room for this
    /// very operation.
    fn agree<R: Outcome>(
        &mut self,
        key: &[u8],
        found: &R,
        mut operation: impl FnMut(&mut Naive, Time) -> R,
    ) -> Result<(), TestCaseError> {
        let left = self.peek(key);
        let (version, buried) = (left.as_ref().map(|hit| hit.item.version), self.tombstone(key));
        self.naive.told = found.version().or(version).or(buried);
        self.naive.superseded = found.is_superseded();
        let (old, known) = (self.naive.items.get(key).cloned(), self.naive.known(key));
        let mut expected = (operation(&mut self.naive, self.now), self.shown(key));
        let first = format!("{expected:?}, {old:?}, {known:?}, at {:?}", self.now);
        if self.evicts && (found, &left) != (&expected.0, &expected.1) && old.is_some() {
            self.naive.items.remove(key);
            self.naive.recall(key, known);
            expected = (operation(&mut self.naive, self.now), self.shown(key));
        }
        prop_assert_eq!(found, &expected.0, "with the key there: {}", first);
        prop_assert_eq!(&left, &expected.1, "with the key there: {}", first);
        self.buried_alike(key)
    }

    /// What a look at the twin's item shows.
    fn shown(&self, key: &[u8]) -> Option<NaiveHit> {
        self.naive.items.get(key).cloned().map(|item| in_seconds(NaiveHit { item, win: false }))
    }

    /// Both remember the same delete of the key, unless the store had to drop it and says so by its floor.
    fn buried_alike(&mut self, key: &[u8]) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.naive.fault.take(), None);
        let (known, found) = (self.naive.tombstones.get(key).copied(), self.tombstone(key));
        if found.is_none() && known.is_some_and(|known| known <= self.store.floor(self.store.hash(key))) {
            self.naive.tombstones.remove(key);
            return Ok(());
        }
        prop_assert_eq!(found, known, "delete of {:?}", String::from_utf8_lossy(key));
        Ok(())
    }

    fn read(&mut self, key: &[u8], op: &Op) -> Result<(), TestCaseError> {
        let Op::Read { touch, vivify, recache, late, may_win, counts, .. } = op else { return Ok(()) };
        self.notice_drops(key);
        let read = Read {
            key,
            touch: touch.map(|ttl| self.at(ttl)),
            vivify: vivify.map(|ttl| self.at(ttl)),
            cas_override: None,
            recache_below: recache.map(|ms| Duration::from_millis(ms.into())),
            recache_after_touch: *late,
            may_win: *may_win,
            counts_as_access: *counts,
        };
        let there = self.naive.items.contains_key(key);
        let found = self.store.read(&read, self.now, seen);
        self.count_lookup(key, found.is_some() && (there || vivify.is_none()));
        self.naive.told = found.as_ref().map(|hit| hit.item.version);
        let expected = self.naive.read(&read, self.now).map(in_seconds);
        prop_assert_eq!(found, expected);
        self.buried_alike(key)
    }

    fn put(&mut self, write: &Write<'_>) -> Result<(), TestCaseError> {
        self.notice_drops(write.key);
        let found = self.store.write(write, self.now);
        self.agree(write.key, &found, |naive, now| naive.write(write, now))
    }

    fn write(&mut self, key: &[u8], op: &WriteOp) -> Result<(), TestCaseError> {
        let value = vec![b'a' + (op.size % 26) as u8; op.size];
        let vivify = |ttl: Option<Ttl>| ttl.map(|ttl| self.at(ttl));
        let mode = match op.mode {
            Mode::Set => WriteMode::Set,
            Mode::Add => WriteMode::Add,
            Mode::Replace => WriteMode::Replace,
            Mode::Append(ttl) => WriteMode::Append { vivify: vivify(ttl) },
            Mode::Prepend(ttl) => WriteMode::Prepend { vivify: vivify(ttl) },
        };
        let compare =
            op.compare.map(|(token, invalidate)| Compare { cas: self.token(key, token), invalidate });
        self.put(&Write {
            key,
            value: &value,
            flags: op.flags,
            expiry: self.at(op.ttl),
            mode,
            compare,
            cas_override: op.cas,

            decides: None,
            version: op.version.map(|stamp| self.version(stamp)),
            repair: op.repair,
        })
    }

    fn delete(&mut self, key: &[u8], op: &Op) -> Result<(), TestCaseError> {
        let Op::Delete { mode, compare, cas, version, .. } = op else { return Ok(()) };
        self.notice_drops(key);
        let mode = match *mode {
            Del::Remove => DeleteMode::Remove,
            Del::DropValue => DeleteMode::DropValue,
            Del::Invalidate(touch, drop_value) => {
                DeleteMode::Invalidate { touch: touch.map(|ttl| self.at(ttl)), drop_value }
            }
        };
        let compare = compare.map(|token| self.token(key, token));
        let version = version.map(|stamp| self.version(stamp));
        let delete = Delete { key, mode, compare, cas_override: *cas, version, remember: false };
        let found = self.store.delete(&delete, self.now);
        self.agree(key, &found, |naive, now| naive.delete(&delete, now))
    }

    fn arithmetic(&mut self, key: &[u8], op: &Op) -> Result<(), TestCaseError> {
        let Op::Arithmetic { up, delta, initial, touch, compare, .. } = op else { return Ok(()) };
        self.notice_drops(key);
        let arithmetic = Arithmetic {
            key,
            direction: if *up { Direction::Increment } else { Direction::Decrement },
            delta: *delta,
            initial: initial.map(|(number, ttl)| (number, self.at(ttl))),
            touch: touch.map(|ttl| self.at(ttl)),
            compare: compare.map(|token| self.token(key, token)),
            cas_override: None,
            decides: None,
        };
        let found = self.store.arithmetic(&arithmetic, self.now);
        self.agree(key, &found, |naive, now| naive.arithmetic(&arithmetic, now))
    }

    /// The namespaces' accounts add up to the store's, and the budget holds.
    fn accounts_agree(&self) -> Result<(), TestCaseError> {
        let (stats, namespaces) = (self.store.stats(), self.store.namespace_stats());
        prop_assert!(stats.bytes <= stats.limit_bytes, "{stats:?}");
        prop_assert_eq!(namespaces.iter().map(|stats| stats.items).sum::<u64>(), stats.items);
        prop_assert_eq!(namespaces.iter().map(|stats| stats.item_bytes).sum::<u64>(), stats.item_bytes);
        prop_assert_eq!(namespaces.iter().map(|stats| stats.evictions).sum::<u64>(), stats.evictions);
        for (index, stats) in namespaces.iter().enumerate() {
            prop_assert_eq!(&stats.name, NAMESPACES[index]);
            prop_assert_eq!((stats.hits, stats.misses), self.lookups[index], "{}", stats.name);
        }
        Ok(())
    }

    /// A walk visits the twin's items, each once, in the order of their hashes, and all that the twin has if nothing
    /// was dropped; the digest counts the same.
    fn walk(&mut self) -> Result<(), TestCaseError> {
        self.naive.settle(&[], self.now);
        let mut walked: Vec<(u64, Vec<u8>, NaiveHit)> = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.store.walk(from, self.now, |item| {
                walked.push((item.hash, item.key.to_vec(), seen_hit(&item.hit)));
            });
        }
        prop_assert!(walked.is_sorted_by(|(one, ..), (other, ..)| one < other), "in order, and none twice");
        let digest = self.store.digest(0..=u64::MAX, Version(0), self.now);
        prop_assert_eq!(digest.items, walked.len() as u64);
        for (hash, key, hit) in &walked {
            prop_assert_eq!(*hash, self.store.hash(key));
            let item = self.shown(key);
            prop_assert_eq!(Some(hit), item.as_ref());
        }
        let is_sure = |item: &NaiveItem| match item.expiry {
            Expiry::Never => !self.evicts,
            Expiry::At(at) => !self.evicts && at > self.naive.now_max,
        };
        for (key, _) in self.naive.items.iter().filter(|(_, item)| is_sure(item)) {
            prop_assert!(walked.iter().any(|(_, other, _)| other == key), "walk left {key:?} out");
        }
        Ok(())
    }

    /// All of the twin's items are there, all of them right, and nothing else is.
    pub(crate) fn compare_all(&mut self, keys: u8) -> Result<(), TestCaseError> {
        self.walk()?;
        for key in (0..keys).map(key_of) {
            self.notice_drops(&key);
            let found = self.peek(&key);
            prop_assert_eq!(found, self.shown(&key));
        }
        for (index, stats) in self.store.namespace_stats().iter().enumerate() {
            let items = self.naive.items.keys().filter(|key| namespace(key) == index).count() as u64;
            prop_assert_eq!(stats.items, items, "of {}", &stats.name);
        }
        self.accounts_agree()
    }
}

/// Keys of several lengths and namespaces.
fn key_of(key: u8) -> Vec<u8> {
    let name = ["", "a:", "b:", "c:"][usize::from(key % 4)];
    format!("{name}{key}{}", "k".repeat(usize::from(key) % 7)).into_bytes()
}

/// The store keeps last accesses in seconds.
fn in_seconds(mut hit: NaiveHit) -> NaiveHit {
    hit.item.last_access = Time(hit.item.last_access.0 / 1000 * 1000);
    hit
}

fn seen(lookup: Lookup<'_>) -> Option<NaiveHit> {
    let Lookup::Hit(hit) = lookup else { return None };
    Some(seen_hit(&hit))
}

fn seen_hit(hit: &Hit<'_>) -> NaiveHit {
    let item = NaiveItem {
        value: hit.value.contiguous().into_owned(),
        flags: hit.flags,
        version: hit.version,
        cas: hit.cas,
        expiry: hit.expiry,
        last_access: hit.last_access,
        fetched: hit.hit_before,
        stale: hit.stale,
        win_sent: hit.win_sent,
    };
    NaiveHit { item, win: hit.win }
}
