//! In which form a caller gets a hit.

use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::codec::{ABSENT_FLAGS, Codec, CodecError, decode_marked};
use crate::item::{Item, TypedItem};
use crate::request::Want;

/// In which form a caller gets a hit. Sealed: the forms are [`Raw`], [`Flagged`], [`Whole`], [`OrAbsent`], [`Number`], [`Decoded`] and [`DecodedItem`].
pub trait View: sealed::Sealed + Send + Sync {
    /// The form.
    type Output: Send;

    /// What it needs of an item.
    #[doc(hidden)]
    const WANT: Want;

    /// Makes it.
    #[doc(hidden)]
    fn show(&self, item: Item) -> Result<Self::Output, CodecError>;

    /// Makes it, unless the item says that there is no value.
    #[doc(hidden)]
    fn show_present(&self, item: Item) -> Result<Option<Self::Output>, CodecError> {
        if item.flags == ABSENT_FLAGS { Ok(None) } else { self.show(item).map(Some) }
    }
}

mod sealed {
    pub trait Sealed {}
}

/// The value's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw;

/// The value's bytes and the item's flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flagged;

/// The item: value, flags, CAS token, TTL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole;

/// The item, or the one that says that there is no value: its flags are [`ABSENT_FLAGS`] then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrAbsent;

/// The value, decoded.
#[derive(Debug)]
pub struct Decoded<'a, T, C> {
    pub(crate) codec: &'a C,
    pub(crate) value: PhantomData<fn() -> T>,
}

/// The value and what is known of its item, decoded.
#[derive(Debug)]
pub struct DecodedItem<'a, T, C> {
    pub(crate) codec: &'a C,
    pub(crate) value: PhantomData<fn() -> T>,
}

/// The number that `incr` and `decr` count: decimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number;

impl sealed::Sealed for Raw {}

impl View for Raw {
    type Output = Bytes;
    const WANT: Want = Want::Flags;

    fn show(&self, item: Item) -> Result<Bytes, CodecError> {
        Ok(item.value)
    }
}

impl sealed::Sealed for Flagged {}

impl View for Flagged {
    type Output = (Bytes, u32);
    const WANT: Want = Want::Flags;

    fn show(&self, item: Item) -> Result<(Bytes, u32), CodecError> {
        Ok((item.value, item.flags))
    }
}

impl sealed::Sealed for Whole {}

impl View for Whole {
    type Output = Item;
    const WANT: Want = Want::Item;

    fn show(&self, item: Item) -> Result<Item, CodecError> {
        Ok(item)
    }
}

impl sealed::Sealed for OrAbsent {}

impl View for OrAbsent {
    type Output = Item;
    const WANT: Want = Want::Item;

    fn show(&self, item: Item) -> Result<Item, CodecError> {
        Ok(item)
    }

    fn show_present(&self, item: Item) -> Result<Option<Item>, CodecError> {
        Ok(Some(item))
    }
}

impl<T, C> sealed::Sealed for Decoded<'_, T, C> {}

impl<T: DeserializeOwned + Send, C: Codec> View for Decoded<'_, T, C> {
    type Output = T;
    const WANT: Want = Want::Flags;

    fn show(&self, item: Item) -> Result<T, CodecError> {
        decode_marked(self.codec, item.flags, &item.value)
    }
}

impl<T, C> sealed::Sealed for DecodedItem<'_, T, C> {}

impl<T: DeserializeOwned + Send, C: Codec> View for DecodedItem<'_, T, C> {
    type Output = TypedItem<T>;
    const WANT: Want = Want::Item;

    fn show(&self, item: Item) -> Result<TypedItem<T>, CodecError> {
        let value = decode_marked(self.codec, item.flags, &item.value)?;
        Ok(TypedItem { value, cas: item.cas, ttl: item.ttl, version: item.version })
    }
}

impl sealed::Sealed for Number {}

impl View for Number {
    type Output = u64;
    const WANT: Want = Want::Flags;

    fn show(&self, item: Item) -> Result<u64, CodecError> {
        // memcached fills up with spaces what has lost a digit.
        let digits = str::from_utf8(item.value.trim_ascii_end()).ok();
        // The standard library would take a sign, too.
        let digits = digits.filter(|digits| digits.starts_with(|first: char| first.is_ascii_digit()));
        digits.and_then(|digits| digits.parse().ok()).ok_or(CodecError::NotANumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_decimal_digits_and_nothing_else() {
        let show = |value: &'static str| {
            let value = Bytes::from_static(value.as_bytes());
            Number.show(Item { value, flags: 0, cas: 0, ttl: None, version: None, until_secs: None })
        };
        assert_eq!(show("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(show("9 "), Ok(9));
        for odd in ["", "+1", "-1", "1x", "18446744073709551616", " 1"] {
            assert_eq!(show(odd), Err(CodecError::NotANumber), "{odd}");
        }
    }
}
