//! Who may come in: users and passwords of an authentication file, in memcached's own format.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};

/// Users of one file: every attempt is compared with all of them, so that time tells nothing.
pub const USERS_MAX: usize = 256;

/// Bytes of one line of the file, as memcached has it.
const LINE_BYTES_MAX: usize = 256;

/// Users and their passwords. Shown to nobody: its `Debug` counts them.
pub(crate) struct Users(Vec<User>);

struct User {
    name: Vec<u8>,
    password: Vec<u8>,
}

/// What is wrong with an authentication file. It never says what stands there: that may be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    /// A line is not `user:password`.
    #[error("line {line} is not user:password, or is longer than {LINE_BYTES_MAX} bytes: mend it")]
    Line {
        /// Which, from 1.
        line: usize,
    },
    /// There are none.
    #[error("it has no users, so that nobody could come in: write one user:password a line")]
    Nobody,
    /// There are too many.
    #[error("it has more than {USERS_MAX} users: let programs of one kind share one")]
    TooMany,
}

impl Users {
    /// Reads a file's text: one `user:password` a line, empty lines aside.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, UsersError> {
        let mut users = Vec::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let colon = line.iter().position(|byte| *byte == b':');
            let (name, password) = match colon {
                Some(at @ 1..) if at + 1 < line.len() && line.len() <= LINE_BYTES_MAX => {
                    (&line[..at], &line[at + 1..])
                }
                _ => return Err(UsersError::Line { line: index + 1 }),
            };
            users.push(User { name: name.to_vec(), password: password.to_vec() });
        }
        match users.len() {
            0 => Err(UsersError::Nobody),
            1..=USERS_MAX => Ok(Self(users)),
            _ => Err(UsersError::TooMany),
        }
    }

    /// Whether there is such a user with this password. Takes as long for one as for another, lengths aside.
    pub(crate) fn admit(&self, name: &[u8], password: &[u8]) -> bool {
        let is = |user: &User| user.name.ct_eq(name) & user.password.ct_eq(password);
        self.0.iter().fold(Choice::from(0), |admitted, user| admitted | is(user)).into()
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_come_in_with_their_own_password_only() {
        let users = Users::parse(b"ann:secret\r\n\nbob:a:b c\n").unwrap();
        assert!(users.admit(b"ann", b"secret") && users.admit(b"bob", b"a:b c"));
        for (name, password) in
            [("ann", "a:b c"), ("ann", "secre"), ("ann", "secret "), ("an", "secret"), ("", ""), ("ann", "")]
        {
            assert!(!users.admit(name.as_bytes(), password.as_bytes()), "{name} {password}");
        }
        assert_eq!(format!("{users:?}"), "Users(2)");
    }

    #[test]
    fn file_that_cannot_be_meant_is_refused_by_line_and_never_quoted() {
        let long = [b"u:".as_slice(), &[b'p'; LINE_BYTES_MAX]].concat();
        for (text, error) in [
            (b"".as_slice(), UsersError::Nobody),
            (b"\n\n", UsersError::Nobody),
            (b"u:p\nhunter2\n", UsersError::Line { line: 2 }),
            (b":p\n", UsersError::Line { line: 1 }),
            (b"u:\n", UsersError::Line { line: 1 }),
            (&long, UsersError::Line { line: 1 }),
            (&b"u:p\n".repeat(USERS_MAX + 1), UsersError::TooMany),
        ] {
            let refused = Users::parse(text).unwrap_err();
            assert_eq!(refused, error);
            assert!(!refused.to_string().contains("hunter2"));
        }
    }
}
