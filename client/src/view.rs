//! In which form a caller gets a hit.

use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::codec::{ABSENT_FLAGS, Codec, CodecError, decode_marked};
use crate::item::Item;
use crate::request::Want;

/// In which form a caller gets a hit. Sealed: the forms are [`Raw`], [`Whole`] and [`Decoded`].
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

/// The item: value, flags, CAS token, TTL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole;

/// The value, decoded.
#[derive(Debug)]
pub struct Decoded<'a, T, C> {
    pub(crate) codec: &'a C,
    pub(crate) value: PhantomData<fn() -> T>,
}

impl sealed::Sealed for Raw {}

impl View for Raw {
    type Output = Bytes;
    const WANT: Want = Want::Flags;

    fn show(&self, item: Item) -> Result<Bytes, CodecError> {
        Ok(item.value)
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

impl<T, C> sealed::Sealed for Decoded<'_, T, C> {}

impl<T: DeserializeOwned + Send, C: Codec> View for Decoded<'_, T, C> {
    type Output = T;
    const WANT: Want = Want::Flags;

    fn show(&self, item: Item) -> Result<T, CodecError> {
        decode_marked(self.codec, item.flags, &item.value)
    }
}
