//! Whole numbers as the Java client stores them: most significant byte first, leading zero bytes dropped.

use bytes::Bytes;

use super::error::EvcacheError;

/// At most eight bytes; zero is none at all.
pub(super) fn encode(number: u64) -> Bytes {
    let bytes = number.to_be_bytes();
    let zeros = number.leading_zeros() as usize / 8;
    Bytes::copy_from_slice(&bytes[zeros..])
}

/// The number of at most `bytes_max` bytes.
pub(super) fn decode(stored: &[u8], bytes_max: usize) -> Result<u64, EvcacheError> {
    if stored.len() > bytes_max {
        return Err(EvcacheError::Damaged { what: "number of its type" });
    }
    Ok(stored.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}
