//! What waits in the log: pure, fed what the log wrote and what the store said.
//!
//! Of each key the newest change waits, in the place of its first, so that a key that is written all the time gets its
//! turn. While a change is on its way to the store, a newer one of its key waits for that to end.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use tokio::time::Instant;

/// What a change that waits takes in memory beside its bytes on the disk: its place here, its key twice over.
pub(super) const INDEX_BYTES: u64 = 256;

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) bytes: u32,
}

/// A change that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) version: u64,
    pub(super) place: Place,
    /// Its own.
    pub(super) stamped_ms: u64,
    /// Of the oldest change of its key in whose place it waits.
    oldest_ms: u64,
    turn: u64,
    pub(super) attempts: usize,
    /// Not before this; `None` is now.
    not_before: Option<Instant>,
    /// Why it is a dead letter, if it is one.
    pub(super) dead: Option<String>,
}

/// A change taken to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) key: Bytes,
    pub(super) version: u64,
    pub(super) place: Place,
    pub(super) attempts: usize,
}

/// What waits, and how much of it is in which segment.
#[derive(Debug, Default)]
pub(super) struct Index {
    pending: HashMap<Bytes, Pending>,
    /// All but dead letters, and those.
    turns: BTreeMap<u64, Bytes>,
    dead_turns: BTreeMap<u64, Bytes>,
    /// Turns of those that may go now.
    ready: BTreeSet<u64>,
    /// Of those that may go at some time.
    later: BTreeSet<(Instant, u64)>,
    next_turn: u64,
    on_their_way: HashSet<Bytes>,
    /// From the oldest to the one written to: records that wait, and bytes in all.
    segments: VecDeque<Segment>,
    /// Bytes of the records that wait.
    pub(super) live_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) live: usize,
    pub(super) bytes: u64,
}

impl Index {
    /// A segment that is written to from now on, or was found with so many bytes.
    pub(super) fn add_segment(&mut self, number: u64, bytes: u64) {
        self.segments.push_back(Segment { number, live: 0, bytes });
    }

    /// So much was written to the newest segment.
    pub(super) fn grew(&mut self, bytes: u64) {
        if let Some(last) = self.segments.back_mut() {
            last.bytes += bytes;
        }
    }

    /// The newest segment is empty again.
    pub(super) fn emptied(&mut self) {
        if let Some(last) = self.segments.back_mut() {
            last.bytes = 0;
        }
    }

    pub(super) fn segments(&self) -> &VecDeque<Segment> {
        &self.segments
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// What all that waits takes, on the disk and in memory.
    pub(super) fn cost(&self) -> u64 {
        self.live_bytes + self.pending.len() as u64 * INDEX_BYTES
    }

    /// When the oldest of those that are no dead letters was stamped.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        let first = self.turns.values().next().and_then(|key| self.pending.get(key));
        first.map(|pending| pending.oldest_ms)
    }

    fn live(&mut self, segment: u64, change: isize) {
        if let Some(segment) = self.segments.iter_mut().find(|known| known.number == segment) {
            segment.live = segment.live.saturating_add_signed(change);
        }
    }

    /// A change was written. An older one of its key waits no more; if a newer one waits, this one never does.
    pub(super) fn put(&mut self, key: Bytes, version: u64, place: Place, stamped_ms: u64) {
        if self.pending.get(&key).is_some_and(|waiting| waiting.version > version) {
            return;
        }
        let (mut turn, mut oldest_ms, mut letter) = (self.next_turn, stamped_ms, None);
        if let Some(older) = self.forget(&key) {
            (turn, oldest_ms) = (older.turn, older.oldest_ms.min(stamped_ms));
            // The same that was moved, and what said that it is a dead letter may be cut off behind it.
            letter = older.dead.filter(|_| older.version == version).map(|why| (older.attempts, why));
        } else {
            self.next_turn += 1;
        }
        self.live(place.segment, 1);
        self.live_bytes += u64::from(place.bytes);
        self.turns.insert(turn, key.clone());
        let pending = Pending {
            version,
            place,
            stamped_ms,
            oldest_ms,
            turn,
            attempts: 0,
            not_before: None,
            dead: None,
        };
        if !self.on_their_way.contains(&key) {
            self.ready.insert(turn);
        }
        let letter = letter.map(|letter| (key.clone(), letter));
        self.pending.insert(key, pending);
        if let Some((key, (attempts, why))) = letter {
            self.lay_aside(&key, version, attempts, &why);
        }
    }

    fn forget(&mut self, key: &Bytes) -> Option<Pending> {
        let pending = self.pending.remove(key)?;
        self.turns.remove(&pending.turn);
        self.dead_turns.remove(&pending.turn);
        self.step_out(&pending);
        self.live(pending.place.segment, -1);
        self.live_bytes -= u64::from(pending.place.bytes);
        Some(pending)
    }

    /// It may go, now or at its time, unless it is on its way or dead.
    fn line_up(&mut self, key: &Bytes) {
        let Some(pending) = self.pending.get(key).filter(|pending| pending.dead.is_none()) else { return };
        if self.on_their_way.contains(key) {
            return;
        }
        match pending.not_before {
            None => _ = self.ready.insert(pending.turn),
            Some(at) => _ = self.later.insert((at, pending.turn)),
        }
    }

    fn step_out(&mut self, pending: &Pending) {
        self.ready.remove(&pending.turn);
        if let Some(at) = pending.not_before {
            self.later.remove(&(at, pending.turn));
        }
    }

    /// What is on its way is so no more. That change, if no newer one waits.
    fn come_back(&mut self, key: &Bytes, version: u64) -> Option<&mut Pending> {
        self.on_their_way.remove(key);
        self.pending.get_mut(key).filter(|pending| pending.version == version)
    }

    pub(super) fn newest_version(&self) -> Option<u64> {
        self.pending.values().map(|pending| pending.version).max()
    }

    /// How many dead letters there are.
    pub(super) fn dead(&self) -> usize {
        self.dead_turns.len()
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Pending> {
        self.pending.get(key)
    }

    /// The same record was written again, elsewhere.
    pub(super) fn moved(&mut self, key: &Bytes, version: u64, to: Place) -> bool {
        let Some(pending) = self.pending.get_mut(key).filter(|pending| pending.version == version) else {
            return false;
        };
        let from = std::mem::replace(&mut pending.place, to);
        self.live(from.segment, -1);
        self.live(to.segment, 1);
        true
    }

    /// Takes the changes whose turn it is, `most` and so many bytes of them at most, but one at least.
    pub(super) fn take(&mut self, most: usize, bytes_max: u64, now: Instant) -> Vec<Turn> {
        while let Some((_, turn)) = self.later.first().copied().filter(|(at, _)| *at <= now) {
            self.later.pop_first();
            self.ready.insert(turn);
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(first) = self.ready.first() {
            let key = self.turns.get(first).expect("what is ready has a turn");
            let pending = self.pending.get_mut(key).expect("what has a turn waits");
            bytes += u64::from(pending.place.bytes);
            if taken.len() >= most || (bytes > bytes_max && !taken.is_empty()) {
                break;
            }
            pending.not_before = None;
            let Pending { version, place, attempts, .. } = *pending;
            taken.push(Turn { key: key.clone(), version, place, attempts });
            self.on_their_way.insert(key.clone());
            self.ready.pop_first();
        }
        taken
    }

    /// It came back untried.
    pub(super) fn release(&mut self, key: &Bytes) {
        self.on_their_way.remove(key);
        self.line_up(key);
    }

    /// It came back untried, and goes again at `at`.
    pub(super) fn postpone(&mut self, key: &Bytes, version: u64, at: Instant) {
        if let Some(pending) = self.come_back(key, version) {
            pending.not_before = Some(at);
        }
        self.line_up(key);
    }

    /// The store has it, or something newer. Returns whether anything of its key waited that is done with that.
    pub(super) fn done(&mut self, key: &Bytes, version: u64) -> bool {
        self.on_their_way.remove(key);
        let is_done = self.pending.get(key).is_some_and(|pending| pending.version <= version);
        if is_done {
            self.forget(key);
        } else {
            self.line_up(key);
        }
        is_done
    }

    /// It goes again, at `at`.
    pub(super) fn retry_at(&mut self, key: &Bytes, version: u64, at: Instant) {
        if let Some(pending) = self.come_back(key, version) {
            pending.attempts += 1;
            pending.not_before = Some(at);
        }
        self.line_up(key);
    }

    /// It does not go again by itself. Returns how often it was tried, unless a newer one waits, or none.
    pub(super) fn bury(&mut self, key: &Bytes, version: u64, why: &str) -> Option<usize> {
        let Some(pending) = self.come_back(key, version) else {
            self.line_up(key);
            return None;
        };
        let attempts = pending.attempts + 1;
        self.lay_aside(key, version, attempts, why);
        Some(attempts)
    }

    /// It is a dead letter, if it waits.
    pub(super) fn lay_aside(&mut self, key: &Bytes, version: u64, attempts: usize, why: &str) {
        let pending = self.pending.get_mut(key).filter(|pending| pending.version == version);
        let Some(pending) = pending else { return };
        (pending.attempts, pending.dead) = (attempts, Some(why.to_owned()));
        let pending = pending.clone();
        self.step_out(&pending);
        self.turns.remove(&pending.turn);
        self.dead_turns.insert(pending.turn, key.clone());
    }

    /// It was a dead letter, and is given up, even if somebody let it go again meanwhile: the files say so.
    pub(super) fn drop_dead(&mut self, key: &Bytes, version: u64) {
        if self.pending.get(key).is_some_and(|pending| pending.version == version) {
            self.forget(key);
        }
    }

    /// A dead letter goes again, if it is of this version where one is given. Returns its version if it was one.
    pub(super) fn revive(&mut self, key: &[u8], version: Option<u64>) -> Option<u64> {
        let pending = self.pending.get_mut(key).filter(|pending| pending.dead.is_some())?;
        let is_it = version.is_none_or(|version| version == pending.version);
        (pending.dead, pending.not_before, pending.attempts) = is_it.then_some((None, None, 0))?;
        let (turn, version) = (pending.turn, pending.version);
        let key = self.dead_turns.remove(&turn).expect("a dead letter is among them");
        self.turns.insert(turn, key.clone());
        self.line_up(&key);
        Some(version)
    }

    /// Dead letters in their order, behind a key if one is given.
    pub(super) fn dead_letters(&self, most: usize, behind: Option<&[u8]>) -> Vec<(Bytes, Pending)> {
        let from = behind.and_then(|key| self.pending.get(key)).map_or(0, |pending| pending.turn + 1);
        let dead = self.dead_turns.range(from..).map(|(_, key)| key);
        dead.filter_map(|key| Some((key.clone(), self.pending.get(key)?.clone()))).take(most).collect()
    }

    /// What waits in this segment.
    pub(super) fn in_segment(&self, number: u64) -> Vec<(Bytes, Pending)> {
        let there = self.pending.iter().filter(|(_, pending)| pending.place.segment == number);
        there.map(|(key, pending)| (key.clone(), pending.clone())).collect()
    }

    /// The oldest segment, when nothing waits in it and it is not the one written to. Always the oldest first: a newer one
    /// may say that what an older one holds is done.
    pub(super) fn settled(&self) -> Option<u64> {
        let first = self.segments.front().filter(|first| first.live == 0 && self.segments.len() > 1);
        first.map(|first| first.number)
    }

    /// The oldest segment is gone.
    pub(super) fn pop_settled(&mut self) {
        if self.settled().is_some() {
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn place(segment: u64) -> Place {
        Place { segment, offset: 0, bytes: 10 }
    }

    fn key(name: &'static str) -> Bytes {
        Bytes::from(name)
    }

    fn index() -> Index {
        let mut index = Index::default();
        index.add_segment(1, 0);
        index
    }

    fn taken(index: &mut Index) -> Vec<(Bytes, u64)> {
        let turns = index.take(10, 1_000, Instant::now());
        turns.into_iter().map(|turn| (turn.key, turn.version)).collect()
    }

    #[test]
    fn newest_of_a_key_waits_in_the_place_of_its_first() {
        let mut index = index();
        index.put(key("a"), 1, place(1), 1);
        index.put(key("b"), 2, place(1), 2);
        index.put(key("a"), 4, place(1), 4);
        index.put(key("a"), 3, place(1), 3);
        assert_eq!((index.len(), index.live_bytes, index.oldest_ms()), (2, 20, Some(1)));
        assert_eq!(index.get(b"a").map(|pending| pending.stamped_ms), Some(4), "its own stamp");
        assert_eq!(taken(&mut index), [(key("a"), 4), (key("b"), 2)]);
    }

    #[test]
    fn newer_change_waits_until_the_one_on_its_way_is_done() {
        let mut index = index();
        index.put(key("a"), 1, place(1), 1);
        assert_eq!(taken(&mut index), [(key("a"), 1)]);
        index.put(key("a"), 2, place(1), 2);
        assert_eq!(taken(&mut index), []);
        assert!(!index.done(&key("a"), 1), "another waits");
        assert_eq!(taken(&mut index), [(key("a"), 2)]);
        assert!(index.done(&key("a"), 2));
        assert_eq!((index.len(), index.live_bytes), (0, 0));
    }

    #[test]
    fn failed_change_waits_its_time_and_a_dead_one_until_it_is_told() {
        let (mut index, now) = (index(), Instant::now());
        index.put(key("a"), 1, place(1), 1);
        assert_eq!(index.take(1, 1, now).len(), 1);
        let later = now + Duration::from_secs(1);
        index.retry_at(&key("a"), 1, later);
        assert_eq!(index.take(1, 1, now).len(), 0);
        assert_eq!(index.take(1, 1, later)[0].attempts, 1);
        index.bury(&key("a"), 1, "too large");
        assert_eq!((index.dead(), index.oldest_ms()), (1, None));
        assert_eq!(index.dead_letters(9, None)[0].1.dead.as_deref(), Some("too large"));
        assert_eq!(index.dead_letters(9, Some(b"a")), []);
        assert_eq!((index.revive(b"a", None), index.revive(b"a", None)), (Some(1), None));
        assert_eq!((index.take(1, 1, later).len(), index.dead()), (1, 0));
        index.bury(&key("a"), 1, "still");
        index.put(key("a"), 2, place(1), 2);
        assert_eq!(index.dead(), 0, "a newer write takes its place");
    }

    #[test]
    fn segments_go_from_the_oldest_when_nothing_waits_in_them() {
        let mut index = index();
        index.put(key("a"), 1, place(1), 1);
        index.add_segment(2, 0);
        index.put(key("b"), 2, place(2), 2);
        index.add_segment(3, 0);
        taken(&mut index);
        index.done(&key("b"), 2);
        assert_eq!(index.settled(), None, "the first is not");
        assert!(index.moved(&key("a"), 1, place(3)));
        for number in [1, 2] {
            assert_eq!(index.settled(), Some(number));
            index.pop_settled();
        }
        assert_eq!(index.settled(), None);
        index.done(&key("a"), 1);
        assert_eq!(index.settled(), None, "it is written to");
    }

    #[test]
    fn what_is_done_takes_older_changes_of_its_key_with_it() {
        let mut index = index();
        index.put(key("a"), 1, place(1), 1);
        assert!(index.done(&key("a"), 2));
        assert_eq!((index.len(), index.live_bytes), (0, 0));
        index.put(key("a"), 3, place(1), 1);
        assert!(!index.done(&key("a"), 2));
        assert_eq!(taken(&mut index), [(key("a"), 3)]);
    }

    /// What was seen: each lot was looked for behind all dead letters and all that was to be tried later, which took seconds.
    #[test]
    fn those_that_may_not_go_are_not_looked_at_and_go_in_their_order_when_they_may() {
        let (mut index, now) = (index(), Instant::now());
        for (n, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            index.put(key(name), 1, place(1), n as u64);
        }
        assert_eq!(index.take(3, 1_000, now).len(), 3);
        index.bury(&key("a"), 1, "no");
        index.retry_at(&key("b"), 1, now + Duration::from_secs(2));
        index.postpone(&key("c"), 1, now + Duration::from_secs(1));
        assert_eq!((index.ready.len(), index.later.len(), index.dead()), (1, 2, 1));
        assert_eq!(index.oldest_ms(), Some(1));
        let names =
            |turns: Vec<Turn>| turns.into_iter().map(|turn| (turn.key, turn.attempts)).collect::<Vec<_>>();
        let at = |secs| now + Duration::from_secs(secs);
        assert_eq!(index.revive(b"a", Some(1)), Some(1));
        assert_eq!(names(index.take(1, 1_000, at(1))), [(key("a"), 0)]);
        assert_eq!(names(index.take(9, 1_000, at(2))), [(key("b"), 1), (key("c"), 0), (key("d"), 0)]);
        index.put(key("b"), 2, place(1), 5);
        assert_eq!(names(index.take(9, 1_000, at(2))), [], "an older one is on its way");
        index.retry_at(&key("b"), 1, at(9));
        assert_eq!(names(index.take(9, 1_000, at(2))), [(key("b"), 0)], "the newer one goes now");
    }

    #[test]
    fn lot_is_bounded_by_bytes_and_holds_one_at_least() {
        let mut index = index();
        for name in ["a", "b", "c"] {
            index.put(key(name), 1, place(1), 1);
        }
        assert_eq!(index.take(9, 25, Instant::now()).len(), 2);
        assert_eq!(index.take(9, 1, Instant::now()).len(), 1);
    }
}
