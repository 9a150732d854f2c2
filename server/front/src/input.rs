//! The bytes of a connection between the socket and its requests.

use crate::pool::{Kit, READ_BUFFER_BYTES};

/// The part of a request that any connection may keep without asking: more than almost any line, and thousands of
/// connections with one come to a few MiB.
const FREE_BYTES: usize = 2 << 10;

/// Holds nothing while there is nothing: requests are read into a lent buffer, and what remains when that goes back is
/// copied to its exact size.
///
/// ```text
///   nothing ──read──▶ lent buffer ──whole requests──▶ nothing
///                       │     ▲
///            part of one│     │read                part of one, larger than a lent buffer
///                       ▼     │                      ▼
///                     exact copy                   own buffer of the request's size
/// ```
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// The exact copy, or the own buffer.
    kept: Vec<u8>,
    /// `kept` is the own buffer, to be read into.
    own: bool,
    partial: bool,
}

impl Input {
    /// A buffer with what remained and room for more.
    #[inline]
    pub(crate) fn buffer<'k>(&'k mut self, kit: &'k mut Kit) -> &'k mut Vec<u8> {
        if self.own {
            return &mut self.kept;
        }
        let buffer = kit.read_buffer();
        if !self.kept.is_empty() {
            buffer.extend_from_slice(&self.kept);
            self.kept = Vec::new();
        }
        buffer
    }

    /// The lent buffer is to go back: keeps what remains.
    #[inline]
    pub(crate) fn settle(&mut self, kit: &mut Kit) {
        if !kit.read.is_empty() {
            self.kept = kit.read.as_slice().to_vec();
            kit.read.clear();
        }
    }

    /// Takes the bytes away to decode them; [`Input::put_back`] must follow.
    #[inline]
    pub(crate) fn take(&mut self, kit: &mut Kit) -> Vec<u8> {
        std::mem::take(self.buffer(kit))
    }

    /// Puts them back, less what was consumed.
    #[inline]
    pub(crate) fn put_back(&mut self, kit: &mut Kit, mut bytes: Vec<u8>, consumed: usize) {
        if consumed == bytes.len() {
            bytes.clear();
        } else {
            bytes.drain(..consumed);
        }
        *(if self.own { &mut self.kept } else { &mut kit.read }) = bytes;
    }

    /// Makes room for the `missing` bytes of the request that began.
    #[inline]
    pub(crate) fn expect(&mut self, missing: usize, kit: &mut Kit) {
        let held = if self.own { self.kept.len() } else { kit.read.len() };
        self.partial = held > 0 || missing > 1;
        if self.partial || self.own {
            self.make_room(held, missing, kit);
        }
    }

    /// A request has begun and is not whole.
    pub(crate) fn is_partial(&self) -> bool {
        self.partial
    }

    /// Bytes of memory held.
    pub(crate) fn capacity(&self) -> usize {
        self.kept.capacity()
    }

    fn make_room(&mut self, held: usize, missing: usize, kit: &mut Kit) {
        let exact = if held == 0 { 0 } else { held.saturating_add(missing) };
        if exact > READ_BUFFER_BYTES {
            let from = if self.own { &self.kept } else { &kit.read };
            if !self.own || exact > self.kept.capacity() {
                let mut larger = Vec::with_capacity(room(held, missing));
                larger.extend_from_slice(from);
                self.kept = larger;
                kit.read.clear();
                self.own = true;
            }
        } else if self.own {
            self.own = false;
            let kept = std::mem::take(&mut self.kept);
            kit.read_buffer().extend_from_slice(&kept);
        }
    }
}

/// Memory for a request that has begun and is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// All bytes of the request, as far as known.
    pub(crate) exact: usize,
    /// What is set aside for it.
    pub(crate) room: usize,
}

impl Need {
    /// For a request of which `held` bytes are there and `missing` are not; `None` when that is so little that any
    /// connection may keep it.
    #[inline]
    pub(crate) fn of(held: usize, missing: usize) -> Option<Self> {
        let exact = if held == 0 { 0 } else { held.saturating_add(missing) };
        (exact > FREE_BYTES).then(|| Self { exact, room: room(held, missing) })
    }
}

/// Bytes to make room for when there is none left: exactly what is known to be missing; for a long line, whose end is
/// not known, twice what is there, so that it is copied a few times and not once a byte.
fn room(held: usize, missing: usize) -> usize {
    let exact = held.saturating_add(missing);
    if exact > READ_BUFFER_BYTES && missing == 1 { exact.max(2 * held) } else { exact }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    fn fill(input: &mut Input, kit: &mut Kit, bytes: &[u8]) {
        input.buffer(kit).extend_from_slice(bytes);
    }

    #[test]
    fn idle_input_holds_nothing() {
        let (pool, mut input) = (Pool::default(), Input::default());
        let mut kit = pool.lend();
        fill(&mut input, &mut kit, b"version\r\n");
        let bytes = input.take(&mut kit);
        input.put_back(&mut kit, bytes, 9);
        input.expect(1, &mut kit);
        input.settle(&mut kit);
        assert_eq!((input.capacity(), kit.read.len(), input.is_partial()), (0, 0, false));
    }

    #[test]
    fn part_of_a_small_request_keeps_its_exact_size() {
        let (mut kit, mut input) = (Kit::default(), Input::default());
        fill(&mut input, &mut kit, b"version\r\nget ab");
        let bytes = input.take(&mut kit);
        input.put_back(&mut kit, bytes, 9);
        assert_eq!(Need::of(6, 1), None);
        input.expect(1, &mut kit);
        input.settle(&mut kit);
        assert_eq!((input.capacity(), input.is_partial()), (6, true));
        let mut other = Kit::default();
        assert_eq!(input.buffer(&mut other).as_slice(), b"get ab");
        assert!(other.read.capacity() >= READ_BUFFER_BYTES);
    }

    #[test]
    fn part_of_a_large_request_reserves_what_is_missing_and_is_charged() {
        let (mut kit, mut input) = (Kit::default(), Input::default());
        fill(&mut input, &mut kit, &[b'x'; 1000]);
        let bytes = input.take(&mut kit);
        input.put_back(&mut kit, bytes, 0);
        assert_eq!(Need::of(1000, 99_000), Some(Need { exact: 100_000, room: 100_000 }));
        input.expect(99_000, &mut kit);
        input.settle(&mut kit);
        assert_eq!((input.capacity(), kit.read.len()), (100_000, 0));

        fill(&mut input, &mut kit, &[b'y'; 99_000]);
        let bytes = input.take(&mut kit);
        assert_eq!(bytes.len(), 100_000);
        input.put_back(&mut kit, bytes, 100_000);
        assert_eq!(Need::of(0, 1), None);
        input.expect(1, &mut kit);
        input.settle(&mut kit);
        assert_eq!((input.capacity(), kit.read.len(), input.is_partial()), (0, 0, false));
    }
}
