//! What a name may be.

use std::fmt;

/// Names reach file names, metrics labels and host names; 128 bytes fit each of them.
pub const NAME_BYTES_MAX: usize = 128;

/// A ring text is a host name (253 bytes at most), an address and a port, or a name; twice that is ample.
pub const RING_TEXT_BYTES_MAX: usize = 512;

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// One named cache.
    Cluster,
    /// A server group.
    Group,
    /// A node's ring name.
    Node,
    /// A zone.
    Zone,
}

/// A name that is none. The caller's fault; nothing to retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing is there.
    #[error("{kind} name is empty; give it 1 to {NAME_BYTES_MAX} characters")]
    Empty {
        /// What was named.
        kind: NameKind,
    },
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("{kind} name has {bytes} bytes; give it 1 to {NAME_BYTES_MAX}")]
    TooLong {
        /// What was named.
        kind: NameKind,
        /// How long the name is.
        bytes: usize,
    },
    /// Something else than a letter, a digit, `-`, `_` or `.`.
    #[error("{kind} name has {character:?}; use ASCII letters, digits, '-', '_' and '.'")]
    Character {
        /// What was named.
        kind: NameKind,
        /// The first character that is refused.
        character: char,
    },
}

/// Checks the name of a cluster, group, node or zone: 1 to [`NAME_BYTES_MAX`] ASCII letters, digits, `-`, `_`, `.`.
///
/// # Errors
/// The first rule that the name breaks.
pub fn check_name(kind: NameKind, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { kind, bytes: name.len() });
    }
    match name.chars().find(|&character| !allowed(character)) {
        Some(character) => Err(NameError::Character { kind, character }),
        None => Ok(()),
    }
}

/// A ring text that is none. The caller's fault; nothing to retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingTextError {
    /// Nothing is there.
    #[error("ring text is empty; give it 1 to {RING_TEXT_BYTES_MAX} bytes")]
    Empty,
    /// More than [`RING_TEXT_BYTES_MAX`] bytes.
    #[error("ring text has {bytes} bytes; give it 1 to {RING_TEXT_BYTES_MAX}")]
    TooLong {
        /// How long the text is.
        bytes: usize,
    },
    /// A control character.
    #[error("ring text has the control character {character:?}; leave it out")]
    Control {
        /// The first one.
        character: char,
    },
}

/// Checks a ring text: 1 to [`RING_TEXT_BYTES_MAX`] bytes of UTF-8 without control characters.
///
/// # Errors
/// The first rule that the text breaks.
pub fn check_ring_text(text: &str) -> Result<(), RingTextError> {
    if text.is_empty() {
        return Err(RingTextError::Empty);
    }
    if text.len() > RING_TEXT_BYTES_MAX {
        return Err(RingTextError::TooLong { bytes: text.len() });
    }
    match text.chars().find(|character| character.is_control()) {
        Some(character) => Err(RingTextError::Control { character }),
        None => Ok(()),
    }
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameKind::Cluster => "cluster",
            NameKind::Group => "group",
            NameKind::Node => "node",
            NameKind::Zone => "zone",
        })
    }
}

fn allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_accepted() {
        for name in ["a", "HOME", "us-east-1a", "n_1.example.org", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(check_name(NameKind::Node, name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_break_a_rule_are_refused_with_it() {
        let kind = NameKind::Zone;
        assert_eq!(check_name(kind, ""), Err(NameError::Empty { kind }));
        assert_eq!(check_name(kind, &"x".repeat(129)), Err(NameError::TooLong { kind, bytes: 129 }));
        for (name, character) in [("a b", ' '), ("a/b", '/'), ("a:b", ':'), ("é", 'é'), ("a\n", '\n')] {
            assert_eq!(check_name(kind, name), Err(NameError::Character { kind, character }));
        }
    }

    #[test]
    fn ring_texts_are_opaque_but_bounded() {
        assert_eq!(check_ring_text("n1/10.0.0.1:11211"), Ok(()));
        assert_eq!(check_ring_text("é space"), Ok(()));
        assert_eq!(check_ring_text(""), Err(RingTextError::Empty));
        assert_eq!(check_ring_text(&"x".repeat(513)), Err(RingTextError::TooLong { bytes: 513 }));
        assert_eq!(check_ring_text("a\u{7f}"), Err(RingTextError::Control { character: '\u{7f}' }));
    }
}
