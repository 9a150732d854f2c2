//! How many acknowledgements a write waits for.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::outcome::Written;

/// How many replicas must acknowledge before a write returns. Counts server groups that are read and written; those
/// that are only written are sent everything and count for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LatchPolicy {
    /// None: returns once the write is on its way.
    None,
    /// Any one.
    One,
    /// The local server group, or any one while that is down. The default.
    #[default]
    Local,
    /// More than half.
    Quorum,
    /// All but one, and at least one.
    AllMinusOne,
    /// All.
    All,
}

/// Counts what replicas answered until the policy is met or cannot be. Pure: events in, decision out.
///
/// ```text
///            acked, failed                 enough acked
///  Waiting ----------------> Waiting  ---------------------> Met
///                               |
///                               +--------------------------> Impossible
///                                 too few can still ack
/// ```
#[derive(Debug, Clone)]
pub(crate) struct Latch {
    policy: LatchPolicy,
    groups: usize,
    acked: usize,
    failed: usize,
    local_acked: bool,
    /// Local groups whose acknowledgement is still worth waiting for.
    local_hopeful: usize,
}

/// Whether to go on waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Waiting,
    Met,
    Impossible,
}

/// One server group's part in a latch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// In another zone, or known to be down: it counts, and nobody waits for it in particular.
    Remote,
    /// In the local zone, and not known to be down.
    Local,
}

impl Latch {
    /// A latch over one entry for each server group that is read and written.
    pub(crate) fn new(policy: LatchPolicy, groups: impl IntoIterator<Item = Side>) -> Self {
        let mut latch = Self { policy, groups: 0, acked: 0, failed: 0, local_acked: false, local_hopeful: 0 };
        for side in groups {
            latch.groups += 1;
            latch.local_hopeful += usize::from(side == Side::Local);
        }
        latch
    }

    pub(crate) fn acked(&mut self, side: Side) {
        self.acked += 1;
        if side == Side::Local {
            self.local_acked = true;
            self.lose_hope();
        }
    }

    pub(crate) fn failed(&mut self, side: Side) {
        self.failed += 1;
        if side == Side::Local {
            self.lose_hope();
        }
    }

    /// A local group has answered. After [`give_up`](Self::give_up) none was waited for any more.
    fn lose_hope(&mut self) {
        self.local_hopeful = self.local_hopeful.saturating_sub(1);
    }

    /// Time is up: who has not answered is down. Counts stay as they are.
    pub(crate) fn give_up(&mut self) -> Decision {
        self.local_hopeful = 0;
        match self.decide() {
            Decision::Waiting => Decision::Impossible,
            decision => decision,
        }
    }

    pub(crate) fn decide(&self) -> Decision {
        let needed = self.needed();
        let enough = self.acked >= needed;
        let met = match self.policy {
            LatchPolicy::Local => self.local_acked || (self.local_hopeful == 0 && enough),
            _ => enough,
        };
        if met {
            Decision::Met
        } else if self.groups.saturating_sub(self.failed) < needed {
            Decision::Impossible
        } else {
            Decision::Waiting
        }
    }

    pub(crate) fn written(&self) -> Written {
        let (acked, failed) = (self.acked, self.failed);
        Written { acked, failed, pending: self.groups - acked - failed, ..Written::default() }
    }

    pub(crate) fn policy(&self) -> LatchPolicy {
        self.policy
    }

    fn needed(&self) -> usize {
        match self.policy {
            LatchPolicy::None => 0,
            LatchPolicy::One | LatchPolicy::Local => 1,
            LatchPolicy::Quorum => self.groups / 2 + 1,
            LatchPolicy::AllMinusOne => self.groups.saturating_sub(1).max(1),
            LatchPolicy::All => self.groups.max(1),
        }
    }
}

/// The names of the policies, for configuration.
const NAMES: [(LatchPolicy, &str); 6] = [
    (LatchPolicy::None, "none"),
    (LatchPolicy::One, "one"),
    (LatchPolicy::Local, "local"),
    (LatchPolicy::Quorum, "quorum"),
    (LatchPolicy::AllMinusOne, "all-minus-one"),
    (LatchPolicy::All, "all"),
];

/// A word that names no latch policy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown latch policy: use none, one, local, quorum, all-minus-one or all")]
pub struct LatchPolicyError;

impl FromStr for LatchPolicy {
    type Err = LatchPolicyError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        NAMES.iter().find(|(_, name)| *name == word).map(|(policy, _)| *policy).ok_or(LatchPolicyError)
    }
}

impl fmt::Display for LatchPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(policy, _)| policy == self).map_or("", |(_, name)| *name);
        f.pad(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICIES: [LatchPolicy; 6] = [
        LatchPolicy::None,
        LatchPolicy::One,
        LatchPolicy::Local,
        LatchPolicy::Quorum,
        LatchPolicy::AllMinusOne,
        LatchPolicy::All,
    ];

    /// What a group does: still silent, acknowledged, failed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Answer {
        Silent,
        Acked,
        Failed,
    }

    /// The policy in the words of its documentation, over complete knowledge.
    fn naive(policy: LatchPolicy, groups: &[(Side, Answer)]) -> Decision {
        let count = |answer| groups.iter().filter(|group| group.1 == answer).count();
        let (acked, failed, all) = (count(Answer::Acked), count(Answer::Failed), groups.len());
        let needed = match policy {
            LatchPolicy::None => 0,
            LatchPolicy::One | LatchPolicy::Local => 1,
            LatchPolicy::Quorum => (1..).find(|needed| needed * 2 > all).expect("some number is enough"),
            LatchPolicy::AllMinusOne => {
                if all > 2 {
                    all - 1
                } else {
                    1
                }
            }
            LatchPolicy::All => {
                if all > 0 {
                    all
                } else {
                    1
                }
            }
        };
        let local: Vec<Answer> =
            groups.iter().filter(|group| group.0 == Side::Local).map(|group| group.1).collect();
        let met = if policy == LatchPolicy::Local && !local.contains(&Answer::Acked) {
            local.iter().all(|answer| *answer == Answer::Failed) && acked >= 1
        } else {
            acked >= needed
        };
        match (met, all.saturating_sub(failed) >= needed) {
            (true, _) => Decision::Met,
            (false, true) => Decision::Waiting,
            (false, false) => Decision::Impossible,
        }
    }

    /// Every history of up to four groups on either side: each answers in every order at every point.
    fn walk(policy: LatchPolicy, latch: &Latch, groups: &mut [(Side, Answer)]) {
        assert_eq!(latch.decide(), naive(policy, groups), "{policy} {groups:?}");
        for index in 0..groups.len() {
            if groups[index].1 != Answer::Silent {
                continue;
            }
            for answer in [Answer::Acked, Answer::Failed] {
                let mut next = latch.clone();
                match answer {
                    Answer::Acked => next.acked(groups[index].0),
                    _ => next.failed(groups[index].0),
                }
                groups[index].1 = answer;
                walk(policy, &next, groups);
                groups[index].1 = Answer::Silent;
            }
        }
    }

    #[test]
    fn every_history_of_four_groups_decides_as_documented() {
        for policy in POLICIES {
            for count in 0..=4_usize {
                for sides in 0..1_usize << count {
                    let side = |index| if sides >> index & 1 == 1 { Side::Local } else { Side::Remote };
                    let mut groups: Vec<_> = (0..count).map(|index| (side(index), Answer::Silent)).collect();
                    let latch = Latch::new(policy, groups.iter().map(|group| group.0));
                    walk(policy, &latch, &mut groups);
                }
            }
        }
    }

    #[test]
    fn silent_local_group_counts_as_down_when_time_is_up() {
        let mut latch = Latch::new(LatchPolicy::Local, [Side::Local, Side::Remote, Side::Remote]);
        latch.acked(Side::Remote);
        assert_eq!(latch.decide(), Decision::Waiting);
        assert_eq!(latch.give_up(), Decision::Met);
        assert_eq!(latch.written(), Written { acked: 1, failed: 0, pending: 2, ..Written::default() });
    }

    /// What was seen in review: the local group's answer after the deadline was counted off once more, and the
    /// overflow ended the connection that brought it.
    #[test]
    fn local_group_may_answer_after_time_was_up() {
        let waiting = Latch::new(LatchPolicy::Local, [Side::Local, Side::Remote]);
        for answer in [Latch::acked, Latch::failed] {
            let mut latch = waiting.clone();
            latch.give_up();
            answer(&mut latch, Side::Local);
            assert_eq!(latch.written().pending, 1);
        }
    }

    #[test]
    fn nobody_answering_in_time_is_impossible() {
        let mut latch = Latch::new(LatchPolicy::One, [Side::Local, Side::Remote]);
        assert_eq!(latch.give_up(), Decision::Impossible);
    }

    #[test]
    fn names_come_back() {
        for policy in POLICIES {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!("most".parse::<LatchPolicy>(), Err(LatchPolicyError));
    }
}
