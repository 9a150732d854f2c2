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
//! Nodes do not talk to each other about decisions, and clients do not agree on who is well: while a zone dies, comes back or is
//! cut off, two zones may decide at the same moment, each on what it has. Then one of the two outcomes must stay everywhere,
//! and the caller of the other must not be told that it is done. Any two majorities of zones have one in common, and that
//! one sees to it, after Lamport's Paxos, by one key: the version is the ballot.
//!
//! 1. **Promises.** A zone decides without asking anybody only if it itself decided what it has of the key (a mark in the
//!    item, gone with any other write), and has not promised another zone to leave it alone. Otherwise the client
//!    first has a majority promise to agree to nothing older than a version that is larger than all they know of, asks in the
//!    same breath what they have, and brings the decider the newest: [`catch_up()`]. An `add` always asks: that
//!    a key is not here says nothing. A delete or a flush that a zone knows of, and has no item after, is known, told and
//!    brought like an item. The answers of a majority are enough; others are waited for a little, for what they alone may have.
//! 2. **Versions.** A decision is no older than what was promised, and else the next count after what it changed; where
//!    that is 512 counts more than was promised it is not made, and promises are asked for anew. Who
//!    takes over from another zone is promised 1,024 counts, about a millisecond, more than that was, so that the other does
//!    not get past it by going on: it would take 1,024 decisions that nobody agrees to, and each makes it ask anew. After a
//!    plain write it is one count, and where no zone has the key 250 ms before the clock for the key's first zone and the
//!    clock for others, so that a plain write made at the same time wins. The lowest bits of a version say that it was
//!    decided, and by whom: the zone's place in the order and a hash of the node and its process ([`Place`]), so that in
//!    the middle of a resize two owners of one zone are not taken for one. Who goes on keeps the bits of what it goes on from.
//! 3. **Consent.** An outcome is acknowledged once a majority has it and has not promised anything newer, and every other zone
//!    that is well has it, too, or is silent until time is up: [`Agreement`](crate::policy::Agreement).
//!    A zone stores first and then looks at its promises, or
//!    promises first and then looks at what it has, so of an outcome and a promise one sees the other.
//! 4. **Being overtaken.** A zone that answers "superseded" by a decision, or a promise, which does not go on from ours ends it
//!    as [`WriteError::MaybeApplied`]. It goes on from ours if the same place made it fewer counts later than
//!    anybody who took over would have. If the newer write is no decision, it is as if it had come right after.
//!    A promise of which nothing came overtakes one decision only: the zone that lost to it goes on no more, asks anew the
//!    next time, and gets past it. What it read back and no longer has, or has older, ends in the same way.
//! 5. **Settling.** A node that started, or did not run, within the last five seconds is not asked to decide while another can
//!    be. One that has lost its memory has lost its promises: while it settles it counts for no majority, unless all agree.
//!
//! Let *d* be acknowledged, decided by zone *x*, and *e* decided later or at the same time by zone *y*, with a larger
//! version. *d* is in a majority, *e* was promised by a majority, and some zone *z* is in both. If *z* promised *e* before it
//! stored *d*, it did not agree to *d*. If it stored *d* first, whoever asked for *e* was told of *d*, or of something newer that
//! was made of *d*, and *e* is made of that. A decision that goes on from the last one of its zone needs no new promise:
//! until another is made to somebody else the one it has stands, and then *z* does not agree. What is not agreed to may stay
//! all the same: its caller is told that nobody knows.
//!
//! A promise of *f* to *y* need not be as late as *e*: zones keep what they promised to the same place before, so that what it
//! decides meanwhile is not overtaken by each who asks. It holds for *e* if that is less than 1,024 counts later. Let *z* agree to
//! a *d* between the two. Those who promised *d* are a majority, too, and some zone *u* among them promised *y* what counted
//! for *e*. If it did that first, *d* is 1,024 counts later than that, and so later than *e*. If it promised *d* first, what it
//! promised *y* is 1,024 counts later than *d*, so more than 1,024 after *f*, and later than *e*: but *e* is no older than any
//! promise that counts for it. So there is no such *d*. For that only promises count that are less than 512 counts older than
//! the latest ([`Ballot`](crate::policy::Ballot)), and a node decides less than 512 counts after that. Zones that promised less
//! are asked again, in a way in which they give more to the same place, too.
//!
//! Who decides is told by rank and a hash of eight bits. Ranks differ among the nodes that one topology names for a key, so two
//! can pass for one only where clients go by two topologies at once: while a resize or a new order spreads, if both nodes
//! decide the same key in that moment, and then for one pair in 256.
//!
//! So it holds however many zones are cut off, from whomever and in whatever direction, and while processes stand still.
//! Without a majority nothing is decided: that is [`NodeError::Outvoted`], or `MaybeApplied` when the zones went
//! away in the middle. What can still be lost takes two faults at once, one of which destroys memory: a zone that comes back
//! empty, while another that has the outcome is out of reach for all who could bring it there in those five seconds and
//! afterwards. With two zones there is no majority without the other, and one is to go on: what two clients decide that see one
//! zone each is not kept. Nodes remember some 30,000 promises each for sure: one that was passed over by so many, and of which
//! nothing came, may be forgotten. An item that all zones evict, or lose, is lost; and one that is evicted by the only zone that
//! has it among those whom the next to decide can reach.
//!
//! What it costs: an outcome waits for the slowest zone that is well, not for the local one; the first change after a
//! plain write, or of another zone than the last, asks all zones before, mostly once. With [`LatchPolicy::None`] the caller
//! does not wait, and is promised nothing.

use std::sync::Arc;
use std::time::Duration;

use evanesce_wire::request::SetMode;
use tokio::time::Instant;
use tracing::Instrument;

use crate::cluster::Cluster;
use crate::codec::ABSENT_FLAGS;
use crate::core::{Core, TIMEOUT_MAX};
use crate::error::{Attempt, NodeError, WriteError};
use crate::item::Item;
use crate::key::Key;
use crate::outcome::Written;
use crate::place::Place;
use crate::policy::LatchPolicy;
use crate::read::ReadPlan;
use crate::request::{Change, Done, Want};
use crate::spread::{SpreadPlan, spread};
use crate::ttl::Ttl;
use crate::version::Version;

mod aftermath;
mod asking;
mod catch_up;
mod read;

pub(crate) use aftermath::AFTERMATHS_MAX;
pub(crate) use asking::Verdict;
pub(crate) use read::{flags_at_home, read_at_home};

use aftermath::look_after;
use asking::decide;
use catch_up::{Electorate, refresh};

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
    let span = core.span();
    let deciding = async move {
        let _permit = permit;
        let key = write.key.clone();
        let _writing = core.near.writing(&key);
        let decided = decide_and_spread(&core, &cluster, write).await;
        if matches!(decided, Err(WriteError::MaybeApplied { .. })) {
            look_after(&core, key.clone());
        }
        decided
    };
    let task = tokio::spawn(deciding.instrument(span));
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
    let outcome = result(core, cluster, home, &write, version, deadline).await?;
    let done = if joins_nothing(&write.change, &outcome.change) { Done::NotStored } else { done };
    let Outcome { change, version } = outcome;
    let HomeWrite { key, latch, .. } = write;
    let plan =
        SpreadPlan { key: key.clone(), change, version, latch, deadline, done_in: Some(home), slot: None };
    let spread = spread(core, cluster, plan).await;
    if let Err(WriteError::MaybeApplied { .. }) = &spread {
        // Until it has what others decided, all that it decides is overtaken.
        let hash = cluster.placement().key_hash(key.as_bytes());
        if let Some(member) = cluster.owner(home, hash) {
            let electorate = Electorate::of(cluster, &key);
            let rank = cluster.placement().home_order(hash).into_iter().position(|group| group == home);
            let decider = (member, Place::new(rank.unwrap_or_default(), member.mark));
            let _ = refresh(core, &electorate, &key, decider, Instant::now() + AFTERWARDS_MAX).await;
        }
    }
    Ok(Decided { done, number, written: spread?.written })
}

/// What the other server groups get after the home zone has carried the change out. When that has no item any more, or an
/// older one, nobody knows what becomes of the change.
async fn result(
    core: &Core,
    cluster: &Cluster,
    home: usize,
    write: &HomeWrite,
    version: Option<Version>,
    deadline: Instant,
) -> Result<Outcome, WriteError> {
    if let Change::Store { mode: SetMode::Set | SetMode::Add | SetMode::Replace, .. } = &write.change {
        return Ok(Outcome { change: as_set(write.change.clone()), version });
    }
    let hash = cluster.placement().key_hash(write.key.as_bytes());
    let member = cluster.owner(home, hash).expect("the home zone has just answered from this topology");
    let plan = ReadPlan::new(core, Want::Item, deadline.saturating_duration_since(Instant::now()));
    let cause = match member.get(&write.key, &plan, deadline).await {
        Ok(Some(item)) if item.version >= version && !is_overtaken(version, item.version) => {
            let version = item.version;
            return Ok(Outcome { change: as_it_is(core, item), version });
        }
        Ok(_) => NodeError::Overtaken,
        // The home zone has it, and the others have not.
        Err(cause) => cause,
    };
    core.metrics.write_failures.increment(1);
    Err(WriteError::MaybeApplied { attempt: member.attempt(cause) })
}

/// Whether bytes were put beside what says that there is no value: to all readers there is none still. They go to the other zones
/// all the same, so that all have one item, and end with it.
fn joins_nothing(asked: &Change, outcome: &Change) -> bool {
    let joins = matches!(asked, Change::Store { mode: SetMode::Append | SetMode::Prepend, .. });
    joins && matches!(outcome, Change::Store { flags: ABSENT_FLAGS, .. })
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
    let Item { value, flags, ttl, until_secs, .. } = item;
    let exptime = Ttl::of_copy(until_secs, ttl, now).exptime(now);
    Change::Store { mode: SetMode::Set, value, flags, exptime, compare: None }
}

#[cfg(test)]
mod tests;
