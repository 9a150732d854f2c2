//! Who is on the rings of a group by operators' decisions, and how one stage follows from another: pure.
//!
//! ```text
//!   (open) ── holds items, and nobody new for a lease ──> steady          all nodes, as they are
//!
//!   steady ── operator ──> filling ── all filled ──> switched ── a lease ──> steady
//!      ^                      │ abort                   │ abort: the rings change places again
//!      └──────────────────────┘                         └──> switched ── a lease ──> steady
//!
//!   (none) ── operator ──> opening ── all warm ──> steady ── operator ──> leaving ── a lease ──> left ── a lease ──> gone
//! ```
//!
//! Every registry takes a step by itself once it is due, and all take the same: the revision grows by one, so that what two
//! of them made of one roster is one roster. An operator's decision grows it by far more, and wins over any step.

use std::collections::BTreeSet;

use evanesce_grpc::discovery::v1::{Place, Roster, Stage};
use evanesce_topology::{
    GroupMode, NODES_PER_GROUP_MAX, NameKind, TopologyError, check_name, check_ring_text,
};

use super::refusal::Refusal;

/// How far operators' revisions lie apart at least: room for the steps in between.
const REVISIONS_APART: u64 = 1 << 10;

/// Above this no clock's revision lies: one that is told by mistake must not use up the numbers.
const REVISION_LIMIT: u64 = 1 << 62;

/// So far ahead of the clock here an operator's revision may be: a day. One that is further came of no registry whose clock is
/// of use, and every decision from then on would have to count from there.
const AHEAD_MS: u64 = 24 * 60 * 60 * 1000;

/// What is told of a change is one line.
const WHAT_BYTES_MAX: usize = 1024;

/// The next revision of an operator's decision.
pub(super) fn fresh_revision(wall_ms: u64, newest: u64) -> u64 {
    let by_clock = wall_ms.saturating_mul(REVISIONS_APART).min(REVISION_LIMIT / 2);
    by_clock.max(newest.saturating_add(REVISIONS_APART))
}

/// Whether a roster that was told is of a time that has yet to come.
pub(super) fn is_ahead(roster: &Roster, wall_ms: u64) -> bool {
    roster.revision > fresh_revision(wall_ms.saturating_add(AHEAD_MS), 0)
}

/// Whether a roster keeps the rules.
pub(super) fn check(roster: &Roster) -> Result<(), Refusal> {
    check_name(NameKind::Group, &roster.group).map_err(TopologyError::from)?;
    check_name(NameKind::Zone, &roster.zone).map_err(TopologyError::from)?;
    let crooked = |fault| Err(Refusal::Roster { group: roster.group.clone(), fault });
    if roster.revision >= REVISION_LIMIT {
        return crooked("its revision is no clock's");
    }
    if roster.what.len() > WHAT_BYTES_MAX {
        return crooked("it says too much of its change");
    }
    let has_two = matches!(roster.stage(), Stage::Filling | Stage::Switched);
    if roster.stage() == Stage::Unspecified || has_two == roster.others.is_empty() {
        return crooked("its stage does not fit its rings");
    }
    if roster.nodes.is_empty() && !matches!(roster.stage(), Stage::Opening | Stage::Gone) {
        return crooked("nobody is on its ring");
    }
    check_places(roster, &roster.nodes)?;
    check_places(roster, &roster.others)
}

fn check_places(roster: &Roster, places: &[Place]) -> Result<(), Refusal> {
    let crooked = |fault| Err(Refusal::Roster { group: roster.group.clone(), fault });
    if places.len() > NODES_PER_GROUP_MAX {
        return crooked("more nodes than a group may have are on its ring");
    }
    let (mut names, mut texts) = (BTreeSet::new(), BTreeSet::new());
    for Place { name, ring_text } in places {
        check_name(NameKind::Node, name).map_err(TopologyError::from)?;
        check_ring_text(ring_text).map_err(|fault| TopologyError::RingText { node: name.clone(), fault })?;
        if !names.insert(name) || !texts.insert(ring_text) {
            return crooked("two nodes have one place on its ring");
        }
    }
    Ok(())
}

/// Whether the group is read and written in this stage.
pub(super) fn mode(stage: Stage) -> GroupMode {
    match stage {
        Stage::Opening | Stage::Leaving => GroupMode::WriteOnly,
        Stage::Left | Stage::Gone => GroupMode::Disabled,
        Stage::Unspecified | Stage::Steady | Stage::Filling | Stage::Switched => GroupMode::ReadWrite,
    }
}

/// Whether a change is under way.
pub(super) fn is_under_way(roster: &Roster) -> bool {
    !matches!(roster.stage(), Stage::Steady | Stage::Gone)
}

/// The roster of a group that had none: those that are there. The more there are the more it counts, so that a registry that
/// has not heard of all of them puts none off the ring.
pub(super) fn close(group: &str, zone: &str, nodes: Vec<Place>) -> Roster {
    Roster {
        group: group.to_owned(),
        zone: zone.to_owned(),
        revision: nodes.len() as u64,
        stage: Stage::Steady.into(),
        nodes,
        what: "first nodes".to_owned(),
        ..Roster::default()
    }
}

/// The stage after this one. `members` are the nodes of a group that has opened.
pub(super) fn step(roster: &Roster, members: Vec<Place>) -> Roster {
    let mut next = Roster { revision: roster.revision + 1, ..roster.clone() };
    match roster.stage() {
        Stage::Filling => {
            std::mem::swap(&mut next.nodes, &mut next.others);
            next.set_stage(Stage::Switched);
        }
        Stage::Switched => {
            next.others.clear();
            next.set_stage(Stage::Steady);
        }
        Stage::Opening => {
            next.nodes = members;
            next.set_stage(Stage::Steady);
        }
        Stage::Leaving => next.set_stage(Stage::Left),
        Stage::Left => next.set_stage(Stage::Gone),
        Stage::Steady | Stage::Gone | Stage::Unspecified => next.revision = roster.revision,
    }
    next
}

/// What an operator gets who takes a change back, and what is said of it.
pub(super) fn abort(roster: &Roster, revision: u64) -> Result<(Roster, &'static str), Refusal> {
    let mut next = Roster { revision, what: format!("abort: {}", roster.what), ..roster.clone() };
    next.what.truncate(next.what.floor_char_boundary(WHAT_BYTES_MAX));
    let said = match roster.stage() {
        Stage::Filling => {
            next.others.clear();
            next.set_stage(Stage::Steady);
            "the group stays as it was; whoever was to come stands by"
        }
        Stage::Switched => {
            std::mem::swap(&mut next.nodes, &mut next.others);
            "the group is read where it was before at once, and is as it was a lease from now"
        }
        Stage::Opening => {
            next.set_stage(Stage::Gone);
            "the group is no more; its nodes stand by"
        }
        Stage::Leaving => {
            next.set_stage(Stage::Steady);
            "the group is read again"
        }
        Stage::Left => return Err(Refusal::TooLate { group: roster.group.clone() }),
        Stage::Steady | Stage::Gone | Stage::Unspecified => {
            return Err(Refusal::NoChange { group: roster.group.clone() });
        }
    };
    Ok((next, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(names: &[&str]) -> Vec<Place> {
        names.iter().map(|name| Place { name: (*name).to_owned(), ring_text: (*name).to_owned() }).collect()
    }

    fn filling() -> Roster {
        let others = places(&["n1", "n2"]);
        let stage = Stage::Filling.into();
        Roster { others, stage, change: 9, ..close("g", "a", places(&["n1"])) }
    }

    #[test]
    fn filling_leads_to_the_new_ring_alone_and_each_roster_on_the_way_keeps_the_rules() {
        let mut roster = filling();
        let mut stages = Vec::new();
        while is_under_way(&roster) {
            check(&roster).unwrap();
            stages.push(roster.stage());
            let next = step(&roster, Vec::new());
            assert!(next.revision > roster.revision && next.change == 9);
            roster = next;
        }
        assert_eq!(stages, [Stage::Filling, Stage::Switched]);
        assert_eq!((roster.nodes, roster.others), (places(&["n1", "n2"]), Vec::new()));
    }

    #[test]
    fn aborted_change_leaves_the_ring_of_before_from_either_stage() {
        let (aborted, _) = abort(&filling(), 5000).unwrap();
        assert_eq!((aborted.stage(), &aborted.nodes), (Stage::Steady, &places(&["n1"])));
        let switched = step(&filling(), Vec::new());
        let (rolled_back, _) = abort(&switched, 5000).unwrap();
        assert_eq!((rolled_back.stage(), &rolled_back.nodes), (Stage::Switched, &places(&["n1"])));
        check(&rolled_back).unwrap();
        let over = step(&rolled_back, Vec::new());
        assert_eq!((over.stage(), &over.nodes), (Stage::Steady, &places(&["n1"])));
        assert!(matches!(abort(&over, 9000), Err(Refusal::NoChange { .. })));
    }

    #[test]
    fn operators_decision_counts_more_than_any_step_of_what_was_before() {
        let mut roster = filling();
        roster.revision = fresh_revision(1_800_000_000_000, 0);
        let decided = fresh_revision(0, roster.revision);
        for _ in 0..5 {
            roster = step(&roster, Vec::new());
        }
        assert!(decided > roster.revision);
    }

    #[test]
    fn revision_of_the_day_after_tomorrow_is_ahead_and_one_of_this_evening_is_not() {
        let (now, hour) = (1_800_000_000_000, 3_600_000);
        let told_at = |wall_ms| Roster { revision: fresh_revision(wall_ms, 0), ..filling() };
        assert!(!is_ahead(&filling(), now) && !is_ahead(&told_at(now + 23 * hour), now));
        assert!(is_ahead(&told_at(now + 25 * hour), now));
        assert!(is_ahead(&Roster { revision: REVISION_LIMIT - 1, ..filling() }, now));
    }

    #[test]
    fn crooked_rosters_are_refused() {
        let good = filling();
        for crooked in [
            Roster { group: "no name".to_owned(), ..good.clone() },
            Roster { revision: u64::MAX, ..good.clone() },
            Roster { stage: 0, ..good.clone() },
            Roster { others: Vec::new(), ..good.clone() },
            Roster { stage: Stage::Steady.into(), ..good.clone() },
            Roster { nodes: places(&["n1", "n1"]), ..good.clone() },
            Roster { nodes: Vec::new(), ..good.clone() },
        ] {
            assert!(check(&crooked).is_err(), "{crooked:?}");
        }
        check(&good).unwrap();
    }
}
