//! All comparisons of a node with its siblings.

use std::sync::Arc;

use tonic::{Code, Status};
use tracing::{debug, warn};

use super::exchange::{Exchange, Mode};
use super::keeper::Member;
use super::others::{Group, Other, Others};
use super::tally::Tally;
use crate::shared::Shared;

/// What a round came to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    pub(super) tally: Tally,
    /// Sibling groups, whether they are there or not.
    groups: usize,
    /// Groups of which every node answered.
    whole: usize,
    /// Groups of which every node answered and has what it is to hold.
    settled: usize,
    /// Nodes that know more, or may: they have what they are to hold, or have no place at the moment.
    knowing: usize,
}

impl Outcome {
    /// Whether what was missed was made up for: a sibling group told all.
    pub(super) fn makes_up(&self) -> bool {
        self.settled > 0
    }

    /// Whether a sibling answered that knows more, or may.
    pub(super) fn is_promising(&self) -> bool {
        self.knowing > 0
    }

    /// Whether nobody is there who knows more: every sibling answered, and all of them missed something themselves.
    pub(super) fn is_hopeless(&self) -> bool {
        self.is_whole() && !self.is_promising()
    }

    /// Of a round that was not made: somebody may be there.
    pub(super) fn unknown() -> Self {
        Self { groups: 1, ..Self::default() }
    }

    /// Whether every sibling answered.
    pub(super) fn is_whole(&self) -> bool {
        self.whole == self.groups
    }
}

/// Compares with the nodes of all sibling groups, one after the other.
pub(super) async fn round(shared: &Arc<Shared>, member: &Member, others: &Others, mode: Mode) -> Outcome {
    let mut outcome = Outcome { groups: others.groups.len(), ..Outcome::default() };
    for group in &others.groups {
        let (mut whole, mut settled) = (group.absent == 0, group.absent == 0);
        for other in &group.nodes {
            let compared = compare(shared, member, others, (group, other), mode, &mut outcome.tally).await;
            outcome.knowing += usize::from(knows(&compared));
            whole &= compared.is_ok();
            settled &= compared.is_ok_and(|settled| settled);
        }
        outcome.whole += usize::from(whole);
        outcome.settled += usize::from(settled);
    }
    outcome
}

fn knows(compared: &Result<bool, Status>) -> bool {
    match compared {
        Ok(settled) => *settled,
        Err(status) => status.code() == Code::ResourceExhausted,
    }
}

async fn compare(
    shared: &Arc<Shared>,
    member: &Member,
    others: &Others,
    (group, other): (&Group, &Other),
    mode: Mode,
    tally: &mut Tally,
) -> Result<bool, Status> {
    let exchange = Exchange { shared, others, group, other, mode, tally };
    let compared = exchange.run(others.pair(other.at, member)).await;
    if let Err(status) = &compared {
        let node = &others.placement.node(other.at).name;
        match status.code() {
            // An earlier release, one that has no place, or one that asks for passwords.
            Code::Unimplemented | Code::ResourceExhausted | Code::FailedPrecondition => {
                debug!(node, %status, "a sibling does not compare");
            }
            _ => warn!(node, status = %status.message(), "the comparison with a sibling broke"),
        }
    }
    compared
}
