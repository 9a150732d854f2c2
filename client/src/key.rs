//! What goes over the wire as a key.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use evanesce_wire::limits::{KEY_BYTES_MAX, KEY_BYTES_MAX_BASE64};
use evanesce_wire::request::MetaKey;
use thiserror::Error;

/// Why a key cannot be used. The caller's fault; retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It has no bytes.
    #[error("the key is empty: give it at least one byte")]
    Empty,
    /// It is longer than 250 bytes, its namespace and the colon included.
    #[error("the key has {bytes} bytes with its namespace: shorten it to {KEY_BYTES_MAX}, or hash it")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It has bytes that memcached does not take as they are, and is too long to be sent as base64.
    #[error(
        "the key has control characters or spaces and {bytes} bytes: shorten it to {KEY_BYTES_MAX_BASE64}"
    )]
    BinaryTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The namespace's name is empty, or has a colon, a space or a control character.
    #[error("the namespace's name is empty or has a colon, a space or a control character: choose another")]
    Namespace,
}

/// A checked key with its namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    wire: Bytes,
    prefix_bytes: usize,
    base64: bool,
}

impl Key {
    /// Joins `prefix` (empty, or a namespace's name with its colon) and `key`.
    pub(crate) fn new(prefix: &[u8], key: &[u8]) -> Result<Self, KeyError> {
        let bytes = prefix.len() + key.len();
        if key.is_empty() {
            return Err(KeyError::Empty);
        }
        if bytes > KEY_BYTES_MAX {
            return Err(KeyError::TooLong { bytes });
        }
        let base64 = key.iter().any(|&byte| is_forbidden(byte));
        if base64 && bytes > KEY_BYTES_MAX_BASE64 {
            return Err(KeyError::BinaryTooLong { bytes });
        }
        let mut wire = BytesMut::with_capacity(bytes);
        wire.put_slice(prefix);
        wire.put_slice(key);
        Ok(Self { wire: wire.freeze(), prefix_bytes: prefix.len(), base64 })
    }

    /// All of it, namespace included: what the ring hashes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.wire
    }

    /// The caller's part of it.
    pub(crate) fn local(&self) -> Bytes {
        self.wire.slice(self.prefix_bytes..)
    }

    pub(crate) fn meta(&self) -> MetaKey<'_> {
        MetaKey { bytes: Cow::Borrowed(&self.wire), base64: self.base64 }
    }
}

/// A namespace's name with its colon.
pub(crate) fn namespace_prefix(name: &str) -> Result<Bytes, KeyError> {
    if name.is_empty() || name.bytes().any(|byte| byte == b':' || is_forbidden(byte)) {
        return Err(KeyError::Namespace);
    }
    if name.len() + 1 >= KEY_BYTES_MAX {
        return Err(KeyError::TooLong { bytes: name.len() + 1 });
    }
    Ok(Bytes::from(format!("{name}:")))
}

/// Whether memcached does not take this byte in a key: white space and control characters.
fn is_forbidden(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_gets_its_namespace() {
        let key = Key::new(b"user:", b"42").expect("a good key");
        assert_eq!(key.as_bytes(), b"user:42");
        assert_eq!(key.local(), "42");
        assert!(!key.meta().base64);
    }

    #[test]
    fn empty_key_is_refused() {
        assert_eq!(Key::new(b"user:", b""), Err(KeyError::Empty));
    }

    #[test]
    fn longest_key_passes_and_one_byte_more_is_refused() {
        assert!(Key::new(b"u:", &[b'k'; KEY_BYTES_MAX - 2]).is_ok());
        assert_eq!(Key::new(b"u:", &[b'k'; KEY_BYTES_MAX - 1]), Err(KeyError::TooLong { bytes: 251 }));
    }

    #[test]
    fn binary_key_goes_as_base64_while_it_fits() {
        assert!(Key::new(b"", b"a b").expect("a good key").meta().base64);
        assert!(Key::new(b"", &[0; KEY_BYTES_MAX_BASE64]).is_ok());
        let bytes = KEY_BYTES_MAX_BASE64 + 1;
        assert_eq!(Key::new(b"", &[0; KEY_BYTES_MAX_BASE64 + 1]), Err(KeyError::BinaryTooLong { bytes }));
    }

    #[test]
    fn bytes_above_ascii_need_no_base64() {
        assert!(!Key::new(b"", "schlüssel".as_bytes()).expect("a good key").meta().base64);
    }

    #[test]
    fn namespace_with_colon_or_space_is_refused() {
        for name in ["", "a:b", "a b", "a\n"] {
            assert_eq!(namespace_prefix(name), Err(KeyError::Namespace));
        }
        assert_eq!(namespace_prefix("user").expect("a good name"), "user:");
    }
}
