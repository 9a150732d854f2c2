//! The words of the enums, for people, flags and files.

use std::fmt;
use std::str::FromStr;

use crate::membership::{Epoch, GroupMode, NodeState, RingHash, RingProfile, RingRole};

/// A word that is not one of those expected. The caller's fault; nothing to retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {given:?}; use one of {expected}")]
pub struct WordError {
    /// What the word should have named.
    what: &'static str,
    /// The word, cut short when it is long.
    given: String,
    /// The words there are.
    expected: &'static str,
}

/// An error message repeats at most this much of what was given, so that a hostile word floods no log.
const GIVEN_CHARS_MAX: usize = 40;

impl WordError {
    fn new(what: &'static str, given: &str, expected: &'static str) -> WordError {
        WordError { what, given: given.chars().take(GIVEN_CHARS_MAX).collect(), expected }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RingHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RingHash::Evanesce => "evanesce",
            RingHash::Evcache => "evcache",
        })
    }
}

impl FromStr for RingHash {
    type Err = WordError;

    fn from_str(word: &str) -> Result<RingHash, WordError> {
        match word {
            "evanesce" => Ok(RingHash::Evanesce),
            "evcache" => Ok(RingHash::Evcache),
            _ => Err(WordError::new("ring", word, "evanesce, evcache")),
        }
    }
}

/// The hash's word alone for the two standard profiles, else with the points: `evcache:320`.
impl fmt::Display for RingProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == RingProfile::standard(self.hash) {
            return self.hash.fmt(f);
        }
        f.pad(&format!("{}:{}", self.hash, self.points_per_node))
    }
}

/// `evanesce`, `evcache`, or either with `:` and the points per unit of weight.
impl FromStr for RingProfile {
    type Err = WordError;

    fn from_str(text: &str) -> Result<RingProfile, WordError> {
        let Some((hash, points)) = text.split_once(':') else {
            return Ok(RingProfile::standard(text.parse()?));
        };
        let points_per_node =
            points.parse().map_err(|_| WordError::new("ring", text, "evanesce, evcache, evcache:320"))?;
        Ok(RingProfile { hash: hash.parse()?, points_per_node })
    }
}

impl fmt::Display for GroupMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            GroupMode::ReadWrite => "read-write",
            GroupMode::WriteOnly => "write-only",
            GroupMode::Disabled => "disabled",
        })
    }
}

impl FromStr for GroupMode {
    type Err = WordError;

    fn from_str(word: &str) -> Result<GroupMode, WordError> {
        match word {
            "read-write" => Ok(GroupMode::ReadWrite),
            "write-only" => Ok(GroupMode::WriteOnly),
            "disabled" => Ok(GroupMode::Disabled),
            _ => Err(WordError::new("group mode", word, "read-write, write-only, disabled")),
        }
    }
}

impl fmt::Display for RingRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RingRole::Next => "next",
            RingRole::Previous => "previous",
        })
    }
}

impl FromStr for RingRole {
    type Err = WordError;

    fn from_str(word: &str) -> Result<RingRole, WordError> {
        match word {
            "next" => Ok(RingRole::Next),
            "previous" => Ok(RingRole::Previous),
            _ => Err(WordError::new("ring role", word, "next, previous")),
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            NodeState::Joining => "joining",
            NodeState::Warming => "warming",
            NodeState::Serving => "serving",
            NodeState::Draining => "draining",
            NodeState::Down => "down",
        })
    }
}

impl FromStr for NodeState {
    type Err = WordError;

    fn from_str(word: &str) -> Result<NodeState, WordError> {
        match word {
            "joining" => Ok(NodeState::Joining),
            "warming" => Ok(NodeState::Warming),
            "serving" => Ok(NodeState::Serving),
            "draining" => Ok(NodeState::Draining),
            "down" => Ok(NodeState::Down),
            _ => Err(WordError::new("node state", word, "joining, warming, serving, draining, down")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trips<T: fmt::Display + FromStr<Err = WordError> + PartialEq + fmt::Debug>(values: &[T]) {
        for value in values {
            assert_eq!(value.to_string().parse::<T>().as_ref(), Ok(value));
        }
    }

    #[test]
    fn every_word_reads_back_as_what_wrote_it() {
        round_trips(&[RingHash::Evanesce, RingHash::Evcache]);
        round_trips(&[GroupMode::ReadWrite, GroupMode::WriteOnly, GroupMode::Disabled]);
        round_trips(&[NodeState::Joining, NodeState::Warming, NodeState::Serving]);
        round_trips(&[NodeState::Draining, NodeState::Down]);
        let other = RingProfile { hash: RingHash::Evcache, points_per_node: 320 };
        round_trips(&[RingProfile::EVANESCE, RingProfile::EVCACHE, other]);
    }

    #[test]
    fn standard_profiles_are_their_hash_alone() {
        assert_eq!(RingProfile::EVANESCE.to_string(), "evanesce");
        assert_eq!(RingProfile::EVCACHE.to_string(), "evcache");
    }

    #[test]
    fn unknown_word_is_refused_and_cut_short() {
        let error = "x".repeat(1000).parse::<NodeState>().unwrap_err();
        assert!(error.to_string().len() < 150, "{error}");
        assert!("evanesce:many".parse::<RingProfile>().is_err());
        assert!("Serving".parse::<NodeState>().is_err());
    }
}
