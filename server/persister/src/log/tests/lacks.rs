//! Of descriptors, and of time.

use super::*;

/// What was seen: while writes came faster than they were written, a log with a flush time was never flushed.
#[tokio::test]
async fn log_is_flushed_in_time_even_if_there_is_always_more_to_write() {
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
    let options = LogConfig { flush: FlushPolicy::Every(Duration::ZERO), ..options(64 << 20) };
    let shared =
        Arc::new(Shared::new(Files::open(directory.path()).expect("it opens"), options, Index::default()));
    let writer = Writer::new(shared, 1, |_| Ok(Box::new(Counting))).expect("it is made");
    // Four batches of the most writes, and all are there before the first.
    let (commands, asked) = sync_channel(COMMANDS_MAX);
    for n in 0..4 * 1024 {
        commands
            .send(Command::Note(Record::Done { key: format!("k{n}").into(), version: 1 }))
            .expect("there is room");
    }
    drop(commands);
    writer.run(&asked);
    assert_eq!(FLUSHES.load(Ordering::SeqCst), 4, "one for each batch");
}

/// What was seen: a segment that was made while no descriptors were left stayed, empty, and each that was to be made after it was
/// refused for that.
#[tokio::test]
async fn segment_whose_number_is_taken_gets_the_next() {
    let directory = tempfile::tempdir().expect("a directory");
    let bytes_max = 4 << 20;
    let (log, _) = Log::open(directory.path(), options(bytes_max)).expect("it opens");
    for number in 2..5 {
        File::create(directory.path().join(format!("{number:016}.log"))).expect("it can be made");
    }
    for n in 0..60 {
        log.append(put(&format!("k{n}"), 1, vec![b'v'; 20_000]), None).await.expect("there is room");
    }
    assert!(directory.path().join(format!("{:016}.log", 5)).exists());
    log.close().await;
    drop(log);
    assert_eq!(waiting(&open(directory.path())).len(), 60);
}

/// What was seen: writes that could not be read while no descriptors were left were dead letters.
#[tokio::test(start_paused = true)]
async fn write_that_cannot_be_read_for_a_while_is_no_dead_letter() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    log.append(put("k", 1, "v"), None).await.expect("there is room");
    let (segment, away) = (only_segment(directory.path()), directory.path().join("away"));
    std::fs::rename(&segment, &away).expect("it can be moved");
    assert_eq!((waiting(&log), log.state().dead), (vec![], 0));
    std::fs::rename(&away, &segment).expect("it can be moved");
    assert_eq!(waiting(&log), [], "not at once");
    tokio::time::advance(READ_AGAIN).await;
    assert_eq!(waiting(&log), [("k".into(), 1)]);
}
