//! What a shard tells its memory file, and asks it at the start. Without a file all of it is one branch each.

use super::{Change, Ledger};
use crate::arena::Buffer;
use crate::item;
use crate::segment::Location;
use crate::shard::{Hash, Shard};
use crate::{Time, Version};

impl Shard {
    /// Which of the store's shards it is.
    pub(crate) fn index(&self) -> usize {
        self.stamper.share()
    }

    /// The shard is about to be changed: until [`Shard::finish`] a start would not believe its table. Answers whether that
    /// is news.
    #[inline]
    pub(crate) fn begin(&self) -> bool {
        match self.shared.arena.ledger() {
            Some(ledger) if !ledger.is_at_work(self.index()) => {
                ledger.works(self.index());
                true
            }
            _ => false,
        }
    }

    /// Whether [`Shard::begin`] was called, or need not be.
    pub(crate) fn has_begun(&self) -> bool {
        self.shared.arena.ledger().is_none_or(|ledger| ledger.is_at_work(self.index()))
    }

    /// The shard is whole again.
    #[inline]
    pub(crate) fn finish(&self) {
        if let Some(ledger) = self.shared.arena.ledger() {
            self.rest(ledger);
        }
    }

    #[cold]
    fn rest(&self, ledger: &Ledger) {
        let usage = self.usage.all().map(|usage| (usage.items, usage.item_bytes));
        ledger.rests(self.index(), self.version_seen, usage);
    }

    /// The table gets a slab.
    pub(crate) fn give_slab(&mut self, slab: Buffer) {
        if let Some(ledger) = slab.ledger() {
            ledger.lent(slab.number(), self.index(), self.table.slabs());
        }
        self.table.give(slab);
    }

    /// The table gives a slab back that it does not need. Answers whether there is one.
    pub(crate) fn spare_slab(&mut self) -> bool {
        let Some(slab) = self.table.spare() else { return false };
        if let Some(ledger) = slab.ledger() {
            ledger.retired(slab.number());
        }
        true
    }

    /// An item is about to be changed where it lies: until [`Shard::finish_change`] a start would drop it.
    #[inline]
    pub(crate) fn begin_change(&self, hash: Hash, location: Location) {
        if let Some(ledger) = self.shared.arena.ledger() {
            self.name_change(ledger, hash, location);
        }
    }

    #[cold]
    fn name_change(&self, ledger: &Ledger, hash: Hash, location: Location) {
        let segment = self.segments.get(location.segment);
        let header = segment.header(location.offset);
        let footprint = item::footprint(segment.at(location.offset), &header);
        let change = Change { location, footprint, hash: hash.whole, version: header.version };
        ledger.changing(self.index(), &change);
    }

    /// The item is whole.
    #[inline]
    pub(crate) fn finish_change(&self) {
        if let Some(ledger) = self.shared.arena.ledger() {
            ledger.changed(self.index());
        }
    }

    /// What was being changed when the store ended.
    pub(super) fn unfinished(&self) -> Option<Change> {
        self.shared.arena.ledger().and_then(|ledger| ledger.change(self.index()))
    }

    /// A segment is in use.
    pub(crate) fn keep_opened(&self, id: u32) {
        let segment = self.segments.get(id);
        if let Some((ledger, number)) = segment.ledger() {
            ledger.opened(number, self.index(), &segment.kept(id));
        }
    }

    /// A segment takes no more items.
    pub(crate) fn keep_sealed(&self, id: u32) {
        let segment = self.segments.get(id);
        if let Some((ledger, number)) = segment.ledger() {
            ledger.sealed(number, segment.sealed.unwrap_or(0));
        }
    }

    /// Remembers a delete.
    pub(crate) fn remember_delete(&mut self, hash: u64, version: Version) {
        self.tombstones.add(hash, version);
        if let Some(ledger) = self.shared.arena.ledger() {
            self.keep_delete(ledger, hash);
        }
    }

    #[cold]
    fn keep_delete(&self, ledger: &Ledger, hash: u64) {
        // The floor first: what it stands for is overwritten next.
        ledger.put_floor(self.index(), self.tombstones.floor());
        if let Some((place, version)) = self.tombstones.place(hash) {
            ledger.put_tombstone(self.index(), place, hash, version);
        }
    }

    /// The flushes changed.
    #[cold]
    pub(crate) fn keep_flushes(&self) {
        if let Some(ledger) = self.shared.arena.ledger() {
            for (namespace, (watermark, pending)) in self.flushes.all().enumerate() {
                ledger.put_flush(self.index(), namespace, watermark, pending);
            }
        }
    }

    /// Takes over what the file holds beside items. Answers when the store last ran.
    pub(super) fn recall(&mut self) -> Time {
        let index = self.index();
        let Some(ledger) = self.shared.arena.ledger() else { return Time::default() };
        for place in 0..ledger.geometry.tombstones {
            let (hash, version) = ledger.tombstone(index, place);
            if version.0 != 0 && version <= Version::LAST {
                self.tombstones.restore(place, hash, version);
            }
        }
        self.tombstones.raise_floor(ledger.floor(index).min(Version::LAST));
        let mut latest = Version::default();
        for namespace in 0..ledger.geometry.namespaces {
            let (watermark, pending) = ledger.flush(index, namespace);
            let watermark = watermark.min(Version::LAST);
            self.flushes.restore(namespace, watermark, pending);
            latest = latest.max(watermark);
        }
        let ran = ledger.ran();
        self.see(latest);
        // Tokens that were given out are not given out again even if the clock was set back.
        self.stamper.pass(Version::at(ran, 0));
        ran
    }
}
