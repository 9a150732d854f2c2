//! Values too large for one item: chunks under keys of their own, and a manifest under the value's key.
//!
//! ```text
//!  user:42                          manifest, flag bit 16 and the flags of the value
//!  user:~c<22 characters>.0         bytes 0 .. 261119 of the value, flag bit 18
//!  user:~c<22 characters>.1         the next, up to the last, which may be shorter
//!          = XXH3 of the key, seeded with the version of the write
//! ```
//!
//! Each write has chunks of its own, for its version is in their keys: two writers never mix, and a reader that has a
//! manifest finds its chunks or none. A writer stores all chunks first and then the manifest, with one expiry for all. A
//! delete deletes the manifest; chunks that no manifest leads to expire.
//!
//! A reader asks for all chunks at once, over all nodes. One that is absent, evicted before the others or not yet in this
//! zone, makes the value a miss here.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use evanesce_wire::limits::VALUE_BYTES_MAX_DEFAULT;
use thiserror::Error;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::VALUE_BYTES_MAX;
use super::flags::{CHUNK, MANIFEST};
use crate::key::KeyError;
use crate::key::hashed::{hash_text, namespace};

/// Room in an item for the longest key, in front of the value too, and an item's header.
const ITEM_OVERHEAD_BYTES: usize = 16 << 10;

/// The least that servers may take as one item.
pub(crate) const ITEM_BYTES_MIN: usize = 64 << 10;

/// Values above it are split: what a server takes by default, less that room.
const WHOLE_BYTES_MAX: usize = VALUE_BYTES_MAX_DEFAULT - ITEM_OVERHEAD_BYTES;

/// A chunk's size: with key and header a quarter of a mebibyte, which the engine keeps in one piece. Smaller ones cost
/// more requests, larger ones longer turns of a node.
const CHUNK_BYTES: usize = (256 << 10) - 1024;

/// Smaller chunks are not worth their headers and requests.
const CHUNK_BYTES_MIN: usize = 1024;

/// The most chunks of a value: what one read asks for at once. Their numbers have five digits at most.
const CHUNKS_MAX: usize = 1024;

/// How large values are split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunking {
    whole_bytes_max: usize,
    chunk_bytes: usize,
}

impl Default for Chunking {
    fn default() -> Self {
        Self { whole_bytes_max: WHOLE_BYTES_MAX, chunk_bytes: CHUNK_BYTES }
    }
}

impl Chunking {
    /// Values above `whole_bytes_max` are split into chunks of `chunk_bytes`, at least 1 KiB.
    pub(crate) fn new(whole_bytes_max: usize, chunk_bytes: usize) -> Self {
        Self { whole_bytes_max, chunk_bytes: chunk_bytes.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX) }
    }

    /// For servers that take so many bytes as one item.
    pub(crate) fn of_item_limit(bytes: usize) -> Self {
        let whole_bytes_max = bytes.saturating_sub(ITEM_OVERHEAD_BYTES);
        Self::new(whole_bytes_max, CHUNK_BYTES.min(whole_bytes_max))
    }

    /// Whether `value` is too large for one item.
    pub(crate) fn splits(self, value: &Bytes) -> bool {
        value.len() > self.whole_bytes_max
    }

    /// How `value` is split when `version` writes it; `None` when it is stored whole.
    pub(crate) fn split(self, value: &Bytes, version: u64) -> Result<Option<Manifest>, ChunkError> {
        if !self.splits(value) {
            return Ok(None);
        }
        let (chunk_bytes, value_bytes) = (self.chunk_bytes, value.len());
        let bytes_max = VALUE_BYTES_MAX.min(chunk_bytes * CHUNKS_MAX);
        if value_bytes > bytes_max {
            return Err(ChunkError::TooLarge { bytes: value_bytes, bytes_max });
        }
        let checksum = checksum(value, version);
        Ok(Some(Manifest { chunk_bytes, value_bytes, version, checksum }))
    }
}

/// The largest chunk a manifest may speak of: what a whole value may have.
const CHUNK_BYTES_MAX: usize = WHOLE_BYTES_MAX;

/// Where the chunks of a value are, and what they must add up to. Numbers go with the most significant byte first.
///
/// ```text
///  0          4        5      8        12           16           24         32         40
/// +----------+--------+------+--------+------------+------------+----------+----------+
/// | "EvCh"   | format | 0    | chunks | bytes of a | bytes of   | version  | checksum |
/// |          | = 1    |      |        | chunk      | the value  |          |          |
/// +----------+--------+------+--------+------------+------------+----------+----------+
/// ```
///
/// The checksum is XXH3 of the whole value, 64 bits, seeded with the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manifest {
    chunk_bytes: usize,
    value_bytes: usize,
    version: u64,
    checksum: u64,
}

/// The size of a manifest.
pub(crate) const MANIFEST_BYTES: usize = 40;

const MAGIC: [u8; 4] = *b"EvCh";

/// Another layout gets another number.
const FORMAT: u8 = 1;

/// Tells chunks from other keys to whoever looks at them; a read looks at the flag.
const MARKER: &[u8] = b"~c";

/// The flags of a manifest, of a value with these `flags`.
pub(crate) fn manifest_flags(flags: u32) -> u32 {
    flags | MANIFEST
}

/// The flags of each chunk.
pub(crate) const CHUNK_FLAGS: u32 = CHUNK;

impl Manifest {
    /// How many chunks there are: at least one.
    pub(crate) fn chunks(&self) -> usize {
        self.value_bytes.div_ceil(self.chunk_bytes)
    }

    /// The version of the write that made it.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The chunks' keys, in their order. `full` is the value's key, namespace included, as the caller has it.
    pub(crate) fn keys(&self, full: &[u8]) -> Result<impl Iterator<Item = Bytes> + use<>, KeyError> {
        let hash = hash_text(xxh3_128_with_seed(full, self.version));
        let stem = Bytes::from([namespace(full)?, MARKER, hash.as_bytes(), b"."].concat());
        let key = move |chunk: usize| Bytes::from([&stem[..], chunk.to_string().as_bytes()].concat());
        Ok((0..self.chunks()).map(key))
    }

    /// The chunks of `value`, in their order, without a copy. It is the value this was made for.
    pub(crate) fn cut(&self, value: &Bytes) -> impl Iterator<Item = Bytes> + use<> {
        let (manifest, value) = (*self, value.clone());
        (0..self.chunks()).map(move |chunk| value.slice(manifest.range(chunk)))
    }

    /// The value from its chunks, `None` for one that is absent. Nothing is allocated before all have their size.
    pub(crate) fn join(&self, chunks: &[Option<Bytes>]) -> Result<Bytes, JoinError> {
        if chunks.len() != self.chunks() {
            return Err(JoinError::Missing);
        }
        let chunks: Vec<&Bytes> =
            chunks.iter().map(Option::as_ref).collect::<Option<_>>().ok_or(JoinError::Missing)?;
        if chunks.iter().enumerate().any(|(at, chunk)| chunk.len() != self.range(at).len()) {
            return Err(JoinError::Damaged);
        }
        let mut value = BytesMut::with_capacity(self.value_bytes);
        chunks.into_iter().for_each(|chunk| value.put_slice(chunk));
        match checksum(&value, self.version) == self.checksum {
            true => Ok(value.freeze()),
            false => Err(JoinError::Damaged),
        }
    }

    /// As it is stored.
    pub(crate) fn encode(&self) -> Bytes {
        let mut stored = BytesMut::with_capacity(MANIFEST_BYTES);
        stored.put_slice(&MAGIC);
        stored.put_u8(FORMAT);
        stored.put_slice(&[0; 3]);
        stored.put_u32(self.chunks() as u32);
        stored.put_u32(self.chunk_bytes as u32);
        stored.put_u64(self.value_bytes as u64);
        stored.put_u64(self.version);
        stored.put_u64(self.checksum);
        stored.freeze()
    }

    /// Reads a manifest, strictly: whatever it says is within the limits.
    pub(crate) fn decode(mut stored: &[u8]) -> Result<Self, ChunkError> {
        if stored.len() != MANIFEST_BYTES || !stored.starts_with(&MAGIC) {
            return Err(ChunkError::NoManifest);
        }
        stored.advance(MAGIC.len());
        let format = stored.get_u8();
        if format != FORMAT {
            return Err(ChunkError::UnknownFormat { format });
        }
        let zero = stored.get_uint(3);
        let chunks = stored.get_u32() as usize;
        let chunk_bytes = stored.get_u32() as usize;
        let value_bytes = usize::try_from(stored.get_u64()).map_err(|_| ChunkError::NoManifest)?;
        let (version, checksum) = (stored.get_u64(), stored.get_u64());
        let manifest = Self { chunk_bytes, value_bytes, version, checksum };
        let sizes = (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&chunk_bytes)
            && (1..=VALUE_BYTES_MAX).contains(&value_bytes);
        if zero != 0 || !sizes || manifest.chunks() != chunks || chunks > CHUNKS_MAX {
            return Err(ChunkError::NoManifest);
        }
        Ok(manifest)
    }

    /// The part of the value that a chunk holds.
    fn range(&self, chunk: usize) -> Range<usize> {
        let from = chunk * self.chunk_bytes;
        from..self.value_bytes.min(from + self.chunk_bytes)
    }
}

fn checksum(value: &[u8], version: u64) -> u64 {
    xxh3_64_with_seed(value, version)
}

/// Why a value cannot be split, or a manifest not be read. Retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// It is larger than can be read back.
    #[error("the value has {bytes} bytes, more than {bytes_max}: keep it in an object store, or split it")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The item is marked as a manifest and is none.
    #[error(
        "the item is marked as a manifest and is none: was it appended to, or written with these flags by others"
    )]
    NoManifest,
    /// A newer client wrote it.
    #[error("the manifest has format {format}, which this client does not know: upgrade the client")]
    UnknownFormat {
        /// Its format.
        format: u8,
    },
}

/// Why a value cannot be joined here. Both are a reason to ask another zone, and then a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum JoinError {
    /// Chunks are absent: evicted, expired, or not yet in this zone.
    #[error("chunks of the value are missing: ask another zone, or load it anew")]
    Missing,
    /// A chunk has the wrong size, or the whole the wrong checksum.
    #[error("chunks of the value are damaged: store it anew")]
    Damaged,
}

#[cfg(test)]
mod tests;
