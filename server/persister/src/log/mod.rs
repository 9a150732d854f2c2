//! The log of a write-behind namespace: writes wait in it, on this machine's disk, until the store has them.
//!
//! ```text
//!  write ──> thread: many together ──> segment, segment, segment ── flushed as the policy says ──> acknowledged
//!                                          │ index: the newest of each key, in the place of its first
//!  load of a key that waits <──────────────┤
//!                                          └──> lots, in order ──> store ──> done │ again later │ dead letter
//! ```
//!
//! A start reads all segments again: what was acknowledged waits again, and what is damaged is told and skipped.

mod clear;
mod files;
mod index;
mod record;
mod room;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use crate::config::LogConfig;
use crate::store::KeyChange;

pub(crate) use files::Damage;
use files::{Files, Make, new_file};
use index::Index;
use record::{Record, WHY_BYTES_MAX};
use room::Reserved;
pub(crate) use room::Room;
use writer::{CLOSE_TIMEOUT, Command, Writer};

/// Commands that wait for the thread: several times what a gateway has under way.
const COMMANDS_MAX: usize = 8192;

/// Looks at a record that is being moved.
const READ_TRIES: usize = 3;

/// Until a write is read again that could not be read.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Why the log did not take a write. Nothing of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Too much waits for the store.
    #[error(
        "the write-behind log is full: {waiting} writes wait for the backing store, {dead} of them dead letters; look at the \
         store, drop or retry dead letters, or raise log_max"
    )]
    Full {
        /// Writes that wait.
        waiting: usize,
        /// How many of them an operator must decide on.
        dead: usize,
    },
    /// It is larger than the log takes any, however empty it is.
    #[error("the write is larger than the write-behind log takes: write less, or raise log_max")]
    TooLarge,
    /// The disk did not take it; the next write may fare better.
    #[error("the write-behind log cannot be written: {0}; make room on its disk")]
    Disk(String),
    /// A flush failed, so that nobody knows what is on the disk.
    #[error("the write-behind log is not written any more: {0}; mend the disk and start the gateway again")]
    Failed(String),
    /// The log is closed, or its thread cannot keep up.
    #[error("the write-behind log takes no writes now: try again later")]
    Unavailable,
    /// A newer write of its key waits: one that was made meanwhile, or by a clock that was set back since.
    #[error(
        "a write of the key waits for the backing store that was made by a clock ahead of this one: set the clock right, or try \
         again when the store has it"
    )]
    Overtaken {
        /// That one's version.
        by: u64,
    },
    /// It did not answer in time.
    #[error("the write-behind log did not answer in time, and may have taken the write; look at its disk")]
    Slow,
}

/// A log.
pub(crate) struct Log {
    shared: Arc<Shared>,
    commands: SyncSender<Command>,
}

struct Shared {
    files: Files,
    options: LogConfig,
    /// Lock order: `failed` first, `owed` last.
    index: Mutex<Index>,
    failed: Mutex<Option<String>>,
    reserved: Reserved,
    /// What is to be written of changes and found no place yet, in the queue or on the disk: of what waited, one or two each.
    owed: Mutex<Vec<Record>>,
    /// No more writes are taken.
    is_sealed: AtomicBool,
    /// Something waits that did not wait before.
    wake: Notify,
}

/// A change that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) change: KeyChange,
    /// In milliseconds since the Unix epoch.
    pub(crate) stamped_ms: u64,
    /// It does not go to the store by itself.
    pub(crate) is_dead: bool,
}

/// A change on its way from the log to the store.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) change: KeyChange,
    pub(crate) attempts: usize,
}

/// A write that does not go to the store by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its key.
    pub key: Bytes,
    /// Its version.
    pub version: u64,
    /// When it was stamped, in milliseconds since the Unix epoch.
    pub stamped_ms: u64,
    /// How often it was tried.
    pub attempts: usize,
    /// What the store said last.
    pub error: String,
}

/// How full a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogState {
    /// Writes that wait, dead letters included.
    pub waiting: usize,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Bytes of the files.
    pub file_bytes: u64,
    /// How long the oldest of them waits that is no dead letter, in milliseconds.
    pub oldest_age_ms: u64,
    /// Dead letters.
    pub dead: usize,
    /// A flush has failed: no more writes are taken.
    pub failed: bool,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Shared {
    fn new(files: Files, options: LogConfig, index: Index) -> Self {
        let (index, failed, reserved) = (Mutex::new(index), Mutex::default(), Reserved::default());
        let (owed, is_sealed) = (Mutex::default(), AtomicBool::new(false));
        Self { files, options, index, failed, reserved, owed, is_sealed, wake: Notify::new() }
    }
}

impl Log {
    /// Opens or makes the log in this directory. Blocks. Returns what of it is damaged, too.
    pub(crate) fn open(directory: &Path, options: LogConfig) -> io::Result<(Self, Vec<Damage>)> {
        Self::open_on(directory, options, new_file)
    }

    fn open_on(directory: &Path, options: LogConfig, make: Make) -> io::Result<(Self, Vec<Damage>)> {
        let files = Files::open(directory)?;
        let (index, damages, next) = files.recover()?;
        let shared = Arc::new(Shared::new(files, options, index));
        let writer = Writer::new(Arc::clone(&shared), next, make)?;
        let (commands, asked) = sync_channel(COMMANDS_MAX);
        std::thread::Builder::new().name("write-behind".to_owned()).spawn(move || writer.run(&asked))?;
        Ok((Self { shared, commands }, damages))
    }

    pub(crate) fn options(&self) -> LogConfig {
        self.shared.options
    }

    pub(crate) fn directory(&self) -> &Path {
        self.shared.files.directory()
    }

    /// Writes a change, in this room if it was reserved. Once this returns it is as safe as the flush policy says, and waits for
    /// the store.
    pub(crate) async fn append(&self, change: KeyChange, room: Option<Room>) -> Result<(), LogError> {
        let (told, outcome) = oneshot::channel();
        if self.shared.is_sealed.load(Ordering::Acquire) {
            return Err(LogError::Unavailable);
        }
        if !record::holds(change.key.len(), change.value_bytes()) {
            return Err(LogError::TooLarge);
        }
        let record = Record::Pending { change, stamped_ms: now_ms() };
        self.commands.try_send(Command::Append(record, room, told)).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => LogError::Unavailable,
        })?;
        outcome.await.unwrap_or(Err(LogError::Unavailable))
    }

    /// What waits of a key.
    pub(crate) fn find(&self, key: &[u8]) -> io::Result<Option<Waiting>> {
        let mut failed = None;
        for _ in 0..READ_TRIES {
            let Some(pending) = self.shared.index.lock().get(key).cloned() else { return Ok(None) };
            match self.read(pending.place) {
                Ok(change) => {
                    let (stamped_ms, is_dead) = (pending.stamped_ms, pending.dead.is_some());
                    return Ok(Some(Waiting { change, stamped_ms, is_dead }));
                }
                // It may have been moved meanwhile.
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Whether anything waits of a key.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.shared.index.lock().get(key).is_some()
    }

    fn read(&self, place: index::Place) -> io::Result<KeyChange> {
        let bytes = self.shared.files.read(place)?;
        match Record::decode(&bytes) {
            Some((Record::Pending { change, .. }, _)) => Ok(change),
            _ => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "a record of the write-behind log is damaged"))
            }
        }
    }

    /// Takes the changes whose turn it is. Blocks for as long as it takes to read them. What is damaged is a dead letter.
    pub(crate) fn take(&self, most: usize, bytes_max: u64) -> Vec<Taken> {
        let turns = self.shared.index.lock().take(most, bytes_max, Instant::now());
        let mut taken = Vec::with_capacity(turns.len());
        for turn in turns {
            match self.read_turn(&turn) {
                Ok(change) => taken.push(Taken { change, attempts: turn.attempts }),
                Err(error) if is_damage(&error) => {
                    tracing::error!(
                        key = %turn.key.escape_ascii(), %error,
                        "a write cannot be read from the log any more, and is a dead letter: what the cluster has is the only copy"
                    );
                    self.bury(&turn.key, turn.version, &format!("not read from the log: {error}"));
                }
                // A lack of descriptors, say: the write is good.
                Err(error) => {
                    tracing::warn!(%error, "a write cannot be read from the log now: it goes to the store later");
                    self.shared.index.lock().postpone(&turn.key, turn.version, Instant::now() + READ_AGAIN);
                }
            }
        }
        taken
    }

    /// A newer one of its key that waits may be somewhere else; the same, too, when it was moved.
    fn read_turn(&self, turn: &index::Turn) -> io::Result<KeyChange> {
        let mut place = turn.place;
        loop {
            let error = match self.read(place) {
                Err(error) => error,
                read => return read,
            };
            let pending = self.shared.index.lock().get(&turn.key).cloned();
            match pending.filter(|pending| pending.version == turn.version && pending.place != place) {
                Some(moved) => place = moved.place,
                None => return Err(error),
            }
        }
    }

    /// It came back untried.
    pub(crate) fn release(&self, key: &Bytes) {
        self.shared.index.lock().release(key);
        self.shared.wake.notify_one();
    }

    /// Waits until something may have its turn.
    pub(crate) async fn woken(&self) {
        self.shared.wake.notified().await;
    }

    /// Whether anything waits that is no dead letter.
    pub(crate) fn is_busy(&self) -> bool {
        let index = self.shared.index.lock();
        index.len() > index.dead()
    }

    /// The store has it, or something newer.
    pub(crate) fn done(&self, key: &Bytes, version: u64) {
        if self.shared.index.lock().done(key, version) {
            self.note(Record::Done { key: key.clone(), version });
        } else {
            // A newer one of its key may go now.
            self.shared.wake.notify_one();
        }
    }

    /// Has it written what became of a change. One that is lost with the machine is done once more after a start.
    fn note(&self, record: Record) {
        if let Err(TrySendError::Full(Command::Note(record))) = self.commands.try_send(Command::Note(record))
        {
            self.shared.owed.lock().push(record);
        }
    }

    /// It goes again, at `at`.
    pub(crate) fn retry_at(&self, key: &Bytes, version: u64, at: Instant) {
        self.shared.index.lock().retry_at(key, version, at);
    }

    /// It does not go again by itself.
    pub(crate) fn bury(&self, key: &Bytes, version: u64, why: &str) {
        // An empty one would say that it is none any more.
        let why = if why.is_empty() { "the store gave no reason" } else { why };
        let why = why[..why.floor_char_boundary(WHY_BYTES_MAX)].to_owned();
        let attempts = self.shared.index.lock().bury(key, version, &why);
        if let Some(attempts) = attempts {
            self.note(Record::Letter { key: key.clone(), version, attempts, why: Some(why) });
        }
    }

    /// Dead letters, oldest first, behind a key if one is given.
    pub(crate) fn dead_letters(&self, most: usize, behind: Option<&[u8]>) -> Vec<DeadLetter> {
        let letters = self.shared.index.lock().dead_letters(most, behind);
        let letter = |(key, pending): (Bytes, index::Pending)| DeadLetter {
            key,
            version: pending.version,
            stamped_ms: pending.stamped_ms,
            attempts: pending.attempts,
            error: pending.dead.unwrap_or_default(),
        };
        letters.into_iter().map(letter).collect()
    }

    /// A dead letter goes again. Returns whether it was one.
    pub(crate) fn revive(&self, key: &[u8]) -> bool {
        let revived = self.shared.index.lock().revive(key, None);
        if let Some(version) = revived {
            let key = Bytes::copy_from_slice(key);
            self.note(Record::Letter { key, version, attempts: 0, why: None });
        }
        self.shared.wake.notify_one();
        revived.is_some()
    }

    /// Gives up those of these keys that are dead letters, for good. Returns how many those were, once that is as safe as the flush
    /// policy says.
    pub(crate) async fn drop_dead(&self, keys: &[Bytes]) -> Result<usize, LogError> {
        let letters: Vec<(Bytes, u64)> = {
            let index = self.shared.index.lock();
            let dead = |key: &Bytes| index.get(key).filter(|pending| pending.dead.is_some());
            keys.iter().filter_map(|key| Some((key.clone(), dead(key)?.version))).collect()
        };
        let (count, (told, outcome)) = (letters.len(), oneshot::channel());
        self.send(Command::GiveUp(letters, told)).await;
        outcome.await.unwrap_or(Err(LogError::Unavailable))?;
        Ok(count)
    }

    pub(crate) fn state(&self) -> LogState {
        let failed = self.shared.failed.lock().is_some();
        let index = self.shared.index.lock();
        LogState {
            waiting: index.len(),
            waiting_bytes: index.live_bytes,
            file_bytes: index.bytes(),
            oldest_age_ms: index.oldest_ms().map_or(0, |oldest| now_ms().saturating_sub(oldest)),
            dead: index.dead(),
            failed,
        }
    }

    /// The newest version that waits.
    pub(crate) fn newest_version(&self) -> Option<u64> {
        self.shared.index.lock().newest_version()
    }

    /// Takes no more writes. What was taken before waits, and is known, when this returns.
    pub(crate) async fn seal(&self) {
        let (told, sealed) = oneshot::channel();
        self.shared.is_sealed.store(true, Ordering::Release);
        self.send(Command::Seal(told)).await;
        // A thread that has ended has taken nothing.
        let _ = sealed.await;
    }

    /// Flushes, and takes no more writes.
    pub(crate) async fn close(&self) {
        let (told, closed) = oneshot::channel();
        let close = async {
            self.send(Command::Close(told)).await;
            closed.await
        };
        // What the policy promised is on the disk in any case.
        let _ = timeout(CLOSE_TIMEOUT, close).await;
    }

    /// Asks the thread, once there is room among what it is asked.
    async fn send(&self, mut command: Command) {
        while let Err(TrySendError::Full(back)) = self.commands.try_send(command) {
            command = back;
            tokio::task::yield_now().await;
        }
    }
}

/// Whether a record is not to be had any more, however often it is read: not what it was, cut off, gone, or on a bad part of the disk.
fn is_damage(error: &io::Error) -> bool {
    /// What a disk says of a part that it cannot read; it has no kind in the standard library.
    const EIO: i32 = 5;
    let kinds = [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof, io::ErrorKind::NotFound];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(EIO)
}

/// Where the log of a namespace is.
pub(crate) fn directory(log_dir: &Path, namespace: &str) -> PathBuf {
    log_dir.join(namespace)
}

/// How many writes wait in this directory, which may be that of no log. Blocks.
pub(crate) fn waiting_in(directory: &Path) -> io::Result<usize> {
    if Files::numbers(directory)?.is_empty() {
        return Ok(0);
    }
    let (index, ..) = Files::open(directory)?.recover()?;
    Ok(index.len())
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
