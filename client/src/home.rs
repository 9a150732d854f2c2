//! `add` and `replace`: the key's home zone decides, the others follow.

use std::sync::Arc;
use std::time::Duration;

use evanesce_transport::TransportError;
use evanesce_wire::request::SetMode;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::core::{Core, TIMEOUT_MAX};
use crate::error::{Attempt, NodeError, WriteError};
use crate::key::Key;
use crate::member::Member;
use crate::outcome::{StoreOutcome, Written};
use crate::policy::LatchPolicy;
use crate::request::{Change, Done, read_done, with_change};
use crate::spread::{SpreadPlan, spread};

/// A conditional store, owned: it outlives a caller that goes away.
pub(crate) struct HomeWrite {
    pub(crate) key: Key,
    pub(crate) change: Change,
    pub(crate) latch: LatchPolicy,
    pub(crate) timeout: Duration,
}

/// Runs to its end even when the caller goes away in the middle: a result that one zone has is owed to the others.
pub(crate) async fn store_at_home(core: &Arc<Core>, write: HomeWrite) -> Result<StoreOutcome, WriteError> {
    let cluster = core.cluster().ok_or(WriteError::Closed)?;
    let Ok(permit) = Arc::clone(&core.home_writes).try_acquire_owned() else {
        return Err(WriteError::Busy);
    };
    let core = Arc::clone(core);
    let task = tokio::spawn(async move {
        let _permit = permit;
        decide_and_spread(&core, &cluster, write).await
    });
    // The task neither panics nor is aborted, unless its runtime ends: nobody is left then.
    task.await.unwrap_or(Err(WriteError::Closed))
}

async fn decide_and_spread(
    core: &Arc<Core>,
    cluster: &Cluster,
    write: HomeWrite,
) -> Result<StoreOutcome, WriteError> {
    let deadline = Instant::now() + write.timeout.min(TIMEOUT_MAX);
    let (home, done) = decide(core, cluster, &write, deadline).await?;
    if done != Done::Yes {
        return Ok(StoreOutcome::NotStored);
    }
    let change = as_set(write.change);
    let plan =
        SpreadPlan { key: &write.key, change: &change, latch: write.latch, deadline, done_in: Some(home) };
    let spread = spread(core, cluster, plan).await?;
    Ok(StoreOutcome::Stored(spread.written))
}

/// Asks the home zone; the next in order only while the one before certainly did not execute it. A home zone that is
/// not asked because our own queue is full may decide for others meanwhile: then nobody else is asked.
async fn decide(
    core: &Core,
    cluster: &Cluster,
    write: &HomeWrite,
    deadline: Instant,
) -> Result<(usize, Done), WriteError> {
    let hash = cluster.placement().key_hash(write.key.as_bytes());
    let mut attempts: Vec<Attempt> = Vec::new();
    for group in cluster.placement().home_order(hash) {
        let Some(member) = cluster.owner(group, hash) else { continue };
        match member.change(write, deadline).await {
            Ok(done) => return Ok((group, done)),
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
    async fn change(&self, write: &HomeWrite, deadline: Instant) -> Result<Done, NodeError> {
        let opaque = self.link.next_opaque();
        let connection = &self.link.connection;
        let outcome = with_change(&write.key, &write.change, opaque, |request| {
            connection.start_call(request, deadline)
        });
        read_done(&self.link.judge(outcome.await)?)
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
            Change::Store { mode: SetMode::Set, value, flags, exptime }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
