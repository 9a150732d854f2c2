//! Items as the service's JSON says them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::store::{Change, KeyChange, Loaded, StoreError, StoreItem};

/// Largest value: an item has 400 KB, names and numbers included, and this leaves 512 bytes for those and the longest key.
pub(super) const VALUE_BYTES_MAX: usize = 400 * 1024 - 512;

pub(super) const KEY: &str = "key";
pub(super) const VALUE: &str = "value";
pub(super) const FLAGS: &str = "flags";
pub(super) const EXPIRES_AT: &str = "expires_at";
pub(super) const VERSION: &str = "version";
pub(super) const FORGET_AT: &str = "forget_at";

/// An item as it is answered. Of another table it may have anything.
#[derive(Debug, Deserialize)]
pub(super) struct Item {
    pub(super) key: Attribute,
    value: Option<Attribute>,
    flags: Option<Attribute>,
    expires_at: Option<Attribute>,
    version: Option<Attribute>,
}

/// An attribute of any type; only these are looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) struct Attribute {
    b: Option<String>,
    s: Option<String>,
    n: Option<String>,
}

impl Attribute {
    fn number(&self) -> Option<u64> {
        self.n.as_deref()?.parse().ok()
    }

    /// Its bytes, where it is of bytes or a string.
    pub(super) fn bytes(self) -> Option<Bytes> {
        match self.b {
            Some(binary) => STANDARD.decode(binary).ok().map(Bytes::from),
            None => self.s.map(Bytes::from),
        }
    }
}

impl Item {
    /// What it stands for: nothing when it was deleted or has expired.
    pub(super) fn loaded(self, now: u64) -> Loaded {
        let number = |attribute: &Option<Attribute>| attribute.as_ref().and_then(Attribute::number);
        let (flags, expires_at, version) =
            (number(&self.flags), number(&self.expires_at), number(&self.version));
        let Some(value) = self.value else { return Ok(None) };
        if expires_at.is_some_and(|at| at <= now) {
            return Ok(None);
        }
        let other = || StoreError::permanent("the attribute `value` is neither binary nor a string");
        let flags = flags.and_then(|flags| u32::try_from(flags).ok()).unwrap_or(0);
        Ok(Some(StoreItem { value: value.bytes().ok_or_else(other)?, flags, expires_at, version }))
    }
}

/// Bytes as an attribute.
pub(super) fn binary(bytes: &[u8]) -> Value {
    json!({ "B": STANDARD.encode(bytes) })
}

/// A number as an attribute: numbers are text there.
pub(super) fn number(number: u64) -> Value {
    json!({ "N": number.to_string() })
}

/// The item that a change leaves; an error where it does not fit.
pub(super) fn of(change: &KeyChange, now: u64, remember_secs: u64) -> Result<Value, StoreError> {
    let mut item = Map::new();
    item.insert(KEY.to_owned(), binary(&change.key));
    item.insert(VERSION.to_owned(), number(change.version));
    let ends_at = match &change.change {
        Change::Put(put) if put.value.len() > VALUE_BYTES_MAX => {
            return Err(StoreError::permanent(format!(
                "the value has {} bytes, more than {VALUE_BYTES_MAX}, what dynamodb has room for in an item of 400 KB",
                put.value.len()
            )));
        }
        Change::Put(put) if put.expires_at.is_none_or(|at| at > now) => {
            item.insert(VALUE.to_owned(), binary(&put.value));
            item.insert(FLAGS.to_owned(), number(u64::from(put.flags)));
            if let Some(at) = put.expires_at {
                item.insert(EXPIRES_AT.to_owned(), number(at));
            }
            put.expires_at
        }
        // What has expired already is as good as deleted.
        Change::Put(_) | Change::Delete => Some(now),
    };
    if let Some(at) = ends_at {
        item.insert(FORGET_AT.to_owned(), number(at.saturating_add(remember_secs)));
    }
    Ok(Value::Object(item))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn change(change: Change) -> KeyChange {
        KeyChange { key: Bytes::from_static(b"\0k"), version: 0x7fff_ffff_ffff_ffff, change }
    }

    fn put(bytes: usize, expires_at: Option<u64>) -> Change {
        let value = vec![b'v'; bytes].into();
        Change::Put(StoreItem { value, flags: 0xdead_beef, expires_at, version: None })
    }

    fn written(written: Change) -> Value {
        of(&change(written), NOW, 60).expect("it fits")
    }

    fn read(item: Value, now: u64) -> Loaded {
        serde_json::from_value::<Item>(item).expect("an item").loaded(now)
    }

    #[test]
    fn item_comes_back_until_it_expires_and_is_remembered_a_while_longer() {
        let item = written(put(1, Some(NOW + 10)));
        assert_eq!(item[FORGET_AT], number(NOW + 70));
        let found = read(item.clone(), NOW + 9).expect("an item").expect("it has not expired");
        let expected = StoreItem {
            value: Bytes::from_static(b"v"),
            flags: 0xdead_beef,
            expires_at: Some(NOW + 10),
            version: Some(0x7fff_ffff_ffff_ffff),
        };
        assert_eq!(found, expected);
        assert_eq!(read(item, NOW + 10), Ok(None), "the service has not dropped it yet");
    }

    #[test]
    fn item_that_does_not_expire_is_never_forgotten() {
        let item = written(put(0, None));
        assert!(item.get(FORGET_AT).is_none() && item.get(EXPIRES_AT).is_none());
        assert_eq!(read(item, u64::MAX).map(|item| item.map(|item| item.value)), Ok(Some(Bytes::new())));
    }

    #[test]
    fn deletes_and_what_expired_leave_a_version_alone() {
        for gone in [Change::Delete, put(1, Some(NOW))] {
            let item = written(gone);
            let expected = json!({
                "key": { "B": "AGs=" }, "version": { "N": "9223372036854775807" },
                "forget_at": { "N": (NOW + 60).to_string() },
            });
            assert_eq!(item, expected);
            assert_eq!(read(item, NOW), Ok(None));
        }
    }

    #[test]
    fn value_that_has_no_room_in_an_item_is_refused_for_good() {
        assert!(of(&change(put(VALUE_BYTES_MAX, None)), NOW, 60).is_ok());
        let refused = of(&change(put(VALUE_BYTES_MAX + 1, None)), NOW, 60).expect_err("too large");
        assert!(refused.message.contains("400 KB"), "{refused}");
    }

    /// The service counts names, key, numbers (at most half their digits and a byte) and value.
    #[test]
    fn largest_item_has_no_more_than_400_kb() {
        let names = [KEY, VALUE, FLAGS, EXPIRES_AT, VERSION, FORGET_AT];
        let names: usize = names.iter().map(|name| name.len()).sum();
        let numbers = 4 * (u64::MAX.to_string().len() / 2 + 2);
        assert!(names + numbers + 250 + VALUE_BYTES_MAX <= 400 * 1024);
    }

    #[test]
    fn items_of_others_are_read_where_their_value_is_bytes_or_text() {
        let text = json!({ "key": { "B": "AGs=" }, "value": { "S": "text" }, "flags": { "S": "x" } });
        let expected =
            StoreItem { value: Bytes::from_static(b"text"), flags: 0, expires_at: None, version: None };
        assert_eq!(read(text, NOW), Ok(Some(expected)));
        let map = json!({ "key": { "B": "AGs=" }, "value": { "M": { "a": { "N": "1" } } } });
        assert!(read(map, NOW).is_err_and(|error| error.message.contains("neither binary nor a string")));
    }
}
