//! Proactive expiry: memory of what has expired is free for others.

use evanesce_store::{Expiry, NamespaceConfig, Store, StoreConfig, Time};

use crate::kit::{MIB, NOW, Random, assert_within, config, get_at, set, set_until, store, telling};

fn at(ms: u64) -> Time {
    Time(NOW.0 + ms)
}

/// A timer's steps, until one finds no more.
fn expire_all(store: &Store, now: Time, items_max: usize) -> usize {
    let mut sum = 0;
    // A step may end at a shard that has nothing to drop while the next one has.
    for _ in 0..100_000 {
        let before = store.stats().items;
        sum += store.expire(now, items_max);
        if store.stats().items == before && store.expire(now, usize::MAX) == 0 {
            return sum;
        }
    }
    panic!("expiry comes to no end");
}

#[test]
fn expired_items_give_their_memory_back_in_bounded_steps() {
    let store = store(8 * MIB, MIB, 4);
    let soon = Expiry::At(at(1_000));
    (0..3_000).for_each(|n| set_until(&store, &n.to_string(), &[7; 1_000], soon, NOW));
    let full = store.stats().bytes;
    assert_eq!(store.expire(NOW, usize::MAX), 0);
    let mut steps = 0;
    while store.stats().items > 0 {
        let dropped = store.expire(at(1_000), 100);
        // A step ends with a whole segment.
        assert!((1..200).contains(&dropped), "{dropped}");
        steps += 1;
    }
    assert!(steps > 15);
    let stats = store.stats();
    assert_eq!((stats.expired, stats.expired_unfetched, stats.evictions), (3_000, 3_000, 0));
    assert!(stats.bytes < full / 8, "{stats:?}");
}

#[test]
fn memory_of_expired_items_is_free_for_others_before_anything_is_evicted() {
    let store = store(16 * MIB, MIB, 4);
    // Half lives on; half expires, in between.
    for n in 0..7_000u64 {
        set(&store, &format!("stays{n}"), &[7; 1_000]);
        set_until(&store, &format!("goes{n}"), &[7; 1_000], Expiry::At(at(5_000)), NOW);
    }
    assert_eq!(store.stats().evictions, 0);
    expire_all(&store, at(5_000), 200);
    assert_eq!(store.stats().items, 7_000);
    (0..6_500).for_each(|n| set_until(&store, &format!("new{n}"), &[7; 1_000], Expiry::Never, at(5_001)));
    let stats = assert_within(&store, 16 * MIB);
    assert_eq!((stats.evictions, stats.items), (0, 13_500), "{stats:?}");
}

#[test]
fn expired_large_values_give_their_memory_back() {
    let store = store(16 * MIB, MIB, 2);
    for n in 0..20 {
        set_until(&store, &format!("large{n}"), &telling(n, 500_000), Expiry::At(at(2_000)), NOW);
    }
    let full = store.stats().bytes;
    expire_all(&store, at(2_000), 100);
    let stats = store.stats();
    assert!(stats.items == 0 && stats.bytes < full / 8, "{stats:?}");
}

#[test]
fn flushed_items_give_their_memory_back() {
    let store = store(8 * MIB, MIB, 2);
    (0..3_000).for_each(|n| set(&store, &n.to_string(), &[7; 1_000]));
    let full = store.stats().bytes;
    store.flush(NOW);
    expire_all(&store, NOW, 100);
    let stats = store.stats();
    assert_eq!((stats.items, stats.flushed, stats.expired, stats.evictions), (0, 3_000, 0, 0));
    assert!(stats.bytes < full / 8, "{stats:?}");
}

/// A flush of one namespace left its items' memory in use until eviction came by: only segments of which every
/// namespace was flushed were looked through.
#[test]
fn items_of_a_flushed_namespace_give_their_memory_back_and_others_stay() {
    let namespaces = vec![NamespaceConfig { name: "a".to_owned(), ..NamespaceConfig::default() }];
    let store = Store::new(StoreConfig { namespaces, ..config(8 * MIB, MIB, 2) }).expect("the config works");
    for n in 0..3_000 {
        set(&store, &format!("a:{n}"), &[7; 1_000]);
        set(&store, &n.to_string(), &[7; 100]);
    }
    let full = store.stats().bytes;
    assert!(store.flush_namespace("a", NOW));
    expire_all(&store, NOW, 100);
    let stats = store.stats();
    assert_eq!((stats.items, stats.flushed, stats.evictions), (3_000, 3_000, 0));
    assert!(stats.bytes < full / 2, "{stats:?}");
    // Segments that were looked through are left alone until the next flush.
    assert_eq!(store.expire(NOW, usize::MAX), 0);
    store.flush(NOW);
    expire_all(&store, NOW, 100);
    assert_eq!((store.stats().items, store.stats().flushed), (0, 6_000));
}

#[test]
fn touched_items_live_on_and_shortened_ones_end() {
    let store = store(8 * MIB, MIB, 2);
    let touch = |key: &str, until: Time| {
        let read = evanesce_store::Read {
            touch: Some(Expiry::At(until)),
            ..evanesce_store::Read::key(key.as_bytes())
        };
        store.read(&read, NOW, |_| ());
    };
    for n in 0..2_000 {
        set_until(&store, &format!("longer{n}"), &[7; 500], Expiry::At(at(3_000)), NOW);
        touch(&format!("longer{n}"), at(3_600_000));
        set_until(&store, &format!("shorter{n}"), &[7; 500], Expiry::At(at(3_600_000)), NOW);
        touch(&format!("shorter{n}"), at(3_000));
        set(&store, &format!("ends{n}"), &[7; 500]);
        touch(&format!("ends{n}"), at(3_000));
    }
    expire_all(&store, at(3_500), 300);
    assert_eq!(store.stats().items, 2_000);
    assert!((0..2_000).all(|n| get_at(&store, &format!("longer{n}"), at(3_500)).is_some()));
    expire_all(&store, at(3_600_000), 300);
    assert_eq!(store.stats().items, 0);
}

#[test]
fn share_of_expired_bytes_stays_small_when_lives_are_mixed() {
    let store = store(16 * MIB, MIB, 2);
    let mut random = Random(5);
    // Lives of seconds, minutes and hours, side by side; a timer steps every second.
    let mut ends: Vec<u64> = Vec::new();
    let mut worst = 0.0f64;
    for second in 0..3_000u64 {
        let now = at(second * 1_000);
        for n in 0..12 {
            let lives = match random.below(3) {
                0 => 1_000 + random.below(20_000),
                1 => 30_000 + random.below(600_000),
                _ => 3_600_000 + random.below(7_200_000),
            };
            let expiry = Expiry::At(Time(now.0 + lives));
            set_until(&store, &format!("{second}-{n}"), &[7; 300], expiry, now);
            ends.push(now.0 + lives);
        }
        store.expire(now, 1_000);
        if second % 100 == 99 {
            ends.retain(|end| *end > now.0);
            let stats = store.stats();
            assert_eq!(stats.evictions, 0);
            let expired = 1.0 - ends.len() as f64 / stats.items as f64;
            worst = if second > 600 { worst.max(expired) } else { worst };
        }
    }
    println!("worst share of expired items: {worst:.3}");
    assert!(worst < 0.10, "worst share {worst}");
}

#[test]
fn clock_set_back_brings_no_expired_item_back_once_it_was_found_out() {
    let store = store(8 * MIB, MIB, 2);
    set_until(&store, "k", b"v", Expiry::At(at(1_000)), NOW);
    assert!(get_at(&store, "k", at(999)).is_some());
    assert!(get_at(&store, "k", at(1_000)).is_none());
    assert!(get_at(&store, "k", NOW).is_none());
}
