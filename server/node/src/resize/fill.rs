//! Taking what the next ring gives this node, from those that have it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use evanesce_grpc::discovery::v1;
use evanesce_grpc::peer::v1::{Heat, StreamItemsRequest};
use evanesce_topology::{NodeState, ServerGroup};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::tidy::drop_foreign;
use super::verify::{Verified, verify};
use super::view::{View, gives};
use crate::execute::CLOCK_AHEAD_MAX;
use crate::shared::Shared;
use crate::warm::{Newcomer, donors, take, take_from_donors};

/// Between two attempts.
const RETRY: Duration = Duration::from_secs(2);

/// Fills the node for the next ring of this view, however often it takes.
pub(super) async fn fill(shared: Arc<Shared>, view: Arc<View>, me: Newcomer, change: u64) {
    let resize = &shared.resize;
    let began = Instant::now();
    // What is left of another time may have been deleted since.
    let foreign = drop_foreign(&shared, &view).await;
    let before = shared.warm.counts();
    *resize.verified.lock() = Verified::default();
    loop {
        // Those that give may have moved since.
        let newest = resize.view.borrow().clone();
        let view =
            newest.filter(|newest| newest.next_change() == Some(change)).unwrap_or_else(|| Arc::clone(&view));
        let outcome = take_all(&shared, &view, &me, change).await;
        let counts = shared.warm.counts();
        let (items, bytes) = (counts.taken - before.taken, counts.bytes - before.bytes);
        match outcome {
            Ok(remark) => {
                remark.clone_into(&mut resize.trouble.lock());
                check(&shared, &view, &me, change).await;
                info!(change, items, bytes, foreign, took = ?began.elapsed(), "filled for the next ring");
                break;
            }
            Err(trouble) => {
                warn!(change, trouble, "not filled for the next ring yet: trying on");
                *resize.trouble.lock() = trouble;
                sleep(RETRY).await;
            }
        }
    }
    // Of deletes of its new keys that others have forgotten it has never heard.
    shared.standing.hears_from(shared.clock.now());
    resize.filling.store(0, Ordering::Relaxed);
    resize.filled.send_replace(change);
}

/// Compares what has come with what the givers have, and tells.
async fn check(shared: &Arc<Shared>, view: &View, me: &Newcomer, change: u64) {
    match verify(shared, view, me).await {
        Ok(verified) => {
            let Verified { items, mended, left } = verified;
            info!(change, items, mended, left, "compared with the givers after the fill");
            *shared.resize.verified.lock() = verified;
        }
        Err(status) => {
            let why = status.message();
            warn!(change, why, "filled, but a giver does not compare: what may be missing is missed once");
            *shared.resize.trouble.lock() = format!("filled, and not compared with the givers: {why}");
        }
    }
}

/// Each source once. What an operator should know when all is here that can be had; why not, else.
async fn take_all(
    shared: &Arc<Shared>,
    view: &View,
    me: &Newcomer,
    change: u64,
) -> Result<&'static str, String> {
    let sources = view.sources();
    let (there, absent): (Vec<_>, Vec<_>) = sources.into_iter().partition(|node| gives(node));
    let read_since = shared.clock.now().0.saturating_sub(1000 + CLOCK_AHEAD_MAX.as_millis() as u64);
    let mut failed = Vec::new();
    shared.warm.streams_begin(there.len());
    for heat in [Heat::Read, Heat::Rest] {
        // Who did not give what is read gives nothing: he is not to think that he gave all.
        let gives = there.iter().filter(|node| !failed.contains(&node.name));
        let streams = gives.map(async |node| {
            let address = node.grpc.map(|grpc| grpc.to_string()).unwrap_or_default();
            let request = request(view, me, change, heat, read_since);
            (node.name.clone(), take(shared, &address, request).await)
        });
        let taken = join_all(streams).await;
        failed.extend(taken.into_iter().filter(|(_, whole)| !whole).map(|(name, _)| name));
    }
    if failed.is_empty() && absent.is_empty() {
        return Ok("");
    }
    let Some(ring) = next_ring(view) else { return Err("the next ring is gone".to_owned()) };
    let donors = donors(&view.topology, me);
    if !donors.is_empty() && take_from_donors(shared, &view.topology, &ring, me, &donors).await {
        return Ok("");
    }
    let is_gone = |node: &&evanesce_topology::Node| node.state == NodeState::Down || !gives(node);
    if failed.is_empty() && absent.iter().all(is_gone) {
        return Ok("who had some of its items is gone, and no other zone has all of them");
    }
    Err(format!("{} gave nothing or not all", failed.join(", ")))
}

/// The group as it is to be, for whoever gives.
pub(super) fn next_ring(view: &View) -> Option<ServerGroup> {
    let nodes = view.second()?.nodes.clone();
    Some(ServerGroup { nodes, second: None, ..view.group()?.clone() })
}

fn request(view: &View, me: &Newcomer, change: u64, heat: Heat, read_since_ms: u64) -> StreamItemsRequest {
    StreamItemsRequest {
        cluster: me.cluster.clone(),
        profile: Some(v1::RingProfile::from(view.topology.profile)),
        group: next_ring(view).as_ref().map(v1::ServerGroup::from),
        owner: me.name.clone(),
        heat: heat.into(),
        from: 0,
        read_since_ms,
        change,
    }
}
