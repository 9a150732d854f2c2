//! Proactive expiry: finding what has expired before anybody asks for it.

use std::cmp::Reverse;

use crate::Time;
use crate::ghost::Ghost;
use crate::index::{Index, Location};
use crate::item::Header;
use crate::segment::Segment;
use crate::shard::Shard;

/// Where the next step goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    segment: u32,
    extent: u32,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Step {
    /// Items looked at.
    pub(crate) visited: usize,
    /// Items dropped.
    pub(crate) dropped: usize,
}

impl Shard {
    /// One step: goes once around the shard at most, and stops after the segment in which it has looked at
    /// `items_max` items. Segments in which nothing can have expired cost nothing but a glance.
    pub(crate) fn expire(&mut self, now: Time, items_max: usize) -> Step {
        self.settle(now);
        let mut step = Step::default();
        for _ in 0..self.segments.end() {
            if step.visited >= items_max {
                return step;
            }
            let id = self.cursor.segment % self.segments.end();
            self.cursor.segment = id + 1;
            let is_due = |segment: &Segment| segment.live_items() > 0 && segment.expires_min <= now.0;
            if self.segments.try_get(id).is_some_and(is_due) {
                self.expire_segment(id, now, &mut step);
            }
        }
        for _ in 0..self.extents.end() {
            if step.visited >= items_max {
                return step;
            }
            let id = self.cursor.extent % self.extents.end();
            self.cursor.extent = id + 1;
            self.expire_extent(id, now, &mut step);
        }
        self.shrink_table();
        step
    }

    /// Drops the expired items of a segment; with the last one the segment itself goes.
    fn expire_segment(&mut self, id: u32, now: Time, step: &mut Step) {
        let mut expires_min = None;
        let mut next = self.segments.get(id).next_live(0);
        while let Some((offset, header)) = next {
            step.visited += 1;
            let segment = self.segments.get(id);
            // The item's own removal may free the segment: look ahead first.
            next = segment.next_live(offset + header.footprint() as u32);
            if header.is_expired(now) {
                let key = &segment.at(offset)[header.key_start()..header.value_start()];
                let hash = self.shared.hash(key);
                self.drop_expired(hash, Location::Inline { segment: id, offset }, &header, step);
            } else {
                expires_min = expires_min.max(Some(Reverse(header.expires_ms)));
            }
        }
        // Without a survivor there is no segment any more.
        if let Some(Reverse(expires_ms)) = expires_min {
            self.segments.get_mut(id).expires_min = expires_ms;
        }
    }

    fn expire_extent(&mut self, id: u32, now: Time, step: &mut Step) {
        let Some(extent) = self.extents.try_get(id) else { return };
        step.visited += 1;
        if extent.header.is_expired(now) {
            let (hash, header) = (self.shared.hash(&extent.key), extent.header);
            self.drop_expired(hash, Location::Extent(id), &header, step);
        }
    }

    fn drop_expired(&mut self, hash: u64, location: Location, header: &Header, step: &mut Step) {
        step.dropped += 1;
        self.count_expired(header);
        self.remove(hash, location);
    }

    /// Gives memory of a table back that has become far too large.
    fn shrink_table(&mut self) {
        let Some(slots) = self.index.shrinkage() else { return };
        let items = Index::items_max(slots);
        if let Some(mut charge) = self.charge(Index::bytes_for(slots) + Ghost::bytes_for(items)) {
            let ghosts = charge.split(Ghost::bytes_for(items)).expect("it is part of the sum");
            self.ghost.resize(items, ghosts);
            self.index.resize(slots, charge);
        }
    }
}
