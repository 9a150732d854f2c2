//! Who we are to a node that asks.

use std::fmt;

use bytes::BytesMut;
use thiserror::Error;

/// What a node reads before it knows who is there: name and password with the space between.
const CREDENTIALS_BYTES_MAX: usize = 2048;

/// A user and a password, for nodes that want them before the first request.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

/// A user or password that no node could take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidCredentials {
    /// One of them is empty.
    #[error("user and password must not be empty")]
    Empty,
    /// One of them holds white space or a control character, which the protocol separates them by.
    #[error("user and password must not hold white space or control characters")]
    Space,
    /// They are longer than a node reads.
    #[error("user and password must not be longer than {CREDENTIALS_BYTES_MAX} bytes together with a space")]
    TooLong,
}

impl Credentials {
    /// Checks and takes a user and a password.
    ///
    /// # Errors
    ///
    /// [`InvalidCredentials`]: they cannot be told in memcached's protocol.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Result<Self, InvalidCredentials> {
        let (user, password) = (user.into(), password.into());
        if user.is_empty() || password.is_empty() {
            return Err(InvalidCredentials::Empty);
        }
        if user.chars().chain(password.chars()).any(|char| char.is_whitespace() || char.is_control()) {
            return Err(InvalidCredentials::Space);
        }
        if user.len() + 1 + password.len() > CREDENTIALS_BYTES_MAX {
            return Err(InvalidCredentials::TooLong);
        }
        Ok(Self { user, password })
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What is sent. A server that asks nobody takes it for an ordinary `set`: by its expiry the item is gone at once.
    pub(crate) fn command(&self) -> BytesMut {
        let Self { user, password } = self;
        let bytes = user.len() + 1 + password.len();
        format!("set auth 0 -1 {bytes}\r\n{user} {password}\r\n").as_bytes().into()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_node_could_take_is_refused() {
        let refused =
            |user: &str, password: &str| Credentials::new(user, password).expect_err("it is refused");
        assert_eq!(refused("", "secret"), InvalidCredentials::Empty);
        assert_eq!(refused("ann", ""), InvalidCredentials::Empty);
        assert_eq!(refused("ann", "two words"), InvalidCredentials::Space);
        assert_eq!(refused("ann\r\n", "secret"), InvalidCredentials::Space);
        assert_eq!(refused("ann", &"x".repeat(2045)), InvalidCredentials::TooLong);
        assert!(Credentials::new("ann", "x".repeat(2044)).is_ok());
    }

    #[test]
    fn password_is_not_shown() {
        let credentials = Credentials::new("ann", "secret").expect("they are good");
        assert_eq!(format!("{credentials:?}"), "Credentials { user: \"ann\", .. }");
        assert_eq!(&credentials.command()[..], b"set auth 0 -1 10\r\nann secret\r\n");
    }
}
