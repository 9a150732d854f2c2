//! What was once wrong and must not come back. Each test tells what was seen, why, and what holds now.

use std::num::NonZeroUsize;
use std::thread;

use evanesce_store::{
    Compare, Expiry, Lookup, NamespaceConfig, Read, Store, StoreConfig, Time, Version, Write, WriteOutcome,
};

use crate::kit::{MIB, NOW};

fn store(memory_bytes: usize, item_bytes_max: usize, shards: usize) -> Store {
    let shards = NonZeroUsize::new(shards).expect("tests have shards");
    Store::new(StoreConfig { memory_bytes, item_bytes_max, shards, ..StoreConfig::default() })
        .expect("the config works")
}

fn set(store: &Store, key: &str, value: &[u8]) -> WriteOutcome {
    store.write(&Write::set(key.as_bytes(), value), NOW)
}

fn is_stored(outcome: &WriteOutcome) -> bool {
    matches!(outcome, WriteOutcome::Stored { .. })
}

/// Five thousand empty items, then a large one: out of memory with nothing pinned. The table kept the memory of items
/// long evicted until the next step of expiry. Now whoever needs room asks the table too.
#[test]
fn idle_memory_of_the_table_makes_room_for_a_large_item() {
    let store = store(64 << 10, 16 << 10, 1);
    (0..5_000).for_each(|n| assert!(is_stored(&set(&store, &n.to_string(), b""))));
    let outcome = set(&store, "large", &[1; (16 << 10) - 10]);
    assert!(is_stored(&outcome), "{outcome:?} {:?}", store.stats());
}

/// An item larger than its namespace's limit was refused in an empty store: each round evicted the segment that the one
/// before had opened. Now it is let in, alone.
#[test]
fn item_above_the_limit_of_its_namespace_is_stored() {
    let limited = |limit| NamespaceConfig {
        name: "a".to_owned(),
        limit_bytes: Some(limit),
        ..NamespaceConfig::default()
    };
    let store = Store::new(StoreConfig {
        memory_bytes: 64 << 10,
        item_bytes_max: 16 << 10,
        shards: NonZeroUsize::MIN,
        namespaces: vec![limited(0)],
        ..StoreConfig::default()
    })
    .unwrap();
    let outcome = set(&store, "a:1", &[1; 16_000]);
    assert!(is_stored(&outcome), "{outcome:?}");
}

/// Threads that wrote the largest items each held a part of what they needed and waited for the rest: hundreds were out
/// of memory with nothing pinned. Now one at a time may hold much while it waits.
#[test]
fn threads_that_write_the_largest_items_do_not_starve_each_other() {
    let store = store(16 * MIB, 2 * MIB, 4);
    let value = vec![1; 2 * MIB - 50];
    thread::scope(|scope| {
        for thread in 0..6 {
            let (store, value) = (&store, &value);
            scope.spawn(move || {
                for n in 0..20 {
                    let outcome = set(store, &format!("{thread}-{n}"), value);
                    assert!(is_stored(&outcome), "{outcome:?}");
                }
            });
        }
    });
}

/// One write with the last version of all, and every later stamp of its shard was the same: an outdated token passed a
/// cas, and a flush hid nothing. Now such a version is refused.
#[test]
fn version_at_the_end_of_time_is_refused_and_harms_nobody() {
    let store = store(MIB, 1_000, 1);
    for version in [Version(u64::MAX), Version((1 << 63) - 1)] {
        let outcome = store.write(&Write { version: Some(version), ..Write::set(b"p", b"v") }, NOW);
        assert!(matches!(outcome, WriteOutcome::Superseded { .. }), "{outcome:?}");
    }
    let WriteOutcome::Stored { cas, .. } = set(&store, "x", b"1") else { panic!("nothing is in the way") };
    set(&store, "x", b"2");
    let compare = Some(Compare { cas, invalidate: false });
    let outcome = store.write(&Write { compare, ..Write::set(b"x", b"3") }, NOW);
    assert_eq!(outcome, WriteOutcome::Exists);
}

/// A flush whose time came between the two lookups of one operation took the item that the first had made, and the
/// second panicked. Now the time is looked at once, when the operation begins.
#[test]
fn flush_that_comes_due_meanwhile_does_not_break_a_vivification() {
    let store = store(MIB, 1_000, 1);
    let clock = std::sync::atomic::AtomicU64::new(NOW.0);
    let now = || Time(clock.load(std::sync::atomic::Ordering::Relaxed));
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for n in 0..20_000 {
                let key = n.to_string();
                let read = Read { vivify: Some(Expiry::Never), ..Read::key(key.as_bytes()) };
                store.read(&read, now(), |_| ());
            }
        });
        while !reader.is_finished() {
            store.flush(Time(now().0 + 1));
            let later = clock.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            store.read(&Read::key(b"x"), Time(later), |_| ());
        }
    });
}

/// A range of hashes that ends before it begins made the listing of deletes panic. Now there is nothing in it.
#[test]
fn empty_range_has_no_deletes() {
    #[expect(clippy::reversed_empty_ranges, reason = "that is the point")]
    let nothing = u64::MAX..=0;
    store(MIB, 1_000, 4).tombstones(&nothing, |_, _| panic!("nothing was deleted"));
}

/// At the end of time items without expiry were taken for expired, and the time of the last access overflowed.
#[test]
fn end_of_time_is_an_instant_like_any_other() {
    let store = store(MIB, 1_000, 1);
    store.write(&Write::set(b"k", b"v"), Time(400_000_000_000));
    for now in [u64::MAX - 1, u64::MAX] {
        let read = |lookup: Lookup<'_>| matches!(lookup, Lookup::Hit(_));
        assert!(store.read(&Read::key(b"k"), Time(now), read));
    }
}

/// A flush took effect when the next operation came, and took with it what had been stamped between the two: a set right
/// after a flush was acknowledged and lost. Now it takes effect as of its own time.
#[test]
fn write_stamped_after_a_flush_stays_however_late_it_comes() {
    let store = store(MIB, 1_000, 1);
    set(&store, "before", b"1");
    store.flush(NOW);
    let version = Some(Version::at(Time(NOW.0 + 1), 7));
    let late = Time(NOW.0 + 5);
    let outcome = store.write(&Write { version, ..Write::set(b"after", b"2") }, late);
    assert!(is_stored(&outcome), "{outcome:?}");
    let is_there = |key: &[u8]| store.read(&Read::key(key), late, |lookup| matches!(lookup, Lookup::Hit(_)));
    assert!(is_there(b"after") && !is_there(b"before"));
}
