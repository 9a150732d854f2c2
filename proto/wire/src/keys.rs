//! Keys: of a retrieval's line, and of the meta commands.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::{memchr, memrchr};

use crate::append::Append;
use crate::limits::{KEY_BYTES_MAX, KEY_BYTES_MAX_BASE64};
use crate::request::{Keys, MetaKey};
use crate::token;

/// True when a key can be sent as it is: 1 to 250 bytes, no space, no control character.
///
/// Any other key has to go as base64, by the meta commands.
pub fn is_plain_key(key: &[u8]) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.len()) && key.iter().all(|byte| *byte > b' ' && *byte != 0x7f)
}

impl<'a> Keys<'a> {
    /// The keys in `text`, separated by spaces. `None` when there is none, one is too long, or there is a line end, behind
    /// which a server would read the next request.
    pub fn new(text: &'a [u8]) -> Option<Keys<'a>> {
        if memchr(b'\n', text).is_some() { None } else { Keys::of_line(text) }
    }

    /// The same for a part of a line, where there is no line end.
    #[inline]
    pub(crate) fn of_line(text: &'a [u8]) -> Option<Keys<'a>> {
        // The usual case: one key, or several that are short together.
        if text.len() <= KEY_BYTES_MAX {
            let any = text.first().is_some_and(|byte| *byte != b' ') || !token::trim(text).is_empty();
            return any.then_some(Keys(text));
        }
        // From a space, the last one among the bytes that a key and its end may take is the next to go on from: several
        // short keys are passed at a time.
        let mut rest = text;
        while rest.len() > KEY_BYTES_MAX {
            let space = memrchr(b' ', &rest[..=KEY_BYTES_MAX])?;
            rest = &rest[space + 1..];
        }
        (!token::trim(text).is_empty()).then_some(Keys(text))
    }

    /// The keys, in order.
    #[inline]
    pub fn iter(&self) -> KeysIter<'a> {
        KeysIter(self.0)
    }

    /// Whether there are more than so many. They are looked at only where the text has room for them.
    #[inline]
    pub fn are_more_than(&self, count: usize) -> bool {
        self.0.len() > 2 * count && self.iter().nth(count).is_some()
    }

    /// The keys as sent, with the spaces between them.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// Iterates over [`Keys`].
#[derive(Debug, Clone)]
pub struct KeysIter<'a>(&'a [u8]);

impl<'a> Iterator for KeysIter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        match token::next(&mut self.0) {
            [] => None,
            key => Some(key),
        }
    }
}

impl KeysIter<'_> {
    /// No key is left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == b' ')
    }
}

impl PartialEq for Keys<'_> {
    fn eq(&self, other: &Keys<'_>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Keys<'_> {}

impl<'a> MetaKey<'a> {
    /// A key for a client to send: as it is where that is possible, else as base64.
    ///
    /// `None` when it is empty or too long: more than 250 bytes, or 186 if it has to go as base64.
    pub fn new(key: &'a [u8]) -> Option<MetaKey<'a>> {
        if is_plain_key(key) {
            return Some(MetaKey { bytes: Cow::Borrowed(key), base64: false });
        }
        let fits = (1..=KEY_BYTES_MAX_BASE64).contains(&key.len());
        fits.then_some(MetaKey { bytes: Cow::Borrowed(key), base64: true })
    }

    /// Reads the base64 text of a key.
    pub(crate) fn from_base64(text: &[u8]) -> Option<MetaKey<'static>> {
        let bytes = STANDARD.decode(text).ok()?;
        Some(MetaKey { bytes: Cow::Owned(bytes), base64: true })
    }

    /// Appends the key as it goes over the wire.
    pub fn encode(&self, out: &mut impl Append) {
        if self.base64 {
            out.append(STANDARD.encode(&self.bytes).as_bytes());
        } else {
            out.append(&self.bytes);
        }
    }
}
