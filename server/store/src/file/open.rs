//! Opening a memory file: whose it is, whether its items can be used, and room for all of it before any is used.

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapOptions;
use rapidhash::v3::rapidhash_v3;

use super::ledger::HEADER_CELLS;
use super::{FORMAT, Geometry, Ledger, MemoryFileError, Refusal};
use crate::arena::{Arena, Cells};
use crate::namespace::Namespaces;

/// Begins every memory file: `EVANMEM` and a line's end, which reads as another number where bytes are ordered otherwise.
const MAGIC: u64 = u64::from_le_bytes(*b"EVANMEM\n");
/// Cells of [`Fixed`], the last one their checksum.
const FIXED_CELLS: usize = 16;
/// The first of these cells that says nothing.
const UNUSED_FROM: usize = 10;
/// Bytes of the header.
const HEADER_BYTES: usize = HEADER_CELLS * size_of::<u64>();
/// Bytes that a file's metadata counts in.
const BLOCK_BYTES: u64 = 512;
/// Tells of the start of the system.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What the header says for as long as the file is of use, in cells of 64 bits.
///
/// ```text
///  0       1        2               3          4        5            6            7                8      9      15
/// +-------+--------+---------------+----------+--------+------------+------------+----------------+------+------+----------+
/// | magic | format | segment bytes | segments | shards | tombstones | namespaces | names and ways | seed | boot | checksum |
/// +-------+--------+---------------+----------+--------+------------+------------+----------------+------+------+----------+
/// ```
///
/// Cell 48 changes: when the store last ran, in milliseconds since the epoch. All others are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) geometry: Geometry,
    /// A hash of the namespaces' names, and of which of them have queues of their own.
    pub(super) namespaces: u64,
    /// Of the hash of keys.
    pub(super) seed: u64,
    /// A hash of what tells this start of the system from others; 0 where nothing does.
    pub(super) boot: u64,
}

/// What was in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing: it was made.
    Nothing,
    /// What could not be used: the file was made anew.
    Refused(Refusal),
    /// A ledger and its segments.
    Items,
}

/// A memory file in use.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) arena: Arc<Arena>,
    pub(crate) seed: u64,
    pub(crate) found: Found,
}

/// Opens the file, or makes it, with room for all of it. `None` when it is foreign; it is left alone then.
pub(crate) fn open(
    path: &Path,
    geometry: Geometry,
    namespaces: &Namespaces,
    seed: Option<u64>,
) -> Result<Option<Opened>, MemoryFileError> {
    let refused = |action| {
        move |error: io::Error| MemoryFileError::Refused { path: path.to_owned(), action, kind: error.kind() }
    };
    let mut file = options().open(path).map_err(refused("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(MemoryFileError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => return Err(refused("lock")(error)),
    }
    let wanted =
        Fixed { geometry, namespaces: fingerprint(namespaces), seed: seed.unwrap_or(0), boot: boot() };
    let (found, seed) = match look(&mut file, &wanted, seed.is_some()).map_err(refused("read"))? {
        Ok(Some(there)) => (Found::Items, there.seed),
        Ok(None) => (Found::Nothing, seed.unwrap_or_else(random_seed)),
        Err(Refusal::Foreign) => return Ok(None),
        Err(refusal) => (Found::Refused(refusal), seed.unwrap_or_else(random_seed)),
    };
    if found != Found::Items {
        file.set_len(0).map_err(refused("empty"))?;
    }
    let bytes = geometry.file_bytes();
    reserve(&file, bytes).map_err(|error| MemoryFileError::NoRoom {
        path: path.to_owned(),
        bytes,
        kind: error.kind(),
    })?;
    let (first, rest) = (geometry.ledger_bytes(), geometry.segments * geometry.segment_bytes);
    let cells = MmapOptions::new().len(first).map_raw(&file).map_err(refused("map"))?;
    let map = MmapOptions::new().offset(first as u64).len(rest).map_raw(&file).map_err(refused("map"))?;
    let ledger = Ledger::new(Cells::new(cells), geometry, file);
    if found != Found::Items {
        Fixed { seed, ..wanted }.write(ledger.header());
    }
    let arena = Arena::in_file(map, geometry.segments, geometry.segment_bytes, ledger);
    Ok(Some(Opened { arena, seed, found }))
}

/// Readable to its owner alone: it holds what clients stored, and the seed of the hash.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// What the file holds, if anything. Its seed may be any unless one is asked for.
fn look(file: &mut File, wanted: &Fixed, seed_counts: bool) -> io::Result<Result<Option<Fixed>, Refusal>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Err(Refusal::Foreign));
    }
    if metadata.len() == 0 {
        return Ok(Ok(None));
    }
    let mut header = vec![0; HEADER_BYTES.min(usize::try_from(metadata.len()).unwrap_or(HEADER_BYTES))];
    file.read_exact(&mut header)?;
    if is_unfinished(&header) {
        return Ok(Ok(None));
    }
    let there = match Fixed::read(&header) {
        Ok(there) => there,
        Err(refusal) => return Ok(Err(refusal)),
    };
    Ok(match there.differs_from(wanted, seed_counts) {
        Some(refusal) => Err(refusal),
        None if metadata.len() < wanted.geometry.file_bytes() as u64 => {
            Err(Refusal::Damaged("it is cut short"))
        }
        None => Ok(Some(there)),
    })
}

/// Whether this file was being made: a header is written last, and its first cell after all others. What has anything where a
/// header has nothing is somebody else's.
fn is_unfinished(header: &[u8]) -> bool {
    let (cells, _) = header.as_chunks::<8>();
    let is_number = |at: usize| matches!(at, 1..UNUSED_FROM) || at == FIXED_CELLS - 1;
    let is_format = |format: u64| format == 0 || format == FORMAT;
    header.len() == HEADER_BYTES
        && cells.iter().enumerate().all(|(at, cell)| is_number(at) || *cell == [0; 8])
        && is_format(u64::from_ne_bytes(cells[1]))
}

/// Makes the file so long, and has the file system give all of it: what is missing then would end the process.
fn reserve(file: &File, bytes: usize) -> io::Result<()> {
    file.set_len(bytes as u64)?;
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::blocks(&file.metadata()?) * BLOCK_BYTES >= bytes as u64 {
        return Ok(());
    }
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes as u64)?)
}

fn fingerprint(namespaces: &Namespaces) -> u64 {
    let words = (0..namespaces.count())
        .map(|index| format!("{}:{}\n", namespaces.name(index), namespaces.space(index)))
        .collect::<String>();
    rapidhash_v3(words.as_bytes())
}

fn random_seed() -> u64 {
    RandomState::new().hash_one(MAGIC)
}

pub(super) fn boot() -> u64 {
    std::fs::read(BOOT_ID).map_or(0, |id| rapidhash_v3(&id))
}

impl Fixed {
    fn cells(&self) -> [u64; FIXED_CELLS] {
        let Geometry { segment_bytes, segments, shards, namespaces, tombstones } = self.geometry;
        let mut cells = [0; FIXED_CELLS];
        cells[..2].copy_from_slice(&[MAGIC, FORMAT]);
        cells[2..7].copy_from_slice(
            &[segment_bytes, segments, shards, tombstones, namespaces].map(|size| size as u64),
        );
        cells[7..10].copy_from_slice(&[self.namespaces, self.seed, self.boot]);
        cells[FIXED_CELLS - 1] = checksum(&cells);
        cells
    }

    /// The first cell last: a file without it was never finished.
    pub(super) fn write(&self, header: &[AtomicU64]) {
        for (cell, number) in header.iter().zip(self.cells()).rev() {
            cell.store(number, Ordering::SeqCst);
        }
    }

    pub(super) fn read(header: &[u8]) -> Result<Fixed, Refusal> {
        let (numbers, _) = header.as_chunks::<8>();
        let Some(cells) = numbers.first_chunk::<FIXED_CELLS>() else { return Err(Refusal::Foreign) };
        let cells = cells.map(u64::from_ne_bytes);
        if cells[0] != MAGIC {
            return Err(Refusal::Foreign);
        }
        if cells[1] != FORMAT {
            return Err(Refusal::Format(cells[1]));
        }
        if cells[FIXED_CELLS - 1] != checksum(&cells) {
            return Err(Refusal::Damaged("its header does not add up"));
        }
        let [segment_bytes, segments, shards, tombstones, namespaces] =
            [2, 3, 4, 5, 6].map(|cell| usize::try_from(cells[cell]).unwrap_or(usize::MAX));
        let geometry = Geometry { segment_bytes, segments, shards, namespaces, tombstones };
        Ok(Fixed { geometry, namespaces: cells[7], seed: cells[8], boot: cells[9] })
    }

    fn differs_from(&self, wanted: &Fixed, seed_counts: bool) -> Option<Refusal> {
        let (there, here) = (&self.geometry, &wanted.geometry);
        if there.shards != here.shards {
            return Some(Refusal::Configured("number of threads"));
        }
        if self.namespaces != wanted.namespaces || there.namespaces != here.namespaces {
            return Some(Refusal::Configured("set of namespaces"));
        }
        if there != here {
            return Some(Refusal::Configured("size of memory"));
        }
        if seed_counts && self.seed != wanted.seed {
            return Some(Refusal::Configured("hash seed"));
        }
        (self.boot != wanted.boot).then_some(Refusal::OtherBoot)
    }
}

fn checksum(cells: &[u64; FIXED_CELLS]) -> u64 {
    let bytes: Vec<u8> = cells[..FIXED_CELLS - 1].iter().flat_map(|cell| cell.to_le_bytes()).collect();
    rapidhash_v3(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_unfinished_until_its_first_cell_is_written_and_nothing_else_is_taken_for_one() {
        let geometry = Geometry { segment_bytes: 4096, segments: 3, shards: 1, namespaces: 1, tombstones: 8 };
        let cells = Fixed { geometry, namespaces: 5, seed: 6, boot: 7 }.cells();
        let header = |written: usize| {
            let mut all = [0; HEADER_CELLS];
            all[FIXED_CELLS - written..FIXED_CELLS].copy_from_slice(&cells[FIXED_CELLS - written..]);
            all
        };
        let is_unfinished = |cells: &[u64]| {
            let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_ne_bytes()).collect();
            super::is_unfinished(&bytes)
        };
        assert!((0..FIXED_CELLS).all(|written| is_unfinished(&header(written))));
        assert!(!is_unfinished(&header(FIXED_CELLS)), "it is finished");
        for (at, number) in [(1, FORMAT + 1), (12, 1), (FIXED_CELLS, 1), (48, 1), (HEADER_CELLS - 1, 9)] {
            let mut foreign = header(3);
            foreign[at] = number;
            assert!(!is_unfinished(&foreign), "cell {at}");
        }
        assert!(!is_unfinished(&[0; FIXED_CELLS]), "it is too short");
    }
}
