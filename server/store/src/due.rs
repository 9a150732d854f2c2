//! When a segment's items expire, coarsely.

use crate::item::NEVER;

/// Spans of remaining life that are told apart: the last is reached after 24 days.
const SPANS: usize = 20;
/// The first span: lives shorter than this many milliseconds.
const FIRST_MS: u64 = 4_000;

/// For each span of remaining life, counted from the segment's beginning or its last search, the earliest and the latest
/// expiry of the items in it. Each span is twice as long as the one before. A segment is worth a search when the middle
/// between a span's earliest and latest expiry has passed: half of its items are expired by then, and the others, told
/// apart anew from that moment on, lie in finer spans. So a segment is searched a few times in its life, and what a store
/// holds of expired items is at most half of what lies in spans that have begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    begin_ms: u64,
    /// Earliest and latest expiry of each span, in milliseconds since `begin_ms`, cut off at 49 days; the latest is 0
    /// where there is none.
    spans: [(u32, u32); SPANS],
    /// The earliest middle of a span, as an instant; [`NEVER`] if there is none.
    next_ms: u64,
}

impl Due {
    pub(crate) fn new(begin_ms: u64) -> Due {
        Due { begin_ms, spans: [(u32::MAX, 0); SPANS], next_ms: NEVER }
    }

    /// From this instant on a search is worth while.
    pub(crate) fn next_ms(&self) -> u64 {
        self.next_ms
    }

    /// An item expires at `expires_ms`.
    #[inline]
    pub(crate) fn add(&mut self, expires_ms: u64) {
        if expires_ms == NEVER {
            return;
        }
        let life = expires_ms.saturating_sub(self.begin_ms);
        let (earliest, latest) = &mut self.spans[span(life)];
        let life = u32::try_from(life).unwrap_or(u32::MAX).max(1);
        if life < *earliest || life > *latest {
            *earliest = life.min(*earliest);
            *latest = life.max(*latest);
            self.settle();
        }
    }

    fn settle(&mut self) {
        let used = self.spans.iter().filter(|(_, latest)| *latest != 0);
        // The later one of two middles: of one expiry alone it is that expiry.
        let middle = used.map(|(earliest, latest)| earliest + (latest - earliest).div_ceil(2)).min();
        self.next_ms = middle.map_or(NEVER, |middle| self.begin_ms.saturating_add(u64::from(middle)));
    }
}

/// The span of a life: one to each doubling.
fn span(life_ms: u64) -> usize {
    (life_ms / FIRST_MS).checked_ilog2().map_or(0, |doublings| (1 + doublings as usize).min(SPANS - 1))
}

#[cfg(test)]
mod tests {
    use super::{Due, NEVER, SPANS, span};

    #[test]
    fn spans_grow_and_end() {
        assert_eq!([0, 3_999, 4_000, 7_999, 8_000, 16_000].map(span), [0, 0, 1, 1, 2, 3]);
        assert_eq!(span(u64::MAX / 2), SPANS - 1);
    }

    #[test]
    fn due_is_when_half_of_a_span_has_passed() {
        let mut due = Due::new(1_000_000);
        assert_eq!(due.next_ms(), NEVER);
        due.add(NEVER);
        due.add(1_060_000);
        assert_eq!(due.next_ms(), 1_060_000, "one expiry alone");
        due.add(1_050_000);
        assert_eq!(due.next_ms(), 1_055_000);
        due.add(1_003_000);
        assert_eq!(due.next_ms(), 1_003_000);
        due.add(5);
        assert_eq!(due.next_ms(), 1_001_501, "what is past counts from the beginning");
        Due::new(0).add(u64::MAX - 1);
    }
}
