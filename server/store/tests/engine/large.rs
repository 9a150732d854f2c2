//! Large values: whole whatever happens, and pinned by whoever reads them.

use bytes::Bytes;
use evanesce_store::{Lookup, Read, Store, Value, Write, WriteMode, WriteOutcome};
use proptest::prelude::{any, prop, prop_assert_eq, prop_oneof, proptest};

use crate::kit::{
    MIB, NOW, Random, assert_within, delete, get, is_there, pinned, seeded, set, store, stored, telling,
};

fn whole(pieces: &[Bytes]) -> Vec<u8> {
    pieces.concat()
}

proptest! {
    #![proptest_config(seeded(if cfg!(miri) { 1 } else { 20 }))]

    #[test]
    fn value_of_any_size_comes_back_as_written(
        sizes in prop::collection::vec(prop_oneof![0usize..20_000, 0usize..1_048_000], 1..30),
        shards in 1usize..4,
    ) {
        let store = store(8 * MIB, MIB, shards);
        for (n, size) in sizes.iter().enumerate() {
            let key = n.to_string();
            set(&store, &key, &telling(n as u64, *size));
            for (other, size) in sizes[..=n].iter().enumerate() {
                if let Some(value) = get(&store, &other.to_string()) {
                    prop_assert_eq!(value, telling(other as u64, *size));
                }
            }
        }
    }

    #[test]
    fn pinned_values_stay_as_they_were_whatever_becomes_of_the_store(seed in any::<u64>(), shards in 1usize..4) {
        let store = store(8 * MIB, MIB, shards);
        let mut random = Random(seed);
        let mut kept: Vec<(u64, usize, Vec<Bytes>)> = Vec::new();
        for n in 0..300u64 {
            let (key, size) = (random.below(40).to_string(), 20_000 + random.below(200_000) as usize);
            set(&store, &key, &telling(n, size));
            match random.below(8) {
                0 => kept.push((n, size, pinned(&store, &key).expect("just stored"))),
                1 => delete(&store, &key, NOW),
                2 => store.flush(NOW),
                3 => {
                    store.expire(NOW, usize::MAX);
                }
                _ => {}
            }
            while kept.len() > 6 {
                let (n, size, pieces) = kept.swap_remove(random.below(kept.len() as u64) as usize);
                prop_assert_eq!(whole(&pieces), telling(n, size));
            }
            assert_within(&store, 8 * MIB);
        }
        for (n, size, pieces) in kept {
            prop_assert_eq!(whole(&pieces), telling(n, size));
        }
    }
}

/// How many values of a megabyte readers can keep until the store is out of memory.
fn keep_all(store: &Store) -> Vec<Vec<Bytes>> {
    let mut kept = Vec::new();
    for n in 0.. {
        let value = telling(n, 1_000_000);
        match store.write(&Write::set(b"kept", &value), NOW) {
            WriteOutcome::OutOfMemory => break,
            outcome => assert!(stored(outcome), "{outcome:?}"),
        }
        kept.push(pinned(store, "kept").expect("just stored"));
        assert_within(store, 8 * MIB);
    }
    kept
}

#[test]
fn value_that_a_reader_keeps_counts_until_it_is_dropped() {
    let store = store(8 * MIB, MIB, 2);
    let kept = keep_all(&store);
    assert!((6..=8).contains(&kept.len()), "{} were kept", kept.len());
    // What was overwritten and evicted while it was kept is still what it was.
    for (n, pieces) in kept.iter().enumerate() {
        assert_eq!(whole(pieces), telling(n as u64, 1_000_000));
    }
    // What is small still finds room, or is refused; and the memory comes back.
    store.write(&Write::set(b"small", b"value"), NOW);
    drop(kept);
    let again = keep_all(&store);
    assert!(again.len() >= 6, "{}", again.len());
}

#[test]
fn memory_that_readers_kept_comes_back_when_they_drop_it() {
    let store = store(16 * MIB, MIB, 2);
    (0..10).for_each(|n| set(&store, &n.to_string(), &telling(n, 500_000)));
    let kept: Vec<_> = (0..10).map(|n| pinned(&store, &n.to_string()).unwrap()).collect();
    let full = store.stats().bytes;
    (0..10).for_each(|n| delete(&store, &n.to_string(), NOW));
    assert!(store.stats().items == 0 && store.stats().bytes > full - MIB as u64, "readers keep it");
    assert!(kept.iter().enumerate().all(|(n, pieces)| whole(pieces) == telling(n as u64, 500_000)));
    drop(kept);
    assert!(store.stats().bytes < MIB as u64, "{:?}", store.stats());
}

#[test]
fn pinned_value_outlives_the_store() {
    let store = store(8 * MIB, MIB, 2);
    set(&store, "k", &telling(1, 100_000));
    let kept = pinned(&store, "k").unwrap();
    drop(store);
    assert_eq!(whole(&kept), telling(1, 100_000));
}

#[test]
fn reader_that_keeps_a_value_is_not_disturbed_by_appends() {
    let store = store(8 * MIB, MIB, 2);
    set(&store, "k", &telling(1, 100_000));
    let kept = pinned(&store, "k").unwrap();
    for mode in [WriteMode::Append { vivify: None }, WriteMode::Prepend { vivify: None }] {
        assert!(stored(store.write(&Write { mode, ..Write::set(b"k", &[9; 50_000]) }, NOW)));
    }
    assert_eq!(whole(&kept), telling(1, 100_000));
    let expected = [&[9; 50_000][..], &telling(1, 100_000), &[9; 50_000]].concat();
    assert!(get(&store, "k").unwrap() == expected);
}

#[test]
fn values_of_sixteen_mebibytes_fit_a_quarter_of_a_gibibyte() {
    let store = store(256 * MIB, 17 * MIB, 4);
    for n in 0..24u64 {
        let value = vec![n as u8; 16 * MIB];
        set(&store, &format!("large{n}"), &value);
        (0..300).for_each(|small| set(&store, &format!("{n}-{small}"), &[7; 500]));
        let pieces = pinned(&store, &format!("large{n}")).unwrap();
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), 16 * MIB);
        assert!(pieces.iter().all(|piece| piece[..] == value[..piece.len()]));
        assert_within(&store, 256 * MIB);
    }
    let there = (0..24).filter(|n| is_there(&store, &format!("large{n}"))).count();
    assert!((12..=15).contains(&there), "{there} are there");
}

#[test]
fn batch_shows_large_and_small_values() {
    let store = store(8 * MIB, MIB, 3);
    let size = |n: u64| if n.is_multiple_of(3) { 30_000 } else { 10 };
    let keys: Vec<String> = (0..90).map(|n: u64| n.to_string()).collect();
    keys.iter().zip(0..).for_each(|(key, n)| set(&store, key, &telling(n, size(n))));
    let reads: Vec<_> = keys.iter().map(|key| Read::key(key.as_bytes())).collect();
    let mut seen = [false; 90];
    store.read_batch(&reads, NOW, |index, lookup| {
        let Lookup::Hit(hit) = lookup else { panic!("{index} is there") };
        assert_eq!(matches!(hit.value, Value::Pinned(_)), index.is_multiple_of(3));
        assert_eq!(*hit.value.contiguous(), telling(index as u64, size(index as u64)));
        assert!(!std::mem::replace(&mut seen[index], true), "{index} twice");
    });
    assert!(seen.iter().all(|seen| *seen));
}

#[test]
fn values_around_every_border_come_back_as_written() {
    for memory in [MIB, 64 * MIB] {
        let store = store(memory, memory / 8, 4);
        for (key, segment) in
            [1, 250].into_iter().flat_map(|key| [4096, 16_384, 65_536].map(|segment| (key, segment)))
        {
            let key = "k".repeat(key);
            let inline = (segment / 8 - 255..segment / 8 + 5).step_by(1 + segment / 16_384);
            // Pieces of a sixteenth of a segment less their headers.
            let pieces = [1, 2, 16, 17].into_iter().flat_map(|count| {
                let most = count * (segment / 16 - 12);
                most - 1..=most + 1
            });
            for size in inline.chain(pieces).filter(|size| size + key.len() <= memory / 8) {
                let value = telling(size as u64, size);
                set(&store, &key, &value);
                assert!(get(&store, &key) == Some(value), "{size} bytes under a key of {}", key.len());
            }
        }
        assert_within(&store, memory);
    }
}
