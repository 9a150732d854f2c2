//! Replies, as a server writes them: each function appends to the output.
//!
//! They do not look at whether the command is quiet: whoever executes it knows what became of it.

use memchr::memchr;

use crate::MEMCACHED_VERSION;
use crate::append::Append;

use super::{BinaryHead, BinaryStatus, HEADER_BYTES, REPLY_MAGIC};

/// A hit: the header, the flags and, unless empty, the key. The value follows from the caller, without a line end.
///
/// With `value_bytes` 0 and no key it is the answer to `touch`.
#[inline]
pub fn hit_header(
    out: &mut impl Append,
    head: BinaryHead,
    cas: u64,
    flags: u32,
    key: &[u8],
    value_bytes: usize,
) {
    let mut bytes = [0; HEADER_BYTES + 4];
    let (header, extras) = bytes.split_at_mut(HEADER_BYTES);
    header.copy_from_slice(&self::header(
        head,
        BinaryStatus::Ok,
        cas,
        Body { extras: 4, key: key.len(), value: value_bytes },
    ));
    extras.copy_from_slice(&flags.to_be_bytes());
    out.make_room(bytes.len() + key.len());
    out.append(&bytes);
    out.append(key);
}

/// Done, with nothing to tell but the item's CAS token, 0 where there is none.
#[inline]
pub fn done(out: &mut impl Append, head: BinaryHead, cas: u64) {
    out.append(&header(head, BinaryStatus::Ok, cas, Body::default()));
}

/// A miss that is told with the key, as `getk` and `gatk` do. The others are answered by [`error`].
pub fn miss_of_key(out: &mut impl Append, head: BinaryHead, key: &[u8]) {
    out.append(&header(head, BinaryStatus::NotFound, 0, Body { key: key.len(), ..Body::default() }));
    out.append(key);
}

/// The answer of `incr` and `decr`.
pub fn number(out: &mut impl Append, head: BinaryHead, number: u64, cas: u64) {
    out.append(&header(head, BinaryStatus::Ok, cas, Body { value: 8, ..Body::default() }));
    out.append(&number.to_be_bytes());
}

/// Done, and this is the answer: a version, a list of ways to authenticate.
pub fn text(out: &mut impl Append, head: BinaryHead, text: &str) {
    with_text(out, head, BinaryStatus::Ok, text);
}

/// The answer to `version`: the memcached release we match.
pub fn version(out: &mut impl Append, head: BinaryHead) {
    text(out, head, MEMCACHED_VERSION);
}

/// The statistics that a server tells in text, lines and all: both protocols tell the same. What is no statistic and no
/// good end is memcached's answer to an argument that it does not know.
pub fn stats_of_text(out: &mut impl Append, head: BinaryHead, text: &[u8]) {
    for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end) {
        match line.strip_prefix(b"STAT ") {
            Some(told) => {
                let end = memchr(b' ', told).unwrap_or(told.len());
                let (name, value) = (&told[..end], told.get(end + 1..).unwrap_or_default());
                append_stat(out, head, name, value);
            }
            None if line.is_empty() => {}
            None if line == b"END" || line == b"RESET" => done(out, head, 0),
            None => error(out, head, BinaryStatus::NotFound),
        }
    }
}

/// A status other than [`BinaryStatus::Ok`], with its usual text.
pub fn error(out: &mut impl Append, head: BinaryHead, status: BinaryStatus) {
    with_text(out, head, status, status.text());
}

/// A status with a text of the caller's.
pub fn with_text(out: &mut impl Append, head: BinaryHead, status: BinaryStatus, text: &str) {
    out.append(&header(head, status, 0, Body { value: text.len(), ..Body::default() }));
    out.append(text.as_bytes());
}

fn append_stat(out: &mut impl Append, head: BinaryHead, name: &[u8], value: &[u8]) {
    let body = Body { extras: 0, key: name.len(), value: value.len() };
    out.append(&header(head, BinaryStatus::Ok, 0, body));
    out.append(name);
    out.append(value);
}

/// Lengths of the parts of a body.
#[derive(Clone, Copy, Default)]
struct Body {
    extras: u8,
    key: usize,
    value: usize,
}

#[inline]
fn header(head: BinaryHead, status: BinaryStatus, cas: u64, body: Body) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[0] = REPLY_MAGIC;
    bytes[1] = head.opcode;
    bytes[2..4].copy_from_slice(&(body.key as u16).to_be_bytes());
    bytes[4] = body.extras;
    bytes[6..8].copy_from_slice(&status.code().to_be_bytes());
    let length = usize::from(body.extras) + body.key + body.value;
    bytes[8..12].copy_from_slice(&(length as u32).to_be_bytes());
    bytes[12..16].copy_from_slice(&head.opaque.to_be_bytes());
    bytes[16..24].copy_from_slice(&cas.to_be_bytes());
    bytes
}
