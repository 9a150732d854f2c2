//! What one place must decide: conditional stores, appends and arithmetic. The key's home zone does, the others follow.
//!
//! ```text
//!   change ──> home zone ── refused ──> that is the answer
//!                 │ done
//!                 ├── a store: the others get the same value as a set
//!                 └── an append, a number: the home zone's item is read back, and the others get it as a set
//!                           │
//!                           └── every zone that is well has it ──> done
//!                               one has what another decided ────> `MaybeApplied`
//! ```
//!
//! # Why nothing that is acknowledged is lost
//!
//! Nodes do not talk to each other, and clients do not agree on who is well: while a zone dies, comes back or is cut off,
//! two zones may decide at the same moment, each on what it has. Then one of the two outcomes must stay everywhere, and the
//! caller of the other must not be told that it is done. Five rules see to that. Say zone 0 is the first in the key's order,
//! and zone *r* one that stands in because the client believes all before it away or settling.
//!
//! 1. **Continuation.** A zone decides without asking anybody only if it is zone 0 and itself decided what it has of the key
//!    (a mark in the item, gone with any other write). Otherwise the client first asks all zones for their version and
//!    brings the decider the newest: [`catch_up`]. An `add` always asks: that a key is not here says nothing.
//! 2. **Versions.** Zone 0 gives its outcome the version next to what it changed, whatever the clock says; zone *r* one that
//!    is at least 1,024 *r* counts, about *r* ms, later than what it changed, and not before the clock. So of two outcomes
//!    made of the same item the one by the later zone in the order is newer, and stays. A zone 0 that is cut off and goes on
//!    deciding does not get past it: it would take 1,024 decisions. (Of two that stand in the later one is newer; that there
//!    are two takes two faults.) A key that no zone has gets a version of 250 ms before the clock from zone 0, and of the clock
//!    from others, for the same reason. The four lowest bits of a version say that it was
//!    decided, and by which place in the order.
//! 3. **Consent.** An outcome is acknowledged once every other zone that is well has it, and more than half of those that
//!    live: [`Agreement`](crate::policy::Agreement). A zone counts as well until its breaker opens or its connection is gone.
//! 4. **Being overtaken.** A zone that answers "superseded" by a decision which does not go on from ours ends it as
//!    [`WriteError::MaybeApplied`]. It goes on from ours if the same place in the order made it, and it is fewer counts
//!    later than anybody who stood in would have taken. If the newer write is no decision, it is as if it had come right
//!    after.
//! 5. **Settling.** A node that started, or did not run, within the last five seconds is not asked while another can be.
//!
//! Let *d* be acknowledged, decided by zone *x* on item *u*, and *e* decided by zone *y* on an item without *d*.
//!
//! - *y* is *x*: it had *d*, so it has lost it: it started anew, settled, and decides what it has not decided itself only after
//!   it was brought the newest (1); one of the zones that agreed to *d* has it (3). Or *e* was decided on an item that came
//!   from another zone and replaced *d*: then that one did not have *d*, and is the case below.
//! - *y* is another zone and well: it had *d* before it was acknowledged (3). If it decided *e* before *d* arrived, it said
//!   so, and *d* was not acknowledged: *e* is the newer if *y* comes later in the order (2), so *d* is superseded there (4). If
//!   *y* comes earlier, *x* stood in because *y* was believed away, and *d* is the newer (2): *e* is superseded at *x*, which is
//!   well, and it is *e* that is not acknowledged.
//! - *y* was ill when *d* was decided, and decides now: it caught up with a majority (1), of which one has *d*; unless *d* and
//!   *e* were under way at the same time, which takes a second fault: *x* ill for the client of *e*, *y* ill for that of *d*.
//!
//! So it holds while one zone at a time is dead, frozen, slow or cut off, from all clients or some. What it costs: an outcome
//! waits for the slowest zone that is well, not for the local one; the first change after a plain write, and each
//! one while another zone stands in, asks all zones once more. With [`LatchPolicy::None`] the caller does not wait, and is
//! promised nothing. With two zones there is no majority without the other: what two clients decide that see one zone each
//! is not kept. An item that all zones evict, or lose, is lost.

use std::sync::Arc;
use std::time::Duration;

use evanesce_wire::request::SetMode;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::core::{Core, TIMEOUT_MAX};
use crate::error::{Attempt, NodeError, WriteError};
use crate::item::Item;
use crate::key::Key;
use crate::outcome::Written;
use crate::policy::LatchPolicy;
use crate::read::ReadPlan;
use crate::request::{Change, Done, Want};
use crate::spread::{SpreadPlan, spread};
use crate::ttl::Ttl;
use crate::version::Version;

mod asking;
mod catch_up;
mod read;

pub(crate) use read::{flags_at_home, read_at_home};

use asking::{Verdict, decide};
use catch_up::catch_up;

/// How long what was decided elsewhere may take to come to a zone that was overtaken: the caller waits for it.
const AFTERWARDS_MAX: Duration = Duration::from_millis(100);

/// A change for the home zone to decide, owned: it outlives a caller that goes away.
pub(crate) struct HomeWrite {
    pub(crate) key: Key,
    pub(crate) change: Change,
    pub(crate) latch: LatchPolicy,
    pub(crate) timeout: Duration,
}

/// What the home zone decided, and how far that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) done: Done,
    /// What arithmetic came to.
    pub(crate) number: Option<u64>,
    pub(crate) written: Written,
}

/// What the other server groups get, and its version.
struct Outcome {
    change: Change,
    version: Option<Version>,
}

/// Runs to its end even when the caller goes away in the middle: a result that one zone has is owed to the others.
pub(crate) async fn change_at_home(core: &Arc<Core>, write: HomeWrite) -> Result<Decided, WriteError> {
    let cluster = core.cluster().ok_or(WriteError::Closed)?;
    let Ok(permit) = Arc::clone(&core.home_writes).try_acquire_owned() else {
        return Err(WriteError::Busy);
    };
    core.flights.forget(&write.key);
    let core = Arc::clone(core);
    let task = tokio::spawn(async move {
        let _permit = permit;
        let key = write.key.clone();
        let _writing = core.near.writing(&key);
        decide_and_spread(&core, &cluster, write).await
    });
    // The task neither panics nor is aborted, unless its runtime ends: nobody is left then.
    task.await.unwrap_or(Err(WriteError::Closed))
}

async fn decide_and_spread(
    core: &Arc<Core>,
    cluster: &Arc<Cluster>,
    write: HomeWrite,
) -> Result<Decided, WriteError> {
    let deadline = Instant::now() + write.timeout.min(TIMEOUT_MAX);
    let (home, verdict) = decide(core, cluster, &write, deadline).await?;
    let Verdict { done, number, version } = verdict;
    if done != Done::Yes {
        return Ok(Decided { done, number, written: Written::default() });
    }
    let Some(outcome) = result(core, cluster, home, &write, version, deadline).await? else {
        // It is gone again: whoever deleted it told the others.
        let written = Written { acked: 1, version, ..Written::default() };
        return Ok(Decided { done, number, written });
    };
    let Outcome { change, version } = outcome;
    let HomeWrite { key, latch, .. } = write;
    let plan = SpreadPlan { key: key.clone(), change, version, latch, deadline, done_in: Some(home) };
    let spread = spread(core, cluster, plan).await;
    if let Err(WriteError::MaybeApplied { .. }) = &spread {
        // Until it has what others decided, all that it decides is overtaken.
        let hash = cluster.placement().key_hash(key.as_bytes());
        if let Some(member) = cluster.owner(home, hash) {
            let _ = catch_up(core, cluster, &key, member, Instant::now() + AFTERWARDS_MAX).await;
        }
    }
    Ok(Decided { done, number, written: spread?.written })
}

/// What the other server groups get after the home zone has carried the change out; `None` when it has no item any
/// more.
async fn result(
    core: &Core,
    cluster: &Cluster,
    home: usize,
    write: &HomeWrite,
    version: Option<Version>,
    deadline: Instant,
) -> Result<Option<Outcome>, WriteError> {
    if let Change::Store { mode: SetMode::Set | SetMode::Add | SetMode::Replace, .. } = &write.change {
        return Ok(Some(Outcome { change: as_set(write.change.clone()), version }));
    }
    let hash = cluster.placement().key_hash(write.key.as_bytes());
    let member = cluster.owner(home, hash).expect("the home zone has just answered from this topology");
    let plan = ReadPlan::new(core, Want::Item, deadline.saturating_duration_since(Instant::now()));
    let cause = match member.get(&write.key, &plan, deadline).await {
        Ok(Some(item)) if is_overtaken(version, item.version) => NodeError::Overtaken,
        Ok(found) => {
            return Ok(found.map(|item| {
                let version = item.version;
                Outcome { change: as_it_is(core, item), version }
            }));
        }
        // The home zone has it, and the others have not.
        Err(cause) => cause,
    };
    core.metrics.write_failures.increment(1);
    Err(WriteError::MaybeApplied { attempt: member.attempt(cause) })
}

/// Whether what was decided has met with another zone's decision, which may not have known of it.
pub(crate) fn is_overtaken(decided: Option<Version>, there: Option<Version>) -> bool {
    let (Some(decided), Some(there)) = (decided, there) else { return false };
    decided.is_decided() && there.is_decided() && !decided.is_continued_by(there)
}

fn not_applied(latch: LatchPolicy, attempts: Vec<Attempt>) -> WriteError {
    let failed = attempts.len();
    let Written { acked, pending, .. } = Written::default();
    let (maybe_applied, decided) = (false, false);
    WriteError::NotAcknowledged { latch, acked, failed, pending, maybe_applied, decided, attempts }
}

/// What the other server groups get: the decision has been made.
fn as_set(change: Change) -> Change {
    match change {
        Change::Store { value, flags, exptime, .. } => {
            Change::Store { mode: SetMode::Set, value, flags, exptime, compare: None }
        }
        other => other,
    }
}

/// A set of the item as a node has it, which expires when it does.
pub(crate) fn as_it_is(core: &Core, item: Item) -> Change {
    let now = core.nodes_now();
    let exptime = item.ttl.map_or(Ttl::Never, |left| Ttl::remaining(left, now)).exptime(now);
    let Item { value, flags, .. } = item;
    Change::Store { mode: SetMode::Set, value, flags, exptime, compare: None }
}

#[cfg(test)]
mod tests;
