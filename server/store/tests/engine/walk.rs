//! Walks and digests, while all else goes on.

use std::collections::BTreeMap;

use evanesce_store::{Access, Delete, DeleteOutcome, Store, Time, Version, Write};

use crate::kit::{MIB, NOW, Random, delete, get, set, store, telling};

fn walk(store: &Store, mut between: impl FnMut(usize)) -> Vec<(u64, Vec<u8>)> {
    let (mut found, mut next, mut steps) = (Vec::new(), Some(0), 0);
    while let Some(from) = next {
        next = store.walk(from, NOW, |item| {
            assert!(item.hash >= from, "a step begins where it was told to");
            found.push((item.hash, item.key.to_vec()));
        });
        assert!(next.is_none_or(|next| next > from && found.iter().all(|(hash, _)| *hash < next)));
        steps += 1;
        between(steps);
    }
    found
}

#[test]
fn walk_visits_every_item_once_in_the_order_of_hashes() {
    for shards in [1, 3, 8] {
        let store = store(8 * MIB, 100_000, shards);
        (0..5_000).for_each(|n| set(&store, &format!("key{n}"), b"value"));
        let found = walk(&store, |_| {});
        assert_eq!(found.len(), 5_000, "{shards} shards");
        assert!(found.is_sorted_by(|one, other| one.0 < other.0));
        assert!(found.iter().all(|(hash, key)| store.hash(key) == *hash));
    }
}

fn walk_used(store: &Store, wanted: impl Fn(Access) -> bool) -> Vec<Vec<u8>> {
    let (mut found, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        next = store.walk_used(from, NOW, &wanted, |item| found.push((item.hash, item.key.to_vec())));
    }
    assert!(found.is_sorted_by(|one, other| one.0 < other.0));
    let mut keys: Vec<_> = found.into_iter().map(|(_, key)| key).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn walk_by_use_visits_those_that_are_wanted_and_no_other() {
    let store = store(8 * MIB, 100_000, 3);
    (0..5_000).for_each(|n| set(&store, &format!("key{n}"), b"value"));
    set(&store, "large", &telling(7, 50_000));
    let mut read: Vec<_> = (0..5_000).step_by(3).map(|n| format!("key{n}").into_bytes()).collect();
    read.push(b"large".to_vec());
    read.iter().for_each(|key| assert!(get(&store, std::str::from_utf8(key).unwrap()).is_some()));
    read.sort_unstable();
    assert_eq!(walk_used(&store, |access| access.hit_before), read);
    let mut all: Vec<_> = walk(&store, |_| {}).into_iter().map(|(_, key)| key).collect();
    all.sort_unstable();
    let others: Vec<_> = all.iter().filter(|key| read.binary_search(key).is_err()).cloned().collect();
    assert_eq!(walk_used(&store, |access| !access.hit_before), others);
    assert_eq!(walk_used(&store, |access| access.last == NOW), all);
    assert_eq!(walk_used(&store, |access| access.last > NOW), Vec::<Vec<u8>>::new());
}

#[test]
fn walk_shows_items_as_they_are_and_leaves_no_trace() {
    let store = store(8 * MIB, 100_000, 2);
    set(&store, "small", b"value");
    set(&store, "large", &telling(7, 50_000));
    let mut next = Some(0);
    while let Some(from) = next {
        next = store.walk(from, Time(NOW.0 + 9_000), |item| {
            let value = if item.key == b"small" { b"value".to_vec() } else { telling(7, 50_000) };
            assert_eq!((&*item.hit.value.contiguous(), item.hit.hit_before), (&value[..], false));
            assert_eq!((item.hit.last_access, item.hit.win), (NOW, false));
        });
    }
}

/// Evictions, growth of the table, deletes and writes between the steps of a walk: what was there all the time is
/// visited exactly once.
#[test]
fn walk_misses_nothing_that_is_there_all_along() {
    for seed in 0..6 {
        let shards = 1 + seed as usize % 3;
        let store = store(2 * MIB, 100_000, shards);
        let mut random = Random(seed);
        (0..3_000).for_each(|n| set(&store, &format!("key{n}"), &[7; 100]));
        // When each key last came back after it had been away, in steps.
        let mut back: BTreeMap<String, usize> = (0..3_000).map(|n| (format!("key{n}"), 0)).collect();
        let mut count = 3_000;
        let found = walk(&store, |step| {
            if step > 200 {
                return;
            }
            for _ in 0..100 {
                let key = format!("key{}", random.below(3_000));
                match random.below(6) {
                    0 => delete(&store, &key, NOW),
                    1 => set(&store, &key, &vec![7; random.below(20_000) as usize]),
                    2 => {
                        set(&store, &format!("key{count}"), &[7; 60]);
                        back.insert(format!("key{count}"), step);
                        count += 1;
                    }
                    _ => {
                        get(&store, &key);
                    }
                }
                if get(&store, &key).is_none() {
                    back.remove(&key);
                } else {
                    back.entry(key).or_insert(step);
                }
            }
            // Whoever is away now was not there all along.
            back.retain(|key, _| get(&store, key).is_some());
        });
        let mut visits: BTreeMap<&[u8], usize> = BTreeMap::new();
        found.iter().for_each(|(_, key)| *visits.entry(key).or_default() += 1);
        assert!(visits.values().all(|count| *count == 1), "seed {seed}: one was visited twice");
        let all_along: Vec<_> = back.iter().filter(|(_, since)| **since == 0).map(|(key, _)| key).collect();
        assert!(all_along.len() > 100, "seed {seed}: {}", all_along.len());
        for key in all_along {
            assert!(
                visits.contains_key(key.as_bytes()),
                "seed {seed}, {shards} shards: {key} was there all along"
            );
        }
    }
}

#[test]
fn walk_in_a_growing_table_misses_nothing() {
    let store = store(16 * MIB, 100_000, 2);
    (0..2_000).for_each(|n| set(&store, &format!("key{n}"), b""));
    let mut added = 0;
    let found = walk(&store, |_| {
        (added..added + 700).for_each(|n| set(&store, &format!("new{n}"), b""));
        added += 700;
    });
    assert_eq!(store.stats().evictions, 0);
    assert!(found.is_sorted_by(|one, other| one.0 < other.0), "in order, and none twice");
    assert_eq!(found.iter().filter(|(_, key)| key.starts_with(b"key")).count(), 2_000);
}

fn digest(store: &Store) -> evanesce_store::Digest {
    store.digest(0..=u64::MAX, Version(0), NOW)
}

fn put(store: &Store, n: u64, version: u64) {
    let (key, version) = (n.to_string(), Some(Version::at(Time(NOW.0 + version), 3)));
    store.write(&Write { version, ..Write::set(key.as_bytes(), &telling(n, 20)) }, NOW);
}

#[test]
fn digests_of_equal_contents_are_equal_and_of_others_are_not() {
    let (one, other) = (store(4 * MIB, 100_000, 3), store(8 * MIB, 100_000, 2));
    let mut order: Vec<u64> = (0..2_000).collect();
    order.iter().for_each(|n| put(&one, *n, n % 7));
    Random(3).shuffle(&mut order);
    order.iter().for_each(|n| put(&other, *n, n % 7));
    assert_eq!(digest(&one), digest(&other));
    assert_eq!(digest(&one).items, 2_000);
    put(&other, 77, 100);
    assert_ne!(digest(&one), digest(&other));
    put(&one, 77, 100);
    assert_eq!(digest(&one), digest(&other));
    assert_eq!(other.delete(&Delete::key(b"78"), NOW), DeleteOutcome::Deleted);
    assert_ne!(digest(&one), digest(&other));
    one.delete(&Delete::key(b"78"), NOW);
    assert_eq!(digest(&one), digest(&other));
}

#[test]
fn digests_add_up_over_ranges_and_find_the_difference() {
    let (one, other) = (store(4 * MIB, 100_000, 3), store(4 * MIB, 100_000, 3));
    for n in 0..2_000 {
        put(&one, n, 0);
        put(&other, n, 0);
    }
    put(&other, 1_234, 5);
    let whole = digest(&one);
    let mut random = Random(11);
    for _ in 0..20 {
        let middle = random.below(u64::MAX >> 33) << 31 | random.below(1 << 31);
        let part = |range| one.digest(range, Version(0), NOW);
        let (low, high) = (part(0..=middle), part(middle + 1..=u64::MAX));
        assert_eq!(low.items + high.items, whole.items, "{middle:x}");
        assert_eq!(low.sum.wrapping_add(high.sum), whole.sum, "{middle:x}");
    }
    // Halving finds the one that differs, as reconciling does.
    let (mut first, mut last) = (0, u64::MAX);
    while first < last {
        let middle = first + (last - first) / 2;
        let differs =
            one.digest(first..=middle, Version(0), NOW) != other.digest(first..=middle, Version(0), NOW);
        (first, last) = if differs { (first, middle) } else { (middle + 1, last) };
    }
    assert_eq!(first, one.hash(b"1234"));
}

#[test]
fn digest_since_a_version_leaves_older_items_out() {
    let store = store(4 * MIB, 100_000, 3);
    (0..1_000).for_each(|n| put(&store, n, n));
    let since = |ms: u64| store.digest(0..=u64::MAX, Version::at(Time(NOW.0 + ms), 0), NOW).items;
    assert_eq!([0, 1, 400, 999, 1_000].map(since), [1_000, 999, 600, 1, 0]);
}

#[test]
fn digest_and_walk_leave_out_what_is_expired_or_flushed() {
    let store = store(4 * MIB, 100_000, 3);
    (0..100).for_each(|n| set(&store, &n.to_string(), b""));
    store.flush(NOW);
    assert_eq!((digest(&store).items, walk(&store, |_| {}).len()), (0, 0));
}

#[test]
fn tombstones_list_the_deletes_of_a_range() {
    let store = store(4 * MIB, 100_000, 3);
    let deletes: BTreeMap<u64, Version> = (0..20u64)
        .map(|n| {
            let (key, version) = (n.to_string(), Version::at(Time(NOW.0 + n), 1));
            store.delete(&Delete { version: Some(version), ..Delete::key(key.as_bytes()) }, NOW);
            (store.hash(key.as_bytes()), version)
        })
        .collect();
    for (first, last) in [(0, u64::MAX), (0, u64::MAX / 2), (u64::MAX / 3, u64::MAX / 3 * 2), (7, 7)] {
        let mut found = BTreeMap::new();
        store.tombstones(&(first..=last), |hash, version| found.extend([(hash, version)]));
        let wanted: BTreeMap<_, _> =
            deletes.range(first..=last).map(|(hash, version)| (*hash, *version)).collect();
        assert_eq!(found, wanted);
    }
}
