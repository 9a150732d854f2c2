//! When a node compares: every so often, and at once when it may have missed something.

use std::sync::Arc;
use std::time::Duration;

use evanesce_membership::{MembershipOptions, TopologyWatch};
use evanesce_store::Time;
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

/// The same where no sibling group is known at all: time for one to register that was started together with this node.
const LONE_AFTER: Duration = Duration::from_secs(5);

/// How long a node waits to be read at most while siblings that know more answer, but none of their groups is whole.
const PROMISED_MAX: Duration = Duration::from_secs(60);

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
    if let Some(gap) = shared.standing.gap() {
        sleep(gap.until_all_is_judged(shared.clock.now())).await;
    }
    // After a gap that left differences behind another comparison shows that they are gone.
    let mut again = false;
    let mut patience = Patience::default();
    loop {
        if shared.standing.gap().is_none_or(|gap| patience.is_over(gap)) {
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
            Some(gap) if patience.is_over(gap) => Haste::None,
            Some(_) if read_by_none || shared.standing.is_kept_back() => Haste::Full,
            Some(_) => Haste::Some,
        };
        let reached = match watch.topology() {
            Some(topology) => Others::reach(&shared, &topology, &member).await,
            None => None,
        };
        if reached.as_ref().is_some_and(Others::all_missed_something) {
            shared.standing.show_all();
        }
        let outcome = match &reached {
            Some(others) => once(&shared, &member, others, haste, gap).await,
            // Not in a topology: it is not known who else is there.
            None => Outcome::unknown(),
        };
        let Some(gap) = gap else { continue };
        let is_alone = reached.as_ref().is_some_and(|others| others.groups.is_empty());
        let now = shared.clock.now();
        if outcome.makes_up() {
            shared.standing.made_up(gap);
            again = true;
            sleep(AT_ONCE_APART).await;
        } else if patience.ends(gap, outcome.is_promising(), is_alone, now) {
            go_on(&shared, gap, &outcome, now);
        } else {
            sleep(RETRY).await;
        }
    }
}

/// Has the node be read without what it missed.
fn go_on(shared: &Shared, gap: Gap, outcome: &Outcome, now: Time) {
    let waited = Duration::from_millis(now.0.saturating_sub(gap.found.0));
    // One that waits no longer because no sibling is known yet goes on asking until it would have given up.
    if outcome.is_hopeless() && waited >= ALONE_AFTER {
        warn!(?waited, "nobody knows what was missed: going on with what is here");
        shared.standing.give_up(gap, Time(now.0 + ALONE_AFTER.as_millis() as u64));
    } else {
        warn!(?waited, "no sibling group could tell what was missed: serving, and asking on");
        shared.standing.go_on(gap);
    }
}

/// How long a gap is waited with.
#[derive(Debug, Default)]
struct Patience {
    /// The gap, and since when no sibling has answered that knows more.
    waits: Option<(Gap, Time)>,
    /// The gap that was waited with long enough.
    over: Option<Gap>,
}

impl Patience {
    fn is_over(&self, gap: Gap) -> bool {
        self.over.is_some_and(|over| over.is_as_old_as(&gap))
    }

    /// Whether the node is to be read from now on, though the gap is open.
    fn ends(&mut self, gap: Gap, is_promising: bool, is_alone: bool, now: Time) -> bool {
        let known = self.waits.filter(|(known, _)| known.is_as_old_as(&gap));
        let since = known.map_or(gap.found, |(_, since)| since);
        let since = if is_promising { now } else { since };
        self.waits = Some((gap, since));
        let passed = |since: Time| Duration::from_millis(now.0.saturating_sub(since.0));
        let ends = passed(since) >= ALONE_AFTER || passed(gap.found) >= PROMISED_MAX;
        let ends = ends || is_alone && passed(gap.found) >= LONE_AFTER;
        if ends {
            self.over = Some(gap);
        }
        ends
    }
}

/// One round.
async fn once(
    shared: &Arc<Shared>,
    member: &Member,
    others: &Others,
    haste: Haste,
    gap: Option<Gap>,
) -> Outcome {
    let mode = Mode { haste, gap: gap.map(|gap| gap.since), keeps_since: shared.standing.keeps_since() };
    let outcome = round(shared, member, others, mode).await;
    shared.divergence.round(&outcome.tally, outcome.is_whole(), shared.clock.now());
    tell(&outcome, gap);
    outcome
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

#[cfg(test)]
mod tests {
    use super::super::standing::Standing;
    use super::*;

    const NOW: Time = Time(1_800_000_000_000);

    fn later(ms: u64) -> Time {
        Time(NOW.0 + ms)
    }

    fn gap() -> Gap {
        Standing::new(NOW, Some(Time(NOW.0 - 5_000))).gap().expect("it ended")
    }

    #[test]
    fn wait_begins_anew_while_a_sibling_answers_that_knows_more_up_to_a_limit() {
        let (gap, mut patience) = (gap(), Patience::default());
        assert!(!patience.ends(gap, false, false, later(14_999)));
        assert!(!patience.ends(gap, true, false, later(15_000)));
        assert!(!patience.ends(gap, false, false, later(29_999)) && !patience.is_over(gap));
        assert!(patience.ends(gap, false, false, later(30_000)) && patience.is_over(gap));
        let mut patience = Patience::default();
        assert!((0..60).all(|second| !patience.ends(gap, true, false, later(second * 1_000))));
        assert!(patience.ends(gap, true, false, later(60_000)), "its groups are never whole");
    }

    #[test]
    fn node_without_any_sibling_waits_a_few_seconds_only() {
        let (gap, mut patience) = (gap(), Patience::default());
        assert!(!patience.ends(gap, false, true, later(4_999)));
        assert!(patience.ends(gap, false, true, later(5_000)) && patience.is_over(gap));
    }
}
