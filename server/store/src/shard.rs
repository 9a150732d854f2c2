//! One lock domain of the store: a table, its segments, its queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};

use crate::arena::{Arena, Buffer};
use crate::config::Layout;
use crate::evict::{Home, Queue, Space};
use crate::expire::Cursor;
use crate::flush::Flushes;
use crate::item::{self, Header, Marks};
use crate::large;
use crate::look::Unseen;
use crate::namespace::Namespaces;
use crate::observe::Observer;
use crate::room::NeedRoom;
use crate::segment::{Location, Segments};
use crate::stats::{Counters, StoreStats, Usage, Usages};
use crate::table::{Found, Table};
use crate::tombstone::Tombstones;
use crate::version::Stamper;
use crate::{Time, Value, Version};

/// The longest key, as in memcached; its length is one byte of an item's header.
const KEY_BYTES_MAX: usize = 250;

/// What all shards of a store have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    pub(crate) arena: Arc<Arena>,
    pub(crate) namespaces: Namespaces,
    pub(crate) observer: Observer,
    /// From a seed that is random unless nodes must agree on it: keys come from the network.
    secrets: RapidSecrets,
    shards: u64,
    /// The latest time any operation came with: a flush whose time has come stays carried out when the clock is set
    /// back.
    now_max: AtomicU64,
    /// A shard's equal part of the segments.
    pub(crate) fair_segments: usize,
}

/// A key's hash, in the parts that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Hash {
    pub(crate) whole: u64,
    /// The shard.
    pub(crate) shard: u32,
    /// The place within the shard, in order of the hash.
    pub(crate) order: u64,
    /// Bits that the place does not depend on.
    pub(crate) mix: u32,
}

impl Shared {
    pub(crate) fn new(
        layout: Layout,
        arena: Arc<Arena>,
        namespaces: Namespaces,
        seed: Option<u64>,
        shards: usize,
    ) -> Shared {
        Shared {
            layout,
            fair_segments: layout.segments / shards,
            arena,
            namespaces,
            observer: Observer::default(),
            secrets: seed.map_or_else(RapidSecrets::random, RapidSecrets::seed),
            shards: shards as u64,
            now_max: AtomicU64::new(0),
        }
    }

    /// Takes notice of `now`, and answers the latest time known.
    pub(crate) fn latest(&self, now: Time) -> Time {
        let known = self.now_max.load(Ordering::Relaxed);
        if known < now.0 {
            self.now_max.fetch_max(now.0, Ordering::Relaxed);
        }
        Time(known.max(now.0))
    }

    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> Hash {
        self.split(rapidhash_v3_micro_inline::<true, true>(key, &self.secrets))
    }

    /// Shards divide the range of hashes into equal parts; so all items in the order of shards, and within them in the
    /// order of `order`, are in the order of their hashes.
    #[inline]
    pub(crate) fn split(&self, whole: u64) -> Hash {
        let product = u128::from(whole) * u128::from(self.shards);
        Hash { whole, shard: (product >> 64) as u32, order: product as u64, mix: whole as u32 }
    }

    /// The least hash of a shard whose order is at least `order`.
    pub(crate) fn hash_at(&self, shard: usize, order: u64) -> u64 {
        let product = (shard as u128) << 64 | u128::from(order);
        product.div_ceil(u128::from(self.shards)) as u64
    }
}

/// One lock domain.
///
/// Its fields lie as they stand here: what every operation changes shares one cache line with the lock, which comes
/// first; what inserts change follows on the next; then what operations only read. Two threads that take turns at a shard
/// hand over no more than they must.
#[repr(C)]
pub(crate) struct Shard {
    /// Evictions are gentle until this much work is done.
    pub(crate) gentle_until: u64,
    /// The latest version of anything ever stored.
    pub(crate) version_seen: Version,
    pub(crate) stamper: Stamper,
    pub(crate) usage: Usages,
    /// Segments in hand for the operation that is at work.
    pub(crate) grant: Vec<Buffer>,
    pub(crate) shared: Arc<Shared>,
    /// What is to be found in the table while it has pages that nobody has looked through since a memory file gave it.
    pub(crate) unseen: Option<Box<Unseen>>,
    /// Work of evictions so far: see [`crate::room`].
    pub(crate) work: u64,
    pub(crate) flushes: Flushes,
    pub(crate) tombstones: Tombstones,
    pub(crate) table: Table<Buffer>,
    pub(crate) segments: Segments,
    pub(crate) spaces: Vec<Space>,
    /// Segments ever sealed: the age of queues.
    pub(crate) seals: u64,
    pub(crate) counters: Counters,
    pub(crate) cursor: Cursor,
    /// The first segment that the check of what a memory file gave has not come to, ...
    pub(crate) check_next: u32,
    /// ... and one past the last of those.
    pub(crate) check_end: u32,
    /// How often something was found damaged.
    pub(crate) mended: u64,
}

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;
/// Bytes of the lock, which lies before the shard.
const LOCK_BYTES: usize = 8;
// What reads and writes change ends with the line that the lock begins.
const _: () = assert!(LOCK_BYTES + std::mem::offset_of!(Shard, usage) + 2 * size_of::<u64>() <= LINE_BYTES);

impl std::fmt::Debug for Shard {
    /// Counts and sizes: the rest is too much for anyone to read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// A new item, all but its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewItem<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) flags: u32,
    pub(crate) expires_ms: u64,
    pub(crate) marks: Marks,
    pub(crate) cas: Option<u64>,
    /// The writer's; the store's next otherwise.
    pub(crate) version: Option<Version>,
    /// What [`Shard::live`] found under the key, nothing having changed since.
    pub(crate) old: Option<(Location, Header)>,
}

impl Shard {
    /// An empty shard.
    pub(crate) fn new(shared: Arc<Shared>, index: usize, writer: u16) -> Shard {
        let layout = shared.layout;
        let segments = |bytes: usize| bytes / layout.segment_bytes / layout.shards;
        let space = |(guarantee, limit): (usize, Option<usize>)| Space {
            guarantee: segments(guarantee),
            limit: limit.map_or(usize::MAX, segments),
            ..Space::default()
        };
        Shard {
            table: Table::new(layout.segment_bytes),
            segments: Segments::default(),
            spaces: shared.namespaces.spaces().into_iter().map(space).collect(),
            grant: Vec::new(),
            unseen: None,
            seals: 0,
            work: 0,
            gentle_until: 0,
            counters: Counters::default(),
            usage: Usages::new(shared.namespaces.count()),
            cursor: Cursor::default(),
            check_next: 0,
            check_end: 0,
            mended: 0,
            tombstones: Tombstones::new(layout.tombstones),
            flushes: Flushes::new(shared.namespaces.count()),
            stamper: Stamper::new(writer, index, layout.shards),
            version_seen: Version::default(),
            shared,
        }
    }

    /// Takes notice of the time.
    pub(crate) fn settle(&mut self, now: Time) {
        let latest = self.shared.latest(now);
        if self.flushes.is_due(latest) {
            // Each operation looks here first, so all that was seen was stored before the flush's time.
            let (stamper, seen) = (&mut self.stamper, self.version_seen);
            self.flushes.carry_out(latest, |at| stamper.next(at, seen));
            self.keep_flushes();
        }
    }

    pub(crate) fn is_flushed(&self, header: &Header, key: &[u8]) -> bool {
        self.flushes.may_cover(header.version)
            && header.version < self.flushes.watermark(self.shared.namespaces.of(key))
    }

    /// The version of a write that came without one: later than all that is known of the key.
    pub(crate) fn stamp(&mut self, hash: Hash, there: Version, now: Time) -> Version {
        self.stamper.next(now, there.max(self.tombstones.of(hash.whole)))
    }

    /// The latest version that is known of a key.
    pub(crate) fn known(&self, hash: Hash, key: &[u8], old: Option<(Location, Header)>) -> Version {
        let there = old.map(|(_, old)| old.version).unwrap_or_default();
        let watermark = self.flushes.watermark(self.shared.namespaces.of(key));
        there.max(self.tombstones.of(hash.whole)).max(watermark)
    }

    pub(crate) fn key_is(&self, location: Location, key: &[u8]) -> bool {
        item::key_is(self.segments.get(location.segment).at(location.offset), key)
    }

    pub(crate) fn header(&self, location: Location) -> Header {
        self.segments.get(location.segment).header(location.offset)
    }

    /// Notes an access or a change of marks.
    pub(crate) fn note(&mut self, location: Location, header: &Header) {
        item::note(self.segments.get_mut(location.segment).at_mut(location.offset), header);
    }

    /// The value of an item.
    pub(crate) fn value<'a>(&'a self, location: Location, header: &Header) -> Value<'a> {
        let body = item::body(self.segments.get(location.segment).at(location.offset), header);
        if !header.marks.has(Marks::LARGE) {
            return Value::Inline(body);
        }
        Value::Pinned(large::places(body).map(|place| self.pinned(place)).collect())
    }

    fn pinned(&self, piece: Location) -> bytes::Bytes {
        let segment = self.segments.get(piece.segment);
        let (_, bytes) = large::decode_piece(segment.at(piece.offset));
        segment.pin(piece.offset as usize + large::PIECE_HEADER_BYTES, bytes.len())
    }

    /// Puts an item into the table, which has room.
    #[inline]
    pub(crate) fn link(&mut self, hash: Hash, location: Location) {
        debug_assert!(self.has_begun(), "a crash would leave a table that nobody should believe");
        let (segments, shared) = (&self.segments, &self.shared);
        self.table.insert(hash.order, location.pack(), |place| {
            let at = Location::unpack(place);
            shared.hash(item::key(segments.get(at.segment).at(at.offset))).order
        });
    }

    /// Takes an item out, and gives its place back.
    pub(crate) fn remove(&mut self, hash: Hash, location: Location) {
        self.unlink(hash, location);
        self.drop_item(location);
    }

    /// Gives back the place of an item that just left the table.
    fn drop_item(&mut self, location: Location) {
        debug_assert!(self.has_begun(), "a crash would leave a table that nobody should believe");
        let segment = self.segments.get(location.segment);
        let (bytes, header) = (segment.at(location.offset), segment.header(location.offset));
        let footprint = item::footprint(bytes, &header);
        if self.shared.namespaces.count() > 1 {
            let key = item::key(bytes).to_vec();
            self.forget(&key, footprint);
        } else {
            self.forget(&[], footprint);
        }
        let body = || item::body(self.segments.get(location.segment).at(location.offset), &header).to_vec();
        let pieces = header.marks.has(Marks::LARGE).then(body);
        // The item first: no live one lists pieces that are gone.
        self.kill(location);
        pieces.into_iter().for_each(|pieces| self.kill_pieces(&pieces));
    }

    /// Gives back the places of a large value's pieces.
    pub(crate) fn kill_pieces(&mut self, list: &[u8]) {
        large::places(list).for_each(|piece| self.kill(piece));
    }

    pub(crate) fn kill(&mut self, location: Location) {
        if self.segments.kill(location).is_some() && self.segments.get(location.segment).live_items() == 0 {
            self.drop_empty(location.segment);
        }
    }

    /// An item is no longer part of the store.
    pub(crate) fn forget(&mut self, key: &[u8], footprint: usize) {
        let usage = self.usage_of(key);
        usage.items -= 1;
        usage.item_bytes -= footprint as u64;
    }

    pub(crate) fn usage_of(&mut self, key: &[u8]) -> &mut Usage {
        self.usage.of(self.shared.namespaces.of(key))
    }

    /// Stores an item in place of what is under its key. Answers its header.
    pub(crate) fn put(&mut self, hash: Hash, item: NewItem<'_>, now: Time) -> Result<Header, NeedRoom> {
        assert!(item.key.len() <= KEY_BYTES_MAX, "a key has at most 250 bytes: the caller checks its input");
        let old = item.old;
        let mut header = self.new_header(&item, now);
        let there = old.map(|(_, old)| old.version).unwrap_or_default();
        header.version = item.version.unwrap_or_else(|| self.stamp(hash, there, now));
        let home = self.home_for(hash, item.key, old.map(|(location, _)| location));
        if let Some((location, old)) = old.filter(|old| self.fits_over(old, &header)) {
            header.marks.set_frequency(old.marks.frequency());
            self.begin_change(hash, location);
            self.segments.get_mut(location.segment).overwrite(location.offset, &header, item.key, item.value);
            self.finish_change();
            self.stored(&header, item.key);
            return Ok(header);
        }
        // Making room may have moved or evicted what was there; and it may find what a damaged table had hidden.
        let is_to_seek = old.is_some() || self.may_hide_items();
        self.room_for(hash, item.value.len(), &header, home, now)?;
        let is_it = |place| self.key_is(Location::unpack(place), item.key);
        let old = is_to_seek.then(|| self.table.find(hash.order, is_it)).flatten();
        self.fill(hash, &item, old, header, home, now);
        Ok(header)
    }

    /// Moves an item, as it is but for its header, to where new ones go. Answers where it is.
    pub(crate) fn move_with(
        &mut self,
        hash: Hash,
        key: &[u8],
        location: Location,
        header: &Header,
        now: Time,
    ) -> Result<Location, NeedRoom> {
        let home = self.segments.get(location.segment).home;
        self.open_room(home, header.footprint_max(), header, now)?;
        // Making room may have moved or evicted it.
        let found = self.table.find(hash.order, |place| self.key_is(Location::unpack(place), key));
        let Some(found) = found else { return Err(NeedRoom::Segments(1)) };
        let from = Location::unpack(found.place);
        let bytes = self.segments.get(from.segment).at(from.offset);
        let before = item::footprint(bytes, &self.header(from));
        let body = item::body(bytes, header).to_vec();
        let to = self.push_open(home, header, key, &[&body]);
        self.table.relocate(found, to.pack());
        let after = self.segments.get(to.segment).footprint(header);
        let usage = self.usage_of(key);
        usage.item_bytes = usage.item_bytes + after as u64 - before as u64;
        self.kill(from);
        Ok(to)
    }

    fn new_header(&self, item: &NewItem<'_>, now: Time) -> Header {
        let layout = &self.shared.layout;
        let mut marks = item.marks;
        let is_large = item.key.len() + item.value.len() > layout.inline_bytes_max;
        marks.set(Marks::LARGE, is_large);
        let body_bytes = match is_large {
            true => large::list_bytes(layout.segment_bytes, item.value.len()),
            false => item.value.len(),
        };
        let mut header = Header {
            key_bytes: item.key.len() as u8,
            marks,
            body_bytes: body_bytes as u16,
            expires_ms: item.expires_ms,
            version: Version::default(),
            cas: item.cas,
            accessed: 0,
            flags: item.flags,
        };
        header.touch(now);
        header
    }

    /// Whether a new item can be written over an old one: both small and as long.
    fn fits_over(&self, (location, old): &(Location, Header), new: &Header) -> bool {
        let segment = self.segments.get(location.segment);
        let is_large = old.marks.has(Marks::LARGE) || new.marks.has(Marks::LARGE);
        !is_large && segment.footprint(new) == item::footprint(segment.at(location.offset), old)
    }

    /// Puts an item where there is room for it, in place of what was `found` under its key.
    fn fill(
        &mut self,
        hash: Hash,
        item: &NewItem<'_>,
        found: Option<Found>,
        mut header: Header,
        home: Home,
        now: Time,
    ) {
        debug_assert!(
            found.is_some()
                || self.table.find(hash.order, |at| self.key_is(Location::unpack(at), item.key)).is_none(),
            "two items of one key"
        );
        if let Some(found) = found {
            let old = self.header(Location::unpack(found.place));
            header.marks.set_frequency(old.marks.frequency());
        }
        let location = if header.marks.has(Marks::LARGE) {
            let list = self.push_pieces(home, hash, item.value, &header, now);
            self.push_open(home, &header, item.key, &[&list])
        } else {
            self.push_open(home, &header, item.key, &[item.value])
        };
        let footprint = self.segments.get(location.segment).footprint(&header);
        let usage = self.usage_of(item.key);
        usage.items += 1;
        usage.item_bytes += footprint as u64;
        match found {
            Some(found) => {
                self.table.relocate(found, location.pack());
                self.drop_item(Location::unpack(found.place));
            }
            None => self.link(hash, location),
        }
        if home.queue == Queue::Main {
            self.table.ghost_take(hash.order, hash.mix);
        }
        self.stored(&header, item.key);
    }

    /// An item has this version: a flush is to be later.
    pub(crate) fn see(&mut self, version: Version) {
        self.version_seen = self.version_seen.max(version);
    }

    fn stored(&mut self, header: &Header, key: &[u8]) {
        self.see(header.version);
        self.usage_of(key).stored += 1;
    }

    /// An item that was evicted unread and comes again goes straight to the main queue; an item that is written over
    /// stays where it is.
    fn home_for(&self, hash: Hash, key: &[u8], old: Option<Location>) -> Home {
        match old {
            Some(location) => self.segments.get(location.segment).home,
            None => {
                let space = self.shared.namespaces.space(self.shared.namespaces.of(key));
                let known = self.table.ghost_knows(hash.order, hash.mix);
                Home { space, queue: if known { Queue::Main } else { Queue::Small } }
            }
        }
    }

    /// An item was found expired or flushed.
    pub(crate) fn count_ended(&mut self, header: &Header, key: &[u8], now: Time) {
        if header.is_expired(now) {
            self.counters.expired_unfetched += u64::from(!header.marks.has(Marks::FETCHED));
            self.usage_of(key).expired += 1;
        } else {
            self.counters.flushed += 1;
        }
    }

    /// Counts and sizes of this shard; the budget is the store's.
    pub(crate) fn stats(&self) -> StoreStats {
        let mut stats = StoreStats { items: self.table.len() as u64, ..StoreStats::default() };
        stats.count(&self.counters);
        self.usage.all().for_each(|usage| stats.count_usage(usage));
        stats
    }

    /// Segments that this shard holds.
    pub(crate) fn held_segments(&self) -> usize {
        self.segments.count() + self.table.slabs()
    }
}
