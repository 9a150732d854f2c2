//! Who decides: the zones of a key's order are asked one after the other.
//!
//! ```text
//!  first zone: go on with what you decided last ── done ──────────────────────────────> decided
//!                │ it did not decide what it has, has nothing, or leaves it to another
//!                └─> most zones promise it, the newest is brought there ── decide ────> decided
//!                                                                           │ it settles, or is away
//!  second zone: the same ─────────────────────────────────────────────────────────────> decided
//! ```

use std::sync::Arc;
use std::time::Duration;

use evanesce_transport::{ConnectionState, TransportError};
use evanesce_wire::request::SetMode;
use tokio::time::{Instant, sleep};

use super::catch_up::{Electorate, catch_up};
use super::{HomeWrite, not_applied};
use crate::cluster::Cluster;
use crate::core::Core;
use crate::error::{Attempt, NodeError, WriteError};
use crate::member::Member;
use crate::observe::{decision_span, traced};
use crate::place::Place;
use crate::policy::back_off;
use crate::request::{Change, Done, Stamp, with_change};
use crate::skew::align_clock;
use crate::version::Version;

/// What a node says of arithmetic on a value that is no number.
const NON_NUMERIC: &str = "cannot increment or decrement non-numeric value";

/// A home zone that settles for no longer than this is waited for: others ask it again at once, and two who decide at the
/// same time are of no use to each other.
const HAND_OVER_MAX: Duration = Duration::from_millis(100);

/// So often it is caught up with others for one change: somebody may write or decide in between.
const CATCH_UPS_MAX: u32 = 3;

/// What a node answered to a change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) done: Done,
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
    match decision_span() {
        None => ask_all(core, cluster, write, deadline).await,
        Some(span) => traced(span, ask_all(core, cluster, write, deadline)).await,
    }
}

async fn ask_all(
    core: &Core,
    cluster: &Arc<Cluster>,
    write: &HomeWrite,
    deadline: Instant,
) -> Result<(usize, Verdict), WriteError> {
    let electorate = Electorate::of(cluster, &write.key);
    let (attempts, aligned) = (Vec::new(), false);
    let mut asking = Asking { core, cluster, electorate, write, deadline, attempts, aligned };
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
    electorate: Electorate<'a>,
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
    place: Place,
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
            let place = Place::new(rank, member.mark);
            match self.ask(Decider { member, place, even_settling }).await {
                Ok(verdict) => return Ok(Some((group, verdict))),
                Err(cause) if cause.maybe_applied() => {
                    return Err(WriteError::MaybeApplied { attempt: member.attempt(cause) });
                }
                Err(NodeError::Transport(TransportError::QueueFull { .. })) => return Err(WriteError::Busy),
                Err(cause) => {
                    let is_outvoted = cause == NodeError::Outvoted;
                    self.attempts.push(member.attempt(cause));
                    // Others would be asked by no other zones.
                    if is_outvoted {
                        break;
                    }
                }
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
        let mut verdict = match self.ask_once(decider).await {
            Err(NodeError::ClockRefused) if !self.aligned => self.align_and_ask(decider).await?,
            verdict => verdict?,
        };
        if let Done::Settling { left } = verdict.done
            && left <= HAND_OVER_MAX
            && Instant::now() + left < self.deadline
        {
            sleep(left).await;
            verdict = self.ask_once(decider).await?;
        }
        if verdict.done == Done::ClockAhead && !self.aligned {
            verdict = self.align_and_ask(decider).await?;
        }
        match verdict.done {
            Done::ClockAhead => Err(NodeError::ClockRefused),
            Done::Settling { .. } => Err(NodeError::Settling),
            Done::DecidedElsewhere => Err(NodeError::Outvoted),
            _ => {
                // What this client writes after that is newer, whatever the home zone's clock says.
                verdict.version.iter().for_each(|version| self.core.clock.observe(*version, self.core.now()));
                Ok(verdict)
            }
        }
    }

    async fn align_and_ask(&mut self, decider: Decider<'_>) -> Result<Verdict, NodeError> {
        self.aligned = true;
        align_clock(self.core, self.cluster, self.deadline).await;
        self.ask_once(decider).await
    }

    async fn ask_once(&self, decider: Decider<'_>) -> Result<Verdict, NodeError> {
        let Decider { member, place, .. } = decider;
        if self.may_continue(decider) {
            let verdict = self.decide(decider, Version::continuing(place)).await?;
            if verdict.done != Done::DecidedElsewhere {
                return Ok(verdict);
            }
        }
        let mut verdict = None;
        for attempt in 0..CATCH_UPS_MAX {
            sleep(back_off(attempt, place, self.core.ambient().random())).await;
            let key = &self.write.key;
            let at_least = catch_up(self.core, &self.electorate, key, (member, place), self.deadline).await?;
            let decided = self.decide(decider, at_least).await?;
            if decided.done != Done::DecidedElsewhere {
                return Ok(decided);
            }
            verdict = Some(decided);
        }
        verdict.ok_or(NodeError::Behind)
    }

    async fn decide(&self, decider: Decider<'_>, at_least: Version) -> Result<Verdict, NodeError> {
        let Decider { member, even_settling, .. } = decider;
        self.send(member, &self.write.change, Stamp::Decides { at_least, even_settling }).await
    }

    /// Whether the node may be right that it has the newest: an `add` asks for what is not there, who has missed a write of
    /// ours does not, and where too few zones are well nobody agrees.
    fn may_continue(&self, decider: Decider<'_>) -> bool {
        let adds = matches!(self.write.change, Change::Store { mode: SetMode::Add, .. });
        let Decider { member, even_settling, .. } = decider;
        let may_be_newest = !even_settling && !adds && !self.core.owes(member, &self.write.key);
        may_be_newest && self.electorate.is_well()
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
