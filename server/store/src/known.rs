//! All that a store knows of a key, present or not: what nodes tell each other when they compare.

use crate::read::shown;
use crate::shard::{Hash, Shard};
use crate::{Hit, Time, Version};

/// What is known of a key.
#[derive(Debug)]
pub struct Known<'a> {
    /// The item, if it is there. Nobody has the win.
    pub hit: Option<Hit<'a>>,
    /// The version of its last delete, if that is remembered; else one before all others.
    pub deleted: Version,
    /// The latest version that is known of it: its item's, its delete's, or that of a flush. What is decided of it here is later.
    pub latest: Version,
    /// Up to this version the key may have been deleted or flushed without anybody knowing it here any more.
    pub forgotten: Version,
}

impl Shard {
    /// All that is known of a key.
    pub(crate) fn examine(&mut self, hash: Hash, key: &[u8], now: Time) -> Known<'_> {
        let found = self.live(hash, key, now);
        let watermark = self.flushes.watermark(self.shared.namespaces.of(key));
        Known {
            latest: self.known(hash, key, found),
            hit: found.map(|(location, header)| shown(&header, self.value(location, &header), false, now)),
            deleted: self.tombstones.of(hash.whole),
            forgotten: self.tombstones.floor().max(watermark),
        }
    }

    /// Drops the item of exactly this version, without a tombstone. Whether it was there.
    pub(crate) fn drop_version(&mut self, hash: Hash, key: &[u8], version: Version, now: Time) -> bool {
        let found = self.live(hash, key, now).filter(|(_, header)| header.version == version);
        if let Some((location, _)) = found {
            self.remove(hash, location);
        }
        found.is_some()
    }
}
