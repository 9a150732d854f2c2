//! Replies that come in any order and leave in the order of their requests.

use std::ops::Range;

use arrayvec::ArrayVec;
use evanesce_front::{Mark, ReplyBuffer};

use super::retrieval::READS_MAX;

/// Puts the replies of one batch of lookups in order. The store looks keys up shard by shard.
///
/// Replies are appended as they come. While they come in turn, which a single one always does, that is all; the others
/// are moved to their places once the last has come.
pub(super) struct InTurn {
    count: usize,
    /// How many came in turn, from the first on.
    in_turn: usize,
    /// Where the replies behind those are; empty while all came in turn.
    others: ArrayVec<Range<Mark>, READS_MAX>,
}

impl InTurn {
    /// For `count` replies.
    #[inline]
    pub(super) fn new(count: usize) -> Self {
        Self { count, in_turn: 0, others: ArrayVec::new() }
    }

    /// Appends the reply number `index`. Each comes once.
    #[inline]
    pub(super) fn append(
        &mut self,
        index: usize,
        out: &mut ReplyBuffer,
        reply: impl FnOnce(&mut ReplyBuffer),
    ) {
        let start = out.mark();
        reply(out);
        if self.others.is_empty() {
            if index == self.in_turn {
                self.in_turn += 1;
                return;
            }
            self.others.extend((self.in_turn..self.count).map(|_| start..start));
        }
        self.others[index - self.in_turn] = start..out.mark();
    }

    /// All replies have come.
    #[inline]
    pub(super) fn finish(&mut self, out: &mut ReplyBuffer) {
        if !self.others.is_empty() {
            out.rearrange(&self.others);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// What reply number `index` is: small, empty, or with a value that is pinned.
    fn reply(index: usize, out: &mut ReplyBuffer) {
        out.buf().extend_from_slice(format!("<{index}").as_bytes());
        match index % 4 {
            0 => out.push_stored(Bytes::from(vec![b'v'; 5000 + index])),
            1 => out.buf().extend_from_slice(&[b's'; 100]),
            2 => {
                out.push_stored(Bytes::from(vec![b'p'; 300]));
                out.push_stored(Bytes::from(vec![b'q'; 301]));
            }
            _ => {}
        }
        out.buf().extend_from_slice(b">\r\n");
    }

    #[test]
    fn shuffled_replies_leave_in_order() {
        let mut seed = 1_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        for round in 0..2000 {
            let count = 1 + random(READS_MAX);
            let mut order: Vec<usize> = (0..count).collect();
            // From hardly shuffled to well shuffled.
            for _ in 0..random(count + 1) {
                order.swap(random(count), random(count));
            }
            let (mut out, mut expected) = (ReplyBuffer::new(), ReplyBuffer::new());
            for buffer in [&mut out, &mut expected] {
                buffer.buf().extend_from_slice(b"before");
                buffer.push_stored(Bytes::from(vec![b'b'; 400]));
            }
            let mut in_turn = InTurn::new(count);
            order.iter().for_each(|index| in_turn.append(*index, &mut out, |out| reply(*index, out)));
            in_turn.finish(&mut out);
            (0..count).for_each(|index| reply(index, &mut expected));
            assert!(out.to_vec() == expected.to_vec(), "round {round}: {order:?}");
            assert_eq!(out.owned_len(), expected.owned_len());
        }
    }
}
