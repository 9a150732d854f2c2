//! Crashes at every point at which a memory file may be left.
//!
//! A crash is a copy of the file, made in the middle of an operation at one of the points between which the compiler
//! may order stores as it likes. What lies between two points is made worse than any compiler could: the item that is
//! being changed and whatever is not said to be used are overwritten with noise.

mod golden;
mod slots;

use std::cell::RefCell;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::open::{Fixed, boot};
use super::{Change, Ledger};
use crate::arena::Cells;
use crate::{
    Arithmetic, Checked, Delete, Direction, Expiry, Lookup, NamespaceConfig, Read, Start, Store, StoreConfig,
    Time, Version, Warm, Write, WriteOutcome,
};

/// Some instant after the beginning of versions.
const NOW: Time = Time(1_800_000_000_000);
/// Keys that are written and read.
const KEYS: u64 = 120;

thread_local! {
    /// After how many points the file is copied from where to where.
    static CRASH: RefCell<Option<(u64, PathBuf, PathBuf)>> = const { RefCell::new(None) };
}

/// Called wherever the compiler is kept from moving stores.
pub(super) fn may_crash() {
    CRASH.with_borrow_mut(|crash| match crash {
        Some((0, from, to)) => {
            std::fs::copy(from, to).unwrap();
            *crash = None;
        }
        Some((left, ..)) => *left -= 1,
        None => {}
    });
}

/// A small generator of its own, so that a failure repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn config(path: &Path, memory_bytes: usize) -> StoreConfig {
    let user = NamespaceConfig {
        name: "user".to_owned(),
        limit_bytes: Some(memory_bytes / 4),
        ..Default::default()
    };
    StoreConfig {
        memory_bytes,
        item_bytes_max: memory_bytes / 8,
        shards: NonZeroUsize::new(2).unwrap(),
        namespaces: vec![user],
        memory_file: Some(path.to_owned()),
        ..StoreConfig::default()
    }
}

fn warm(store: &Store) -> Warm {
    match store.start() {
        Start::Warm(warm) => *warm,
        cold => panic!("{cold:?}"),
    }
}

fn get(store: &Store, key: &str, now: Time) -> Option<Vec<u8>> {
    store.read(&Read::key(key.as_bytes()), now, |lookup| match lookup {
        Lookup::Hit(hit) => Some(hit.value.contiguous().into_owned()),
        Lookup::Miss => None,
    })
}

/// What a key may hold: what was acknowledged last, and what is under way.
#[derive(Debug, Default, Clone)]
struct Expected {
    now: Option<Vec<u8>>,
    version: Version,
    /// The last that happened to it was a delete of that version.
    deleted: bool,
}

fn key(number: u64) -> String {
    if number.is_multiple_of(4) { format!("user:{number}") } else { format!("key{number}") }
}

/// One operation on a key; answers what it holds then.
fn act(store: &Store, random: &mut Random, name: &str, was: &Expected, now: Time) -> Expected {
    let key = name.as_bytes();
    let bytes = match random.below(8) {
        0 => 4_000 + random.below(20_000),
        1 | 2 => 600 + random.below(2_000),
        _ => random.below(60),
    };
    let value = vec![random.below(256) as u8; bytes as usize];
    let stamp = Version::at(now, 3);
    let version = Some(stamp);
    match random.below(10) {
        0 => {
            store.delete(&Delete { version, ..Delete::key(key) }, now);
            Expected { now: None, version: stamp, deleted: true }
        }
        1 => {
            store.delete(&Delete::key(key), now);
            Expected { now: None, ..*was }
        }
        2 => {
            let touch =
                if random.below(2) == 0 { Expiry::Never } else { Expiry::At(Time(now.0 + 1_000_000)) };
            store.read(&Read { touch: Some(touch), ..Read::key(key) }, now, |_| ());
            was.clone()
        }
        3 => {
            store.write(&Write { version, ..Write::set(key, b"5") }, now);
            let op = Arithmetic {
                key,
                direction: Direction::Increment,
                delta: 2,
                initial: None,
                compare: None,
                touch: None,
                cas_override: None,
                decides: None,
            };
            store.arithmetic(&op, now);
            Expected { now: Some(b"7".to_vec()), version: stamp, deleted: false }
        }
        4 => {
            // As long as before: written over where it lies.
            let value = vec![random.below(256) as u8; was.now.as_ref().map_or(9, Vec::len)];
            store.write(&Write::set(key, &value), now);
            Expected { now: Some(value), version: was.version, deleted: false }
        }
        flagged => {
            let flags = u32::from(flagged == 5) * 77;
            let outcome = store.write(&Write { version, flags, ..Write::set(key, &value) }, now);
            assert!(matches!(outcome, WriteOutcome::Stored { .. }), "{outcome:?}");
            Expected { now: Some(value), version: stamp, deleted: false }
        }
    }
}

/// Overwrites what a crash may leave in any state.
fn scramble(path: &Path, random: &mut Random) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut header = [0; 4096];
    file.read_exact_at(&mut header, 0).unwrap();
    let geometry = Fixed::read(&header).unwrap().geometry;
    let cells = memmap2::MmapOptions::new().len(geometry.ledger_bytes()).map_raw(&file).unwrap();
    let ledger = Ledger::new(Cells::new(cells), geometry, file.try_clone().unwrap());
    let mut noise = |at: usize, bytes: usize| {
        let noise = random.below(u64::MAX).to_le_bytes().repeat(bytes.div_ceil(8));
        let noise = &noise[..bytes];
        file.write_all_at(noise, (geometry.ledger_bytes() + at) as u64).unwrap();
    };
    for number in 0..geometry.segments as u32 {
        let start = number as usize * geometry.segment_bytes;
        if let Some((shard, _)) = ledger.slab(number)
            && !ledger.is_at_work(shard)
        {
            continue;
        }
        let Some((shard, kept)) = ledger.segment(number) else {
            noise(start, geometry.segment_bytes);
            continue;
        };
        noise(start + kept.used as usize, geometry.segment_bytes - kept.used as usize);
        if let Some(Change { location, footprint, .. }) = ledger.change(shard)
            && location.segment == kept.id
        {
            noise(start + location.offset as usize, footprint);
        }
    }
}

/// Runs operations up to a crash, and checks every key of what comes back.
fn crash_after(points: u64, memory_bytes: usize, seed: u64) -> Warm {
    let is_evicting = memory_bytes < KEYS as usize * 20_000;
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("memory"), dir.path().join("copy"));
    let store = Store::new(config(&path, memory_bytes)).unwrap();
    let (mut random, mut expected) = (Random(seed), HashMap::<String, Expected>::new());
    CRASH.set(Some((points, path, copy.clone())));
    let mut now = NOW;
    let (under_way, next) = loop {
        now.0 += 1 + random.below(3);
        store.note_ran(now);
        let key = key(random.below(KEYS));
        let was = expected.get(&key).cloned().unwrap_or_default();
        let next = act(&store, &mut random, &key, &was, now);
        if CRASH.with_borrow(Option::is_none) {
            break (key, next);
        }
        expected.insert(key, next);
    };
    drop(store);
    scramble(&copy, &mut random);
    let store = Store::new(config(&copy, memory_bytes)).unwrap();
    let warm = warm(&store);
    assert_eq!((warm.damaged, warm.without_room), (0, 0), "seed {seed}, {points} points");
    assert!(warm.shards_read <= 1, "the other shard was whole: seed {seed}, {points} points");
    if seed.is_multiple_of(2) {
        assert_eq!(store.check(now, usize::MAX), Checked { all: true, mended: 0 }, "seed {seed}");
    }
    for (key, expected) in &expected {
        let there = get(&store, key, now);
        let is_right = there == expected.now || there.is_none() && is_evicting;
        let is_next =
            *key == under_way && (there == next.now || there.is_none() || there.as_deref() == Some(b"5"));
        assert!(is_right || is_next, "{key} of seed {seed}, {points} points: {there:?}, not {expected:?}");
        // Nothing older than what was deleted comes back.
        if expected.deleted && *key != under_way {
            let write =
                Write { version: Some(expected.version), repair: true, ..Write::set(key.as_bytes(), b"old") };
            assert!(matches!(store.write(&write, now), WriteOutcome::Superseded { .. }), "{key}");
        }
    }
    // It goes on, and comes back once more.
    for _ in 0..300 {
        let key = key(random.below(KEYS));
        let was = Expected { version: Version::at(Time(now.0 + 5), 0), ..Expected::default() };
        now.0 += 10;
        let next = act(&store, &mut random, &key, &was, now);
        expected.insert(key, next);
    }
    assert_eq!(store.check(now, usize::MAX), Checked { all: true, mended: 0 }, "seed {seed}");
    let stats = store.stats();
    drop(store);
    let store = Store::new(config(&copy, memory_bytes)).unwrap();
    assert!(matches!(store.start(), Start::Warm(Warm { shards_read: 0, .. })), "{:?}", store.start());
    assert_eq!(store.stats().items, stats.items, "seed {seed}, {points} points");
    assert_eq!(store.stats().item_bytes, stats.item_bytes);
    warm
}

#[test]
fn crash_at_any_point_of_a_roomy_store_leaves_every_other_item() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let points = random.below(4_000);
        crash_after(points, 4 << 20, seed);
    }
}

/// A look through all items, which takes a while, is no work on a shard: a process that ends in its middle left all whole.
#[test]
fn check_that_finds_nothing_to_change_tells_the_file_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("memory"), dir.path().join("copy"));
    let store = Store::new(config(&path, 4 << 20)).unwrap();
    for n in 0..KEYS {
        store.write(&Write::set(key(n).as_bytes(), b"value"), NOW);
    }
    drop(store);
    let store = Store::new(config(&path, 4 << 20)).unwrap();
    CRASH.set(Some((0, path, copy)));
    assert_eq!(store.check(NOW, usize::MAX), Checked { all: true, mended: 0 });
    assert!(CRASH.with_borrow(Option::is_some), "a shard was at work");
    // Whoever changes a shard says so.
    store.write(&Write { expiry: Expiry::At(Time(NOW.0 + 1)), ..Write::set(b"soon", b"") }, NOW);
    assert!(CRASH.take().is_none());
    assert_eq!(store.expire(Time(NOW.0 + 2), usize::MAX), 1);
}

#[test]
fn crash_at_any_point_amid_evictions_leaves_nothing_stale() {
    let mut items = 0;
    for seed in 0..100 {
        let mut random = Random(seed);
        let points = 500 + random.below(12_000);
        items += crash_after(points, 300 << 10, seed).items;
    }
    assert!(items > 100 * KEYS / 8, "some items survive: {items}");
}
