//! Replies, as a client decodes them. A server writes them straight from its store: see [`crate::encode`].

use std::fmt;
use std::ops::Range;

use bytes::{Buf, Bytes};

use crate::limits::REPLY_LINE_BYTES_MAX;
use crate::request::{MetaFlag, MetaFlags, MetaKey};
use crate::token;

/// One reply to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// The hits of a classic retrieval, up to its `END`.
    Values(Vec<Value>),
    /// The statistics of `stats`, up to its `END`: name and value.
    Stats(Vec<(Bytes, Bytes)>),
    /// A classic line that is a word: `STORED`, `DELETED`...
    Status(Status),
    /// The number that `incr` and `decr` answer.
    Number(u64),
    /// What follows `VERSION`.
    Version(Bytes),
    /// Any meta reply.
    Meta(MetaReply),
    /// `ERROR`, `CLIENT_ERROR`, `SERVER_ERROR`.
    Error(ErrorReply),
}

/// One hit of a classic retrieval: what a server sent of it, in one piece.
#[derive(Clone)]
pub struct Value {
    /// The caller's flags.
    pub flags: u32,
    /// The CAS token, for `gets` and `gats`.
    pub cas: Option<u64>,
    key_start: u16,
    key_end: u16,
    data_start: u16,
    /// From before the key up to the end of the data.
    text: Bytes,
}

impl Value {
    /// A hit that nobody sent.
    ///
    /// # Panics
    ///
    /// When the key is longer than a line may be.
    pub fn new(key: &[u8], flags: u32, cas: Option<u64>, data: &[u8]) -> Value {
        assert!(key.len() <= REPLY_LINE_BYTES_MAX, "the key of a reply is part of a line");
        Value::of_text([key, data].concat().into(), 0..key.len(), key.len(), (flags, cas))
    }

    /// A hit of which these are the places in `text`, within its first line.
    #[inline]
    pub(crate) fn of_text(
        text: Bytes,
        key: Range<usize>,
        data_start: usize,
        (flags, cas): (u32, Option<u64>),
    ) -> Value {
        debug_assert!(
            key.end <= data_start && data_start <= text.len() && data_start <= usize::from(u16::MAX)
        );
        let (key_start, key_end) = (key.start as u16, key.end as u16);
        Value { flags, cas, key_start, key_end, data_start: data_start as u16, text }
    }

    /// The key as sent.
    #[inline]
    pub fn key(&self) -> &[u8] {
        &self.text[usize::from(self.key_start)..usize::from(self.key_end)]
    }

    /// The value.
    #[inline]
    pub fn data(&self) -> &[u8] {
        &self.text[usize::from(self.data_start)..]
    }

    /// The value, in memory that it may share with other parts of the reply.
    #[inline]
    pub fn into_data(mut self) -> Bytes {
        let start = usize::from(self.data_start);
        if start == self.text.len() {
            // An empty one would keep all of it.
            return Bytes::new();
        }
        self.text.advance(start);
        self.text
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        let parts = |value: &Value| (value.flags, value.cas);
        parts(self) == parts(other) && self.key() == other.key() && self.data() == other.data()
    }
}

impl Eq for Value {}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value")
            .field("key", &self.key().escape_ascii().to_string())
            .field("flags", &self.flags)
            .field("cas", &self.cas)
            .field("data", &self.data().escape_ascii().to_string())
            .finish()
    }
}

/// The words of classic replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// `STORED`.
    Stored,
    /// `NOT_STORED`.
    NotStored,
    /// `EXISTS`.
    Exists,
    /// `NOT_FOUND`.
    NotFound,
    /// `DELETED`.
    Deleted,
    /// `TOUCHED`.
    Touched,
    /// `OK`.
    Ok,
    /// `RESET`, of `stats reset`.
    Reset,
}

/// The two letters of a meta reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetaStatus {
    /// `HD`: done, no value.
    Done,
    /// `VA`: done, with a value.
    Value,
    /// `EN`: `mg` missed.
    Miss,
    /// `NF`: not found.
    NotFound,
    /// `NS`: not stored.
    NotStored,
    /// `EX`: another CAS token is there.
    Exists,
    /// `MN`: the answer to `mn`.
    Noop,
    /// `ME`: the answer to `me`.
    Debug,
}

/// A meta reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaReply {
    /// What happened.
    pub status: MetaStatus,
    /// The value, of `VA` only.
    pub value: Option<Bytes>,
    /// Flags as received, or the text of `ME`. Without the leading space.
    pub flags: Bytes,
}

/// An error line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorReply {
    /// `ERROR`: the server does not know the command.
    Unknown,
    /// `CLIENT_ERROR` and its text: the request was wrong.
    Client(Bytes),
    /// `SERVER_ERROR` and its text: the server could not.
    Server(Bytes),
}

impl Status {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Status::Stored => "STORED",
            Status::NotStored => "NOT_STORED",
            Status::Exists => "EXISTS",
            Status::NotFound => "NOT_FOUND",
            Status::Deleted => "DELETED",
            Status::Touched => "TOUCHED",
            Status::Ok => "OK",
            Status::Reset => "RESET",
        }
    }

    pub(crate) fn from_word(word: &[u8]) -> Option<Status> {
        Some(match word {
            b"STORED" => Status::Stored,
            b"NOT_STORED" => Status::NotStored,
            b"EXISTS" => Status::Exists,
            b"NOT_FOUND" => Status::NotFound,
            b"DELETED" => Status::Deleted,
            b"TOUCHED" => Status::Touched,
            b"OK" => Status::Ok,
            b"RESET" => Status::Reset,
            _ => return None,
        })
    }
}

impl MetaStatus {
    /// The letters on the wire.
    pub fn letters(self) -> &'static str {
        match self {
            MetaStatus::Done => "HD",
            MetaStatus::Value => "VA",
            MetaStatus::Miss => "EN",
            MetaStatus::NotFound => "NF",
            MetaStatus::NotStored => "NS",
            MetaStatus::Exists => "EX",
            MetaStatus::Noop => "MN",
            MetaStatus::Debug => "ME",
        }
    }

    pub(crate) fn from_letters(letters: &[u8]) -> Option<MetaStatus> {
        Some(match letters {
            b"HD" => MetaStatus::Done,
            b"VA" => MetaStatus::Value,
            b"EN" => MetaStatus::Miss,
            b"NF" => MetaStatus::NotFound,
            b"NS" => MetaStatus::NotStored,
            b"EX" => MetaStatus::Exists,
            b"MN" => MetaStatus::Noop,
            b"ME" => MetaStatus::Debug,
            _ => return None,
        })
    }
}

/// What `t` tells: how long the item still lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemainingTtl {
    /// It never expires by itself.
    Never,
    /// So many seconds.
    Secs(u64),
}

/// What a reply tells of an item; `None` for what was not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ItemTold {
    /// The caller's flags (`f`).
    pub client_flags: Option<u32>,
    /// The CAS token (`c`).
    pub cas: Option<u64>,
    /// How long it still lives (`t`).
    pub ttl: Option<RemainingTtl>,
    /// The version (`V`).
    pub version: Option<u64>,
    /// The second since 1970 in which it expires (`U`), told with the version of an item that does.
    pub until_secs: Option<u64>,
}

impl MetaReply {
    /// The flags one by one, in the order received.
    pub fn flags(&self) -> impl Iterator<Item = MetaFlag<'_>> {
        MetaFlags(&self.flags).iter()
    }

    /// All that the flags tell of an item. One look at them; the methods for one of them each take one. Of a flag that
    /// comes twice the last counts here.
    pub fn item(&self) -> ItemTold {
        let mut told = ItemTold::default();
        for flag in self.flags() {
            match flag.letter {
                b'f' => told.client_flags = client_flags(flag.token),
                b'c' => told.cas = token::plain_u64(flag.token),
                b't' => told.ttl = remaining_ttl(flag.token),
                b'V' => told.version = token::plain_u64(flag.token),
                b'U' => told.until_secs = token::plain_u64(flag.token),
                _ => {}
            }
        }
        told
    }

    /// The caller's flags (`f`), when asked for.
    pub fn client_flags(&self) -> Option<u32> {
        client_flags(self.token(b'f')?)
    }

    /// The CAS token (`c`), when asked for.
    pub fn cas(&self) -> Option<u64> {
        self.number(b'c')
    }

    /// How long the item still lives (`t`), when asked for.
    pub fn ttl(&self) -> Option<RemainingTtl> {
        remaining_ttl(self.token(b't')?)
    }

    /// Seconds since the access before this one (`l`), when asked for.
    pub fn last_access_secs(&self) -> Option<u64> {
        self.number(b'l')
    }

    /// Whether the item was read before (`h`), when asked for.
    pub fn hit_before(&self) -> Option<bool> {
        self.number(b'h').map(|hit| hit != 0)
    }

    /// Length of the value (`s`), when asked for.
    pub fn value_bytes(&self) -> Option<u64> {
        self.number(b's')
    }

    /// The version (`V`), of a server that keeps them: of the item, or with [`MetaStatus::NotStored`] of what is newer.
    pub fn version(&self) -> Option<u64> {
        self.number(b'V')
    }

    /// The server's clock (`K`), in milliseconds since 1970: answered to `mn V`, and where a version was too far ahead
    /// of it.
    pub fn clock_ms(&self) -> Option<u64> {
        self.number(b'K')
    }

    /// For how many milliseconds more the server does not decide for others (`H`).
    pub fn settling_ms(&self) -> Option<u64> {
        self.number(b'H')
    }

    /// Below which version no decision is agreed to (`H`): the answer to `mg` with `H`.
    pub fn promised(&self) -> Option<u64> {
        self.number(b'H')
    }

    /// The version of a delete or a flush that left no item (`D`): in the answer to `mg` with `H`.
    pub fn deleted(&self) -> Option<u64> {
        self.number(b'D')
    }

    /// The opaque (`O`) of the request.
    pub fn opaque(&self) -> Option<&[u8]> {
        self.token(b'O')
    }

    /// The key (`k`), when asked for, decoded if it came as base64. `None` too when its base64 is broken.
    pub fn key(&self) -> Option<MetaKey<'_>> {
        let text = self.token(b'k')?;
        if MetaFlags(&self.flags).has(b'b') {
            return MetaKey::from_base64(text);
        }
        Some(MetaKey { bytes: text.into(), base64: false })
    }

    /// True when the caller has won the right to recache the item (`W`).
    pub fn win(&self) -> bool {
        MetaFlags(&self.flags).has(b'W')
    }

    /// True when the item was marked stale (`X`).
    pub fn stale(&self) -> bool {
        MetaFlags(&self.flags).has(b'X')
    }

    /// True when another caller has won before (`Z`).
    pub fn won_by_other(&self) -> bool {
        MetaFlags(&self.flags).has(b'Z')
    }

    fn token(&self, letter: u8) -> Option<&[u8]> {
        MetaFlags(&self.flags).get(letter)
    }

    fn number(&self, letter: u8) -> Option<u64> {
        token::plain_u64(self.token(letter)?)
    }
}

fn client_flags(token: &[u8]) -> Option<u32> {
    token::plain_u64(token).and_then(|flags| u32::try_from(flags).ok())
}

fn remaining_ttl(token: &[u8]) -> Option<RemainingTtl> {
    match token::i64(token)? {
        secs @ 0.. => Some(RemainingTtl::Secs(secs.unsigned_abs())),
        _ => Some(RemainingTtl::Never),
    }
}
