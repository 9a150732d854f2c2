//! Why a TLS handshake came to nothing, by what an operator would do about it.

use std::io;

use rustls::{CertificateError, Error as TlsError};

/// The first byte of whoever speaks TLS: a record of the handshake.
pub(crate) const HANDSHAKE_RECORD: u8 = 0x16;

/// The first byte of what that record brings.
const CLIENT_HELLO: u8 = 1;

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeRefusal {
    PlainText,
    NoCertificate,
    ExpiredCertificate,
    ForeignCertificate,
    PeerRefused,
    Protocol,
    TimedOut,
    Gone,
    PlainPort,
}

/// A handshake that came to nothing.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) reason: HandshakeRefusal,
    /// What TLS says of it, for a log.
    pub(crate) detail: Option<String>,
}

impl From<HandshakeRefusal> for Refused {
    fn from(reason: HandshakeRefusal) -> Self {
        Self { reason, detail: None }
    }
}

impl From<io::Error> for Refused {
    /// From what tokio-rustls, or the deadline, says.
    fn from(error: io::Error) -> Self {
        let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
        match of_tls {
            Some(tls) => Self { reason: HandshakeRefusal::of_tls(tls), detail: Some(tls.to_string()) },
            None if error.kind() == io::ErrorKind::TimedOut => HandshakeRefusal::TimedOut.into(),
            None => HandshakeRefusal::Gone.into(),
        }
    }
}

impl HandshakeRefusal {
    /// All of them, in the order in which they are counted.
    pub(crate) const ALL: [Self; 9] = [
        Self::PlainText,
        Self::NoCertificate,
        Self::ExpiredCertificate,
        Self::ForeignCertificate,
        Self::PeerRefused,
        Self::Protocol,
        Self::TimedOut,
        Self::Gone,
        Self::PlainPort,
    ];

    fn of_tls(error: &TlsError) -> Self {
        match error {
            TlsError::NoCertificatesPresented => Self::NoCertificate,
            TlsError::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => Self::ExpiredCertificate,
            TlsError::InvalidCertificate(_) => Self::ForeignCertificate,
            TlsError::AlertReceived(_) => Self::PeerRefused,
            _ => Self::Protocol,
        }
    }

    /// Its label in metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::PlainText => "plain_text",
            Self::NoCertificate => "no_certificate",
            Self::ExpiredCertificate => "expired_certificate",
            Self::ForeignCertificate => "foreign_certificate",
            Self::PeerRefused => "peer_refused",
            Self::Protocol => "protocol",
            Self::TimedOut => "timed_out",
            Self::Gone => "gone",
            Self::PlainPort => "plain_port",
        }
    }

    /// Its name in `stats`.
    pub(crate) const fn stat(self) -> &'static str {
        match self {
            Self::PlainText => "evanesce_tls_refused_plain_text",
            Self::NoCertificate => "evanesce_tls_refused_no_certificate",
            Self::ExpiredCertificate => "evanesce_tls_refused_expired_certificate",
            Self::ForeignCertificate => "evanesce_tls_refused_foreign_certificate",
            Self::PeerRefused => "evanesce_tls_refused_peer_refused",
            Self::Protocol => "evanesce_tls_refused_protocol",
            Self::TimedOut => "evanesce_tls_refused_timed_out",
            Self::Gone => "evanesce_tls_refused_gone",
            Self::PlainPort => "evanesce_tls_refused_plain_port",
        }
    }

    /// What is the matter, for a log.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::PlainText => {
                "the peer does not speak TLS, which this port wants: turn TLS on in the client"
            }
            Self::NoCertificate => "the peer shows no certificate, and this port asks for one",
            Self::ExpiredCertificate => "the peer's certificate is expired or not valid yet: renew it",
            Self::ForeignCertificate => {
                "the peer's certificate is not one for clients from an authority of tls_client_ca"
            }
            Self::PeerRefused => {
                "the peer does not take this server's certificate: give it the authority's, or renew ours"
            }
            Self::Protocol => {
                "peer and server have no version or cipher of TLS in common, or the peer is broken"
            }
            Self::TimedOut => "the peer did not finish the handshake in time",
            Self::Gone => "the peer went away during the handshake",
            Self::PlainPort => {
                "the peer speaks TLS, which this port does not: give it a tls:// place, or turn TLS off in the client"
            }
        }
    }
}

/// Whether a connection that begins with these bytes speaks TLS: the head of a record, of the handshake and of any
/// version, and in it the greeting of a client. No request of memcached's begins so.
pub(crate) fn is_greeting(input: &[u8]) -> bool {
    matches!(input, [HANDSHAKE_RECORD, 3, 0..=4, _, _, CLIENT_HELLO, ..])
}

#[cfg(test)]
mod tests {
    use rustls::AlertDescription;

    use super::*;

    #[test]
    fn every_reason_is_counted_in_its_place_and_named_once() {
        for (index, reason) in HandshakeRefusal::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert_eq!(reason.stat(), format!("evanesce_tls_refused_{}", reason.label()));
        }
    }

    #[test]
    fn what_tls_says_is_told_beside_the_reason() {
        let refused = |error| Refused::from(io::Error::new(io::ErrorKind::InvalidData, error));
        let told = refused(TlsError::InvalidCertificate(CertificateError::InvalidPurpose));
        assert_eq!(told.reason, HandshakeRefusal::ForeignCertificate);
        assert!(told.detail.unwrap().contains("InvalidPurpose"));
        let told = refused(TlsError::AlertReceived(AlertDescription::CertificateExpired));
        assert_eq!(told.reason, HandshakeRefusal::PeerRefused);
        assert!(told.detail.unwrap().contains("CertificateExpired"));
        assert_eq!(
            Refused::from(io::Error::from(io::ErrorKind::TimedOut)).reason,
            HandshakeRefusal::TimedOut
        );
        assert_eq!(Refused::from(io::Error::from(io::ErrorKind::BrokenPipe)).reason, HandshakeRefusal::Gone);
    }
}
