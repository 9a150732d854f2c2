//! One attempt of a read: one node, and a second one beside it when the first is slower than it usually is.
//!
//! ```text
//!  node   |--------- p95 ----------|......................| due
//!  spare                           |-- hedge, if allowed --|
//!                                  the first hit wins; a miss waits for the other's answer
//! ```

use std::pin::pin;
use std::sync::Arc;

use evanesce_transport::{Call, TransportError};
use evanesce_wire::reply::Reply;
use futures_util::future::{Either, select};
use tokio::time::Instant;

use crate::cluster::Walk;
use crate::core::Core;
use crate::error::{Attempt, NodeError};
use crate::item::Item;
use crate::key::Key;
use crate::member::{Member, Permit};
use crate::policy::held_up;
use crate::read::{Hit, ReadPlan};
use crate::request::{get_flags, get_request, read_hit};

/// What a node said of a key.
pub(crate) type Answer = Result<Option<Item>, NodeError>;

/// What came of an attempt.
pub(crate) enum Attempted<'a> {
    Hit(Hit<'a>),
    /// This node does not have it.
    Miss(&'a Arc<Member>),
    /// Nobody answered.
    Failed(Vec<Attempt>),
}

/// A request that is under way to a node.
struct Asking<'a> {
    member: &'a Member,
    call: Result<Call, TransportError>,
    permit: Permit<'a>,
}

/// Asks `member`; when it takes longer than it usually does, the next node of the walk too, if that is allowed.
pub(crate) async fn attempt<'a>(
    walk: &mut Walk<'a>,
    member: &'a Arc<Member>,
    plan: &ReadPlan,
    (now, due): (Instant, Instant),
) -> Attempted<'a> {
    let mut asking = match member.ask(walk.key, plan, now) {
        Ok(asking) => asking,
        Err(cause) => return Attempted::of(member, Err(cause)),
    };
    let delay = walk.core.hedge_delay(member);
    let mut until = delay.map_or(due, |delay| due.min(now + delay));
    loop {
        let outcome = match &mut asking.call {
            Ok(call) => call.wait(until).await,
            Err(error) => Some(Err(*error)),
        };
        if let Some(outcome) = outcome {
            return Attempted::of(member, member.answer(&mut asking.permit, outcome));
        }
        let now = Instant::now();
        match delay {
            // When this process was held up meanwhile, the node gets so long once more.
            Some(delay) if now < due && held_up(until, now).is_some() => until = due.min(now + delay),
            _ => break,
        }
    }
    // Boxed: it is rare, and every read would carry room for it.
    Box::pin(slow(walk, (member, asking), plan, due, delay.is_some())).await
}

/// Waits on for a node that is slow, and beside it for a spare one, if that is allowed.
async fn slow<'a>(
    walk: &mut Walk<'a>,
    (member, mut asking): (&'a Arc<Member>, Asking<'a>),
    plan: &ReadPlan,
    due: Instant,
    hedges: bool,
) -> Attempted<'a> {
    let (core, key) = (walk.core, walk.key);
    let spare = if hedges { core.spare(walk) } else { None };
    let second = spare.and_then(|spare| Some((spare, spare.ask(key, plan, Instant::now()).ok()?)));
    match second {
        Some(second) => both(core, (member, asking), second, key, plan, due).await,
        None => Attempted::of(member, asking.end(key, plan, due).await),
    }
}

/// Waits for two nodes: the first hit wins.
async fn both<'a>(
    core: &Core,
    (member, mut asking): (&'a Arc<Member>, Asking<'a>),
    (spare, mut second): (&'a Arc<Member>, Asking<'a>),
    key: &Key,
    plan: &ReadPlan,
    due: Instant,
) -> Attempted<'a> {
    let answers = {
        let first = pin!(asking.end(key, plan, due));
        let second = pin!(second.end(key, plan, due));
        match select(first, second).await {
            Either::Left((Ok(Some(item)), _)) => return Attempted::Hit(Hit { item, from: member }),
            Either::Left((answer, second)) => Ok((answer, second.await)),
            Either::Right((Ok(Some(item)), _)) => Err(item),
            Either::Right((other, first)) => Ok((first.await, other)),
        }
    };
    let (answer, other) = match answers {
        Ok(answers) => answers,
        Err(item) => {
            core.metrics.hedges_won.increment(1);
            asking.leave(member, due);
            return Attempted::Hit(Hit { item, from: spare });
        }
    };
    match (answer, other) {
        (Ok(Some(item)), _) => Attempted::Hit(Hit { item, from: member }),
        (_, Ok(Some(item))) => Attempted::Hit(Hit { item, from: spare }),
        (Ok(None), _) => Attempted::Miss(member),
        (_, Ok(None)) => Attempted::Miss(spare),
        (Err(cause), Err(other)) => Attempted::Failed(vec![member.attempt(cause), spare.attempt(other)]),
    }
}

impl<'a> Attempted<'a> {
    fn of(member: &'a Arc<Member>, answer: Answer) -> Self {
        match answer {
            Ok(Some(item)) => Self::Hit(Hit { item, from: member }),
            Ok(None) => Self::Miss(member),
            Err(cause) => Self::Failed(vec![member.attempt(cause)]),
        }
    }
}

impl Member {
    /// Asks this node for `key`; once more when this process was held up and had no answer for that reason alone.
    pub(crate) async fn get(&self, key: &Key, plan: &ReadPlan, due: Instant) -> Answer {
        self.ask(key, plan, Instant::now())?.end(key, plan, due).await
    }

    /// Sends the request, unless the node has as many under way as it bears.
    fn ask(&self, key: &Key, plan: &ReadPlan, now: Instant) -> Result<Asking<'_>, NodeError> {
        let permit = self.link.permit(now).ok_or(NodeError::Overloaded)?;
        Ok(Asking { member: self, call: self.send(key, plan), permit })
    }

    fn send(&self, key: &Key, plan: &ReadPlan) -> Result<Call, TransportError> {
        let connection = self.link.way(plan.lane);
        let versions = connection.speaks_versions();
        let flags = get_flags(key, plan.want, plan.touch, versions, self.link.next_opaque());
        let request = get_request(key, flags.as_flags(), plan.touch);
        connection.begin(&request)
    }

    fn answer(&self, permit: &mut Permit<'_>, outcome: Result<Reply, TransportError>) -> Answer {
        permit.ended(&outcome);
        read_hit(&mut self.link.judge(outcome)?)
    }
}

impl Asking<'_> {
    /// The answer until `due`; once more when this process was held up and had none for that reason alone.
    async fn end(&mut self, key: &Key, plan: &ReadPlan, due: Instant) -> Answer {
        let mut outcome = self.outcome(due).await;
        if matches!(outcome, Err(TransportError::Timeout { .. })) {
            let now = Instant::now();
            if held_up(due, now).is_some() {
                self.permit.held_up(now);
                self.call = self.member.send(key, plan);
                outcome = self.outcome(now + plan.attempt_timeout).await;
            }
        }
        self.member.answer(&mut self.permit, outcome)
    }

    /// Another node answered first, and nobody waits for this one. Whether it answers at all its breaker must know: else
    /// reads of a node that does not would be hedged for as long as the allowance lasts.
    fn leave(self, member: &Arc<Member>, due: Instant) {
        let Ok(mut call) = self.call else { return };
        let member = Arc::clone(member);
        tokio::spawn(async move {
            let outcome = match call.wait(due).await {
                Some(outcome) => outcome,
                None if held_up(due, Instant::now()).is_some() => return,
                None => Err(call.give_up()),
            };
            // Only the breaker is told.
            let _ = member.link.judge(outcome);
        });
    }

    async fn outcome(&mut self, due: Instant) -> Result<Reply, TransportError> {
        match &mut self.call {
            Ok(call) => match call.wait(due).await {
                Some(outcome) => outcome,
                None => Err(call.give_up()),
            },
            Err(error) => Err(*error),
        }
    }
}
