//! `flush_all`.

use evanesce_store::{Expiry, Time};
use evanesce_wire::reply::Status;
use evanesce_wire::request::{Exptime, FlushAll};

use super::{Context, expiry, word};

pub(super) fn execute(request: FlushAll, context: &Context<'_>, out: &mut Vec<u8>) {
    flush(request.delay, context);
    word(out, Status::Ok, request.noreply);
}

/// Flushes now or later.
pub(super) fn flush(delay: Option<Exptime>, context: &Context<'_>) {
    context.commands.cmd_flush.add(1);
    context.store.flush(at(delay, context.now));
}

/// When the flush takes effect. No delay, 0 and negative ones are now.
fn at(delay: Option<Exptime>, now: Time) -> Time {
    match delay.map(|exptime| expiry::resolve(exptime, now)) {
        Some(Expiry::At(at)) => at.max(now),
        Some(Expiry::Never) | None => now,
    }
}
