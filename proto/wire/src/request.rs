//! Requests, as a server decodes them and a client encodes them.

use std::borrow::Cow;

use bytes::BytesMut;

pub use crate::exptime::{Expiry, Exptime, RELATIVE_SECS_MAX};
pub use crate::operator::{LruCrawler, Scope, Shutdown, WatchKinds};
use crate::{BinaryRequest, Expect, Refusal, meta, operator, retrieval, simple, storage};

/// One request. Borrows from the input it was decoded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    /// `get`, `gets`, `gat`, `gats`.
    Get(Get<'a>),
    /// `set`, `add`, `replace`, `append`, `prepend`, `cas`.
    Set(Set<'a>),
    /// `incr`, `decr`.
    Arithmetic(Arithmetic<'a>),
    /// `touch`.
    Touch(Touch<'a>),
    /// `delete`.
    Delete(Delete<'a>),
    /// `flush_all`.
    FlushAll(FlushAll),
    /// `version`.
    Version,
    /// `verbosity`.
    Verbosity(Verbosity),
    /// `stats`, with its argument as sent: empty, `settings`, `items`...
    Stats(&'a [u8]),
    /// `quit`.
    Quit,
    /// `lru_crawler`.
    LruCrawler(LruCrawler<'a>),
    /// `watch`: from then on the connection is told of events, and nothing it sends is read.
    Watch(WatchKinds),
    /// `shutdown`.
    Shutdown(Shutdown),
    /// `config get cluster`.
    ConfigGetCluster,
    /// `mg`.
    MetaGet(MetaGet<'a>),
    /// `ms`.
    MetaSet(MetaSet<'a>),
    /// `md`.
    MetaDelete(MetaDelete<'a>),
    /// `ma`.
    MetaArithmetic(MetaArithmetic<'a>),
    /// `mn`.
    MetaNoop,
    /// `mn V`: as `mn`, and asks whether the server knows versions. To memcached it is an `mn`.
    MetaNoopVersions,
    /// `me`.
    MetaDebug(MetaDebug<'a>),
    /// Any store command whose value is beyond the limit.
    TooLarge(TooLarge<'a>),
    /// Any request of the binary protocol, but for [`Request::TooLarge`].
    Binary(BinaryRequest<'a>),
}

/// The keys of a retrieval, in order, repeats included. Checked: each is 1 to 250 bytes.
///
/// None at all only for `gat <exptime>`, which memcached answers with `END`.
///
/// Equal when the keys are; how many spaces were between them does not matter.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a>(pub(crate) &'a [u8]);

/// A retrieval in classic text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Get<'a> {
    /// The keys.
    pub keys: Keys<'a>,
    /// Answer with CAS tokens (`gets`, `gats`).
    pub with_cas: bool,
    /// New expiry of every hit (`gat`, `gats`).
    pub touch: Option<Exptime>,
}

/// What a store command demands of the item that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SetMode {
    /// Nothing.
    #[default]
    Set,
    /// That there is none.
    Add,
    /// That there is one.
    Replace,
    /// That there is one; the value goes behind its value.
    Append,
    /// That there is one; the value goes before its value.
    Prepend,
}

/// A store command in classic text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set<'a> {
    /// The key.
    pub key: &'a [u8],
    /// What must be there.
    pub mode: SetMode,
    /// The CAS token of `cas`; `mode` is `Set` then.
    pub compare: Option<u64>,
    /// The caller's flags.
    pub flags: u32,
    /// When it expires.
    pub exptime: Exptime,
    /// The value, without its line end.
    pub value: &'a [u8],
    /// Send no reply.
    pub noreply: bool,
}

/// Which way arithmetic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Add; wraps at 64 bits.
    #[default]
    Increment,
    /// Subtract; stops at 0.
    Decrement,
}

/// `incr` and `decr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arithmetic<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Which way.
    pub direction: Direction,
    /// By how much.
    pub delta: u64,
    /// Send no reply.
    pub noreply: bool,
}

/// `touch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The new expiry.
    pub exptime: Exptime,
    /// Send no reply.
    pub noreply: bool,
}

/// `delete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Send no reply.
    pub noreply: bool,
}

/// `flush_all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushAll {
    /// When, by the rules of an expiry; `None` for now, which 0 and less mean too.
    pub delay: Option<Exptime>,
    /// Send no reply.
    pub noreply: bool,
}

/// `verbosity`. The level is read and not used, as in memcached's releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verbosity {
    /// Send no reply.
    pub noreply: bool,
}

/// A key of the meta protocol: as sent, or decoded from base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaKey<'a> {
    /// The key itself, 1 to 250 bytes.
    pub bytes: Cow<'a, [u8]>,
    /// It came as base64 (flag `b`) and goes back as base64.
    pub base64: bool,
}

/// The flags of a meta request as sent, in their order, since replies keep it. Without the leading space.
///
/// Iterate for single flags; the parsed meaning is in the request's own fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MetaFlags<'a>(pub(crate) &'a [u8]);

/// One flag of a meta request: a letter and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaFlag<'a> {
    /// The letter.
    pub letter: u8,
    /// What follows the letter, often nothing.
    pub token: &'a [u8],
}

/// `mg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaGet<'a> {
    /// The key.
    pub key: MetaKey<'a>,
    /// All flags as sent.
    pub flags: MetaFlags<'a>,
    /// `v`: answer with the value.
    pub value: bool,
    /// `q`: no reply on a miss.
    pub quiet: bool,
    /// `T`: new expiry on a hit.
    pub touch: Option<Exptime>,
    /// `N`: on a miss make an empty item with this expiry and give the caller the win.
    pub vivify: Option<Exptime>,
    /// `R`: give the caller the win when the item expires before this, by the rules of an [`Exptime`].
    pub recache_below: Option<i64>,
    /// `C`: leave the value out of the answer when the item has this CAS token.
    pub compare: Option<u64>,
    /// `E`: CAS token of an item that `N` makes.
    pub cas_override: Option<u64>,
    /// `u` makes it false: the access is not to be remembered.
    pub counts_as_access: bool,
    /// `H`: nothing is read but the version, and no decision older than this is agreed to from now on.
    pub promise: Option<u64>,
    /// `r`: who was promised something before is to be promised this, too.
    pub insists: bool,
}

/// `ms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaSet<'a> {
    /// The key.
    pub key: MetaKey<'a>,
    /// All flags as sent.
    pub flags: MetaFlags<'a>,
    /// `M`: what must be there.
    pub mode: SetMode,
    /// `F`: the caller's flags.
    pub client_flags: u32,
    /// `T`: when it expires; `None` is never.
    pub exptime: Option<Exptime>,
    /// `C`: the CAS token that must be there.
    pub compare: Option<u64>,
    /// `E`: the CAS token the item gets.
    pub cas_override: Option<u64>,
    /// `I`: an older token than `C` names may be replaced, and the item becomes stale.
    pub invalidate: bool,
    /// `N`: in append mode, on a miss make the item, with this expiry.
    pub vivify: Option<Exptime>,
    /// `V`: the writer's version; something newer that is known of the key refuses the write.
    pub version: Option<u64>,
    /// `H`: this node decides for all; what it stores gets this version, or a later one.
    pub decides: Option<u64>,
    /// `r`: the item comes from another node, which had it; with `H`, decide even while settling.
    pub repair: bool,
    /// `q`: no reply when stored.
    pub quiet: bool,
    /// The value, without its line end.
    pub value: &'a [u8],
}

/// `md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaDelete<'a> {
    /// The key.
    pub key: MetaKey<'a>,
    /// All flags as sent.
    pub flags: MetaFlags<'a>,
    /// `C`: the CAS token that must be there.
    pub compare: Option<u64>,
    /// `E`: the CAS token a kept item gets.
    pub cas_override: Option<u64>,
    /// `I`: mark stale instead of deleting.
    pub invalidate: bool,
    /// `T`: with `I`, the new expiry.
    pub touch: Option<Exptime>,
    /// `x`: drop value and client flags, keep the item.
    pub drop_value: bool,
    /// `V`: the deleter's version; it is remembered, so that nothing older comes back.
    pub version: Option<u64>,
    /// `q`: no reply when deleted. Every other answer is sent.
    pub quiet: bool,
}

/// `ma`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaArithmetic<'a> {
    /// The key.
    pub key: MetaKey<'a>,
    /// All flags as sent.
    pub flags: MetaFlags<'a>,
    /// `M`: which way.
    pub direction: Direction,
    /// `D`: by how much; 1 by default.
    pub delta: u64,
    /// `J`: value of an item that `N` makes; 0 by default.
    pub initial: u64,
    /// `N`: on a miss make the item, with this expiry.
    pub vivify: Option<Exptime>,
    /// `T`: new expiry on a hit.
    pub touch: Option<Exptime>,
    /// `C`: the CAS token that must be there.
    pub compare: Option<u64>,
    /// `E`: the CAS token the item gets.
    pub cas_override: Option<u64>,
    /// `H`: this node decides for all; what it stores gets this version, or a later one.
    pub decides: Option<u64>,
    /// `r` with `H`: decide even while settling.
    pub even_settling: bool,
    /// `v`: answer with the number.
    pub value: bool,
    /// `q`: no reply on success. Every other answer is sent.
    pub quiet: bool,
}

/// `me`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaDebug<'a> {
    /// The key.
    pub key: MetaKey<'a>,
    /// `V`: tell the version, too.
    pub version: bool,
}

/// A store command whose value is beyond [`Limits::value_bytes_max`](crate::Limits::value_bytes_max).
///
/// The decoder swallows the value by itself. Answer what the refusal says, and drop the item when told to: its old
/// value would be served as if the write had never been tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLarge<'a> {
    /// The key.
    pub key: MetaKey<'a>,
    /// Drop the item that is there: for `set` and `ms`, as memcached does.
    pub drop_item: bool,
    /// `V` of `ms`: the item is dropped if it is not newer than this version.
    pub version: Option<u64>,
    /// The answer: [`TOO_LARGE`](crate::error_lines::TOO_LARGE) from the decoder, another line from a server that had
    /// no memory for the value. Silent for `noreply`, but never for `ms`, whose `q` does not silence errors.
    pub refusal: Refusal,
}

impl Request<'_> {
    /// Appends the request as a client sends it. A [`TooLarge`] appends nothing, for its value is gone.
    ///
    /// Keys and tokens are written as they are: one that holds a space or a line end breaks the stream, so a key that
    /// is not [plain](crate::is_plain_key) must go as base64.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Request::Get(get) => retrieval::encode(get, out),
            Request::Set(set) => storage::encode(set, out),
            Request::Arithmetic(arithmetic) => simple::encode_arithmetic(arithmetic, out),
            Request::Touch(touch) => simple::encode_touch(touch, out),
            Request::Delete(delete) => simple::encode_delete(delete, out),
            Request::FlushAll(flush) => simple::encode_flush_all(*flush, out),
            Request::Verbosity(verbosity) => simple::encode_verbosity(*verbosity, out),
            Request::Stats(argument) => simple::encode_stats(argument, out),
            Request::Version => out.extend_from_slice(b"version\r\n"),
            Request::Quit => out.extend_from_slice(b"quit\r\n"),
            Request::LruCrawler(crawler) => operator::encode_crawler(crawler, out),
            Request::Watch(kinds) => operator::encode_watch(*kinds, out),
            Request::Shutdown(shutdown) => operator::encode_shutdown(*shutdown, out),
            Request::ConfigGetCluster => out.extend_from_slice(b"config get cluster\r\n"),
            Request::MetaNoop => out.extend_from_slice(b"mn\r\n"),
            Request::MetaNoopVersions => out.extend_from_slice(b"mn V\r\n"),
            Request::MetaGet(get) => meta::encode(b"mg ", &get.key, get.flags, out),
            Request::MetaSet(set) => meta::encode_set(set, out),
            Request::MetaDelete(delete) => meta::encode(b"md ", &delete.key, delete.flags, out),
            Request::MetaArithmetic(request) => meta::encode(b"ma ", &request.key, request.flags, out),
            Request::MetaDebug(debug) => meta::encode_debug(debug, out),
            Request::TooLarge(_) => {}
            Request::Binary(request) => request.encode(out),
        }
    }

    /// True when the request says `noreply`: no answer at all, errors found before the last word aside.
    pub fn is_noreply(&self) -> bool {
        match self {
            Request::Set(set) => set.noreply,
            Request::Arithmetic(arithmetic) => arithmetic.noreply,
            Request::Touch(touch) => touch.noreply,
            Request::Delete(delete) => delete.noreply,
            Request::FlushAll(flush) => flush.noreply,
            Request::Verbosity(verbosity) => verbosity.noreply,
            Request::TooLarge(refused) => refused.refusal.silent,
            _ => false,
        }
    }

    /// True when a request is quiet (`q`, or a quiet command of the binary protocol): the common answer, which is a miss
    /// of a retrieval and a success of anything else, is not sent.
    pub fn is_quiet(&self) -> bool {
        match self {
            Request::MetaGet(get) => get.quiet,
            Request::MetaSet(set) => set.quiet,
            Request::MetaDelete(delete) => delete.quiet,
            Request::MetaArithmetic(arithmetic) => arithmetic.quiet,
            Request::Binary(request) => request.head.is_quiet(),
            _ => false,
        }
    }

    /// The kind of answer to wait for; `None` when none is certain to come: `noreply`, `q`, `quit`, and a [`TooLarge`],
    /// of which [`Request::encode`] sends nothing. `None` too for what only people and their tools ask: the lists of
    /// `lru_crawler`, `watch`, `shutdown`, `config get cluster`. `None` for the binary protocol too, whose replies
    /// [`ReplyDecoder`](crate::ReplyDecoder) does not read.
    pub fn expect(&self) -> Option<Expect> {
        match self {
            _ if self.is_noreply() || self.is_quiet() => None,
            Request::Quit | Request::TooLarge(_) | Request::Binary(_) => None,
            Request::LruCrawler(LruCrawler::Metadump(_) | LruCrawler::Mgdump(_)) => None,
            Request::Watch(_) | Request::Shutdown(_) | Request::ConfigGetCluster => None,
            Request::Get(_) => Some(Expect::Retrieval),
            Request::Stats(_) => Some(Expect::Stats),
            Request::MetaGet(_) | Request::MetaSet(_) | Request::MetaDelete(_) => Some(Expect::Meta),
            Request::MetaArithmetic(_) | Request::MetaDebug(_) => Some(Expect::Meta),
            Request::MetaNoop | Request::MetaNoopVersions => Some(Expect::Meta),
            _ => Some(Expect::Line),
        }
    }
}
