//! Sees to it that the zones agree again on a key after a change of which nobody knows what became.
//!
//! The zone that was to decide may have done so, at once or when the request arrives late; its answer is lost, and so is what
//! the others were to be given. So whoever sent the change looks at all zones until they have the same, and gives those that
//! are behind the newest: it is as if a reader had found it, and acknowledges nothing.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::catch_up::{Electorate, How, ask, bring};
use crate::cluster::Cluster;
use crate::core::Core;
use crate::key::Key;
use crate::version::Version;

/// Keys that are looked after at once. Of more, which takes a fault under much load, the next change or read of a miss
/// finds that zones differ, or the nodes do.
pub(crate) const AFTERMATHS_MAX: usize = 1024;

/// Most faults are over in a moment ...
const LOOK_FIRST: Duration = Duration::from_millis(250);

/// ... and of others nothing is gained by looking more often. A request that was cut off arrives up to as much later again as
/// the cut was long; a look after this long that finds nothing to do is the last.
const LOOK_LAST: Duration = Duration::from_secs(4);

/// A zone that is away for longer starts anew, or is told by its nodes' peers.
const LOOK_FOR_MAX: Duration = Duration::from_secs(300);

/// What one look at a zone may take.
const ANSWER_MAX: Duration = Duration::from_millis(250);

/// Looks after the key until all zones have the same, the client is closed, or it has taken too long.
pub(super) fn look_after(core: &Arc<Core>, key: Key) {
    let Ok(permit) = Arc::clone(&core.aftermaths).try_acquire_owned() else { return };
    let core = Arc::downgrade(core);
    tokio::spawn(async move {
        let _permit = permit;
        look_until_even(&core, &key).await;
    });
}

async fn look_until_even(core: &Weak<Core>, key: &Key) {
    let (begun, mut delay) = (Instant::now(), LOOK_FIRST);
    while begun.elapsed() < LOOK_FOR_MAX {
        sleep(delay).await;
        let Some(core) = core.upgrade() else { return };
        let Some(cluster) = core.cluster() else { return };
        if even_out(&core, &cluster, key).await && delay == LOOK_LAST {
            return;
        }
        delay = (delay * 2).min(LOOK_LAST);
    }
}

/// Gives the newest to every zone that is behind. Returns whether all answered and none was.
async fn even_out(core: &Core, cluster: &Cluster, key: &Key) -> bool {
    let deadline = Instant::now() + ANSWER_MAX;
    let members = Electorate::of(cluster, key).members;
    let question = members.iter().map(async |member| (*member, ask(member, key, None, deadline).await));
    let answers = join_all(question).await;
    let told: Vec<_> = answers.into_iter().filter_map(|(member, told)| Some((member, told.ok()?))).collect();
    let newest = told.iter().filter_map(|(member, told)| Some((told.version?, *member)));
    let Some((newest, from)) = newest.max_by_key(|(version, _)| *version) else {
        return told.len() == members.len();
    };
    let behind: Vec<_> = told.iter().filter(|(_, told)| is_behind(told.version, newest)).collect();
    let brought = behind.iter().map(|(member, _)| bring(core, key, from, member, How::Repaired, deadline));
    // Who is behind still is seen at the next look.
    join_all(brought).await;
    told.len() == members.len() && behind.is_empty()
}

fn is_behind(version: Option<Version>, newest: Version) -> bool {
    version.is_none_or(|version| version < newest)
}
