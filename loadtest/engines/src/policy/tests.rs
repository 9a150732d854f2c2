use std::collections::VecDeque;

use super::{Policy, PolicyName};
use crate::load::{random, zipf_ranks};

/// Replays keys of ten bytes each; `x` for a hit, `.` for a miss.
fn replay(policy: &mut dyn Policy, keys: &[u32]) -> String {
    keys.iter().map(|key| if policy.request(*key, 10) { 'x' } else { '.' }).collect()
}

#[test]
fn lru_drops_what_was_read_longest_ago() {
    let mut lru = PolicyName::Lru.make(30, 10);
    assert_eq!(replay(&mut *lru, &[0, 1, 2, 0, 3, 0, 1, 2]), "...x.x..");
}

#[test]
fn lru_agrees_with_a_naive_twin() {
    let (mut random, rank) = (random(7), zipf_ranks(200, 0.9));
    let mut lru = PolicyName::Lru.make(1000, 200);
    let mut naive: VecDeque<(u32, u32)> = VecDeque::new();
    for _ in 0..20_000 {
        let key = rank(&mut random);
        let bytes = 5 + key % 40;
        let known = naive.iter().position(|(known, _)| *known == key);
        let item = known.and_then(|at| naive.remove(at)).unwrap_or((key, bytes));
        naive.push_back(item);
        while naive.iter().map(|(_, bytes)| bytes).sum::<u32>() > 1000 {
            naive.pop_front();
        }
        assert_eq!(lru.request(key, bytes), known.is_some());
    }
}

#[test]
fn s3_fifo_promotes_after_one_hit_and_remembers_what_it_dropped() {
    // Capacity for ten; one in the small queue.
    let mut s3 = PolicyName::S3Fifo.make(100, 100);
    // 0 is read once again and survives the scan; 1 is dropped into the ghosts.
    let scan: Vec<u32> = (0..10).collect();
    assert_eq!(replay(&mut *s3, &scan), "..........");
    assert_eq!(replay(&mut *s3, &[0, 10, 11, 0, 1]), "x..x.");
    // 1 came back by its ghost, into the main queue: a long scan does not touch it.
    let scan: Vec<u32> = (20..60).collect();
    replay(&mut *s3, &scan);
    assert_eq!(replay(&mut *s3, &[0, 1, 2]), "xx.");
}

#[test]
fn s3_fifo_by_size_asks_a_large_item_for_more() {
    for (policy, large_stays) in [(PolicyName::S3Fifo, true), (PolicyName::S3FifoSize, false)] {
        let mut s3 = policy.make(1000, 1000);
        // A large and a small item, each read once again, then a scan.
        s3.request(0, 300);
        s3.request(1, 10);
        assert!(s3.request(0, 300) && s3.request(1, 10));
        (100..250).for_each(|key| _ = s3.request(key, 10));
        assert!(s3.request(1, 10), "{policy}");
        assert_eq!(s3.request(0, 300), large_stays, "{policy}");
    }
}

#[test]
fn w_tiny_lfu_keeps_what_is_frequent_from_what_is_new() {
    let mut lfu = PolicyName::WTinyLfu.make(1000, 1000);
    (0..99).for_each(|key| _ = lfu.request(key, 10));
    for _ in 0..3 {
        assert_eq!((0..50).filter(|key| lfu.request(*key, 10)).count(), 50);
    }
    // A scan of keys that come once leaves the fifty alone.
    (200..900).for_each(|key| _ = lfu.request(key, 10));
    assert_eq!((0..50).filter(|key| lfu.request(*key, 10)).count(), 50);
}

#[test]
fn gdsf_drops_the_large_before_the_small_and_ages() {
    let mut gdsf = PolicyName::Gdsf.make(100, 1000);
    gdsf.request(0, 60);
    gdsf.request(1, 10);
    gdsf.request(2, 40);
    assert!(!gdsf.request(0, 60), "the large one had to go for 2");
    // 2 is read often; then it is not, and new items push it out in the end.
    (0..5).for_each(|_| _ = gdsf.request(3, 10));
    let scanned = (10..1000).find(|key| {
        gdsf.request(*key, 10);
        !gdsf.request(3, 10) && *key > 500
    });
    assert_eq!(scanned, None, "3 is read after each and stays");
}

#[test]
fn every_policy_stays_within_its_capacity_and_beats_chance() {
    for policy in PolicyName::ALL {
        let (mut random, rank) = (random(5), zipf_ranks(10_000, 0.9));
        let mut cache = policy.make(100_000, 10_000);
        let mut hits = 0;
        for _ in 0..100_000 {
            let key = rank(&mut random);
            hits += u32::from(cache.request(key, 50 + key % 300));
            assert!(cache.held_bytes() <= 100_000, "{policy}");
        }
        // About 500 of 10,000 keys fit.
        assert!((30_000..70_000).contains(&hits), "{policy}: {hits}");
    }
}

#[test]
fn every_policy_passes_over_what_can_never_fit() {
    for policy in PolicyName::ALL {
        let mut cache = policy.make(1000, 10);
        assert!(!cache.request(0, 100));
        assert!(!cache.request(1, 2000) && !cache.request(1, 2000), "{policy}");
        assert!(cache.held_bytes() <= 1000, "{policy}");
    }
}
