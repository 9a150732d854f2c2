//! One lock domain of the store: a table, its segments and extents, its queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};

use crate::budget::{Budget, Charge};
use crate::config::Layout;
use crate::evict::{Queue, Queues, Unit};
use crate::expire::Cursor;
use crate::extent::{Extent, Extents, Prepared};
use crate::ghost::Ghost;
use crate::index::{Index, Location, SLOTS_MIN};
use crate::item::{Header, Marks, footprint};
use crate::room::NeedRoom;
use crate::segment::{Buffer, SEGMENT_OVERHEAD_BYTES, Segments};
use crate::stats::StoreStats;
use crate::{StoreConfigError, Time, Value};

/// The longest key, as in memcached; its length is one byte of an item's header.
const KEY_BYTES_MAX: usize = 250;

/// What all shards of a store have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    pub(crate) budget: Arc<Budget>,
    /// Seeded at random: keys come from the network.
    secrets: RapidSecrets,
    /// The last CAS token given out.
    cas_last: AtomicU64,
    /// The latest time any operation came with: a flush whose time has come stays carried out when the clock
    /// is set back.
    now_max: AtomicU64,
    /// A shard's equal part of the budget.
    pub(crate) fair_bytes: usize,
}

impl Shared {
    pub(crate) fn new(layout: Layout, budget: Arc<Budget>, shards: usize) -> Shared {
        Shared {
            layout,
            fair_bytes: budget.limit() / shards,
            budget,
            secrets: RapidSecrets::random(),
            cas_last: AtomicU64::new(0),
            now_max: AtomicU64::new(0),
        }
    }

    /// Takes notice of `now`, and answers the latest time known.
    fn latest(&self, now: Time) -> Time {
        let known = self.now_max.load(Ordering::Relaxed);
        if known < now.0 {
            self.now_max.fetch_max(now.0, Ordering::Relaxed);
        }
        Time(known.max(now.0))
    }

    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        rapidhash_v3_micro_inline::<true, true>(key, &self.secrets)
    }

    pub(crate) fn next_cas(&self) -> u64 {
        self.cas_last.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// One lock domain.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: Index,
    pub(crate) ghost: Ghost,
    pub(crate) segments: Segments,
    pub(crate) extents: Extents,
    pub(crate) queues: Queues,
    /// Buffers in hand. At least one, so that the survivors of an eviction have a place to go.
    pub(crate) spares: Vec<Buffer>,
    /// What the store freed elsewhere for the operation that comes now.
    pub(crate) grant: Option<Charge>,
    pub(crate) counters: StoreStats,
    pub(crate) cursor: Cursor,
    pub(crate) item_bytes: usize,
    flush_at: Option<Time>,
}

/// A new item, all but its place.
#[derive(Debug)]
pub(crate) struct NewItem<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    /// The value again, already in charged memory, if it is large.
    pub(crate) prepared: Option<&'a mut Option<Prepared>>,
    pub(crate) flags: u32,
    pub(crate) expires_ms: u64,
    pub(crate) marks: Marks,
    pub(crate) cas: Option<u64>,
}

impl Shard {
    /// Bytes of the budget that an empty shard takes.
    pub(crate) fn bytes_min(layout: &Layout) -> usize {
        let items = Index::items_max(SLOTS_MIN);
        let tables = Index::bytes_for(SLOTS_MIN) + Ghost::bytes_for(items);
        tables + layout.segment_bytes + SEGMENT_OVERHEAD_BYTES
    }

    /// An empty shard.
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Shard, StoreConfigError> {
        let charge = |bytes| {
            let (budget, limit) = (&shared.budget, shared.budget.limit());
            let refused = StoreConfigError::MemoryTooSmall { memory_bytes: limit, shards: 1, least: limit };
            budget.charge(bytes).ok_or(refused)
        };
        let items = Index::items_max(SLOTS_MIN);
        let segment_bytes = shared.layout.segment_bytes;
        let spare = Buffer::new(segment_bytes, charge(segment_bytes + SEGMENT_OVERHEAD_BYTES)?);
        Ok(Shard {
            index: Index::new(SLOTS_MIN, charge(Index::bytes_for(SLOTS_MIN))?),
            ghost: Ghost::new(items, charge(Ghost::bytes_for(items))?),
            segments: Segments::default(),
            extents: Extents::default(),
            queues: Queues::default(),
            spares: vec![spare],
            grant: None,
            counters: StoreStats::default(),
            cursor: Cursor::default(),
            item_bytes: 0,
            flush_at: None,
            shared,
        })
    }

    /// The item under `key` at `now`, if there is one. Every operation comes by here, so this is also where
    /// a flush whose time has come is carried out, and an expired item found out.
    pub(crate) fn live(&mut self, hash: u64, key: &[u8], now: Time) -> Option<(Location, Header)> {
        self.settle(now);
        let (position, location) = self.index.find(hash, |location| self.key_is(location, key))?;
        let header = self.header(location);
        if header.is_expired(now) {
            self.index.remove(position);
            self.drop_item(location);
            self.count_expired(&header);
            return None;
        }
        Some((location, header))
    }

    /// Takes notice of the time.
    pub(crate) fn settle(&mut self, now: Time) {
        let latest = self.shared.latest(now);
        if self.flush_at.is_some_and(|at| at <= latest) {
            self.flush_at = None;
            self.drop_all();
        }
    }

    /// From `at` on, everything written before is gone.
    pub(crate) fn flush(&mut self, at: Time) {
        // One whose time has come is not replaced but carried out.
        self.settle(Time(0));
        self.flush_at = Some(at);
        self.settle(Time(0));
    }

    fn drop_all(&mut self) {
        self.counters.flushed += self.index.len() as u64;
        self.index.clear();
        self.ghost.clear();
        self.segments = Segments::default();
        self.extents = Extents::default();
        self.queues = Queues::default();
        self.cursor = Cursor::default();
        self.item_bytes = 0;
    }

    pub(crate) fn header(&self, location: Location) -> Header {
        match location {
            Location::Inline { segment, offset } => Header::decode(self.segments.get(segment).at(offset)),
            Location::Extent(extent) => self.extents.get(extent).header,
        }
    }

    /// Writes a header back. Key, value and the presence of flags are as they were.
    pub(crate) fn set_header(&mut self, location: Location, header: &Header) {
        match location {
            Location::Inline { segment, offset } => {
                let segment = self.segments.get_mut(segment);
                segment.widen(header.expires_ms);
                header.encode(segment.at_mut(offset));
            }
            Location::Extent(extent) => self.extents.get_mut(extent).header = *header,
        }
    }

    pub(crate) fn value(&self, location: Location, header: &Header) -> Value<'_> {
        match location {
            Location::Inline { segment, offset } => Value::Inline(
                &self.segments.get(segment).at(offset)[header.value_start()..header.value_end()],
            ),
            Location::Extent(extent) => Value::Pinned(self.extents.get(extent).pieces()),
        }
    }

    fn key_is(&self, location: Location, key: &[u8]) -> bool {
        match location {
            Location::Inline { segment, offset } => {
                let bytes = self.segments.get(segment).at(offset);
                if usize::from(bytes[0]) != key.len() {
                    return false;
                }
                let header = Header::decode(bytes);
                &bytes[header.key_start()..header.value_start()] == key
            }
            Location::Extent(extent) => &*self.extents.get(extent).key == key,
        }
    }

    /// Takes an item out of the table and drops it, if it is there.
    pub(crate) fn remove(&mut self, hash: u64, location: Location) {
        let found = self.index.find(hash, |other| other == location);
        let (position, _) = found.expect("a live item is in the table");
        self.index.remove(position);
        self.drop_item(location);
    }

    /// Gives back the place of an item that just left the table.
    fn drop_item(&mut self, location: Location) {
        match location {
            Location::Inline { segment, offset } => {
                self.item_bytes -= self.segments.kill(segment, offset);
                if self.segments.get(segment).live_items() == 0 {
                    self.drop_empty(segment);
                }
            }
            Location::Extent(id) => {
                self.forget_unit(self.extents.get(id).queue, Unit::Extent(id));
                let extent = self.extents.remove(id);
                self.item_bytes -= extent.header.footprint();
            }
        }
    }

    /// Stores an item in place of what is under its key. The CAS token is taken last, so that an operation
    /// that must wait for room has not used one up.
    pub(crate) fn put(&mut self, hash: u64, mut item: NewItem<'_>, now: Time) -> Result<u64, NeedRoom> {
        assert!(item.key.len() <= KEY_BYTES_MAX, "a key has at most 250 bytes: the caller checks its input");
        let header = Header {
            key_bytes: item.key.len() as u8,
            marks: item.marks,
            value_bytes: item.value.len() as u32,
            expires_ms: item.expires_ms,
            cas: 0,
            last_access_secs: 0,
            flags: item.flags,
        };
        let old = self.live(hash, item.key, now);
        let queue = self.queue_for(hash, old);
        let is_large = header.footprint() > self.shared.layout.inline_bytes_max;
        let fits_in_place = |(location, old): &(Location, Header)| {
            !is_large && matches!(location, Location::Inline { .. }) && old.footprint() == header.footprint()
        };
        let place = match old.filter(fits_in_place) {
            Some(in_place) => Place::Over(in_place.0),
            None if is_large => Place::Extent(self.large_value(&mut item, now)?),
            None => {
                self.table_room(now)?;
                self.open_room(queue, header.footprint(), now)?;
                Place::Open
            }
        };
        let mut header = Header { cas: item.cas.unwrap_or_else(|| self.shared.next_cas()), ..header };
        header.touch(now);
        self.fill(hash, &item, header, queue, place);
        Ok(header.cas)
    }

    fn fill(&mut self, hash: u64, item: &NewItem<'_>, mut header: Header, queue: Queue, place: Place) {
        // Making room may have moved or evicted what was there: look again.
        let old = self.index.find(hash, |location| self.key_is(location, item.key));
        if let Some((_, location)) = old {
            header.marks.set_frequency(self.header(location).marks.frequency());
        }
        let location = match place {
            Place::Over(Location::Inline { segment, offset }) => {
                let segment = self.segments.get_mut(segment);
                segment.widen(header.expires_ms);
                write_item(segment.at_mut(offset), &header, item);
                self.counters.items_total += 1;
                return;
            }
            Place::Over(Location::Extent(_)) => unreachable!("extents are never written over"),
            Place::Open => {
                let (location, bytes) = self.push_open(queue, header.footprint(), header.expires_ms);
                write_item(bytes, &header, item);
                location
            }
            Place::Extent(value) => self.push_extent(Extent::new(header, queue, item.key, value)),
        };
        self.item_bytes += header.footprint();
        match old {
            Some((position, old)) => {
                self.index.relocate(position, location);
                self.drop_item(old);
            }
            None => self.index.insert(hash, location),
        }
        if queue == Queue::Main {
            self.ghost.take(hash);
        }
        self.counters.items_total += 1;
    }

    /// The value of a large item, in memory that is charged; and room in the table.
    fn large_value(&mut self, item: &mut NewItem<'_>, now: Time) -> Result<Prepared, NeedRoom> {
        self.table_room(now)?;
        if let Some(prepared) = item.prepared.as_mut().and_then(|prepared| prepared.take()) {
            return Ok(prepared);
        }
        let bytes = crate::extent::charged_bytes(item.key.len(), item.value.len());
        let charge = self.charge(bytes).ok_or(NeedRoom(bytes))?;
        Ok(Prepared::new(item.value, charge))
    }

    /// An item that was evicted unread and comes again goes straight to the main queue; an item that is
    /// written over stays where it is.
    fn queue_for(&self, hash: u64, old: Option<(Location, Header)>) -> Queue {
        match old {
            Some((Location::Inline { segment, .. }, _)) => self.segments.get(segment).queue,
            Some((Location::Extent(extent), _)) => self.extents.get(extent).queue,
            None if self.ghost.knows(hash) => Queue::Main,
            None => Queue::Small,
        }
    }

    /// Whether an item of this size gets an extent of its own.
    pub(crate) fn is_large(layout: &Layout, key_bytes: usize, value_bytes: usize, flags: u32) -> bool {
        footprint(key_bytes, value_bytes, flags != 0) > layout.inline_bytes_max
    }

    pub(crate) fn count_expired(&mut self, header: &Header) {
        self.counters.expired += 1;
        self.counters.expired_unfetched += u64::from(!header.marks.has(Marks::FETCHED));
    }

    /// Counts and sizes of this shard; the budget is the store's.
    pub(crate) fn stats(&self) -> StoreStats {
        let (items, item_bytes) = (self.index.len() as u64, self.item_bytes as u64);
        StoreStats { items, item_bytes, ..self.counters }
    }

    /// Bytes of the budget that this shard holds.
    pub(crate) fn held_bytes(&self) -> usize {
        let segments = self.segments.count() + self.spares.len();
        let tables =
            Index::bytes_for(self.index.slots()) + Ghost::bytes_for(Index::items_max(self.index.slots()));
        segments * (self.shared.layout.segment_bytes + SEGMENT_OVERHEAD_BYTES) + self.extents.bytes() + tables
    }
}

/// Where a new item goes.
enum Place {
    /// Over the old one, which is as long.
    Over(Location),
    /// Into the queue's open segment.
    Open,
    /// Into an extent with this value.
    Extent(Prepared),
}

fn write_item(bytes: &mut [u8], header: &Header, item: &NewItem<'_>) {
    header.encode(bytes);
    bytes[header.key_start()..header.value_start()].copy_from_slice(item.key);
    bytes[header.value_start()..header.value_end()].copy_from_slice(item.value);
}
