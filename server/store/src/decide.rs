//! Changes that this store decides for all replicas of a key: which it makes, and how they are stamped.

use crate::Version;
use crate::item::{Header, Marks};
use crate::segment::Location;
use crate::shard::{Hash, Shard};

/// A decision that would be this many counts later than what others were told of is not made: half of what another place is
/// promised beyond this one, so that it is older than all that others were promised after it was told of.
const LATER_COUNTS_MAX: u64 = 512;

/// How a change is stamped that this store decides for all replicas of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decides {
    /// The least version of the change; it is later where what is known of the key is not older. The writer of the version
    /// that it gets is this one's, or, where it continues, that of the item.
    pub at_least: Version,
    /// Only an item that this store itself decided last is changed: whatever else is there, or is not, may be old. Without
    /// it an item is changed too that is no newer than `at_least`.
    pub continues: bool,
}

impl Decides {
    /// A change of whatever is there.
    #[must_use]
    pub fn at_least(at_least: Version) -> Decides {
        Decides { at_least, continues: false }
    }
}

impl Shard {
    /// Whether the change may be made of what is there: what was decided here last, or, unless it is to be continued, what is
    /// not newer than the change; and whether it is not much later than was said, for a delete or a flush that is known here.
    /// The mark is of this process: whoever takes items over from another, or from a file, clears it, for what was decided
    /// after them is not known here.
    pub(crate) fn may_decide(
        &self,
        hash: Hash,
        key: &[u8],
        old: Option<(Location, Header)>,
        decides: Option<Decides>,
    ) -> bool {
        let Some(decides @ Decides { at_least, continues }) = decides else { return true };
        let there = old.map(|(_, there)| there);
        let is_marked = there.is_some_and(|there| there.marks.has(Marks::DECIDED));
        let may_change = is_marked || (!continues && there.is_none_or(|there| there.version <= at_least));
        let told = there.filter(|_| continues).map_or(at_least, |there| there.version);
        may_change && self.stamp_decided(hash, key, old, decides) < told.after(LATER_COUNTS_MAX, Version(0))
    }

    /// The version of a change that this store decides for all. Its clock has no say.
    pub(crate) fn stamp_decided(
        &self,
        hash: Hash,
        key: &[u8],
        old: Option<(Location, Header)>,
        Decides { at_least, continues }: Decides,
    ) -> Version {
        // Who asks may know this store by another name than who asked before.
        let writer = old.filter(|_| continues).map_or(at_least, |(_, there)| there.version);
        // Next to what it changes, whatever the time is: one that is cut off never gets ahead of others.
        at_least.max(self.known(hash, key, old).after(1, writer))
    }
}
