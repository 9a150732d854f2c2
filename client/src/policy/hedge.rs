//! When a read that is slow is asked of a second node.

use std::time::Duration;

use super::allowance::TokenAllowance;

/// No hedge fires earlier: below it a timer costs more than it saves, and a scheduler's hiccup looks like a slow node.
const DELAY_MIN: Duration = Duration::from_millis(1);

/// Hedges that may come at once after a quiet time: the reads of a few milliseconds. More would answer a frozen node
/// with a burst that exceeds the share for seconds.
const TOKENS_MAX: f64 = 50.0;

/// What is known of the node that a hedge would ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spare {
    /// It answers, and has room.
    Ready,
    /// Its breaker is open.
    Open,
    /// Its concurrency limit is reached: a hedge would only lengthen its queue.
    Full,
}

/// Decides when a slow read is asked elsewhere as well, and how often. Pure; after Dean and Barroso, The Tail at
/// Scale, 2013.
///
/// ```text
///  asked --- p95 of the node, 1 ms .. attempt timeout ---> slow --- spare is ready, a token is left ---> hedged
///    |                                                       |
///    +-- breaker open, p95 unknown: no timer                 +-- else: waits on
/// ```
///
/// Tokens are a share of all reads. One read in twenty outlasts the 95th percentile, so a share of 2 % hedges two in
/// five of those. When most reads are slow, which no second node mends, the tokens are soon spent, and then the
/// percentile rises.
///
/// Reads only: a write or a counter asked twice may count twice.
#[derive(Debug, Clone)]
pub(crate) struct Hedge {
    allowance: TokenAllowance,
}

impl Hedge {
    /// Hedges for up to `reads_share` of all reads; none at 0. After `attempt_timeout` a read goes elsewhere unhedged.
    pub(crate) fn new(reads_share: f64) -> Self {
        Self { allowance: TokenAllowance::with_most(reads_share, TOKENS_MAX) }
    }

    /// This many reads were asked of a first node. Hedges do not count.
    pub(crate) fn on_reads(&mut self, reads: u64) {
        self.allowance.earn(reads);
    }

    /// After how long a read is slow, from the percentile of the node that was asked first. `None`: never, and no timer
    /// is needed; while too little is known of the node, while its breaker is open, so that this read is a probe, and
    /// when it would not be before the attempt is given up.
    pub(crate) fn delay(
        p95: Option<Duration>,
        attempt_timeout: Duration,
        breaker_open: bool,
    ) -> Option<Duration> {
        if breaker_open {
            return None;
        }
        let delay = p95?.max(DELAY_MIN);
        (delay < attempt_timeout).then_some(delay)
    }

    /// A read has become slow: whether to ask the spare node. Spends a token if so.
    pub(crate) fn on_slow(&mut self, spare: Spare) -> bool {
        spare == Spare::Ready && self.allowance.spend()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ATTEMPT: Duration = Duration::from_millis(20);

    /// Hedges among `reads` reads of which `slow_percent` in a hundred are slow.
    fn hedges(hedge: &mut Hedge, reads: u64, slow_percent: u64) -> u64 {
        let mut sent = 0;
        for read in 0..reads {
            hedge.on_reads(1);
            if read % 100 < slow_percent && hedge.on_slow(Spare::Ready) {
                sent += 1;
            }
        }
        sent
    }

    #[test]
    fn hedge_fires_at_the_percentile_and_not_before_a_millisecond() {
        let delay = |micros| Hedge::delay(Some(Duration::from_micros(micros)), ATTEMPT, false);
        assert_eq!(delay(90), Some(DELAY_MIN));
        assert_eq!(delay(3_500), Some(Duration::from_micros(3_500)));
    }

    #[test]
    fn hedge_that_would_come_after_the_timeout_is_not_armed() {
        assert_eq!(Hedge::delay(Some(ATTEMPT), ATTEMPT, false), None);
        assert_eq!(Hedge::delay(Some(Duration::from_secs(1)), ATTEMPT, false), None);
    }

    #[test]
    fn unknown_node_and_probe_are_not_hedged() {
        assert_eq!(Hedge::delay(None, ATTEMPT, false), None);
        assert_eq!(Hedge::delay(Some(Duration::from_millis(2)), ATTEMPT, true), None);
    }

    #[test]
    fn spare_that_is_open_or_full_is_left_alone_and_costs_no_token() {
        let mut hedge = Hedge::new(0.02);
        for _ in 0..1_000 {
            assert!(!hedge.on_slow(Spare::Open));
            assert!(!hedge.on_slow(Spare::Full));
        }
        assert!(hedge.on_slow(Spare::Ready));
    }

    #[test]
    fn one_slow_read_in_a_hundred_is_always_hedged() {
        let mut hedge = Hedge::new(0.02);
        assert_eq!(hedges(&mut hedge, 10_000, 1), 100);
    }

    #[test]
    fn when_all_reads_are_slow_hedges_stay_within_their_share() {
        let mut hedge = Hedge::new(0.02);
        let sent = hedges(&mut hedge, 100_000, 100);
        assert!((2_000..=2_000 + TOKENS_MAX as u64).contains(&sent), "{sent}");
    }

    #[test]
    fn no_share_is_no_hedge() {
        let mut hedge = Hedge::new(0.0);
        assert_eq!(hedges(&mut hedge, 1_000, 100), 0);
    }

    proptest! {
        #[test]
        fn delay_lies_between_the_floor_and_the_timeout(micros in 0..5_000_000_u64, timeout in 0..100_u64) {
            let timeout = Duration::from_millis(timeout);
                if let Some(delay) = Hedge::delay(Some(Duration::from_micros(micros)), timeout, false) {
                prop_assert!(delay >= DELAY_MIN && delay < timeout);
            }
        }

        #[test]
        fn hedges_stay_within_their_share_of_reads(
            share in 0.0..0.2_f64,
            steps in proptest::collection::vec((0..50_u64, 0..50_usize), 0..200),
        ) {
            let mut hedge = Hedge::new(share);
            let (mut reads, mut sent) = (0_u64, 0_usize);
            for (more, slow) in steps {
                hedge.on_reads(more);
                reads += more;
                sent += (0..slow).filter(|_| hedge.on_slow(Spare::Ready)).count();
                prop_assert!(sent as f64 <= share * reads as f64 + TOKENS_MAX + 1e-6);
            }
        }
    }
}
