//! When a segment's items expire: so many bytes by such an instant, coarsely.

use crate::item::NEVER;

/// Spans of remaining life that are told apart.
const SPANS: usize = 24;
/// The first span: lives shorter than this many milliseconds.
const FIRST_MS: u64 = 4_000;

/// For each span of remaining life, counted from the segment's beginning, the bytes of items in it and the latest expiry
/// among them. Spans grow by a factor of about 1.4, from 4 seconds to 3 hours; the last holds all beyond. So when a
/// span's latest expiry has passed all its bytes are expired, and a segment is looked through at most once a span:
/// what a store holds of expired items is at most what lies in the spans that have begun and not ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    begin_ms: u64,
    /// Latest expiry of each span, in milliseconds since `begin_ms`, cut off at 49 days; 0 where there is none.
    latest: [u32; SPANS],
    /// The least of `latest`, as an instant; [`NEVER`] if there is none.
    next_ms: u64,
}

impl Due {
    pub(crate) fn new(begin_ms: u64) -> Due {
        Due { begin_ms, latest: [0; SPANS], next_ms: NEVER }
    }

    /// From this instant on a whole span of items is expired.
    pub(crate) fn next_ms(&self) -> u64 {
        self.next_ms
    }

    /// An item expires at `expires_ms`.
    pub(crate) fn add(&mut self, expires_ms: u64) {
        if expires_ms == NEVER {
            return;
        }
        let life = expires_ms.saturating_sub(self.begin_ms);
        let latest = &mut self.latest[span(life)];
        let life = u32::try_from(life).unwrap_or(u32::MAX).max(1);
        if *latest < life {
            *latest = life;
            self.settle();
        }
    }

    fn settle(&mut self) {
        let least = self.latest.iter().filter(|latest| **latest != 0).min();
        self.next_ms = least.map_or(NEVER, |least| self.begin_ms.saturating_add(u64::from(*least)));
    }
}

/// The span of a life: two to each doubling.
fn span(life_ms: u64) -> usize {
    let Some(doublings) = (life_ms / FIRST_MS).checked_ilog2() else { return 0 };
    let is_upper = life_ms >= (FIRST_MS << doublings) / 2 * 3;
    (1 + 2 * doublings as usize + usize::from(is_upper)).min(SPANS - 1)
}

#[cfg(test)]
mod tests {
    use super::{Due, NEVER, SPANS, span};

    #[test]
    fn spans_grow_and_end() {
        assert_eq!([0, 3_999, 4_000, 5_999, 6_000, 8_000, 12_000].map(span), [0, 0, 1, 1, 2, 3, 4]);
        assert_eq!(span(u64::MAX / 2), SPANS - 1);
    }

    #[test]
    fn due_is_when_the_first_span_is_all_expired() {
        let mut due = Due::new(1_000_000);
        assert_eq!(due.next_ms(), NEVER);
        due.add(NEVER);
        due.add(1_060_000);
        assert_eq!(due.next_ms(), 1_060_000);
        due.add(1_061_000);
        assert_eq!(due.next_ms(), 1_061_000, "both in one span");
        due.add(1_003_000);
        assert_eq!(due.next_ms(), 1_003_000);
        due.add(5);
        assert_eq!(due.next_ms(), 1_003_000);
    }
}
