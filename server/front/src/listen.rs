//! Ways in: where a front listens, what is spoken there, and whether peers must prove who they are.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Who may connect to a Unix socket unless told otherwise: its owner, as with memcached.
pub const UNIX_MODE_DEFAULT: u32 = 0o700;

/// One way in.
///
/// As text: `127.0.0.1:11211`, `tls://[::]:11311` or `unix:/run/evanesce.sock?mode=0660`. Behind a question mark stand
/// options with `&` between them: `mode`, the octal permissions of a Unix socket, and `auth=off`, which asks nobody for
/// a password there.
///
/// ```
/// use evanesce_front::{Listen, Place};
///
/// let listen: Listen = "unix:/run/evanesce.sock?mode=0660&auth=off".parse()?;
/// assert_eq!(listen.place, Place::Unix { path: "/run/evanesce.sock".into(), mode: 0o660 });
/// assert!(!listen.auth);
/// assert_eq!(listen.to_string().parse(), Ok(listen));
/// # Ok::<_, evanesce_front::ListenError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listen {
    /// Where, and what is spoken below memcached's protocol.
    pub place: Place,
    /// Whether peers must authenticate, if the front has an authentication file at all. True unless told otherwise.
    pub auth: bool,
}

/// Where a front listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// Plain TCP. Port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// TLS over TCP, with the front's certificate.
    Tls(SocketAddr),
    /// A Unix socket.
    Unix {
        /// Its file, made at the start and removed at the end.
        path: PathBuf,
        /// The file's permissions. [`UNIX_MODE_DEFAULT`].
        mode: u32,
    },
}

/// What to tell whoever looks for the server: the first that has an address. `None` where there are Unix sockets only.
#[must_use]
pub fn listen_to_tell(listening: &[Listen]) -> Option<&Listen> {
    listening.iter().find(|listen| listen.address().is_some())
}

/// A text that is no way in. Whoever wrote it has to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// No IP address and port.
    #[error("write ip:port, tls://ip:port or unix:/path, such as 127.0.0.1:11211 or [::1]:11211")]
    Address,
    /// A Unix socket without an absolute path.
    #[error("write unix: and an absolute path, such as unix:/run/evanesce.sock")]
    Path,
    /// The permissions are none.
    #[error("write the permissions of a Unix socket in octal digits, such as mode=0660")]
    Mode,
    /// Neither on nor off.
    #[error("write auth=on or auth=off")]
    Auth,
    /// An option that is not known there.
    #[error("there is no option {0:?} here: a Unix socket has mode and auth, an address has auth")]
    Option(String),
}

impl Listen {
    /// Plain TCP at an address.
    #[must_use]
    pub fn tcp(address: SocketAddr) -> Self {
        Place::Tcp(address).into()
    }

    /// TLS at an address.
    #[must_use]
    pub fn tls(address: SocketAddr) -> Self {
        Place::Tls(address).into()
    }

    /// A Unix socket that its owner may use.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Place::Unix { path: path.into(), mode: UNIX_MODE_DEFAULT }.into()
    }

    /// The IP address and port, where it has one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self.place {
            Place::Tcp(address) | Place::Tls(address) => Some(address),
            Place::Unix { .. } => None,
        }
    }

    /// Whether a peer needs TLS there.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.place, Place::Tls(_))
    }

    /// The socket's file, where it has one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Unix { path, .. } => Some(path),
            Place::Tcp(_) | Place::Tls(_) => None,
        }
    }

    fn set(&mut self, option: &str) -> Result<(), ListenError> {
        match (option.split_once('='), &mut self.place) {
            (Some(("auth", "on")), _) => self.auth = true,
            (Some(("auth", "off")), _) => self.auth = false,
            (Some(("auth", _)), _) => return Err(ListenError::Auth),
            (Some(("mode", octal)), Place::Unix { mode, .. }) => {
                let parsed = u32::from_str_radix(octal, 8).ok().filter(|mode| *mode <= 0o777);
                *mode = parsed.ok_or(ListenError::Mode)?;
            }
            _ => return Err(ListenError::Option(option.to_owned())),
        }
        Ok(())
    }
}

impl From<Place> for Listen {
    fn from(place: Place) -> Self {
        Self { place, auth: true }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::tcp(address)
    }
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let (place, options) = text.split_once('?').unwrap_or((text, ""));
        // An IPv6 socket takes IPv6 alone, so that an IPv4 address in its clothes could not be listened on.
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let address = |text: &str| text.parse().map(canonical).map_err(|_| ListenError::Address);
        let mut listen = if let Some(path) = place.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !Path::new(path).is_absolute() {
                return Err(ListenError::Path);
            }
            Self::unix(path)
        } else if let Some(rest) = place.strip_prefix("tls://") {
            Self::tls(address(rest)?)
        } else {
            Self::tcp(address(place.strip_prefix("tcp://").unwrap_or(place))?)
        };
        options.split('&').filter(|option| !option.is_empty()).try_for_each(|option| listen.set(option))?;
        Ok(listen)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = Vec::new();
        match &self.place {
            Place::Tcp(address) => write!(f, "{address}")?,
            Place::Tls(address) => write!(f, "tls://{address}")?,
            Place::Unix { path, mode } => {
                write!(f, "unix:{}", path.display())?;
                if *mode != UNIX_MODE_DEFAULT {
                    options.push(format!("mode={mode:04o}"));
                }
            }
        }
        if !self.auth {
            options.push("auth=off".to_owned());
        }
        if options.is_empty() { Ok(()) } else { write!(f, "?{}", options.join("&")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_and_written_the_same() {
        for text in [
            "127.0.0.1:11211",
            "[::1]:0",
            "tls://0.0.0.0:11311",
            "tls://[::]:11311?auth=off",
            "unix:/run/e.sock",
            "unix:/run/e.sock?mode=0660",
            "unix:/run/e.sock?mode=0660&auth=off",
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        assert_eq!("tcp://1.2.3.4:5".parse(), "1.2.3.4:5".parse::<Listen>());
        assert_eq!("[::ffff:1.2.3.4]:5".parse(), "1.2.3.4:5".parse::<Listen>());
        assert_eq!("unix:///a".parse(), "unix:/a?mode=700&auth=on".parse::<Listen>());
    }

    #[test]
    fn first_that_has_an_address_is_told() {
        let listening =
            ["unix:/a", "tls://127.0.0.1:1", "127.0.0.1:2?auth=off"].map(|text| text.parse().unwrap());
        assert_eq!(listen_to_tell(&listening), Some(&listening[1]));
        assert_eq!(listen_to_tell(&listening[..1]), None);
    }

    #[test]
    fn what_is_no_way_in_is_told_what_to_write() {
        for (text, error) in [
            ("", ListenError::Address),
            ("localhost:1", ListenError::Address),
            ("udp://127.0.0.1:1", ListenError::Address),
            ("tls://nowhere", ListenError::Address),
            ("unix:e.sock", ListenError::Path),
            ("unix:", ListenError::Path),
            ("unix:/a?mode=0999", ListenError::Mode),
            ("unix:/a?mode=7777", ListenError::Mode),
            ("127.0.0.1:1?auth=maybe", ListenError::Auth),
            ("127.0.0.1:1?mode=0600", ListenError::Option("mode=0600".to_owned())),
            ("127.0.0.1:1?colour=red", ListenError::Option("colour=red".to_owned())),
        ] {
            assert_eq!(text.parse::<Listen>(), Err(error), "{text}");
        }
    }
}
