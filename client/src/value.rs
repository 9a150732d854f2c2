//! How a value is stored: compressed, in chunks, behind its full key. Pure functions on bytes and flags.
//!
//! ```text
//!            codec          compress            chunk                    key::hashed
//!  T  ----> bytes  ----> fewer bytes  ----> manifest, chunks  ----> full key + bytes  ----> item
//!            24-31          20-23              16, 18                   17
//!                              bits of the flags that say so
//! ```
//!
//! Reading goes back the same way: the full key is compared first, so that nothing is joined or decompressed for a key
//! that only shares a hash.

pub(crate) mod chunk;
pub(crate) mod compress;
pub(crate) mod flags;
mod form;

use thiserror::Error;

pub use chunk::ChunkError;
pub use compress::{Compression, DecompressError};
pub(crate) use form::{Form, Opened, unpacked};

/// The largest value that is put together in memory, decompressed or joined from chunks: more belongs into an object
/// store, and a damaged or hostile item may not ask for more.
pub(crate) const VALUE_BYTES_MAX: usize = 64 << 20;

/// Why a value cannot be stored, or what is stored cannot be read. Retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ValueError {
    /// It cannot be decompressed.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// It cannot be split into chunks, or its manifest not be read.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The flags say how the client stores the value, which is for the client to say.
    #[error(
        "the flags {flags:#010x} have some of bits 16 to 23, which are the client's: use others, or the raw keys"
    )]
    FlagsTaken {
        /// The flags given.
        flags: u32,
    },
    /// Nothing can be put behind or before the value, as it is stored.
    #[error(
        "the value there is compressed or in chunks, and cannot be appended to: set it anew, without compression"
    )]
    NotAppendable,
}
