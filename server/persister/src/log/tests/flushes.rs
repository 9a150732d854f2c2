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
        log.append(put(&format!("stays {n}"), 1, vec![b's'; 10_000])).await.expect("there is room");
    }
    let first = only_segment(directory.path());
    let value = Bytes::from(vec![b'v'; 37_000]);
    for n in 0..1_000_u64 {
        log.append(put("changes", n + 2, value.clone())).await.expect("there is room");
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
        log.append(put("changes", version, vec![b'v'; 100_000])).await.expect("there is room");
        let begun = std::time::Instant::now();
        while version > 3 && first.exists() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it never goes");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(!IS_DIRTY.load(Ordering::SeqCst), "only the segment that went had it");
    assert_eq!(log.state().waiting, 1);
}
