//! The store against a naive twin: any sequence of operations, at any times, gives the same answers.

mod naive;

use std::num::NonZeroUsize;
use std::time::Duration;

use evanesce_store::{
    Arithmetic, Compare, Delete, DeleteMode, Direction, Expiry, Lookup, Read, Store, StoreConfig, Time,
    Write, WriteMode,
};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;

use naive::{Naive, NaiveHit, NaiveItem};

/// One operation, with times relative to its `now`.
#[derive(Debug, Clone)]
enum Op {
    Read {
        key: u8,
        touch: Option<Ttl>,
        vivify: Option<Ttl>,
        recache: Option<u16>,
        may_win: bool,
        counts: bool,
    },
    Write {
        key: u8,
        size: usize,
        flags: u32,
        ttl: Ttl,
        mode: Mode,
        compare: Option<(u64, bool)>,
        cas: Option<u64>,
    },
    Delete {
        key: u8,
        mode: Del,
        compare: Option<u64>,
        cas: Option<u64>,
    },
    Arithmetic {
        key: u8,
        up: bool,
        delta: u64,
        initial: Option<(u64, Ttl)>,
        touch: Option<Ttl>,
        compare: Option<u64>,
    },
    SetNumber {
        key: u8,
        text: &'static str,
    },
    Flush {
        in_ms: i32,
    },
    Expire {
        items_max: usize,
    },
    Clock {
        by_ms: i32,
    },
}

/// Milliseconds from now, maybe past; or never.
type Ttl = Option<i16>;

#[derive(Debug, Clone, Copy)]
enum Mode {
    Set,
    Add,
    Replace,
    Append(Option<Ttl>),
    Prepend(Option<Ttl>),
}

#[derive(Debug, Clone, Copy)]
enum Del {
    Remove,
    DropValue,
    Invalidate(Option<Ttl>, bool),
}

/// Tokens that are likely to match: the twin's are small.
fn cas() -> impl Strategy<Value = u64> {
    0u64..40
}

fn ttl() -> impl Strategy<Value = Ttl> {
    prop_oneof![3 => Just(None), 1 => (-100i16..3000).prop_map(Some)]
}

fn maybe<S: Strategy>(strategy: S) -> impl Strategy<Value = Option<S::Value>>
where
    S::Value: Clone,
{
    prop::option::weighted(0.25, strategy)
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        4 => Just(Mode::Set),
        1 => Just(Mode::Add),
        1 => Just(Mode::Replace),
        1 => maybe(ttl()).prop_map(Mode::Append),
        1 => maybe(ttl()).prop_map(Mode::Prepend),
    ]
}

fn del() -> impl Strategy<Value = Del> {
    prop_oneof![
        Just(Del::Remove),
        Just(Del::DropValue),
        (maybe(ttl()), any::<bool>()).prop_map(|(touch, drop)| Del::Invalidate(touch, drop)),
    ]
}

fn op(keys: u8, size: impl Strategy<Value = usize> + 'static) -> impl Strategy<Value = Op> {
    let key = move || 0..keys;
    let numbers = ["0", "9", "10", "99 ", "18446744073709551615", "x", "", "7 7"];
    prop_oneof![
        8 => (key(), maybe(ttl()), maybe(ttl()), maybe(0u16..3000), any::<bool>(), any::<bool>())
            .prop_map(|(key, touch, vivify, recache, may_win, counts)| {
                Op::Read { key, touch, vivify, recache, may_win, counts }
            }),
        8 => (key(), size, 0u32..3, ttl(), mode(), maybe((cas(), any::<bool>())), maybe(cas()))
            .prop_map(|(key, size, flags, ttl, mode, compare, cas)| {
                Op::Write { key, size, flags, ttl, mode, compare, cas }
            }),
        3 => (key(), del(), maybe(cas()), maybe(cas()))
            .prop_map(|(key, mode, compare, cas)| Op::Delete { key, mode, compare, cas }),
        2 => (key(), any::<bool>(), 0u64..200, maybe((0u64..200, ttl())), maybe(ttl()), maybe(cas()))
            .prop_map(|(key, up, delta, initial, touch, compare)| {
                Op::Arithmetic { key, up, delta, initial, touch, compare }
            }),
        2 => (key(), prop::sample::select(numbers.to_vec())).prop_map(|(key, text)| Op::SetNumber { key, text }),
        1 => (-500i32..2000).prop_map(|in_ms| Op::Flush { in_ms }),
        1 => (0usize..50).prop_map(|items_max| Op::Expire { items_max }),
        3 => (-500i32..1500).prop_map(|by_ms| Op::Clock { by_ms }),
    ]
}

/// The store, its twin and the clock.
struct Both {
    store: Store,
    naive: Naive,
    now: Time,
    /// The store may have lost items to eviction.
    evicts: bool,
}

impl Both {
    fn new(memory_bytes: usize, item_bytes_max: usize, shards: usize, evicts: bool) -> Both {
        let shards = NonZeroUsize::new(shards).expect("tests have shards");
        let store =
            Store::new(StoreConfig { memory_bytes, item_bytes_max, shards }).expect("the config works");
        let naive = Naive { item_bytes_max, ..Naive::default() };
        Both { store, naive, now: Time(1_000_000), evicts }
    }

    fn at(&self, ttl: Ttl) -> Expiry {
        ttl.map_or(Expiry::Never, |ms| Expiry::At(Time(self.now.0.saturating_add_signed(ms.into()))))
    }

    /// Tells the twin what was evicted, so that the next operation finds both alike.
    fn notice_eviction(&mut self, key: &[u8]) {
        let look = Read { counts_as_access: false, ..Read::key(key) };
        if self.evicts && self.store.read(&look, self.now, |lookup| matches!(lookup, Lookup::Miss)) {
            self.naive.items.remove(key);
        }
    }

    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::Clock { by_ms } => self.now = Time(self.now.0.saturating_add_signed((*by_ms).into())),
            Op::Expire { items_max } => {
                // The clock may be set back, so what a bounded step leaves could come alive again: then
                // the twin finds out as if it had been evicted.
                self.store.expire(self.now, if self.evicts { *items_max } else { usize::MAX });
                self.naive.expire(self.now, !self.evicts);
            }
            Op::Flush { in_ms } => {
                let at = Time(self.now.0.saturating_add_signed((*in_ms).into()));
                self.store.flush(at);
                self.naive.flush(at);
            }
            Op::Read { key, .. } => {
                let key = key_of(*key);
                self.notice_eviction(&key);
                self.read(&key, op)?;
            }
            Op::Write { key, .. } | Op::SetNumber { key, .. } => {
                let key = key_of(*key);
                self.notice_eviction(&key);
                self.write(&key, op)?;
            }
            Op::Delete { key, mode, compare, cas } => {
                let key = key_of(*key);
                self.notice_eviction(&key);
                let mode = match *mode {
                    Del::Remove => DeleteMode::Remove,
                    Del::DropValue => DeleteMode::DropValue,
                    Del::Invalidate(touch, drop_value) => {
                        DeleteMode::Invalidate { touch: touch.map(|ttl| self.at(ttl)), drop_value }
                    }
                };
                let delete = Delete { key: &key, mode, compare: *compare, cas_override: *cas };
                let found = self.store.delete(&delete, self.now);
                self.agree(&key, &found, |naive, now| naive.delete(&delete, now))?;
            }
            Op::Arithmetic { key, .. } => {
                let key = key_of(*key);
                self.notice_eviction(&key);
                self.arithmetic(&key, op)?;
            }
        }
        let stats = self.store.stats();
        prop_assert!(stats.bytes <= stats.limit_bytes, "{stats:?}");
        Ok(())
    }

    /// The twin answers the same; or would if the key had been evicted to make room for this very operation.
    fn agree<R: PartialEq + std::fmt::Debug>(
        &mut self,
        key: &[u8],
        found: &R,
        mut operation: impl FnMut(&mut Naive, Time) -> R,
    ) -> Result<(), TestCaseError> {
        let (old, cas_last) = (self.naive.items.get(key).cloned(), self.naive.cas_last);
        let mut expected = operation(&mut self.naive, self.now);
        let first = format!("{expected:?}, {old:?}, at {:?}", self.now);
        if self.evicts && *found != expected && old.is_some() {
            self.naive.items.remove(key);
            self.naive.cas_last = cas_last;
            expected = operation(&mut self.naive, self.now);
        }
        prop_assert_eq!(found, &expected, "with the key there: {}", first);
        Ok(())
    }

    fn read(&mut self, key: &[u8], op: &Op) -> Result<(), TestCaseError> {
        let Op::Read { touch, vivify, recache, may_win, counts, .. } = op else { return Ok(()) };
        let read = Read {
            key,
            touch: touch.map(|ttl| self.at(ttl)),
            vivify: vivify.map(|ttl| self.at(ttl)),
            cas_override: None,
            recache_below: recache.map(|ms| Duration::from_millis(ms.into())),
            may_win: *may_win,
            counts_as_access: *counts,
        };
        let expected = self.naive.read(&read, self.now).map(in_seconds);
        let found = self.store.read(&read, self.now, seen);
        prop_assert_eq!(found, expected);
        Ok(())
    }

    fn write(&mut self, key: &[u8], op: &Op) -> Result<(), TestCaseError> {
        let value;
        let write = match op {
            Op::SetNumber { text, .. } => Write::set(key, text.as_bytes()),
            Op::Write { size, flags, ttl, mode, compare, cas, .. } => {
                value = vec![b'a' + (*size % 26) as u8; *size];
                let vivify = |ttl: Option<Ttl>| ttl.map(|ttl| self.at(ttl));
                let mode = match *mode {
                    Mode::Set => WriteMode::Set,
                    Mode::Add => WriteMode::Add,
                    Mode::Replace => WriteMode::Replace,
                    Mode::Append(ttl) => WriteMode::Append { vivify: vivify(ttl) },
                    Mode::Prepend(ttl) => WriteMode::Prepend { vivify: vivify(ttl) },
                };
                Write {
                    key,
                    value: &value,
                    flags: *flags,
                    expiry: self.at(*ttl),
                    mode,
                    compare: compare.map(|(cas, invalidate)| Compare { cas, invalidate }),
                    cas_override: *cas,
                }
            }
            _ => return Ok(()),
        };
        let found = self.store.write(&write, self.now);
        self.agree(key, &found, |naive, now| naive.write(&write, now))
    }

    fn arithmetic(&mut self, key: &[u8], op: &Op) -> Result<(), TestCaseError> {
        let Op::Arithmetic { up, delta, initial, touch, compare, .. } = op else { return Ok(()) };
        let arithmetic = Arithmetic {
            key,
            direction: if *up { Direction::Increment } else { Direction::Decrement },
            delta: *delta,
            initial: initial.map(|(number, ttl)| (number, self.at(ttl))),
            touch: touch.map(|ttl| self.at(ttl)),
            compare: *compare,
            cas_override: None,
        };
        let found = self.store.arithmetic(&arithmetic, self.now);
        self.agree(key, &found, |naive, now| naive.arithmetic(&arithmetic, now))
    }

    /// All of the twin's items are there, all of them right.
    fn compare_all(&mut self) -> Result<(), TestCaseError> {
        let keys: Vec<_> = self.naive.items.keys().cloned().collect();
        let reads: Vec<_> = keys.iter().map(|key| Read::key(key)).collect();
        let mut found = Vec::new();
        self.store.read_batch(&reads, self.now, |index, lookup| found.push((index, seen(lookup))));
        for (at, (read, (index, hit))) in reads.iter().zip(found).enumerate() {
            prop_assert_eq!(at, index);
            let expected = self.naive.read(read, self.now).map(in_seconds);
            if !(self.evicts && hit.is_none()) {
                prop_assert_eq!(hit, expected);
            }
        }
        Ok(())
    }
}

fn key_of(key: u8) -> Vec<u8> {
    // Keys of several lengths.
    format!("{key}{}", "k".repeat(usize::from(key) % 7)).into_bytes()
}

/// The store keeps last accesses in seconds.
fn in_seconds(mut hit: NaiveHit) -> NaiveHit {
    hit.item.last_access = Time(hit.item.last_access.0 / 1000 * 1000);
    hit
}

fn seen(lookup: Lookup<'_>) -> Option<NaiveHit> {
    let Lookup::Hit(hit) = lookup else { return None };
    let item = NaiveItem {
        value: hit.value.contiguous().into_owned(),
        flags: hit.flags,
        cas: hit.cas,
        expiry: hit.expiry,
        last_access: hit.last_access,
        fetched: hit.hit_before,
        stale: hit.stale,
        win_sent: hit.win_sent,
    };
    Some(NaiveHit { item, win: hit.win })
}

proptest! {
    #[test]
    fn store_agrees_with_its_twin_when_all_fits(
        ops in prop::collection::vec(op(6, prop_oneof![4 => 0usize..200, 1 => 0usize..210_000]), 1..300),
        shards in 1usize..4,
    ) {
        let mut both = Both::new(8 << 20, 200_000, shards, false);
        for op in &ops {
            both.apply(op)?;
        }
        both.compare_all()?;
        prop_assert_eq!(both.store.stats().evictions, 0);
    }

    #[test]
    fn evicting_store_never_answers_what_its_twin_would_not(
        ops in prop::collection::vec(op(200, prop_oneof![4 => 0usize..4000, 1 => 0usize..60_000]), 1..600),
        shards in 1usize..4,
    ) {
        let mut both = Both::new(256 << 10, 60_000, shards, true);
        for op in &ops {
            both.apply(op)?;
        }
        both.compare_all()?;
    }
}
