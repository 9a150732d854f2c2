//! `flush_all`.

use evanesce_store::{Expiry, Time};
use evanesce_wire::reply::Status;
use evanesce_wire::request::FlushAll;

use super::{Context, expiry, word};

pub(super) fn execute(request: FlushAll, context: &Context<'_>, out: &mut Vec<u8>) {
    context.commands.cmd_flush.add(1);
    context.store.flush(at(request, context.now));
    word(out, Status::Ok, request.noreply);
}

/// When the flush takes effect. No delay, 0 and negative ones are now.
fn at(request: FlushAll, now: Time) -> Time {
    match request.delay.map(|exptime| expiry::resolve(exptime, now)) {
        Some(Expiry::At(at)) => at.max(now),
        Some(Expiry::Never) | None => now,
    }
}
