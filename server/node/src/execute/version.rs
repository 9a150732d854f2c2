//! Versions that requests carry: which are believed.

use std::time::Duration;

use evanesce_store::Version;
use evanesce_wire::encode::VersionTold;

use super::Context;

/// How far a version may lie ahead of this node's clock: more than well-kept clocks ever differ by, and as long as a
/// wrong one may win over writes made after it.
pub(crate) const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(5);

/// The version of a request. One too far ahead is refused with this node's clock, so that the writer can stamp anew.
pub(super) fn believed(version: Option<u64>, context: &Context<'_>) -> Result<Option<Version>, VersionTold> {
    let Some(version) = version.map(Version) else { return Ok(None) };
    if version.ahead_of(context.now) > CLOCK_AHEAD_MAX {
        context.commands.clock_refused.add(1);
        return Err(VersionTold::Clock(context.now.0));
    }
    Ok(Some(version))
}

/// The version that a decision made here for all gets at least; the refusal while this node is not to decide.
pub(super) fn decides(
    at_least: Option<u64>,
    even_settling: bool,
    context: &Context<'_>,
) -> Result<Option<Version>, VersionTold> {
    let at_least = believed(at_least, context)?;
    match context.shared.settling.left_ms(context.now) {
        Some(left) if at_least.is_some() && !even_settling => Err(VersionTold::Settling(left)),
        _ => Ok(at_least),
    }
}
