//! What must be on the disk before something else goes.

use std::sync::atomic::AtomicBool;

use super::*;

/// A file that tells whether something of it is not on the disk.
struct Watched {
    file: File,
    is_dirty: &'static AtomicBool,
    left_dirty: &'static AtomicUsize,
}

impl Medium for Watched {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.is_dirty.store(true, Ordering::SeqCst);
        Medium::append(&mut self.file, bytes)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.is_dirty.store(false, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.left_dirty.fetch_add(usize::from(self.is_dirty.load(Ordering::SeqCst)), Ordering::SeqCst);
    }
}

fn watched(
    path: &Path,
    is_dirty: &'static AtomicBool,
    left_dirty: &'static AtomicUsize,
) -> io::Result<Box<dyn Medium>> {
    let file = OpenOptions::new().append(true).create_new(true).open(path)?;
    Ok(Box::new(Watched { file, is_dirty, left_dirty }))
}

#[tokio::test]
async fn what_is_moved_over_the_end_of_a_segment_is_flushed_before_the_next() {
    static IS_DIRTY: AtomicBool = AtomicBool::new(false);
    static LEFT_DIRTY: AtomicUsize = AtomicUsize::new(0);
    let directory = tempfile::tempdir().expect("a directory");
    let bytes_max = 4 << 20;
    let make: Make = |path| watched(path, &IS_DIRTY, &LEFT_DIRTY);
    let (log, _) = Log::open_on(directory.path(), options(bytes_max), make).expect("it opens");
    // More than a segment of what stays, so that moving the first goes over the end of another unless it begins one.
    for n in 0..30 {
        log.append(put(&format!("stays {n}"), 1, vec![b's'; 10_000]), None).await.expect("there is room");
    }
    let first = only_segment(directory.path());
    let value = Bytes::from(vec![b'v'; 37_000]);
    for n in 0..1_000_u64 {
        log.append(put("changes", n + 2, value.clone()), None).await.expect("there is room");
        assert_eq!(LEFT_DIRTY.load(Ordering::SeqCst), 0, "a segment was left before it was flushed");
    }
    assert!(!first.exists(), "it was moved");
    assert_eq!(log.state().waiting, 31);
    log.close().await;
    assert_eq!(LEFT_DIRTY.load(Ordering::SeqCst), 0, "a segment was left before it was flushed");
}

#[tokio::test]
async fn segment_goes_only_when_what_took_its_place_is_on_the_disk() {
    static IS_DIRTY: AtomicBool = AtomicBool::new(false);
    static LEFT_DIRTY: AtomicUsize = AtomicUsize::new(0);
    let directory = tempfile::tempdir().expect("a directory");
    let options = LogConfig { flush: FlushPolicy::Every(Duration::from_secs(3_600)), ..options(4 << 20) };
    let make: Make = |path| watched(path, &IS_DIRTY, &LEFT_DIRTY);
    let (log, _) = Log::open_on(directory.path(), options, make).expect("it opens");
    let first = only_segment(directory.path());
    let mut version = 0;
    while only_segment(directory.path()) == first {
        version += 1;
        // Acknowledged once it is in the newest segment; the one before it goes behind that.
        log.append(put("changes", version, vec![b'v'; 100_000]), None).await.expect("there is room");
        let begun = std::time::Instant::now();
        while version > 3 && first.exists() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it never goes");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(!IS_DIRTY.load(Ordering::SeqCst), "only the segment that went had it");
    assert_eq!(log.state().waiting, 1);
}

/// A file on a disk that is soon full.
struct Small(File);

/// Bytes that fit.
const SMALL: u64 = 20_000;

impl Medium for Small {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.0.metadata()?.len() + bytes.len() as u64 > SMALL {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => self.0.append(bytes),
        }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

/// What was seen: a log whose first file had filled the disk took no write any more, though the store had all that was in it.
#[tokio::test]
async fn log_that_filled_its_disk_goes_on_when_the_store_has_everything() {
    let directory = tempfile::tempdir().expect("a directory");
    let make: Make = |path| Ok(Box::new(Small(OpenOptions::new().append(true).create_new(true).open(path)?)));
    let (log, _) = Log::open_on(directory.path(), options(64 << 20), make).expect("it opens");
    let mut version = 0;
    let refused = loop {
        version += 1;
        if let Err(error) = log.append(put(&format!("k{version}"), version, vec![b'v'; 1_000]), None).await {
            break error;
        }
    };
    assert!(matches!(refused, LogError::Disk(_)), "{refused}");
    for taken in log.take(1_000, u64::MAX) {
        assert!(
            log.append(put("other", 1, vec![b'v'; 1_000]), None).await.is_err(),
            "it is full while anything waits"
        );
        log.done(&taken.change.key, taken.change.version);
    }
    let begun = std::time::Instant::now();
    while log.append(put("again", 2, vec![b'v'; 1_000]), None).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it stays full");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((log.state().waiting, waiting(&log)), (1, vec![("again".into(), 2)]));
    log.close().await;
    drop(log);
    assert_eq!(waiting(&open(directory.path())), [("again".into(), 2)]);
}

/// A disk that a power cut takes back to its last flush: what was flushed of each file.
struct Cut(File, PathBuf);

/// Of each file how much was flushed, when that began, and how often it was.
static FLUSHED: Mutex<Vec<(PathBuf, u64, std::time::Instant, usize)>> = Mutex::new(Vec::new());

/// Flushes before the cut.
const FLUSHES: usize = 5;

impl Medium for Cut {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        let (begun, flushed) = (std::time::Instant::now(), self.0.metadata()?.len());
        self.0.sync()?;
        let mut all = FLUSHED.lock();
        let before = all.iter().position(|(path, ..)| *path == self.1).map(|at| all.swap_remove(at));
        all.push((self.1.clone(), flushed, begun, before.map_or(1, |(.., count)| count + 1)));
        Ok(())
    }
}

/// The power is cut in the middle of writes: of each file what was flushed is left. Returns which versions were acknowledged before
/// the last flush began, which in all, and which the log has after the cut.
async fn power_cut(flush: FlushPolicy) -> [Vec<u64>; 3] {
    let directory = tempfile::tempdir().expect("a directory");
    let after = tempfile::tempdir().expect("a directory");
    let make: Make = |path| {
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        Ok(Box::new(Cut(file, path.to_owned())))
    };
    let options = LogConfig { flush, ..options(64 << 20) };
    let (log, _) = Log::open_on(directory.path(), options, make).expect("it opens");
    let flushed = || FLUSHED.lock().iter().find(|(path, ..)| path.starts_with(directory.path())).cloned();
    let (mut acknowledged, begun) = (Vec::new(), std::time::Instant::now());
    while flushed().is_none_or(|(.., count)| count < FLUSHES) {
        let version = acknowledged.len() as u64 + 1;
        log.append(put(&format!("k{version}"), version, vec![b'v'; 100]), None).await.expect("there is room");
        acknowledged.push((version, std::time::Instant::now()));
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not flushed");
    }
    let (path, bytes, last, _) = flushed().expect("it was flushed");
    let left = std::fs::read(&path).expect("it is there");
    let name = path.file_name().expect("it has a name");
    std::fs::write(after.path().join(name), &left[..bytes as usize]).expect("it can be written");
    drop(log);
    let before = acknowledged.iter().filter(|(_, at)| *at < last).map(|(version, _)| *version).collect();
    let all = acknowledged.iter().map(|(version, _)| *version).collect();
    [before, all, waiting(&open(after.path())).into_iter().map(|(_, version)| version).collect()]
}

#[tokio::test]
async fn power_cut_loses_nothing_of_a_log_that_flushes_every_write() {
    let [_, all, kept] = power_cut(FlushPolicy::EveryWrite).await;
    assert_eq!(kept, all);
}

#[tokio::test]
async fn power_cut_loses_what_came_since_the_last_flush_and_leaves_no_hole() {
    let [before, all, kept] = power_cut(FlushPolicy::Every(Duration::from_millis(20))).await;
    assert!(kept.len() >= before.len() && !before.is_empty(), "{} of {} are left", kept.len(), before.len());
    assert_eq!(kept, all[..kept.len()]);
}
