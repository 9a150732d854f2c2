//! Dead letters over restarts, and beside other writes.

use super::*;

/// A log in which one write of `k` is a dead letter.
async fn with_letter(directory: &Path) -> Log {
    let log = open(directory);
    log.append(put("k", 1, "v"), None).await.expect("there is room");
    assert_eq!(waiting(&log), [("k".into(), 1)]);
    log.bury(&"k".into(), 1, "too large");
    log
}

/// The log as a start finds it.
async fn started_again(log: Log) -> Log {
    let directory = log.directory().to_owned();
    log.close().await;
    drop(log);
    open(&directory)
}

/// What was seen: after a restart dead letters went to the store by themselves; to one without versions over what others had written
/// meanwhile.
#[tokio::test]
async fn dead_letter_is_one_after_restarts_until_it_is_retried() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = with_letter(directory.path()).await;
    let letters = log.dead_letters(9, None);
    assert_eq!((letters.len(), letters[0].attempts), (1, 1));
    let log = started_again(started_again(log).await).await;
    assert_eq!((waiting(&log), log.dead_letters(9, None)), (vec![], letters));
    assert!(log.revive(b"k"));
    let log = started_again(log).await;
    assert_eq!((waiting(&log), log.state().dead), (vec![("k".into(), 1)], 0));
}

#[tokio::test]
async fn dead_letter_that_was_moved_to_another_segment_is_one_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let bytes_max = 4 << 20;
    let (log, _) = Log::open(directory.path(), options(bytes_max)).expect("it opens");
    log.append(put("k", 1, "v"), None).await.expect("there is room");
    log.take(1, u64::MAX);
    log.bury(&"k".into(), 1, "no");
    let (first, value) = (only_segment(directory.path()), Bytes::from(vec![b'v'; 100_000]));
    for n in 0..200_u64 {
        log.append(put("changes", n + 2, value.clone()), None).await.expect("there is room");
    }
    assert!(!first.exists(), "it was moved");
    let log = started_again(log).await;
    assert_eq!((log.state().dead, log.state().waiting), (1, 2));
}

#[tokio::test]
async fn newer_write_takes_the_place_of_a_dead_letter_over_restarts_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = with_letter(directory.path()).await;
    log.append(put("k", 2, "newer"), None).await.expect("there is room");
    assert_eq!(log.drop_dead(&["k".into()]).await, Ok(0));
    let log = started_again(log).await;
    assert_eq!((waiting(&log), log.state().dead), (vec![("k".into(), 2)], 0));
}

/// What was seen: of more dead letters than the thread takes commands at once, most of those that were given up went to the store
/// after a restart.
#[tokio::test]
async fn dead_letters_that_are_given_up_are_so_for_good_however_many() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = LogConfig { flush: FlushPolicy::Every(Duration::from_secs(3_600)), ..options(64 << 20) };
    let (log, _) = Log::open(directory.path(), options).expect("it opens");
    let count = 2 * COMMANDS_MAX;
    let keys: Vec<Bytes> = (0..count).map(|n| format!("k{n}").into()).collect();
    let writes = (0..count).map(|n| put(&format!("k{n}"), 1, "v"));
    for part in writes.collect::<Vec<_>>().chunks(1_000) {
        let appended = part.iter().map(|change| log.append(change.clone(), None));
        futures_util::future::try_join_all(appended).await.expect("there is room");
    }
    log.take(count, u64::MAX);
    keys.iter().for_each(|key| log.bury(key, 1, "no"));
    assert_eq!(log.drop_dead(&keys).await, Ok(count));
    assert_eq!(log.state().waiting, 0);
    // As it was when that was told, with nothing that came behind.
    let after = tempfile::tempdir().expect("a directory");
    for file in std::fs::read_dir(directory.path()).expect("it is there").flatten() {
        std::fs::copy(file.path(), after.path().join(file.file_name())).expect("it can be copied");
    }
    assert_eq!(open(after.path()).state().waiting, 0);
}

/// What was seen: what the store had when the disk was full went there once more after a restart, over what others had written
/// meanwhile.
#[tokio::test]
async fn what_is_done_while_the_disk_is_full_is_written_when_there_is_room() {
    static IS_FULL: AtomicBool = AtomicBool::new(false);
    struct Full(File);
    impl Medium for Full {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            match IS_FULL.load(Ordering::SeqCst) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => self.0.append(bytes),
            }
        }
        fn truncate(&mut self, len: u64) -> io::Result<()> {
            self.0.truncate(len)
        }
        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let directory = tempfile::tempdir().expect("a directory");
    let make: Make = |path| Ok(Box::new(Full(OpenOptions::new().append(true).create_new(true).open(path)?)));
    let (log, _) = Log::open_on(directory.path(), options(1 << 20), make).expect("it opens");
    for key in ["done", "stays"] {
        log.append(put(key, 1, "v"), None).await.expect("there is room");
    }
    log.take(1, u64::MAX);
    IS_FULL.store(true, Ordering::SeqCst);
    log.done(&"done".into(), 1);
    assert!(log.append(put("refused", 1, "v"), None).await.is_err(), "it is full");
    IS_FULL.store(false, Ordering::SeqCst);
    let log = started_again(log).await;
    assert_eq!(waiting(&log), [("stays".into(), 1)]);
}

/// What was seen: of more letters than the thread takes commands at once, retried and refused once more, what the files said last
/// was that they are none.
#[tokio::test]
async fn letters_that_are_retried_and_refused_again_are_letters_after_a_restart_however_many() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = LogConfig { flush: FlushPolicy::Every(Duration::from_secs(3_600)), ..options(64 << 20) };
    let (log, _) = Log::open(directory.path(), options).expect("it opens");
    let count = 3 * COMMANDS_MAX;
    let keys: Vec<Bytes> = (0..count).map(|n| format!("k{n}").into()).collect();
    for part in keys.chunks(1_000) {
        let appended = part.iter().map(|key| {
            let key = std::str::from_utf8(key).expect("it is text");
            log.append(put(key, 1, "v"), None)
        });
        futures_util::future::try_join_all(appended).await.expect("there is room");
    }
    for _ in 0..2 {
        log.take(count, u64::MAX);
        keys.iter().for_each(|key| log.bury(key, 1, "no"));
        keys.iter().for_each(|key| assert!(log.revive(key)));
    }
    log.take(count, u64::MAX);
    keys.iter().for_each(|key| log.bury(key, 1, "no"));
    let log = started_again(log).await;
    assert_eq!((log.state().dead, log.state().waiting), (count, count));
}

#[tokio::test]
async fn letter_without_a_reason_is_one_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    log.append(put("k", 1, "v"), None).await.expect("there is room");
    log.take(1, u64::MAX);
    log.bury(&"k".into(), 1, "");
    assert_eq!(started_again(log).await.state().dead, 1);
}
