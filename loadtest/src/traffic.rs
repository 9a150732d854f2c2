//! Batches of requests and what must come back. A batch is a pure function of its number, so that nothing but the
//! number is kept to check the answer.

use std::ops::Range;

use bytes::BytesMut;
use evanesce_wire::limits::KEY_BYTES_MAX;
use evanesce_wire::request::{Exptime, Get, Keys, Set, SetMode};
use evanesce_wire::{Expect, Reply, ReplyDecoder, Request, Status, Value};

use crate::keys::{KeySpace, mixed};
use crate::load::{BATCH_REQUESTS_MAX, Kind, Load, MIX_SET_PERCENT};
use crate::value::Values;

/// What is asked of a server: a load over keys, each with its one value.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    load: Load,
    items: Items,
    order: Order,
}

/// In which order keys come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Drawn evenly; the same seed draws the same keys.
    Drawn(u64),
    /// One after the other.
    InTurn,
}

/// The items that a server holds, with their requests and replies ready but for the keys.
#[derive(Debug, Clone)]
pub(crate) struct Items {
    pub(crate) keys: KeySpace,
    values: Values,
    value_bytes: usize,
    get: Template,
    set: Template,
    /// Length of a hit's reply, without its `END`.
    hit_bytes: usize,
}

/// A request with a hole for its key; a value, if any, comes behind it.
#[derive(Debug, Clone)]
struct Template {
    bytes: Vec<u8>,
    key: Range<usize>,
}

/// What a batch is made of, and what the answers to it must be long together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) number: u64,
    pub(crate) gets: u64,
    pub(crate) sets: u64,
    pub(crate) reply_bytes: usize,
}

/// What was wrong about the answers to a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) misses: u64,
    /// Another key, another value, another kind of answer, or none.
    pub(crate) wrong: u64,
}

const END: &[u8] = b"END\r\n";
const STORED: &[u8] = b"STORED\r\n";

impl Items {
    /// Items with values of `value_bytes`, which must hold a key and a checksum.
    pub(crate) fn new(keys: KeySpace, values: Values, value_bytes: usize) -> Items {
        let hole = vec![b'k'; keys.key_bytes()];
        let keys_text = Keys::new(&hole).expect("a key has 1 to 250 bytes");
        let get = Request::Get(Get { keys: keys_text, with_cas: false, touch: None });
        let value = vec![b'v'; value_bytes];
        let set = Request::Set(Set {
            key: &hole,
            mode: SetMode::Set,
            compare: None,
            flags: 0,
            exptime: Exptime(0),
            value: &value,
            noreply: false,
        });
        let header_bytes = "VALUE  0 \r\n".len() + hole.len() + value_bytes.to_string().len();
        let mut set = Template::new(&set, &hole);
        set.bytes.truncate(set.bytes.len() - value_bytes - 2);
        let hit_bytes = header_bytes + value_bytes + 2;
        Items { keys, values, value_bytes, get: Template::new(&get, &hole), set, hit_bytes }
    }

    /// Appends a `set` of key `index`.
    fn set(&self, index: u64, out: &mut Vec<u8>) {
        let key = self.set.append(out);
        self.keys.write(index, &mut out[key.clone()]);
        let mut copy = [0; KEY_BYTES_MAX];
        let copy = &mut copy[..key.len()];
        copy.copy_from_slice(&out[key]);
        let start = out.len();
        self.values.write(copy, out);
        debug_assert_eq!(out.len() - start, self.value_bytes);
        out.extend_from_slice(b"\r\n");
    }

    /// Appends a `get` of key `index`.
    pub(crate) fn get(&self, index: u64, out: &mut Vec<u8>) {
        let key = self.get.append(out);
        self.keys.write(index, &mut out[key]);
    }

    /// Length of the reply to a `get` that hits.
    pub(crate) fn hit_bytes(&self) -> usize {
        self.hit_bytes + END.len()
    }

    /// Whether a reply of the right length has key `index` at its beginning, and an end.
    pub(crate) fn is_hit_of(&self, index: u64, reply: &[u8]) -> bool {
        let mut key = [0; KEY_BYTES_MAX];
        let key = &mut key[..self.keys.key_bytes()];
        self.keys.write(index, key);
        let after = reply.strip_prefix(b"VALUE ").and_then(|rest| rest.strip_prefix(&*key));
        after.is_some_and(|rest| rest.starts_with(b" ")) && reply.ends_with(END)
    }

    /// Whether a whole reply to a `get` of key `index` is right.
    pub(crate) fn check(&self, index: u64, reply: &Reply) -> Faults {
        let Reply::Values(values) = reply else { return Faults { misses: 0, wrong: 1 } };
        let mut key = vec![0; self.keys.key_bytes()];
        self.keys.write(index, &mut key);
        match values.as_slice() {
            [] => Faults { misses: 1, wrong: 0 },
            [hit] if hit.key() == key && self.is_right(&key, hit) => Faults::default(),
            _ => Faults { misses: 0, wrong: 1 },
        }
    }

    fn is_right(&self, key: &[u8], hit: &Value) -> bool {
        hit.flags == 0 && hit.data().len() == self.value_bytes && self.values.is_right(key, hit.data())
    }
}

impl Template {
    fn new(request: &Request<'_>, hole: &[u8]) -> Template {
        let mut bytes = BytesMut::new();
        request.encode(&mut bytes);
        let at = bytes.windows(hole.len()).position(|part| part == hole).expect("the request has its key");
        Template { bytes: bytes.to_vec(), key: at..at + hole.len() }
    }

    /// Appends the request; where in `out` its key is.
    fn append(&self, out: &mut Vec<u8>) -> Range<usize> {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        start + self.key.start..start + self.key.end
    }
}

impl Traffic {
    /// A load over items.
    pub(crate) fn new(load: Load, items: Items, order: Order) -> Traffic {
        Traffic { load, items, order }
    }

    /// Its items.
    pub(crate) fn items(&self) -> &Items {
        &self.items
    }

    /// The key of batch `number`, where a batch is one request.
    pub(crate) fn index_of(&self, number: u64) -> u64 {
        self.index(number, 0, self.drawn(number, 0))
    }

    /// Writes batch `number` over `out`.
    pub(crate) fn render(&self, number: u64, out: &mut Vec<u8>) -> Batch {
        out.clear();
        let mut batch = Batch { number, ..Batch::default() };
        if self.load.kind == Kind::MultiGet {
            return self.render_multi(batch, out);
        }
        for place in 0..self.load.depth {
            let drawn = self.drawn(number, place);
            let index = self.index(number, place, drawn);
            if self.is_set(drawn) {
                self.items.set(index, out);
                batch.sets += 1;
            } else {
                self.items.get(index, out);
                batch.gets += 1;
            }
        }
        let (gets, sets) = (batch.gets as usize, batch.sets as usize);
        batch.reply_bytes = gets * self.items.hit_bytes() + sets * STORED.len();
        batch
    }

    fn render_multi(&self, mut batch: Batch, out: &mut Vec<u8>) -> Batch {
        let key_bytes = self.items.keys.key_bytes();
        out.extend_from_slice(b"get");
        for place in 0..self.load.depth {
            let index = self.index(batch.number, place, self.drawn(batch.number, place));
            out.push(b' ');
            let start = out.len();
            out.resize(start + key_bytes, 0);
            self.items.keys.write(index, &mut out[start..]);
        }
        out.extend_from_slice(b"\r\n");
        batch.gets = self.load.depth;
        batch.reply_bytes = batch.gets as usize * self.items.hit_bytes + END.len();
        batch
    }

    /// Checks every answer to batch `number`: kind, key, length, checksum.
    pub(crate) fn check(&self, number: u64, reply: &[u8]) -> Faults {
        let mut input = BytesMut::from(reply);
        let mut decoder = ReplyDecoder::new();
        let mut faults = Faults::default();
        let mut next = |expect| decoder.decode(&mut input, expect).ok().flatten();
        if self.load.kind == Kind::MultiGet {
            return self.check_multi(number, next(Expect::Retrieval).as_ref());
        }
        for place in 0..self.load.depth {
            let drawn = self.drawn(number, place);
            if self.is_set(drawn) {
                faults.wrong += u64::from(next(Expect::Line) != Some(Reply::Status(Status::Stored)));
                continue;
            }
            match next(Expect::Retrieval) {
                Some(reply) => faults += self.items.check(self.index(number, place, drawn), &reply),
                None => faults.wrong += 1,
            }
        }
        faults.wrong += u64::from(!input.is_empty());
        faults
    }

    fn check_multi(&self, number: u64, reply: Option<&Reply>) -> Faults {
        let Some(Reply::Values(values)) = reply else { return Faults { misses: 0, wrong: self.load.depth } };
        let mut faults = Faults::default();
        let mut values = values.iter().peekable();
        let mut key = vec![0; self.items.keys.key_bytes()];
        for place in 0..self.load.depth {
            self.items.keys.write(self.index(number, place, self.drawn(number, place)), &mut key);
            match values.next_if(|value| value.key() == key) {
                Some(hit) => faults.wrong += u64::from(!self.items.is_right(&key, hit)),
                None => faults.misses += 1,
            }
        }
        faults.wrong += values.count() as u64;
        faults
    }

    fn drawn(&self, number: u64, place: u64) -> u64 {
        let Order::Drawn(seed) = self.order else { return 0 };
        mixed(seed ^ mixed(number * BATCH_REQUESTS_MAX + place))
    }

    fn index(&self, number: u64, place: u64, drawn: u64) -> u64 {
        match self.order {
            Order::Drawn(_) => self.items.keys.index_of(drawn),
            Order::InTurn => (number * self.load.depth + place) % self.items.keys.count(),
        }
    }

    fn is_set(&self, drawn: u64) -> bool {
        match self.load.kind {
            Kind::Set => true,
            // The low bits: the high ones choose the key.
            Kind::Mix => ((drawn & 0xFFFF_FFFF) * 100) >> 32 < MIX_SET_PERCENT,
            Kind::Get | Kind::MultiGet => false,
        }
    }
}

impl std::ops::AddAssign for Faults {
    fn add_assign(&mut self, other: Faults) {
        self.misses += other.misses;
        self.wrong += other.wrong;
    }
}

#[cfg(test)]
mod tests;
