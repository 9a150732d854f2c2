//! `mg`, `ms`, `md`, `ma`, `mn`, `me`.

use std::borrow::Cow;

use bytes::BytesMut;

use crate::decoder::{Line, ValueHeader};
use crate::encode;
use crate::error_lines::{
    BAD_FORMAT, ERROR_DECODING_KEY, INVALID_MA_MODE, INVALID_MS_MODE, INVALID_OR_DUPLICATE_FLAG,
    OPAQUE_TOO_LONG, Refusal,
};
use crate::flags::Meaning;
use crate::limits::{KEY_BYTES_MAX, META_WORDS_MAX};
use crate::request::{
    Direction, MetaArithmetic, MetaDebug, MetaDelete, MetaFlags, MetaGet, MetaKey, MetaSet, Request, SetMode,
};
use crate::{flags, storage, token};

// Less the command and the key.
const FLAGS_MAX: usize = META_WORDS_MAX - 2;

// Less the command, the key and the value's length.
const SET_FLAGS_MAX: usize = META_WORDS_MAX - 3;

impl<'a> MetaGet<'a> {
    /// A request of these flags, as a server would understand it.
    ///
    /// # Errors
    ///
    /// The refusal a server would answer: the caller's flags are wrong, or `b` does not fit the key.
    pub fn new(key: MetaKey<'a>, flags: MetaFlags<'a>) -> Result<MetaGet<'a>, Refusal> {
        let meaning = read_for(&key, flags, FLAGS_MAX)?;
        Ok(MetaGet::understood(key, flags, &meaning))
    }

    #[inline]
    fn understood(key: MetaKey<'a>, flags: MetaFlags<'a>, meaning: &Meaning) -> MetaGet<'a> {
        MetaGet {
            key,
            flags,
            value: meaning.value,
            quiet: meaning.quiet,
            touch: meaning.touch,
            vivify: meaning.vivify,
            recache_below: meaning.recache_below,
            compare: meaning.compare,
            cas_override: meaning.cas_override,
            counts_as_access: !meaning.not_an_access,
            promise: meaning.decides,
            insists: meaning.repair,
        }
    }
}

impl<'a> MetaSet<'a> {
    /// A request of these flags, as a server would understand it.
    ///
    /// # Errors
    ///
    /// The refusal a server would answer: the caller's flags are wrong, or `b` does not fit the key.
    pub fn new(key: MetaKey<'a>, flags: MetaFlags<'a>, value: &'a [u8]) -> Result<MetaSet<'a>, Refusal> {
        let meaning = read_for(&key, flags, SET_FLAGS_MAX)?;
        MetaSet::understood(key, flags, &meaning, value)
    }

    fn understood(
        key: MetaKey<'a>,
        flags: MetaFlags<'a>,
        meaning: &Meaning,
        value: &'a [u8],
    ) -> Result<MetaSet<'a>, Refusal> {
        let mode = match meaning.mode {
            None | Some(b'S') => SetMode::Set,
            Some(b'E') => SetMode::Add,
            Some(b'R') => SetMode::Replace,
            Some(b'A') => SetMode::Append,
            Some(b'P') => SetMode::Prepend,
            Some(_) => return Err(Refusal::loud(INVALID_MS_MODE)),
        };
        Ok(MetaSet {
            key,
            flags,
            mode,
            client_flags: meaning.client_flags,
            exptime: meaning.touch,
            compare: meaning.compare,
            cas_override: meaning.cas_override,
            invalidate: meaning.invalidate,
            vivify: meaning.vivify,
            version: meaning.version,
            decides: meaning.decides,
            repair: meaning.repair,
            quiet: meaning.quiet,
            value,
        })
    }
}

impl<'a> MetaDelete<'a> {
    /// A request of these flags, as a server would understand it.
    ///
    /// # Errors
    ///
    /// The refusal a server would answer: the caller's flags are wrong, or `b` does not fit the key.
    pub fn new(key: MetaKey<'a>, flags: MetaFlags<'a>) -> Result<MetaDelete<'a>, Refusal> {
        let meaning = read_for(&key, flags, FLAGS_MAX)?;
        Ok(MetaDelete::understood(key, flags, &meaning))
    }

    fn understood(key: MetaKey<'a>, flags: MetaFlags<'a>, meaning: &Meaning) -> MetaDelete<'a> {
        MetaDelete {
            key,
            flags,
            compare: meaning.compare,
            cas_override: meaning.cas_override,
            invalidate: meaning.invalidate,
            touch: meaning.touch,
            drop_value: meaning.drop_value,
            version: meaning.version,
            quiet: meaning.quiet,
        }
    }
}

impl<'a> MetaArithmetic<'a> {
    /// A request of these flags, as a server would understand it.
    ///
    /// # Errors
    ///
    /// The refusal a server would answer: the caller's flags are wrong, or `b` does not fit the key.
    pub fn new(key: MetaKey<'a>, flags: MetaFlags<'a>) -> Result<MetaArithmetic<'a>, Refusal> {
        let meaning =
            read_for(&key, flags, FLAGS_MAX).map_err(|_| Refusal::loud(INVALID_OR_DUPLICATE_FLAG))?;
        MetaArithmetic::understood(key, flags, &meaning)
    }

    fn understood(
        key: MetaKey<'a>,
        flags: MetaFlags<'a>,
        meaning: &Meaning,
    ) -> Result<MetaArithmetic<'a>, Refusal> {
        let direction = match meaning.mode {
            None | Some(b'I' | b'+') => Direction::Increment,
            Some(b'D' | b'-') => Direction::Decrement,
            Some(_) => return Err(Refusal::loud(INVALID_MA_MODE)),
        };
        Ok(MetaArithmetic {
            key,
            flags,
            direction,
            delta: meaning.delta.unwrap_or(1),
            initial: meaning.initial,
            vivify: meaning.vivify,
            touch: meaning.touch,
            compare: meaning.compare,
            cas_override: meaning.cas_override,
            decides: meaning.decides,
            even_settling: meaning.repair,
            value: meaning.value,
            quiet: meaning.quiet,
        })
    }
}

/// Reads the flags for a key that is already understood.
fn read_for(key: &MetaKey<'_>, flags: MetaFlags<'_>, flags_max: usize) -> Result<Meaning, Refusal> {
    let meaning = Meaning::read(flags, flags_max).map_err(Refusal::loud)?;
    if meaning.base64 == key.base64 { Ok(meaning) } else { Err(Refusal::loud(ERROR_DECODING_KEY)) }
}

/// A key as sent and the flags behind it.
fn key_and_flags(mut text: &[u8]) -> Result<(&[u8], MetaFlags<'_>), Refusal> {
    let key = token::next(&mut text);
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(Refusal::loud(BAD_FORMAT));
    }
    Ok((key, MetaFlags(token::trim(text))))
}

fn plain(bytes: &[u8]) -> MetaKey<'_> {
    MetaKey { bytes: Cow::Borrowed(bytes), base64: false }
}

/// The key as the flags say it is to be read.
#[inline]
fn read_key(text: &[u8], base64: bool) -> Result<MetaKey<'_>, Refusal> {
    if !base64 {
        return Ok(plain(text));
    }
    MetaKey::from_base64(text).ok_or(Refusal::loud(ERROR_DECODING_KEY))
}

/// `<key> <flags>*` of an `mg` whose flags only say what to answer and how. `None` sends it the general way, whatever
/// is the matter.
#[inline]
pub(crate) fn plain_get(text: &[u8]) -> Option<MetaGet<'_>> {
    let (key, rest) = text.split_at(token::word_end(text));
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return None;
    }
    let flags = MetaFlags(rest.get(1..).unwrap_or_default());
    if let [b' ', ..] | [.., b' '] = flags.0 {
        return None;
    }
    let (value, quiet) = flags::plain(flags, FLAGS_MAX)?;
    Some(MetaGet {
        key: plain(key),
        flags,
        value,
        quiet,
        touch: None,
        vivify: None,
        recache_below: None,
        compare: None,
        cas_override: None,
        counts_as_access: true,
        promise: None,
        insists: false,
    })
}

/// `mg <key> <flags>*`
pub(crate) fn decode_get(text: &[u8]) -> Result<Request<'_>, Refusal> {
    let (key, flags) = key_and_flags(text)?;
    let meaning = Meaning::read(flags, FLAGS_MAX).map_err(Refusal::loud)?;
    let get = MetaGet::understood(read_key(key, meaning.base64)?, flags, &meaning);
    Ok(Request::MetaGet(get))
}

/// `md <key> <flags>*`
pub(crate) fn decode_delete(text: &[u8]) -> Result<Request<'_>, Refusal> {
    let (key, flags) = key_and_flags(text)?;
    let meaning = Meaning::read(flags, FLAGS_MAX).map_err(Refusal::loud)?;
    let delete = MetaDelete::understood(read_key(key, meaning.base64)?, flags, &meaning);
    Ok(Request::MetaDelete(delete))
}

/// `ma <key> <flags>*`
pub(crate) fn decode_arithmetic(text: &[u8]) -> Result<Request<'_>, Refusal> {
    // memcached tells any fault of a key and its flags by one line, but for an opaque.
    let fault = Refusal::loud(INVALID_OR_DUPLICATE_FLAG);
    let told = |told| if told == OPAQUE_TOO_LONG { Refusal::loud(told) } else { fault };
    let too_long = |text: &[u8]| token::word_end(token::trim(text)) > KEY_BYTES_MAX;
    let (key, flags) = key_and_flags(text).map_err(|none| if too_long(text) { fault } else { none })?;
    let meaning = Meaning::read(flags, FLAGS_MAX).map_err(told)?;
    let key = read_key(key, meaning.base64).map_err(|_| fault)?;
    MetaArithmetic::understood(key, flags, &meaning).map(Request::MetaArithmetic)
}

/// `ms <key> <datalen> <flags>*`. Once the length is known, the value is swallowed whatever else is wrong.
#[inline]
pub(crate) fn decode_set(mut text: &[u8]) -> Line<'_> {
    let key = token::next(&mut text);
    let Some(bytes) = storage::meta_value_bytes(token::next(&mut text)) else {
        return Refusal::loud(BAD_FORMAT).into();
    };
    match read_set(key, MetaFlags(token::trim(text))) {
        Ok(set) => Line::Value(ValueHeader { request: Request::MetaSet(set), bytes }),
        Err(refusal) => Line::Refused(refusal, bytes + 2),
    }
}

fn read_set<'a>(key: &'a [u8], flags: MetaFlags<'a>) -> Result<MetaSet<'a>, Refusal> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Refusal::loud(BAD_FORMAT));
    }
    let meaning = Meaning::read(flags, SET_FLAGS_MAX).map_err(Refusal::loud)?;
    MetaSet::understood(read_key(key, meaning.base64)?, flags, &meaning, &[])
}

/// `me <key> [b] [V]`; what else follows is not looked at.
pub(crate) fn decode_debug(text: &[u8]) -> Result<Request<'_>, Refusal> {
    let (key, MetaFlags(mut flags)) = key_and_flags(text)?;
    let mut word = token::next(&mut flags);
    let base64 = word == b"b";
    if base64 {
        word = token::next(&mut flags);
    }
    let key = read_key(key, base64).map_err(|_| Refusal::loud(BAD_FORMAT))?;
    Ok(Request::MetaDebug(MetaDebug { key, version: word == b"V" }))
}

/// `mn [V]`; what else follows is not looked at.
pub(crate) fn decode_noop<'a>(mut text: &[u8]) -> Request<'a> {
    match token::next_short(&mut text) {
        b"V" => Request::MetaNoopVersions,
        _ => Request::MetaNoop,
    }
}

/// Any meta request without a value.
pub(crate) fn encode(command: &[u8], key: &MetaKey<'_>, flags: MetaFlags<'_>, out: &mut BytesMut) {
    out.reserve(command.len() + key.bytes.len() * 4 / 3 + flags.0.len() + 8);
    out.extend_from_slice(command);
    key.encode(out);
    encode_flags(flags, out);
}

pub(crate) fn encode_set(set: &MetaSet<'_>, out: &mut BytesMut) {
    out.reserve(set.key.bytes.len() * 4 / 3 + set.flags.0.len() + set.value.len() + 36);
    out.extend_from_slice(b"ms ");
    set.key.encode(out);
    out.extend_from_slice(b" ");
    encode::unsigned(out, set.value.len() as u64);
    encode_flags(set.flags, out);
    out.extend_from_slice(set.value);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn encode_debug(debug: &MetaDebug<'_>, out: &mut BytesMut) {
    let flags: &[u8] = match (debug.key.base64, debug.version) {
        (false, false) => b"",
        (true, false) => b"b",
        (false, true) => b"V",
        (true, true) => b"b V",
    };
    encode(b"me ", &debug.key, MetaFlags(flags), out);
}

fn encode_flags(flags: MetaFlags<'_>, out: &mut BytesMut) {
    if !flags.0.is_empty() {
        out.extend_from_slice(b" ");
        out.extend_from_slice(flags.0);
    }
    out.extend_from_slice(b"\r\n");
}
