//! One near cache, its clock in the test's hand.

use std::sync::atomic::AtomicBool;
use std::thread;

use tokio::time::advance;

use super::*;
use crate::key::Key;

const SECOND: Duration = Duration::from_secs(1);

fn kept(bytes_max: usize, ttl: Duration) -> Kept {
    Kept::new(NearCache::new(bytes_max).ttl(ttl), NearMetrics::register("HOME", "any"))
}

fn key(name: &str) -> Key {
    Key::new(b"", name.as_bytes()).expect("a good key")
}

fn item(value: impl Into<Bytes>, ttl: Option<Duration>) -> Item {
    Item { value: value.into(), flags: 7, cas: 9, ttl, version: Some(Version(9)), until_secs: None }
}

fn bytes() -> Form {
    Form::new(crate::value::Compression::off(), crate::value::chunk::Chunking::default())
}

/// Reads through the near cache what `item` is.
fn read(kept: &Kept, key: &Key, item: &Item) {
    let pass = kept.find(bytes(), key).expect_err("it is not there");
    kept.keep(pass, bytes(), key, item);
}

#[tokio::test(start_paused = true)]
async fn item_is_served_for_the_near_ttl_and_tells_its_age() {
    let (kept, key) = (kept(1 << 20, 5 * SECOND), key("k"));
    read(&kept, &key, &item("v", Some(60 * SECOND)));
    advance(4 * SECOND).await;
    let found = kept.find(bytes(), &key).expect("it is fresh");
    assert_eq!(found, item("v", Some(56 * SECOND)));
    advance(SECOND).await;
    assert!(kept.find(bytes(), &key).is_err());
}

#[tokio::test(start_paused = true)]
async fn item_is_not_served_beyond_its_own_ttl() {
    let (kept, key) = (kept(1 << 20, 5 * SECOND), key("k"));
    read(&kept, &key, &item("v", Some(2 * SECOND)));
    advance(SECOND - Duration::from_millis(1)).await;
    assert!(kept.find(bytes(), &key).is_ok());
    advance(Duration::from_millis(1)).await;
    assert!(kept.find(bytes(), &key).is_err(), "two seconds told may be little more than one");
    read(&kept, &key, &item("v", Some(SECOND)));
    assert!(kept.find(bytes(), &key).is_err(), "its last second");
    read(&kept, &key, &item("v", None));
    assert_eq!(kept.find(bytes(), &key).expect("it does not expire").ttl, None);
}

#[tokio::test(start_paused = true)]
async fn time_that_a_read_takes_counts() {
    let (kept, key) = (kept(1 << 20, SECOND), key("k"));
    let pass = kept.pass(&key);
    advance(SECOND).await;
    kept.keep(pass, bytes(), &key, &item("v", None));
    assert!(kept.find(bytes(), &key).is_err());
}

#[tokio::test]
async fn read_that_began_before_a_write_keeps_nothing() {
    let (kept, key) = (kept(1 << 20, 60 * SECOND), key("k"));
    let before = kept.pass(&key);
    kept.invalidate(&key);
    kept.keep(before, bytes(), &key, &item("old", None));
    assert!(kept.find(bytes(), &key).is_err());
    read(&kept, &key, &item("new", None));
    assert!(kept.find(bytes(), &key).is_ok());
    kept.invalidate(&key);
    assert!(kept.find(bytes(), &key).is_err(), "what was kept goes, too");
}

#[tokio::test]
async fn nothing_from_before_a_flush_is_served() {
    let (kept, keys) = (kept(1 << 20, 60 * SECOND), [key("a"), key("b")]);
    read(&kept, &keys[0], &item("old", None));
    let before = kept.pass(&keys[1]);
    kept.invalidate_all();
    kept.keep(before, bytes(), &keys[1], &item("old", None));
    for key in &keys {
        assert!(kept.find(bytes(), key).is_err());
        read(&kept, key, &item("new", None));
        assert!(kept.find(bytes(), key).is_ok());
    }
}

#[tokio::test]
async fn miss_at_the_nodes_drops_what_was_kept() {
    let (kept, key) = (kept(1 << 20, 60 * SECOND), key("k"));
    read(&kept, &key, &item("v", None));
    kept.drop_missed(kept.pass(&key), &key);
    assert!(kept.find(bytes(), &key).is_err());
}

#[tokio::test]
async fn bytes_stay_within_the_bound() {
    const BOUND: usize = 64 << 10;
    let kept = kept(BOUND, 60 * SECOND);
    for index in 0..2_000 {
        let key = key(&format!("key-{index}"));
        if let Err(pass) = kept.find(bytes(), &key) {
            kept.keep(pass, bytes(), &key, &item(vec![0; 100 + index % 4_000], None));
        }
        let held = kept.bytes.load(Ordering::Relaxed);
        assert!(held <= BOUND as u64, "{held} after {index}");
    }
    assert!(kept.bytes.load(Ordering::Relaxed) > BOUND as u64 / 2, "it holds something");
    kept.invalidate_all();
    kept.items.run_pending_tasks();
    assert_eq!(kept.bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn value_too_large_for_its_share_is_not_kept() {
    let (kept, key) = (kept(64 << 10, 60 * SECOND), key("k"));
    read(&kept, &key, &item("small", None));
    kept.keep(kept.pass(&key), bytes(), &key, &item(vec![0; 8 << 10], None));
    assert!(kept.find(bytes(), &key).is_err(), "nor is what it has replaced");
}

#[tokio::test]
async fn kept_value_does_not_hold_the_buffer_it_was_read_into() {
    let (kept, key) = (kept(1 << 20, 60 * SECOND), key("k"));
    let buffer = Bytes::from(vec![1; 4096]);
    read(&kept, &key, &item(buffer.slice(..10), None));
    let found = kept.find(bytes(), &key).expect("it is kept");
    assert_eq!(found.value, buffer.slice(..10));
    assert_ne!(found.value.as_ptr(), buffer.as_ptr());
}

#[tokio::test]
async fn value_as_it_lies_on_the_nodes_is_not_served_as_a_caller_s() {
    let (kept, key) = (kept(1 << 20, 60 * SECOND), key("k"));
    read(&kept, &key, &item("v", None));
    assert!(kept.find(Form::verbatim(), &key).is_err());
}

/// Readers and a writer on all cores: after a write has ended nobody is served what was there before.
#[test]
fn no_read_is_older_than_the_last_write_that_ended() {
    const WRITES: u64 = 20_000;
    let (kept, key) = (kept(1 << 20, 60 * SECOND), key("k"));
    let (stored, ended, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let least = ended.load(Ordering::SeqCst);
                    match kept.find(bytes(), &key) {
                        Ok(item) => {
                            let number = u64::from_be_bytes(item.value[..].try_into().expect("a number"));
                            assert!(number >= least, "{number} is older than {least}");
                        }
                        Err(pass) => {
                            let read = stored.load(Ordering::SeqCst).to_be_bytes();
                            kept.keep(pass, bytes(), &key, &item(read.to_vec(), None));
                        }
                    }
                }
            });
        }
        for number in 1..=WRITES {
            stored.store(number, Ordering::SeqCst);
            kept.invalidate(&key);
            ended.store(number, Ordering::SeqCst);
        }
        done.store(true, Ordering::SeqCst);
    });
}
