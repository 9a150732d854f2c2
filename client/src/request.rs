//! The meta requests that the client sends, and what their replies mean.

use std::time::Duration;

use bytes::Bytes;
use evanesce_wire::MetaFlagsBuf;
use evanesce_wire::reply::{ItemTold, MetaReply, MetaStatus, RemainingTtl};
use evanesce_wire::request::{
    Direction, Exptime, MetaArithmetic, MetaDelete, MetaFlags, MetaGet, MetaSet, Request, SetMode,
};

use crate::error::NodeError;
use crate::item::Item;
use crate::key::Key;
use crate::policy::Bid;
use crate::repair::Repair;
use crate::value::Form;
use crate::version::Version;

/// What a read wants of a hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// The value and the flags.
    Flags,
    /// All: value, flags, CAS token, TTL.
    Item,
}

/// What a write does.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Stores a value; with `compare` only over the item of this CAS token.
    Store { mode: SetMode, value: Bytes, flags: u32, exptime: Exptime, compare: Option<u64> },
    /// Adds to a number, or takes from it; with `initial` an absent one is made.
    Arithmetic { direction: Direction, delta: u64, initial: Option<(u64, Exptime)> },
    /// Deletes.
    Delete,
    /// Sets the expiry. With `form` the chunks of a large value get it, too.
    Touch { exptime: Exptime, form: Option<Form> },
}

impl Change {
    /// A new expiry for an item, and for its chunks if such a form knows of any.
    pub(crate) fn touch(exptime: Exptime, form: Form) -> Self {
        Self::Touch { exptime, form: (!form.is_verbatim()).then_some(form) }
    }

    /// Whether a replica that missed it can be given it later.
    pub(crate) fn is_repairable(&self) -> bool {
        match self {
            Self::Store { mode, compare, .. } => *mode == SetMode::Set && compare.is_none(),
            Self::Delete => true,
            Self::Arithmetic { .. } | Self::Touch { .. } => false,
        }
    }
}

/// The flag that asks for a version, or carries one: a node's own, sent to nodes that keep versions only.
const VERSION: u8 = b'V';

/// The flag of a write that comes late, or from another node; of a decision, that it is asked even of a node that settles.
const REPAIR: u8 = b'r';

/// The flag of a decision that one node makes for all, and of the question for a promise to it.
const DECIDES: u8 = b'H';

/// What a replica did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// Executed it.
    Yes,
    /// It knows of something newer.
    Superseded {
        /// The newer one's.
        by: Version,
    },
    /// Refused it: the version is too far ahead of its clock.
    ClockAhead,
    /// Refused to decide: it has missed what others decided.
    Settling {
        /// For so much longer.
        left: Duration,
    },
    /// Refused to go on: what it has, if anything, it did not decide itself.
    DecidedElsewhere,
    /// There was no such item.
    NotFound,
    /// Its condition did not hold.
    NotStored,
    /// The item has another CAS token.
    Exists,
    /// The item's value is no number.
    NotANumber,
}

/// Flags of an `mg` for `want`; with `touch` it gets a new expiry. With `versions` a whole item comes with its version.
pub(crate) fn get_flags(
    key: &Key,
    want: Want,
    touch: Option<Exptime>,
    versions: bool,
    opaque: u64,
) -> MetaFlagsBuf {
    let flags = MetaFlagsBuf::for_key(&key.meta()).flag(b'v');
    let flags = match want {
        Want::Flags => flags.flag(b'f'),
        Want::Item if versions => flags.flag(b'f').flag(b'c').flag(b't').flag(VERSION),
        Want::Item => flags.flag(b'f').flag(b'c').flag(b't'),
    };
    let flags = match touch {
        Some(exptime) => flags.number(b'T', exptime.0),
        None => flags,
    };
    flags.number(b'O', opaque)
}

/// An `mg` with ready flags.
pub(crate) fn get_request<'a>(key: &'a Key, flags: MetaFlags<'a>, touch: Option<Exptime>) -> Request<'a> {
    Request::MetaGet(MetaGet {
        key: key.meta(),
        flags,
        value: true,
        quiet: false,
        touch,
        vivify: None,
        recache_below: None,
        compare: None,
        cas_override: None,
        counts_as_access: true,
        promise: None,
        insists: false,
    })
}

/// How a change is stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// Not at all: the server keeps no versions, or the change has none.
    Without,
    /// By the node, which is to tell.
    Told,
    /// With this.
    With(Version),
    /// By the node, which decides for all and is to tell: with this, or with what comes next to what it has.
    Decides { at_least: Version, even_settling: bool },
}

/// Hands the request of a write that a node has missed to `send`.
pub(crate) fn with_repair<R>(repair: &Repair, opaque: u64, send: impl FnOnce(&Request<'_>) -> R) -> R {
    let flags = MetaFlagsBuf::for_key(&repair.key.meta()).number(b'O', opaque);
    let stamp = Stamp::With(repair.version);
    let flags = if matches!(repair.change, Change::Delete) { flags } else { flags.flag(REPAIR) };
    with_flags(&repair.key, &repair.change, stamp, flags, send)
}

/// Hands the request to `send` that asks for the version of a key's item, and for nothing else.
pub(crate) fn with_version_question<R>(key: &Key, opaque: u64, send: impl FnOnce(&Request<'_>) -> R) -> R {
    let flags = MetaFlagsBuf::for_key(&key.meta()).flag(VERSION).number(b'O', opaque);
    let mut request = get_request(key, flags.as_flags(), None);
    if let Request::MetaGet(get) = &mut request {
        get.value = false;
    }
    send(&request)
}

/// Hands the request to `send` that asks for the version of a key's item, and for a promise to agree to no older decision
/// than this.
pub(crate) fn with_promise_question<R>(
    key: &Key,
    bid: Bid,
    opaque: u64,
    send: impl FnOnce(&Request<'_>) -> R,
) -> R {
    let Bid { least, insists } = bid;
    let flags = MetaFlagsBuf::for_key(&key.meta()).flag(VERSION).number(DECIDES, least.0);
    let flags = if insists { flags.flag(REPAIR) } else { flags };
    let flags = flags.number(b'O', opaque);
    let mut request = get_request(key, flags.as_flags(), None);
    if let Request::MetaGet(get) = &mut request {
        (get.value, get.promise, get.insists) = (false, Some(least.0), insists);
    }
    send(&request)
}

/// Hands the request of a change to `send`.
pub(crate) fn with_change<R>(
    key: &Key,
    change: &Change,
    stamp: Stamp,
    opaque: u64,
    send: impl FnOnce(&Request<'_>) -> R,
) -> R {
    with_flags(key, change, stamp, MetaFlagsBuf::for_key(&key.meta()).number(b'O', opaque), send)
}

fn with_flags<R>(
    key: &Key,
    change: &Change,
    stamp: Stamp,
    flags: MetaFlagsBuf,
    send: impl FnOnce(&Request<'_>) -> R,
) -> R {
    let flags = match (stamp, change) {
        (Stamp::Without, _) | (_, Change::Touch { .. }) => flags,
        (Stamp::Told | Stamp::Decides { .. }, Change::Delete) => flags,
        (Stamp::Told, _) => flags.flag(VERSION),
        (Stamp::With(version), _) => flags.number(VERSION, version.0),
        (Stamp::Decides { at_least, even_settling }, _) => {
            let flags = flags.flag(VERSION).number(DECIDES, at_least.0);
            if even_settling { flags.flag(REPAIR) } else { flags }
        }
    };
    let (decides, even_settling) = match stamp {
        Stamp::Decides { at_least, even_settling } => (Some(at_least.0), even_settling),
        _ => (None, false),
    };
    let version = if let Stamp::With(version) = stamp { Some(version.0) } else { None };
    match change {
        Change::Store { mode, value, flags: client_flags, exptime, compare } => {
            let flags = store_flags(flags, *mode, *client_flags, *exptime);
            let flags = compare.iter().fold(flags, |flags, token| flags.number(b'C', *token));
            let set = store_request(key, flags.as_flags(), *mode, *client_flags, *exptime, value);
            let repair = flags.as_flags().has(REPAIR);
            send(&Request::MetaSet(MetaSet { compare: *compare, version, decides, repair, ..set }))
        }
        Change::Arithmetic { direction, delta, initial } => {
            let flags = flags.flag(b'v').number(b'D', *delta);
            let flags = match direction {
                Direction::Increment => flags,
                Direction::Decrement => flags.token(b'M', b"D"),
            };
            let flags = initial
                .iter()
                .fold(flags, |flags, (number, exptime)| flags.number(b'J', *number).number(b'N', exptime.0));
            let arithmetic = arithmetic_request(key, flags.as_flags(), *direction, *delta, *initial);
            send(&Request::MetaArithmetic(MetaArithmetic { decides, even_settling, ..arithmetic }))
        }
        Change::Delete => send(&Request::MetaDelete(delete_request(key, flags.as_flags(), version))),
        Change::Touch { exptime, form } => {
            let flags = if form.is_some() { flags.flag(b'f') } else { flags };
            let flags = flags.number(b'T', exptime.0);
            send(&touch_request(key, flags.as_flags(), *exptime))
        }
    }
}

fn store_flags(flags: MetaFlagsBuf, mode: SetMode, client_flags: u32, exptime: Exptime) -> MetaFlagsBuf {
    let flags = flags.number(b'T', exptime.0);
    let flags = if client_flags == 0 { flags } else { flags.number(b'F', client_flags) };
    match mode {
        SetMode::Set => flags,
        SetMode::Add => flags.token(b'M', b"E"),
        SetMode::Replace => flags.token(b'M', b"R"),
        SetMode::Append => flags.token(b'M', b"A"),
        SetMode::Prepend => flags.token(b'M', b"P"),
    }
}

fn store_request<'a>(
    key: &'a Key,
    flags: MetaFlags<'a>,
    mode: SetMode,
    client_flags: u32,
    exptime: Exptime,
    value: &'a [u8],
) -> MetaSet<'a> {
    MetaSet {
        key: key.meta(),
        flags,
        mode,
        client_flags,
        exptime: Some(exptime),
        compare: None,
        cas_override: None,
        invalidate: false,
        vivify: None,
        version: None,
        decides: None,
        repair: false,
        quiet: false,
        value,
    }
}

fn arithmetic_request<'a>(
    key: &'a Key,
    flags: MetaFlags<'a>,
    direction: Direction,
    delta: u64,
    initial: Option<(u64, Exptime)>,
) -> MetaArithmetic<'a> {
    MetaArithmetic {
        key: key.meta(),
        flags,
        direction,
        delta,
        initial: initial.map_or(0, |(number, _)| number),
        vivify: initial.map(|(_, exptime)| exptime),
        touch: None,
        compare: None,
        cas_override: None,
        decides: None,
        even_settling: false,
        value: true,
        quiet: false,
    }
}

/// Hands the request to `send` that deletes the item of this token, and no other.
pub(crate) fn with_delete_of<R>(
    key: &Key,
    token: u64,
    opaque: u64,
    send: impl FnOnce(&Request<'_>) -> R,
) -> R {
    let flags = MetaFlagsBuf::for_key(&key.meta()).number(b'O', opaque).number(b'C', token);
    let delete = delete_request(key, flags.as_flags(), None);
    send(&Request::MetaDelete(MetaDelete { compare: Some(token), ..delete }))
}

fn delete_request<'a>(key: &'a Key, flags: MetaFlags<'a>, version: Option<u64>) -> MetaDelete<'a> {
    MetaDelete {
        key: key.meta(),
        flags,
        compare: None,
        cas_override: None,
        invalidate: false,
        touch: None,
        drop_value: false,
        version,
        quiet: false,
    }
}

/// An `mg` without `v`: touches, and brings back the flags at most.
fn touch_request<'a>(key: &'a Key, flags: MetaFlags<'a>, exptime: Exptime) -> Request<'a> {
    let mut request = get_request(key, flags, Some(exptime));
    if let Request::MetaGet(get) = &mut request {
        get.value = false;
    }
    request
}

/// Hands the request to `send` that asks for the flags of a key's item, and for nothing else.
pub(crate) fn with_flags_question<R>(key: &Key, opaque: u64, send: impl FnOnce(&Request<'_>) -> R) -> R {
    let flags = MetaFlagsBuf::for_key(&key.meta()).flag(b'f').number(b'O', opaque);
    let mut request = get_request(key, flags.as_flags(), None);
    if let Request::MetaGet(get) = &mut request {
        get.value = false;
    }
    send(&request)
}

/// What an `mg` found. Takes the value out of the reply.
pub(crate) fn read_hit(reply: &mut MetaReply) -> Result<Option<Item>, NodeError> {
    match (reply.status, reply.value.take()) {
        (MetaStatus::Miss, _) => Ok(None),
        (MetaStatus::Value, Some(value)) => {
            let ItemTold { client_flags, cas, ttl, version, until_secs } = reply.item();
            Ok(Some(Item {
                value,
                flags: client_flags.unwrap_or(0),
                cas: cas.unwrap_or(0),
                ttl: match ttl {
                    Some(RemainingTtl::Secs(secs)) => Some(Duration::from_secs(secs)),
                    _ => None,
                },
                version: version.map(Version),
                until_secs,
            }))
        }
        _ => Err(NodeError::Unexpected),
    }
}

impl Done {
    /// What a change came to.
    pub(crate) fn of(reply: &MetaReply) -> Result<Self, NodeError> {
        match reply.status {
            MetaStatus::Done | MetaStatus::Value => Ok(Self::Yes),
            MetaStatus::NotFound | MetaStatus::Miss => Ok(Self::NotFound),
            MetaStatus::NotStored => Ok(match (reply.settling_ms(), reply.version(), reply.clock_ms()) {
                (Some(0), ..) => Self::DecidedElsewhere,
                (Some(left), ..) => Self::Settling { left: Duration::from_millis(left) },
                (None, Some(by), _) => Self::Superseded { by: Version(by) },
                (None, None, Some(_)) => Self::ClockAhead,
                (None, None, None) => Self::NotStored,
            }),
            MetaStatus::Exists => Ok(Self::Exists),
            _ => Err(NodeError::Unexpected),
        }
    }
}
