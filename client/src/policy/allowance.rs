//! A token allowance: extra requests as a share of the ordinary ones.

/// Extra requests that may come at once after a quiet time: enough for a large bulk read, and some milliseconds of one
/// node's work.
const TOKENS_MAX: f64 = 1000.0;

/// Grants extra requests up to a share of the ordinary ones. Pure.
#[derive(Debug, Clone)]
pub(crate) struct TokenAllowance {
    share: f64,
    tokens: f64,
    most: f64,
}

impl TokenAllowance {
    /// An allowance of `share` extra requests for each ordinary one; it starts full.
    pub(crate) fn new(share: f64) -> Self {
        Self::with_most(share, TOKENS_MAX)
    }

    /// The same, with at most `most` extra requests at once after a quiet time.
    pub(crate) fn with_most(share: f64, most: f64) -> Self {
        Self { share, tokens: if share > 0.0 { most } else { 0.0 }, most }
    }

    /// This many ordinary requests were made.
    pub(crate) fn earn(&mut self, requests: u64) {
        self.tokens = (self.tokens + self.share * requests as f64).min(self.most);
    }

    /// Whether one extra request may be made now.
    pub(crate) fn spend(&mut self) -> bool {
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn extra_requests_stay_within_their_share(
            share in 0.0..1.0_f64,
            steps in proptest::collection::vec((0..50_u64, 0..50_usize), 0..200),
        ) {
            let mut allowance = TokenAllowance::new(share);
            let (mut ordinary, mut extra) = (0_u64, 0_u64);
            for (earned, wanted) in steps {
                allowance.earn(earned);
                ordinary += earned;
                extra += (0..wanted).filter(|_| allowance.spend()).count() as u64;
                prop_assert!(extra as f64 <= share * ordinary as f64 + TOKENS_MAX + 1e-6);
            }
        }
    }

    #[test]
    fn no_share_is_no_extra_request() {
        let mut allowance = TokenAllowance::new(0.0);
        allowance.earn(1_000_000);
        assert!(!allowance.spend());
    }
}
