//! What goes over the wire as a key.

pub(crate) mod hashed;

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
    /// It is longer than 8 KiB, its namespace and the colon included: too long to be stored with its value.
    #[error("the key has {bytes} bytes with its namespace: shorten it to {}", hashed::LONG_KEY_BYTES_MAX)]
    TooLongToHash {
        /// Its length.
        bytes: usize,
    },
    /// Its namespace leaves no room for a hash.
    #[error(
        "the key must be hashed and its namespace has {bytes} bytes with the colon: shorten it to {}",
        hashed::NAMESPACE_BYTES_MAX
    )]
    NamespaceTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The namespace's name is empty, or has a colon, a space or a control character.
    #[error("the namespace's name is empty or has a colon, a space or a control character: choose another")]
    Namespace,
    /// A batch was given a read of another client's namespace.
    #[error("the namespace is another client's: give the batch operations of the client that it was made by")]
    OtherClient,
    /// An answer was asked for with another batch's handle.
    #[error("the handle is another batch's: take its answer from what came of that batch")]
    OtherBatch,
}

/// A checked key with its namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    wire: Bytes,
    prefix_bytes: usize,
    base64: bool,
    /// All of it where a hash goes over the wire.
    full: Option<Bytes>,
}

impl Key {
    /// Joins `prefix` (empty, or a namespace's name with its colon) and `key`.
    pub(crate) fn new(prefix: &[u8], key: &[u8]) -> Result<Self, KeyError> {
        let base64 = is_binary(prefix, key)?;
        let mut wire = BytesMut::with_capacity(prefix.len() + key.len());
        wire.put_slice(prefix);
        wire.put_slice(key);
        Ok(Self { wire: wire.freeze(), prefix_bytes: prefix.len(), base64, full: None })
    }

    /// Like [`new`](Self::new), and what is too long for the wire is hashed: see [`hashed`].
    pub(crate) fn new_or_hashed(prefix: &[u8], key: &[u8]) -> Result<Self, KeyError> {
        Self::new(prefix, key).or_else(|error| error.hashed(prefix, key))
    }

    /// The full key where a hash goes over the wire: what is stored in front of the value.
    pub(crate) fn full(&self) -> Option<&[u8]> {
        self.full.as_deref()
    }

    /// All of it, namespace included, whatever goes over the wire.
    pub(crate) fn whole(&self) -> &[u8] {
        self.full().unwrap_or(&self.wire)
    }

    /// The key of the lease to load this one: in its namespace, and on the node that has this one.
    pub(crate) fn lease(&self) -> Result<Self, KeyError> {
        let wire = hashed::lease_key(self.whole())?;
        Ok(Self { wire, prefix_bytes: self.prefix_bytes, base64: false, full: None })
    }

    /// What goes over the wire, namespace included: what the ring hashes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.wire
    }

    /// What the handle put before it: its namespace with the colon, or nothing.
    pub(crate) fn handle_prefix(&self) -> &[u8] {
        &self.wire[..self.prefix_bytes]
    }

    /// The caller's part of it.
    pub(crate) fn local(&self) -> Bytes {
        self.full.as_ref().unwrap_or(&self.wire).slice(self.prefix_bytes..)
    }

    /// The name of its namespace with the colon, whatever handle it came through; `None` when it has no colon.
    #[cfg(feature = "near-cache")]
    pub(crate) fn namespace(&self) -> Option<&[u8]> {
        match self.prefix_bytes {
            0 => self.wire.iter().position(|&byte| byte == b':').map(|colon| &self.wire[..=colon]),
            bytes => Some(&self.wire[..bytes]),
        }
    }

    /// Whether classic commands take it, too.
    pub(crate) fn is_plain(&self) -> bool {
        !self.base64
    }

    pub(crate) fn meta(&self) -> MetaKey<'_> {
        MetaKey { bytes: Cow::Borrowed(&self.wire), base64: self.base64 }
    }
}

/// Bytes for each key expected; longer ones make the block grow.
const USUAL_KEY_BYTES: usize = 48;
/// Bytes of a block from which on there is another: who keeps one key keeps its block.
const BLOCK_BYTES: usize = 16 << 10;
/// Keys expected at most, whatever an iterator claims.
const EXPECTED_MAX: usize = 1024;

/// Makes the keys of one call, which share blocks of memory: each is given back when the last of its keys goes. With
/// `verbatim` those too long are refused, not hashed.
pub(crate) fn keys<K: AsRef<[u8]>>(
    prefix: &[u8],
    verbatim: bool,
    keys: impl IntoIterator<Item = K>,
) -> Result<Vec<Key>, KeyError> {
    let keys = keys.into_iter();
    let expected = keys.size_hint().0.min(EXPECTED_MAX);
    let mut made = Vec::with_capacity(expected);
    let mut block = Block::for_some(expected, prefix.len() + USUAL_KEY_BYTES);
    for key in keys {
        let key = key.as_ref();
        made.push(match is_binary(prefix, key) {
            Ok(base64) => {
                block.bytes.extend_from_slice(prefix);
                block.bytes.extend_from_slice(key);
                Key { wire: Bytes::new(), prefix_bytes: prefix.len(), base64, full: None }
            }
            Err(error) if verbatim => return Err(error),
            Err(error) => error.hashed(prefix, key)?,
        });
        block.ends.push(block.bytes.len());
        if block.bytes.len() >= BLOCK_BYTES {
            std::mem::take(&mut block).deal_out(&mut made);
        }
    }
    block.deal_out(&mut made);
    Ok(made)
}

/// The bytes of keys that were made last, one behind the other.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    /// Of each of the keys, where its part ends.
    ends: Vec<usize>,
}

impl Block {
    fn for_some(keys: usize, key_bytes: usize) -> Self {
        let bytes = (keys * key_bytes).min(BLOCK_BYTES + KEY_BYTES_MAX);
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(keys) }
    }

    /// Gives the last keys made their bytes. A hashed one has its own.
    fn deal_out(self, made: &mut [Key]) {
        let (bytes, first) = (Bytes::from(self.bytes), made.len() - self.ends.len());
        let mut start = 0;
        for (key, end) in made[first..].iter_mut().zip(self.ends) {
            if key.full.is_none() {
                key.wire = bytes.slice(start..end);
            }
            start = end;
        }
    }
}

impl KeyError {
    /// The hashed key, if the error is that the key does not go over the wire as it is.
    fn hashed(self, prefix: &[u8], key: &[u8]) -> Result<Key, Self> {
        match self {
            Self::TooLong { .. } | Self::BinaryTooLong { .. } => {
                let full = Bytes::from([prefix, key].concat());
                let wire = hashed::wire_key(&full)?;
                Ok(Key { wire, prefix_bytes: prefix.len(), base64: false, full: Some(full) })
            }
            other => Err(other),
        }
    }
}

/// Whether a key goes over the wire as base64, or why not at all.
fn is_binary(prefix: &[u8], key: &[u8]) -> Result<bool, KeyError> {
    let bytes = prefix.len() + key.len();
    if key.is_empty() {
        return Err(KeyError::Empty);
    }
    if bytes > KEY_BYTES_MAX {
        return Err(KeyError::TooLong { bytes });
    }
    // Without a way out on the first one, so that many bytes are looked at in one instruction.
    let base64 = key.iter().fold(false, |found, &byte| found | is_forbidden(byte));
    if base64 && bytes > KEY_BYTES_MAX_BASE64 {
        return Err(KeyError::BinaryTooLong { bytes });
    }
    Ok(base64)
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
    fn long_key_is_hashed_and_told_in_full() {
        let long = [b'k'; KEY_BYTES_MAX];
        let key = Key::new_or_hashed(b"user:", &long).expect("a good key");
        assert!(key.as_bytes().starts_with(b"user:~k"));
        assert_eq!(key.local(), &long[..]);
        assert_eq!(key.full(), Some(&[b"user:", &long[..]].concat()[..]));
        let binary = [0; KEY_BYTES_MAX_BASE64];
        let key = Key::new_or_hashed(b"u:", &binary).expect("a good key");
        assert!(!key.meta().base64 && key.full().is_some());
    }

    #[test]
    fn keys_of_one_call_are_those_made_one_by_one() {
        let texts: [&[u8]; 5] = [b"a", &[b'k'; KEY_BYTES_MAX], b"a b", &[0; KEY_BYTES_MAX_BASE64], b"last"];
        for prefix in [&b""[..], b"user:"] {
            let one_by_one: Result<Vec<_>, _> =
                texts.iter().map(|text| Key::new_or_hashed(prefix, text)).collect();
            assert_eq!(keys(prefix, false, texts), one_by_one);
        }
        let many: Vec<_> = (0..2_000).map(|number| format!("key {number:0>100}")).collect();
        let one_by_one: Vec<_> =
            many.iter().map(|text| Key::new(b"user:", text.as_bytes()).expect("a good key")).collect();
        assert_eq!(keys(b"user:", false, &many), Ok(one_by_one));
        assert_eq!(keys(b"user:", true, texts), Err(KeyError::TooLong { bytes: KEY_BYTES_MAX + 5 }));
        assert_eq!(keys(b"user:", false, ["a", ""]), Err(KeyError::Empty));
        assert_eq!(keys(b"user:", false, [""; 0]), Ok(Vec::new()));
    }

    #[test]
    fn key_that_fits_is_not_hashed() {
        let key = Key::new_or_hashed(b"user:", b"42").expect("a good key");
        assert_eq!((key.as_bytes(), key.full()), (&b"user:42"[..], None));
        assert_eq!(Key::new_or_hashed(b"", b""), Err(KeyError::Empty));
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
