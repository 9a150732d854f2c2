//! The bytes of a connection between the socket and its requests.

use std::sync::Arc;

use crate::budget::{Budget, Charge};
use crate::pool::{Pool, READ_BUFFER_BYTES};

/// The part of a request that any connection may keep without asking: more than almost any line, and thousands of
/// connections with one come to a few MiB.
const FREE_BYTES: usize = 2 << 10;

/// Holds nothing while there is nothing: what is lent goes back, what remains is copied to its exact size.
///
/// ```text
///   nothing ──lend──▶ lent buffer ──whole requests──▶ nothing
///                       │     ▲
///            part of one│     │lend                part of one, larger than a lent buffer
///                       ▼     │                      ▼
///                     exact copy                   own buffer of the request's size
/// ```
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    /// `bytes` is not the pool's.
    own: bool,
    partial: bool,
    charge: Option<Charge>,
}

impl Input {
    /// A buffer with what remained and room for more.
    pub(crate) fn lend(&mut self, pool: &Pool) -> &mut Vec<u8> {
        if self.bytes.capacity() < READ_BUFFER_BYTES {
            let mut buffer = pool.read_buffer();
            buffer.extend_from_slice(&self.bytes);
            self.bytes = buffer;
            self.own = false;
        }
        &mut self.bytes
    }

    /// There is nothing to read: gives a lent buffer back.
    pub(crate) fn settle(&mut self, pool: &Pool) {
        if !self.own && self.bytes.capacity() >= READ_BUFFER_BYTES {
            let remains = self.bytes.as_slice().to_vec();
            pool.give_read_buffer(std::mem::replace(&mut self.bytes, remains));
        }
    }

    /// Takes the bytes away to decode them; [`Input::put_back`] must follow.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Puts them back, less what was consumed.
    pub(crate) fn put_back(&mut self, mut bytes: Vec<u8>, consumed: usize) {
        bytes.drain(..consumed);
        self.bytes = bytes;
    }

    /// Asks whether a request of which `held` bytes are there and `missing` are not may be waited for.
    pub(crate) fn admit(&mut self, held: usize, missing: usize, budget: &Arc<Budget>) -> bool {
        let exact = if held == 0 { 0 } else { held.saturating_add(missing) };
        if exact <= FREE_BYTES {
            self.charge = None;
            return true;
        }
        let kept = exact..=exact.saturating_mul(2);
        if !self.charge.as_ref().is_some_and(|charge| kept.contains(&charge.bytes())) {
            self.charge = None;
            self.charge = budget.charge(room(held, missing));
        }
        self.charge.is_some()
    }

    /// Makes room for the `missing` bytes of the request that began.
    pub(crate) fn expect(&mut self, missing: usize, pool: &Pool) {
        let held = self.bytes.len();
        self.partial = held > 0 || missing > 1;
        let exact = if held == 0 { 0 } else { held.saturating_add(missing) };
        if exact > READ_BUFFER_BYTES {
            if exact > self.bytes.capacity() {
                self.grow(room(held, missing), pool);
            }
        } else if self.own {
            self.bytes = self.bytes.as_slice().to_vec();
            self.own = false;
        }
    }

    /// A request has begun and is not whole.
    pub(crate) fn is_partial(&self) -> bool {
        self.partial
    }

    /// Bytes of memory held.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    fn grow(&mut self, needed: usize, pool: &Pool) {
        let mut larger = Vec::with_capacity(needed);
        larger.extend_from_slice(&self.bytes);
        let before = std::mem::replace(&mut self.bytes, larger);
        if !self.own {
            pool.give_read_buffer(before);
        }
        self.own = true;
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

    fn fill(input: &mut Input, pool: &Pool, bytes: &[u8]) {
        input.lend(pool).extend_from_slice(bytes);
    }

    #[test]
    fn idle_input_holds_nothing() {
        let (pool, mut input) = (Pool::default(), Input::default());
        fill(&mut input, &pool, b"version\r\n");
        let bytes = input.take();
        input.put_back(bytes, 9);
        input.expect(1, &pool);
        input.settle(&pool);
        assert_eq!((input.capacity(), pool.read_buffers(), input.is_partial()), (0, 1, false));
    }

    #[test]
    fn part_of_a_small_request_keeps_its_exact_size() {
        let (pool, budget, mut input) = (Pool::default(), Budget::new(0), Input::default());
        fill(&mut input, &pool, b"version\r\nget ab");
        let bytes = input.take();
        input.put_back(bytes, 9);
        assert!(input.admit(6, 1, &budget));
        input.expect(1, &pool);
        input.settle(&pool);
        assert_eq!((input.capacity(), pool.read_buffers(), input.is_partial()), (6, 1, true));
        assert_eq!(input.lend(&pool).as_slice(), b"get ab");
    }

    #[test]
    fn part_of_a_large_request_reserves_what_is_missing_and_is_charged() {
        let (pool, budget, mut input) = (Pool::default(), Budget::new(150_000), Input::default());
        fill(&mut input, &pool, &[b'x'; 1000]);
        let bytes = input.take();
        input.put_back(bytes, 0);
        assert!(input.admit(1000, 99_000, &budget));
        input.expect(99_000, &pool);
        input.settle(&pool);
        assert_eq!((input.capacity(), budget.used(), pool.read_buffers()), (100_000, 100_000, 1));

        let mut other = Input::default();
        assert!(!other.admit(1000, 99_000, &budget), "two exceed the budget");

        fill(&mut input, &pool, &[b'y'; 99_000]);
        let bytes = input.take();
        input.put_back(bytes, 100_000);
        assert!(input.admit(0, 1, &budget));
        input.expect(1, &pool);
        input.settle(&pool);
        assert_eq!((input.capacity(), budget.used(), pool.read_buffers()), (0, 0, 1));
    }
}
