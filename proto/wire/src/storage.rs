//! `set`, `add`, `replace`, `append`, `prepend`, `cas`; and what every command with a value shares.

use std::borrow::Cow;

use bytes::BytesMut;

use crate::decoder::{Line, ValueHeader};
use crate::encode;
use crate::error_lines::{BAD_DATA_CHUNK, BAD_FORMAT, Refusal, TOO_LARGE, UNKNOWN_COMMAND};
use crate::exptime::Exptime;
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_ANNOUNCED_MAX};
use crate::request::{MetaKey, Request, Set, SetMode, TooLarge};
use crate::token;

/// `<key> <flags> <exptime> <bytes> [noreply]` of a plain `set` in the form that clients use: one space between words,
/// numbers of digits alone, and not more than nine of them. `None` sends it the general way, whatever is the matter.
#[inline]
pub(crate) fn plain(text: &[u8]) -> Option<(Set<'_>, usize)> {
    let (key, mut rest) = text.split_at(token::word_end(text));
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return None;
    }
    let flags = token::next_plain(&mut rest)?;
    let exptime = Exptime(i64::from(token::next_plain(&mut rest)?));
    let bytes = token::next_plain(&mut rest)? as usize;
    let noreply = match rest {
        b"" => false,
        b" noreply" => true,
        _ => return None,
    };
    Some((Set { key, mode: SetMode::Set, compare: None, flags, exptime, value: &[], noreply }, bytes))
}

/// `set <key> <flags> <exptime> <bytes> [noreply]`
pub(crate) fn decode(text: &[u8], mode: SetMode) -> Line<'_> {
    let (words, count) = token::words::<5>(text);
    if !(4..=5).contains(&count) {
        return Refusal::loud(UNKNOWN_COMMAND).into();
    }
    let noreply = words[count - 1] == b"noreply";
    let [key, flags, exptime, bytes, _] = words;
    let header = header([key, flags, exptime, bytes], mode, noreply);
    header.map_or_else(|| bad_format(noreply), Line::Value)
}

/// `cas <key> <flags> <exptime> <bytes> <cas unique> [noreply]`
pub(crate) fn decode_cas(text: &[u8]) -> Line<'_> {
    let (words, count) = token::words::<6>(text);
    if !(5..=6).contains(&count) {
        return Refusal::loud(UNKNOWN_COMMAND).into();
    }
    let noreply = words[count - 1] == b"noreply";
    let [key, flags, exptime, bytes, unique, _] = words;
    let Some(mut header) = header([key, flags, exptime, bytes], SetMode::Set, noreply) else {
        return bad_format(noreply);
    };
    let Some(unique) = token::u64(unique) else { return bad_format(noreply) };
    if let Request::Set(set) = &mut header.request {
        set.compare = Some(unique);
    }
    Line::Value(header)
}

/// The words that all of them share. memcached does not swallow the value when one of these is wrong.
#[inline]
fn header<'a>(words: [&'a [u8]; 4], mode: SetMode, noreply: bool) -> Option<ValueHeader<'a>> {
    let [key, flags, exptime, bytes] = words;
    if key.len() > KEY_BYTES_MAX {
        return None;
    }
    let set = Set {
        key,
        mode,
        compare: None,
        flags: token::client_flags(flags)?,
        exptime: Exptime(token::i64(exptime)?),
        value: &[],
        noreply,
    };
    Some(ValueHeader { request: Request::Set(set), bytes: value_bytes(bytes)? })
}

/// The length of a value, when it may be announced at all.
#[inline]
pub(crate) fn value_bytes(word: &[u8]) -> Option<usize> {
    announced(token::i64(word)?)
}

/// The same of `ms`.
#[inline]
pub(crate) fn meta_value_bytes(word: &[u8]) -> Option<usize> {
    announced(token::plain_i64(word)?)
}

#[inline]
fn announced(bytes: i64) -> Option<usize> {
    if bytes > VALUE_BYTES_ANNOUNCED_MAX {
        return None;
    }
    usize::try_from(bytes).ok()
}

fn bad_format<'a>(silent: bool) -> Line<'a> {
    Refusal::text(BAD_FORMAT, silent).into()
}

/// What becomes of a store command whose value is beyond the limit.
#[cold]
pub(crate) fn too_large(request: Request<'_>) -> Request<'_> {
    match request {
        Request::Set(set) => Request::TooLarge(TooLarge {
            key: MetaKey { bytes: Cow::Borrowed(set.key), base64: false },
            drop_item: set.mode == SetMode::Set && set.compare.is_none(),
            version: None,
            refusal: Refusal::text(TOO_LARGE, set.noreply),
        }),
        Request::MetaSet(set) => Request::TooLarge(TooLarge {
            key: set.key,
            drop_item: true,
            version: set.version,
            refusal: Refusal::loud(TOO_LARGE),
        }),
        other => other,
    }
}

/// The refusal of a value that does not end where it should. `noreply` silences it, `q` does not.
#[cold]
pub(crate) fn bad_data_chunk(request: &Request<'_>) -> Refusal {
    Refusal::text(BAD_DATA_CHUNK, request.is_noreply())
}

pub(crate) fn encode(set: &Set<'_>, out: &mut BytesMut) {
    out.reserve(set.key.len() + set.value.len() + 80);
    out.extend_from_slice(match (set.compare, set.mode) {
        (Some(_), _) => b"cas ",
        (None, SetMode::Set) => b"set ",
        (None, SetMode::Add) => b"add ",
        (None, SetMode::Replace) => b"replace ",
        (None, SetMode::Append) => b"append ",
        (None, SetMode::Prepend) => b"prepend ",
    });
    out.extend_from_slice(set.key);
    out.extend_from_slice(b" ");
    encode::unsigned(out, u64::from(set.flags));
    out.extend_from_slice(b" ");
    encode::signed(out, set.exptime.0);
    out.extend_from_slice(b" ");
    encode::unsigned(out, set.value.len() as u64);
    if let Some(unique) = set.compare {
        out.extend_from_slice(b" ");
        encode::unsigned(out, unique);
    }
    encode::noreply(out, set.noreply);
    out.extend_from_slice(set.value);
    out.extend_from_slice(b"\r\n");
}
