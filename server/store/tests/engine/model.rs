//! The store against a naive twin: any sequence of operations, at any times, gives the same answers.

mod both;
mod naive;
mod ops;

use proptest::prelude::{prop, prop_assert_eq, prop_oneof, proptest};

use crate::kit::seeded;
use both::Both;
use ops::op;

/// Miri takes thousands of times as long.
const fn cases(usual: u32) -> u32 {
    if cfg!(miri) { 2 } else { usual }
}

/// The largest value where all fits; the store takes a little less.
const LARGE: usize = if cfg!(miri) { 20_000 } else { 210_000 };
const OPS_FEW: usize = if cfg!(miri) { 40 } else { 300 };
const OPS_MANY: usize = if cfg!(miri) { 60 } else { 600 };

proptest! {
    #![proptest_config(seeded(cases(200)))]

    #[test]
    fn store_agrees_with_its_twin_when_all_fits(
        ops in prop::collection::vec(op(8, prop_oneof![4 => 0usize..200, 1 => 0usize..LARGE]), 1..OPS_FEW),
        shards in 1usize..4,
    ) {
        let mut both = Both::new(8 << 20, 200_000, shards, false);
        for op in &ops {
            both.apply(op)?;
        }
        both.compare_all(8)?;
        prop_assert_eq!(both.store.stats().evictions, 0);
    }
}

proptest! {
    #![proptest_config(seeded(cases(200)))]

    #[test]
    fn evicting_store_never_answers_what_its_twin_would_not(
        ops in prop::collection::vec(op(200, prop_oneof![4 => 0usize..4000, 1 => 0usize..60_000]), 1..OPS_MANY),
        shards in 1usize..4,
    ) {
        let mut both = Both::new(256 << 10, 60_000, shards, true);
        for op in &ops {
            both.apply(op)?;
        }
        both.compare_all(200)?;
    }
}
