//! When a node compares: every so often, and at once when it may have missed something.

use std::sync::Arc;
use std::time::Duration;

use evanesce_membership::{MembershipOptions, TopologyWatch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::exchange::Mode;
use super::others::Others;
use super::round::{Outcome, round};
use super::scan::Haste;
use super::standing::Gap;
use crate::shared::Shared;

/// Between two tries to make up for what was missed.
const RETRY: Duration = Duration::from_millis(200);

/// Rests between comparisons at once: whoever tells of writes that were given up, again and again, is not to keep nodes busy.
const AT_ONCE_APART: Duration = Duration::from_secs(3);

/// How long siblings are waited for that have missed something themselves, or do not answer: all of them may have been away
/// together, and then nobody knows more. A lease and its renewal: by then whoever lives is registered again.
const ALONE_AFTER: Duration = Duration::from_secs(15);

/// Who this node is.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) cluster: String,
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) discoveries: Vec<String>,
}

/// Compares with siblings `every` so often and when it is called for. Never ends.
pub(crate) async fn keep_reconciled(shared: Arc<Shared>, member: Member, every: Duration) {
    let options = MembershipOptions::default();
    let Ok(watch) = TopologyWatch::start(&member.discoveries, &member.cluster, options) else { return };
    let mut read_by_none = shared.standing.gap().is_some();
    // After a gap that left differences behind another comparison shows that they are gone.
    let mut again = false;
    loop {
        if shared.standing.gap().is_none() {
            read_by_none = false;
            // Apart from each other: nodes that were started together are not to ask together.
            let rest = if again {
                AT_ONCE_APART.min(every)
            } else {
                every.mul_f64(0.75 + 0.5 * share(&member.name))
            };
            again = false;
            tokio::select! {
                () = sleep(rest) => {}
                () = shared.standing.called() => {}
            }
        }
        shared.note_running();
        let gap = shared.standing.gap();
        let haste = match gap {
            None => Haste::None,
            Some(_) if read_by_none => Haste::Full,
            Some(_) => Haste::Some,
        };
        let reached = match watch.topology() {
            Some(topology) => Others::reach(&topology, &member).await,
            None => None,
        };
        let done = match &reached {
            Some(others) => once(&shared, &member, others, haste, gap).await,
            None => false,
        };
        let Some(gap) = gap else { continue };
        let waited = Duration::from_millis(shared.clock.now().0.saturating_sub(gap.found.0));
        if done {
            shared.standing.made_up(gap);
            again = true;
            sleep(AT_ONCE_APART).await;
        } else if waited >= ALONE_AFTER {
            warn!(?waited, "no sibling group could tell what was missed: going on with what is here");
            shared.standing.made_up(gap);
        } else {
            sleep(RETRY).await;
        }
    }
}

/// One round. Whether it made up for what was missed.
async fn once(
    shared: &Arc<Shared>,
    member: &Member,
    others: &Others,
    haste: Haste,
    gap: Option<Gap>,
) -> bool {
    let mode = Mode { haste, gap: gap.map(|gap| gap.since), keeps_since: shared.standing.keeps_since() };
    let outcome = round(shared, member, others, mode).await;
    shared.divergence.round(&outcome.tally, outcome.is_whole(), shared.clock.now());
    tell(&outcome, gap);
    outcome.makes_up()
}

fn tell(outcome: &Outcome, gap: Option<Gap>) {
    let tally = &outcome.tally;
    let (compared, differing, absent) = (tally.compared, tally.differing, tally.absent);
    let (taken, deleted, dropped) = (tally.taken, tally.deleted, tally.dropped);
    if gap.is_some() {
        let since = gap.map(|gap| gap.since.time().0);
        info!(since, compared, differing, absent, taken, deleted, dropped, "compared after a gap");
    } else {
        debug!(compared, differing, absent, taken, deleted, "compared");
    }
}

/// A number from 0 to 1 that goes with a name.
fn share(name: &str) -> f64 {
    let mix = |sum: u32, byte: u8| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    f64::from(name.bytes().fold(0x811c_9dc5, mix) >> 8) / f64::from(1 << 24)
}
