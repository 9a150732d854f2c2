//! The budget: never exceeded, never a reason to refuse, and not wasted.

use std::num::NonZeroUsize;

use bytes::Bytes;
use evanesce_store::{
    Expiry, Lookup, Read, Store, StoreConfig, StoreStats, Time, Value, Write, WriteMode, WriteOutcome,
};
use proptest::prelude::{any, prop, prop_assert, prop_oneof, proptest};

const NOW: Time = Time(1_700_000_000_000);

fn store(memory_bytes: usize, item_bytes_max: usize, shards: usize) -> Store {
    let shards = NonZeroUsize::new(shards).expect("tests have shards");
    Store::new(StoreConfig { memory_bytes, item_bytes_max, shards }).expect("the config works")
}

fn set(store: &Store, key: u64, value: &[u8]) -> WriteOutcome {
    store.write(&Write::set(key.to_string().as_bytes(), value), NOW)
}

fn stored(outcome: WriteOutcome) -> bool {
    matches!(outcome, WriteOutcome::Stored { .. })
}

fn is_there(store: &Store, key: u64) -> bool {
    store.read(&Read::key(key.to_string().as_bytes()), NOW, |lookup| matches!(lookup, Lookup::Hit(_)))
}

fn within(stats: &StoreStats) -> bool {
    stats.bytes <= stats.limit_bytes
}

proptest! {
    #[test]
    fn budget_holds_whatever_the_sizes(
        sizes in prop::collection::vec(
            prop_oneof![6 => 0usize..300, 3 => 0usize..5_000, 1 => 0usize..200_000],
            1..2_000,
        ),
        reads in any::<u64>(),
        shards in 1usize..9,
    ) {
        let store = store(2 << 20, 256 << 10, shards);
        for (key, size) in sizes.iter().enumerate() {
            let key = key as u64;
            prop_assert!(stored(set(&store, key, &vec![1; *size])));
            prop_assert!(is_there(&store, key));
            if key.is_multiple_of(3) {
                is_there(&store, reads % (key + 1));
            }
            let stats = store.stats();
            prop_assert!(within(&stats), "{stats:?}");
        }
    }
}

#[test]
fn largest_item_is_stored_whatever_the_shards_hold() {
    let store = store(64 << 20, (1 << 20) + 250, 16);
    (0..100_000).for_each(|key| assert!(stored(set(&store, key, &[7; 1_500]))));
    for key in 0..200 {
        assert!(stored(set(&store, 1_000_000 + key, &vec![9; 1 << 20])));
        assert!(is_there(&store, 1_000_000 + key));
        assert!(within(&store.stats()));
    }
    (0..100_000).for_each(|key| assert!(stored(set(&store, key, &[7; 1_500]))));
    assert!(within(&store.stats()));
}

#[test]
fn nothing_is_evicted_while_all_fits() {
    // 90 % of the budget in items, over uneven shards.
    let store = store(64 << 20, 1 << 20, 8);
    (0..28_500).for_each(|key| assert!(stored(set(&store, key, &[7; 2_100]))));
    let stats = store.stats();
    assert_eq!((stats.evictions, stats.items), (0, 28_500), "{stats:?}");
    assert!(stats.item_bytes * 10 >= stats.limit_bytes * 9, "{stats:?}");
}

#[test]
fn overwritten_values_leave_no_waste_behind() {
    // Half of the budget, written again and again at other sizes: all dead bytes are found again.
    let store = store(16 << 20, 1 << 20, 4);
    for round in 0..40u64 {
        for key in 0..4_000u64 {
            let size = 1_000 + (key * 7 + round * 131) as usize % 1_900;
            assert!(stored(set(&store, key * 7919 % 4_000, &vec![7; size])));
        }
    }
    let stats = store.stats();
    assert_eq!((stats.evictions, stats.items), (0, 4_000), "{stats:?}");
}

#[test]
fn value_that_a_reader_keeps_counts_until_it_is_dropped() {
    let store = store(8 << 20, 1 << 20, 2);
    let mut kept: Vec<Vec<Bytes>> = Vec::new();
    let mut key = 0;
    // Every value is kept, until the budget is full of them.
    loop {
        match set(&store, key, &vec![key as u8; 1_000_000]) {
            WriteOutcome::OutOfMemory => break,
            outcome => assert!(stored(outcome)),
        }
        store.read(&Read::key(key.to_string().as_bytes()), NOW, |lookup| match lookup {
            Lookup::Hit(hit) => match hit.value {
                Value::Pinned(pieces) => kept.push(pieces.to_vec()),
                Value::Inline(_) => panic!("a large value is pinned"),
            },
            Lookup::Miss => panic!("it was just stored"),
        });
        assert!(within(&store.stats()));
        key += 1;
    }
    assert_eq!(kept.len(), 8);
    // What was evicted while it was kept is still what it was.
    for (key, pieces) in kept.iter().enumerate() {
        assert!(pieces.iter().all(|piece| piece.iter().all(|byte| *byte == key as u8)));
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), 1_000_000);
    }
    kept.clear();
    assert!(stored(set(&store, key, &vec![1; 1_000_000])));
}

#[test]
fn append_that_needs_an_extent_finds_room_in_a_full_store() {
    let store = store(8 << 20, 1 << 20, 4);
    (0..20_000).for_each(|key| assert!(stored(set(&store, key, &[7; 1_000]))));
    assert!(stored(set(&store, 1, &[1; 2_000])));
    let append = Write { mode: WriteMode::Append { vivify: None }, ..Write::set(b"1", &[2; 100_000]) };
    let outcome = store.write(&append, NOW);
    assert!(matches!(outcome, WriteOutcome::Stored { value_bytes: 102_000, .. }), "{outcome:?}");
}

#[test]
fn expired_items_give_their_memory_back_in_bounded_steps() {
    let store = store(8 << 20, 1 << 20, 4);
    let soon = Expiry::At(Time(NOW.0 + 1_000));
    for key in 0..3_000u64 {
        let (key, value) = (key.to_string(), [7; 1_000]);
        assert!(stored(store.write(&Write { expiry: soon, ..Write::set(key.as_bytes(), &value) }, NOW)));
    }
    let full = store.stats().bytes;
    let later = Time(NOW.0 + 1_000);
    assert_eq!(store.expire(NOW, usize::MAX), 0);
    let mut steps = 0;
    while store.stats().items > 0 {
        let dropped = store.expire(later, 100);
        // A step ends with a whole segment.
        assert!((1..200).contains(&dropped), "{dropped}");
        steps += 1;
    }
    assert!(steps > 15);
    let stats = store.stats();
    assert_eq!((stats.expired, stats.expired_unfetched, stats.evictions), (3_000, 3_000, 0));
    assert!(stats.bytes < full / 2, "{stats:?}");
}

#[test]
fn scan_does_not_drive_out_what_is_read() {
    let store = store(16 << 20, 1 << 20, 4);
    let hot = 0..4_000u64;
    for key in hot.clone() {
        set(&store, key, &[7; 1_000]);
        is_there(&store, key);
    }
    // Four times the budget goes by once, while the hot keys are read now and then.
    let scan = |from: u64| {
        for key in 0..64_000u64 {
            set(&store, from + key, &[7; 1_000]);
            is_there(&store, key % 4_000);
        }
        hot.clone().filter(|key| is_there(&store, *key)).count()
    };
    // When the first write finds the memory full, all that is oldest has been read: each shard spares 16 segments and
    // then, to bound the work of one write, none of the 17th. Which items stand there depends on the store's seed.
    let first = scan(1_000_000);
    assert!(first >= 4_000 * 16 / 17, "{first} of 4000");
    // What was lost then is put back, as a reader would; from now on the hot keys are known for what they are.
    for key in hot.clone() {
        if !is_there(&store, key) {
            set(&store, key, &[7; 1_000]);
            is_there(&store, key);
        }
    }
    assert_eq!(scan(2_000_000), 4_000);
}
