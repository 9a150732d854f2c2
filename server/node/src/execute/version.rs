//! Versions that requests carry: which are believed.

use std::time::Duration;

use evanesce_store::{Decides, Lookup, Read, Version};
use evanesce_wire::encode::VersionTold;

use super::{Context, hidden};
use crate::promises::Promise;

/// How far a version may lie ahead of this node's clock: more than well-kept clocks ever differ by, and as long as a
/// wrong one may win over writes made after it.
pub(crate) const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(5);

/// How long a node that hides what it has says that others are to decide: until it is asked again.
const HIDES_FOR_MS: u64 = 1_000;

/// The lowest bits of a version are its writer's.
const WRITER_BITS: u32 = 12;

/// The lowest of them is set in what came of a decision.
const DECIDED: u64 = 1;

/// All of them tell then who decided: the place of the zone in the key's order, and a hash of the node and its process.
const DECIDER_MASK: u64 = (1 << WRITER_BITS) - 1;

/// By how many counts, about a millisecond, a promise exceeds what another place has decided, or was promised: so many
/// decisions it may make that nobody agrees to, and does not get past it.
const TAKE_OVER_STEP: u64 = 1 << 10;

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
    // Nor where what it would go by is hidden: other zones have it.
    let hides = hidden::hides(context).then_some(HIDES_FOR_MS);
    match context.shared.settling.left_ms(context.now).or(hides) {
        Some(left) if !even_settling => Err(VersionTold::Settling(left)),
        _ => Ok(Some(Decides { at_least, continues: at_least.0 >> WRITER_BITS == 0 })),
    }
}

/// The same, as far as the key's promise has nothing against it. While that is held nobody is promised anything else.
///
/// A promise to the same place is no exception: who has asked for it may have got it of this node alone, and what more than
/// half of the zones have promised is what the change says, or what is there.
pub(super) fn agreed(
    decides: Option<Decides>,
    promise: &Promise<'_>,
    key: &[u8],
    context: &Context<'_>,
) -> Result<Option<Decides>, VersionTold> {
    let (Some(decides), Some(floor)) = (decides, promise.floor()) else { return Ok(decides) };
    let promised = if decides.continues { there(key, context) } else { Some(decides.at_least) };
    if promised.is_some_and(|promised| promised >= floor) {
        Ok(Some(decides))
    } else {
        Err(DECIDED_ELSEWHERE)
    }
}

/// The version of what is there, and the latest that is known of the key: a delete or a flush may be later, and what is
/// decided here is later than those.
pub(super) fn known(key: &[u8], context: &Context<'_>) -> (Option<Version>, Version) {
    context.store.examine(key, context.now, |known| (known.hit.map(|hit| hit.version), known.latest))
}

/// The version of what is there.
fn there(key: &[u8], context: &Context<'_>) -> Option<Version> {
    let read = Read { counts_as_access: false, ..Read::key(key) };
    context.store.read(&read, context.now, |lookup| match lookup {
        Lookup::Hit(hit) => Some(hit.version),
        Lookup::Miss => None,
    })
}

/// Whether nothing older than `asked` may be promised where this is known of the key, or was promised. The place that it
/// was promised to, or that decided it, needs no other promise unless it `insists`: what others promised it, or what is known
/// there, is later.
pub(super) fn may_promise(asked: Version, known: Version, insists: bool) -> bool {
    let is_decided = known.0 & DECIDED != 0;
    let is_its_own = is_decided && is_of_one_place(asked, known);
    let step = if is_decided && !is_its_own { TAKE_OVER_STEP } else { 1 };
    (insists || !is_its_own) && asked.0 >> WRITER_BITS >= (known.0 >> WRITER_BITS) + step
}

/// Whether the same place decided, or is to.
fn is_of_one_place(one: Version, other: Version) -> bool {
    one.0 & DECIDER_MASK == other.0 & DECIDER_MASK
}

/// Ends what was held while something was decided. What has been decided is no older than what was promised, and stands for it.
pub(super) fn kept(promise: Option<Promise<'_>>, is_decided: bool) {
    if let (Some(mut promise), true) = (promise, is_decided) {
        promise.forget();
    }
}

/// What keeps the node from agreeing to the outcome of a decision that it has stored, or that has lost there to `newer`: what
/// it knows, or has promised, that is later.
pub(super) fn objection(
    outcome: Option<Version>,
    newer: Option<Version>,
    key: &[u8],
    context: &Context<'_>,
) -> Option<Version> {
    let outcome = outcome.filter(|outcome| outcome.0 & DECIDED != 0)?;
    let mut promise = context.shared.promises.of(key);
    let floor = promise.floor().filter(|floor| *floor > outcome);
    if floor.is_none() {
        promise.forget();
    }
    floor.max(newer)
}

/// What a node says that is to continue what it decided last, and does not know it: it settles for no time at all.
pub(super) const DECIDED_ELSEWHERE: VersionTold = VersionTold::Settling(0);
