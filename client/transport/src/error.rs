//! What can go wrong between a request and its reply.

use std::net::SocketAddr;

use thiserror::Error;

use crate::cause::Cause;

/// Why a request got no reply.
///
/// An error line of the server is a reply, not one of these: see [`evanesce_wire::reply::ErrorReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransportError {
    /// There is no connection to the node. The request was never sent; ask another node at once.
    #[error("no connection to {address}: {cause}")]
    Unreachable {
        /// The node.
        address: SocketAddr,
        /// What the last attempt to connect, or the last connection, ended with.
        cause: Cause,
    },
    /// Too many requests wait for this node. The request was never sent.
    #[error("the queue to {address} is full: send less, or add nodes")]
    QueueFull {
        /// The node.
        address: SocketAddr,
    },
    /// The deadline passed before the reply came.
    #[error("{address} did not answer in time")]
    Timeout {
        /// The node.
        address: SocketAddr,
        /// The request left, or may have left, for the node; without this it never will.
        sent: bool,
    },
    /// The connection ended while the request waited for its reply.
    #[error("{address} closed the connection or stopped answering on it")]
    Closed {
        /// The node.
        address: SocketAddr,
        /// The request left, or may have left, for the node.
        sent: bool,
    },
    /// The node answered what no memcached server answers here. The connection was closed.
    #[error("{address} broke the protocol ({violation}): check what listens there")]
    Protocol {
        /// The node.
        address: SocketAddr,
        /// How.
        violation: Violation,
    },
    /// The request cannot be sent through a connection of this kind.
    #[error("the request cannot be sent: {reason}")]
    Unsupported {
        /// Why.
        reason: Unsupported,
    },
}

/// How a server broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// A reply carried another request's opaque, or none.
    #[error("a reply to another request")]
    WrongOpaque,
    /// A reply told of keys that its request did not ask for.
    #[error("a reply about other keys")]
    WrongKey,
    /// A reply came while no request waited for one.
    #[error("a reply to no request")]
    Unasked,
    /// Bytes that are no reply.
    #[error("a reply that cannot be read")]
    Unreadable,
    /// A reply larger than the limit of the connection.
    #[error("a reply above the size limit")]
    TooLarge,
}

/// Why a request cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// `noreply`, `q` or `quit`: nothing would say when it is done.
    #[error("it asks for no reply")]
    NoReply,
    /// An opaque above [`evanesce_wire::limits::OPAQUE_BYTES_MAX`] bytes.
    #[error("its opaque is too long")]
    OpaqueTooLong,
}

/// Who has to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The caller: the request was wrong.
    Caller,
    /// The node, or the way to it.
    Peer,
    /// This process: it asks for more than it can hold.
    Us,
}

impl TransportError {
    /// Whether the node may have executed the request although no reply came.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        match self {
            Self::Timeout { sent, .. } | Self::Closed { sent, .. } => *sent,
            Self::Protocol { .. } => true,
            Self::Unreachable { .. } | Self::QueueFull { .. } | Self::Unsupported { .. } => false,
        }
    }

    /// Whether asking another node makes sense.
    #[must_use]
    pub fn retry_elsewhere(&self) -> bool {
        !matches!(self, Self::Unsupported { .. })
    }

    /// Whether the connection is still good for other requests.
    #[must_use]
    pub fn connection_survives(&self) -> bool {
        matches!(self, Self::QueueFull { .. } | Self::Timeout { .. } | Self::Unsupported { .. })
    }

    /// Who has to act.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unsupported { .. } => Fault::Caller,
            Self::QueueFull { .. } => Fault::Us,
            _ => Fault::Peer,
        }
    }
}
