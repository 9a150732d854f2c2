//! Being told of evictions.

use std::sync::OnceLock;

use crate::item::{self, Header, Marks};
use crate::{Expiry, Time};

/// An item as it is evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evicted<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// When it would have expired.
    pub expiry: Expiry,
    /// It had been read.
    pub hit_before: bool,
    /// When it was last read or written.
    pub last_access: Time,
    /// Its value's size in bytes; of a large value, which lies in pieces, that of the list of them only.
    pub value_bytes: usize,
}

type Tell = Box<dyn Fn(&Evicted<'_>) + Send + Sync>;

/// Whoever is told.
#[derive(Default)]
pub(crate) struct Observer(OnceLock<Tell>);

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Observer").field(&self.0.get().is_some()).finish()
    }
}

impl Observer {
    /// False when there is one already.
    pub(crate) fn set(&self, tell: Tell) -> bool {
        self.0.set(tell).is_ok()
    }

    pub(crate) fn evicted(&self, header: &Header, key: &[u8], now: Time) {
        if let Some(tell) = self.0.get() {
            tell(&Evicted {
                key,
                expiry: item::expiry(header.expires_ms),
                hit_before: header.marks.has(Marks::FETCHED),
                last_access: header.last_access(now),
                value_bytes: usize::from(header.body_bytes),
            });
        }
    }
}
