//! Brings a node that is to decide what other zones have of a key, if that is newer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::as_it_is;
use crate::cluster::Cluster;
use crate::core::Core;
use crate::error::NodeError;
use crate::item::Item;
use crate::key::Key;
use crate::member::Member;
use crate::read::ReadPlan;
use crate::repair::Repair;
use crate::request::{Done, Want, with_repair, with_version_question};
use crate::version::Version;

/// How long other zones are waited for: they answer in a round trip, and one that is ill is left out soon after.
const ANSWERS_MAX: Duration = Duration::from_millis(250);

/// Asks all zones which version of the key they have, and gives `member` the newest. It may lack it: it has been evicted,
/// was lost in a restart, or a write missed it.
///
/// # Errors
///
/// [`NodeError::Behind`] when too few zones answered to know what is the newest, or it could not be brought. Nothing has
/// been decided then.
pub(super) async fn catch_up(
    core: &Core,
    cluster: &Cluster,
    key: &Key,
    member: &Arc<Member>,
    deadline: Instant,
) -> Result<(), NodeError> {
    let deadline = deadline.min(Instant::now() + ANSWERS_MAX);
    let hash = cluster.placement().key_hash(key.as_bytes());
    let groups = cluster.placement().home_order(hash);
    let zones: Vec<_> = groups.into_iter().filter_map(|group| cluster.owner(group, hash)).collect();
    let others = zones.iter().copied().filter(|other| !Arc::ptr_eq(other, member));
    // Who does not answer anyway is left out. A server that keeps no versions has nothing to tell.
    let others = others.filter(|other| !other.link.is_suspect() && other.link.connection.speaks_versions());
    let others = others.map(async |other| (other, version_at(other, key, deadline).await));
    let (own, others) = tokio::join!(version_at(member, key, deadline), join_all(others));
    let own = own.map_err(|_| NodeError::Behind)?;
    let answered = 1 + others.iter().filter(|(_, answer)| answer.is_ok()).count();
    if answered <= others.len() && answered <= zones.len() / 2 {
        return Err(NodeError::Behind);
    }
    let known = others.iter().filter_map(|(other, answer)| Some((answer.as_ref().ok()?.as_ref()?, other)));
    match known.max_by_key(|(version, _)| **version) {
        Some((newest, other)) if own.is_none_or(|own| own < *newest) => {
            bring(core, key, other, member, deadline).await
        }
        _ => Ok(()),
    }
}

/// The version of the item that a node has; `None` when it has none.
async fn version_at(member: &Member, key: &Key, deadline: Instant) -> Result<Option<Version>, NodeError> {
    let link = &member.link;
    let outcome = with_version_question(key, link.next_opaque(), |request| {
        link.connection.start_call(request, deadline)
    });
    Ok(link.judge(outcome.await)?.version().map(Version))
}

async fn bring(
    core: &Core,
    key: &Key,
    from: &Member,
    to: &Member,
    deadline: Instant,
) -> Result<(), NodeError> {
    let plan = ReadPlan::new(core, Want::Item, ANSWERS_MAX);
    let found = from.get(key, &plan, deadline).await.map_err(|_| NodeError::Behind)?;
    // It may be gone by now: then nobody has anything newer.
    let Some(item @ Item { version: Some(version), .. }) = found else { return Ok(()) };
    let repair = Repair { key: key.clone(), change: as_it_is(core, item), version };
    let link = &to.link;
    let sent =
        with_repair(&repair, link.next_opaque(), |request| link.connection.start_call(request, deadline));
    match link.judge(sent.await).and_then(|reply| Done::of(&reply)) {
        Ok(Done::ClockAhead) => Err(NodeError::ClockRefused),
        // It may know of a delete, or of something newer still.
        Ok(_) => Ok(()),
        Err(_) => Err(NodeError::Behind),
    }
}
