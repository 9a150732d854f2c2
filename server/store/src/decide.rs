//! Changes that this store decides for all replicas of a key: which it makes, and how they are stamped.

use crate::Version;
use crate::item::{Header, Marks};
use crate::segment::Location;
use crate::shard::{Hash, Shard};

/// A version of which so many counts lie between it and the time is not taken further ahead by steps: a second, of the
/// five that other stores bear.
const AHEAD_COUNTS_MAX: u64 = 1_000 << 10;

/// How a change is stamped that this store decides for all replicas of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decides {
    /// The least version of a change where the key is absent, and of one by steps of more than 1 in any case. The
    /// writer of the version that it gets is this one's.
    pub at_least: Version,
    /// How many counts its version lies after that of the item which it changes: 1 for the store that decides as a rule,
    /// more for one that stands in. So of two changes of the same item the one by who stood in is the newer.
    pub step: u64,
    /// Only an item that this store itself decided last, by a step of 1, is changed: whatever else is there, or is not,
    /// may be old.
    pub continues: bool,
}

impl Decides {
    /// A change by a step of 1, of whatever is there.
    #[must_use]
    pub fn at_least(at_least: Version) -> Decides {
        Decides { at_least, step: 1, continues: false }
    }
}

/// Whether the change is made by who decides as a rule: then what it leaves may be continued.
pub(crate) fn is_first(decides: Option<Decides>) -> bool {
    decides.is_some_and(|decides| decides.step == 1)
}

/// Whether the change may be made of what is there. The mark is of this process: whoever takes items over from another, or
/// from a file, clears it, for what was decided after them is not known here.
pub(crate) fn may_decide(decides: Option<Decides>, there: Option<Header>) -> bool {
    !decides.is_some_and(|decides| decides.continues)
        || there.is_some_and(|there| there.marks.has(Marks::DECIDED))
}

impl Shard {
    /// The version of a change that this store decides for all. Its clock has no say.
    pub(crate) fn stamp_decided(
        &self,
        hash: Hash,
        key: &[u8],
        old: Option<(Location, Header)>,
        Decides { at_least, step, .. }: Decides,
    ) -> Version {
        let known = self.known(hash, key, old);
        match old {
            // Next to what it changes, whatever the time is: one that is cut off never gets ahead of others.
            Some(_) if step == 1 || known > at_least.after(AHEAD_COUNTS_MAX, at_least) => {
                known.after(1, at_least)
            }
            Some(_) => at_least.max(known.after(step, at_least)),
            None if at_least > known => at_least,
            None => known.after(1, at_least),
        }
    }
}
