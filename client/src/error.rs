//! What can go wrong, whose fault it is, and whether to try again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use evanesce_topology::PlacementError;
pub use evanesce_transport::{Fault, TransportError};

use crate::codec::CodecError;
use crate::key::KeyError;
use crate::policy::LatchPolicy;
use crate::static_nodes::StaticNodesError;
use crate::value::ValueError;

/// Why a read has no answer. A miss is an answer, and no error.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No zone could answer before the deadline.
    #[error("no zone answered: {}", Attempts(.attempts))]
    Unanswered {
        /// Who was asked, in order, and what came of it.
        attempts: Vec<Attempt>,
    },
    /// The value is there and cannot be decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The value is there, stored in a way that this client cannot undo.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The client was closed.
    #[error("the client is closed: make a new one")]
    Closed,
}

/// Why a write did not meet its latch policy.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The value cannot be encoded. Nothing was sent.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The value cannot be stored so. Nothing was sent.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// Too few replicas acknowledged in time; of what one zone decided, not all that are well.
    #[error("latch {latch} not met ({acked} acked, {failed} failed, {pending} pending): {}", Attempts(.attempts))]
    NotAcknowledged {
        /// What was asked for.
        latch: LatchPolicy,
        /// Replicas that said they executed it.
        acked: usize,
        /// Replicas that failed.
        failed: usize,
        /// Replicas without an answer; their writes may still arrive.
        pending: usize,
        /// Whether any replica has, or may have, executed it, or is to get it once it is back.
        maybe_applied: bool,
        /// Whether it is a change that one place decides, such as `incr`, and that is done there: the other zones get
        /// its outcome, and sending it again would do it twice.
        decided: bool,
        /// The replicas that failed.
        attempts: Vec<Attempt>,
    },
    /// The home zone did not answer a change that may have reached it, or what it decided met what another zone decided
    /// at the same time: whether it is there, and stays, is not known. Not retried; read the key to find out.
    #[error("outcome unknown ({attempt}): read the key before trying again")]
    MaybeApplied {
        /// The node asked.
        attempt: Attempt,
    },
    /// Its deadline had passed before it was sent. Nothing was sent.
    #[error("the deadline had passed before it was sent: nothing was sent, give it more time")]
    TooLate,
    /// Too many such writes are under way in this client, or too many requests wait for the home zone's node.
    #[error("too many writes are under way in this client: send less")]
    Busy,
    /// The client was closed.
    #[error("the client is closed: make a new one")]
    Closed,
}

/// Why a key that is not in the cache could not be loaded. All who waited for the same load are given the same.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The value cannot be encoded or decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The value is there, stored in a way that this client cannot undo.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The loader said so.
    #[error("the loader failed: {0}")]
    Loader(Arc<dyn std::error::Error + Send + Sync>),
    /// The loader panicked.
    #[error("the loader panicked: see the log of this process")]
    LoaderPanicked,
    /// The loader, or another process's, took longer than it may.
    #[error("it was not loaded in time: give the loader more time, or make it faster")]
    Timeout,
    /// Too many keys are being loaded by this client.
    #[error("too many keys are being loaded by this client: load less at once")]
    Busy,
    /// The client was closed.
    #[error("the client is closed: make a new one")]
    Closed,
}

impl From<ReadError> for LoadError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Key(error) => Self::Key(error),
            ReadError::Codec(error) => Self::Codec(error),
            ReadError::Value(error) => Self::Value(error),
            ReadError::Unanswered { .. } => Self::Timeout,
            ReadError::Closed => Self::Closed,
        }
    }
}

/// One node asked, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The node's zone.
    pub zone: String,
    /// The node's ring name.
    pub node: String,
    /// What went wrong.
    pub cause: NodeError,
    /// Where there is no connection, why in detail: the words of the system, of TLS or of the node. Else, or where there are
    /// no more words, empty.
    pub detail: Arc<str>,
}

impl Attempt {
    /// Whether there was no answer in time.
    pub(crate) fn is_timeout(&self) -> bool {
        self.cause.is_timeout()
    }

    /// Whether the node was not asked, for it bears no more.
    pub(crate) fn is_overload(&self) -> bool {
        self.cause == NodeError::Overloaded
    }
}

/// Why one node did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// No reply.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The node found the request wrong: its `CLIENT_ERROR`, or `ERROR`.
    #[error("it refused the request: {0}")]
    Refused(String),
    /// The node could not: its `SERVER_ERROR`.
    #[error("it could not: {0}")]
    Failed(String),
    /// It answers slowly, and has as many requests of this client under way as it bears. It was not asked.
    #[error("it is slow, and as many requests as it bears are under way: send less, or add nodes")]
    Overloaded,
    /// The write's version is too far ahead of the node's clock.
    #[error("its clock is more than 5 s behind the write's: check the clocks of both machines")]
    ClockRefused,
    /// It has just started, or did not run for a while, and leaves decisions to other zones for some seconds.
    #[error("it settles after a start or a stall: another zone decides for some seconds")]
    Settling,
    /// Other zones did not say in time whether they have something newer of the key: it was not asked.
    #[error("other zones did not say what they have of the key: try again")]
    Behind,
    /// Too few zones agreed that it decides: they do not answer, have just started, or let another zone decide. It was not
    /// asked.
    #[error("too few zones agreed that it decides: try again once more than half of them are in reach")]
    Outvoted,
    /// What it decided was overtaken by what another zone decided, which may not have known of it.
    #[error("another zone decided at the same time: read the key before trying again")]
    Overtaken,
    /// A reply that does not fit the request.
    #[error("it sent a reply that does not fit")]
    Unexpected,
    /// The server group has no node.
    #[error("its server group has no node")]
    NoNode,
}

impl ReadError {
    /// Who has to act.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Key(_) | Self::Codec(_) | Self::Value(_) | Self::Closed => Fault::Caller,
            Self::Unanswered { attempts } => fault_of(attempts),
        }
    }

    /// Whether the same read may succeed later.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        matches!(self, Self::Unanswered { .. })
    }
}

impl WriteError {
    /// Who has to act.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Key(_) | Self::Codec(_) | Self::Value(_) | Self::Closed => Fault::Caller,
            Self::NotAcknowledged { attempts, .. } => fault_of(attempts),
            Self::MaybeApplied { .. } => Fault::Peer,
            Self::Busy => Fault::Us,
            Self::TooLate => Fault::Caller,
        }
    }

    /// Whether the same write may be sent again without harm: it was not applied, or applying it twice is the same.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        match self {
            Self::NotAcknowledged { decided, .. } => !decided && self.fault() != Fault::Caller,
            Self::Busy | Self::TooLate => true,
            Self::Key(_) | Self::Codec(_) | Self::Value(_) | Self::MaybeApplied { .. } | Self::Closed => {
                false
            }
        }
    }

    /// Whether any replica has, or may have, executed the write, or is to get it once it is back.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        match self {
            Self::NotAcknowledged { maybe_applied, .. } => *maybe_applied,
            Self::MaybeApplied { .. } => true,
            Self::Key(_) | Self::Codec(_) | Self::Value(_) | Self::Busy | Self::TooLate | Self::Closed => {
                false
            }
        }
    }
}

impl NodeError {
    /// Whether there was no answer in time.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::Transport(TransportError::Timeout { .. }))
    }

    /// Whether the node may have executed the request.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        match self {
            Self::Transport(error) => error.maybe_applied(),
            // "out of memory" and the like come after the old item was dropped.
            Self::Failed(_) | Self::Unexpected | Self::Overtaken => true,
            Self::Refused(_) | Self::ClockRefused | Self::Settling | Self::Behind | Self::Outvoted => false,
            Self::Overloaded | Self::NoNode => false,
        }
    }

    /// Who has to act.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Transport(error) => error.fault(),
            Self::Refused(_) => Fault::Caller,
            Self::ClockRefused => Fault::Us,
            Self::Failed(_) | Self::Unexpected | Self::Overloaded | Self::NoNode => Fault::Peer,
            Self::Settling | Self::Behind | Self::Outvoted | Self::Overtaken => Fault::Peer,
        }
    }
}

/// The caller's, when every node refused; ours, when we could not even send; the peers' otherwise.
fn fault_of(attempts: &[Attempt]) -> Fault {
    match attempts.first() {
        Some(first) if attempts.iter().all(|attempt| attempt.cause.fault() == first.cause.fault()) => {
            first.cause.fault()
        }
        _ => Fault::Peer,
    }
}

/// Why a client could not be made.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Neither discoveries nor nodes were given.
    #[error("nothing to connect to: give the builder discoveries or static nodes")]
    NoSource,
    /// Both discoveries and nodes were given.
    #[error("both discoveries and static nodes were given: choose one")]
    TwoSources,
    /// The client follows discovery, or is closed, and takes no other nodes.
    #[error("the client follows discovery, or is closed: make one from a static list")]
    NotReplaceable,
    /// An option is out of its bounds.
    #[error("{option} is out of bounds: {rule}")]
    Option {
        /// Which.
        option: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// No discovery gave a topology in time.
    #[error("no topology of {cluster} within {timeout:?}: {}{}", Tried(.tried), Saved(.saved))]
    NoTopology {
        /// The cluster asked for.
        cluster: String,
        /// How long was waited.
        timeout: Duration,
        /// Each discovery and why it failed.
        tried: Vec<TriedDiscovery>,
        /// Why the topology on disk could not be used, if one was to be kept there.
        saved: Option<String>,
    },
    /// The system gives no thread for a listener.
    #[error("no thread for a listener: {reason}")]
    Listener {
        /// What it said.
        reason: String,
    },
    /// The static list is wrong.
    #[error(transparent)]
    Nodes(#[from] StaticNodesError),
    /// The topology is wrong.
    #[error(transparent)]
    Topology(#[from] PlacementError),
    /// An address of a discovery cannot be read.
    #[cfg(feature = "discovery")]
    #[error(transparent)]
    Discovery(#[from] evanesce_membership::EndpointError),
}

/// A discovery that gave no topology.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TriedDiscovery {
    /// Its address, as given.
    pub address: String,
    /// What went wrong.
    pub reason: String,
}

/// Nodes or discoveries that the text of an error tells of: one of each zone of most clusters. Its fields have all.
const TOLD_MAX: usize = 3;

struct Attempts<'a>(&'a [Attempt]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no node told why");
        }
        join(f, self.0)
    }
}

struct Saved<'a>(&'a Option<String>);

impl fmt::Display for Saved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(error) => write!(f, "; and the one on disk cannot be used: {error}"),
            None => Ok(()),
        }
    }
}

struct Tried<'a>(&'a [TriedDiscovery]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        join(f, self.0)
    }
}

fn join(f: &mut fmt::Formatter<'_>, parts: &[impl fmt::Display]) -> fmt::Result {
    for (index, part) in parts.iter().take(TOLD_MAX).enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        write!(f, "{separator}{part}")?;
    }
    match parts.len().saturating_sub(TOLD_MAX) {
        0 => Ok(()),
        more => write!(f, "; and {more} more"),
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} in zone {}: {}", self.node, self.zone, self.cause)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

impl fmt::Display for TriedDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.reason)
    }
}

#[cfg(test)]
mod tests;
