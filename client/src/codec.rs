//! How typed values become bytes.

use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The bits of an item's flags that say how its value is encoded: the highest eight.
///
/// ```text
///  31      24 23         20  19    18       17        16     15                    0
/// +----------+-------------+---+-------+----------+----------+-----------------------+
/// |  codec   | compression | 0 | chunk | full key | manifest |  the caller's, and    |
/// |          |             |   |       |          |          |  EVCache's own bits   |
/// +----------+-------------+---+-------+----------+----------+-----------------------+
/// ```
///
/// Bits 16 to 23 say how the client stored the value. The codec 0 is bytes as they are, 1 is postcard; 2 to 126 are
/// reserved for codecs of this crate, 127 marks a key that is known to have no value, 128 to 255 are for codecs of
/// callers.
pub const CODEC_FLAGS_MASK: u32 = 0xff00_0000;

/// The flags of a postcard value.
pub const POSTCARD_FLAGS: u32 = 0x0100_0000;

/// The flags of an item that says that its key is known to have no value; its own value is empty. All operations take it
/// for a miss.
pub const ABSENT_FLAGS: u32 = 0x7f00_0000;

/// Codecs that callers' may not be: those to come, and the mark of keys without a value.
const OTHERS: RangeInclusive<u32> = 2..=127;

/// How typed values become bytes. Its flags are stored with them, so that no reader takes one codec's bytes for
/// another's.
pub trait Codec: Send + Sync + 'static {
    /// What marks its values, within [`CODEC_FLAGS_MASK`]: from `0x8000_0000` on, or 0 for bytes that others write, too.
    fn flags(&self) -> u32;

    /// The bytes of `value`.
    ///
    /// # Errors
    ///
    /// When the value cannot be expressed.
    fn encode<T: Serialize>(&self, value: &T) -> Result<Bytes, CodecError>;

    /// The value of `bytes`.
    ///
    /// # Errors
    ///
    /// When they are not the bytes of a `T`.
    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError>;
}

/// The default codec: postcard, compact and fast. It does not describe itself, so give a changed type a new
/// namespace, or a codec that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Postcard;

impl Codec for Postcard {
    fn flags(&self) -> u32 {
        POSTCARD_FLAGS
    }

    fn encode<T: Serialize>(&self, value: &T) -> Result<Bytes, CodecError> {
        postcard::to_allocvec(value).map(Bytes::from).map_err(|error| CodecError::encode(&error))
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        postcard::from_bytes(bytes).map_err(|error| CodecError::decode(&error))
    }
}

/// Why a typed value cannot be encoded or decoded. Retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The value cannot be expressed in the codec.
    #[error("the value cannot be encoded: {reason}")]
    Encode {
        /// What the codec said.
        reason: String,
    },
    /// The bytes are not those of the type.
    #[error("the value cannot be decoded, was it written as another type: {reason}")]
    Decode {
        /// What the codec said.
        reason: String,
    },
    /// The value is not decimal digits, or more than 64 bits hold.
    #[error("the value is no number of 64 bits in decimal digits: read it as it was written")]
    NotANumber,
    /// Another codec wrote the value, or it is raw bytes.
    #[error(
        "the value has flags {found:#010x}, not {expected:#010x} of this codec: read it as it was written"
    )]
    OtherCodec {
        /// The item's flags.
        found: u32,
        /// The codec's.
        expected: u32,
    },
}

impl CodecError {
    /// A value that cannot be expressed.
    pub fn encode(reason: &impl ToString) -> Self {
        Self::Encode { reason: reason.to_string() }
    }

    /// Bytes that are no value.
    pub fn decode(reason: &impl ToString) -> Self {
        Self::Decode { reason: reason.to_string() }
    }
}

/// Encodes with `codec`, whose flags must be its own: with those of others nobody could read it.
pub(crate) fn encode_marked<T: Serialize>(codec: &impl Codec, value: &T) -> Result<Bytes, CodecError> {
    let flags = codec.flags();
    if flags & !CODEC_FLAGS_MASK != 0 || OTHERS.contains(&(flags >> 24)) {
        let reason =
            format!("its codec's flags {flags:#010x} are not for codecs: use 0x80000000 to 0xff000000");
        return Err(CodecError::Encode { reason });
    }
    codec.encode(value)
}

/// Decodes what `codec` encoded, and nothing else.
pub(crate) fn decode_marked<T: DeserializeOwned>(
    codec: &impl Codec,
    flags: u32,
    bytes: &[u8],
) -> Result<T, CodecError> {
    let expected = codec.flags();
    if flags & CODEC_FLAGS_MASK != expected & CODEC_FLAGS_MASK {
        return Err(CodecError::OtherCodec { found: flags, expected });
    }
    codec.decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_value_comes_back() {
        let value = (7_u32, String::from("seven"), vec![1_u8, 2]);
        let bytes = Postcard.encode(&value).expect("plain data");
        assert_eq!(decode_marked(&Postcard, POSTCARD_FLAGS | 5, &bytes), Ok(value));
    }

    #[test]
    fn raw_bytes_are_not_taken_for_a_typed_value() {
        let found = decode_marked::<u32>(&Postcard, 0, b"7");
        assert_eq!(found, Err(CodecError::OtherCodec { found: 0, expected: POSTCARD_FLAGS }));
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        assert!(matches!(Postcard.decode::<String>(b"\x7fx"), Err(CodecError::Decode { .. })));
    }
}
