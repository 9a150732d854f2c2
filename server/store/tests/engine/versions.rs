//! Versions, tombstones, floors and flushes: the rules that deserve a name.

use evanesce_store::{
    Decides, Delete, DeleteMode, DeleteOutcome, Expiry, Lookup, Read, Store, StoreConfig, Time, Version,
    Write, WriteMode, WriteOutcome,
};

use crate::kit::{MIB, NOW, config, get, get_at, store, stored};

fn v(ms: u64) -> Version {
    Version::at(Time(NOW.0 + ms), 9)
}

fn put(store: &Store, value: &[u8], version: Version) -> WriteOutcome {
    store.write(&Write { version: Some(version), ..Write::set(b"k", value) }, NOW)
}

fn version_of(store: &Store, key: &[u8]) -> Version {
    store.read(&Read::key(key), NOW, |lookup| match lookup {
        Lookup::Hit(hit) => hit.version,
        Lookup::Miss => panic!("the item is there"),
    })
}

fn delete(store: &Store, version: Version) -> DeleteOutcome {
    store.delete(&Delete { version: Some(version), ..Delete::key(b"k") }, NOW)
}

#[test]
fn older_write_is_superseded_and_newer_one_stored() {
    let store = store(4 * MIB, 100_000, 2);
    assert_eq!(put(&store, b"5", v(5)), WriteOutcome::Stored { cas: v(5).0, version: v(5), value_bytes: 1 });
    assert_eq!(put(&store, b"4", v(4)), WriteOutcome::Superseded { version: v(5) });
    assert!(stored(put(&store, b"6", v(6))));
    assert_eq!((get(&store, "k").unwrap(), version_of(&store, b"k")), (b"6".to_vec(), v(6)));
}

#[test]
fn plain_write_is_never_refused_whatever_is_there() {
    let store = store(4 * MIB, 100_000, 2);
    assert!(stored(put(&store, b"far ahead", v(1_000_000))));
    let plain = store.write(&Write::set(b"k", b"plain"), NOW);
    let WriteOutcome::Stored { version, .. } = plain else { panic!("{plain:?}") };
    assert!(version > v(1_000_000) && version_of(&store, b"k") == version);
    assert_eq!(delete(&store, v(2_000_000)), DeleteOutcome::Deleted);
    let plain = store.write(&Write::set(b"k", b"plain"), NOW);
    let WriteOutcome::Stored { version, .. } = plain else { panic!("{plain:?}") };
    assert!(version > v(2_000_000));
}

#[test]
fn stamps_carry_the_time_and_the_writer() {
    let store = Store::new(StoreConfig { writer: 77, ..config(4 * MIB, 100_000, 2) }).unwrap();
    for key in [&b"a"[..], b"b", b"a"] {
        store.write(&Write::set(key, b""), NOW);
        let version = version_of(&store, key);
        assert_eq!((version.time(), version.0 & 0xfff), (NOW, 77));
    }
}

#[test]
fn token_of_a_caller_is_shown_and_orders_nothing() {
    let store = store(4 * MIB, 100_000, 2);
    let write = Write { cas_override: Some(u64::MAX), version: Some(v(5)), ..Write::set(b"k", b"5") };
    assert_eq!(
        store.write(&write, NOW),
        WriteOutcome::Stored { cas: u64::MAX, version: v(5), value_bytes: 1 }
    );
    assert!(stored(put(&store, b"6", v(6))));
    assert_eq!(get(&store, "k").unwrap(), b"6");
}

#[test]
fn of_equal_versions_one_value_wins_in_either_order() {
    for (first, second) in [(&b"x"[..], &b"y"[..]), (b"abc", b"ab"), (&[1; 20_000], &[2; 50]), (b"", b"z")] {
        let (one, other) = (store(4 * MIB, 100_000, 2), store(4 * MIB, 100_000, 2));
        let outcomes = [put(&one, first, v(9)), put(&one, second, v(9))];
        let reversed = [put(&other, second, v(9)), put(&other, first, v(9))];
        assert!(stored(outcomes[0]) && stored(reversed[0]));
        assert_ne!(stored(outcomes[1]), stored(reversed[1]), "one of them wins");
        assert_eq!(get(&one, "k"), get(&other, "k"));
    }
}

#[test]
fn of_equal_versions_and_values_the_later_expiry_wins() {
    let store = store(4 * MIB, 100_000, 2);
    let put = |lives_ms: u64| {
        let expiry = Expiry::At(Time(NOW.0 + lives_ms));
        store.write(&Write { expiry, version: Some(v(1)), ..Write::set(b"k", b"same") }, NOW)
    };
    let same = WriteOutcome::Stored { cas: v(1).0, version: v(1), value_bytes: 4 };
    assert_eq!([put(100), put(300), put(200)], [same; 3]);
    assert!(get_at(&store, "k", Time(NOW.0 + 299)).is_some());
    assert!(get_at(&store, "k", Time(NOW.0 + 300)).is_none());
}

#[test]
fn delete_refuses_what_is_not_newer() {
    let store = store(4 * MIB, 100_000, 2);
    assert!(stored(put(&store, b"5", v(5))));
    assert_eq!(delete(&store, v(4)), DeleteOutcome::Superseded { version: v(5) });
    assert_eq!(delete(&store, v(5)), DeleteOutcome::Deleted);
    assert_eq!(put(&store, b"5", v(5)), WriteOutcome::Superseded { version: v(5) });
    assert_eq!(delete(&store, v(8)), DeleteOutcome::NotFound, "nothing is there, and it is remembered");
    assert_eq!(put(&store, b"7", v(7)), WriteOutcome::Superseded { version: v(8) });
    assert_eq!(delete(&store, v(7)), DeleteOutcome::Superseded { version: v(8) });
    assert!(stored(put(&store, b"9", v(9))));
}

#[test]
fn plain_delete_is_remembered() {
    let store = store(4 * MIB, 100_000, 2);
    assert!(stored(put(&store, b"5", v(5))));
    assert_eq!(store.delete(&Delete::key(b"k"), NOW), DeleteOutcome::Deleted);
    assert!(matches!(put(&store, b"5", v(5)), WriteOutcome::Superseded { version } if version > v(5)));
}

/// Ends the item under `k`, with an expiry that is past.
type End = fn(&Store, Expiry);

#[test]
fn whatever_ends_an_item_in_its_writers_name_keeps_older_writes_out() {
    let past = Expiry::At(NOW);
    let ends: [(&str, End); 3] = [
        ("write that has expired", |store, past| {
            let write = Write { expiry: past, version: Some(v(6)), ..Write::set(b"k", b"6") };
            assert!(stored(store.write(&write, NOW)));
        }),
        ("invalidation that has expired", |store, past| {
            let mode = DeleteMode::Invalidate { touch: Some(past), drop_value: false };
            let delete = Delete { mode, version: Some(v(6)), ..Delete::key(b"k") };
            assert_eq!(store.delete(&delete, NOW), DeleteOutcome::Deleted);
        }),
        ("set that is too large", |store, _| {
            assert_eq!(put(store, &[0; 200_000], v(6)), WriteOutcome::TooLarge);
        }),
    ];
    for (what, end) in ends {
        let store = store(4 * MIB, 100_000, 2);
        assert!(stored(put(&store, b"5", v(5))));
        end(&store, past);
        assert_eq!(get(&store, "k"), None, "{what}");
        assert_eq!(put(&store, b"5", v(5)), WriteOutcome::Superseded { version: v(6) }, "{what}");
    }
}

#[test]
fn repair_of_an_absent_key_below_the_floor_is_refused() {
    let store = store(MIB, 100_000, 1);
    let key = |n: u64| format!("key{n}");
    // Far more deletes than are remembered.
    for n in 0..10_000u64 {
        let key = key(n);
        store.delete(&Delete { version: Some(v(n)), ..Delete::key(key.as_bytes()) }, NOW);
    }
    let floor = store.floor(store.hash(b"absent"));
    assert!(v(5_000) < floor && floor < v(10_000), "{floor:?}");
    let write = |key: &[u8], version, repair| {
        store.write(&Write { version: Some(version), repair, ..Write::set(key, b"") }, NOW)
    };
    assert_eq!(write(b"absent", floor, true), WriteOutcome::Superseded { version: floor });
    assert!(stored(write(b"absent", v(10_000), true)));
    // What is there says itself how old it is; and a plain versioned write is no repair.
    assert!(stored(write(b"other", v(1), false)));
    assert!(stored(write(b"other", v(2), true)));
    // Every delete is remembered or lies below the floor.
    for n in 0..10_000u64 {
        let outcome = write(key(n).as_bytes(), v(n), true);
        assert!(matches!(outcome, WriteOutcome::Superseded { .. }), "{n}: {outcome:?}");
    }
}

#[test]
fn flush_refuses_versions_from_before_it() {
    let store = store(4 * MIB, 100_000, 2);
    assert!(stored(put(&store, b"5", v(5))));
    store.flush(NOW);
    assert!(matches!(put(&store, b"5", v(5)), WriteOutcome::Superseded { version } if version > v(5)));
    assert!(stored(store.write(&Write::set(b"k", b"new"), NOW)));
    assert!(version_of(&store, b"k") > v(5));
    assert!(stored(put(&store, b"later", v(1000))));
}

#[test]
fn flush_takes_an_item_that_was_invalidated_by_a_clock_ahead() {
    // An invalidation gave the item a version ahead of this node's clock, of which the shard took no notice: a flush
    // right after it left the item there.
    let store = store(4 * MIB, 100_000, 2);
    assert!(stored(put(&store, b"5", v(0))));
    let mode = DeleteMode::Invalidate { touch: None, drop_value: false };
    store.delete(&Delete { mode, version: Some(v(4000)), ..Delete::key(b"k") }, NOW);
    store.flush(NOW);
    assert_eq!(get(&store, "k"), None);
}

#[test]
fn clock_before_the_beginning_of_versions_still_gives_growing_ones() {
    let store = store(4 * MIB, 100_000, 2);
    let mut last = Version(0);
    for at in [5, 1, 0, 1_000_000_000_000] {
        store.write(&Write::set(b"k", b""), Time(at));
        let version = version_of(&store, b"k");
        assert!(version > last);
        last = version;
    }
}

#[test]
fn write_that_says_what_its_version_is_at_least_is_no_newer_for_coming_late() {
    let store = store(4 * MIB, 100_000, 2);
    let late = Time(NOW.0 + 60_000);
    let decide = |value: &[u8], mode, at_least| {
        let write = Write { mode, decides: Some(Decides::at_least(at_least)), ..Write::set(b"k", value) };
        assert!(stored(store.write(&write, late)));
        version_of(&store, b"k")
    };
    assert_eq!(decide(b"a", WriteMode::Add, v(1)), v(1), "the clock has no say");
    let joined = decide(b"b", WriteMode::Append { vivify: None }, v(1));
    assert!(joined > v(1) && joined < v(2), "later than what it changed, and no more");
    assert!(stored(put(&store, b"c", v(5))), "what was decided elsewhere meanwhile is newer");
    assert_eq!(delete(&store, v(6)), DeleteOutcome::Deleted);
    assert!(decide(b"d", WriteMode::Set, v(6)) > v(6), "later than a delete");
    store.flush(late);
    let flushed = store.examine(b"k", late, |known| known.latest);
    assert!(decide(b"e", WriteMode::Set, flushed) > flushed, "later than a flush");
    assert_eq!(get_at(&store, "k", late), Some(b"e".to_vec()));
}

/// What was seen in review: two zones that remembered a delete, and were promised something older, each decided next to that
/// delete: as late as each other, and later than what keeps the one from agreeing to the other.
#[test]
fn decision_that_a_delete_makes_much_later_than_was_said_is_not_made() {
    let store = store(4 * MIB, 100_000, 2);
    delete(&store, v(6));
    let decide = |at_least| {
        let decides = Some(Decides::at_least(at_least));
        store.write(&Write { mode: WriteMode::Add, decides, ..Write::set(b"k", b"a") }, NOW)
    };
    assert_eq!(decide(v(5)), WriteOutcome::DecidedElsewhere);
    assert_eq!(store.examine(b"k", NOW, |known| (known.hit.is_none(), known.latest)), (true, v(6)));
    assert!(stored(decide(v(6))));
    store.flush(NOW);
    let flushed = store.examine(b"k", NOW, |known| known.latest);
    assert_eq!(decide(Version(flushed.0 - (600 << 12))), WriteOutcome::DecidedElsewhere, "nor a flush");
}
