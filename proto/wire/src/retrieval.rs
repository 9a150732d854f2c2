//! `get`, `gets`, `gat`, `gats`.

use bytes::BytesMut;

use crate::decoder::Line;
use crate::encode;
use crate::error_lines::{BAD_FORMAT, INVALID_EXPTIME, Refusal, UNKNOWN_COMMAND};
use crate::exptime::Exptime;
use crate::request::{Get, Keys, Request};
use crate::token;

/// `get <key>*`
#[inline]
pub(crate) fn decode(text: &[u8], with_cas: bool) -> Line<'_> {
    match Keys::of_line(text) {
        Some(keys) => Line::Request(Request::Get(Get { keys, with_cas, touch: None })),
        None => refuse(text),
    }
}

/// `gat <exptime> <key>*`
pub(crate) fn decode_touch(mut text: &[u8], with_cas: bool) -> Line<'_> {
    let word = token::next(&mut text);
    if word.is_empty() {
        return Refusal::loud(UNKNOWN_COMMAND).into();
    }
    let Some(exptime) = token::i64(word) else { return Refusal::loud(INVALID_EXPTIME).into() };
    let none = Keys(&[]);
    match Keys::of_line(text).or_else(|| token::trim(text).is_empty().then_some(none)) {
        Some(keys) => Line::Request(Request::Get(Get { keys, with_cas, touch: Some(Exptime(exptime)) })),
        None => refuse(text),
    }
}

/// No key is a wrong number of words. One key too long refuses all of the line, hits before it included.
#[cold]
fn refuse(text: &[u8]) -> Line<'_> {
    let line = if token::trim(text).is_empty() { UNKNOWN_COMMAND } else { BAD_FORMAT };
    Refusal::loud(line).into()
}

pub(crate) fn encode(get: &Get<'_>, out: &mut BytesMut) {
    out.extend_from_slice(match (get.touch.is_some(), get.with_cas) {
        (false, false) => b"get",
        (false, true) => b"gets",
        (true, false) => b"gat",
        (true, true) => b"gats",
    });
    if let Some(exptime) = get.touch {
        out.extend_from_slice(b" ");
        encode::signed(out, exptime.0);
    }
    match get.keys.as_bytes() {
        [] => {}
        text => {
            out.extend_from_slice(b" ");
            out.extend_from_slice(text);
        }
    }
    out.extend_from_slice(b"\r\n");
}
