//! Proactive expiry: memory of expired and flushed items comes back without waiting for eviction.

use crate::Time;
use crate::item::{self};
use crate::segment::{Kind, Location, Segment};
use crate::shard::Shard;

/// A segment with more than one part in this many of dead bytes after its expired items went is compacted at once.
const COMPACT_PART: usize = 8;

/// Where the next step goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    segment: u32,
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
    /// One step: goes once around the shard at most, and stops after the segment in which it has looked at `items_max`
    /// items. Segments in which nothing worth while has expired cost nothing but a glance, for which the shard is not at work.
    pub(crate) fn expire(&mut self, now: Time, items_max: usize) -> Step {
        self.settle(now);
        let mut step = Step::default();
        for _ in 0..self.segments.end() {
            if step.visited >= items_max {
                break;
            }
            let id = self.cursor.segment % self.segments.end();
            self.cursor.segment = id + 1;
            let is_due = |segment: &Segment| {
                let is_over = segment.due_ms() <= now.0 || self.flushes.may_cover(segment.looked());
                is_over && segment.live_items() > 0 && segment.kind() == Kind::Items
            };
            if self.segments.try_get(id).is_some_and(is_due) && self.check_segment(id, now) {
                self.begin();
                self.expire_segment(id, now, &mut step);
                self.finish();
            }
        }
        self.begin();
        self.spare_slabs();
        self.finish();
        step
    }

    /// Drops the expired and flushed items of a segment; with the last one the segment itself goes.
    fn expire_segment(&mut self, id: u32, now: Time, step: &mut Step) {
        self.segments.get_mut(id).forget_due(now, self.flushes.latest());
        let mut next = self.segments.get(id).next_live(0);
        while let Some((offset, header)) = next {
            step.visited += 1;
            let segment = self.segments.get(id);
            // The item's own removal may free the segment: look ahead first.
            next = segment.next_live(segment.behind(offset, &header));
            let key = item::key(segment.at(offset));
            if !header.is_expired(now) && !self.is_flushed(&header, key) {
                self.segments.get_mut(id).note(&header);
                continue;
            }
            let (hash, key) = (self.shared.hash(key), key.to_vec());
            step.dropped += 1;
            self.count_ended(&header, &key, now);
            self.remove(hash, Location { segment: id, offset });
        }
        let segment_bytes = self.shared.layout.segment_bytes;
        let is_hollow = |segment: &Segment| {
            segment.sealed.is_some() && segment.dead_bytes() >= segment_bytes / COMPACT_PART
        };
        if self.segments.try_get(id).is_some_and(is_hollow) {
            self.compact(id, now);
        }
    }
}
