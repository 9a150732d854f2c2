//! How far warm-ups came, for operators.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Counts of this process.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    taken: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
    given: AtomicU64,
    given_bytes: AtomicU64,
    /// 0 while there was none, or it goes on.
    millis: AtomicU64,
    streams: Mutex<Streams>,
}

/// How far the streams of the present or last warm-up are, or those of a fill.
#[derive(Debug, Default)]
struct Streams {
    began: Option<Instant>,
    /// How long it took in the end.
    took: Option<Duration>,
    /// How many there will be: two of each peer.
    expected: u64,
    /// How much of the hashes each has passed, in thousandths.
    passed: BTreeMap<(String, i32), u64>,
}

impl Streams {
    fn per_mille(&self) -> u64 {
        self.passed.values().sum::<u64>() / self.expected.max(1)
    }

    fn millis(&self) -> u64 {
        let took = self.took.or_else(|| self.began.map(|began| began.elapsed()));
        took.map_or(0, |took| took.as_millis() as u64)
    }
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WarmCounts {
    /// Items that peers gave and that were stored.
    pub(crate) taken: u64,
    /// Items that were not: something newer was there, they had expired, or nobody could say whether they were deleted.
    pub(crate) refused: u64,
    /// Bytes of keys and values that peers gave.
    pub(crate) bytes: u64,
    /// Items given to peers.
    pub(crate) given: u64,
    /// Bytes of keys and values given to peers.
    pub(crate) given_bytes: u64,
    /// How long the warm-up took, in milliseconds; 0 while there was none, or it goes on.
    pub(crate) millis: u64,
    /// How long the streams of the present or last one have been under way.
    pub(crate) stream_ms: u64,
    /// How far they are, in thousandths: by hashes passed, so it tells of time, not of items.
    pub(crate) per_mille: u64,
}

impl Progress {
    pub(super) fn taken(&self, stored: u64, refused: u64, bytes: u64) {
        self.taken.fetch_add(stored, Ordering::Relaxed);
        self.refused.fetch_add(refused, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Streams from so many peers begin: two from each, of what is read and of the rest.
    pub(crate) fn streams_begin(&self, peers: usize) {
        let expected = 2 * peers as u64;
        *self.streams.lock() = Streams { began: Some(Instant::now()), expected, ..Streams::default() };
    }

    /// A stream goes on from there; it is over at the end.
    pub(super) fn stream_at(&self, node: &str, heat: i32, next: Option<u64>) {
        let passed = next.map_or(1000, |next| ((u128::from(next) * 1000) >> 64) as u64);
        let mut streams = self.streams.lock();
        streams.passed.insert((node.to_owned(), heat), passed);
        if streams.took.is_none() && streams.per_mille() >= 1000 {
            streams.took = streams.began.map(|began| began.elapsed());
        }
    }

    pub(super) fn given(&self, items: u64, bytes: u64) {
        self.given.fetch_add(items, Ordering::Relaxed);
        self.given_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, millis: u64) {
        self.millis.store(millis.max(1), Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> WarmCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let streams = self.streams.lock();
        WarmCounts {
            taken: read(&self.taken),
            refused: read(&self.refused),
            bytes: read(&self.bytes),
            given: read(&self.given),
            given_bytes: read(&self.given_bytes),
            millis: read(&self.millis),
            stream_ms: streams.millis(),
            per_mille: streams.per_mille().min(1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_as_far_as_the_hashes_that_they_have_passed() {
        let progress = Progress::default();
        progress.streams_begin(2);
        assert_eq!(progress.counts().per_mille, 0);
        progress.stream_at("n1", 1, Some(1 << 63));
        assert_eq!(progress.counts().per_mille, 125);
        progress.stream_at("n1", 1, None);
        progress.stream_at("n2", 1, None);
        assert_eq!(progress.counts().per_mille, 500);
        progress.stream_at("n1", 2, None);
        progress.stream_at("n2", 2, None);
        assert_eq!(progress.counts().per_mille, 1000);
        progress.streams_begin(1);
        assert_eq!(progress.counts().per_mille, 0, "another begins");
    }
}
