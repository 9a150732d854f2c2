//! Many writes at once are as one after the other.

use evanesce_store::{Expiry, Store, Time, Version, Write, WriteMode, WriteOutcome};
use proptest::prelude::{Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

use crate::kit::{MIB, NOW, assert_within, get, seeded, store, stored, telling};

#[derive(Debug, Clone)]
struct Given {
    key: [u8; 2],
    value: Vec<u8>,
    mode: WriteMode,
    version: Option<Version>,
    lives_ms: Option<u16>,
}

impl Given {
    fn write(&self) -> Write<'_> {
        let expiry = self.lives_ms.map_or(Expiry::Never, |ms| Expiry::At(Time(NOW.0 + u64::from(ms))));
        Write { expiry, mode: self.mode, version: self.version, ..Write::set(&self.key, &self.value) }
    }
}

fn given() -> impl Strategy<Value = Given> {
    let size = prop_oneof![6 => 0usize..60, 1 => 5_000usize..60_000];
    let mode = prop_oneof![
        3 => prop::strategy::Just(WriteMode::Set),
        1 => prop::strategy::Just(WriteMode::Add),
        1 => prop::strategy::Just(WriteMode::Append { vivify: Some(Expiry::Never) }),
    ];
    let version = prop::option::of((0u64..6).prop_map(|ms| Version::at(Time(NOW.0 - ms), 1)));
    let lives = prop::option::weighted(0.2, 0u16..1000);
    (0u8..40, size, any::<u8>(), mode, version, lives).prop_map(
        |(key, size, fill, mode, version, lives_ms)| Given {
            key: [b'k', key],
            value: vec![fill; size],
            mode,
            version,
            lives_ms,
        },
    )
}

/// All there is, but for the numbers that a store stamps by itself: shards take them in turns.
fn contents(store: &Store) -> Vec<(Vec<u8>, Vec<u8>, u32, Expiry)> {
    let (mut found, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        next = store.walk(from, NOW, |item| {
            let value = item.hit.value.contiguous().into_owned();
            found.push((item.key.to_vec(), value, item.hit.flags, item.hit.expiry));
        });
    }
    found
}

fn kind(outcome: WriteOutcome) -> std::mem::Discriminant<WriteOutcome> {
    std::mem::discriminant(&outcome)
}

proptest! {
    #![proptest_config(seeded(if cfg!(miri) { 2 } else { 200 }))]

    #[test]
    fn batch_does_what_its_writes_do_one_by_one(
        given in prop::collection::vec(given(), 0..if cfg!(miri) { 20 } else { 150 }),
        shards in 1usize..4,
    ) {
        let (batched, single) = (store(16 * MIB, MIB, shards), store(16 * MIB, MIB, shards));
        let writes: Vec<_> = given.iter().map(Given::write).collect();
        let expected: Vec<_> = writes.iter().map(|write| Some(kind(single.write(write, NOW)))).collect();
        let mut outcomes = vec![None; writes.len()];
        batched.write_batch(&writes, NOW, |index, outcome| {
            assert_eq!(outcomes[index].replace(kind(outcome)), None, "{index} is told twice");
        });
        prop_assert_eq!(outcomes, expected);
        prop_assert_eq!(contents(&batched), contents(&single));
        let (batched, single) = (batched.stats(), single.stats());
        prop_assert_eq!((batched.items, batched.bytes), (single.items, single.bytes));
    }
}

#[test]
fn batch_finds_room_in_a_store_that_is_full() {
    const MEMORY: usize = 2 * MIB;
    const BATCHES: u64 = if cfg!(miri) { 3 } else { 300 };
    let store = store(MEMORY, MEMORY / 16, 3);
    for batch in 0..BATCHES {
        let keys: Vec<String> = (0..100).map(|at| (batch * 100 + at).to_string()).collect();
        let values: Vec<_> =
            (0..100).map(|at| telling(at, if at % 25 == 3 { 50_000 } else { 300 })).collect();
        let writes: Vec<_> =
            keys.iter().zip(&values).map(|(key, value)| Write::set(key.as_bytes(), value)).collect();
        let mut count = 0;
        store.write_batch(&writes, NOW, |index, outcome| {
            assert!(stored(outcome), "{}: {outcome:?}", keys[index]);
            count += 1;
        });
        assert_eq!(count, writes.len());
        // The last small ones of a batch are nobody's victims yet.
        assert_eq!(get(&store, &keys[99]).as_deref(), Some(&values[99][..]));
        assert_within(&store, MEMORY);
    }
    assert!(cfg!(miri) || store.stats().evictions > 0);
}

#[test]
fn writes_that_wait_for_room_come_in_turn() {
    const MEMORY: usize = 2 * MIB;
    let store = store(MEMORY, MEMORY / 16, 2);
    // One shard has all memory, the other has to ask for it.
    let keys_of = |upper: bool| {
        let keys = (0_u64..).map(|key| key.to_string());
        keys.filter({
            let store = &store;
            move |key| (store.hash(key.as_bytes()) >> 63 == 1) == upper
        })
    };
    for key in keys_of(false).take(if cfg!(miri) { 1_500 } else { 20_000 }) {
        store.write(&Write::set(key.as_bytes(), &[7; 1_000]), NOW);
    }
    let keys: Vec<String> = keys_of(true).take(3).collect();
    let values: Vec<Vec<u8>> =
        (0..60).map(|at| telling(at, if at % 2 == 1 { 90_000 } else { 500 })).collect();
    let key_of = |index: usize| &keys[index % keys.len()];
    let writes: Vec<_> =
        values.iter().enumerate().map(|(index, value)| Write::set(key_of(index).as_bytes(), value)).collect();
    let mut visited = Vec::new();
    store.write_batch(&writes, NOW, |index, outcome| {
        assert!(stored(outcome), "{index}: {outcome:?}");
        visited.push(index);
    });
    assert_eq!(visited, (0..60).collect::<Vec<_>>(), "all are of one shard");
    for (index, value) in values.iter().enumerate().skip(57) {
        assert_eq!(get(&store, key_of(index)).as_deref(), Some(&value[..]));
    }
    assert_within(&store, MEMORY);
}
