//! What one place must decide: conditional stores, appends and arithmetic. The key's home zone does, the others follow.
//!
//! ```text
//!   change ──> home zone ── refused ──> that is the answer
//!                 │ done
//!                 ├── a store: the others get the same value as a set
//!                 └── an append, a number: the home zone's item is read back, and the others get it as a set
//! ```

use std::sync::Arc;
use std::time::Duration;

use evanesce_transport::TransportError;
use evanesce_wire::request::SetMode;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::core::{Core, TIMEOUT_MAX};
use crate::error::{Attempt, NodeError, ReadError, WriteError};
use crate::item::Item;
use crate::key::Key;
use crate::member::Member;
use crate::outcome::Written;
use crate::policy::LatchPolicy;
use crate::read::{Hit, ReadPlan};
use crate::request::{Change, Done, Stamp, Want, with_change, with_flags_question};
use crate::spread::{SpreadPlan, spread};
use crate::ttl::Ttl;
use crate::version::Version;

/// What a node says of arithmetic on a value that is no number.
const NON_NUMERIC: &str = "cannot increment or decrement non-numeric value";

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

/// What a node answered to a change.
#[derive(Debug, Clone, Copy)]
struct Verdict {
    done: Done,
    number: Option<u64>,
    /// What it stamped the change with; `None` when it keeps no versions.
    version: Option<Version>,
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
        decide_and_spread(&core, &cluster, write).await
    });
    // The task neither panics nor is aborted, unless its runtime ends: nobody is left then.
    task.await.unwrap_or(Err(WriteError::Closed))
}

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

/// The flags of what the home zone has; `None` when it has nothing, or does not answer.
pub(crate) async fn flags_at_home(cluster: &Cluster, key: &Key, deadline: Instant) -> Option<u32> {
    let hash = cluster.placement().key_hash(key.as_bytes());
    let mut members =
        cluster.placement().home_order(hash).into_iter().filter_map(|group| cluster.owner(group, hash));
    let link = &members.find(|member| !member.link.is_suspect())?.link;
    let outcome = with_flags_question(key, link.next_opaque(), |request| {
        link.connection.start_call(request, deadline)
    });
    link.judge(outcome.await).ok()?.client_flags()
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
    let plan = SpreadPlan { key, change, version, latch, deadline, done_in: Some(home) };
    let written = spread(core, cluster, plan).await?.written;
    Ok(Decided { done, number, written })
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
    match member.get(&write.key, &plan, deadline).await {
        Ok(found) => Ok(found.map(|item| {
            let version = item.version;
            Outcome { change: as_it_is(item), version }
        })),
        Err(cause) => {
            core.metrics.write_failures.increment(1);
            // The home zone has it, and the others have not.
            Err(WriteError::MaybeApplied { attempt: member.attempt(cause) })
        }
    }
}

/// Asks the home zone; the next in order only while the one before certainly did not execute it. A home zone that is
/// not asked because our own queue is full may decide for others meanwhile: then nobody else is asked.
async fn decide(
    core: &Core,
    cluster: &Cluster,
    write: &HomeWrite,
    deadline: Instant,
) -> Result<(usize, Verdict), WriteError> {
    let hash = cluster.placement().key_hash(write.key.as_bytes());
    let mut attempts: Vec<Attempt> = Vec::new();
    for group in cluster.placement().home_order(hash) {
        let Some(member) = cluster.owner(group, hash) else { continue };
        match member.change(write, deadline).await {
            Ok(verdict) => {
                // What this client writes after that is newer, whatever the home zone's clock says.
                verdict.version.iter().for_each(|version| core.clock.observe(*version, Core::now()));
                return Ok((group, verdict));
            }
            Err(cause) if cause.maybe_applied() => {
                core.metrics.write_failures.increment(1);
                return Err(WriteError::MaybeApplied { attempt: member.attempt(cause) });
            }
            Err(NodeError::Transport(TransportError::QueueFull { .. })) => {
                core.metrics.write_failures.increment(1);
                return Err(WriteError::Busy);
            }
            Err(cause) => attempts.push(member.attempt(cause)),
        }
        // Nobody would wait for the next one's answer.
        if Instant::now() >= deadline {
            break;
        }
    }
    core.metrics.write_failures.increment(1);
    Err(not_applied(write.latch, attempts))
}

impl Member {
    async fn change(&self, write: &HomeWrite, deadline: Instant) -> Result<Verdict, NodeError> {
        let opaque = self.link.next_opaque();
        let connection = &self.link.connection;
        let stamp = if connection.speaks_versions() { Stamp::Told } else { Stamp::Without };
        let outcome = with_change(&write.key, &write.change, stamp, opaque, |request| {
            connection.start_call(request, deadline)
        });
        let reply = match self.link.judge(outcome.await) {
            Err(NodeError::Refused(line)) if line == NON_NUMERIC => {
                return Ok(Verdict { done: Done::NotANumber, number: None, version: None });
            }
            reply => reply?,
        };
        let digits = reply.value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
        let number = digits.and_then(|digits| digits.trim_ascii_end().parse().ok());
        Ok(Verdict { done: Done::of(&reply)?, number, version: reply.version().map(Version) })
    }
}

fn not_applied(latch: LatchPolicy, attempts: Vec<Attempt>) -> WriteError {
    let failed = attempts.len();
    let Written { acked, pending, .. } = Written::default();
    WriteError::NotAcknowledged { latch, acked, failed, pending, maybe_applied: false, attempts }
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
pub(crate) fn as_it_is(item: Item) -> Change {
    let exptime = item.ttl.map_or(Ttl::Never, Ttl::remaining).exptime(Core::now());
    let Item { value, flags, .. } = item;
    Change::Store { mode: SetMode::Set, value, flags, exptime, compare: None }
}

#[cfg(test)]
mod tests;
