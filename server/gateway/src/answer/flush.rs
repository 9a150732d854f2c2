//! `flush_all`, where it is allowed: every node of every zone of every cluster that is served.

use evanesce_client::Namespace;
use evanesce_persister::{ClusterState, Persister, Reach, TierError};
use evanesce_wire::encode;
use evanesce_wire::reply::Status;
use evanesce_wire::request::{Exptime, FlushAll, Request};
use futures_util::future::{join, join_all};

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

/// Flushes now or later: the own cluster and those that namespaces live in, for to a client of the gateway they are one. All nodes
/// have to say that they did.
pub(super) async fn flush(context: Context<'_>, delay: Option<Exptime>) -> Result<(), TierError> {
    context.counts.cmd_flush.add(1);
    // A date, so that all nodes mean the same instant.
    let at = delay.map(ttl::ttl);
    let flush = async |keys: &Namespace| {
        let flush = at.into_iter().fold(keys.flush_all(), |flush, at| flush.at(at));
        flush.run().await.map(drop).map_err(TierError::from)
    };
    let others = context.shared.persister().map(Persister::clusters).unwrap_or_default();
    let others = others.into_iter().map(|ClusterState { cluster, reach, .. }| async move {
        match reach {
            Reach::Reached(client) => flush(client.raw()).await,
            Reach::Unreached(why) => Err(TierError::Unreached { cluster: cluster.into(), why }),
        }
    });
    let (own, others) = join(flush(&context.shared.keys), join_all(others)).await;
    own.and_then(|()| others.into_iter().collect())
}
