//! Segments that go, and what is moved from them.

use super::record::BODY_BYTES_MAX;
use super::writer::Writer;
use super::*;

/// Bytes that a disk takes, and takes back.
struct Metered {
    file: File,
    room: &'static AtomicUsize,
    written: &'static AtomicUsize,
    truncates: bool,
}

impl Medium for Metered {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fits = bytes.len().min(self.room.load(Ordering::SeqCst));
        self.file.append(&bytes[..fits])?;
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room.fetch_sub(fits, Ordering::SeqCst);
        self.written.fetch_add(fits, Ordering::SeqCst);
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        match self.truncates {
            true => self.file.truncate(len),
            false => Err(io::Error::other("no")),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn metered(
    path: &Path,
    room: &'static AtomicUsize,
    written: &'static AtomicUsize,
    truncates: bool,
) -> io::Result<Box<dyn Medium>> {
    let file = OpenOptions::new().append(true).create_new(true).open(path)?;
    Ok(Box::new(Metered { file, room, written, truncates }))
}

/// A log of `count` writes of 10,000 bytes, each of its own key, as a start finds it.
async fn found_again(directory: &Path, count: u64, bytes_max: u64) -> (Arc<Shared>, u64) {
    let log = open(directory);
    for n in 0..count {
        log.append(put(&format!("k{n}"), n + 1, vec![b'v'; 10_000]), None).await.expect("there is room");
    }
    log.close().await;
    drop(log);
    let files = Files::open(directory).expect("it opens");
    let (index, damages, next) = files.recover().expect("it can be read");
    assert_eq!((damages, index.len() as u64), (vec![], count));
    (Arc::new(Shared::new(files, options(bytes_max), index)), next)
}

/// What was seen: with the disk almost full, what could be moved was written again at each try, until it was full.
#[tokio::test]
async fn what_was_moved_before_the_disk_was_full_is_moved_no_second_time() {
    static ROOM: AtomicUsize = AtomicUsize::new(55_000);
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    let directory = tempfile::tempdir().expect("a directory");
    let (shared, next) = found_again(directory.path(), 10, 64 << 20).await;
    let make: Make = |path| metered(path, &ROOM, &WRITTEN, true);
    let mut writer = Writer::new(Arc::clone(&shared), next, make).expect("it is made");
    let first = shared.index.lock().segments()[0].number;
    let all = shared.index.lock().live_bytes;
    writer.move_from(first).expect_err("the disk is full");
    assert_eq!(shared.index.lock().segments()[0].live, 5);
    ROOM.store(1 << 20, Ordering::SeqCst);
    writer.move_from(first).expect("there is room");
    assert_eq!((shared.index.lock().settled(), WRITTEN.load(Ordering::SeqCst) as u64), (Some(first), all));
    drop(writer);
    drop(shared);
    assert_eq!(waiting(&open(directory.path())).len(), 10);
}

/// What was seen: a disk that took a part of what was moved, and not back, shifted all that came after: writes that were good could
/// not be read, and were dead letters.
#[tokio::test]
async fn log_with_a_part_of_a_move_in_it_takes_no_more() {
    static ROOM: AtomicUsize = AtomicUsize::new(25_000);
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    let directory = tempfile::tempdir().expect("a directory");
    let (shared, next) = found_again(directory.path(), 10, 64 << 20).await;
    let make: Make = |path| metered(path, &ROOM, &WRITTEN, false);
    let mut writer = Writer::new(Arc::clone(&shared), next, make).expect("it is made");
    let first = shared.index.lock().segments()[0].number;
    writer.move_from(first).expect_err("the disk is full");
    assert!(shared.failed.lock().is_some());
    ROOM.store(1 << 20, Ordering::SeqCst);
    let written = WRITTEN.load(Ordering::SeqCst);
    shared.index.lock().grew(1 << 30);
    writer.tidy();
    assert_eq!(WRITTEN.load(Ordering::SeqCst), written, "nothing is moved any more");
}

/// What was seen: a gateway that was started with less `log_max` than what waited copied its log from front to end without
/// end.
#[tokio::test]
async fn log_in_which_more_waits_than_may_is_not_moved_about() {
    static ROOM: AtomicUsize = AtomicUsize::new(usize::MAX);
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    let directory = tempfile::tempdir().expect("a directory");
    let (shared, next) = found_again(directory.path(), 1_000, 4 << 20).await;
    let make: Make = |path| metered(path, &ROOM, &WRITTEN, true);
    let writer = Writer::new(Arc::clone(&shared), next, make).expect("it is made");
    let (commands, asked) = sync_channel(COMMANDS_MAX);
    for n in 0..4 * 1024 {
        let note = Record::Done { key: format!("other {n}").into(), version: 1 };
        commands.send(Command::Note(note)).expect("there is room");
    }
    drop(commands);
    writer.run(&asked);
    assert!(WRITTEN.load(Ordering::SeqCst) < 1 << 20, "{} bytes", WRITTEN.load(Ordering::SeqCst));
}

/// What was seen: where an old segment could not be deleted, newer ones were, which said that what it held was done: after a restart
/// that went to the store again.
#[tokio::test]
async fn segment_that_cannot_be_deleted_keeps_newer_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let (shared, next) = found_again(directory.path(), 10, 64 << 20).await;
    let mut writer = Writer::new(Arc::clone(&shared), next, new_file).expect("it is made");
    let first = shared.index.lock().segments()[0].number;
    writer.move_from(first).expect("there is room");
    // A directory in its place: that is deleted another way.
    let path = shared.files.path(first);
    std::fs::remove_file(&path).and_then(|()| std::fs::create_dir(&path)).expect("it can be made");
    writer.tidy();
    assert_eq!(shared.index.lock().settled(), Some(first), "it is there, and first");
    std::fs::remove_dir(&path).expect("it can be removed");
    writer.not_tidied_before = None;
    writer.tidy();
    assert_ne!(shared.index.lock().segments()[0].number, first);
}

/// What was seen: of two writes of one key the older came second and was kept in a newer segment; that of the newer went first, and
/// a crash then brought the older back.
#[tokio::test]
async fn write_that_is_older_than_what_waits_is_not_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    log.append(put("k", 3, "newer"), None).await.expect("there is room");
    let bytes = log.state().file_bytes;
    let refused = log.append(put("k", 2, "older"), None).await;
    assert_eq!(refused, Err(LogError::Overtaken { by: 3 }));
    assert_eq!((log.state().file_bytes, waiting(&log)), (bytes, vec![("k".into(), 3)]));
}

/// What was seen: a write that is too large for a record was acknowledged, could not be read, and was skipped by a start.
#[tokio::test]
async fn write_that_no_record_holds_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _) = Log::open(directory.path(), options(1 << 30)).expect("it opens");
    for change in [put("k", 1, vec![0; BODY_BYTES_MAX]), put(&"k".repeat(usize::from(u16::MAX) + 1), 1, "v")]
    {
        let refused = log.append(change, None).await.expect_err("it is too large");
        assert_eq!(refused, LogError::TooLarge);
    }
    assert_eq!(log.state(), LogState::default());
}
