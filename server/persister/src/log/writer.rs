//! The thread that writes the log: many writes together, one flush for them all.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::files::{Make, Medium};
use super::index::{INDEX_BYTES, Place};
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
    Append(Record, Option<Room>, Told),
    /// Write it some time: what became of a change.
    Note(Record),
    /// Write that these dead letters are given up, and tell when that is as safe as the policy says.
    GiveUp(Vec<(Bytes, u64)>, Told),
    /// Tell when all that came before is written; what comes behind is refused.
    Seal(oneshot::Sender<()>),
    /// Flush, and end.
    Close(oneshot::Sender<()>),
}

/// The thread's own.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    make: Make,
    pub(super) medium: Box<dyn Medium>,
    pub(super) number: u64,
    /// How much of the segment is good.
    pub(super) offset: u64,
    segment_bytes: u64,
    /// Since when something written is not flushed.
    pub(super) dirty_since: Option<Instant>,
    /// The disk took something the last time not.
    pub(super) is_refused: bool,
    /// What could not be moved or deleted is not tried again before.
    pub(super) not_tidied_before: Option<Instant>,
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
            not_tidied_before: None,
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
                Ok(first) => closing = self.batch(first, commands),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.write_owed(usize::MAX);
                    self.flush();
                    return self.tidy();
                }
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
            self.flush_if_due();
            self.tidy();
        }
    }

    fn flush_due(&self) -> Option<Instant> {
        match self.shared.options.flush {
            FlushPolicy::EveryWrite => None,
            // One that no clock reaches is never.
            FlushPolicy::Every(time) => self.dirty_since.and_then(|since| since.checked_add(time)),
        }
    }

    pub(super) fn flush_if_due(&mut self) {
        if self.flush_due().is_some_and(|due| due <= Instant::now()) {
            self.flush();
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
                Command::Note(record) => batch.note(record, &self.shared),
                Command::GiveUp(letters, told) => match self.shared.refuse_if_failed() {
                    Ok(()) => batch.give_up(letters, told),
                    Err(error) => _ = told.send(Err(error)),
                },
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
        let is_taken = self.write(batch);
        // By themselves: where the disk is nearly full they are not to be in the way of what is asked now.
        if is_taken {
            self.write_owed(if closing.is_some() { usize::MAX } else { BATCH_MAX });
        }
        // Who has gone need not be told.
        sealed.into_iter().for_each(|told| _ = told.send(()));
        closing
    }

    /// Whether it is to be written: there is room for it, and nothing newer of its key waits, which it would never go past.
    fn admit(&self, batch: &Batch, record: &Record, room: Option<&Room>) -> Result<(), LogError> {
        self.shared.refuse_if_failed()?;
        if self.is_sealed {
            return Err(LogError::Unavailable);
        }
        let Record::Pending { change, .. } = record else { return Ok(()) };
        let index = self.shared.index.lock();
        if let Some(newer) = index.get(&change.key).filter(|waiting| waiting.version > change.version) {
            return Err(LogError::Overtaken { by: newer.version });
        }
        if room.is_none() {
            let wanted = cost(change.key.len(), change.value_bytes());
            self.shared.refuse_if_full(&index, wanted, batch.bytes_unreserved)?;
        }
        Ok(())
    }

    /// Returns whether the disk took it.
    fn write(&mut self, batch: Batch) -> bool {
        if batch.records.is_empty() {
            return true;
        }
        let put_down = self.put_down(&batch);
        let is_taken = put_down.is_ok();
        match put_down {
            Ok(base) => self.acknowledge(batch, base),
            Err(error) => self.take_back(batch, &error),
        }
        is_taken
    }

    /// Writes what found no place before, in the queue or on the disk.
    fn write_owed(&mut self, most: usize) {
        let owed: Vec<Record> = {
            let mut owed = self.shared.owed.lock();
            let first = most.min(owed.len());
            owed.drain(..first).collect()
        };
        let mut batch = Batch::default();
        owed.into_iter().for_each(|record| batch.note(record, &self.shared));
        self.write(batch);
    }

    /// Writes it, as safe as the policy says where somebody waits for it. Returns where it begins.
    fn put_down(&mut self, batch: &Batch) -> Result<u64, LogError> {
        let written = self.rotate().and_then(|()| {
            let base = self.offset;
            self.append(&batch.bytes).map(|()| base)
        });
        self.is_refused = written.is_err();
        let base = written.map_err(|error| LogError::Disk(error.to_string()))?;
        self.dirty_since.get_or_insert_with(Instant::now);
        if !batch.is_waited_for() {
            // What is lost of it is done once more after a start.
            return Ok(base);
        }
        if self.shared.options.flush == FlushPolicy::EveryWrite {
            self.flush();
        }
        if let Err(error) = self.shared.refuse_if_failed() {
            // A start is not to find what was refused. Where the disk does not do this either, it may.
            if self.medium.truncate(base).is_ok() {
                self.offset = base;
            }
            return Err(error);
        }
        Ok(base)
    }

    fn acknowledge(&self, batch: Batch, base: u64) {
        let mut index = self.shared.index.lock();
        index.grew(batch.bytes.len() as u64);
        for (key, version) in &batch.given_up {
            index.drop_dead(key, *version);
        }
        for Written { record, at, bytes, room, told, .. } in batch.records {
            if let Record::Pending { change, stamped_ms } = &record {
                let place = Place { segment: self.number, offset: base + at, bytes };
                index.put(change.key.clone(), change.version, place, *stamped_ms);
            }
            drop(room);
            // Who has gone need not be told.
            told.map(|told| told.send(Ok(())));
        }
        drop(index);
        self.shared.wake.notify_one();
    }

    /// The disk took none or a part of it: what is there stays good.
    fn take_back(&self, batch: Batch, error: &LogError) {
        let path = self.shared.files.path(self.number);
        tracing::error!(%error, path = %path.display(), "the log cannot be written");
        let mut owed = self.shared.owed.lock();
        for Written { record, told, is_note, .. } in batch.records {
            if is_note {
                owed.push(record);
            }
            // Who has gone need not be told.
            told.map(|told| told.send(Err(error.clone())));
        }
    }

    /// Writes all of it behind what is good, or nothing.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.medium.append(bytes) {
            if let Err(error) = self.medium.truncate(self.offset) {
                // What comes next would be somewhere else than where it is looked for.
                self.fail(&error);
            }
            return Err(error);
        }
        self.offset += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn fail(&self, error: &io::Error) {
        let why = format!("{}: {error}", self.shared.files.path(self.number).display());
        tracing::error!(%why, "the log is not written any more until this process is started again");
        *self.shared.failed.lock() = Some(why);
    }

    pub(super) fn flush(&mut self) {
        // After a flush that failed nobody knows what is on the disk.
        if self.dirty_since.take().is_some()
            && let Err(error) = self.medium.sync()
        {
            self.fail(&error);
        }
    }

    /// Goes on to another segment when this one is long enough.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        if self.offset < self.segment_bytes {
            return Ok(());
        }
        self.flush();
        let (medium, number) = self.shared.files.make(self.number + 1, self.make)?;
        (self.medium, self.number, self.offset) = (medium, number, 0);
        self.shared.index.lock().add_segment(self.number, 0);
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
    /// Dead letters that are no more once it is written.
    given_up: Vec<(Bytes, u64)>,
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
    /// Nobody waits for it, and it must be written some time.
    is_note: bool,
}

pub(super) type Told = oneshot::Sender<Result<(), LogError>>;

impl Batch {
    fn push(&mut self, record: Record, room: Option<Room>, told: Option<Told>) {
        let at = self.bytes.len();
        record.encode(&mut self.bytes);
        let bytes = (self.bytes.len() - at) as u32;
        if room.is_none() && matches!(record, Record::Pending { .. }) {
            self.bytes_unreserved += u64::from(bytes) + INDEX_BYTES;
        }
        self.records.push(Written { record, at: at as u64, bytes, room, told, is_note: false });
    }

    /// What it says of a letter is what holds by now, for notes may have come past each other; what holds later has a later note.
    fn note(&mut self, record: Record, shared: &Shared) {
        let record = match record {
            Record::Letter { key, version, .. } => {
                let index = shared.index.lock();
                let Some(pending) = index.get(&key).filter(|pending| pending.version == version) else {
                    return;
                };
                let (attempts, why) = (pending.attempts, pending.dead.clone());
                Record::Letter { key, version, attempts, why }
            }
            record => record,
        };
        self.push(record, None, None);
        self.records.last_mut().into_iter().for_each(|written| written.is_note = true);
    }

    /// The last of them tells for all.
    fn give_up(&mut self, letters: Vec<(Bytes, u64)>, told: Told) {
        let mut told = Some(told);
        for (left, (key, version)) in (0..letters.len()).rev().zip(&letters) {
            let record = Record::Done { key: key.clone(), version: *version };
            self.push(record, None, if left == 0 { told.take() } else { None });
        }
        // Where there were none. Who has gone need not be told.
        told.map(|told| told.send(Ok(())));
        self.given_up.extend(letters);
    }

    fn is_waited_for(&self) -> bool {
        self.records.iter().any(|written| written.told.is_some())
    }
}

/// How long a close waits for the thread.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
