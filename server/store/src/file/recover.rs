//! Finding items again: in the table that lies in the memory file, where it was whole when the store ended; else everything that
//! lies in the segments is looked at, and the table made anew.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Kept, Ledger, Warm};
use crate::arena::{Arena, Buffer};
use crate::evict::Fifo;
use crate::item::{self, Header, Marks};
use crate::large;
use crate::look::Unseen;
use crate::segment::{Kind, Location, Segment, Segments};
use crate::shard::{Hash, Shard};
use crate::table::{Room, Table};
use crate::{Time, Version};

/// Items that are put in order before they go to the table, 12 MiB of them: as many go to each page one after the other, so
/// that its memory is read once for all.
const BATCH: usize = 1 << 19;

/// No item is shorter.
const ITEM_BYTES_MIN: u32 = *item::BLANK_BYTES.start() as u32;

/// Where pieces of large values begin, by segment: each with the hash of its key and its bytes.
type Pieces = HashMap<u32, HashMap<u32, (u64, usize)>>;

/// An item that may be taken in.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    order: u64,
    version: Version,
    /// Packed.
    place: u64,
}

/// What a memory file holds of a shard.
#[derive(Default)]
struct Found {
    segments: Vec<(Kept, Buffer)>,
    /// With their positions.
    slabs: Vec<(usize, Buffer)>,
    /// Something that is written of it does not add up.
    is_torn: bool,
}

/// What became of a shard.
#[derive(Default)]
struct Outcome {
    damaged: u64,
    without_room: u64,
    is_read_anew: bool,
}

/// A shard at work on its items.
struct Recovery<'a> {
    shard: &'a mut Shard,
    ran: Time,
    damaged: u64,
    without_room: u64,
    large: Vec<(Hash, Location)>,
}

/// Gives the shards back what a memory file holds of them; as many threads take part as there are cores.
pub(crate) fn recover(shards: &mut [Shard], arena: &Arc<Arena>) -> Warm {
    let ledger = arena.ledger().expect("who recovers has opened a file");
    let mut warm =
        Warm { items: 0, item_bytes: 0, shards_read: 0, damaged: 0, without_room: 0, ran: ledger.ran() };
    let numbers: Vec<u32> = (0..ledger.geometry.segments as u32).filter(|at| ledger.is_used(*at)).collect();
    let mut found: Vec<Found> = shards.iter().map(|_| Found::default()).collect();
    for (number, buffer) in numbers.iter().zip(arena.claim(&numbers)) {
        match (ledger.segment(*number), ledger.slab(*number), buffer) {
            (Some((shard, kept)), _, Some(buffer)) => {
                found[shard].is_torn |= !ledger.adds_up(*number);
                found[shard].segments.push((kept, buffer));
            }
            (_, Some((shard, position)), Some(buffer)) => found[shard].slabs.push((position, buffer)),
            _ => {
                warm.damaged += 1;
                ledger.retired(*number);
            }
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(shards.len());
    let (work, sum) = (Mutex::new(shards.iter_mut().zip(found)), Mutex::new(&mut warm));
    let next = || work.lock().next();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((shard, found)) = next() {
                    let outcome = shard.recover(found);
                    let stats = shard.stats();
                    let mut sum = sum.lock();
                    sum.damaged += outcome.damaged;
                    sum.without_room += outcome.without_room;
                    sum.shards_read += u64::from(outcome.is_read_anew);
                    sum.items += stats.items;
                    sum.item_bytes += stats.item_bytes;
                }
            });
        }
    });
    warm
}

impl Shard {
    /// Takes over what was found of this shard.
    fn recover(&mut self, found: Found) -> Outcome {
        let ran = self.recall();
        let mut outcome = Outcome { damaged: self.take_segments(found.segments, ran), ..Outcome::default() };
        let arena = Arc::clone(&self.shared.arena);
        let ledger = arena.ledger().expect("who recovers has opened a file");
        let is_whole = !found.is_torn && outcome.damaged == 0 && !ledger.is_at_work(self.index());
        let numbers: Vec<u32> = found.slabs.iter().map(|(_, slab)| slab.number()).collect();
        if is_whole && self.unfinished().is_none() && self.resume(ledger, found.slabs) {
            return outcome;
        }
        self.begin();
        numbers.into_iter().for_each(|number| ledger.retired(number));
        let (damaged, without_room) = self.rebuild(ran);
        self.finish();
        outcome.damaged += damaged;
        Outcome { without_room, is_read_anew: true, ..outcome }
    }

    /// Puts the segments where they were. Answers how many cannot be.
    fn take_segments(&mut self, found: Vec<(Kept, Buffer)>, ran: Time) -> u64 {
        let looked = self.flushes.latest();
        let (mut damaged, mut segments) = (0, HashMap::with_capacity(found.len()));
        for (kept, buffer) in found {
            let segment = Segment::restored(&kept, buffer, looked, ran);
            if usize::from(kept.home.space) >= self.spaces.len() || segments.contains_key(&kept.id) {
                damaged += 1;
                segment.retire();
            } else {
                segments.insert(kept.id, segment);
            }
        }
        self.segments = Segments::restored(segments);
        damaged
    }

    /// Goes on with the table that is in the file. Answers whether that can be: what is counted of the shard is in step with
    /// what is counted of its segments, and the table's pages cover all orders. What they hold is [looked at](crate::look) later.
    fn resume(&mut self, ledger: &Ledger, mut slabs: Vec<(usize, Buffer)>) -> bool {
        slabs.sort_by_key(|(position, _)| *position);
        if slabs.iter().enumerate().any(|(at, (position, _))| at != *position) {
            return false;
        }
        let slabs = slabs.into_iter().map(|(_, slab)| slab).collect();
        let Some((seen, usage)) = ledger.counts(self.index()) else { return false };
        let of_items = self.segments.iter().filter(|(_, segment)| segment.kind() == Kind::Items);
        let add = |(items, bytes): (u64, u64), (some, size): (u64, u64)| {
            Some((items.checked_add(some)?, bytes.checked_add(size)?))
        };
        let counted = usage.iter().copied().try_fold((0, 0), add);
        let living = of_items.map(|(_, segment)| (segment.live_items().into(), segment.live_bytes().into()));
        if counted.is_none() || counted != living.into_iter().try_fold((0, 0), add) {
            return false;
        }
        let items = usage.iter().map(|(items, _)| *items as usize).sum();
        let Some(table) = Table::restored(self.shared.layout.segment_bytes, slabs, items) else {
            return false;
        };
        self.unseen = Some(Box::new(Unseen::new(&self.segments, ITEM_BYTES_MIN)));
        self.check_end = self.segments.end();
        self.table = table;
        self.see(seen);
        for (namespace, (items, item_bytes)) in usage.into_iter().enumerate() {
            let usage = self.usage.of(namespace);
            (usage.items, usage.item_bytes) = (items, item_bytes);
        }
        self.queue();
        true
    }

    /// Reads all items, and makes the table anew; what had expired at `ran` goes. Answers how many places were damaged, and
    /// how many items found no room.
    pub(crate) fn rebuild(&mut self, ran: Time) -> (u64, u64) {
        for slab in self.table.clear() {
            if let Some(ledger) = slab.ledger() {
                ledger.retired(slab.number());
            }
        }
        self.unseen = None;
        self.usage.forget_items();
        self.segments.count_as_dead();
        let mut recovery = Recovery { shard: self, ran, damaged: 0, without_room: 0, large: Vec::new() };
        recovery.end_change();
        let ids: Vec<u32> = recovery.shard.segments.iter().map(|(id, _)| id).collect();
        recovery.admit_all(&ids);
        recovery.admit_pieces(&ids);
        let sums = (recovery.damaged, recovery.without_room);
        self.segments.recounted();
        self.check_end = 0;
        self.queue();
        sums
    }

    /// Puts the segments into their queues, oldest first; those that were open are ended. Empty ones go.
    fn queue(&mut self) {
        let mut in_order: Vec<_> = self.segments.iter().map(|(id, segment)| (segment.sealed, id)).collect();
        in_order.sort_by_key(|(sealed, id)| (sealed.unwrap_or(u64::MAX), *id));
        self.seals = in_order.iter().filter_map(|(sealed, _)| *sealed).max().unwrap_or(0);
        for space in &mut self.spaces {
            (space.small, space.main) = (Fifo::default(), Fifo::default());
        }
        for &(sealed, id) in &in_order {
            let home = self.segments.get(id).home;
            let fifo: &mut Fifo = self.spaces[usize::from(home.space)].of(home.queue);
            fifo.segments += 1;
            match sealed {
                Some(_) => fifo.units.push_back(id),
                None => self.seal(home, id),
            }
        }
        for (_, id) in in_order {
            if self.segments.get(id).live_items() == 0 {
                self.drop_empty(id);
            }
        }
    }
}

impl Recovery<'_> {
    /// The item that was being changed may be half of what it was and half of what it was to be. Its version is not
    /// refused when it comes again from elsewhere, but older ones are.
    fn end_change(&mut self) {
        let Some(change) = self.shard.unfinished() else { return };
        let Location { segment, offset } = change.location;
        let there = self.shard.segments.try_get(segment).filter(|segment| segment.kind() == Kind::Items);
        if there.is_some_and(|there| offset as usize + change.footprint <= there.end() as usize) {
            item::blank(self.shard.segments.get_mut(segment).at_mut(offset), change.footprint);
        }
        self.shard.remember_delete(change.hash, Version(change.version.0.saturating_sub(1)));
        self.shard.finish_change();
    }

    /// Takes every item in that may be taken.
    fn admit_all(&mut self, ids: &[u32]) {
        let mut batch = Vec::new();
        for &id in ids {
            if self.shard.segments.get(id).kind() == Kind::Items {
                self.look_through(id, &mut batch);
            }
        }
        self.admit_batch(&mut batch);
    }

    /// Finds the items of a segment. They count as the store's until a later one is found or there is no room.
    fn look_through(&mut self, id: u32, batch: &mut Vec<Candidate>) {
        let mut offset = 0;
        while offset < self.shard.segments.get(id).end() {
            let location = Location { segment: id, offset };
            let Some((mut header, bytes, hash)) = self.look(location) else { return self.cut(id, offset) };
            offset += bytes as u32;
            let Some(hash) = hash else { continue };
            if header.marks.has(Marks::DECIDED) {
                // Others may have decided since.
                header.marks.set(Marks::DECIDED, false);
                self.shard.note(location, &header);
            }
            if batch.len() == BATCH {
                self.admit_batch(batch);
            }
            let shard = &mut *self.shard;
            shard.see(header.version);
            let segment = shard.segments.get_mut(id);
            segment.note(&header);
            let namespace = shard.shared.namespaces.of(item::key(segment.at(location.offset)));
            shard.segments.revive(id, bytes);
            let usage = shard.usage.of(namespace);
            usage.items += 1;
            usage.item_bytes += bytes as u64;
            if header.marks.has(Marks::LARGE) {
                self.large.push((hash, location));
            }
            batch.push(Candidate { order: hash.order, version: header.version, place: location.pack() });
        }
    }

    /// Header and bytes of what lies at a place, and, if it is to live on, the hash of its key; `None` if it makes no sense.
    fn look(&mut self, location: Location) -> Option<(Header, usize, Option<Hash>)> {
        let segment = self.shard.segments.get(location.segment);
        let (header, bytes) = segment.checked(location.offset)?;
        if header.marks.has(Marks::DEAD) {
            return Some((header, bytes, None));
        }
        let key = item::key(segment.at(location.offset));
        let hash = self.shard.shared.hash(key);
        if hash.shard as usize != self.shard.index() {
            return None;
        }
        let is_deleted = self.shard.tombstones.of(hash.whole) > header.version;
        if is_deleted || header.is_expired(self.ran) || self.shard.is_flushed(&header, key) {
            self.shard.segments.mark_dead(location);
            return Some((header, bytes, None));
        }
        Some((header, bytes, Some(hash)))
    }

    /// What follows in a segment cannot be told apart.
    fn cut(&mut self, id: u32, offset: u32) {
        self.damaged += 1;
        self.shard.segments.cut(id, offset);
    }

    fn admit_batch(&mut self, batch: &mut Vec<Candidate>) {
        batch.sort_unstable_by_key(|candidate| (candidate.order, candidate.version, candidate.place));
        batch.drain(..).for_each(|candidate| self.admit(&candidate));
    }

    /// Puts an item into the table, unless there is a later one of its key. Its own bytes are not looked at: they are far away.
    fn admit(&mut self, candidate: &Candidate) {
        let shard = &mut *self.shard;
        let location = Location::unpack(candidate.place);
        let known = shard.table.find(candidate.order, |place| {
            let segment = shard.segments.get(location.segment);
            shard.key_is(Location::unpack(place), item::key(segment.at(location.offset)))
        });
        let Some(known) = known else {
            let hash = Hash { order: candidate.order, ..Hash::default() };
            if self.table_takes(hash) {
                return self.shard.link(hash, location);
            }
            self.without_room += 1;
            return self.drop_item(location);
        };
        let other = Location::unpack(known.place);
        if shard.header(other).version >= candidate.version {
            return self.drop_item(location);
        }
        shard.table.relocate(known, candidate.place);
        self.drop_item(other);
    }

    /// An item that is not in the table goes.
    fn drop_item(&mut self, location: Location) {
        let segment = self.shard.segments.get(location.segment);
        let (bytes, header) = (segment.at(location.offset), segment.header(location.offset));
        let (key, footprint) = (item::key(bytes).to_vec(), item::footprint(bytes, &header));
        self.shard.forget(&key, footprint);
        self.shard.segments.kill(location);
    }

    /// Makes room in the table for one more item, if there is any.
    fn table_takes(&mut self, hash: Hash) -> bool {
        loop {
            match self.shard.table.room(hash.order) {
                Room::Ready => return true,
                Room::Never => return false,
                // Of the reserve, too: nothing is evicted meanwhile, and what the table had before was enough.
                Room::Slab => match self.shard.shared.arena.take_reserved() {
                    Some(slab) => self.shard.give_slab(slab),
                    None => return false,
                },
            }
        }
    }

    /// Takes the pieces of large items in, and drops the items that lack one.
    fn admit_pieces(&mut self, ids: &[u32]) {
        let mut pieces = self.pieces(ids);
        for (hash, location) in std::mem::take(&mut self.large) {
            let shard = &mut *self.shard;
            let bytes = shard.segments.get(location.segment).at(location.offset);
            if item::is_dead(bytes) {
                continue;
            }
            let header = shard.header(location);
            let places: Vec<Location> = large::places(item::body(bytes, &header)).collect();
            let claim = |place: &Location| {
                let known = pieces.get_mut(&place.segment)?.remove(&place.offset)?;
                (known.0 == hash.whole).then_some(known.1)
            };
            let claimed: Option<Vec<usize>> = places.iter().map(claim).collect();
            match claimed {
                Some(sizes) => {
                    for (place, bytes) in places.iter().zip(sizes) {
                        shard.segments.revive(place.segment, bytes);
                    }
                }
                // Its segment was about to go.
                None => {
                    shard.unlink(hash, location);
                    self.drop_item(location);
                }
            }
        }
    }

    fn pieces(&mut self, ids: &[u32]) -> Pieces {
        let mut pieces = Pieces::new();
        for &id in ids {
            let segment = self.shard.segments.get(id);
            if segment.kind() == Kind::Items {
                continue;
            }
            let (mut offset, mut found) = (0, HashMap::new());
            while offset < segment.end() {
                let Some((hash, footprint)) = large::checked_piece(segment.at(offset)) else { break };
                found.insert(offset, (hash, footprint));
                offset += footprint as u32;
            }
            if offset < segment.end() {
                self.cut(id, offset);
            }
            pieces.insert(id, found);
        }
        pieces
    }
}
