//! The reply decoder.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use thiserror::Error;

use crate::limits::{REPLY_LINE_BYTES_MAX, REPLY_VALUE_BYTES_MAX, REPLY_VALUES_MAX};
use crate::reply::{ErrorReply, MetaReply, MetaStatus, Reply, Status, Value};
use crate::token;

// Enough to recognise what came, short enough for a log line.
const EXCERPT_BYTES_MAX: usize = 64;

// Any number of so many digits fits 64 bits.
const USUAL_DIGITS_MAX: usize = 19;

// Room made ahead for the values of a retrieval: a few kilobytes.
const USUAL_VALUES_MAX: usize = 64;

/// The kind of answer the oldest outstanding request has; see [`Request::expect`](crate::Request::expect).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expect {
    /// Values up to `END`.
    Retrieval,
    /// Statistics up to `END`, or the one word that some arguments of `stats` answer.
    Stats,
    /// One classic line.
    Line,
    /// One meta answer.
    Meta,
}

/// What came is no answer to the request. The peer is at fault; the connection must be closed, since where the next
/// answer begins is not known. Whether an outstanding write was done is not known either.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// A line that is no answer to the request.
    #[error("unexpected reply line {excerpt:?}; check that the peer speaks the memcached text protocol")]
    Unexpected {
        /// Its beginning.
        excerpt: Bytes,
    },
    /// A line without an end.
    #[error("reply line is longer than {REPLY_LINE_BYTES_MAX} bytes; check what listens at this address")]
    LineTooLong,
    /// A value longer than any server stores.
    #[error("reply announces a value of {bytes} bytes; check what listens at this address")]
    ValueTooLarge {
        /// The length announced.
        bytes: u64,
    },
    /// A value that does not end where its length says.
    #[error("value does not end where its length says; the connection lost its place")]
    BadDataChunk,
    /// More values or statistics than any request asks for.
    #[error("reply holds more than {REPLY_VALUES_MAX} values; check what listens at this address")]
    TooManyValues,
}

/// Decodes replies from a stream of bytes. Values are split off the input, not copied.
///
/// Remembers the values and statistics of the reply in progress.
#[derive(Debug, Default)]
pub struct ReplyDecoder {
    values: Vec<Value>,
    stats: Vec<(Bytes, Bytes)>,
    /// As many as the last retrieval found: the next one finds about as many.
    usual_values: usize,
    missing: usize,
}

/// One step through the input.
enum Step {
    /// The reply is whole.
    Done(Reply),
    /// A part was taken; go on.
    More,
    /// The input ends first.
    Short,
}

impl ReplyDecoder {
    /// A decoder at the start of a connection.
    pub fn new() -> ReplyDecoder {
        ReplyDecoder::default()
    }

    /// Decodes the reply at the front of `input`, taking what it uses. `None` when more bytes are needed.
    ///
    /// `expect` must stay the same until the reply is whole.
    ///
    /// # Errors
    ///
    /// The peer broke the protocol: see [`ReplyError`]. The decoder is of no use then.
    pub fn decode(&mut self, input: &mut BytesMut, expect: Expect) -> Result<Option<Reply>, ReplyError> {
        loop {
            match self.step(input, expect)? {
                Step::Done(reply) => {
                    self.missing = 0;
                    return Ok(Some(reply));
                }
                Step::More => {}
                Step::Short => return Ok(None),
            }
        }
    }

    /// After a `None`: at least this many more bytes are needed; exact when the length of a value is known.
    pub fn missing(&self) -> usize {
        self.missing.max(1)
    }

    fn step(&mut self, input: &mut BytesMut, expect: Expect) -> Result<Step, ReplyError> {
        if expect == Expect::Retrieval
            && let Some(header) = Header::usual(input)
        {
            return self.value(input, header);
        }
        let Some(end) = memchr(b'\n', input) else {
            self.missing = 1;
            return if input.len() > REPLY_LINE_BYTES_MAX {
                Err(ReplyError::LineTooLong)
            } else {
                Ok(Step::Short)
            };
        };
        if end > REPLY_LINE_BYTES_MAX {
            return Err(ReplyError::LineTooLong);
        }
        match expect {
            Expect::Retrieval => self.retrieval(input, end),
            Expect::Stats => self.stats(input, end),
            Expect::Line => Ok(Step::Done(line_reply(&take_line(input, end))?)),
            Expect::Meta => self.meta(input, end),
        }
    }

    fn retrieval(&mut self, input: &mut BytesMut, end: usize) -> Result<Step, ReplyError> {
        if !input.starts_with(VALUE) {
            let line = take_line(input, end);
            let values = std::mem::take(&mut self.values);
            self.usual_values = values.len().min(USUAL_VALUES_MAX);
            return match &line[..] {
                b"END" => Ok(Step::Done(Reply::Values(values))),
                _ => error_reply(&line).map(Step::Done).ok_or_else(|| unexpected(&line)),
            };
        }
        let header = Header::of(&input[..=end]).ok_or_else(|| unexpected(&input[..end]))?;
        self.value(input, header)
    }

    /// Takes the value that `header` announces.
    #[inline]
    fn value(&mut self, input: &mut BytesMut, header: Header) -> Result<Step, ReplyError> {
        let Header { key, line_bytes, flags, bytes, cas } = header;
        let Some(text) = self.take_value(input, line_bytes, bytes)? else { return Ok(Step::Short) };
        if self.values.len() == REPLY_VALUES_MAX {
            return Err(ReplyError::TooManyValues);
        }
        if self.values.is_empty() {
            self.values.reserve(self.usual_values);
        }
        self.values.push(Value::of_text(text, key, line_bytes, (flags as u32, cas)));
        Ok(Step::More)
    }

    fn stats(&mut self, input: &mut BytesMut, end: usize) -> Result<Step, ReplyError> {
        let line = take_line(input, end);
        if let Some(text) = line.strip_prefix(b"STAT ") {
            if self.stats.len() == REPLY_VALUES_MAX {
                return Err(ReplyError::TooManyValues);
            }
            let name = memchr(b' ', text).unwrap_or(text.len());
            let value = (5 + name + 1).min(line.len());
            self.stats.push((line.slice(5..5 + name), line.slice(value..)));
            return Ok(Step::More);
        }
        let stats = std::mem::take(&mut self.stats);
        if &line[..] == b"END" {
            return Ok(Step::Done(Reply::Stats(stats)));
        }
        line_reply(&line).map(Step::Done)
    }

    fn meta(&mut self, input: &mut BytesMut, end: usize) -> Result<Step, ReplyError> {
        let line = without_line_end(&input[..end]);
        let Some(status) = line.get(..2).and_then(MetaStatus::from_letters) else {
            let line = take_line(input, end);
            return error_reply(&line).map(Step::Done).ok_or_else(|| unexpected(&line));
        };
        // The letters must be a word of their own.
        if line.len() > 2 && line[2] != b' ' {
            let line = take_line(input, end);
            return error_reply(&line).map(Step::Done).ok_or_else(|| unexpected(&line));
        }
        if status != MetaStatus::Value {
            let flags = rest_of(&take_line(input, end), 2);
            return Ok(Step::Done(Reply::Meta(MetaReply { status, value: None, flags })));
        }
        let mut rest = &line[2..];
        let word = token::next(&mut rest);
        let flags_start = line.len() - rest.len();
        let Some(bytes) = token::plain_u64(word) else { return Err(unexpected(line)) };
        let Some(mut line) = self.take_value(input, end + 1, bytes)? else { return Ok(Step::Short) };
        let data = line.slice(end + 1..);
        line.truncate(without_line_end(&line[..end]).len());
        let flags = rest_of(&line, flags_start);
        Ok(Step::Done(Reply::Meta(MetaReply { status, value: Some(data), flags })))
    }

    /// Splits off a line of so many bytes that announces a value, and the value, without its end; `None` while it has not
    /// all arrived.
    #[inline]
    fn take_value(
        &mut self,
        input: &mut BytesMut,
        line_bytes: usize,
        bytes: u64,
    ) -> Result<Option<Bytes>, ReplyError> {
        let length = usize::try_from(bytes).ok().filter(|length| *length <= REPLY_VALUE_BYTES_MAX);
        let Some(length) = length else { return Err(ReplyError::ValueTooLarge { bytes }) };
        let data_end = line_bytes + length;
        let total = data_end + 2;
        if input.len() < total {
            self.missing = total - input.len();
            return Ok(None);
        }
        if &input[data_end..total] != b"\r\n" {
            return Err(ReplyError::BadDataChunk);
        }
        let mut taken = input.split_to(total);
        taken.truncate(data_end);
        Ok(Some(taken.freeze()))
    }
}

/// What begins the announcement of a value.
const VALUE: &[u8] = b"VALUE ";

/// What announces a value.
struct Header {
    key: Range<usize>,
    /// Of the line, with its end.
    line_bytes: usize,
    flags: u64,
    bytes: u64,
    cas: Option<u64>,
}

impl Header {
    /// Reads one with single spaces, as servers write it, off the front of `input`. `None` for any other, and when the
    /// input ends first.
    #[inline]
    fn usual(input: &[u8]) -> Option<Header> {
        let line = &input[..input.len().min(REPLY_LINE_BYTES_MAX)];
        let text = line.strip_prefix(VALUE)?;
        let key_bytes = token::graphic_end(text);
        let mut rest = &text[key_bytes..];
        let (flags, bytes) = (usual_number(&mut rest)?, usual_number(&mut rest)?);
        let cas = if rest.starts_with(b"\r") { None } else { Some(usual_number(&mut rest)?) };
        let is_whole = key_bytes > 0 && rest.starts_with(b"\r\n");
        let line_bytes = line.len() - rest.len() + 2;
        is_whole.then_some(Header {
            key: VALUE.len()..VALUE.len() + key_bytes,
            line_bytes,
            flags,
            bytes,
            cas,
        })
    }

    /// Reads any, from a line with its `\n`.
    fn of(line: &[u8]) -> Option<Header> {
        let text = without_line_end(&line[..line.len() - 1]).strip_prefix(VALUE)?;
        let (words, count) = token::words::<4>(text);
        let cas = match count {
            3 => None,
            4 => Some(token::plain_u64(words[3])?),
            _ => return None,
        };
        let start = VALUE.len() + text.iter().take_while(|byte| **byte == b' ').count();
        let (flags, bytes) = (token::plain_u64(words[1])?, token::plain_u64(words[2])?);
        Some(Header { key: start..start + words[0].len(), line_bytes: line.len(), flags, bytes, cas })
    }
}

/// Takes a space and the number behind it, if that is short enough for 64 bits in any case.
#[inline]
fn usual_number(rest: &mut &[u8]) -> Option<u64> {
    let digits = rest.strip_prefix(b" ")?;
    let (mut number, mut count) = (0, 0);
    while let Some(digit) = digits.get(count).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)
    {
        if count == USUAL_DIGITS_MAX {
            return None;
        }
        number = number * 10 + u64::from(digit);
        count += 1;
    }
    *rest = &digits[count..];
    (count > 0).then_some(number)
}

/// Splits off the line whose `\n` is at `end`, without its end.
fn take_line(input: &mut BytesMut, end: usize) -> Bytes {
    let mut line = input.split_to(end + 1);
    let length = without_line_end(&line[..end]).len();
    line.truncate(length);
    line.freeze()
}

fn without_line_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What follows byte `start` of a line, without the spaces before it.
fn rest_of(line: &Bytes, start: usize) -> Bytes {
    let spaces = line[start..].iter().take_while(|byte| **byte == b' ').count();
    line.slice(start + spaces..)
}

fn line_reply(line: &Bytes) -> Result<Reply, ReplyError> {
    if let Some(status) = Status::from_word(line) {
        return Ok(Reply::Status(status));
    }
    if line.starts_with(b"VERSION ") {
        return Ok(Reply::Version(line.slice(8..)));
    }
    if let Some(number) = token::plain_u64(token::trim(line)) {
        return Ok(Reply::Number(number));
    }
    error_reply(line).ok_or_else(|| unexpected(line))
}

fn error_reply(line: &Bytes) -> Option<Reply> {
    let error = match &line[..] {
        b"ERROR" => ErrorReply::Unknown,
        text if text.starts_with(b"CLIENT_ERROR") => ErrorReply::Client(rest_of(line, 12)),
        text if text.starts_with(b"SERVER_ERROR") => ErrorReply::Server(rest_of(line, 12)),
        // memcached has a few of these: "ERROR Too many open connections".
        text if text.starts_with(b"ERROR ") => ErrorReply::Server(rest_of(line, 6)),
        _ => return None,
    };
    Some(Reply::Error(error))
}

fn unexpected(line: &[u8]) -> ReplyError {
    let line = without_line_end(line);
    let excerpt = &line[..line.len().min(EXCERPT_BYTES_MAX)];
    ReplyError::Unexpected { excerpt: Bytes::copy_from_slice(excerpt) }
}
