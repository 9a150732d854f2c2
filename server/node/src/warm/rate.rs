//! How fast a node gives: bytes a second, by all its streams together. Pure: the time is passed in.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::Instant;

/// A limit. Whoever gives waits until what was given before has had its time; nothing is saved up while nobody gives.
#[derive(Debug)]
pub(super) struct Rate {
    bytes_per_second: NonZeroU64,
    /// When that is of all that was given so far.
    free_at: Option<Instant>,
}

impl Rate {
    pub(super) fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, free_at: None }
    }

    /// Bytes that somebody has for others at `now`. Answers when he may give them.
    pub(super) fn take(&mut self, bytes: u64, now: Instant) -> Instant {
        let turn = self.free_at.map_or(now, |at| at.max(now));
        self.free_at =
            Some(turn + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.get() as f64));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_share_the_rate_and_save_nothing_up() {
        let mut rate = Rate::new(NonZeroU64::new(1_000_000).unwrap());
        let (start, ms) = (Instant::now(), Duration::from_millis);
        assert_eq!(rate.take(10_000, start), start);
        // Another stream, at the same time.
        assert_eq!(rate.take(5_000, start), start + ms(10));
        assert_eq!(rate.take(10_000, start + ms(12)), start + ms(15));
        // After a second of silence.
        assert_eq!(rate.take(10_000, start + ms(1_000)), start + ms(1_000));
        assert_eq!(rate.take(10_000, start + ms(1_000)), start + ms(1_010));
    }
}
