//! Keys too long for the wire: a hash goes in their place, and the full key stands in front of the value.
//!
//! ```text
//!  key      user:https://example.org/a/very/long/path...           251 bytes to 8 KiB
//!  wire     user:~k3Fz1tqk0y9SUmW4Zq0bXyQ                           its namespace, a marker, 128 bits as base64
//!  value    | 1 | length of the key, 2 bytes | full key | value |   flag bit 17
//! ```
//!
//! The namespace stays in front, for quotas, TTLs and metrics go by it. The hash is XXH3: fast and even, but
//! an attacker can make two keys share one. All they gain is misses: the full key is compared on each read, so that
//! such keys take turns in one place and neither ever reads the other's value.
//!
//! Under such a key no numbers can be counted, and nothing can be appended to its value or put in front of it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use evanesce_wire::limits::KEY_BYTES_MAX;
use xxhash_rust::xxh3::xxh3_128;

use super::{KeyError, is_forbidden};
use crate::value::flags::FULL_KEY;

/// The longest key that is hashed: it is stored with its value and sent with each write and each hit.
pub(crate) const LONG_KEY_BYTES_MAX: usize = 8 << 10;

/// Tells a hashed key from others to whoever looks at keys. Not what is relied on: a read looks at the flag.
const MARKER: &[u8] = b"~k";

/// Tells the lease to load a key.
const LEASE_MARKER: &[u8] = b"~l";

/// 128 bits as base64 without padding.
pub(crate) const HASH_TEXT_BYTES: usize = 22;

/// What the keys that are made from a hash need behind their namespace, at most: marker, hash, and a chunk's number of
/// five digits with a dot.
pub(crate) const DERIVED_BYTES_MAX: usize = 2 + HASH_TEXT_BYTES + 6;

/// The longest namespace, its colon included, that leaves room for that.
pub(crate) const NAMESPACE_BYTES_MAX: usize = KEY_BYTES_MAX - DERIVED_BYTES_MAX;

/// The first byte of an envelope: another layout gets another number.
const FORMAT: u8 = 1;

/// In front of the full key: format and length.
const HEADER_BYTES: usize = 3;

/// What goes over the wire for `full`, a key with its namespace.
pub(super) fn wire_key(full: &[u8]) -> Result<Bytes, KeyError> {
    if full.len() > LONG_KEY_BYTES_MAX {
        return Err(KeyError::TooLongToHash { bytes: full.len() });
    }
    marked(full, MARKER)
}

/// The key of the lease to load `full`.
pub(super) fn lease_key(full: &[u8]) -> Result<Bytes, KeyError> {
    marked(full, LEASE_MARKER)
}

fn marked(full: &[u8], marker: &[u8]) -> Result<Bytes, KeyError> {
    let hash = hash_text(xxh3_128(full));
    let mut wire = BytesMut::with_capacity(KEY_BYTES_MAX);
    wire.put_slice(namespace(full)?);
    wire.put_slice(marker);
    wire.put_slice(hash.as_bytes());
    Ok(wire.freeze())
}

/// The namespace of a key, its colon included, as a node finds it: what stands before the first colon. Empty when there
/// is none, or when it cannot be one.
pub(crate) fn namespace(full: &[u8]) -> Result<&[u8], KeyError> {
    let colon = full.iter().take(KEY_BYTES_MAX).position(|&byte| byte == b':');
    let namespace = colon.map_or(&full[..0], |colon| &full[..=colon]);
    if namespace.iter().any(|&byte| is_forbidden(byte)) {
        return Ok(&full[..0]);
    }
    if namespace.len() > NAMESPACE_BYTES_MAX {
        return Err(KeyError::NamespaceTooLong { bytes: namespace.len() });
    }
    Ok(namespace)
}

/// A hash as text that every server takes in a key.
pub(crate) fn hash_text(hash: u128) -> String {
    URL_SAFE_NO_PAD.encode(hash.to_be_bytes())
}

/// `value` behind its full key, and the flags that say so. `full` is a key that [`wire_key`] took.
pub(crate) fn wrap(full: &[u8], value: &[u8], flags: u32) -> (Bytes, u32) {
    let length = u16::try_from(full.len()).expect("a hashed key has at most 8 KiB");
    let mut stored = BytesMut::with_capacity(HEADER_BYTES + full.len() + value.len());
    stored.put_u8(FORMAT);
    stored.put_u16(length);
    stored.put_slice(full);
    stored.put_slice(value);
    (stored.freeze(), flags | FULL_KEY)
}

/// The value that was stored for `full`, and its flags. `None` when the item is another key's, or was not written this
/// way: a miss.
pub(crate) fn unwrap(full: &[u8], stored: &Bytes, flags: u32) -> Option<(Bytes, u32)> {
    if flags & FULL_KEY == 0 || stored.first() != Some(&FORMAT) {
        return None;
    }
    let length = stored.get(1..HEADER_BYTES)?;
    let end = HEADER_BYTES + usize::from(u16::from_be_bytes([length[0], length[1]]));
    let found = stored.get(HEADER_BYTES..end)?;
    (found == full).then(|| (stored.slice(end..), flags & !FULL_KEY))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn long(prefix: &str) -> Vec<u8> {
        [prefix.as_bytes(), &[b'x'; 300]].concat()
    }

    #[test]
    fn wire_key_keeps_the_namespace_and_has_the_stated_form() {
        let wire = wire_key(&long("user:")).expect("a good key");
        assert!(wire.starts_with(b"user:~k"));
        assert_eq!(wire.len(), 5 + MARKER.len() + HASH_TEXT_BYTES);
        assert!(wire.iter().all(|&byte| byte.is_ascii_graphic()));
        assert!(wire_key(&long("")).expect("a good key").starts_with(b"~k"));
    }

    /// Changing it would lose every long key in every cluster. The hash is what the Python package xxhash says.
    #[test]
    fn wire_key_never_changes() {
        let key = "session:".to_owned() + &"0123456789".repeat(30);
        assert_eq!(wire_key(key.as_bytes()).expect("a good key"), "session:~k4rzWCz-MnB6uqm--uihBHA");
    }

    #[test]
    fn only_the_first_colon_ends_a_namespace() {
        assert_eq!(namespace(b"a:b:c"), Ok(&b"a:"[..]));
        assert_eq!(namespace(b"no colon"), Ok(&b""[..]));
        assert_eq!(namespace(b"a b:c"), Ok(&b""[..]));
        let far = [&[b'x'; KEY_BYTES_MAX][..], b":y"].concat();
        assert_eq!(namespace(&far), Ok(&b""[..]));
    }

    #[test]
    fn longest_namespace_leaves_room_and_one_byte_more_is_refused() {
        let of = |bytes| [&vec![b'n'; bytes - 1][..], b":", &[b'x'; 300]].concat();
        let wire = wire_key(&of(NAMESPACE_BYTES_MAX)).expect("a good key");
        assert!(wire.len() <= KEY_BYTES_MAX);
        let bytes = NAMESPACE_BYTES_MAX + 1;
        assert_eq!(wire_key(&of(bytes)), Err(KeyError::NamespaceTooLong { bytes }));
    }

    #[test]
    fn longest_key_passes_and_one_byte_more_is_refused() {
        assert!(wire_key(&[b'x'; LONG_KEY_BYTES_MAX]).is_ok());
        let bytes = LONG_KEY_BYTES_MAX + 1;
        assert_eq!(wire_key(&[b'x'; LONG_KEY_BYTES_MAX + 1]), Err(KeyError::TooLongToHash { bytes }));
    }

    #[test]
    fn similar_keys_have_different_hashes() {
        let keys: HashSet<Bytes> =
            (0..10_000).map(|n| wire_key(format!("{n:0300}").as_bytes()).expect("a good key")).collect();
        assert_eq!(keys.len(), 10_000);
    }

    #[test]
    fn value_of_another_key_is_a_miss() {
        let (stored, flags) = wrap(&long("a:"), b"value", 7);
        assert_eq!(unwrap(&long("a:"), &stored, flags), Some((Bytes::from("value"), 7)));
        assert_eq!(unwrap(&long("b:"), &stored, flags), None);
        assert_eq!(unwrap(&long("a:"), &stored, 7), None);
    }

    #[test]
    fn damaged_envelope_is_a_miss() {
        let (stored, flags) = wrap(&long("a:"), b"", 0);
        for end in 0..stored.len() {
            assert_eq!(unwrap(&long("a:"), &stored.slice(..end), flags), None);
        }
        let other = [&[FORMAT + 1][..], &stored[1..]].concat();
        assert_eq!(unwrap(&long("a:"), &other.into(), flags), None);
    }

    proptest! {
        #[test]
        fn any_value_comes_back_behind_any_key(
            full in proptest::collection::vec(any::<u8>(), 1..600),
            value in proptest::collection::vec(any::<u8>(), 0..300),
            flags in any::<u32>().prop_map(|flags| flags & !FULL_KEY),
        ) {
            let (stored, marked) = wrap(&full, &value, flags);
            prop_assert_eq!(unwrap(&full, &stored, marked), Some((value.into(), flags)));
            if let Ok(wire) = wire_key(&full) {
                prop_assert!(wire.len() <= KEY_BYTES_MAX && !wire.iter().any(|&byte| is_forbidden(byte)));
            }
        }

        #[test]
        fn noise_never_panics(stored in proptest::collection::vec(any::<u8>(), 0..50), flags in any::<u32>()) {
            let _ = unwrap(b"key", &stored.into(), flags | FULL_KEY);
        }
    }
}
