//! How far a node is from its siblings, and how far its warm-up is, from its counters.

use std::time::Duration;

use bytesize::ByteSize;
use evanesce_grpc::admin::v1::Stat;
use serde::Serialize;

/// What a node tells of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Warmth {
    /// Of a million keys compared in the last round: those of which one side lacked the newest.
    differing_per_million: u64,
    /// How long before that the oldest of these differences had come to be; 0 without one.
    differing_oldest_ms: u64,
    /// Rounds of comparisons with all siblings so far.
    compared_rounds: u64,
    warm_up_items: u64,
    warm_up_bytes: u64,
    /// How long its streams have been under way, and how far they are, in thousandths.
    warm_up_ms: u64,
    warm_up_per_mille: u64,
}

impl Warmth {
    /// `None` for a release that does not count this.
    pub(crate) fn of(stats: &[Stat]) -> Option<Self> {
        let of = |name: &str| stats.iter().find(|stat| stat.name == name)?.value.parse().ok();
        Some(Self {
            differing_per_million: of("evanesce_divergence_differing_per_million")?,
            differing_oldest_ms: of("evanesce_divergence_oldest_ms")?,
            compared_rounds: of("evanesce_divergence_rounds")?,
            warm_up_items: of("evanesce_warm_up_items")?,
            warm_up_bytes: of("evanesce_warm_up_bytes")?,
            warm_up_ms: of("evanesce_warm_up_stream_ms")?,
            warm_up_per_mille: of("evanesce_warm_up_per_mille")?,
        })
    }

    /// In a word: differing keys of a million, and since when the oldest differs.
    pub(crate) fn differing(&self) -> String {
        match (self.compared_rounds, self.differing_per_million) {
            (0, 0) => "not compared yet".to_owned(),
            (_, 0) => "none".to_owned(),
            (_, keys) => {
                let oldest = Duration::from_secs(self.differing_oldest_ms.div_ceil(1000));
                format!("{keys} of 1M, {}", humantime::format_duration(oldest))
            }
        }
    }

    /// How far the warm-up is; `None` where nothing has come yet.
    pub(crate) fn progress(&self) -> Option<String> {
        let (ms, done) = (self.warm_up_ms, self.warm_up_per_mille.min(1000));
        if ms == 0 || done == 0 {
            return None;
        }
        let rate = ByteSize((u128::from(self.warm_up_bytes) * 1000 / u128::from(ms)) as u64);
        let left = Duration::from_secs((ms * (1000 - done) / done).div_ceil(1000));
        let left = humantime::format_duration(left);
        Some(format!("{} %, {} items at {rate}/s, about {left} left", done / 10, self.warm_up_items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warmth() -> Warmth {
        Warmth {
            differing_per_million: 12,
            differing_oldest_ms: 33_500,
            compared_rounds: 3,
            warm_up_items: 500_000,
            warm_up_bytes: 50 << 20,
            warm_up_ms: 2_000,
            warm_up_per_mille: 250,
        }
    }

    #[test]
    fn divergence_is_told_with_its_age_and_none_only_after_a_comparison() {
        assert_eq!(warmth().differing(), "12 of 1M, 34s");
        let same = Warmth { differing_per_million: 0, ..warmth() };
        assert_eq!(same.differing(), "none");
        assert_eq!(Warmth { compared_rounds: 0, ..same }.differing(), "not compared yet");
    }

    #[test]
    fn warm_up_is_told_with_its_rate_and_what_is_left_of_its_time() {
        let told = warmth().progress().expect("it goes on");
        assert_eq!(told, "25 %, 500000 items at 25.0 MiB/s, about 6s left");
        assert_eq!(Warmth { warm_up_per_mille: 0, ..warmth() }.progress(), None);
    }

    #[test]
    fn counters_of_an_earlier_release_are_none() {
        assert_eq!(Warmth::of(&[]), None);
    }
}
