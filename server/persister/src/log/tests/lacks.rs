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
    // One that leads to itself cannot be opened.
    std::os::unix::fs::symlink(&segment, &segment).expect("it can be made");
    assert_eq!((waiting(&log), log.state().dead), (vec![], 0));
    std::fs::rename(&away, &segment).expect("it takes the other's place");
    assert_eq!(waiting(&log), [], "not at once");
    tokio::time::advance(READ_AGAIN).await;
    assert_eq!(waiting(&log), [("k".into(), 1)]);
}

/// What was seen: a write whose file had been cut off was tried every second for ever.
#[tokio::test]
async fn write_that_is_damaged_is_a_dead_letter_and_those_beside_it_go_on() {
    let damages: [fn(&Path); 3] = [
        |segment| {
            let file = OpenOptions::new().write(true).open(segment).expect("it is there");
            let len = file.metadata().expect("it is there").len();
            file.set_len(len - 1).expect("it can be cut");
        },
        |segment| {
            let mut bytes = std::fs::read(segment).expect("it is there");
            *bytes.last_mut().expect("it is not empty") ^= 1;
            std::fs::write(segment, bytes).expect("it can be written");
        },
        |segment| std::fs::write(segment, []).expect("it can be written"),
    ];
    for (at, damage) in damages.into_iter().enumerate() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(directory.path());
        for key in ["sound", "damaged"] {
            log.append(put(key, 1, "v"), None).await.expect("there is room");
        }
        damage(&only_segment(directory.path()));
        let (goes_on, dead): (&[_], usize) = if at == 2 { (&[], 2) } else { (&[("sound".into(), 1)], 1) };
        assert_eq!(waiting(&log), goes_on, "damage {at}");
        let letters = log.dead_letters(9, None);
        assert_eq!(letters.len(), dead, "damage {at}");
        assert!(letters[dead - 1].error.starts_with("not read from the log: "), "{letters:?}");
        assert_eq!(log.drop_dead(&["sound".into(), "damaged".into()]).await, Ok(dead));
    }
}

#[tokio::test]
async fn write_that_was_moved_since_its_turn_came_is_found_where_it_is_now() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    log.append(put("k", 1, "v"), None).await.expect("there is room");
    let gone = index::Place { segment: 99, offset: 0, bytes: 10 };
    let turn = index::Turn { key: "k".into(), version: 1, place: gone, attempts: 0 };
    assert_eq!(log.read_turn(&turn).expect("it is there"), put("k", 1, "v"));
    let other = index::Turn { version: 2, ..turn };
    assert_eq!(log.read_turn(&other).expect_err("that is not").kind(), io::ErrorKind::NotFound);
}
