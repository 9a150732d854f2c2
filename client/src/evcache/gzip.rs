//! Compression as the Java client does it, undone within a limit.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::error::EvcacheError;

/// The first four bytes of a frame of zstd.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The largest window a frame of zstd may ask for, as a power of two: 32 MiB, above the largest value of the Java client.
#[cfg(feature = "zstd")]
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// One member of gzip, at Java's default level.
pub(super) fn compress(value: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(value.len() / 2), Compression::default());
    encoder.write_all(value).and_then(|()| encoder.finish()).expect("a vector takes whatever is written")
}

/// What was compressed, of at most `bytes_max` bytes. Gzip, or zstd, which a newer Java client writes under the same
/// flag and tells apart as this does.
pub(super) fn decompress(stored: &[u8], bytes_max: usize) -> Result<Vec<u8>, EvcacheError> {
    if stored.starts_with(&ZSTD_MAGIC) {
        return unzstd(stored, bytes_max);
    }
    read_within(MultiGzDecoder::new(stored), bytes_max, "gzip")
}

#[cfg(feature = "zstd")]
fn unzstd(stored: &[u8], bytes_max: usize) -> Result<Vec<u8>, EvcacheError> {
    const WHAT: &str = "zstd";
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(stored).map_err(|_| EvcacheError::Damaged { what: WHAT })?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| EvcacheError::Damaged { what: WHAT })?;
    read_within(decoder, bytes_max, WHAT)
}

#[cfg(not(feature = "zstd"))]
fn unzstd(_: &[u8], _: usize) -> Result<Vec<u8>, EvcacheError> {
    Err(EvcacheError::NotBuilt)
}

/// Reads on only until the limit is passed: a small input may stand for any number of bytes.
fn read_within(from: impl Read, bytes_max: usize, what: &'static str) -> Result<Vec<u8>, EvcacheError> {
    let mut value = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most).read_to_end(&mut value).map_err(|_| EvcacheError::Damaged { what })?;
    if value.len() > bytes_max {
        return Err(EvcacheError::TooLarge { bytes_max });
    }
    Ok(value)
}
