//! Whether this machine's clock is right, by the nodes' clocks.

use std::sync::Arc;
use std::time::Duration;

use evanesce_wire::reply::Reply;
use evanesce_wire::request::Request;
use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::warn;

use crate::cluster::Cluster;
use crate::core::Core;
use crate::member::Link;
use crate::version::unix_ms;

/// A node that has not told its time within this is not asked: half of a write's time is left.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// Nodes asked: their median is right while most of so many clocks are.
const NODES_MAX: usize = 15;

/// What comes back later says too little of the clock: it may be wrong by half as much.
const ROUND_TRIP_MAX_MS: u64 = 100;

/// Between two looks at the clock for what nodes answer: where one node's clock is wrong, many answers of it raise
/// doubts, and asking fifteen nodes a second is nothing.
const DOUBT_EVERY: Duration = Duration::from_secs(1);

/// A node's answer does not fit this machine's clock: looks into it in the background.
pub(crate) fn doubt_clock(core: &Arc<Core>) {
    let now = Instant::now();
    let mut doubted = core.doubted.lock();
    if doubted.is_some_and(|before| now.saturating_duration_since(before) < DOUBT_EVERY) {
        return;
    }
    *doubted = Some(now);
    drop(doubted);
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let Some(cluster) = core.cluster() else { return };
        align_clock(&core, &cluster, now + ANSWER_TIMEOUT).await;
    });
}

/// Asks nodes for their time, and takes over that of most of them when this machine's is wrong.
pub(crate) async fn align_clock(core: &Core, cluster: &Arc<Cluster>, deadline: Instant) {
    let deadline = deadline.min(Instant::now() + ANSWER_TIMEOUT);
    let links = cluster.members().map(|member| &member.link).filter(|link| link.connection.speaks_versions());
    let answers = join_all(links.take(NODES_MAX).map(|link| ahead_ms(core, link, deadline))).await;
    let mut ahead_ms: Vec<i64> = answers.into_iter().flatten().collect();
    let nodes = ahead_ms.len();
    let Some(correction_ms) = core.clock.correct(&mut ahead_ms, core.now()) else { return };
    warn!(
        cluster = %core.settings.cluster, correction_ms, nodes,
        "this machine's clock is wrong by the nodes' clocks: writes are stamped with theirs"
    );
}

/// How far the node's clock is ahead of ours, by the middle of the round trip.
async fn ahead_ms(core: &Core, link: &Link, deadline: Instant) -> Option<i64> {
    let before = unix_ms(core.now());
    let node = clock_ms(link, deadline).await?;
    let after = unix_ms(core.now());
    if after.saturating_sub(before) > ROUND_TRIP_MAX_MS {
        return None;
    }
    i64::try_from(i128::from(node) - i128::from(before.midpoint(after))).ok()
}

/// The node's clock, in milliseconds since 1970.
pub(crate) async fn clock_ms(link: &Link, deadline: Instant) -> Option<u64> {
    match link.connection.call(&Request::MetaNoopVersions, deadline).await.ok()? {
        Reply::Meta(meta) => meta.clock_ms(),
        _ => None,
    }
}
