//! What counts, and what is asked for next.

use super::*;

const OURS: Place = Place::new(0, 0x5a);
const THEIRS: Place = Place::new(1, 0xa5);

/// Of a decision in a place, so many counts from the beginning.
fn at(counts: u64, place: Place) -> Version {
    Version::from_u64(counts << 12 | place.bits()).expect("63 bits")
}

/// Of a plain write.
fn plain(counts: u64) -> Version {
    Version::from_u64(counts << 12).expect("63 bits")
}

fn vote(zones: usize, bid: Bid, told: &[Version]) -> Vote {
    let mut ballot = Ballot::new(bid, OURS, zones, Majority::of(zones, 0));
    told.iter().for_each(|floor| ballot.told(*floor, false));
    ballot.vote()
}

fn first(counts: u64) -> Bid {
    Bid { least: at(counts, OURS), insists: false }
}

fn again(counts: u64) -> Vote {
    Vote::Again(Bid { least: at(counts, OURS), insists: true })
}

#[test]
fn majority_that_promised_is_enough_whatever_it_had_promised_before() {
    let bid = first(5_000);
    assert_eq!(vote(3, bid, &[bid.least, bid.least]), Vote::Promised(bid.least));
    assert_eq!(vote(3, bid, &[at(900, OURS), at(1_000, OURS)]), Vote::Promised(at(1_000, OURS)), "stands");
    assert_eq!(vote(3, bid, &[bid.least]), Vote::Outvoted);
    assert_eq!(vote(2, bid, &[bid.least]), Vote::Promised(bid.least), "the other says nothing");
    assert_eq!(vote(2, bid, &[bid.least, at(9_000, THEIRS)]), again(9_000 + 1_024));
}

/// What was seen in review: a zone that had promised this place something long ago counted for a decision much later than that.
/// Another was promised something in between there, decided, and was passed over.
#[test]
fn promise_of_long_ago_counts_for_nothing_much_later() {
    let bid = first(5_000);
    let told = [bid.least, at(1_000, OURS)];
    assert_eq!(vote(3, bid, &told), again(5_000));
    assert_eq!(vote(3, bid, &[bid.least, at(4_488, OURS)]), again(5_000));
    assert_eq!(vote(3, bid, &[bid.least, at(4_489, OURS)]), Vote::Promised(bid.least));
    assert_eq!(
        vote(3, bid, &[bid.least, bid.least, at(1_000, OURS)]),
        Vote::Promised(bid.least),
        "without it"
    );
    let insisting = Bid { insists: true, ..bid };
    assert_eq!(vote(3, insisting, &told), Vote::Outvoted, "it does not give what was asked for");
}

#[test]
fn what_others_know_or_were_promised_is_taken_over() {
    let bid = first(5_000);
    assert_eq!(vote(3, bid, &[bid.least, bid.least, at(5_000, THEIRS)]), again(6_024));
    assert_eq!(vote(3, bid, &[bid.least, bid.least, at(4_000, THEIRS)]), Vote::Promised(bid.least));
    assert_eq!(vote(3, bid, &[bid.least, plain(6_000), plain(6_000)]), again(6_001));
    assert_eq!(vote(3, bid, &[bid.least, bid.least, plain(6_000)]), again(6_001), "nothing is made of it");
}

#[test]
fn pauses_grow_to_a_limit_and_those_that_stand_in_wait_longer() {
    assert_eq!(back_off(0, THEIRS, 0.9), Duration::ZERO);
    assert_eq!(back_off(1, OURS, 0.5), Duration::from_millis(1));
    assert_eq!(back_off(1, THEIRS, 0.5), Duration::from_millis(3));
    assert_eq!(back_off(3, OURS, 0.5), Duration::from_millis(4));
    assert_eq!(back_off(u32::MAX, OURS, 0.5), Duration::from_millis(16));
}
