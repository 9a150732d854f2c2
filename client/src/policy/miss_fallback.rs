//! Whether to ask another zone after a miss.

use super::allowance::TokenAllowance;

/// A fallback costs one round trip to another zone and what follows a miss, a load from a backing store, some
/// twenty times as much: below one hit in twenty the fallbacks cost more than they save.
const USEFUL_SHARE_MIN: f64 = 0.05;

/// The share is remembered over about this many fallbacks: some seconds of a busy client's misses.
const MEMORY: f64 = 64.0;

/// While fallbacks find nothing, one miss in this many still tries: a local node that has come back empty is
/// noticed within this many misses, at one per cent of their cost.
const PROBE_EVERY: u32 = 100;

/// The share assumed after a probe that found something: fallbacks go on for some dozens, and end soon if it was
/// the only one.
const SHARE_AFTER_PROBE: f64 = 2.0 * USEFUL_SHARE_MIN;

/// Decides whether a miss is asked elsewhere: within an allowance, and while it still finds something. Pure.
///
/// ```text
///            share of finds < 5 %
///  finding ------------------------> probing (1 miss in 100)
///     ^                                 |
///     +---------------------------------+
///            a probe finds something
/// ```
#[derive(Debug, Clone)]
pub(crate) struct MissFallback {
    allowance: TokenAllowance,
    useful_share: f64,
    misses_since_probe: u32,
}

impl MissFallback {
    /// Fallbacks for up to `reads_share` of all reads. Starts hopeful.
    pub(crate) fn new(reads_share: f64) -> Self {
        Self { allowance: TokenAllowance::new(reads_share), useful_share: 1.0, misses_since_probe: 0 }
    }

    /// This many keys were read.
    pub(crate) fn on_reads(&mut self, reads: u64) {
        self.allowance.earn(reads);
    }

    /// Whether to ask another zone after a miss.
    pub(crate) fn on_miss(&mut self) -> bool {
        if self.useful_share < USEFUL_SHARE_MIN {
            self.misses_since_probe += 1;
            if self.misses_since_probe < PROBE_EVERY {
                return false;
            }
        }
        let granted = self.allowance.spend();
        if granted {
            self.misses_since_probe = 0;
        }
        granted
    }

    /// A fallback was answered.
    pub(crate) fn on_answer(&mut self, found: bool) {
        let sample = if found { 1.0 } else { 0.0 };
        let probing = self.useful_share < USEFUL_SHARE_MIN;
        self.useful_share += (sample - self.useful_share) / MEMORY;
        if probing && found {
            self.useful_share = self.useful_share.max(SHARE_AFTER_PROBE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads and misses `count` keys; `found` tells what a fallback finds. Returns the fallbacks made.
    fn misses(policy: &mut MissFallback, count: u32, found: bool) -> u32 {
        let mut fallbacks = 0;
        for _ in 0..count {
            policy.on_reads(1);
            if policy.on_miss() {
                policy.on_answer(found);
                fallbacks += 1;
            }
        }
        fallbacks
    }

    #[test]
    fn fallbacks_that_find_nothing_become_rare_probes() {
        let mut policy = MissFallback::new(1.0);
        misses(&mut policy, 1_000, false);
        assert_eq!(misses(&mut policy, 10_000, false), 10_000 / PROBE_EVERY);
    }

    #[test]
    fn fallbacks_that_find_everything_go_on() {
        let mut policy = MissFallback::new(1.0);
        assert_eq!(misses(&mut policy, 1_000, true), 1_000);
    }

    #[test]
    fn fallbacks_stay_within_their_share_of_reads() {
        let mut policy = MissFallback::new(0.2);
        misses(&mut policy, 10_000, true);
        let fallbacks = misses(&mut policy, 10_000, true);
        assert!((1_990..=2_010).contains(&fallbacks), "{fallbacks}");
    }

    #[test]
    fn zone_that_lost_its_items_is_noticed_by_a_probe() {
        let mut policy = MissFallback::new(1.0);
        misses(&mut policy, 5_000, false);
        let fallbacks = misses(&mut policy, 2 * PROBE_EVERY, true);
        assert!(fallbacks >= PROBE_EVERY, "{fallbacks}");
    }

    #[test]
    fn one_lucky_probe_does_not_reopen_for_long() {
        let mut policy = MissFallback::new(1.0);
        misses(&mut policy, 5_000, false);
        misses(&mut policy, PROBE_EVERY, true);
        let fallbacks = misses(&mut policy, 10_000, false);
        assert!(fallbacks < 10_000 / PROBE_EVERY + 200, "{fallbacks}");
    }
}
