//! What can be asked of the store, and what it answers.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;

use crate::{Decides, Version};

/// An instant, in milliseconds since the Unix epoch. Always passed in: the store has no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

/// When an item stops being there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Expiry {
    /// Never by itself.
    #[default]
    Never,
    /// From this instant on.
    At(Time),
}

/// One lookup. `Read::key(key)` and the fields' defaults make a plain get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read<'a> {
    /// The key, 1 to 250 bytes.
    pub key: &'a [u8],
    /// New expiry on a hit.
    pub touch: Option<Expiry>,
    /// On a miss make an empty item with this expiry; the caller has the win.
    pub vivify: Option<Expiry>,
    /// CAS token of an item that `vivify` makes.
    pub cas_override: Option<u64>,
    /// Give the caller the win when less than this remains, if it may win.
    pub recache_below: Option<Duration>,
    /// What remains is judged after `touch`, not before it. False by default.
    pub recache_after_touch: bool,
    /// The caller may get the win of a stale item or one due for `recache_below`: true for meta gets, false
    /// for reads that could not tell their caller. False by default.
    pub may_win: bool,
    /// Remember the access (recency, hit-before, last access). True by default.
    pub counts_as_access: bool,
}

impl<'a> Read<'a> {
    /// A plain lookup that counts as an access.
    pub fn key(key: &'a [u8]) -> Self {
        Read {
            key,
            touch: None,
            vivify: None,
            cas_override: None,
            recache_below: None,
            recache_after_touch: false,
            may_win: false,
            counts_as_access: true,
        }
    }
}

/// What a lookup found. Lives as long as the shard is locked: copy out what is small, keep [`Value::Pinned`].
#[derive(Debug)]
pub enum Lookup<'a> {
    /// Nothing, expired, or flushed.
    Miss,
    /// An item.
    Hit(Hit<'a>),
}

/// An item as a lookup found it.
#[derive(Debug)]
pub struct Hit<'a> {
    /// The value.
    pub value: Value<'a>,
    /// The caller's flags.
    pub flags: u32,
    /// The CAS token: the version, unless a caller chose one.
    pub cas: u64,
    /// The version.
    pub version: Version,
    /// When it expires, after a touch.
    pub expiry: Expiry,
    /// When it was last read or written, before this lookup.
    pub last_access: Time,
    /// It had been read before this lookup.
    pub hit_before: bool,
    /// It was marked stale.
    pub stale: bool,
    /// This caller has the win: it is to fetch the item anew.
    pub win: bool,
    /// Somebody else had the win already.
    pub win_sent: bool,
}

/// A value under the shard's lock.
#[derive(Debug)]
pub enum Value<'a> {
    /// Small, in the shard's memory: copy it out.
    Inline(&'a [u8]),
    /// Large, in counted pieces: keep them and let the lock go. They stay as they are, whatever becomes of
    /// the item, and their memory is not free until they are dropped.
    Pinned(Vec<Bytes>),
}

impl<'a> Value<'a> {
    /// Bytes of the value.
    pub fn len(&self) -> usize {
        match self {
            Value::Inline(value) => value.len(),
            Value::Pinned(pieces) => pieces.iter().map(Bytes::len).sum(),
        }
    }

    /// It is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value in one piece: copied if it is in several.
    pub fn contiguous(&self) -> Cow<'a, [u8]> {
        match self {
            Value::Inline(value) => Cow::Borrowed(value),
            Value::Pinned(pieces) => Cow::Owned(pieces.concat()),
        }
    }
}

/// What a write demands of the item that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WriteMode {
    /// Nothing.
    #[default]
    Set,
    /// That there is none.
    Add,
    /// That there is one.
    Replace,
    /// That there is one, to put the value behind its value. Its flags and expiry stay.
    Append {
        /// Make the item on a miss, with this expiry.
        vivify: Option<Expiry>,
    },
    /// That there is one, to put the value before its value. Its flags and expiry stay.
    Prepend {
        /// Make the item on a miss, with this expiry.
        vivify: Option<Expiry>,
    },
}

/// A demand on the CAS token that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compare {
    /// The token.
    pub cas: u64,
    /// With a token older than the one there: go on, and mark the item stale (meta `I`).
    pub invalidate: bool,
}

/// One write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write<'a> {
    /// The key, 1 to 250 bytes.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// The caller's flags.
    pub flags: u32,
    /// When the item expires. An instant in the past stores nothing and deletes what is there.
    pub expiry: Expiry,
    /// What must be there.
    pub mode: WriteMode,
    /// What CAS token must be there.
    pub compare: Option<Compare>,
    /// The CAS token the item gets, instead of its version. Nothing is ever ordered by it.
    pub cas_override: Option<u64>,
    /// The writer's version: the write is refused if something newer is known of the key. `None`: the store stamps it
    /// with a version later than all that is known of the key, and never refuses it for its age.
    pub version: Option<Version>,
    /// Of a write without `version` that this store decides for all replicas: how it is stamped. The store's clock has no
    /// say: a write that comes late is no newer for it.
    pub decides: Option<Decides>,
    /// The write brings an item that another node had: it is refused where nobody can say whether the key was deleted
    /// since.
    pub repair: bool,
}

impl<'a> Write<'a> {
    /// A plain set: no flags, no expiry, no demands.
    pub fn set(key: &'a [u8], value: &'a [u8]) -> Self {
        Write {
            key,
            value,
            flags: 0,
            expiry: Expiry::Never,
            mode: WriteMode::Set,
            compare: None,
            cas_override: None,
            version: None,
            decides: None,
            repair: false,
        }
    }
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteOutcome {
    /// The item is there.
    Stored {
        /// Its CAS token.
        cas: u64,
        /// Its version.
        version: Version,
        /// Its value's size now, in bytes.
        value_bytes: usize,
    },
    /// Something newer is known of the key: an item, a delete, a flush.
    Superseded {
        /// Its version.
        version: Version,
    },
    /// The mode's demand was not met.
    NotStored,
    /// Another CAS token is there.
    Exists,
    /// A CAS token was demanded and nothing is there.
    NotFound,
    /// Key and value exceed the largest item. After a plain set what was there under the key is gone, as in
    /// memcached; after any other write it stays.
    TooLarge,
    /// The whole budget is pinned by readers; nothing could be evicted.
    OutOfMemory,
    /// The item, if there is one, was not decided here: see [`Decides::continues`].
    DecidedElsewhere,
}

/// How a delete leaves the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeleteMode {
    /// Gone.
    #[default]
    Remove,
    /// There, marked stale, with a new CAS token and, if given, a new expiry (meta `I`).
    Invalidate {
        /// The new expiry.
        touch: Option<Expiry>,
        /// Also empty the value and clear the flags (meta `x`).
        drop_value: bool,
    },
    /// There, with an empty value and no flags (meta `x`).
    DropValue,
}

/// One delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete<'a> {
    /// The key, 1 to 250 bytes.
    pub key: &'a [u8],
    /// How.
    pub mode: DeleteMode,
    /// The CAS token that must be there.
    pub compare: Option<u64>,
    /// The CAS token of an item that stays.
    pub cas_override: Option<u64>,
    /// The deleter's version, as in [`Write::version`]. It is remembered, so that nothing older comes back.
    pub version: Option<Version>,
    /// Remembers a delete without a version, too, where there is nothing: what it is to delete may yet be brought from
    /// another node.
    pub remember: bool,
}

impl<'a> Delete<'a> {
    /// A plain delete.
    pub fn key(key: &'a [u8]) -> Self {
        Delete {
            key,
            mode: DeleteMode::Remove,
            compare: None,
            cas_override: None,
            version: None,
            remember: false,
        }
    }
}

/// What came of a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeleteOutcome {
    /// Done.
    Deleted,
    /// Nothing was there.
    NotFound,
    /// Another CAS token is there.
    Exists,
    /// Something newer is known of the key: an item or a delete.
    Superseded {
        /// Its version.
        version: Version,
    },
}

/// Which way arithmetic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Adds; wraps at 64 bits.
    #[default]
    Increment,
    /// Subtracts; stops at 0.
    Decrement,
}

/// Arithmetic on a value that is a decimal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arithmetic<'a> {
    /// The key, 1 to 250 bytes.
    pub key: &'a [u8],
    /// Which way.
    pub direction: Direction,
    /// By how much.
    pub delta: u64,
    /// On a miss make the item, with this number and expiry.
    pub initial: Option<(u64, Expiry)>,
    /// New expiry on a hit.
    pub touch: Option<Expiry>,
    /// The CAS token that must be there.
    pub compare: Option<u64>,
    /// The CAS token the item gets.
    pub cas_override: Option<u64>,
    /// As [`Write::decides`].
    pub decides: Option<Decides>,
}

/// What came of arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArithmeticOutcome {
    /// The new number.
    Number {
        /// The number.
        number: u64,
        /// The item's CAS token now.
        cas: u64,
        /// Its version.
        version: Version,
        /// When it expires.
        expiry: Expiry,
        /// It was made by `initial`.
        created: bool,
    },
    /// Nothing was there.
    NotFound,
    /// Another CAS token is there.
    Exists,
    /// The value is not a decimal number below 2^64.
    NotANumber,
    /// The whole budget is pinned by readers; nothing could be evicted.
    OutOfMemory,
    /// As [`WriteOutcome::DecidedElsewhere`].
    DecidedElsewhere,
}
