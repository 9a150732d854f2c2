//! `flush_all`, where it is allowed: every node of every zone.

use evanesce_persister::TierError;
use evanesce_wire::encode;
use evanesce_wire::reply::Status;
use evanesce_wire::request::{Exptime, FlushAll, Request};

use super::{Answer, refusal, ttl};
use crate::service::Context;

pub(super) async fn answer(context: Context<'_>, request: FlushAll) -> Answer {
    if !context.shared.flush_command {
        return refusal::unsupported(context, &Request::FlushAll(request));
    }
    match flush(context, request.delay).await {
        Ok(()) if request.noreply => Answer::default(),
        Ok(()) => {
            let mut answer = Answer::default();
            encode::status(answer.buf(), Status::Ok);
            answer
        }
        Err(error) => refusal::write(context, &error, request.noreply),
    }
}

/// Flushes now or later; all nodes have to say that they did.
pub(super) async fn flush(context: Context<'_>, delay: Option<Exptime>) -> Result<(), TierError> {
    context.counts.cmd_flush.add(1);
    let flush = context.shared.keys.flush_all();
    // A date, so that all nodes mean the same instant.
    let flush = delay.into_iter().fold(flush, |flush, exptime| flush.at(ttl::ttl(exptime)));
    Ok(flush.run().await.map(|_| ())?)
}
