//! How far nodes differ, and what they exchanged.

use std::sync::atomic::{AtomicU64, Ordering};

use evanesce_store::Time;
use parking_lot::Mutex;

/// What one comparison, or one round of them, came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Items here that a sibling is to hold, too.
    pub(crate) compared: u64,
    /// Of keys on both sides or deleted on one: those of which one side lacked the newest.
    pub(crate) differing: u64,
    /// Items here of which a sibling has nothing and remembers no delete.
    pub(crate) absent: u64,
    /// When the oldest of the differences came to be.
    pub(crate) oldest: Option<Time>,
    /// Items taken from siblings.
    pub(crate) taken: u64,
    /// Items that were offered and not taken: something newer had come, or nobody knows whether they were deleted.
    pub(crate) refused: u64,
    /// Items deleted because they were deleted elsewhere.
    pub(crate) deleted: u64,
    /// Items dropped because nobody knows whether they were deleted while this node was away.
    pub(crate) dropped: u64,
    /// Bytes of keys and values taken.
    pub(crate) bytes: u64,
}

impl Tally {
    /// A difference that came to be then.
    pub(super) fn differs(&mut self, since: Time) {
        self.differing += 1;
        self.oldest = Some(self.oldest.map_or(since, |oldest| oldest.min(since)));
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        self.compared += other.compared;
        self.differing += other.differing;
        self.absent += other.absent;
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
        self.taken += other.taken;
        self.refused += other.refused;
        self.deleted += other.deleted;
        self.dropped += other.dropped;
        self.bytes += other.bytes;
    }
}

/// Counts of this process.
#[derive(Debug, Default)]
pub(crate) struct Divergence {
    rounds: AtomicU64,
    broken: AtomicU64,
    sum: Mutex<Sums>,
}

/// Of all rounds, and of the last.
#[derive(Debug, Default)]
struct Sums {
    all: Tally,
    last: Tally,
    /// When the last one was over.
    at: Time,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DivergenceCounts {
    /// Rounds in which every sibling answered.
    pub(crate) rounds: u64,
    /// Rounds in which one did not.
    pub(crate) broken: u64,
    /// Of all rounds.
    pub(crate) all: Tally,
    /// Of the last round: differing keys of a million compared.
    pub(crate) differing_per_million: u64,
    /// Of the last round: keys that a sibling lacks, of a million compared.
    pub(crate) absent_per_million: u64,
    /// Of the last round: how long before its end the oldest difference had come to be, in milliseconds.
    pub(crate) oldest_ms: u64,
}

impl DivergenceCounts {
    /// What `stats` tells.
    pub(crate) fn told(&self) -> [(&'static str, u64); 12] {
        let Self { all, .. } = self;
        [
            ("evanesce_divergence_differing_per_million", self.differing_per_million),
            ("evanesce_divergence_absent_per_million", self.absent_per_million),
            ("evanesce_divergence_oldest_ms", self.oldest_ms),
            ("evanesce_divergence_rounds", self.rounds),
            ("evanesce_divergence_broken_rounds", self.broken),
            ("evanesce_divergence_compared", all.compared),
            ("evanesce_divergence_differing", all.differing),
            ("evanesce_divergence_taken", all.taken),
            ("evanesce_divergence_refused", all.refused),
            ("evanesce_divergence_deleted", all.deleted),
            ("evanesce_divergence_dropped", all.dropped),
            ("evanesce_divergence_bytes", all.bytes),
        ]
    }
}

impl Divergence {
    /// A round is over.
    pub(super) fn round(&self, tally: &Tally, whole: bool, now: Time) {
        let rounds = if whole { &self.rounds } else { &self.broken };
        let mut sums = self.sum.lock();
        rounds.fetch_add(1, Ordering::Relaxed);
        sums.all.add(tally);
        sums.last = *tally;
        sums.at = now;
    }

    pub(crate) fn counts(&self) -> DivergenceCounts {
        let sums = self.sum.lock();
        let per_million = |keys: u64| {
            let compared = u128::from(sums.last.compared.max(sums.last.differing).max(1));
            (u128::from(keys) * 1_000_000).div_ceil(compared) as u64
        };
        DivergenceCounts {
            rounds: self.rounds.load(Ordering::Relaxed),
            broken: self.broken.load(Ordering::Relaxed),
            all: sums.all,
            differing_per_million: per_million(sums.last.differing),
            absent_per_million: per_million(sums.last.absent),
            oldest_ms: sums.last.oldest.map_or(0, |oldest| sums.at.0.saturating_sub(oldest.0).max(1)),
        }
    }
}
