//! Two threads on one full store: no wrong value, no lost count, no more memory than allowed.

use std::num::NonZeroUsize;
use std::thread;

use evanesce_store::{
    Arithmetic, ArithmeticOutcome, Delete, Direction, Expiry, Lookup, Read, Store, StoreConfig, Time, Write,
    WriteOutcome,
};

const NOW: Time = Time(1_700_000_000_000);
const STEPS: u64 = 60_000;

/// A small generator of its own, so that a failure repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A value that tells whose it is in every byte.
fn value(key: u64, size: u64) -> Vec<u8> {
    vec![(key % 251) as u8; size as usize]
}

fn step(store: &Store, random: &mut Random, now: Time) {
    let key = random.below(6_000);
    let text = key.to_string();
    match random.below(10) {
        0 => {
            store.delete(&Delete::key(text.as_bytes()), now);
        }
        1..=4 => {
            let size = if random.below(50) == 0 { random.below(200_000) } else { random.below(2_000) };
            let expiry = Expiry::At(Time(now.0 + random.below(5_000)));
            let value = value(key, size);
            let outcome = store.write(&Write { expiry, ..Write::set(text.as_bytes(), &value) }, now);
            assert!(matches!(outcome, WriteOutcome::Stored { .. }), "{outcome:?}");
        }
        5 => {
            store.expire(now, 100);
        }
        _ => store.read(&Read::key(text.as_bytes()), now, |lookup| {
            if let Lookup::Hit(hit) = lookup {
                assert!(hit.value.contiguous().iter().all(|byte| *byte == (key % 251) as u8));
            }
        }),
    }
}

#[test]
fn threads_see_only_right_values_in_a_full_store() {
    let shards = NonZeroUsize::new(3).unwrap();
    let store = Store::new(StoreConfig { memory_bytes: 4 << 20, item_bytes_max: 256 << 10, shards }).unwrap();
    thread::scope(|scope| {
        for seed in 0..2 {
            let store = &store;
            scope.spawn(move || {
                let mut random = Random(seed);
                for at in 0..STEPS {
                    step(store, &mut random, Time(NOW.0 + at));
                    if at.is_multiple_of(64) {
                        let stats = store.stats();
                        assert!(stats.bytes <= stats.limit_bytes, "seed {seed}: {stats:?}");
                    }
                }
            });
        }
    });
    assert!(store.stats().evictions > 0);
}

#[test]
fn threads_lose_no_increment() {
    let store = Store::new(StoreConfig::default()).unwrap();
    store.write(&Write::set(b"n", b"0"), NOW);
    let op = Arithmetic {
        key: b"n",
        direction: Direction::Increment,
        delta: 1,
        initial: None,
        touch: None,
        compare: None,
        cas_override: None,
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..STEPS {
                    store.arithmetic(&op, NOW);
                }
            });
        }
    });
    let last = store.arithmetic(&Arithmetic { delta: 0, ..op }, NOW);
    assert!(matches!(last, ArithmeticOutcome::Number { number, .. } if number == 2 * STEPS), "{last:?}");
}
