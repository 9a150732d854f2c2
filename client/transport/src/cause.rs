//! Why there is no connection.

use std::fmt;
use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::error::Violation;

/// Of what a peer says in refusing us this much is kept: enough to recognise it, short enough for a log line.
const DETAIL_CHARS_MAX: usize = 128;

/// How an attempt to connect, or a connection, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Cause {
    /// The way to the node failed.
    #[error("{0}; check that the node runs and listens there")]
    Io(io::ErrorKind),
    /// [`ConnectionOptions::connect_timeout`](crate::ConnectionOptions::connect_timeout) passed first.
    #[error("{0} took too long; check whether the node is frozen, overloaded, or speaks something else")]
    TimedOut(Stage),
    /// The node closed the connection before it could be used.
    #[error("the node closed the connection at {0}; check whether it wants TLS, a certificate or a password")]
    Closed(Stage),
    /// The TLS handshake failed for another reason than a certificate.
    #[error("TLS failed; check that the node speaks it at this address")]
    Tls,
    /// The node speaks TLS at this address, and we do not.
    #[error("the node speaks TLS only; turn it on here, with the authority of its certificate")]
    TlsMissing,
    /// We do not trust the node's certificate: its authority, its names or its dates.
    #[error("the node's certificate is not accepted; check the roots, the server name and the dates")]
    CertificateNotAccepted,
    /// The node does not trust our certificate, or wants one and got none.
    #[error("the node refuses our certificate, or misses one; give one that its authority signed")]
    CertificateRefused,
    /// The node knows no such user with this password.
    #[error("the node refuses the user or the password; check the credentials")]
    PasswordRefused,
    /// The node wants a user and a password, and there are none.
    #[error("the node wants a password; give credentials")]
    PasswordMissing,
    /// The node answered that it will not serve, for instance that it has too many connections.
    #[error("the node refuses to serve; see what it says")]
    Refused,
    /// The node answered what no memcached server answers.
    #[error("the node broke the protocol ({0}); check what listens there")]
    Violation(Violation),
}

/// A step on the way to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// TCP.
    Connect,
    /// The TLS handshake.
    Tls,
    /// User and password.
    Authentication,
    /// The greeting.
    Greeting,
}

/// A [`Cause`], and what it was in detail: the words of the system, of TLS or of the node. The words are for people, and
/// may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub cause: Cause,
    /// In what words; may be empty.
    pub detail: Arc<str>,
}

impl Cause {
    /// The nearest kind of error of the standard library.
    #[must_use]
    pub fn kind(self) -> io::ErrorKind {
        match self {
            Self::Io(kind) => kind,
            Self::TimedOut(_) => io::ErrorKind::TimedOut,
            Self::Closed(_) => io::ErrorKind::ConnectionReset,
            Self::Refused => io::ErrorKind::ConnectionRefused,
            Self::Tls | Self::TlsMissing => io::ErrorKind::InvalidData,
            Self::CertificateNotAccepted | Self::Violation(_) => io::ErrorKind::InvalidData,
            Self::CertificateRefused | Self::PasswordRefused | Self::PasswordMissing => {
                io::ErrorKind::PermissionDenied
            }
        }
    }

    /// Whether it stays until somebody changes a configuration, here or there.
    #[must_use]
    pub fn is_misconfiguration(self) -> bool {
        match self {
            Self::Tls | Self::TlsMissing => true,
            Self::CertificateNotAccepted | Self::CertificateRefused => true,
            Self::PasswordRefused | Self::PasswordMissing | Self::Violation(_) => true,
            Self::Io(_) | Self::TimedOut(_) | Self::Closed(_) | Self::Refused => false,
        }
    }

    /// The value of a metric's label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::TimedOut(_) => "timed_out",
            Self::Closed(_) => "closed",
            Self::Tls => "tls",
            Self::TlsMissing => "tls_missing",
            Self::CertificateNotAccepted => "certificate_not_accepted",
            Self::CertificateRefused => "certificate_refused",
            Self::PasswordRefused => "password_refused",
            Self::PasswordMissing => "password_missing",
            Self::Refused => "refused",
            Self::Violation(_) => "protocol",
        }
    }
}

impl Failure {
    pub(crate) fn new(cause: Cause, detail: &str) -> Self {
        Self { cause, detail: detail.chars().take(DETAIL_CHARS_MAX).collect::<String>().into() }
    }

    /// What an error of the stream at this stage means.
    pub(crate) fn of_io(stage: Stage, error: &io::Error) -> Self {
        #[cfg(feature = "tls")]
        if let Some(cause) = crate::tls::cause_of(error) {
            return Self::new(cause, &error.to_string());
        }
        let cause = match error.kind() {
            io::ErrorKind::UnexpectedEof => Cause::Closed(stage),
            // A node that closes without having read all that we said.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe if stage != Stage::Connect => {
                Cause::Closed(stage)
            }
            kind => Cause::Io(kind),
        };
        Self::new(cause, &error.to_string())
    }
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self { cause, detail: Arc::default() }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Tls => "the TLS handshake",
            Self::Authentication => "authentication",
            Self::Greeting => "the greeting",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.detail {
            "" => self.cause.fmt(f),
            detail => write!(f, "{} ({detail})", self.cause),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_is_the_nodes_own_close_once_it_was_connected_to() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let cause = |stage| Failure::of_io(stage, &reset).cause;
        assert_eq!(cause(Stage::Connect), Cause::Io(io::ErrorKind::ConnectionReset));
        assert_eq!(cause(Stage::Greeting), Cause::Closed(Stage::Greeting));
        assert_eq!(Cause::Closed(Stage::Greeting).kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn detail_is_cut_short() {
        let failure = Failure::new(Cause::Refused, &"é".repeat(1000));
        assert_eq!(failure.detail.chars().count(), DETAIL_CHARS_MAX);
        assert!(failure.to_string().ends_with("é)"));
        assert_eq!(Failure::from(Cause::Tls).to_string(), Cause::Tls.to_string());
    }
}
