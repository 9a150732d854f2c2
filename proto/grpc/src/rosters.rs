//! Rosters as nodes carry them from registry to registry: the newest of each group.

use std::collections::BTreeMap;

use prost::Message;

use crate::discovery::v1::Roster;

/// Rosters that one message may bring: as many as a cluster has groups.
pub const ROSTERS_MAX: usize = 256;

/// The newest roster of each group. Whoever holds two of these and merges each into the other holds one thing twice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rosters(BTreeMap<String, Roster>);

impl Rosters {
    /// Takes a roster over that is newer than the one held of its group. Whether it was.
    pub fn merge(&mut self, roster: Roster) -> bool {
        let is_newer = match self.0.get(&roster.group) {
            Some(held) => is_newer(&roster, held),
            None => self.0.len() < ROSTERS_MAX,
        };
        if is_newer {
            self.0.insert(roster.group.clone(), roster);
        }
        is_newer
    }

    /// A number that is another for other rosters, most likely; 0 for none.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.0.values().map(fingerprint).fold(0, u64::wrapping_add)
    }

    /// The roster of a group.
    #[must_use]
    pub fn get(&self, group: &str) -> Option<&Roster> {
        self.0.get(group)
    }

    /// All of them, by group.
    pub fn iter(&self) -> impl Iterator<Item = &Roster> {
        self.0.values()
    }

    /// All of them, as a message has them.
    #[must_use]
    pub fn to_messages(&self) -> Vec<Roster> {
        self.0.values().cloned().collect()
    }
}

/// Whether a roster counts rather than another of its group.
fn is_newer(roster: &Roster, held: &Roster) -> bool {
    roster.revision > held.revision
        || roster.revision == held.revision && roster.encode_to_vec() > held.encode_to_vec()
}

/// FNV-1a, of 64 bits, of the encoding: releases and languages agree on it.
fn fingerprint(roster: &Roster) -> u64 {
    let mix = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    roster.encode_to_vec().into_iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(group: &str, revision: u64, what: &str) -> Roster {
        Roster { group: group.to_owned(), revision, what: what.to_owned(), ..Roster::default() }
    }

    #[test]
    fn merging_in_any_order_holds_the_same() {
        let all = [roster("a", 2, "x"), roster("a", 2, "y"), roster("a", 1, "z"), roster("b", 7, "")];
        let merged = |order: &[usize]| {
            let mut rosters = Rosters::default();
            for &at in order {
                rosters.merge(all[at].clone());
            }
            rosters
        };
        let once = merged(&[0, 1, 2, 3]);
        assert_eq!(once.get("a").map(|roster| roster.what.as_str()), Some("y"));
        for order in [[3, 2, 1, 0], [1, 0, 3, 2], [2, 0, 1, 3]] {
            assert_eq!((merged(&order).mark(), &merged(&order)), (once.mark(), &once));
        }
        assert_eq!(Rosters::default().mark(), 0);
        assert_ne!(merged(&[0]).mark(), merged(&[1]).mark());
    }
}
