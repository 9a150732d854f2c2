//! How far the zones are. Writes measure it as they go; a client that only reads hears of other zones too seldom.

use std::sync::{Arc, Weak};
use std::time::Duration;

use evanesce_wire::request::Request;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::core::Core;
use crate::member::Member;

/// Between two rounds at first: an average needs sixteen.
const FIRST_EVERY: Duration = Duration::from_millis(250);

/// Rounds that come so fast: a few more, for some are lost.
const FIRST_ROUNDS: u32 = 20;

/// Between two rounds later: zones seldom move, and one small request each is nothing.
const EVERY: Duration = Duration::from_secs(10);

/// A node that has not answered by then is not near.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// Asks a node of each zone now and then how long it takes, while the client is open.
pub(crate) fn measure_zones(core: &Arc<Core>) {
    tokio::spawn(until_closed(Arc::downgrade(core)));
}

async fn until_closed(core: Weak<Core>) {
    let mut round = 0_u32;
    loop {
        sleep(if round < FIRST_ROUNDS { FIRST_EVERY } else { EVERY }).await;
        let Some(core) = core.upgrade() else { return };
        let Some(cluster) = core.cluster() else { return };
        measure(&core, &cluster, round).await;
        round = round.saturating_add(1);
    }
}

/// One node of each zone whose place in the order is open: another one each round.
async fn measure(core: &Core, cluster: &Cluster, round: u32) {
    let zones = cluster.zones();
    let others: Vec<_> = zones.iter().filter(|zone| ***zone != *core.settings.zone).collect();
    if others.len() < 2 {
        return;
    }
    let asked = others.into_iter().filter_map(|zone| {
        let well = || cluster.members().filter(|member| *member.zone == **zone && !member.link.is_suspect());
        let nth = round as usize % well().count().max(1);
        well().nth(nth)
    });
    join_all(asked.map(|member| measure_one(core, member))).await;
}

async fn measure_one(core: &Core, member: &Member) {
    let begun = Instant::now();
    let answer = member.link.connection.call(&Request::MetaNoop, begun + ANSWER_TIMEOUT).await;
    // What came of it is not for the breaker: an answer says that it is near, and not that it can serve.
    if answer.is_ok() {
        core.zone_answered(&member.zone, begun.elapsed());
    }
}
