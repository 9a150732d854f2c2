//! Writing to every server group, and waiting for as many as the latch policy says.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use evanesce_transport::{Completion, TransportError};
use evanesce_wire::reply::{MetaReply, Reply};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::cluster::Cluster;
use crate::core::Core;
use crate::error::{Attempt, NodeError, WriteError};
use crate::home::is_overtaken;
use crate::key::Key;
use crate::large::touch_chunks;
use crate::member::Member;
use crate::observe::{replica_answered, traced, write_span};
use crate::outcome::Written;
use crate::policy::{Decision, Latch, LatchPolicy, Side, held_up};
use crate::repair::Repair;
use crate::request::{Change, Done, Stamp, with_change};
use crate::skew::{align_clock, doubt_clock};
use crate::value::flags::MANIFEST;
use crate::version::Version;

mod consent;
mod pace;

use consent::Consent;
use pace::Pace;
pub(crate) use pace::Slot;

/// One write in sixteen measures how far the zones are: zones that are never read are measured, too.
const MEASURED_MASK: u64 = 15;
/// Between two looks at zones that an outcome is still to come to: other requests find out that one is ill.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A process that did not run waits for so much longer at most: answers that are there are read in a few milliseconds.
const HELD_UP_MAX: Duration = Duration::from_millis(100);

/// A change, to whom it goes and how long the caller waits.
pub(crate) struct SpreadPlan {
    pub(crate) key: Key,
    pub(crate) change: Change,
    /// What somebody else has stamped it with; `None` to stamp it here.
    pub(crate) version: Option<Version>,
    pub(crate) latch: LatchPolicy,
    pub(crate) deadline: Instant,
    /// A server group that has executed it already.
    pub(crate) done_in: Option<usize>,
    /// Its place in a bulk operation.
    pub(crate) slot: Option<Slot>,
}

impl SpreadPlan {
    /// A change that all server groups get, stamped here.
    pub(crate) fn of_all(key: Key, change: Change, latch: LatchPolicy, deadline: Instant) -> Self {
        Self { key, change, version: None, latch, deadline, done_in: None, slot: None }
    }

    /// Whether it is the outcome of a decision that is to stay, whoever decides next.
    fn needs_consent(&self) -> bool {
        self.done_in.is_some() && self.version.is_some() && self.latch != LatchPolicy::None
    }
}

/// How far a change came, and whether any replica held the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) written: Written,
    pub(crate) found: bool,
}

/// Sends the change to every server group that is not disabled, to the owners on both of its rings where it has two, and
/// waits for the latch.
///
/// All is sent before the first await: dropping the future takes nothing back. Replicas that answer after the latch
/// are counted by the connections' tasks; their number is bounded by the connections' queues. A node that is ill is
/// sent the change all the same, since it would otherwise keep an older value; nobody waits for it. What a replica
/// has missed goes into the repair queue.
pub(crate) async fn spread(
    core: &Arc<Core>,
    cluster: &Arc<Cluster>,
    plan: SpreadPlan,
) -> Result<Spread, WriteError> {
    match write_span() {
        None => send(core, cluster, plan).await,
        Some(span) => traced(span, send(core, cluster, plan)).await,
    }
}

async fn send(core: &Arc<Core>, cluster: &Arc<Cluster>, plan: SpreadPlan) -> Result<Spread, WriteError> {
    let _writing = core.near.writing(&plan.key);
    let race = Race::start(core, cluster, &plan);
    let decision = race.decision(plan.deadline).await;
    if plan.version.is_some() || !race.is_to_be_stamped_anew(cluster, decision, plan.deadline).await {
        return race.conclude(decision);
    }
    let again = Race::start(core, cluster, &plan);
    let decision = again.decision(plan.deadline).await;
    let found = race.state.lock().found;
    let outcome = again.conclude(decision);
    outcome.map(|spread| Spread { found: spread.found || found, ..spread })
}

/// The legs to zones that may decide: those of servers that keep versions.
fn deciders(legs: &[Leg]) -> Vec<(usize, Arc<Member>)> {
    let may_decide = |leg: &Leg| leg.side.is_some() && leg.member.link.keeps_versions();
    let legs = legs.iter().enumerate().filter(|(_, leg)| may_decide(leg));
    legs.map(|(token, leg)| (token, Arc::clone(&leg.member))).collect()
}

/// Whether the replica may have missed the write through no fault of the write's.
fn is_repairable(cause: &NodeError) -> bool {
    matches!(cause, NodeError::Transport(_) | NodeError::Failed(_))
}

/// One change on its way to all replicas.
struct Race {
    core: Arc<Core>,
    key: Key,
    change: Change,
    version: Version,
    /// How often the clock had been put right when it stamped the version.
    corrections: u64,
    /// The change is one that has been decided: the legs get what came of it.
    decided: bool,
    pace: Option<Pace>,
    legs: Vec<Leg>,
    started: Instant,
    state: Mutex<State>,
}

/// One replica's part.
struct Leg {
    member: Arc<Member>,
    /// `None` when the server group, or the ring that the replica is on, is written only, and counts for nothing.
    side: Option<Side>,
}

struct State {
    latch: Latch,
    /// To what was decided.
    consent: Option<Consent>,
    found: bool,
    /// The item turned out to have chunks, which somebody sees to.
    chunked: bool,
    /// A node has said that it has this version, or knows it.
    versioned: bool,
    superseded_by: Option<Version>,
    /// Legs that certainly did not execute the change.
    not_applied: usize,
    /// Whether some replica that missed the change is to get it later.
    owed: bool,
    /// Legs that found the version too far ahead of their clock.
    clock_refused: Vec<usize>,
    /// Legs without an answer.
    open: usize,
    attempts: Vec<Attempt>,
    waker: Option<Waker>,
}

impl Race {
    fn new(core: &Arc<Core>, cluster: &Cluster, plan: &SpreadPlan) -> Self {
        let hash = cluster.placement().key_hash(plan.key.as_bytes());
        let mut legs = Vec::with_capacity(cluster.groups());
        let mut home = None;
        for group in 0..cluster.groups() {
            if !cluster.mode(group).is_written() {
                continue;
            }
            if let Some(second) = cluster.second_owner(group, hash) {
                legs.push(Leg { member: Arc::clone(second), side: None });
            }
            let Some(member) = cluster.owner(group, hash) else { continue };
            let is_local = member.zone == core.settings.zone && !member.link.is_suspect();
            let side = if is_local { Side::Local } else { Side::Remote };
            if plan.done_in == Some(group) {
                home = Some((side, Arc::clone(member)));
            } else {
                let side = cluster.mode(group).is_read().then_some(side);
                legs.push(Leg { member: Arc::clone(member), side });
            }
        }
        let sides = legs.iter().filter_map(|leg| leg.side).chain(home.iter().map(|(side, _)| *side));
        let mut latch = Latch::new(plan.latch, sides);
        if let Some((side, _)) = &home {
            latch.acked(*side);
        }
        let home = home.filter(|_| plan.needs_consent());
        let state = State {
            latch,
            consent: home.map(|(_, home)| Consent::new(&home, deciders(&legs))),
            found: false,
            chunked: false,
            versioned: plan.version.is_some(),
            superseded_by: None,
            not_applied: 0,
            owed: false,
            clock_refused: Vec::new(),
            open: legs.len(),
            attempts: Vec::new(),
            waker: None,
        };
        Self {
            core: Arc::clone(core),
            key: plan.key.clone(),
            change: plan.change.clone(),
            corrections: core.clock.corrections(),
            decided: plan.done_in.is_some(),
            version: plan.version.unwrap_or_else(|| core.clock.stamp(core.now())),
            pace: plan.slot.as_ref().map(|slot| Pace::new(slot, legs.len())),
            legs,
            started: Instant::now(),
            state: Mutex::new(state),
        }
    }

    fn start(core: &Arc<Core>, cluster: &Cluster, plan: &SpreadPlan) -> Arc<Self> {
        let race = Arc::new(Self::new(core, cluster, plan));
        core.unanswered.fetch_add(race.legs.len(), Ordering::AcqRel);
        race.send();
        race
    }

    fn send(self: &Arc<Self>) {
        for (token, leg) in self.legs.iter().enumerate() {
            let link = &leg.member.link;
            let completion = Arc::clone(self) as Arc<dyn Completion>;
            let stamp = match self.change {
                Change::Touch { .. } => Stamp::Without,
                _ if link.connection.speaks_versions() => Stamp::With(self.version),
                _ => Stamp::Without,
            };
            let sent = with_change(&self.key, &self.change, stamp, link.next_opaque(), |request| {
                link.connection.submit(request, completion, token)
            });
            if let Err(error) = sent {
                self.complete(token, Err(error));
            }
        }
    }

    async fn decision(&self, mut deadline: Instant) -> Decision {
        let looks = self.state.lock().consent.is_some();
        let mut was_held_up = false;
        loop {
            let look = if looks { deadline.min(Instant::now() + LOOK_EVERY) } else { deadline };
            let timed_out = match timeout_at(look, poll_fn(|cx| self.poll(cx))).await {
                Ok(decision) => return decision,
                Err(_) => Instant::now(),
            };
            if timed_out < deadline {
                continue;
            }
            // Time in which this process did not run is not the zones' time: their answers lie in the sockets, unread.
            match held_up(deadline, timed_out) {
                Some(late) if !was_held_up => {
                    (deadline, was_held_up) = (timed_out + late.min(HELD_UP_MAX), true);
                }
                _ => return self.state.lock().give_up(),
            }
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Decision> {
        let mut state = self.state.lock();
        match state.decide() {
            Decision::Waiting => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            decision => Poll::Ready(decision),
        }
    }

    /// Whether the write has lost to a wrong clock: it is sent once more, as one made now. Nobody was told yet what came
    /// of it, so that its place among other writes is open.
    async fn is_to_be_stamped_anew(
        &self,
        cluster: &Arc<Cluster>,
        decision: Decision,
        deadline: Instant,
    ) -> bool {
        let clock = &self.core.clock;
        let superseded_by = self.state.lock().superseded_by;
        let doubtful = match superseded_by {
            Some(by) if clock.is_far_behind(by, self.core.now()) => true,
            // Another write was there before this one came, though stamped later: by a clock ahead of ours.
            Some(by) if clock.is_behind(by, self.core.now()) => return true,
            Some(_) => false,
            None if self.is_refused_for_its_clock(decision) => true,
            None => return false,
        };
        if doubtful {
            align_clock(&self.core, cluster, deadline).await;
        }
        clock.corrections() != self.corrections
    }

    /// Whether the write failed because its version was too far ahead of the nodes' clocks, and nobody has it.
    fn is_refused_for_its_clock(&self, decision: Decision) -> bool {
        let state = self.state.lock();
        let refused = state.clock_refused.len();
        decision == Decision::Impossible
            && refused > 0
            && state.open == 0
            && state.not_applied + refused == self.legs.len()
    }

    fn conclude(&self, decision: Decision) -> Result<Spread, WriteError> {
        let mut state = self.state.lock();
        let version = state.versioned.then_some(self.version);
        let written = Written { version, superseded_by: state.superseded_by, ..state.latch.written() };
        if decision == Decision::Met {
            return Ok(Spread { written, found: state.found });
        }
        self.core.metrics.write_failures.increment(1);
        if state.consent.as_ref().is_some_and(Consent::is_overtaken) {
            let attempt = state.attempts.iter().find(|attempt| attempt.cause == NodeError::Overtaken);
            let attempt = attempt.cloned().expect("who has overtaken it is among the attempts");
            return Err(WriteError::MaybeApplied { attempt });
        }
        let not_applied = state.not_applied + state.clock_refused.len();
        Err(WriteError::NotAcknowledged {
            latch: state.latch.policy(),
            acked: written.acked,
            failed: written.failed,
            pending: written.pending,
            maybe_applied: written.acked > 0 || state.owed || not_applied < self.legs.len(),
            decided: self.decided,
            attempts: std::mem::take(&mut state.attempts),
        })
    }

    fn on_done(&self, token: usize, done: Done) {
        let leg = &self.legs[token];
        self.core.metrics.replica_acks.increment(1);
        let mut state = self.state.lock();
        state.found |= done == Done::Yes;
        state.versioned |= leg.member.link.connection.speaks_versions();
        match (done, &mut state.consent) {
            (Done::Superseded { by }, _) => self.on_superseded(&mut state, token, by),
            (_, Some(consent)) => consent.agreed(token),
            (_, None) => {}
        }
        if let Some(side) = leg.side {
            state.latch.acked(side);
        }
        self.settle(state);
    }

    fn on_superseded(&self, state: &mut State, token: usize, by: Version) {
        let clock = &self.core.clock;
        clock.observe(by, self.core.now());
        if clock.is_far_behind(by, self.core.now()) {
            doubt_clock(&self.core);
        }
        if let Some(consent) = &mut state.consent {
            if is_overtaken(Some(self.version), Some(by)) {
                consent.overtaken(token);
                return state.attempts.push(self.legs[token].member.attempt(NodeError::Overtaken));
            }
            consent.agreed(token);
            if by.is_decided() {
                // It was made of this one, and has it.
                return;
            }
        }
        if state.superseded_by.is_none() {
            self.core.metrics.superseded.increment(1);
        }
        state.superseded_by = state.superseded_by.max(Some(by));
    }

    fn on_failed(&self, token: usize, cause: NodeError) {
        let leg = &self.legs[token];
        self.core.metrics.replica_failures.increment(1);
        let owed = is_repairable(&cause) && self.is_owed_to(leg);
        if owed {
            // Before anyone is told: who closes the client then has it sent.
            self.repair(token);
        }
        let mut state = self.state.lock();
        if cause == NodeError::ClockRefused {
            doubt_clock(&self.core);
            state.clock_refused.push(token);
        } else {
            state.not_applied += usize::from(!cause.maybe_applied());
        }
        state.owed |= owed;
        if let Some(consent) = &mut state.consent {
            consent.failed(token);
        }
        state.attempts.push(leg.member.attempt(cause));
        if let Some(side) = leg.side {
            state.latch.failed(side);
        }
        self.settle(state);
    }

    /// One more leg has ended. Wakes the caller after the lock's release, when it waits and there is something to wake
    /// for.
    fn settle(&self, mut state: parking_lot::MutexGuard<'_, State>) {
        state.open -= 1;
        let late = if state.open == 0 && state.versioned {
            // Others have the write: the nodes that found it early get it once their clocks are there.
            std::mem::take(&mut state.clock_refused)
        } else {
            Vec::new()
        };
        let decided = state.decide() != Decision::Waiting;
        let waker = if decided { state.waker.take() } else { None };
        drop(state);
        for token in late {
            if self.is_owed_to(&self.legs[token]) {
                self.repair(token);
            }
        }
        // By now what it has missed, if it has, waits for the node to be back.
        self.core.unanswered.fetch_sub(1, Ordering::AcqRel);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A replica has said which flags the item has that it touched.
    fn on_flags(&self, reply: &MetaReply) {
        let Change::Touch { exptime, form: Some(form) } = self.change else { return };
        let has_chunks = reply.client_flags().is_some_and(|flags| flags & MANIFEST != 0);
        if has_chunks && !std::mem::replace(&mut self.state.lock().chunked, true) {
            touch_chunks(&self.core, &self.key, form, exptime);
        }
    }

    /// Sees to it that a replica which has missed the write gets it.
    fn repair(&self, token: usize) {
        let (key, change) = (self.key.clone(), self.change.clone());
        let repair = Repair { key, change, version: self.version };
        self.core.missed(self.legs[token].member.id(), repair);
    }

    fn is_owed_to(&self, leg: &Leg) -> bool {
        leg.member.link.keeps_versions() && self.change.is_repairable()
    }
}

impl State {
    /// Time is up.
    fn give_up(&mut self) -> Decision {
        self.latch.give_up();
        match (self.decide(), self.latch.decide(), &self.consent) {
            (Decision::Waiting, Decision::Met, Some(consent)) => consent.decide_at_last(),
            (Decision::Waiting, ..) => Decision::Impossible,
            (decision, ..) => decision,
        }
    }

    /// Whether to go on waiting. A write whose version was refused waits for all: if nobody has it, it is stamped anew.
    fn decide(&self) -> Decision {
        match self.latch.decide() {
            Decision::Met => self.consent.as_ref().map_or(Decision::Met, Consent::decide),
            Decision::Impossible if self.open > 0 && !self.clock_refused.is_empty() && !self.versioned => {
                Decision::Waiting
            }
            decision => decision,
        }
    }
}

impl Completion for Race {
    fn complete(&self, token: usize, outcome: Result<Reply, TransportError>) {
        let leg = &self.legs[token];
        if outcome.is_ok() && self.version.as_u64() >> 12 & MEASURED_MASK == 0 {
            self.core.zone_answered(&leg.member.zone, self.started.elapsed());
        }
        let reply = leg.member.link.judge(outcome);
        if let Ok(reply) = &reply {
            self.on_flags(reply);
        }
        let done = reply.and_then(|reply| Done::of(&reply));
        replica_answered(&leg.member.zone, &done);
        if let Some(pace) = &self.pace {
            pace.ended(token, |open| self.legs[open].member.link.is_suspect());
        }
        match done {
            Ok(Done::ClockAhead) => self.on_failed(token, NodeError::ClockRefused),
            Ok(done) => self.on_done(token, done),
            Err(cause) => self.on_failed(token, cause),
        }
    }
}

#[cfg(test)]
mod tests;
