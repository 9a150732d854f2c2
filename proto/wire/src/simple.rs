//! The classic commands of one line: arithmetic, `touch`, `delete`, `flush_all`, and the small ones.

use bytes::BytesMut;

use crate::decoder::Line;
use crate::encode;
use crate::error_lines::{BAD_DELETE, BAD_FORMAT, INVALID_DELTA, INVALID_EXPTIME, Refusal, UNKNOWN_COMMAND};
use crate::exptime::Exptime;
use crate::limits::KEY_BYTES_MAX;
use crate::operator;
use crate::request::{Arithmetic, Delete, Direction, FlushAll, Request, Touch, Verbosity};
use crate::token;

const NOREPLY: &[u8] = b"noreply";

/// The commands that are neither retrieval, storage nor meta.
pub(crate) fn decode<'a>(command: &'a [u8], rest: &'a [u8]) -> Line<'a> {
    let request = match command {
        b"incr" => decode_arithmetic(rest, Direction::Increment),
        b"decr" => decode_arithmetic(rest, Direction::Decrement),
        b"touch" => decode_touch(rest),
        b"delete" => decode_delete(rest),
        b"flush_all" => decode_flush_all(rest),
        b"verbosity" => decode_verbosity(rest),
        b"stats" => Ok(Request::Stats(token::trim(rest))),
        b"version" => Ok(Request::Version),
        b"quit" => Ok(Request::Quit),
        b"lru_crawler" => operator::decode_crawler(rest),
        b"watch" => operator::decode_watch(rest),
        b"shutdown" => Ok(Request::Shutdown(operator::decode_shutdown(rest))),
        b"config" => operator::decode_config(rest),
        _ if is_http(command, rest) => return Line::Foreign,
        _ => Err(Refusal::loud(UNKNOWN_COMMAND)),
    };
    request.into()
}

/// A browser, or something that was talked into being one: memcached hangs up on `... HTTP/`. What follows would be
/// headers and a body that somebody else chose.
#[cold]
fn is_http(command: &[u8], rest: &[u8]) -> bool {
    let last = token::trim(rest).rsplit(|byte| *byte == b' ').next().filter(|word| !word.is_empty());
    last.unwrap_or(command).starts_with(b"HTTP/")
}

/// Two or three words, the last possibly `noreply`; a key that is not too long. What a third word says is not looked at.
fn key_and_argument(text: &[u8]) -> Result<(&[u8], &[u8], bool), Refusal> {
    let (words, count) = token::words::<3>(text);
    if !(2..=3).contains(&count) {
        return Err(Refusal::loud(UNKNOWN_COMMAND));
    }
    let silent = words[count - 1] == NOREPLY;
    if words[0].len() > KEY_BYTES_MAX {
        return Err(Refusal::text(BAD_FORMAT, silent));
    }
    Ok((words[0], words[1], silent))
}

/// `incr <key> <value> [noreply]`
fn decode_arithmetic(text: &[u8], direction: Direction) -> Result<Request<'_>, Refusal> {
    let (key, delta, noreply) = key_and_argument(text)?;
    let delta = token::u64(delta).ok_or(Refusal::text(INVALID_DELTA, noreply))?;
    Ok(Request::Arithmetic(Arithmetic { key, direction, delta, noreply }))
}

pub(crate) fn encode_arithmetic(arithmetic: &Arithmetic<'_>, out: &mut BytesMut) {
    out.extend_from_slice(match arithmetic.direction {
        Direction::Increment => b"incr ",
        Direction::Decrement => b"decr ",
    });
    out.extend_from_slice(arithmetic.key);
    out.extend_from_slice(b" ");
    encode::unsigned(out, arithmetic.delta);
    encode::noreply(out, arithmetic.noreply);
}

/// `touch <key> <exptime> [noreply]`
fn decode_touch(text: &[u8]) -> Result<Request<'_>, Refusal> {
    let (key, exptime, noreply) = key_and_argument(text)?;
    let exptime = token::i64(exptime).ok_or(Refusal::text(INVALID_EXPTIME, noreply))?;
    Ok(Request::Touch(Touch { key, exptime: Exptime(exptime), noreply }))
}

pub(crate) fn encode_touch(touch: &Touch<'_>, out: &mut BytesMut) {
    out.extend_from_slice(b"touch ");
    out.extend_from_slice(touch.key);
    out.extend_from_slice(b" ");
    encode::signed(out, touch.exptime.0);
    encode::noreply(out, touch.noreply);
}

/// `delete <key> [0] [noreply]`; the 0 is a delay that no longer exists.
fn decode_delete(text: &[u8]) -> Result<Request<'_>, Refusal> {
    let (words, count) = token::words::<3>(text);
    if !(1..=3).contains(&count) {
        return Err(Refusal::loud(UNKNOWN_COMMAND));
    }
    let no_delay = words[1] == b"0";
    let noreply = count > 1 && words[count - 1] == NOREPLY;
    let valid = match count {
        1 => true,
        2 => no_delay || noreply,
        _ => no_delay && noreply,
    };
    if !valid {
        return Err(Refusal::text(BAD_DELETE, noreply));
    }
    if words[0].len() > KEY_BYTES_MAX {
        return Err(Refusal::text(BAD_FORMAT, noreply));
    }
    Ok(Request::Delete(Delete { key: words[0], noreply }))
}

pub(crate) fn encode_delete(delete: &Delete<'_>, out: &mut BytesMut) {
    out.extend_from_slice(b"delete ");
    out.extend_from_slice(delete.key);
    encode::noreply(out, delete.noreply);
}

/// `flush_all [exptime] [noreply]`
fn decode_flush_all(text: &[u8]) -> Result<Request<'_>, Refusal> {
    let (words, count) = token::words::<2>(text);
    if count > 2 {
        return Err(Refusal::loud(UNKNOWN_COMMAND));
    }
    let noreply = count > 0 && words[count - 1] == NOREPLY;
    let mut delay = None;
    if count > usize::from(noreply) {
        let secs = token::i64(words[0]).ok_or(Refusal::text(INVALID_EXPTIME, noreply))?;
        delay = (secs > 0).then_some(Exptime(secs));
    }
    Ok(Request::FlushAll(FlushAll { delay, noreply }))
}

pub(crate) fn encode_flush_all(flush: FlushAll, out: &mut BytesMut) {
    out.extend_from_slice(b"flush_all");
    if let Some(delay) = flush.delay {
        out.extend_from_slice(b" ");
        encode::signed(out, delay.0);
    }
    encode::noreply(out, flush.noreply);
}

/// `verbosity <level> [noreply]`
fn decode_verbosity<'a>(text: &[u8]) -> Result<Request<'a>, Refusal> {
    let (words, count) = token::words::<2>(text);
    if !(1..=2).contains(&count) {
        return Err(Refusal::loud(UNKNOWN_COMMAND));
    }
    let noreply = words[count - 1] == NOREPLY;
    token::u64(words[0]).ok_or(Refusal::text(BAD_FORMAT, noreply))?;
    Ok(Request::Verbosity(Verbosity { noreply }))
}

pub(crate) fn encode_verbosity(verbosity: Verbosity, out: &mut BytesMut) {
    out.extend_from_slice(b"verbosity 0");
    encode::noreply(out, verbosity.noreply);
}

pub(crate) fn encode_stats(argument: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(b"stats");
    if !argument.is_empty() {
        out.extend_from_slice(b" ");
        out.extend_from_slice(argument);
    }
    out.extend_from_slice(b"\r\n");
}
