//! Whoever is waited for, and what is enough.

use super::*;

/// Of so many zones one has decided.
fn decided(zones: usize) -> Agreement {
    let mut agreement = Agreement::new(Majority::of(zones, 0));
    agreement.agreed(false);
    agreement
}

#[test]
fn every_zone_that_is_well_is_waited_for() {
    let mut agreement = decided(3);
    agreement.agreed(false);
    assert_eq!(agreement.decide(1, 1), Decision::Waiting);
    assert_eq!(agreement.decide(1, 0), Decision::Met, "the third is ill");
    assert_eq!(agreement.decide_at_last(), Decision::Met, "time is up");
    assert_eq!(decided(3).decide_at_last(), Decision::Impossible);
    assert_eq!(decided(2).decide_at_last(), Decision::Impossible);
    agreement.overtaken();
    assert_eq!(agreement.decide_at_last(), Decision::Impossible);
}

#[test]
fn one_of_three_is_not_enough_whatever_became_of_the_others() {
    let agreement = decided(3);
    assert_eq!(agreement.decide(2, 0), Decision::Waiting, "they may answer yet");
    assert_eq!(agreement.decide(0, 0), Decision::Impossible);
    let mut agreement = Agreement::new(Majority::of(3, 2));
    agreement.agreed(false);
    assert_eq!(agreement.decide(0, 0), Decision::Met, "the others are known to be gone");
    let mut agreement = Agreement::new(Majority::of(3, 1));
    agreement.agreed(false);
    assert_eq!(agreement.decide(0, 0), Decision::Impossible, "the third may agree to something else");
    assert_eq!(decided(2).decide(0, 0), Decision::Met);
}

#[test]
fn zones_that_have_just_started_are_enough_only_all_together() {
    let mut agreement = Agreement::new(Majority::of(3, 0));
    agreement.agreed(true);
    agreement.agreed(true);
    assert_eq!(agreement.decide(0, 0), Decision::Impossible, "both may have forgotten what they agreed to");
    agreement.agreed(true);
    assert_eq!(agreement.decide(0, 0), Decision::Met, "nobody else has anything");
    let mut agreement = decided(3);
    agreement.agreed(true);
    assert_eq!(agreement.decide(0, 0), Decision::Impossible);
}

#[test]
fn decision_of_another_zone_ends_the_waiting() {
    let mut agreement = decided(3);
    agreement.agreed(false);
    agreement.overtaken();
    assert_eq!(agreement.decide(1, 1), Decision::Impossible);
    assert!(agreement.is_overtaken());
}

#[test]
fn two_majorities_of_any_zones_have_one_in_common() {
    for zones in 3..=7_u32 {
        let is_enough = |set: u32| {
            let mut majority = Majority::of(zones as usize, 0);
            (0..set.count_ones()).for_each(|_| majority.agreed(false));
            majority.is_reached()
        };
        for one in (0..1 << zones).filter(|set| is_enough(*set)) {
            for other in (0..1 << zones).filter(|set| is_enough(*set)) {
                assert_ne!(one & other, 0, "{zones} zones: {one:b} and {other:b}");
            }
        }
    }
}
