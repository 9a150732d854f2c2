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

#[cfg_attr(not(test), expect(dead_code, reason = "wired when large values are split"))]
pub(crate) mod chunk;
#[cfg_attr(not(test), expect(dead_code, reason = "wired when values are compressed"))]
pub(crate) mod compress;
#[cfg_attr(not(test), expect(dead_code, reason = "wired when values are compressed"))]
pub(crate) mod flags;

/// The largest value that is put together in memory, decompressed or joined from chunks: more belongs into an object
/// store, and a damaged or hostile item may not ask for more.
pub(crate) const VALUE_BYTES_MAX: usize = 64 << 20;
