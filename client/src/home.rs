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
use crate::repair::Repair;
use crate::request::{Change, Done, Stamp, Want, with_change, with_flags_question, with_repair};
use crate::skew::align_clock;
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
        let key = write.key.clone();
        let _writing = core.near.writing(&key);
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
    let outcome =
        with_flags_question(key, link.next_opaque(), |request| link.connection.start_call(request, deadline));
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
            Outcome { change: as_it_is(core, item), version }
        })),
        Err(cause) => {
            core.metrics.write_failures.increment(1);
            // The home zone has it, and the others have not.
            Err(WriteError::MaybeApplied { attempt: member.attempt(cause) })
        }
    }
}

/// Asks the home zone; the next in order only while the one before certainly did not execute it, settles, or has missed a
/// write of the key. Those that
/// settle are asked once more when nobody else decided.
async fn decide(
    core: &Core,
    cluster: &Arc<Cluster>,
    write: &HomeWrite,
    deadline: Instant,
) -> Result<(usize, Verdict), WriteError> {
    let mut asking = Asking { core, cluster, write, deadline, attempts: Vec::new(), aligned: false };
    let decided = match asking.round(false).await {
        Ok(None) if asking.settles() => {
            asking.attempts.clear();
            asking.round(true).await
        }
        decided => decided,
    };
    if let Ok(Some(decided)) = decided {
        return Ok(decided);
    }
    core.metrics.write_failures.increment(1);
    Err(decided.err().unwrap_or_else(|| not_applied(write.latch, asking.attempts)))
}

/// A change on its way to whoever decides.
struct Asking<'a> {
    core: &'a Core,
    cluster: &'a Arc<Cluster>,
    write: &'a HomeWrite,
    deadline: Instant,
    attempts: Vec<Attempt>,
    /// This machine's clock has been compared with the nodes'.
    aligned: bool,
}

impl Asking<'_> {
    /// Whether somebody did not decide only because it settles.
    fn settles(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.cause == NodeError::Settling)
    }

    /// Asks one after the other. A home zone that is not asked because our own queue is full may decide for others
    /// meanwhile: then nobody else is asked.
    async fn round(&mut self, even_settling: bool) -> Result<Option<(usize, Verdict)>, WriteError> {
        let placement = self.cluster.placement();
        let hash = placement.key_hash(self.write.key.as_bytes());
        for group in placement.home_order(hash) {
            let Some(member) = self.cluster.owner(group, hash) else { continue };
            if !even_settling && self.core.owes(member, &self.write.key) {
                self.attempts.push(member.attempt(NodeError::Settling));
                continue;
            }
            match self.ask(member, even_settling).await {
                Ok(verdict) => return Ok(Some((group, verdict))),
                Err(cause) if cause.maybe_applied() => {
                    return Err(WriteError::MaybeApplied { attempt: member.attempt(cause) });
                }
                Err(NodeError::Transport(TransportError::QueueFull { .. })) => return Err(WriteError::Busy),
                Err(cause) => self.attempts.push(member.attempt(cause)),
            }
            // Nobody would wait for the next one's answer.
            if Instant::now() >= self.deadline {
                break;
            }
        }
        Ok(None)
    }

    /// Asks one node; once more when this machine's clock was wrong, and when the node lacks what another has.
    async fn ask(&mut self, member: &Arc<Member>, even_settling: bool) -> Result<Verdict, NodeError> {
        let change = &self.write.change;
        let mut verdict = self.send(member, &without_initial(change), even_settling).await?;
        if verdict.done == Done::ClockAhead && !self.aligned {
            self.aligned = true;
            align_clock(self.core, self.cluster, self.deadline).await;
            verdict = self.send(member, &without_initial(change), even_settling).await?;
        }
        if verdict.is_miss_of(change) {
            let restored = self.restore(member).await?;
            if restored || is_with_initial(change) {
                verdict = self.send(member, change, even_settling).await?;
            }
        }
        match verdict.done {
            Done::ClockAhead => Err(NodeError::ClockRefused),
            Done::Settling => Err(NodeError::Settling),
            _ => {
                // What this client writes after that is newer, whatever the home zone's clock says.
                verdict.version.iter().for_each(|version| self.core.clock.observe(*version, self.core.now()));
                Ok(verdict)
            }
        }
    }

    /// Gives a node that lacks the key, evicted or lost in a restart, the item of the nearest other zone that has it.
    async fn restore(&self, home: &Arc<Member>) -> Result<bool, NodeError> {
        let key = &self.write.key;
        let hash = self.cluster.placement().key_hash(key.as_bytes());
        let now = Instant::now();
        let plan = ReadPlan::new(self.core, Want::Item, self.deadline.saturating_duration_since(now));
        let others = self.cluster.read_order().iter().filter_map(|&group| self.cluster.owner(group, hash));
        for other in others.filter(|other| !Arc::ptr_eq(other, home) && !other.link.is_suspect()) {
            let due = self.deadline.min(Instant::now() + plan.attempt_timeout);
            let Ok(Some(item)) = other.get(key, &plan, due).await else { continue };
            let Some(version) = item.version else { continue };
            if self.core.repairs.lock().misses_any(&other.id()) {
                continue;
            }
            let repair = Repair { key: key.clone(), change: as_it_is(self.core, item), version };
            let link = &home.link;
            let sent = with_repair(&repair, link.next_opaque(), |request| {
                link.connection.start_call(request, self.deadline)
            });
            return Ok(Done::of(&link.judge(sent.await)?)? == Done::Yes);
        }
        Ok(false)
    }

    async fn send(
        &self,
        member: &Member,
        change: &Change,
        even_settling: bool,
    ) -> Result<Verdict, NodeError> {
        let opaque = member.link.next_opaque();
        let connection = &member.link.connection;
        let stamp = if connection.speaks_versions() {
            Stamp::Decides { at_least: self.core.clock.stamp(self.core.now()), even_settling }
        } else {
            Stamp::Without
        };
        let outcome = with_change(&self.write.key, change, stamp, opaque, |request| {
            connection.start_call(request, self.deadline)
        });
        let reply = match member.link.judge(outcome.await) {
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

impl Verdict {
    /// Whether the change failed only because the node does not have the key.
    fn is_miss_of(&self, change: &Change) -> bool {
        match change {
            Change::Store { compare: Some(_), .. } => self.done == Done::NotFound,
            Change::Store { mode: SetMode::Replace | SetMode::Append | SetMode::Prepend, .. } => {
                self.done == Done::NotStored
            }
            Change::Arithmetic { .. } => self.done == Done::NotFound,
            _ => false,
        }
    }
}

/// Whether an absent number is made.
fn is_with_initial(change: &Change) -> bool {
    matches!(change, Change::Arithmetic { initial: Some(_), .. })
}

/// The change as it is asked for first: a number is made only when no zone has it.
fn without_initial(change: &Change) -> Change {
    match change {
        Change::Arithmetic { direction, delta, .. } => {
            Change::Arithmetic { direction: *direction, delta: *delta, initial: None }
        }
        other => other.clone(),
    }
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
