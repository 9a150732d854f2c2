//! What of the log goes: segments in which nothing waits any more. That there are such, what waits in the oldest is moved.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::index::{Pending, Place};
use super::record::{LETTER_BYTES_MAX, Record};
use super::writer::Writer;

/// Until it is tried again to move or delete what could not be.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Writer {
    /// Deletes segments in which nothing waits, and moves what waits in the oldest when the files take more than twice what
    /// waits or may wait.
    pub(super) fn tidy(&mut self) {
        // After a flush that failed nobody knows what is on the disk, and so nothing goes from it.
        if self.shared.failed.lock().is_some() || self.not_tidied_before.is_some_and(|at| at > Instant::now())
        {
            return;
        }
        self.not_tidied_before = None;
        if let Some(oldest) = self.to_be_emptied()
            && let Err(error) = self.move_from(oldest)
        {
            tracing::warn!(%error, "what waits in the oldest part of the log cannot be moved; the log grows meanwhile");
            self.not_tidied_before = Some(Instant::now() + AGAIN_AFTER);
        }
        if self.shared.index.lock().settled().is_none() {
            return self.make_room();
        }
        // What took the place of the last that waited there may not be on the disk yet.
        self.flush();
        while self.shared.failed.lock().is_none() {
            let Some(settled) = self.shared.index.lock().settled() else { return };
            if let Err(error) = self.shared.files.delete(settled) {
                tracing::warn!(%error, settled, "a part of the log that is done with cannot be deleted");
                self.not_tidied_before = Some(Instant::now() + AGAIN_AFTER);
                return;
            }
            self.shared.index.lock().pop_settled();
        }
    }

    /// The oldest segment, when the files take too much, or more than they must on a disk that is full. What waits is counted too:
    /// more may wait than this process would take, and moving that about makes no room.
    fn to_be_emptied(&self) -> Option<u64> {
        let index = self.shared.index.lock();
        let first = index.segments().front().filter(|first| first.live > 0 && first.number != self.number)?;
        let live = index.live_bytes + index.dead() as u64 * LETTER_BYTES_MAX;
        let much = if self.is_refused { live } else { live.max(self.shared.options.bytes_max) };
        let is_too_much = index.bytes() > 2 * much;
        is_too_much.then_some(first.number)
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
                // That of what is gone with it.
                self.shared.owed.lock().clear();
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Moves what waits in a segment. What could be moved before an error stays so.
    pub(super) fn move_from(&mut self, oldest: u64) -> io::Result<()> {
        let waiting = self.shared.index.lock().in_segment(oldest);
        let (mut moved, mut outcome) = (Vec::with_capacity(waiting.len()), Ok(()));
        for (key, pending) in waiting {
            // One that cannot be read keeps its segment, and nothing else in it.
            let bytes = match self.shared.files.read(pending.place) {
                Ok(bytes) => bytes,
                Err(error) => {
                    outcome = Err(error);
                    continue;
                }
            };
            match self.move_one(&key, &pending, bytes) {
                Ok(to) => moved.push((key, pending.version, to)),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
            self.flush_if_due();
        }
        self.flush();
        if self.shared.failed.lock().is_none() {
            let mut index = self.shared.index.lock();
            moved.iter().for_each(|(key, version, to)| _ = index.moved(key, *version, *to));
        }
        outcome
    }

    /// Writes it again, and that it is a dead letter, if it is one: what says that goes with segments, too.
    fn move_one(&mut self, key: &Bytes, pending: &Pending, mut bytes: Vec<u8>) -> io::Result<Place> {
        self.rotate()?;
        if let Some(why) = pending.dead.clone() {
            let (key, version, attempts) = (key.clone(), pending.version, pending.attempts);
            Record::Letter { key, version, attempts, why: Some(why) }.encode(&mut bytes);
        }
        let to = Place { segment: self.number, offset: self.offset, bytes: pending.place.bytes };
        self.append(&bytes)?;
        // At once: the next may go on to another segment, which flushes this one only if there is something to flush.
        self.dirty_since.get_or_insert_with(Instant::now);
        self.shared.index.lock().grew(bytes.len() as u64);
        Ok(to)
    }
}
