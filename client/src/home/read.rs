//! Reading what the home zone has.

use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::core::Core;
use crate::error::ReadError;
use crate::key::Key;
use crate::read::{Hit, ReadPlan};
use crate::request::with_flags_question;

/// Reads what the home zone has, and nobody else: what a CAS token is good for.
pub(crate) async fn read_at_home<'a>(
    core: &Core,
    cluster: &'a Cluster,
    key: &Key,
    plan: &ReadPlan,
) -> Result<Option<Hit<'a>>, ReadError> {
    core.count_reads(1);
    let found = ask_home(cluster, key, plan).await;
    match &found {
        Ok(Some(_)) => core.metrics.hits.increment(1),
        Ok(None) => core.metrics.misses.increment(1),
        Err(_) => core.metrics.read_errors.increment(1),
    }
    found
}

/// The flags of what the home zone has, or of what it is given before it decides when it has nothing: what the next zone
/// has. `None` when nobody who answers has anything.
pub(crate) async fn flags_at_home(cluster: &Cluster, key: &Key, deadline: Instant) -> Option<u32> {
    let hash = cluster.placement().key_hash(key.as_bytes());
    let members =
        cluster.placement().home_order(hash).into_iter().filter_map(|group| cluster.owner(group, hash));
    for member in members.filter(|member| !member.link.is_suspect()) {
        let link = &member.link;
        let outcome = with_flags_question(key, link.next_opaque(), |request| {
            link.connection.start_call(request, deadline)
        });
        let found = link.judge(outcome.await).ok().and_then(|reply| reply.client_flags());
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
    }
    None
}

async fn ask_home<'a>(
    cluster: &'a Cluster,
    key: &Key,
    plan: &ReadPlan,
) -> Result<Option<Hit<'a>>, ReadError> {
    let deadline = Instant::now() + plan.timeout;
    let hash = cluster.placement().key_hash(key.as_bytes());
    let mut attempts = Vec::new();
    for group in cluster.placement().home_order(hash) {
        let Some(member) = cluster.owner(group, hash) else { continue };
        match member.get(key, plan, deadline.min(Instant::now() + plan.attempt_timeout)).await {
            Ok(found) => return Ok(found.map(|item| Hit { item, from: member })),
            Err(cause) => attempts.push(member.attempt(cause)),
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    Err(ReadError::Unanswered { attempts })
}
