//! The form in which a namespace stores its values: the steps of [`super`], one after the other.

use bytes::Bytes;

use super::chunk::{Chunking, Manifest};
use super::compress::{Compression, decompress};
use super::flags::{CHUNK, FULL_KEY, MANIFEST, are_free};
use super::{VALUE_BYTES_MAX, ValueError};
use crate::item::Item;
use crate::key::Key;
use crate::key::hashed;

/// How values become items. Reading is the same for all but [`verbatim`](Self::verbatim).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    verbatim: bool,
    compression: Compression,
    chunking: Chunking,
}

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opened {
    /// The value, as it was given.
    Whole(Item),
    /// Where its chunks are. The item has the flags of what they add up to.
    Split(Manifest, Item),
    /// Another key's value, or a part of one: a miss.
    Foreign,
}

impl Form {
    /// Bytes and flags as they are, both ways.
    pub(crate) fn verbatim() -> Self {
        Self { verbatim: true, compression: Compression::off(), chunking: Chunking::default() }
    }

    /// Values are compressed and split as these say.
    pub(crate) fn new(compression: Compression, chunking: Chunking) -> Self {
        Self { verbatim: false, compression, chunking }
    }

    pub(crate) fn is_verbatim(self) -> bool {
        self.verbatim
    }

    /// A caller's value and flags, compressed where that pays.
    pub(crate) fn pack(self, value: Bytes, flags: u32) -> Result<(Bytes, u32), ValueError> {
        if self.verbatim {
            return Ok((value, flags));
        }
        if !are_free(flags) {
            return Err(ValueError::FlagsTaken { flags });
        }
        Ok(self.compression.compress(value, flags))
    }

    /// Whether a packed value is too large for one item.
    pub(crate) fn splits(self, value: &Bytes) -> bool {
        !self.verbatim && self.chunking.splits(value)
    }

    /// How a packed value is split when `version` writes it; `None` when it is stored whole.
    pub(crate) fn split(self, value: &Bytes, version: u64) -> Result<Option<Manifest>, ValueError> {
        if self.verbatim {
            return Ok(None);
        }
        Ok(self.chunking.split(value, version)?)
    }

    /// What goes under the key: behind the full key, where only a hash of that goes over the wire.
    pub(crate) fn seal(key: &Key, value: Bytes, flags: u32) -> (Bytes, u32) {
        match key.full() {
            Some(full) => hashed::wrap(full, &value, flags),
            None => (value, flags),
        }
    }

    /// Whether an item of these flags is its value already: [`open`](Self::open) would give it back as it is.
    #[inline]
    pub(crate) fn is_open(self, key: &Key, flags: u32) -> bool {
        self.verbatim || (are_free(flags) && key.full().is_none())
    }

    /// What was found under `key`.
    pub(crate) fn open(self, key: &Key, item: Item) -> Result<Opened, ValueError> {
        if self.verbatim {
            return Ok(Opened::Whole(item));
        }
        let Some(item) = unsealed(key, item) else { return Ok(Opened::Foreign) };
        if item.flags & CHUNK != 0 {
            return Ok(Opened::Foreign);
        }
        if item.flags & MANIFEST == 0 {
            return unpacked(item).map(Opened::Whole);
        }
        let manifest = Manifest::decode(&item.value)?;
        Ok(Opened::Split(manifest, Item { flags: item.flags & !MANIFEST, ..item }))
    }
}

/// The item without the full key in front of its value; `None` when that is another key's.
fn unsealed(key: &Key, item: Item) -> Option<Item> {
    match key.full() {
        Some(full) => {
            let (value, flags) = hashed::unwrap(full, &item.value, item.flags)?;
            Some(Item { value, flags, ..item })
        }
        None => (item.flags & FULL_KEY == 0).then_some(item),
    }
}

/// The item with its value as it was packed.
pub(crate) fn unpacked(item: Item) -> Result<Item, ValueError> {
    let (value, flags) = decompress(item.value, item.flags, VALUE_BYTES_MAX)?;
    Ok(Item { value, flags, ..item })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::chunk::manifest_flags;

    fn form() -> Form {
        Form::new(Compression::from_bytes(100), Chunking::new(4_000, 1_024))
    }

    fn key(bytes: usize) -> Key {
        Key::new_or_hashed(b"user:", &vec![b'k'; bytes]).expect("a good key")
    }

    fn item(value: Bytes, flags: u32) -> Item {
        Item { value, flags, cas: 1, ttl: None, version: None, until_secs: None }
    }

    fn stored(key: &Key, value: &[u8], flags: u32) -> Item {
        let (value, flags) = form().pack(Bytes::copy_from_slice(value), flags).expect("free flags");
        let (value, flags) = Form::seal(key, value, flags);
        item(value, flags)
    }

    #[test]
    fn packed_and_sealed_value_is_opened_as_it_was() {
        for (key, bytes) in [(key(3), 10), (key(3), 3_000), (key(300), 10), (key(300), 3_000)] {
            let value = vec![b'v'; bytes];
            let found = form().open(&key, stored(&key, &value, 7));
            assert_eq!(found, Ok(Opened::Whole(item(value.into(), 7))));
        }
    }

    #[test]
    fn what_is_open_is_given_back_as_it_is() {
        for (form, key) in [(form(), key(3)), (form(), key(300)), (Form::verbatim(), key(3))] {
            for flags in (0..32).map(|bit| 1 << bit).chain([0, 7]) {
                let found = form.open(&key, item("v".into(), flags));
                let is_same = found == Ok(Opened::Whole(item("v".into(), flags)));
                assert_eq!(form.is_open(&key, flags), is_same, "{form:?} {key:?} {flags:x}");
            }
        }
    }

    #[test]
    fn value_under_another_full_key_and_a_chunk_are_foreign() {
        let (key, other) = (key(300), key(301));
        assert_eq!(form().open(&other, stored(&key, b"v", 0)), Ok(Opened::Foreign));
        assert_eq!(form().open(&key, item("v".into(), CHUNK)), Ok(Opened::Foreign));
        let short = super::tests::key(3);
        assert_eq!(form().open(&short, item("v".into(), CHUNK)), Ok(Opened::Foreign));
        assert_eq!(form().open(&short, stored(&key, b"v", 0)), Ok(Opened::Foreign));
    }

    #[test]
    fn manifest_tells_of_its_chunks_and_keeps_the_flags() {
        let key = key(300);
        let (value, flags) = (Bytes::from(vec![b'v'; 9_000]), 7);
        let manifest = form().split(&value, 5).expect("not too large").expect("too large for one");
        let (bytes, marked) = Form::seal(&key, manifest.encode(), manifest_flags(flags));
        let Ok(Opened::Split(found, item)) = form().open(&key, item(bytes, marked)) else {
            panic!("it is a manifest")
        };
        assert_eq!((found, item.flags), (manifest, flags));
    }

    #[test]
    fn verbatim_changes_nothing() {
        let form = Form::verbatim();
        let value = Bytes::from(vec![b'v'; 9_000]);
        assert_eq!(form.pack(value.clone(), u32::MAX), Ok((value.clone(), u32::MAX)));
        assert!(!form.splits(&value) && form.split(&value, 5) == Ok(None));
        let item = item(value, u32::MAX);
        assert_eq!(form.open(&key(3), item.clone()), Ok(Opened::Whole(item)));
    }

    #[test]
    fn flags_of_the_client_are_not_a_callers() {
        assert_eq!(form().pack("v".into(), MANIFEST), Err(ValueError::FlagsTaken { flags: MANIFEST }));
    }
}
