//! What two stores compare, and what one tells of a key.

use evanesce_store::{Delete, Sums, Time, Version, Write, fingerprint};

use crate::kit::{MIB, NOW, get, store, telling};

fn at(ms: u64) -> Version {
    Version::at(Time(NOW.0 + ms), 3)
}

fn put(store: &evanesce_store::Store, key: &str, value: &[u8], version: Version) {
    store.write(&Write { version: Some(version), ..Write::set(key.as_bytes(), value) }, NOW);
}

fn sums(store: &evanesce_store::Store, salt: u64) -> Sums {
    let (mut sums, mut from) = (Sums::new(salt, 256), Some(0));
    while let Some(next) = from {
        from = store.walk(next, NOW, |walked| sums.add(walked.key, &walked.hit));
    }
    sums
}

#[test]
fn stores_of_other_seeds_and_sizes_differ_in_the_slices_of_what_differs_alone() {
    let (one, other) = (store(32 * MIB, 100_000, 3), store(64 * MIB, 100_000, 1));
    for n in 0..3_000 {
        let value = telling(n, (n as usize * 37) % 2_000);
        put(&one, &format!("key{n}"), &value, at(n));
        put(&other, &format!("key{n}"), &value, at(n));
    }
    // In pieces here, in other pieces there.
    (1..40).for_each(|n| {
        let value = telling(n, n as usize * 1_700);
        put(&one, &format!("large{n}"), &value, at(n));
        put(&other, &format!("large{n}"), &value, at(n));
    });
    for salt in [0, 7, u64::MAX] {
        assert!(sums(&one, salt).digests() == sums(&other, salt).digests(), "{salt}");
    }
    put(&one, "key5", b"newer", at(5_000));
    other.delete(&Delete { version: Some(at(5_000)), ..Delete::key(b"key700") }, NOW);
    put(&one, "key900", &[255; 1_300], at(900));
    let (here, there) = (sums(&one, 9), sums(&other, 9));
    let pairs = here.digests().iter().zip(there.digests()).enumerate();
    let differing: Vec<_> = pairs.filter(|(_, (here, there))| here != there).map(|(at, _)| at).collect();
    let mut expected = ["key5", "key700", "key900"].map(|key| here.slice(key.as_bytes())).to_vec();
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(differing, expected);
}

#[test]
fn fingerprints_tell_flags_lengths_and_ends_apart() {
    let of = |value: &[u8], flags| {
        let store = store(8 * MIB, 1 << 20, 1);
        store.write(&Write { flags, ..Write::set(b"k", value) }, NOW);
        store.examine(b"k", NOW, |known| fingerprint(&known.hit.unwrap()))
    };
    let long = telling(1, 200_000);
    let (mut first, mut last) = (long.clone(), long.clone());
    first[0] ^= 1;
    last[199_999] ^= 1;
    let all = [of(b"", 0), of(b"", 1), of(b"a", 0), of(b"b", 0), of(&long, 0), of(&first, 0), of(&last, 0)];
    for (at, one) in all.iter().enumerate() {
        assert!(all[at + 1..].iter().all(|other| other != one), "{at}");
    }
    assert_eq!(of(&long, 0), of(&long, 0));
}

#[test]
fn what_is_known_of_a_key_is_its_item_or_its_delete() {
    let store = store(4 * MIB, 1000, 1);
    put(&store, "there", b"v", at(1));
    put(&store, "gone", b"v", at(1));
    store.delete(&Delete { version: Some(at(2)), ..Delete::key(b"gone") }, NOW);
    let known = |key: &str| {
        store.examine(key.as_bytes(), NOW, |known| {
            (known.hit.map(|hit| hit.version), known.deleted, known.forgotten)
        })
    };
    let none = Version(0);
    assert_eq!(known("there"), (Some(at(1)), none, none));
    assert_eq!(known("gone"), (None, at(2), none));
    assert_eq!(known("never"), (None, none, none));
    assert_eq!(store.namespace_stats()[0].hits + store.namespace_stats()[0].misses, 0);
    store.flush(NOW);
    assert!(known("never").2 > at(1), "what was flushed is not known to be there");
}

#[test]
fn item_is_dropped_at_its_version_alone_and_may_come_back() {
    let store = store(4 * MIB, 1000, 1);
    put(&store, "k", b"v", at(2));
    assert!(!store.drop_version(b"k", at(1), NOW));
    assert!(store.drop_version(b"k", at(2), NOW));
    assert!(!store.drop_version(b"k", at(2), NOW));
    assert_eq!(get(&store, "k"), None);
    let repair = Write { version: Some(at(2)), repair: true, ..Write::set(b"k", b"v") };
    store.write(&repair, NOW);
    assert!(get(&store, "k").is_some(), "no delete is remembered");
}
