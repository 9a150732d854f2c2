//! What is wrong with a value shared with Java.

use thiserror::Error;

/// Why a value cannot be written for the Java client, or what it wrote not be read. Retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EvcacheError {
    /// It is larger than the Java client takes, or than this reader does.
    #[error("the value has more than {bytes_max} bytes: raise the limit on both sides, or split it")]
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// The flags name no type of the Java client.
    #[error("the flags {flags:#010x} are none of the Java client's: read the value as it was written")]
    UnknownType {
        /// The item's flags.
        flags: u32,
    },
    /// The bytes are not those of the type that the flags name.
    #[error("the value is no {what}: was it written by another client, or appended to")]
    Damaged {
        /// What it should be.
        what: &'static str,
    },
    /// It is compressed in a way this build does not know.
    #[error(
        "the value is compressed with zstd and this client was built without the feature zstd: switch it on"
    )]
    NotBuilt,
    /// The key is too long for the envelope that Java serializes.
    #[error("the key has more than 65535 bytes: shorten it")]
    KeyTooLong,
}
