mod clear;
mod flushes;
mod lacks;
mod letters;
mod model;

use std::fs::{File, OpenOptions};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::files::Medium;
use super::*;
use crate::config::FlushPolicy;
use crate::store::{Change, StoreItem};

fn options(bytes_max: u64) -> LogConfig {
    LogConfig { flush: FlushPolicy::EveryWrite, bytes_max, retries_max: 3 }
}

fn put(key: &str, version: u64, value: impl Into<Bytes>) -> KeyChange {
    let item = StoreItem { value: value.into(), flags: 1, expires_at: None, version: Some(version) };
    KeyChange { key: Bytes::copy_from_slice(key.as_bytes()), version, change: Change::Put(item) }
}

fn open(directory: &Path) -> Log {
    let (log, damages) = Log::open(directory, options(64 << 20)).expect("it opens");
    assert_eq!(damages, []);
    log
}

fn found(log: &Log, key: &[u8]) -> Option<KeyChange> {
    log.find(key).expect("it can be read").map(|waiting| waiting.change)
}

fn waiting(log: &Log) -> Vec<(Bytes, u64)> {
    log.take(100_000, u64::MAX).into_iter().map(|taken| (taken.change.key, taken.change.version)).collect()
}

fn only_segment(directory: &Path) -> PathBuf {
    let files =
        std::fs::read_dir(directory).expect("it is there").map(|file| file.expect("it is there").path());
    let mut segments: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    segments.sort();
    segments.remove(0)
}

#[tokio::test]
async fn what_was_acknowledged_waits_again_after_a_start_and_what_is_done_does_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    for n in 0..100 {
        log.append(put(&format!("k{n}"), n + 1, "v"), None).await.expect("there is room");
    }
    log.append(put("k7", 1_000, "newer"), None).await.expect("there is room");
    let taken = log.take(3, u64::MAX);
    assert_eq!(taken[2].change, put("k2", 3, "v"));
    log.done(&"k0".into(), 1);
    log.close().await;
    drop(log);
    let log = open(directory.path());
    assert_eq!(found(&log, b"k0"), None);
    assert_eq!(found(&log, b"k7"), Some(put("k7", 1_000, "newer")));
    let waiting = waiting(&log);
    assert_eq!(waiting.len(), 99);
    assert_eq!(waiting[6], ("k7".into(), 1_000), "in the place of its first");
}

#[tokio::test]
async fn log_is_one_process_at_a_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let _log = open(directory.path());
    let refused = Log::open(directory.path(), options(1 << 20)).expect_err("it is locked");
    assert!(refused.to_string().contains("log_dir of its own"), "{refused}");
}

#[tokio::test]
async fn full_log_refuses_and_takes_writes_again_when_the_store_has_some() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _) = Log::open(directory.path(), options(10_000)).expect("it opens");
    let value = vec![b'v'; 3_000];
    for n in 0..3 {
        log.append(put(&format!("k{n}"), 1, value.clone()), None).await.expect("there is room");
    }
    let refused = log.append(put("k3", 1, value.clone()), None).await;
    assert_eq!(refused, Err(LogError::Full { waiting: 3, dead: 0 }));
    log.take(1, u64::MAX);
    log.done(&"k0".into(), 1);
    log.append(put("k3", 1, value), None).await.expect("there is room again");
    assert!(!log.has(b"k0") && log.has(b"k3"));
}

#[tokio::test]
async fn files_go_when_nothing_waits_in_them_and_never_take_much_more_than_twice_what_may_wait() {
    let directory = tempfile::tempdir().expect("a directory");
    let bytes_max = 4 << 20;
    let (log, _) = Log::open(directory.path(), options(bytes_max)).expect("it opens");
    log.append(put("stays", 1, "first"), None).await.expect("there is room");
    log.take(1, u64::MAX);
    log.bury(&"stays".into(), 1, "no");
    let value = Bytes::from(vec![b'v'; 100_000]);
    for n in 0..400_u64 {
        log.append(put("changes", n + 2, value.clone()), None).await.expect("there is room");
        assert!(log.state().file_bytes <= 2 * bytes_max + (1 << 20), "{:?}", log.state());
    }
    assert_eq!(found(&log, b"stays"), Some(put("stays", 1, "first")));
    assert_eq!(log.state().waiting, 2);
    drop(log);
}

#[tokio::test]
async fn torn_tail_is_told_and_nothing_else_is_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    for n in 0..10 {
        log.append(put(&format!("k{n}"), 1, "value"), None).await.expect("there is room");
    }
    log.close().await;
    drop(log);
    let segment = only_segment(directory.path());
    let len = segment.metadata().expect("it is there").len();
    OpenOptions::new()
        .write(true)
        .open(&segment)
        .and_then(|file| file.set_len(len - 3))
        .expect("it can be cut");
    let (log, damages) = Log::open(directory.path(), options(1 << 20)).expect("it opens");
    assert!(damages.len() == 1 && damages[0].is_tail, "{damages:?}");
    assert_eq!(waiting(&log).len(), 9);
    log.append(put("k9", 2, "again"), None).await.expect("it goes on");
}

#[tokio::test]
async fn damage_in_the_middle_takes_its_record_and_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    for n in 0..10 {
        log.append(put(&format!("k{n}"), 1, "value"), None).await.expect("there is room");
    }
    log.close().await;
    drop(log);
    let segment = only_segment(directory.path());
    let mut bytes = std::fs::read(&segment).expect("it can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&segment, bytes).expect("it can be written");
    let (log, damages) = Log::open(directory.path(), options(1 << 20)).expect("it opens");
    assert!(damages.len() == 1 && !damages[0].is_tail, "{damages:?}");
    assert_eq!(waiting(&log).len(), 9);
}

/// What was seen: where the newest write of a key was damaged, an older one that waited before it went to the store again.
#[tokio::test]
async fn write_that_is_done_brings_no_older_one_back_when_it_is_damaged() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    for (version, value) in [(1, "older"), (2, "newer")] {
        log.append(put("k", version, value), None).await.expect("there is room");
    }
    assert_eq!(waiting(&log).len(), 1);
    log.done(&"k".into(), 2);
    log.close().await;
    drop(log);
    let segment = only_segment(directory.path());
    let mut bytes = std::fs::read(&segment).expect("it can be read");
    let newer = bytes.windows(5).position(|window| window == b"newer").expect("it is there");
    bytes[newer] ^= 0xff;
    std::fs::write(&segment, bytes).expect("it can be written");
    let (log, damages) = Log::open(directory.path(), options(1 << 20)).expect("it opens");
    assert_eq!(damages.len(), 1);
    assert_eq!(waiting(&log), []);
}

#[tokio::test]
async fn room_that_is_reserved_is_there_when_it_is_wanted_and_nobody_elses() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _) = Log::open(directory.path(), options(10_000)).expect("it opens");
    let value = vec![b'v'; 6_000];
    let room = log.reserve(1, value.len()).expect("there is room");
    assert!(matches!(log.reserve(1, value.len()), Err(LogError::Full { waiting: 0, dead: 0 })));
    assert!(matches!(log.append(put("a", 1, value.clone()), None).await, Err(LogError::Full { .. })));
    log.append(put("b", 1, value.clone()), Some(room)).await.expect("it was reserved");
    assert!(log.reserve(1, value.len()).is_err(), "it is written there");
    assert_eq!(waiting(&log).len(), 1);
    log.done(&"b".into(), 1);
    drop(log.reserve(1, value.len()).expect("there is room again"));
    log.append(put("a", 1, value), None).await.expect("it was given back");
}

#[tokio::test]
async fn dead_letters_are_listed_retried_and_dropped() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    for key in ["a", "b"] {
        log.append(put(key, 1, "v"), None).await.expect("there is room");
    }
    for taken in log.take(2, u64::MAX) {
        log.bury(&taken.change.key, 1, "too large");
    }
    let letters = log.dead_letters(10, None);
    assert_eq!(letters.iter().map(|letter| &letter.error[..]).collect::<Vec<_>>(), ["too large"; 2]);
    assert!(log.revive(b"a") && !log.revive(b"a"));
    assert_eq!(log.drop_dead(&["a".into(), "b".into(), "c".into()]).await, Ok(1));
    assert_eq!((waiting(&log), log.state().dead), (vec![("a".into(), 1)], 0));
    assert!(!log.has(b"b"));
}

/// Bytes that the disk of the next test still takes; one test uses it.
static ROOM: AtomicUsize = AtomicUsize::new(0);

/// A file on a disk that is full now and then: it takes a part of what it is given, as disks do.
struct SmallDisk(File);

impl Medium for SmallDisk {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = ROOM.load(Ordering::SeqCst);
        Medium::append(&mut self.0, &bytes[..bytes.len().min(room)])?;
        if bytes.len() > room {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        ROOM.fetch_sub(bytes.len(), Ordering::SeqCst);
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

fn small_disk(path: &Path) -> io::Result<Box<dyn Medium>> {
    Ok(Box::new(SmallDisk(OpenOptions::new().append(true).create_new(true).open(path)?)))
}

#[tokio::test]
async fn full_disk_is_told_and_what_was_acknowledged_stays_good() {
    let directory = tempfile::tempdir().expect("a directory");
    ROOM.store(250, Ordering::SeqCst);
    let (log, _) = Log::open_on(directory.path(), options(1 << 20), small_disk).expect("it opens");
    let mut acknowledged = 0;
    let refused = loop {
        match log.append(put(&format!("k{acknowledged}"), 1, "some value"), None).await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(refused.to_string().contains("make room on its disk"), "{refused}");
    ROOM.store(10_000, Ordering::SeqCst);
    log.append(put("after", 1, "v"), None).await.expect("there is room again");
    log.close().await;
    drop(log);
    let log = open(directory.path());
    assert_eq!(waiting(&log).len(), acknowledged + 1);
}

/// A disk whose flushes fail.
struct BadDisk;

impl Medium for BadDisk {
    fn append(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&mut self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Err(io::Error::other("no"))
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_after_a_flush_that_failed() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _) =
        Log::open_on(directory.path(), options(1 << 20), |_| Ok(Box::new(BadDisk))).expect("it opens");
    for _ in 0..2 {
        let refused = log.append(put("k", 1, "v"), None).await.expect_err("it is not on the disk");
        assert!(matches!(refused, LogError::Failed(_)), "{refused}");
    }
    assert!(log.state().failed && !log.has(b"k"));
}

/// What was seen: a write that was refused since its flush failed was in the file all the same, and a start sent it to the
/// store, over what had been written there meanwhile.
#[tokio::test]
async fn write_that_was_refused_after_a_flush_that_failed_is_not_found_by_a_start() {
    struct Unflushed(File);
    impl Medium for Unflushed {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.append(bytes)
        }
        fn truncate(&mut self, len: u64) -> io::Result<()> {
            self.0.truncate(len)
        }
        fn sync(&mut self) -> io::Result<()> {
            Err(io::Error::other("no"))
        }
    }
    let directory = tempfile::tempdir().expect("a directory");
    let make: Make =
        |path| Ok(Box::new(Unflushed(OpenOptions::new().append(true).create_new(true).open(path)?)));
    let (log, _) = Log::open_on(directory.path(), options(1 << 20), make).expect("it opens");
    for _ in 0..2 {
        let refused = log.append(put("k", 1, "v"), None).await.expect_err("it is not on the disk");
        assert!(matches!(refused, LogError::Failed(_)), "{refused}");
    }
    log.close().await;
    drop(log);
    assert_eq!(waiting(&open(directory.path())), []);
}

#[tokio::test]
async fn log_that_is_flushed_now_and_then_acknowledges_at_once_and_flushes_in_time() {
    static FLUSHES: AtomicUsize = AtomicUsize::new(0);
    struct Counting;
    impl Medium for Counting {
        fn append(&mut self, _bytes: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn truncate(&mut self, _len: u64) -> io::Result<()> {
            Ok(())
        }
        fn sync(&mut self) -> io::Result<()> {
            FLUSHES.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }
    let directory = tempfile::tempdir().expect("a directory");
    let options = LogConfig { flush: FlushPolicy::Every(Duration::from_millis(300)), ..options(1 << 20) };
    let (log, _) = Log::open_on(directory.path(), options, |_| Ok(Box::new(Counting))).expect("it opens");
    let begun = std::time::Instant::now();
    log.append(put("k", 1, "v"), None).await.expect("there is room");
    while FLUSHES.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it was never flushed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(300), "it was flushed at once");
}
