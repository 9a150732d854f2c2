//! Who decides: the zones of a key's order are asked one after the other.
//!
//! ```text
//!  first zone: go on with what you decided last ── done ──────────────────────────────> decided
//!                │ it did not decide what it has, or has nothing
//!                └─> the newest that any zone has is brought there ── decide on that ──> decided
//!                                                                      │ it settles, or is away
//!  second zone: the newest is brought there ── decide on that, one step newer ─────────> decided
//! ```

use std::sync::Arc;
use std::time::Duration;

use evanesce_transport::{ConnectionState, TransportError};
use evanesce_wire::request::SetMode;
use tokio::time::{Instant, sleep};

use super::catch_up::catch_up;
use super::{HomeWrite, not_applied};
use crate::cluster::Cluster;
use crate::core::Core;
use crate::error::{Attempt, NodeError, WriteError};
use crate::member::Member;
use crate::request::{Change, Done, Stamp, with_change};
use crate::skew::align_clock;
use crate::version::Version;

/// What a node says of arithmetic on a value that is no number.
const NON_NUMERIC: &str = "cannot increment or decrement non-numeric value";

/// A home zone that settles for no longer than this is waited for: others ask it again at once, and two who decide at the
/// same time are of no use to each other.
const HAND_OVER_MAX: Duration = Duration::from_millis(100);

/// What a node answered to a change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict {
    pub(super) done: Done,
    pub(super) number: Option<u64>,
    /// What it stamped the change with; `None` when it keeps no versions.
    pub(super) version: Option<Version>,
}

/// Asks the home zone; the next in order only while the one before certainly did not execute it, or settles. Those that
/// settle are asked once more when nobody else decided.
pub(super) async fn decide(
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

/// Who is asked.
#[derive(Clone, Copy)]
struct Decider<'a> {
    member: &'a Arc<Member>,
    /// Its zone's place in the key's order.
    rank: usize,
    even_settling: bool,
}

impl Asking<'_> {
    /// Whether somebody did not decide only because it settles.
    fn settles(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.cause == NodeError::Settling)
    }

    /// Asks one after the other. A home zone that is not asked because our own queue is full may decide for others
    /// meanwhile: then nobody else is asked.
    async fn round(&mut self, even_settling: bool) -> Result<Option<(usize, Verdict)>, WriteError> {
        let cluster = Arc::clone(self.cluster);
        let hash = cluster.placement().key_hash(self.write.key.as_bytes());
        for (rank, group) in cluster.placement().home_order(hash).into_iter().enumerate() {
            let Some(member) = cluster.owner(group, hash) else { continue };
            match self.ask(Decider { member, rank, even_settling }).await {
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

    /// Asks one node; once more when this machine's clock was wrong, and when the node is about to be ready.
    async fn ask(&mut self, decider: Decider<'_>) -> Result<Verdict, NodeError> {
        if !keeps_versions(decider.member)? {
            return self.ask_without_versions(decider).await;
        }
        let mut verdict = self.ask_once(decider).await?;
        if let Done::Settling { left } = verdict.done
            && left <= HAND_OVER_MAX
            && Instant::now() + left < self.deadline
        {
            sleep(left).await;
            verdict = self.ask_once(decider).await?;
        }
        if verdict.done == Done::ClockAhead && !self.aligned {
            self.aligned = true;
            align_clock(self.core, self.cluster, self.deadline).await;
            verdict = self.ask_once(decider).await?;
        }
        match verdict.done {
            Done::ClockAhead => Err(NodeError::ClockRefused),
            Done::Settling { .. } => Err(NodeError::Settling),
            Done::DecidedElsewhere => Err(NodeError::Unexpected),
            _ => {
                // What this client writes after that is newer, whatever the home zone's clock says.
                verdict.version.iter().for_each(|version| self.core.clock.observe(*version, self.core.now()));
                Ok(verdict)
            }
        }
    }

    async fn ask_once(&self, decider: Decider<'_>) -> Result<Verdict, NodeError> {
        let Decider { member, rank, even_settling } = decider;
        if self.may_continue(decider) {
            let at_least = Version::continuing(rank);
            let verdict = self.send(member, &self.write.change, Stamp::Decides { at_least, even_settling });
            let verdict = verdict.await?;
            if verdict.done != Done::DecidedElsewhere {
                return Ok(verdict);
            }
        }
        catch_up(self.core, self.cluster, &self.write.key, member, self.deadline).await?;
        let at_least = self.core.clock.stamp(self.core.now()).decided_by(rank);
        self.send(member, &self.write.change, Stamp::Decides { at_least, even_settling }).await
    }

    /// Whether the node may be right that it has the newest: of those that stand in nobody knows, an `add` asks for what is
    /// not there, and who has missed a write of ours does not.
    fn may_continue(&self, decider: Decider<'_>) -> bool {
        let adds = matches!(self.write.change, Change::Store { mode: SetMode::Add, .. });
        let Decider { member, rank, even_settling } = decider;
        rank == 0 && !even_settling && !adds && !self.core.owes(member, &self.write.key)
    }

    /// Of a server that keeps no versions others' items cannot be brought to it.
    async fn ask_without_versions(&self, decider: Decider<'_>) -> Result<Verdict, NodeError> {
        self.send(decider.member, &self.write.change, Stamp::Without).await
    }

    async fn send(&self, member: &Member, change: &Change, stamp: Stamp) -> Result<Verdict, NodeError> {
        let connection = &member.link.connection;
        let opaque = member.link.next_opaque();
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

/// Whether the node may be sent versions. One that is away is not taken for one that keeps none.
fn keeps_versions(member: &Member) -> Result<bool, NodeError> {
    let connection = &member.link.connection;
    if connection.speaks_versions() {
        return Ok(true);
    }
    match connection.state() {
        ConnectionState::Down { cause, .. } => {
            Err(TransportError::Unreachable { address: connection.address(), cause }.into())
        }
        // It has just come up: what it can do is known the next time.
        ConnectionState::Up if member.link.keeps_versions() => Err(NodeError::Behind),
        ConnectionState::Up | ConnectionState::Connecting => Ok(false),
    }
}
