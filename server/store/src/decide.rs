//! Changes that this store decides for all replicas of a key: which it makes, and how they are stamped.

use crate::Version;
use crate::item::{Header, Marks};
use crate::segment::Location;
use crate::shard::{Hash, Shard};

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

/// Whether the change may be made of what is there: what was decided here last, or, unless it is to be continued, what is
/// not newer than the change. The mark is of this process: whoever takes items over from another, or from a file, clears
/// it, for what was decided after them is not known here.
pub(crate) fn may_decide(decides: Option<Decides>, there: Option<Header>) -> bool {
    let (Some(Decides { at_least, continues }), Some(there)) = (decides, there) else {
        return !decides.is_some_and(|decides| decides.continues);
    };
    there.marks.has(Marks::DECIDED) || (!continues && there.version <= at_least)
}

impl Shard {
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
