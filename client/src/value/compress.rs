//! Values compressed with zstd where it pays.

use bytes::Bytes;
use thiserror::Error;

use super::flags::{COMPRESSION_MASK, RESERVED, ZSTD};

/// From this size on a value is compressed. zstd takes 5 us to compress even 1 KiB, and 3 us to undo it: more than a
/// read costs the client. At 4 KiB of JSON the bytes saved take as long on a link of 10 Gb/s as undoing it does, 3 us,
/// and four fifths of the node's memory are saved on top.
const BYTES_MIN: usize = 4 << 10;

/// What is kept must be at least this share smaller, as 1 / 10: less is not worth undoing at each read.
const SAVED_SHARE: usize = 10;

/// zstd's level: higher ones cost writes up to twice as much, and save nothing on values of some kilobytes.
#[cfg(feature = "zstd")]
const LEVEL: i32 = 1;

/// Which values are compressed with zstd before they are stored. The default is from 4 KiB on, where the feature `zstd` is
/// on. One that does not shrink by a tenth stays as it is. Reads undo it whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    bytes_min: Option<usize>,
}

impl Default for Compression {
    fn default() -> Self {
        Self { bytes_min: cfg!(feature = "zstd").then_some(BYTES_MIN) }
    }
}

impl Compression {
    /// None: for values that are appended to, that servers of others read, or that are compressed already.
    #[must_use]
    pub fn off() -> Self {
        Self { bytes_min: None }
    }

    /// Values of so many bytes and more. Without the feature `zstd` it is still none.
    #[must_use]
    pub fn from_bytes(bytes_min: usize) -> Self {
        Self { bytes_min: cfg!(feature = "zstd").then_some(bytes_min) }
    }

    /// The value as it is stored, and its flags. It stays as it is when it is small, when little is saved, or when it
    /// is too large to be read back.
    pub(crate) fn compress(self, value: Bytes, flags: u32) -> (Bytes, u32) {
        let wanted = self.bytes_min.is_some_and(|least| value.len() >= least);
        if !wanted || value.is_empty() || value.len() > super::VALUE_BYTES_MAX {
            return (value, flags);
        }
        match zstd_compress(&value) {
            Some(smaller) if smaller.len() <= value.len() - value.len().div_ceil(SAVED_SHARE) => {
                (smaller.into(), flags | ZSTD)
            }
            _ => (value, flags),
        }
    }
}

/// Why a stored value cannot be decompressed. Retrying does not help; storing it anew does.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// Its content is larger than the reader takes.
    #[error(
        "the value has {bytes} bytes when decompressed, more than {bytes_max}: raise the limit, or split it"
    )]
    TooLarge {
        /// What it says it has.
        bytes: u64,
        /// The limit.
        bytes_max: usize,
    },
    /// It is no frame of zstd, or a damaged one.
    #[error(
        "the value is marked as zstd and is none: was it appended to, or written with these flags by others"
    )]
    Damaged,
    /// A newer client wrote it.
    #[error(
        "the value is stored in a way this client does not know, flags {flags:#010x}: upgrade the client"
    )]
    Unknown {
        /// The item's flags.
        flags: u32,
    },
    /// This client was built without zstd.
    #[error("the value is compressed and this client was built without the feature zstd: switch it on")]
    NotBuilt,
}

/// The value as it was given to [`Compression::compress`], and its flags. Of `bytes_max` bytes at most, whatever the
/// stored bytes say: nothing larger is allocated.
pub(crate) fn decompress(
    stored: Bytes,
    flags: u32,
    bytes_max: usize,
) -> Result<(Bytes, u32), DecompressError> {
    if flags & RESERVED != 0 {
        return Err(DecompressError::Unknown { flags });
    }
    match flags & COMPRESSION_MASK {
        0 => Ok((stored, flags)),
        ZSTD => Ok((zstd_decompress(&stored, bytes_max)?.into(), flags & !COMPRESSION_MASK)),
        _ => Err(DecompressError::Unknown { flags }),
    }
}

#[cfg(not(feature = "zstd"))]
fn zstd_compress(_: &[u8]) -> Option<Vec<u8>> {
    None
}

#[cfg(not(feature = "zstd"))]
fn zstd_decompress(_: &[u8], _: usize) -> Result<Vec<u8>, DecompressError> {
    Err(DecompressError::NotBuilt)
}

#[cfg(feature = "zstd")]
thread_local! {
    // A new context costs three times what a small value does. One of each for a thread that uses it, and nothing in
    // it outlives a call.
    static COMPRESSOR: std::cell::RefCell<Option<zstd::bulk::Compressor<'static>>> =
        const { std::cell::RefCell::new(None) };
    static DECOMPRESSOR: std::cell::RefCell<Option<zstd::bulk::Decompressor<'static>>> =
        const { std::cell::RefCell::new(None) };
}

/// `None` when zstd cannot, which is for want of memory.
#[cfg(feature = "zstd")]
fn zstd_compress(value: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        if compressor.is_none() {
            *compressor = zstd::bulk::Compressor::new(LEVEL).ok();
        }
        compressor.as_mut()?.compress(value).ok()
    })
}

#[cfg(feature = "zstd")]
fn zstd_decompress(stored: &[u8], bytes_max: usize) -> Result<Vec<u8>, DecompressError> {
    let bytes = match zstd::zstd_safe::get_frame_content_size(stored) {
        Ok(Some(bytes)) => bytes,
        _ => return Err(DecompressError::Damaged),
    };
    let Some(capacity) = usize::try_from(bytes).ok().filter(|&capacity| capacity <= bytes_max) else {
        return Err(DecompressError::TooLarge { bytes, bytes_max });
    };
    let value = DECOMPRESSOR.with_borrow_mut(|decompressor| {
        if decompressor.is_none() {
            *decompressor = zstd::bulk::Decompressor::new().ok();
        }
        decompressor.as_mut()?.decompress(stored, capacity).ok()
    });
    value.filter(|value| value.len() == capacity).ok_or(DecompressError::Damaged)
}

#[cfg(test)]
mod tests;
