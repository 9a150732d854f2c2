//! The files of a log: numbered segments in one directory, of which the newest is written to.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::index::{Index, Place};
use super::record::{Record, next_sound};

/// What a log is written to. A file, but in tests of disks that fail.
pub(super) trait Medium: Send {
    /// Writes all of it behind what is there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Takes off what is behind `len`.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Returns when all is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl Medium for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Numbers of segments that are tried: each that is taken was left by a start or a segment that failed.
const NUMBERS_TRIED_MAX: u64 = 1024;

/// Makes what a segment is written to.
pub(super) type Make = fn(&Path) -> io::Result<Box<dyn Medium>>;

/// A new file, opened to append.
pub(super) fn new_file(path: &Path) -> io::Result<Box<dyn Medium>> {
    let file = OpenOptions::new().append(true).create_new(true).open(path)?;
    Ok(Box::new(file))
}

/// The directory of a log, of which this process has the lock.
pub(super) struct Files {
    directory: PathBuf,
    /// Held for as long as the log is open.
    _lock: File,
    /// Open for reading. Lock order: alone.
    open: Mutex<HashMap<u64, Arc<File>>>,
}

/// Makes a directory, and those it is in, that survive a power cut from then on.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_directory(parent)?;
    }
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent.unwrap_or(Path::new(".")))?.sync_all(),
    }
}

/// Something in the files that is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The file.
    pub(crate) path: PathBuf,
    /// Where in it.
    pub(crate) offset: u64,
    /// How long it is.
    pub(crate) bytes: u64,
    /// It is the end of the file: a write that was cut off, most likely, which was not acknowledged.
    pub(crate) is_tail: bool,
}

impl Files {
    /// Opens or makes the directory, and locks it.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        make_directory(directory)?;
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).open(directory.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                "another process has it; give each gateway a log_dir of its own",
            ),
            std::fs::TryLockError::Error(error) => error,
        })?;
        Ok(Self { directory: directory.to_owned(), _lock: lock, open: Mutex::default() })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:016}.log"))
    }

    /// Numbers of the segments there are, oldest first.
    pub(super) fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for found in std::fs::read_dir(directory)? {
            let name = found?.file_name();
            let number: Option<u64> = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Reads all segments. Returns what waits, what is damaged, and the number of the next segment.
    pub(super) fn recover(&self) -> io::Result<(Index, Vec<Damage>, u64)> {
        let (mut index, mut damages, mut next) = (Index::default(), Vec::new(), 1);
        for number in Self::numbers(&self.directory)? {
            // What a process that was killed wrote may be nowhere else yet; by what is read here older segments go.
            File::open(self.path(number))?.sync_all()?;
            let bytes = std::fs::read(self.path(number))?;
            index.add_segment(number, bytes.len() as u64);
            self.replay(number, &bytes, &mut index, &mut damages);
            next = number + 1;
        }
        Ok((index, damages, next))
    }

    /// Tells the index what it was told when this was written: what says that a change is done stands behind the last record of
    /// that.
    fn replay(&self, segment: u64, bytes: &[u8], index: &mut Index, damages: &mut Vec<Damage>) {
        let mut offset = 0;
        while offset < bytes.len() {
            let rest = &bytes[offset..];
            let Some((record, len)) = Record::decode(rest) else {
                let len = next_sound(rest);
                let is_tail = offset + len == bytes.len();
                let (path, offset_bytes) = (self.path(segment), offset as u64);
                damages.push(Damage { path, offset: offset_bytes, bytes: len as u64, is_tail });
                offset += len;
                continue;
            };
            match record {
                Record::Pending { change, stamped_ms } => {
                    let place = Place { segment, offset: offset as u64, bytes: len as u32 };
                    index.put(change.key, change.version, place, stamped_ms);
                }
                Record::Letter { key, version, attempts, why } => match why {
                    Some(why) => index.lay_aside(&key, version, attempts, &why),
                    None => _ = index.revive(&key, Some(version)),
                },
                Record::Done { key, version } => _ = index.done(&key, version),
            }
            offset += len;
        }
    }

    /// Makes the segment of this number, which survives a power cut from then on; of the next that is free, where something is
    /// there already. Returns its number, too.
    pub(super) fn make(&self, mut number: u64, make: Make) -> io::Result<(Box<dyn Medium>, u64)> {
        let last = number.saturating_add(NUMBERS_TRIED_MAX);
        let medium = loop {
            match make(&self.path(number)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < last => number += 1,
                made => break made?,
            }
        };
        if let Err(error) = File::open(&self.directory).and_then(|directory| directory.sync_all()) {
            // It is empty. One that stays is skipped, and is gone after the next start.
            let _ = std::fs::remove_file(self.path(number));
            return Err(error);
        }
        Ok((medium, number))
    }

    /// Deletes a segment in which nothing waits, so that a power cut does not bring it back: newer ones, which say that what is
    /// in it is done, may go once this returns.
    pub(super) fn delete(&self, number: u64) -> io::Result<()> {
        match std::fs::remove_file(self.path(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.open.lock().remove(&number),
        };
        File::open(&self.directory)?.sync_all()
    }

    /// The bytes of a record.
    pub(super) fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let file = {
            // One that is deleted meanwhile is not to be kept.
            let mut open = self.open.lock();
            match open.get(&place.segment) {
                Some(file) => Arc::clone(file),
                None => {
                    let file = Arc::new(File::open(self.path(place.segment))?);
                    open.insert(place.segment, Arc::clone(&file));
                    file
                }
            }
        };
        let mut bytes = vec![0; place.bytes as usize];
        file.read_exact_at(&mut bytes, place.offset)?;
        Ok(bytes)
    }
}
