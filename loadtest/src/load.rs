//! Loads: what a batch of requests on one connection looks like, by the load's name.

use std::fmt;
use std::str::FromStr;

/// Most requests of a batch: its replies, of the usual sizes, still fit a socket's buffers.
pub(crate) const BATCH_REQUESTS_MAX: u64 = 256;

/// What one connection asks at once, before it waits for all the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) kind: Kind,
    /// Requests that go out together; for a multi-get, its keys, of which each counts as a request.
    pub(crate) depth: u64,
}

/// Which commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `get` with one key.
    Get,
    /// One `get` with all keys.
    MultiGet,
    /// `get` with one key, and [`MIX_SET_PERCENT`] `set`.
    Mix,
    /// `set`.
    Set,
}

/// Share of `set` in a mixed load.
pub(crate) const MIX_SET_PERCENT: u64 = 10;

/// Names of the kinds; a depth behind one, as in `get16`.
const NAMES: [(&str, Kind); 4] =
    [("mget", Kind::MultiGet), ("get", Kind::Get), ("mix", Kind::Mix), ("set", Kind::Set)];

impl FromStr for Load {
    type Err = String;

    fn from_str(text: &str) -> Result<Load, String> {
        let named = NAMES.iter().find_map(|(name, kind)| Some((*kind, text.strip_prefix(name)?)));
        let Some((kind, depth)) = named else {
            return Err(format!("{text:?} is no load: write get, get16, mget32, mix16 or set16"));
        };
        let depth = if depth.is_empty() { Ok(1) } else { depth.parse() };
        match depth {
            Ok(depth @ 1..=BATCH_REQUESTS_MAX) => Ok(Load { kind, depth }),
            _ => Err(format!("{text:?}: the depth must be 1 to {BATCH_REQUESTS_MAX}")),
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = NAMES.iter().find(|(_, kind)| *kind == self.kind).expect("every kind has a name");
        match self.depth {
            1 => f.pad(name),
            depth => f.pad(&format!("{name}{depth}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Load};

    #[test]
    fn names_say_kind_and_depth() {
        for (name, kind, depth) in [
            ("get", Kind::Get, 1),
            ("get16", Kind::Get, 16),
            ("mget32", Kind::MultiGet, 32),
            ("set", Kind::Set, 1),
        ] {
            assert_eq!(name.parse(), Ok(Load { kind, depth }));
            assert_eq!(Load { kind, depth }.to_string(), name);
        }
    }

    #[test]
    fn other_names_and_depths_are_refused() {
        for name in ["", "put", "get0", "get-1", "mix9999", "get16x"] {
            assert!(name.parse::<Load>().is_err(), "{name}");
        }
    }
}
