//! What encoders append to.

use bytes::BytesMut;

/// A buffer that grows at its end. Encoders take either kind, so that each caller has the one that costs it least: a
/// `Vec` where bytes are only appended and written, a `BytesMut` where parts are split off.
pub trait Append {
    /// Appends `bytes`.
    fn append(&mut self, bytes: &[u8]);

    /// Makes room for `more` bytes at once.
    fn make_room(&mut self, more: usize);
}

impl Append for Vec<u8> {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn make_room(&mut self, more: usize) {
        self.reserve(more);
    }
}

impl Append for BytesMut {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn make_room(&mut self, more: usize) {
        self.reserve(more);
    }
}
