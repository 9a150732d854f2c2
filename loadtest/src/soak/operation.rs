//! Single operations: drawn, sent, and their answers judged, each by itself.

use bytes::BytesMut;
use evanesce_wire::request::{
    Arithmetic, Delete, Direction, Exptime, Get, Keys, MetaGet, Set, SetMode, Touch,
};
use evanesce_wire::{ErrorReply, Expect, MetaFlagsBuf, MetaKey, MetaStatus, Reply, Request, Status, Value};
use rand::RngExt;
use rand::rngs::SmallRng;

use super::parts;

/// Most keys of one `get`: long enough that its answer spans many reads.
const KEYS_MAX: usize = 20;
/// Shortest value, before its header is counted.
const VALUE_BYTES_MIN: f64 = 10.0;
/// Longest part that is appended or prepended: values grow by it until the next `set`.
const APPENDED_BYTES_MAX: usize = 200;
/// Longest TTL in seconds: short, so that much expires within any run.
const TTL_SECS_MAX: i64 = 60;
/// Where a number's key begins; below it there is room for 10^12 of increments.
const NUMBER_SHIFT: u32 = 40;
/// Largest increment.
const DELTA_MAX: u64 = 1000;

/// What keys and values there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Domain {
    pub(super) keys: u32,
    pub(super) value_bytes_max: u32,
}

/// One operation.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    kind: Kind,
    keys: Vec<Key>,
    /// The value to write.
    value: Vec<u8>,
    ttl: Exptime,
    /// Increment, CAS token or opaque.
    number: u64,
    noreply: bool,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Get,
    Gets,
    MetaGet,
    Write(SetMode),
    Cas,
    Delete,
    Touch,
    Incr,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    text: Vec<u8>,
    /// For a key whose values are numbers, what all of them begin with.
    number: Option<u64>,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it should be, with the values that came.
    Right {
        hits: u64,
    },
    /// As it should be, and a token to compare with next time.
    Token {
        key: Key,
        cas: u64,
    },
    /// The server could not or would not.
    Refused(String),
    Wrong(String),
}

/// How often each kind is drawn, of a hundred.
const WEIGHTS: [(Kind, u32); 12] = [
    (Kind::Get, 30),
    (Kind::Gets, 10),
    (Kind::MetaGet, 10),
    (Kind::Write(SetMode::Set), 20),
    (Kind::Write(SetMode::Add), 4),
    (Kind::Write(SetMode::Replace), 2),
    (Kind::Write(SetMode::Append), 4),
    (Kind::Write(SetMode::Prepend), 2),
    (Kind::Cas, 4),
    (Kind::Delete, 5),
    (Kind::Touch, 4),
    (Kind::Incr, 5),
];

impl Key {
    fn of_value(index: u32) -> Key {
        // Lengths from a few bytes to most of what is allowed, always the same for a key.
        let text = format!("v-{index}-{}", "x".repeat(index as usize % 200));
        Key { text: text.into_bytes(), number: None }
    }

    fn of_number(index: u32) -> Key {
        let number = (u64::from(index) + 1) << NUMBER_SHIFT;
        Key { text: format!("n-{index}").into_bytes(), number: Some(number) }
    }

    /// What is wrong with a value of this key.
    fn fault(&self, value: &[u8]) -> Option<&'static str> {
        let Some(first) = self.number else { return parts::fault(&self.text, value) };
        let number = std::str::from_utf8(value).ok().and_then(|text| text.trim_end().parse().ok());
        match number {
            None => Some("a number that is none"),
            Some(number) if !of_same_key(first, number) => Some("a number of another key"),
            Some(_) => None,
        }
    }
}

fn of_same_key(first: u64, number: u64) -> bool {
    number >> NUMBER_SHIFT == first >> NUMBER_SHIFT
}

impl Domain {
    /// Draws an operation. `token` is what an earlier `gets` told, to be used at most once.
    pub(super) fn draw(&self, random: &mut SmallRng, token: &mut Option<(Key, u64)>) -> Operation {
        let mut ticket = random.random_range(0..WEIGHTS.iter().map(|(_, weight)| weight).sum());
        let drawn = WEIGHTS.iter().find(|(_, weight)| match ticket.checked_sub(*weight) {
            Some(rest) => {
                ticket = rest;
                false
            }
            None => true,
        });
        let (mut kind, _) = *drawn.expect("a ticket is below the sum of the weights");
        let mut operation = Operation {
            kind,
            keys: vec![self.draw_key(random, kind)],
            value: Vec::new(),
            ttl: draw_ttl(random),
            number: random.random_range(1..=DELTA_MAX),
            noreply: random.random_ratio(1, 20),
        };
        if kind == Kind::Cas {
            match token.take() {
                Some((key, cas)) => (operation.keys, operation.number) = (vec![key], cas),
                // Nothing to compare with yet: ask for it.
                None => kind = Kind::Gets,
            }
        }
        operation.kind = kind;
        if kind == Kind::Get && random.random_ratio(1, 4) {
            let more = random.random_range(1..KEYS_MAX);
            operation.keys.extend((0..more).map(|_| self.draw_key(random, kind)));
        }
        operation.value = self.draw_value(random, kind, &operation.keys[0]);
        operation
    }

    fn draw_key(&self, random: &mut SmallRng, kind: Kind) -> Key {
        let numbers = (self.keys / 10).max(1);
        let number = match kind {
            Kind::Incr => true,
            Kind::Write(SetMode::Append | SetMode::Prepend) => false,
            _ => random.random_ratio(1, 10),
        };
        if number {
            Key::of_number(random.random_range(0..numbers))
        } else {
            Key::of_value(random.random_range(0..self.keys))
        }
    }

    fn draw_value(&self, random: &mut SmallRng, kind: Kind, key: &Key) -> Vec<u8> {
        let bytes = match kind {
            Kind::Write(SetMode::Append | SetMode::Prepend) => random.random_range(1..APPENDED_BYTES_MAX),
            Kind::Write(_) | Kind::Cas => {
                let (low, high) = (VALUE_BYTES_MIN.ln(), f64::from(self.value_bytes_max).ln());
                random.random_range(low..=high).exp() as usize
            }
            _ => return Vec::new(),
        };
        if let Some(first) = key.number {
            return first.to_string().into_bytes();
        }
        let mut value = Vec::with_capacity(bytes);
        parts::write(&key.text, bytes, random.random(), &mut value);
        value
    }
}

fn draw_ttl(random: &mut SmallRng) -> Exptime {
    Exptime(if random.random_ratio(1, 2) { 0 } else { random.random_range(1..=TTL_SECS_MAX) })
}

impl Operation {
    /// Appends the request.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let (key, exptime, noreply) = (self.keys[0].text.as_slice(), self.ttl, self.noreply);
        let write = |mode, compare| {
            Request::Set(Set { key, mode, compare, flags: 0, exptime, value: &self.value, noreply })
        };
        match self.kind {
            Kind::Get | Kind::Gets => {
                let text = self.keys.iter().map(|key| key.text.as_slice()).collect::<Vec<_>>().join(&b' ');
                let keys = Keys::new(&text).expect("keys of this domain are plain and short enough");
                let with_cas = self.kind == Kind::Gets;
                Request::Get(Get { keys, with_cas, touch: None }).encode(out);
            }
            Kind::MetaGet => self.encode_meta(out),
            Kind::Write(mode) => write(mode, None).encode(out),
            Kind::Cas => write(SetMode::Set, Some(self.number)).encode(out),
            Kind::Delete => Request::Delete(Delete { key, noreply }).encode(out),
            Kind::Touch => Request::Touch(Touch { key, exptime, noreply }).encode(out),
            Kind::Incr => {
                let (direction, delta) = (Direction::Increment, self.number);
                Request::Arithmetic(Arithmetic { key, direction, delta, noreply }).encode(out);
            }
        }
    }

    fn encode_meta(&self, out: &mut BytesMut) {
        let key = MetaKey::new(&self.keys[0].text).expect("keys of this domain are short enough");
        let flags = MetaFlagsBuf::for_key(&key).flag(b'v').flag(b'k').number(b'O', self.number);
        let get = MetaGet {
            flags: flags.as_flags(),
            key,
            value: true,
            quiet: false,
            touch: None,
            vivify: None,
            recache_below: None,
            compare: None,
            cas_override: None,
            counts_as_access: true,
            promise: None,
            insists: false,
        };
        Request::MetaGet(get).encode(out);
    }

    /// What kind of answer comes, if any does.
    pub(super) fn expect(&self) -> Option<Expect> {
        match self.kind {
            Kind::Get | Kind::Gets => Some(Expect::Retrieval),
            Kind::MetaGet => Some(Expect::Meta),
            _ => (!self.noreply).then_some(Expect::Line),
        }
    }

    /// Whether it asks for values, and how many.
    pub(super) fn gets(&self) -> u64 {
        let reads = matches!(self.kind, Kind::Get | Kind::Gets | Kind::MetaGet);
        if reads { self.keys.len() as u64 } else { 0 }
    }

    /// Judges its answer.
    pub(super) fn judge(&self, reply: &Reply) -> Verdict {
        let right = Verdict::Right { hits: 0 };
        match (self.kind, reply) {
            (_, Reply::Error(ErrorReply::Server(text))) => Verdict::Refused(lossy(text)),
            (Kind::Get | Kind::Gets, Reply::Values(values)) => self.judge_values(values),
            (Kind::MetaGet, Reply::Meta(reply)) if reply.status == MetaStatus::Miss => right,
            (Kind::MetaGet, Reply::Meta(reply)) if reply.status == MetaStatus::Value => {
                let whose = reply.key().map(|key| key.bytes.into_owned());
                let opaque = self.number.to_string();
                if reply.opaque() != Some(opaque.as_bytes()) || whose.as_ref() != Some(&self.keys[0].text) {
                    return self.wrong("an answer to another request", reply);
                }
                match self.keys[0].fault(reply.value.as_deref().unwrap_or_default()) {
                    Some(fault) => self.wrong(fault, ()),
                    None => Verdict::Right { hits: 1 },
                }
            }
            (Kind::Incr, Reply::Number(number))
                if self.keys[0].number.is_some_and(|first| of_same_key(first, *number)) =>
            {
                right
            }
            (kind, Reply::Status(status)) if kind.allows(*status) => right,
            (_, reply) => self.wrong("not an answer to this", reply),
        }
    }

    fn judge_values(&self, values: &[Value]) -> Verdict {
        // Hits come in the order of the keys; what was left out is a miss.
        let mut keys = self.keys.iter();
        for value in values {
            let Some(key) = keys.find(|key| key.text == value.key()) else {
                return self.wrong("a value that was not asked for", lossy(value.key()));
            };
            if let Some(fault) = key.fault(value.data()) {
                return self.wrong(fault, value.data().len());
            }
            if value.cas.is_some() != (self.kind == Kind::Gets) {
                return self.wrong("a CAS token where none belongs, or none", value.cas);
            }
        }
        match values {
            [Value { cas: Some(cas), .. }] => Verdict::Token { key: self.keys[0].clone(), cas: *cas },
            _ => Verdict::Right { hits: values.len() as u64 },
        }
    }

    fn wrong(&self, what: &str, detail: impl std::fmt::Debug) -> Verdict {
        // Enough of it to recognise; values may be long.
        let detail: String = format!("{detail:?}").chars().take(200).collect();
        Verdict::Wrong(format!("{:?} {}: {what}: {detail}", self.kind, lossy(&self.keys[0].text)))
    }
}

impl Kind {
    /// Whether a request of this kind may be answered so.
    fn allows(self, status: Status) -> bool {
        match self {
            Kind::Get | Kind::Gets | Kind::MetaGet => false,
            Kind::Write(SetMode::Set) => status == Status::Stored,
            Kind::Write(_) => matches!(status, Status::Stored | Status::NotStored),
            Kind::Cas => matches!(status, Status::Stored | Status::Exists | Status::NotFound),
            Kind::Delete => matches!(status, Status::Deleted | Status::NotFound),
            Kind::Touch => matches!(status, Status::Touched | Status::NotFound),
            Kind::Incr => status == Status::NotFound,
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests;
