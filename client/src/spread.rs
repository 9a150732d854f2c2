//! Writing to every server group, and waiting for as many as the latch policy says.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use evanesce_transport::{Completion, TransportError};
use evanesce_wire::reply::Reply;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::cluster::Cluster;
use crate::core::Core;
use crate::error::{Attempt, NodeError, WriteError};
use crate::key::Key;
use crate::member::Member;
use crate::outcome::Written;
use crate::policy::{Decision, Latch, LatchPolicy, Side};
use crate::request::{Change, Done, read_done, with_change};

/// A change, to whom it goes and how long the caller waits.
pub(crate) struct SpreadPlan<'a> {
    pub(crate) key: &'a Key,
    pub(crate) change: &'a Change,
    pub(crate) latch: LatchPolicy,
    pub(crate) deadline: Instant,
    /// A server group that has executed it already.
    pub(crate) done_in: Option<usize>,
}

/// How far a change came, and whether any replica held the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) written: Written,
    pub(crate) found: bool,
}

/// Sends the change to every server group that is not disabled and waits for the latch.
///
/// All is sent before the first await: dropping the future takes nothing back. Replicas that answer after the latch
/// are counted by the connections' tasks; their number is bounded by the connections' queues. A node that is ill is
/// sent the change all the same, since it would otherwise keep an older value; nobody waits for it.
pub(crate) async fn spread(
    core: &Arc<Core>,
    cluster: &Cluster,
    plan: SpreadPlan<'_>,
) -> Result<Spread, WriteError> {
    let race = Arc::new(Race::new(core, cluster, &plan));
    race.start(plan.key, plan.change);
    let decision = match timeout_at(plan.deadline, poll_fn(|cx| race.poll(cx))).await {
        Ok(decision) => decision,
        Err(_) => race.state.lock().latch.give_up(),
    };
    race.conclude(decision)
}

/// One change on its way to all replicas.
struct Race {
    core: Arc<Core>,
    legs: Vec<Leg>,
    state: Mutex<State>,
}

/// One replica's part.
struct Leg {
    member: Arc<Member>,
    /// `None` when the server group is written only, and counts for nothing.
    side: Option<Side>,
}

struct State {
    latch: Latch,
    found: bool,
    /// Legs that certainly did not execute the change.
    not_applied: usize,
    attempts: Vec<Attempt>,
    waker: Option<Waker>,
}

impl Race {
    fn new(core: &Arc<Core>, cluster: &Cluster, plan: &SpreadPlan<'_>) -> Self {
        let hash = cluster.placement().key_hash(plan.key.as_bytes());
        let mut legs = Vec::with_capacity(cluster.groups());
        let mut home = None;
        for group in 0..cluster.groups() {
            if !cluster.mode(group).is_written() {
                continue;
            }
            let Some(member) = cluster.owner(group, hash) else { continue };
            let is_local = member.zone == core.settings.zone && !member.link.is_suspect();
            let side = if is_local { Side::Local } else { Side::Remote };
            if plan.done_in == Some(group) {
                home = Some(side);
            } else {
                let side = cluster.mode(group).is_read().then_some(side);
                legs.push(Leg { member: Arc::clone(member), side });
            }
        }
        let sides = legs.iter().filter_map(|leg| leg.side).chain(home);
        let mut latch = Latch::new(plan.latch, sides);
        if let Some(side) = home {
            latch.acked(side);
        }
        let state = State { latch, found: false, not_applied: 0, attempts: Vec::new(), waker: None };
        Self { core: Arc::clone(core), legs, state: Mutex::new(state) }
    }

    fn start(self: &Arc<Self>, key: &Key, change: &Change) {
        for (token, leg) in self.legs.iter().enumerate() {
            let link = &leg.member.link;
            let completion = Arc::clone(self) as Arc<dyn Completion>;
            let sent = with_change(key, change, link.next_opaque(), |request| {
                link.connection.submit(request, completion, token)
            });
            if let Err(error) = sent {
                self.complete(token, Err(error));
            }
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Decision> {
        let mut state = self.state.lock();
        match state.latch.decide() {
            Decision::Waiting => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            decision => Poll::Ready(decision),
        }
    }

    fn conclude(&self, decision: Decision) -> Result<Spread, WriteError> {
        let mut state = self.state.lock();
        let written = state.latch.written();
        if decision == Decision::Met {
            return Ok(Spread { written, found: state.found });
        }
        self.core.metrics.write_failures.increment(1);
        Err(WriteError::NotAcknowledged {
            latch: state.latch.policy(),
            acked: written.acked,
            failed: written.failed,
            pending: written.pending,
            maybe_applied: written.acked > 0 || state.not_applied < self.legs.len(),
            attempts: std::mem::take(&mut state.attempts),
        })
    }

    fn on_done(&self, leg: &Leg, done: Done) {
        self.core.metrics.replica_acks.increment(1);
        let mut state = self.state.lock();
        state.found |= done == Done::Yes;
        if let Some(side) = leg.side {
            state.latch.acked(side);
        }
        wake(state);
    }

    fn on_failed(&self, leg: &Leg, cause: NodeError) {
        self.core.metrics.replica_failures.increment(1);
        let mut state = self.state.lock();
        state.not_applied += usize::from(!cause.maybe_applied());
        state.attempts.push(leg.member.attempt(cause));
        if let Some(side) = leg.side {
            state.latch.failed(side);
        }
        wake(state);
    }
}

impl Completion for Race {
    fn complete(&self, token: usize, outcome: Result<Reply, TransportError>) {
        let leg = &self.legs[token];
        match leg.member.link.judge(outcome).and_then(|reply| read_done(&reply)) {
            Ok(done) => self.on_done(leg, done),
            Err(cause) => self.on_failed(leg, cause),
        }
    }
}

/// Wakes the caller, when it waits and there is something to wake for; after the lock's release.
fn wake(mut state: parking_lot::MutexGuard<'_, State>) {
    let decided = state.latch.decide() != Decision::Waiting;
    let waker = if decided { state.waker.take() } else { None };
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests;
