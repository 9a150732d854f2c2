//! memcached's rules that deserve a name. The model test has them all; here they can be read.

use std::time::Duration;

use evanesce_store::{
    Arithmetic, ArithmeticOutcome, Compare, Delete, DeleteMode, DeleteOutcome, Direction, Expiry, Lookup,
    Read, Store, StoreConfig, Time, Write, WriteMode, WriteOutcome,
};

use crate::kit::NOW;

fn store() -> Store {
    Store::new(StoreConfig::default()).expect("the default works")
}

fn after(secs: u64) -> Time {
    Time(NOW.0 + secs * 1000)
}

fn get(store: &Store, now: Time) -> Option<Vec<u8>> {
    store.read(&Read::key(b"k"), now, |lookup| match lookup {
        Lookup::Hit(hit) => Some(hit.value.contiguous().into_owned()),
        Lookup::Miss => None,
    })
}

/// Win, stale, win sent: as a meta get shows them.
fn bits(store: &Store, read: Read<'_>) -> (bool, bool, bool) {
    store.read(&Read { may_win: true, ..read }, NOW, |lookup| match lookup {
        Lookup::Hit(hit) => (hit.win, hit.stale, hit.win_sent),
        Lookup::Miss => panic!("the item is there"),
    })
}

fn cas_of(outcome: WriteOutcome) -> u64 {
    match outcome {
        WriteOutcome::Stored { cas, .. } => cas,
        other => panic!("{other:?}"),
    }
}

fn arithmetic(store: &Store, direction: Direction, delta: u64) -> ArithmeticOutcome {
    let op = Arithmetic {
        key: b"k",
        direction,
        delta,
        initial: None,
        touch: None,
        compare: None,
        cas_override: None,

        decides: None,
    };
    store.arithmetic(&op, NOW)
}

fn number(outcome: ArithmeticOutcome) -> u64 {
    match outcome {
        ArithmeticOutcome::Number { number, .. } => number,
        other => panic!("{other:?}"),
    }
}

#[test]
fn cas_token_grows_with_every_write_of_a_key() {
    let store = store();
    let tokens: Vec<u64> = (0..100).map(|_| cas_of(store.write(&Write::set(b"k", b""), NOW))).collect();
    assert!(tokens[0] > 0 && tokens.is_sorted_by(|one, other| one < other), "{tokens:?}");
    // The clock set back makes no difference.
    assert!(cas_of(store.write(&Write::set(b"k", b""), Time(5))) > tokens[99]);
    let forced = Write { cas_override: Some(77), ..Write::set(b"k", b"") };
    assert_eq!(cas_of(store.write(&forced, NOW)), 77);
    // What a caller chose has no say in what comes next.
    assert!(cas_of(store.write(&Write::set(b"k", b""), NOW)) > tokens[99]);
}

#[test]
fn compare_takes_the_token_that_is_shown() {
    let store = store();
    let swap = |cas, value: &'static [u8]| {
        store.write(
            &Write { compare: Some(Compare { cas, invalidate: false }), ..Write::set(b"k", value) },
            NOW,
        )
    };
    assert_eq!(swap(1, b"v"), WriteOutcome::NotFound);
    let first = cas_of(store.write(&Write::set(b"k", b"1"), NOW));
    let second = cas_of(swap(first, b"2"));
    assert_eq!(swap(first, b"3"), WriteOutcome::Exists);
    assert_eq!(cas_of(store.write(&Write { cas_override: Some(5), ..Write::set(b"k", b"3") }, NOW)), 5);
    assert_eq!(swap(second, b"4"), WriteOutcome::Exists);
    cas_of(swap(5, b"5"));
    assert_eq!(get(&store, NOW).as_deref(), Some(&b"5"[..]));
    let delete = |cas| store.delete(&Delete { compare: Some(cas), ..Delete::key(b"k") }, NOW);
    assert_eq!((delete(5), get(&store, NOW).is_some()), (DeleteOutcome::Exists, true));
}

#[test]
fn emptied_item_keeps_its_token_and_its_expiry() {
    let store = store();
    let write = Write { flags: 9, expiry: Expiry::At(after(9)), ..Write::set(b"k", b"value") };
    let cas = cas_of(store.write(&write, NOW));
    let delete = Delete { mode: DeleteMode::DropValue, ..Delete::key(b"k") };
    assert_eq!(store.delete(&delete, NOW), DeleteOutcome::Deleted);
    store.read(&Read::key(b"k"), NOW, |lookup| {
        let Lookup::Hit(hit) = lookup else { panic!("it is there") };
        assert_eq!(
            (hit.cas, hit.flags, hit.expiry, hit.value.is_empty()),
            (cas, 0, Expiry::At(after(9)), true)
        );
    });
}

#[test]
fn item_is_gone_from_its_expiry_on() {
    let store = store();
    store.write(&Write { expiry: Expiry::At(Time(NOW.0 + 5)), ..Write::set(b"k", b"v") }, NOW);
    assert!(get(&store, Time(NOW.0 + 4)).is_some());
    assert!(get(&store, Time(NOW.0 + 5)).is_none());
    assert_eq!(store.stats().expired, 1);
}

#[test]
fn set_with_past_expiry_deletes_the_item() {
    let store = store();
    store.write(&Write::set(b"k", b"v"), NOW);
    let outcome = store.write(&Write { expiry: Expiry::At(NOW), ..Write::set(b"k", b"w") }, NOW);
    assert!(matches!(outcome, WriteOutcome::Stored { .. }));
    assert!(get(&store, NOW).is_none());
}

#[test]
fn touch_with_past_expiry_shows_the_item_a_last_time() {
    let store = store();
    store.write(&Write::set(b"k", b"v"), NOW);
    let touch = Read { touch: Some(Expiry::At(NOW)), ..Read::key(b"k") };
    assert!(store.read(&touch, NOW, |lookup| matches!(lookup, Lookup::Hit(_))));
    assert!(get(&store, NOW).is_none());
}

#[test]
fn too_large_set_deletes_what_was_there() {
    let store = store();
    let large = vec![0; 1 << 20];
    store.write(&Write::set(b"k", b"v"), NOW);
    let add = Write { mode: WriteMode::Add, ..Write::set(b"k", &large) };
    assert_eq!(store.write(&add, NOW), WriteOutcome::TooLarge);
    assert!(get(&store, NOW).is_some());
    assert_eq!(store.write(&Write::set(b"k", &large), NOW), WriteOutcome::TooLarge);
    assert!(get(&store, NOW).is_none());
}

#[test]
fn append_that_grows_too_large_leaves_the_item() {
    let store = store();
    store.write(&Write::set(b"k", &vec![0; 1_000_000]), NOW);
    let append = Write { mode: WriteMode::Append { vivify: None }, ..Write::set(b"k", &[0; 100_000]) };
    assert_eq!(store.write(&append, NOW), WriteOutcome::NotStored);
    assert_eq!(get(&store, NOW).unwrap().len(), 1_000_000);
}

#[test]
fn flush_takes_what_was_written_before_it_and_nothing_after() {
    let store = store();
    store.write(&Write::set(b"k", b"old"), NOW);
    store.flush(NOW);
    assert!(get(&store, NOW).is_none());
    store.write(&Write::set(b"k", b"new"), NOW);
    assert!(get(&store, NOW).is_some());
}

#[test]
fn flush_in_the_future_waits_for_its_time() {
    let store = store();
    store.write(&Write::set(b"k", b"old"), NOW);
    store.flush(after(10));
    store.write(&Write::set(b"k", b"newer"), after(5));
    assert!(get(&store, Time(after(10).0 - 1)).is_some());
    assert!(get(&store, after(10)).is_none());
    // The clock set back does not bring it back.
    assert!(get(&store, NOW).is_none());
    assert_eq!(store.stats().flushed, 1);
}

#[test]
fn first_reader_of_a_stale_item_gets_the_win() {
    let store = store();
    store.write(&Write::set(b"k", b"v"), NOW);
    let mode = DeleteMode::Invalidate { touch: Some(Expiry::At(after(30))), drop_value: false };
    assert_eq!(store.delete(&Delete { mode, ..Delete::key(b"k") }, NOW), DeleteOutcome::Deleted);
    // A classic get sees the value and takes no win.
    assert_eq!(get(&store, NOW).as_deref(), Some(&b"v"[..]));
    assert_eq!(bits(&store, Read::key(b"k")), (true, true, false));
    assert_eq!(bits(&store, Read::key(b"k")), (false, true, true));
    store.write(&Write::set(b"k", b"w"), NOW);
    assert_eq!(bits(&store, Read::key(b"k")), (false, false, false));
}

#[test]
fn vivifying_reader_gets_the_win_and_the_next_one_does_not() {
    let store = store();
    let vivify = Read { vivify: Some(Expiry::At(after(30))), ..Read::key(b"k") };
    assert_eq!(bits(&store, vivify), (true, false, false));
    assert_eq!(bits(&store, vivify), (false, false, true));
}

#[test]
fn reader_gets_the_win_when_less_remains_than_it_asks_for() {
    let store = store();
    store.write(&Write { expiry: Expiry::At(after(30)), ..Write::set(b"k", b"v") }, NOW);
    let below = |secs| Read { recache_below: Some(Duration::from_secs(secs)), ..Read::key(b"k") };
    assert_eq!(bits(&store, below(30)), (false, false, false));
    assert_eq!(bits(&store, below(31)), (true, false, false));
    assert_eq!(bits(&store, below(31)), (false, false, true));
}

#[test]
fn what_remains_is_judged_after_the_touch_where_that_is_asked() {
    let read = |before, touch, recache_after_touch| {
        let store = store();
        store.write(&Write { expiry: Expiry::At(after(before)), ..Write::set(b"k", b"v") }, NOW);
        let (touch, recache_below) = (Some(Expiry::At(after(touch))), Some(Duration::from_secs(60)));
        bits(&store, Read { touch, recache_below, recache_after_touch, ..Read::key(b"k") }).0
    };
    assert!(!read(90, 30, false) && read(90, 30, true));
    assert!(read(30, 90, false) && !read(30, 90, true));
}

#[test]
fn invalidating_write_with_an_older_token_stores_stale() {
    let store = store();
    let old = cas_of(store.write(&Write::set(b"k", b"1"), NOW));
    cas_of(store.write(&Write { expiry: Expiry::At(after(9)), ..Write::set(b"k", b"2") }, NOW));
    let write = |invalidate| {
        let compare = Some(Compare { cas: old, invalidate });
        store.write(&Write { compare, ..Write::set(b"k", b"3") }, NOW)
    };
    assert_eq!(write(false), WriteOutcome::Exists);
    assert!(matches!(write(true), WriteOutcome::Stored { .. }));
    assert_eq!(bits(&store, Read::key(b"k")), (true, true, false));
    // It kept the expiry that was there.
    assert!(get(&store, after(9)).is_none());
}

#[test]
fn numbers_wrap_upwards_and_stop_at_zero() {
    let store = store();
    store.write(&Write::set(b"k", b"18446744073709551615"), NOW);
    assert_eq!(number(arithmetic(&store, Direction::Increment, 2)), 1);
    assert_eq!(number(arithmetic(&store, Direction::Decrement, 5)), 0);
}

#[test]
fn shorter_number_keeps_its_length() {
    let store = store();
    store.write(&Write { flags: 5, ..Write::set(b"k", b"10") }, NOW);
    assert_eq!(number(arithmetic(&store, Direction::Decrement, 1)), 9);
    assert_eq!(get(&store, NOW).as_deref(), Some(&b"9 "[..]));
    assert_eq!(number(arithmetic(&store, Direction::Increment, 991)), 1000);
    assert_eq!(get(&store, NOW).as_deref(), Some(&b"1000"[..]));
    store.write(&Write::set(b"k", b"ten"), NOW);
    assert_eq!(arithmetic(&store, Direction::Increment, 1), ArithmeticOutcome::NotANumber);
}

#[test]
fn batch_visits_each_read_once_and_those_of_one_key_in_order() {
    let store = store();
    let keys: Vec<String> = (0..300).map(|key| (key % 100).to_string()).collect();
    for key in keys.iter().step_by(2) {
        store.write(&Write::set(key.as_bytes(), key.as_bytes()), NOW);
    }
    let mut reads: Vec<_> = keys.iter().map(|key| Read::key(key.as_bytes())).collect();
    // Some make the item that they miss, some touch it: these go their own way inside.
    reads.iter_mut().skip(101).step_by(30).for_each(|read| read.vivify = Some(Expiry::At(after(30))));
    reads.iter_mut().skip(100).step_by(14).for_each(|read| read.touch = Some(Expiry::At(after(30))));
    let mut seen = Vec::new();
    store.read_batch(&reads, NOW, |index, lookup| {
        let vivified =
            keys[..=index].iter().zip(&reads).any(|(key, read)| *key == keys[index] && read.vivify.is_some());
        match lookup {
            Lookup::Hit(hit) if index % 2 == 0 => {
                assert_eq!(*hit.value.contiguous(), *keys[index].as_bytes());
            }
            Lookup::Hit(hit) => assert!(vivified && hit.value.is_empty(), "{index}"),
            Lookup::Miss => assert!(index % 2 == 1 && !vivified, "{index}"),
        }
        seen.push(index);
    });
    let of_key =
        |key: usize| seen.iter().copied().filter(move |index| index % 100 == key).collect::<Vec<_>>();
    assert!((0..100).all(|key| of_key(key) == [key, key + 100, key + 200]));
    store.read_batch(&[], NOW, |_, _| panic!("nothing was asked"));
}
