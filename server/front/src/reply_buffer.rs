//! Replies on their way out: bytes in one buffer, large values beside it.

use std::io::IoSlice;
use std::ops::Range;

use bytes::{Buf, Bytes};

/// From this many bytes on, a reply waits to be flushed before more is added: two thirds of a socket's usual send
/// buffer, so that one write takes it.
pub const OUTPUT_FULL_BYTES: usize = 64 << 10;

/// Values from this size on are written from where they are; smaller ones are cheaper to copy than to point at.
pub const PINNED_BYTES_MIN: usize = 16 << 10;

/// The same for values that live in a store: a copy of one counts against the budget of unread replies, so only what is
/// about as small as the handle on it is copied.
const STORED_BYTES_MIN: usize = 256;

/// Slices of one vectored write: enough for 31 large values, small enough for the stack.
pub(crate) const SLICES_MAX: usize = 64;

/// A buffer that grew beyond this is not kept for the next batch.
const KEPT_BYTES_MAX: usize = 2 * OUTPUT_FULL_BYTES;

/// Replies of one connection, in order, not yet written.
///
/// ```text
///   bytes:   VALUE a 0 20000\r\n|\r\nVALUE b 0 3\r\nabc\r\nEND\r\n
///   pinned:                     ^ at 18: 20000 bytes of the store
/// ```
#[derive(Debug, Default)]
pub struct ReplyBuffer {
    bytes: Vec<u8>,
    pinned: Vec<Pinned>,
    /// Where pieces wait while they are put in order.
    spare: Vec<u8>,
    /// Of `bytes`, what has been written.
    written: usize,
    /// Of `pinned`, how many have been written whole.
    pinned_written: usize,
    /// Bytes of `pinned` not yet written.
    pinned_bytes: usize,
    /// Of these, bytes that somebody else accounts for.
    stored_bytes: usize,
}

/// The end of what was appended so far; see [`ReplyBuffer::rearrange`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    bytes: usize,
    pinned: usize,
}

/// A large value and where in `bytes` it belongs.
#[derive(Debug)]
struct Pinned {
    at: usize,
    value: Bytes,
    is_stored: bool,
}

impl ReplyBuffer {
    /// An empty one that owns no memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where encoders append.
    #[inline]
    pub fn buf(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends a value without copying it, if it is large ([`PINNED_BYTES_MIN`]).
    pub fn push(&mut self, value: Bytes) {
        self.push_value(value, false);
    }

    /// Appends a value that lives in a store which accounts for it, read or not: unless it is tiny it is not copied and
    /// does not count against the budget of unread replies.
    pub fn push_stored(&mut self, value: Bytes) {
        self.push_value(value, true);
    }

    fn push_value(&mut self, value: Bytes, is_stored: bool) {
        if value.len() < if is_stored { STORED_BYTES_MIN } else { PINNED_BYTES_MIN } {
            self.bytes.extend_from_slice(&value);
            return;
        }
        self.pinned_bytes += value.len();
        self.stored_bytes += if is_stored { value.len() } else { 0 };
        self.pinned.push(Pinned { at: self.bytes.len(), value, is_stored });
    }

    /// Where the next piece will begin, or the last one ended.
    #[inline]
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), pinned: self.pinned.len() }
    }

    /// Puts pieces that were appended in any order into the right one. They follow each other, without gaps, from the
    /// smallest mark to the end of the buffer, and nothing was written since the first of them was appended.
    ///
    /// # Panics
    ///
    /// When the pieces are not those.
    pub fn rearrange(&mut self, pieces: &[Range<Mark>]) {
        let Some(from) = pieces.iter().map(|piece| piece.start).min_by_key(|mark| (mark.bytes, mark.pinned))
        else {
            return;
        };
        let mut spare = std::mem::take(&mut self.spare);
        spare.extend_from_slice(&self.bytes[from.bytes..]);
        let mut pinned: Vec<Option<Pinned>> = self.pinned.drain(from.pinned..).map(Some).collect();
        self.bytes.truncate(from.bytes);
        for Range { start, end } in pieces {
            for pinned in &mut pinned[start.pinned - from.pinned..end.pinned - from.pinned] {
                let mut pinned = pinned.take().expect("no piece is part of another");
                pinned.at = pinned.at - start.bytes + self.bytes.len();
                self.pinned.push(pinned);
            }
            self.bytes.extend_from_slice(&spare[start.bytes - from.bytes..end.bytes - from.bytes]);
        }
        assert_eq!(
            self.bytes.len() - from.bytes,
            spare.len(),
            "the pieces are all there is behind the first"
        );
        spare.clear();
        if spare.capacity() <= KEPT_BYTES_MAX {
            self.spare = spare;
        }
    }

    /// Bytes not yet written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written + self.pinned_bytes
    }

    /// Bytes not yet written that nobody else accounts for.
    #[must_use]
    pub fn owned_len(&self) -> usize {
        self.len() - self.stored_bytes
    }

    /// Bytes of memory held that nobody else accounts for, room included.
    #[must_use]
    pub(crate) fn held_len(&self) -> usize {
        let pinned = self.pinned.capacity() * size_of::<Pinned>() + self.pinned_bytes - self.stored_bytes;
        self.bytes.capacity() + self.spare.capacity() + pinned
    }

    /// Gives back memory that what is left to write does not need.
    pub(crate) fn shrink(&mut self) {
        self.spare = Vec::new();
        self.bytes.shrink_to_fit();
        self.pinned.shrink_to_fit();
    }

    /// Nothing is left to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// It holds [`OUTPUT_FULL_BYTES`] or more: flush before adding another item.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= OUTPUT_FULL_BYTES
    }

    /// A copy of all that is not yet written, for tests and dumps.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        self.for_each_slice(|slice| {
            all.extend_from_slice(slice);
            true
        });
        all
    }

    /// The first bytes to write, when they are all there is.
    pub(crate) fn single(&self) -> Option<&[u8]> {
        (self.pinned_written == self.pinned.len()).then(|| &self.bytes[self.written..])
    }

    /// Fills `slices` from the front and returns those filled.
    pub(crate) fn slices<'a, 's>(&'a self, slices: &'s mut [IoSlice<'a>]) -> &'s [IoSlice<'a>] {
        let mut filled = 0;
        self.for_each_slice(|slice| {
            slices[filled] = IoSlice::new(slice);
            filled += 1;
            filled < slices.len()
        });
        &slices[..filled]
    }

    /// Takes note that the first `written` bytes are out. Empty again, it is as new.
    pub(crate) fn advance(&mut self, mut written: usize) {
        while let Some(next) = self.pinned.get_mut(self.pinned_written) {
            let before = written.min(next.at - self.written);
            self.written += before;
            written -= before;
            let within = written.min(next.value.len());
            next.value.advance(within);
            self.pinned_bytes -= within;
            self.stored_bytes -= if next.is_stored { within } else { 0 };
            written -= within;
            if self.written < next.at || !next.value.is_empty() {
                return;
            }
            self.pinned_written += 1;
        }
        self.written += written;
        if self.written == self.bytes.len() {
            self.clear();
        }
    }

    /// Forgets everything; keeps the memory unless it grew large.
    pub(crate) fn clear(&mut self) {
        self.pinned.clear();
        (self.written, self.pinned_written, self.pinned_bytes, self.stored_bytes) = (0, 0, 0, 0);
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }

    /// Gives memory back that exceeds so many bytes. It is empty.
    pub(crate) fn keep_at_most(&mut self, bytes: usize) {
        debug_assert!(self.is_empty() && self.written == 0, "replies that wait are not given away");
        for room in [&mut self.bytes, &mut self.spare] {
            if room.capacity() > bytes {
                *room = Vec::new();
            }
        }
        if self.pinned.capacity() * size_of::<Pinned>() > bytes {
            self.pinned = Vec::new();
        }
    }

    /// Visits what is left in order, empty pieces left out, until `visit` returns false.
    fn for_each_slice<'a>(&'a self, mut visit: impl FnMut(&'a [u8]) -> bool) {
        let mut from = self.written;
        for pinned in &self.pinned[self.pinned_written..] {
            if from < pinned.at && !visit(&self.bytes[from..pinned.at]) {
                return;
            }
            from = pinned.at;
            if !pinned.value.is_empty() && !visit(&pinned.value) {
                return;
            }
        }
        if from < self.bytes.len() {
            visit(&self.bytes[from..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (ReplyBuffer, Vec<u8>) {
        let mut replies = ReplyBuffer::new();
        let (large, larger) = (vec![b'x'; PINNED_BYTES_MIN], vec![b'y'; PINNED_BYTES_MIN + 7]);
        let mut all = Vec::new();
        for (head, value) in
            [("head ", &large), ("", &larger), ("\r\nnext ", &b"small".to_vec()), ("end", &large)]
        {
            replies.buf().extend_from_slice(head.as_bytes());
            replies.push(Bytes::from(value.clone()));
            all.extend_from_slice(head.as_bytes());
            all.extend_from_slice(value);
        }
        replies.buf().extend_from_slice(b"\r\n");
        all.extend_from_slice(b"\r\n");
        (replies, all)
    }

    #[test]
    fn any_split_of_writes_gives_the_bytes_in_order() {
        for step in [1, 2, 3, 5, 4096, PINNED_BYTES_MIN, PINNED_BYTES_MIN + 5, 1 << 20] {
            let (mut replies, all) = sample();
            let mut seen = Vec::new();
            while !replies.is_empty() {
                let mut slices = [IoSlice::new(&[]); 3];
                let taken: Vec<u8> =
                    replies.slices(&mut slices).iter().flat_map(|s| s.to_vec()).take(step).collect();
                assert!(!taken.is_empty());
                replies.advance(taken.len());
                seen.extend_from_slice(&taken);
            }
            assert!(seen == all, "step {step}");
            assert_eq!(replies.len(), 0);
        }
    }

    #[test]
    fn small_values_are_copied_and_large_ones_are_not() {
        let (replies, all) = sample();
        assert_eq!(replies.pinned.len(), 3);
        assert_eq!(replies.len(), all.len());
        assert_eq!(replies.to_vec(), all);
        assert!(replies.single().is_none());
    }

    #[test]
    fn pieces_in_any_order_come_out_in_the_right_one() {
        let value = |index: usize| match index % 3 {
            0 => vec![b'0' + index as u8; index],
            1 => vec![b'0' + index as u8; STORED_BYTES_MIN + index],
            _ => Vec::new(),
        };
        // All orders of a few pieces, by way of the digits of a number.
        for order in 0..5_usize.pow(5) {
            let digits: Vec<usize> = (0..5).map(|place| order / 5_usize.pow(place) % 5).collect();
            if (0..5).any(|index| !digits.contains(&index)) {
                continue;
            }
            let mut replies = ReplyBuffer::new();
            replies.push_stored(Bytes::from(value(1)));
            replies.buf().extend_from_slice(b"before ");
            let mut pieces = vec![Mark::default()..Mark::default(); 5];
            for index in &digits {
                let start = replies.mark();
                replies.buf().extend_from_slice(format!("<{index} ").as_bytes());
                replies.push_stored(Bytes::from(value(*index)));
                replies.buf().extend_from_slice(b">");
                pieces[*index] = start..replies.mark();
            }
            replies.rearrange(&pieces);
            replies.buf().extend_from_slice(b" behind");
            let mut expected = [&value(1)[..], b"before "].concat();
            for index in 0..5 {
                expected.extend([format!("<{index} ").as_bytes(), &value(index), b">"].concat());
            }
            assert_eq!(replies.to_vec(), [&expected[..], b" behind"].concat(), "{digits:?}");
        }
    }

    #[test]
    fn stored_values_are_not_owned() {
        let mut replies = ReplyBuffer::new();
        replies.push_stored(Bytes::from(vec![b'x'; PINNED_BYTES_MIN]));
        replies.push_stored(Bytes::from(vec![b'x'; STORED_BYTES_MIN]));
        replies.push(Bytes::from(vec![b'x'; PINNED_BYTES_MIN]));
        replies.buf().extend_from_slice(b"END");
        let owned = PINNED_BYTES_MIN + 3;
        assert_eq!(
            (replies.owned_len(), replies.len()),
            (owned, owned + PINNED_BYTES_MIN + STORED_BYTES_MIN)
        );
        replies.advance(PINNED_BYTES_MIN + STORED_BYTES_MIN + 1);
        assert_eq!((replies.owned_len(), replies.len()), (owned - 1, owned - 1));
    }

    #[test]
    fn a_buffer_that_grew_is_not_kept() {
        let mut replies = ReplyBuffer::new();
        replies.buf().resize(KEPT_BYTES_MAX + 1, 0);
        let all = replies.len();
        replies.advance(all);
        assert_eq!(replies.buf().capacity(), 0);
    }
}
