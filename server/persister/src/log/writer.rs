//! The thread that writes the log: many writes together, one flush for them all.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::files::{Make, Medium};
use super::index::INDEX_BYTES;
use super::index::Place;
use super::record::Record;
use super::room::{Room, cost};
use super::{LogError, Shared};
use crate::config::FlushPolicy;

/// Writes of one flush: what a gateway has under way.
const BATCH_MAX: usize = 1024;

/// Bytes of one write to the disk: some of the largest values.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// A segment's size: a sixteenth of the bound, so that few bytes wait for the last of their segment; within these.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = (256 << 10)..=(64 << 20);

/// What the thread is asked.
pub(super) enum Command {
    /// Write it, in this room if it was reserved, and tell when it is as safe as the policy says.
    Append(Record, Option<Room>, oneshot::Sender<Result<(), LogError>>),
    /// It waits no more. One that is lost goes to the store once more.
    Done(Bytes, u64),
    /// Tell when all that came before is written; what comes behind is refused.
    Seal(oneshot::Sender<()>),
    /// Flush, and end.
    Close(oneshot::Sender<()>),
}

/// The thread's own.
pub(super) struct Writer {
    shared: Arc<Shared>,
    make: Make,
    medium: Box<dyn Medium>,
    number: u64,
    /// How much of the segment is good.
    offset: u64,
    segment_bytes: u64,
    /// Since when something written is not flushed.
    dirty_since: Option<Instant>,
    /// The disk took something the last time not.
    is_refused: bool,
    /// Somebody was told that no more is taken.
    is_sealed: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, number: u64, make: Make) -> io::Result<Self> {
        let (medium, number) = shared.files.make(number, make)?;
        shared.index.lock().add_segment(number, 0);
        let segment_bytes =
            (shared.options.bytes_max / 16).clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end());
        Ok(Self {
            shared,
            make,
            medium,
            number,
            offset: 0,
            segment_bytes,
            dirty_since: None,
            is_refused: false,
            is_sealed: false,
        })
    }

    /// Serves until it is closed, or nobody is left to ask.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let first = match self.flush_due() {
                None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => commands.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            let mut closing = None;
            match first {
                Ok(Command::Close(told)) => closing = Some(told),
                Ok(first) => closing = self.batch(first, commands),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
            if let Some(told) = closing {
                self.flush();
                // The directory is free when it is told.
                drop(self);
                // Whoever closes it may not wait.
                let _ = told.send(());
                return;
            }
            // Even if more waits: under load something always does.
            if self.flush_due().is_some_and(|due| due <= Instant::now()) {
                self.flush();
            }
            self.tidy();
        }
    }

    fn flush_due(&self) -> Option<Instant> {
        match self.shared.options.flush {
            FlushPolicy::EveryWrite => None,
            FlushPolicy::Every(time) => self.dirty_since.map(|since| since + time),
        }
    }

    /// Writes what is there to be written. Returns who is to be told of the end, if it is asked for.
    fn batch(&mut self, first: Command, commands: &Receiver<Command>) -> Option<oneshot::Sender<()>> {
        let mut batch = Batch::default();
        let mut next = Some(first);
        let (mut closing, mut sealed) = (None, Vec::new());
        while let Some(command) = next.take() {
            match command {
                Command::Append(record, room, told) => match self.admit(&batch, &record, room.as_ref()) {
                    Ok(()) => batch.push(record, room, Some(told)),
                    // Who has gone need not be told.
                    Err(error) => _ = told.send(Err(error)),
                },
                Command::Done(key, version) => batch.push(Record::Done { key, version }, None, None),
                Command::Seal(told) => {
                    self.is_sealed = true;
                    sealed.push(told);
                }
                Command::Close(told) => {
                    closing = Some(told);
                    break;
                }
            }
            if batch.records.len() < BATCH_MAX && batch.bytes.len() < BATCH_BYTES_MAX {
                next = commands.try_recv().ok();
            }
        }
        self.write(batch);
        // Who has gone need not be told.
        sealed.into_iter().for_each(|told| _ = told.send(()));
        closing
    }

    /// Whether there is room for it.
    fn admit(&self, batch: &Batch, record: &Record, room: Option<&Room>) -> Result<(), LogError> {
        self.shared.refuse_if_failed()?;
        if self.is_sealed {
            return Err(LogError::Unavailable);
        }
        let Record::Pending { change, .. } = record else { return Ok(()) };
        if room.is_some() {
            return Ok(());
        }
        let value = if let crate::store::Change::Put(item) = &change.change { item.value.len() } else { 0 };
        let wanted = batch.bytes_unreserved + cost(change.key.len(), value);
        let index = self.shared.index.lock();
        self.shared.refuse_if_full(&index, wanted)
    }

    fn write(&mut self, batch: Batch) {
        let written = self.rotate().and_then(|()| self.medium.append(&batch.bytes));
        self.is_refused = written.is_err();
        if let Err(error) = written {
            return self.take_back(batch, &error);
        }
        let base = self.offset;
        self.offset += batch.bytes.len() as u64;
        self.dirty_since.get_or_insert_with(Instant::now);
        if self.shared.options.flush == FlushPolicy::EveryWrite {
            self.flush();
        }
        let failed = self.shared.failed.lock().clone();
        let mut index = self.shared.index.lock();
        index.grew(batch.bytes.len() as u64);
        for Written { record, at, bytes, room, told } in batch.records {
            if let (Record::Pending { change, stamped_ms }, None) = (&record, &failed) {
                let place = Place { segment: self.number, offset: base + at, bytes };
                index.put(change.key.clone(), change.version, place, *stamped_ms);
            }
            drop(room);
            let outcome = failed.clone().map_or(Ok(()), |why| Err(LogError::Failed(why)));
            // Who has gone need not be told.
            told.map(|told| told.send(outcome));
        }
        drop(index);
        self.shared.wake.notify_one();
    }

    /// The disk took none or a part of it: what is there stays good.
    fn take_back(&mut self, batch: Batch, error: &io::Error) {
        tracing::error!(%error, path = %self.shared.files.path(self.number).display(), "the log cannot be written");
        if let Err(error) = self.medium.truncate(self.offset) {
            self.fail(&error);
        }
        for Written { told, .. } in batch.records {
            told.map(|told| told.send(Err(LogError::Disk(error.to_string()))));
        }
    }

    fn fail(&self, error: &io::Error) {
        let why = format!("{}: {error}", self.shared.files.path(self.number).display());
        tracing::error!(%why, "the log is not written any more until this process is started again");
        *self.shared.failed.lock() = Some(why);
    }

    fn flush(&mut self) {
        // After a flush that failed nobody knows what is on the disk.
        if self.dirty_since.take().is_some()
            && let Err(error) = self.medium.sync()
        {
            self.fail(&error);
        }
    }

    /// Goes on to another segment when this one is long enough.
    fn rotate(&mut self) -> io::Result<()> {
        if self.offset < self.segment_bytes {
            return Ok(());
        }
        self.flush();
        let (medium, number) = self.shared.files.make(self.number + 1, self.make)?;
        (self.medium, self.number, self.offset) = (medium, number, 0);
        self.shared.index.lock().add_segment(self.number, 0);
        Ok(())
    }

    /// Deletes segments in which nothing waits, and moves what waits in the oldest when they take more than twice what may
    /// wait.
    fn tidy(&mut self) {
        let oldest = {
            let index = self.shared.index.lock();
            let first = index.segments().front().map(|segment| segment.number);
            let too_much = index.bytes() > 2 * self.shared.options.bytes_max;
            first.filter(|first| too_much && *first != self.number)
        };
        if let Some(oldest) = oldest
            && let Err(error) = self.move_from(oldest)
        {
            tracing::warn!(%error, "what waits in the oldest part of the log cannot be moved; the log grows meanwhile");
        }
        if !self.shared.index.lock().is_settled() {
            return self.make_room();
        }
        // What took the place of the last that waited there may not be on the disk yet.
        self.flush();
        loop {
            if self.shared.failed.lock().is_some() {
                return;
            }
            let Some(settled) = self.shared.index.lock().pop_settled() else { return };
            if let Err(error) = self.shared.files.delete(settled) {
                tracing::warn!(%error, settled, "a part of the log that is done with cannot be deleted");
            }
        }
    }

    /// Empties the segment that is written to when nothing waits any more and the disk is full: else it would stay full for good,
    /// for a segment goes when there is another.
    fn make_room(&mut self) {
        let is_all_done = || {
            let index = self.shared.index.lock();
            index.len() == 0 && index.segments().len() == 1
        };
        if !self.is_refused || self.offset == 0 || !is_all_done() {
            return;
        }
        match self.medium.truncate(0) {
            Ok(()) => {
                (self.offset, self.is_refused) = (0, false);
                self.shared.index.lock().emptied();
            }
            Err(error) => self.fail(&error),
        }
    }

    fn move_from(&mut self, oldest: u64) -> io::Result<()> {
        let waiting = self.shared.index.lock().in_segment(oldest);
        let mut moved = Vec::with_capacity(waiting.len());
        for (key, version, place) in waiting {
            self.rotate()?;
            let bytes = self.shared.files.read(place)?;
            if let Err(error) = self.medium.append(&bytes) {
                self.medium.truncate(self.offset)?;
                return Err(error);
            }
            moved.push((
                key,
                version,
                Place { segment: self.number, offset: self.offset, bytes: place.bytes },
            ));
            self.offset += bytes.len() as u64;
            // At once: the next may go on to another segment, which flushes this one only if there is something to flush.
            self.dirty_since.get_or_insert_with(Instant::now);
            self.shared.index.lock().grew(bytes.len() as u64);
        }
        self.flush();
        if self.shared.failed.lock().is_none() {
            let mut index = self.shared.index.lock();
            moved.iter().for_each(|(key, version, place)| _ = index.moved(key, *version, *place));
        }
        Ok(())
    }
}

/// Records that are written together.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// What they cost of whom no room was reserved for.
    bytes_unreserved: u64,
    records: Vec<Written>,
}

/// A record of a batch.
struct Written {
    record: Record,
    /// Where in the batch it begins.
    at: u64,
    bytes: u32,
    room: Option<Room>,
    /// Who is to be told.
    told: Option<Told>,
}

type Told = oneshot::Sender<Result<(), LogError>>;

impl Batch {
    fn push(&mut self, record: Record, room: Option<Room>, told: Option<Told>) {
        let at = self.bytes.len();
        record.encode(&mut self.bytes);
        let bytes = (self.bytes.len() - at) as u32;
        if room.is_none() && told.is_some() {
            self.bytes_unreserved += u64::from(bytes) + INDEX_BYTES;
        }
        self.records.push(Written { record, at: at as u64, bytes, room, told });
    }
}

/// How long a close waits for the thread.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
