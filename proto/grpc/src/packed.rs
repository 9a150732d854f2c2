//! Items one behind the other in one piece of memory: what a node finds is copied once, and what came is stored from where
//! it lies. The layout is in `peer.proto`, at `StreamItemsResponse`.

use bytes::{Buf, BufMut};

const HAS_FLAGS: u8 = 1;
const HAS_EXPIRY: u8 = 2;
const HAS_CAS: u8 = 4;

/// The most that stands before a key.
const HEAD_BYTES_MAX: usize = 2 + 4 + 8 + 4 + 8 + 8;

/// What an item has beside its key and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// The client's own.
    pub flags: u32,
    /// When it expires, in milliseconds since 1970; 0 is never.
    pub expires_ms: u64,
    /// Its version.
    pub version: u64,
    /// The CAS token, where it is not the version.
    pub cas: Option<u64>,
}

/// An item as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedItem<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// The rest.
    pub attributes: Attributes,
}

/// Items on their way out.
#[derive(Debug, Default)]
pub struct Packer {
    packed: Vec<u8>,
    items: u64,
    payload: u64,
}

/// What breaks the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// The bytes end within an item.
    #[error("an item is cut off")]
    Short,
    /// Marks that nobody has given a meaning.
    #[error("an item has the unknown marks {0:#x}")]
    Marks(u8),
}

impl Packer {
    /// With memory for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { packed: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Adds an item, whose value is these pieces together. Answers whether it could: a key has at most 255 bytes, a value
    /// less than 4 GiB.
    #[must_use]
    pub fn push<P: AsRef<[u8]>>(&mut self, key: &[u8], value: &[P], attributes: &Attributes) -> bool {
        let value_bytes = value.iter().map(|piece| piece.as_ref().len()).sum::<usize>();
        let (Ok(key_bytes), Ok(value_u32)) = (u8::try_from(key.len()), u32::try_from(value_bytes)) else {
            return false;
        };
        let mark = |mark, is_there| if is_there { mark } else { 0 };
        let out = &mut self.packed;
        out.reserve(HEAD_BYTES_MAX + key.len() + value_bytes);
        out.put_u8(key_bytes);
        out.put_u8(
            mark(HAS_FLAGS, attributes.flags != 0)
                | mark(HAS_EXPIRY, attributes.expires_ms != 0)
                | mark(HAS_CAS, attributes.cas.is_some()),
        );
        out.put_u32_le(value_u32);
        out.put_u64_le(attributes.version);
        if attributes.flags != 0 {
            out.put_u32_le(attributes.flags);
        }
        if attributes.expires_ms != 0 {
            out.put_u64_le(attributes.expires_ms);
        }
        if let Some(cas) = attributes.cas {
            out.put_u64_le(cas);
        }
        out.put_slice(key);
        value.iter().for_each(|piece| out.put_slice(piece.as_ref()));
        self.items += 1;
        self.payload += (key.len() + value_bytes) as u64;
        true
    }

    /// Items so far.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Bytes of their keys and values.
    pub fn payload(&self) -> u64 {
        self.payload
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// What goes over the wire.
    pub fn finish(self) -> Vec<u8> {
        self.packed
    }
}

/// The items in these bytes; it ends at the first fault.
pub fn unpack(packed: &[u8]) -> impl Iterator<Item = Result<PackedItem<'_>, UnpackError>> {
    let mut rest = packed;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let item = next(&mut rest);
        if item.is_err() {
            rest = &[];
        }
        Some(item)
    })
}

fn next<'a>(rest: &mut &'a [u8]) -> Result<PackedItem<'a>, UnpackError> {
    let short = |_| UnpackError::Short;
    let key_bytes = usize::from(rest.try_get_u8().map_err(short)?);
    let marks = rest.try_get_u8().map_err(short)?;
    if marks & !(HAS_FLAGS | HAS_EXPIRY | HAS_CAS) != 0 {
        return Err(UnpackError::Marks(marks));
    }
    let has = |mark| marks & mark != 0;
    let value_bytes = rest.try_get_u32_le().map_err(short)? as usize;
    let version = rest.try_get_u64_le().map_err(short)?;
    let flags = if has(HAS_FLAGS) { rest.try_get_u32_le().map_err(short)? } else { 0 };
    let expires_ms = if has(HAS_EXPIRY) { rest.try_get_u64_le().map_err(short)? } else { 0 };
    let cas = if has(HAS_CAS) { Some(rest.try_get_u64_le().map_err(short)?) } else { None };
    let key = rest.split_off(..key_bytes).ok_or(UnpackError::Short)?;
    let value = rest.split_off(..value_bytes).ok_or(UnpackError::Short)?;
    Ok(PackedItem { key, value, attributes: Attributes { flags, expires_ms, version, cas } })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    type Parts = (Vec<u8>, Vec<Vec<u8>>, Attributes);

    fn item() -> impl Strategy<Value = Parts> {
        let number = || prop_oneof![Just(0), any::<u64>()];
        let attributes = (prop_oneof![Just(0), any::<u32>()], number(), number(), option::of(any::<u64>()));
        let attributes = attributes.prop_map(|(flags, expires_ms, version, cas)| Attributes {
            flags,
            expires_ms,
            version,
            cas,
        });
        (vec(any::<u8>(), 0..=255), vec(vec(any::<u8>(), 0..40), 0..3), attributes)
    }

    fn packed(items: &[Parts]) -> Packer {
        let mut packer = Packer::default();
        items.iter().for_each(|(key, value, attributes)| assert!(packer.push(key, value, attributes)));
        packer
    }

    proptest! {
        #[test]
        fn items_come_as_they_went(items in vec(item(), 0..8)) {
            let packer = packed(&items);
            let payload: usize = items.iter().map(|(key, value, _)| key.len() + value.concat().len()).sum();
            prop_assert_eq!((packer.items(), packer.payload()), (items.len() as u64, payload as u64));
            let bytes = packer.finish();
            let came: Vec<_> = unpack(&bytes).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(came.len(), items.len());
            for (came, (key, value, attributes)) in came.iter().zip(&items) {
                prop_assert_eq!((came.key, came.value, &came.attributes), (&key[..], &value.concat()[..], attributes));
            }
        }

        #[test]
        fn what_is_cut_off_is_told_apart_from_an_end(items in vec(item(), 1..4), part in 0.0..1.0) {
            let bytes = packed(&items).finish();
            let cut = (bytes.len() as f64 * part) as usize;
            let came: Vec<_> = unpack(&bytes[..cut]).collect();
            let whole = (0..items.len()).find(|count| packed(&items[..*count]).finish().len() == cut);
            match whole {
                Some(count) => prop_assert!(came.len() == count && came.iter().all(Result::is_ok)),
                None => prop_assert_eq!(came.last(), Some(&Err(UnpackError::Short))),
            }
        }

        #[test]
        fn whatever_comes_ends(bytes in vec(any::<u8>(), 0..300)) {
            let faults = unpack(&bytes).filter(Result::is_err).count();
            prop_assert!(faults <= 1);
        }
    }

    #[test]
    fn unknown_marks_and_keys_that_are_too_long_are_refused() {
        let mut bytes = packed(&[(b"k".to_vec(), vec![b"v".to_vec()], Attributes::default())]).finish();
        bytes[1] = 8;
        assert_eq!(unpack(&bytes).collect::<Vec<_>>(), [Err(UnpackError::Marks(8))]);
        let mut packer = Packer::default();
        assert!(!packer.push(&[b'k'; 256], &[b"v"], &Attributes::default()));
        assert!(packer.is_empty() && packer.finish().is_empty());
    }
}
