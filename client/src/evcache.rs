//! What Netflix's Java EVCache client stores, so that Java and Rust services share a cluster.
//!
//! ```text
//!  JavaValue ---- Transcoder ----> bytes, flags --------------------------------------> item of a plain key
//!                 type, gzip              \
//!                                          Envelope: key, bytes, flags, TTL ----------> item of a hashed key
//!  canonical key (prefix:key) ---- KeyHashing ----> the key as it is, or its hash
//! ```
//!
//! Pure functions: what they make is stored with [`Namespace::set`](crate::Namespace::set) and its flags, or read with
//! the item's. Owners agree when the topology's ring profile is `evcache`.
//!
//! # What is shared
//!
//! - Strings, booleans, bytes, whole numbers, dates, floats and byte arrays, compressed with gzip above 120 bytes as the
//!   Java client does. With the feature `zstd`, values that a newer Java client compressed with zstd are read too.
//! - Keys with a cache prefix, which are our namespaces: `prefix:key`.
//! - Hashed keys with SipHash-2-4 (its default), Murmur3 or MD5, and the envelope around their values, in both forms:
//!   Java serialization and the newer binary one.
//! - Counters: numbers as text, as the memcached protocol keeps them, and under a hashed key without an envelope.
//!
//! # What is not
//!
//! - Java-serialized objects: they are handed over as bytes, [`JavaValue::Serialized`], and Rust cannot look into them.
//!   Share strings, such as JSON, or byte arrays, such as protobuf.
//! - Keys hashed with SHA-1, SHA-256, CRC-32 or Adler-32: set `hash.algo` to `siphash24`. `goodfasthash` differs in
//!   every Java process and is shared by nobody.
//! - Values that the Java client splits into chunks (`chunk.data`): switch that off, or lower the size of values.
//! - Our own codecs, compression and chunks: the Java client takes their flags for something else. Use this module for
//!   what Java reads.
//! - Versions: the Java client writes without, and its writes are ordered by arrival.
//!
//! # Example
//!
//! ```
//! use evanesce_client::evcache::{JavaValue, KeyHashing, Transcoder};
//!
//! # fn main() -> Result<(), evanesce_client::evcache::EvcacheError> {
//! let transcoder = Transcoder::default();
//! let (stored, flags) = transcoder.encode(&JavaValue::Long(256))?;
//! assert_eq!((&stored[..], flags), (&[1, 0][..], 0x300));
//! assert_eq!(transcoder.decode(&stored, flags)?, JavaValue::Long(256));
//!
//! let hashing = KeyHashing::default();
//! assert_eq!(hashing.wire_key("cid:foo").as_deref(), None);
//! assert_eq!(hashing.always().wire_key("cid:foo").as_deref(), Some("y9xEEu9K2I4"));
//! # Ok(())
//! # }
//! ```

mod envelope;
mod error;
mod gzip;
mod key;
mod number;
mod transcoder;

pub use envelope::{ENVELOPE_FLAGS, Envelope};
pub use error::EvcacheError;
pub use key::{KeyAlgorithm, KeyHashing};
pub use transcoder::{JavaValue, Transcoder};
