//! Memory files: what a store finds again, and what it refuses.

use std::path::Path;

use evanesce_store::{
    Decides, Delete, Expiry, MemoryFileError, NamespaceConfig, Refusal, Start, Store, StoreConfig,
    StoreConfigError, Time, Version, Warm, Write, WriteOutcome,
};

use crate::kit::{MIB, NOW, Random, config, get, set, set_until, stored};

fn in_file(path: &Path) -> StoreConfig {
    StoreConfig { memory_file: Some(path.to_owned()), ..config(2 * MIB, 100_000, 2) }
}

/// Of the ledger behind the header: what is written of two shards and of segments.
const LEDGER_BYTES: u64 = 32 << 10;

fn start(config: StoreConfig) -> Store {
    Store::new(config).expect("the config works")
}

fn warm(store: &Store) -> Warm {
    match store.start() {
        Start::Warm(warm) => *warm,
        cold => panic!("{cold:?}"),
    }
}

fn refusal(store: &Store) -> Refusal {
    match store.start() {
        Start::Refused(refusal) => refusal.clone(),
        other => panic!("{other:?}"),
    }
}

fn filled(path: &Path) {
    let store = start(in_file(path));
    for n in 0..500 {
        set(&store, &format!("key{n}"), format!("value {n}").repeat(1 + n % 40).as_bytes());
    }
    set(&store, "large", &[7; 90_000]);
}

#[test]
fn store_finds_its_items_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    filled(&path);
    let store = start(in_file(&path));
    let Warm { items, item_bytes, shards_read, damaged, without_room, .. } = warm(&store);
    assert_eq!((items, shards_read, damaged, without_room), (501, 0, 0, 0));
    assert_eq!((store.stats().items, store.stats().item_bytes), (items, item_bytes));
    for n in 0..500 {
        let value = format!("value {n}").repeat(1 + n % 40);
        assert_eq!(get(&store, &format!("key{n}")).as_deref(), Some(value.as_bytes()), "key{n}");
    }
    assert_eq!(get(&store, "large").as_deref(), Some(&[7; 90_000][..]));
}

#[test]
fn store_that_is_full_evicts_and_checks_what_it_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    let value = |n: usize, round: usize| {
        let bytes = if n.is_multiple_of(50) { 20_000 } else { n * 7 % 900 };
        format!("{n} {round} ").repeat(bytes / 8 + 1)
    };
    let fill = |store: &Store, round: usize| {
        (0..6_000).for_each(|n| set(store, &format!("key{n}"), value(n, round).as_bytes()));
    };
    fill(&start(in_file(&path)), 0);
    for round in 1..6 {
        let store = start(in_file(&path));
        assert_eq!((warm(&store).shards_read, warm(&store).damaged), (0, 0), "round {round}");
        assert!(warm(&store).items > 1_000);
        let found: Vec<_> = (0..6_000).filter_map(|n| Some((n, get(&store, &format!("key{n}"))?))).collect();
        assert_eq!(found.len() as u64, warm(&store).items);
        assert!(found.iter().all(|(n, there)| *there == value(*n, round - 1).as_bytes()));
        // Before, amid or after the check.
        let checked = (0..round * 3).map(|_| store.check(NOW, 100)).last().unwrap();
        fill(&store, round);
        assert_eq!((store.check(NOW, usize::MAX).all, checked.mended), (true, 0));
        assert_eq!(store.check(NOW, usize::MAX).mended, 0);
    }
}

/// A store that was away does not know what others decided meanwhile.
#[test]
fn what_was_decided_before_is_not_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    let decide_at = |store: &Store, value: &[u8], continues: bool, at_least: Version| {
        let decides = Some(Decides { continues, at_least });
        store.write(&Write { decides, ..Write::set(b"key", value) }, NOW)
    };
    let first = Version(1 << 30 | 1);
    let decide = |store: &Store, value: &[u8], continues| decide_at(store, value, continues, first);
    let store = start(in_file(&path));
    assert_eq!(decide(&store, b"0", true), WriteOutcome::DecidedElsewhere);
    assert!(stored(decide(&store, b"1", false)));
    assert!(stored(decide(&store, b"2", true)));
    drop(store);
    for is_checked in [false, true] {
        let store = start(in_file(&path));
        assert!(!is_checked || store.check(NOW, usize::MAX).all);
        assert_eq!(decide(&store, b"3", true), WriteOutcome::DecidedElsewhere);
        assert_eq!(get(&store, "key").as_deref(), Some(&b"2"[..]));
    }
    let store = start(in_file(&path));
    assert_eq!(decide(&store, b"3", false), WriteOutcome::DecidedElsewhere, "what is there is newer");
    assert!(stored(decide_at(&store, b"3", false, Version(1 << 31))));
}

#[test]
fn seed_of_a_file_is_kept_unless_another_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    let any = || StoreConfig { hash_seed: None, ..in_file(&path) };
    let store = start(any());
    set(&store, "key", b"value");
    let hash = store.hash(b"key");
    drop(store);
    let store = start(any());
    assert_eq!((store.hash(b"key"), get(&store, "key").as_deref()), (hash, Some(&b"value"[..])));
    drop(store);
    assert_eq!(refusal(&start(in_file(&path))), Refusal::Configured("hash seed"));
}

#[test]
fn expired_items_stay_expired_though_the_clock_is_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    let store = start(in_file(&path));
    set_until(&store, "soon", b"1", Expiry::At(Time(NOW.0 + 1_000)), NOW);
    set_until(&store, "late", b"2", Expiry::At(Time(NOW.0 + 9_000)), NOW);
    store.note_ran(Time(NOW.0 + 1_000));
    drop(store);
    let store = start(in_file(&path));
    assert_eq!(warm(&store).ran, Time(NOW.0 + 1_000));
    assert_eq!((get(&store, "soon"), get(&store, "late").as_deref()), (None, Some(&b"2"[..])));
    drop(store);
    let store = start(in_file(&path));
    assert!(store.check(NOW, usize::MAX).all);
    assert_eq!((get(&store, "soon"), store.stats().items), (None, 1));
}

#[test]
fn deletes_and_flushes_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    let user = NamespaceConfig { name: "user".to_owned(), ..NamespaceConfig::default() };
    let config = || StoreConfig { namespaces: vec![user.clone()], ..in_file(&path) };
    let store = start(config());
    for key in ["user:1", "other", "gone"] {
        set(&store, key, b"value");
    }
    let deleted = Version::at(Time(NOW.0 + 5), 9);
    store.delete(&Delete { version: Some(deleted), ..Delete::key(b"gone") }, NOW);
    assert!(store.flush_namespace("user", NOW));
    store.flush(Time(NOW.0 + 60_000));
    let floor = store.floor(0);
    drop(store);
    let store = start(config());
    let keys = ["user:1", "other", "gone"].map(|key| get(&store, key).is_some());
    assert_eq!((keys, store.floor(0)), ([false, true, false], floor));
    let old = Write { version: Some(deleted), repair: true, ..Write::set(b"gone", b"old") };
    assert_eq!(store.write(&old, NOW), WriteOutcome::Superseded { version: deleted });
    let flushed = Write { version: Some(Version::at(Time(NOW.0 - 1), 9)), ..Write::set(b"user:1", b"old") };
    assert!(matches!(store.write(&flushed, NOW), WriteOutcome::Superseded { .. }));
    let later = Time(NOW.0 + 60_000);
    store.expire(later, 1);
    assert_eq!(get(&store, "other"), None, "the flush that waited was carried out");
    drop(store);
    let renamed = StoreConfig { namespaces: Vec::new(), ..in_file(&path) };
    assert_eq!(refusal(&start(renamed)), Refusal::Configured("set of namespaces"));
}

#[test]
fn file_that_another_store_uses_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    let store = start(in_file(&path));
    set(&store, "key", b"value");
    let second = Store::new(in_file(&path));
    let in_use = MemoryFileError::InUse { path };
    assert_eq!(second.err(), Some(StoreConfigError::MemoryFile(in_use)));
    assert_eq!(get(&store, "key").as_deref(), Some(&b"value"[..]));
}

#[test]
fn foreign_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    std::fs::write(&path, "my only copy").unwrap();
    let store = start(in_file(&path));
    assert_eq!(refusal(&store), Refusal::Foreign);
    set(&store, "key", b"value");
    assert!(get(&store, "key").is_some(), "it works, in memory of its own");
    assert_eq!(std::fs::read(&path).unwrap(), b"my only copy");
}

#[test]
fn file_of_another_format_size_or_state_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let _ = std::fs::remove_file(&path);
        filled(&path);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let store = start(in_file(&path));
        assert_eq!((store.stats().items, get(&store, "key1")), (0, None));
        set(&store, "key", b"value");
        let refusal = refusal(&store);
        drop(store);
        assert_eq!(warm(&start(in_file(&path))).items, 1, "it is of use from then on");
        refusal
    };
    assert_eq!(changed(&|bytes| bytes[8] = 1), Refusal::Format(1));
    for at in [16, 24, 32, 40, 48, 56, 64, 72, 80, 120] {
        let refusal = changed(&|bytes| bytes[at] ^= 0x40);
        assert_eq!(refusal, Refusal::Damaged("its header does not add up"), "{at}");
    }
    assert_eq!(changed(&|bytes| bytes.truncate(100_000)), Refusal::Damaged("it is cut short"));
    let larger = StoreConfig { memory_file: Some(path.clone()), ..config(3 * MIB, 100_000, 2) };
    assert_eq!(refusal(&start(larger)), Refusal::Configured("size of memory"));
    let sharded = StoreConfig { memory_file: Some(path.clone()), ..config(2 * MIB, 100_000, 3) };
    assert_eq!(refusal(&start(sharded)), Refusal::Configured("number of threads"));
}

#[test]
fn damage_anywhere_costs_items_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    filled(&path);
    let whole = std::fs::read(&path).unwrap();
    let (mut random, mut read, mut mended) = (Random(5), 0, 0);
    for round in 0..300 {
        let mut bytes = whole.clone();
        // The ledger is small, and is not to be left to chance.
        let most = if round % 10 == 0 { LEDGER_BYTES } else { bytes.len() as u64 - 4096 };
        let at = 4096 + random.below(most) as usize;
        bytes[at..]
            .iter_mut()
            .take(1 + random.below(64) as usize)
            .for_each(|byte| *byte = random.below(256) as u8);
        std::fs::write(&path, bytes).unwrap();
        let store = start(in_file(&path));
        assert!(warm(&store).items <= 502, "damage at {at}");
        read += warm(&store).shards_read;
        match round % 3 {
            0 => assert!(store.check(NOW, usize::MAX).all),
            1 => set(&store, "another", &[1; 95_000]),
            _ => {}
        }
        for n in 0..500 {
            get(&store, &format!("key{n}"));
            set(&store, &format!("key{n}"), b"new");
            assert_eq!(get(&store, &format!("key{n}")).as_deref(), Some(&b"new"[..]), "damage at {at}");
        }
        store.expire(NOW, 10_000);
        (0..600).for_each(|n| set(&store, &format!("more{n}"), &[2; 4_000]));
        mended += store.check(NOW, usize::MAX).mended;
    }
    assert!(read > 0 && mended > 0, "{read} shards were read anew, {mended} mended");
}

#[test]
fn file_without_a_place_is_an_error() {
    let missing = Store::new(in_file(Path::new("/nowhere/at/all")));
    let told = missing.map(|_| ()).unwrap_err().to_string();
    assert_eq!(told, "cannot open memory file /nowhere/at/all: entity not found");
}
