//! Threads on one full store: no wrong value, no lost count, no more memory than allowed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use evanesce_store::{
    Arithmetic, ArithmeticOutcome, Delete, DeleteMode, Direction, Expiry, Hit, Lookup, NamespaceConfig, Read,
    Store, StoreConfig, Time, Value, Version, Write, WriteMode, WriteOutcome,
};

use crate::kit::{NOW, Random, assert_within, config, delete, store};

/// Sanitizers and Miri take many times as long: they set a number of their own.
fn steps() -> u64 {
    let given = std::env::var("EVANESCE_STRESS_STEPS").ok().and_then(|steps| steps.parse().ok());
    given.unwrap_or(if cfg!(miri) { 150 } else { 25_000 })
}

const THREADS: u64 = if cfg!(miri) { 2 } else { 4 };
const MEMORY: usize = if cfg!(miri) { 512 << 10 } else { 6 << 20 };
const ITEM_MAX: usize = MEMORY / 16;
const KEYS: u64 = if cfg!(miri) { 60 } else { 6_000 };

/// The key of this number: of one of four namespaces.
fn text(key: u64) -> String {
    format!("{}{key}", ["", "a:", "b:", "c:"][(key % 4) as usize])
}

fn byte(key: u64) -> u8 {
    (key % 251) as u8
}

/// What one thread does, and what it keeps.
struct Worker<'a> {
    store: &'a Store,
    random: Random,
    /// Values that it has pinned, and whose they are.
    kept: Vec<(u64, Vec<Bytes>)>,
    walk: Option<u64>,
    now: Time,
}

impl Worker<'_> {
    fn step(&mut self) {
        let key = self.random.below(KEYS);
        let text = text(key);
        match self.random.below(40) {
            0..=2 => self.delete(key, &text),
            3..=15 => self.write(key, &text),
            16 => {
                self.store.expire(self.now, 100);
            }
            17 => self.walk(),
            18 if self.random.below(60) == 0 => self.flush(),
            19 => self.digest(),
            20..=24 => self.batch(),
            25 => self.write_batch(),
            _ => self.read(key, &text),
        }
        if self.kept.len() > 4 {
            let at = self.random.below(self.kept.len() as u64) as usize;
            let (key, pieces) = self.kept.swap_remove(at);
            pieces.iter().for_each(|piece| right(key, piece));
        }
    }

    fn write(&mut self, key: u64, text: &str) {
        let size = match self.random.below(40) {
            0 => self.random.below(ITEM_MAX as u64 - 20),
            _ => self.random.below(ITEM_MAX as u64 / 200),
        };
        let value = vec![byte(key); size as usize];
        let lives = self.random.below(5_000);
        let mode = match self.random.below(12) {
            0 => WriteMode::Add,
            1 => WriteMode::Replace,
            2 => WriteMode::Append { vivify: None },
            3 => WriteMode::Prepend { vivify: Some(Expiry::Never) },
            _ => WriteMode::Set,
        };
        let version = Version::at(Time(self.now.0 - 50 + self.random.below(100)), 9);
        let version = (self.random.below(4) == 0).then_some(version);
        let expiry = if lives < 1_000 { Expiry::Never } else { Expiry::At(Time(self.now.0 + lives)) };
        let write = Write { expiry, mode, version, ..Write::set(text.as_bytes(), &value) };
        let outcome = self.store.write(&write, self.now);
        assert!(
            !matches!(outcome, WriteOutcome::OutOfMemory | WriteOutcome::TooLarge),
            "{size}: {outcome:?}"
        );
    }

    fn delete(&mut self, key: u64, text: &str) {
        let mode = match key % 3 {
            0 => DeleteMode::Invalidate { touch: None, drop_value: false },
            1 => DeleteMode::DropValue,
            _ => DeleteMode::Remove,
        };
        self.store.delete(&Delete { mode, ..Delete::key(text.as_bytes()) }, self.now);
    }

    fn read(&mut self, key: u64, text: &str) {
        let touch = (self.random.below(9) == 0).then_some(Expiry::At(Time(self.now.0 + 3_000)));
        let kept =
            self.store.read(&Read { touch, ..Read::key(text.as_bytes()) }, self.now, |lookup| match lookup {
                Lookup::Hit(hit) => look(key, &hit),
                Lookup::Miss => None,
            });
        self.kept.extend(kept.map(|pieces| (key, pieces)));
    }

    fn batch(&mut self) {
        let keys: Vec<u64> = (0..70).map(|_| self.random.below(KEYS)).collect();
        let texts: Vec<String> = keys.iter().map(|key| text(*key)).collect();
        let reads: Vec<_> = texts.iter().map(|text| Read::key(text.as_bytes())).collect();
        let mut visits = 0;
        self.store.read_batch(&reads, self.now, |index, lookup| {
            visits += 1;
            if let Lookup::Hit(hit) = lookup {
                look(keys[index], &hit);
            }
        });
        assert_eq!(visits, reads.len());
    }

    fn write_batch(&mut self) {
        let keys: Vec<u64> = (0..70).map(|_| self.random.below(KEYS)).collect();
        let texts: Vec<String> = keys.iter().map(|key| text(*key)).collect();
        let sizes: Vec<_> = keys.iter().map(|_| self.random.below(ITEM_MAX as u64 / 100) as usize).collect();
        let values: Vec<_> = keys.iter().zip(sizes).map(|(key, size)| vec![byte(*key); size]).collect();
        let writes: Vec<_> =
            texts.iter().zip(&values).map(|(text, value)| Write::set(text.as_bytes(), value)).collect();
        let mut stored = 0;
        self.store.write_batch(&writes, self.now, |_, outcome| {
            stored += u32::from(matches!(outcome, WriteOutcome::Stored { .. }));
        });
        assert_eq!(stored, 70);
    }

    fn walk(&mut self) {
        self.walk = self.store.walk(self.walk.unwrap_or(0), self.now, |item| {
            let name = std::str::from_utf8(item.key).expect("keys are text");
            let key =
                name.rsplit(':').next().and_then(|key| key.parse().ok()).expect("keys end with a number");
            look(key, &item.hit);
        });
    }

    fn flush(&mut self) {
        match self.random.below(4) {
            0 => self.store.flush(self.now),
            _ => assert!(self.store.flush_namespace("a", Time(self.now.0 + self.random.below(20)))),
        }
    }

    fn digest(&mut self) {
        let from = self.random.below(1 << 31) << 33;
        let digest = self.store.digest(from..=from | u64::MAX >> 7, Version(0), self.now);
        let mut tombstones = 0;
        self.store.tombstones(&(from..=from | u64::MAX >> 7), |_, _| tombstones += 1);
        assert!(digest.items <= KEYS && tombstones <= KEYS);
        let stats = self.store.namespace_stats();
        assert!(stats[3].segment_bytes <= MEMORY as u64, "{stats:?}");
        assert_within(self.store, MEMORY);
    }
}

fn right(key: u64, bytes: &[u8]) {
    let byte = byte(key);
    assert!(bytes.iter().all(|found| *found == byte), "key {key}: {} bytes are not all {byte}", bytes.len());
}

/// Checks a value; answers its pieces if it is large.
fn look(key: u64, hit: &Hit<'_>) -> Option<Vec<Bytes>> {
    match &hit.value {
        Value::Inline(value) => right(key, value),
        Value::Pinned(pieces) => {
            pieces.iter().for_each(|piece| right(key, piece));
            return Some(pieces.clone());
        }
    }
    None
}

fn full_store() -> Store {
    let named = |name: &str| NamespaceConfig { name: name.to_owned(), ..NamespaceConfig::default() };
    let guaranteed = NamespaceConfig { guarantee_bytes: MEMORY / 4, ..named("b") };
    let limited = NamespaceConfig { limit_bytes: Some(MEMORY / 3), ..named("c") };
    let namespaces = vec![named("a"), guaranteed, limited];
    Store::new(StoreConfig { namespaces, ..config(MEMORY, ITEM_MAX, 3) }).expect("the config works")
}

#[test]
fn threads_see_only_right_values_in_a_full_store() {
    let store = full_store();
    let clock = AtomicU64::new(NOW.0);
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let (store, clock) = (&store, &clock);
            scope.spawn(move || {
                // Shown when the thread fails.
                println!("thread of seed {seed}");
                let mut worker =
                    Worker { store, random: Random(seed), kept: Vec::new(), walk: None, now: NOW };
                for _ in 0..steps() / THREADS {
                    worker.now = Time(clock.fetch_add(1, Ordering::Relaxed));
                    worker.step();
                }
            });
        }
    });
    let stats = assert_within(&store, MEMORY);
    assert!(cfg!(miri) || stats.evictions > 0, "{stats:?}");
    // All that is left can be deleted, and nothing stays behind.
    let now = Time(clock.into_inner());
    (0..KEYS).for_each(|key| delete(&store, &text(key), now));
    let stats = store.stats();
    assert_eq!((stats.items, stats.item_bytes), (0, 0), "{stats:?}");
    assert!(store.namespace_stats().iter().all(|stats| stats.items == 0 && stats.item_bytes == 0));
}

#[test]
fn threads_that_write_the_largest_values_at_once_are_all_served() {
    let store = store(MEMORY, ITEM_MAX, 2);
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                println!("thread of seed {seed}");
                let mut random = Random(seed);
                for _ in 0..steps() / 100 {
                    let key = random.below(20);
                    let value = vec![byte(key); ITEM_MAX - 10];
                    let outcome = store.write(&Write::set(text(key).as_bytes(), &value), NOW);
                    assert!(matches!(outcome, WriteOutcome::Stored { .. }), "seed {seed}: {outcome:?}");
                    let key = random.below(20);
                    store.read(&Read::key(text(key).as_bytes()), NOW, |lookup| {
                        if let Lookup::Hit(hit) = lookup {
                            look(key, &hit);
                        }
                    });
                }
            });
        }
    });
    assert_within(&store, MEMORY);
}

#[test]
fn threads_lose_no_increment() {
    let store = store(MEMORY, ITEM_MAX, 3);
    store.write(&Write::set(b"n", b"0"), NOW);
    let op = Arithmetic {
        key: b"n",
        direction: Direction::Increment,
        delta: 1,
        initial: None,
        touch: None,
        compare: None,
        cas_override: None,

        decides: None,
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..steps() {
                    store.arithmetic(&op, NOW);
                }
            });
        }
    });
    let last = store.arithmetic(&Arithmetic { delta: 0, ..op }, NOW);
    assert!(matches!(last, ArithmeticOutcome::Number { number, .. } if number == 2 * steps()), "{last:?}");
}
