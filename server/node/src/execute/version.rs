//! Versions that requests carry: which are believed.

use std::time::Duration;

use evanesce_store::{Decides, Version};
use evanesce_wire::encode::VersionTold;

use super::Context;

/// How far a version may lie ahead of this node's clock: more than well-kept clocks ever differ by, and as long as a
/// wrong one may win over writes made after it.
pub(crate) const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(5);

/// The lowest bits of a version are its writer's.
const WRITER_BITS: u32 = 12;

/// The lowest of them is set in what came of a decision.
const DECIDED: u64 = 1;

/// The three above it are the place of who decided in the key's order of zones.
const RANK_SHIFT: u32 = 1;
const RANK_MAX: u64 = 7;

/// By how many counts, about a millisecond, the versions of a zone that stands in exceed what they change, for each place
/// in the order.
const STAND_IN_STEP: u64 = 1 << 10;

/// The version of a request. One too far ahead is refused with this node's clock, so that the writer can stamp anew.
pub(super) fn believed(version: Option<u64>, context: &Context<'_>) -> Result<Option<Version>, VersionTold> {
    let Some(version) = version.map(Version) else { return Ok(None) };
    if version.ahead_of(context.now) > CLOCK_AHEAD_MAX {
        context.commands.clock_refused.add(1);
        return Err(VersionTold::Clock(context.now.0));
    }
    Ok(Some(version))
}

/// How a change is stamped that is decided here for all; the refusal while this node is not to decide.
pub(super) fn decides(
    at_least: Option<u64>,
    even_settling: bool,
    context: &Context<'_>,
) -> Result<Option<Decides>, VersionTold> {
    let Some(at_least) = believed(at_least, context)? else { return Ok(None) };
    match context.shared.settling.left_ms(context.now) {
        Some(left) if !even_settling => Err(VersionTold::Settling(left)),
        _ => Ok(Some(as_told(at_least))),
    }
}

/// What the version of a decision says: see the contract, `proto/PROTOCOL.md`.
fn as_told(at_least: Version) -> Decides {
    let rank = if at_least.0 & DECIDED == 0 { 0 } else { at_least.0 >> RANK_SHIFT & RANK_MAX };
    let step = if rank == 0 { 1 } else { rank * STAND_IN_STEP };
    Decides { at_least, step, continues: at_least.0 >> WRITER_BITS == 0 }
}

/// What a node says that is to continue what it decided last, and does not know it: it settles for no time at all.
pub(super) const DECIDED_ELSEWHERE: VersionTold = VersionTold::Settling(0);
