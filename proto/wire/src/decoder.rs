//! The request decoder: tells the protocols apart, finds the line, picks the command, keeps count of what must be
//! swallowed.

use memchr::memchr;

use crate::error_lines::{LINE_TOO_LONG, Refusal, UNKNOWN_COMMAND};
use crate::limits::{COMMAND_LINE_BYTES_MAX, LEADING_SPACES_MAX, Limits};
use crate::request::{Get, Keys, Request, Set, SetMode};
use crate::{binary, meta, retrieval, simple, storage, token};

/// Decodes requests from a stream of bytes, whose first byte says which protocol it speaks to its end.
///
/// All it remembers is which that is, how many bytes of a refused value are still to be swallowed, and how much of a
/// long line has no end in it, so the caller may show it the unconsumed input again and again, as far as it has arrived.
#[derive(Debug, Clone, Default)]
pub struct RequestDecoder {
    limits: Limits,
    protocol: Protocol,
    swallow: usize,
    /// Bytes at the front of the input that were searched for a line end in vain; 0 while they are few.
    searched: usize,
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Protocol {
    /// Nothing yet.
    #[default]
    Undecided,
    /// Classic text and meta.
    Text,
    Binary,
}

/// What [`RequestDecoder::decode`] found at the front of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A request; the next one begins `consumed` bytes later.
    Request {
        /// The request.
        request: Request<'a>,
        /// Bytes it took, at least 1.
        consumed: usize,
    },
    /// A request that was wrong. Answer, and go on behind it.
    Refused {
        /// The answer.
        refusal: Refusal,
        /// Bytes it took, at least 1.
        consumed: usize,
    },
    /// Bytes of a refused value. Nothing to answer.
    Skipped {
        /// How many, at least 1.
        consumed: usize,
    },
    /// No whole request yet.
    Incomplete {
        /// At least this many more bytes are needed, 1 or more; exact once the line that announces a value is there.
        missing: usize,
    },
    /// Answer, then close: where the next request would begin is not known.
    Fatal {
        /// The answer.
        refusal: Refusal,
    },
}

/// A line, understood.
pub(crate) enum Line<'a> {
    /// A whole request.
    Request(Request<'a>),
    /// A request that carries a value.
    Value(ValueHeader<'a>),
    /// Refused, and this many bytes behind the line are to be swallowed.
    Refused(Refusal, usize),
    /// Not the memcached protocol: close without a word.
    Foreign,
}

/// A request that lacks only its value.
pub(crate) struct ValueHeader<'a> {
    /// The request with an empty value.
    pub(crate) request: Request<'a>,
    /// Length of the value.
    pub(crate) bytes: usize,
}

impl<'a> From<Refusal> for Line<'a> {
    fn from(refusal: Refusal) -> Line<'a> {
        Line::Refused(refusal, 0)
    }
}

impl<'a> From<Result<Request<'a>, Refusal>> for Line<'a> {
    #[inline]
    fn from(read: Result<Request<'a>, Refusal>) -> Line<'a> {
        match read {
            Ok(request) => Line::Request(request),
            Err(refusal) => refusal.into(),
        }
    }
}

impl RequestDecoder {
    /// A decoder at the start of a connection.
    pub fn new(limits: Limits) -> RequestDecoder {
        RequestDecoder { limits, protocol: Protocol::Undecided, swallow: 0, searched: 0 }
    }

    /// A decoder for the same connection, between two requests, with other limits.
    #[must_use]
    pub fn with_limits(&self, limits: Limits) -> RequestDecoder {
        RequestDecoder { protocol: self.protocol, ..RequestDecoder::new(limits) }
    }

    /// The connection speaks the binary protocol. Known from its first byte on.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.protocol == Protocol::Binary
    }

    /// Decodes what is at the front of `input`: everything received and not yet consumed.
    #[inline]
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Decoded<'a> {
        if self.protocol == Protocol::Text
            && self.swallow == 0
            && self.searched == 0
            && let Some(end) = memchr(b'\n', input)
            && end <= COMMAND_LINE_BYTES_MAX
        {
            // What most requests are goes straight out, past the general way.
            match cut(&input[..end]) {
                [b'g', b'e', b't', b' ', text @ ..] => {
                    if let Some(keys) = Keys::of_line(text) {
                        let get = Get { keys, with_cas: false, touch: None };
                        return Decoded::Request { request: Request::Get(get), consumed: end + 1 };
                    }
                }
                [b's', b'e', b't', b' ', text @ ..] => {
                    if let Some((set, bytes)) = storage::plain(text)
                        && let Some(value) = self.whole_value(input, end + 1, bytes)
                    {
                        let set = Set { value, ..set };
                        return Decoded::Request { request: Request::Set(set), consumed: end + bytes + 3 };
                    }
                }
                [b'm', b'g', b' ', text @ ..] => {
                    if let Some(get) = meta::plain_get(text) {
                        return Decoded::Request { request: Request::MetaGet(get), consumed: end + 1 };
                    }
                }
                _ => {}
            }
        }
        self.decode_any(input)
    }

    /// The general way.
    #[inline(never)]
    fn decode_any<'a>(&mut self, input: &'a [u8]) -> Decoded<'a> {
        if self.swallow > 0 {
            return self.skip(input.len());
        }
        if self.protocol != Protocol::Text && self.decide(input) == Protocol::Binary {
            let (decoded, swallow) = binary::decode(input, self.limits.value_bytes_max);
            self.swallow = swallow;
            return decoded;
        }
        if self.searched > 0 && !self.has_line_end(input) {
            return self.without_line_end(input);
        }
        let Some(end) = memchr(b'\n', input) else { return self.without_line_end(input) };
        if end > COMMAND_LINE_BYTES_MAX
            && let Some(refusal) = self.line_refusal(input, end)
        {
            return Decoded::Fatal { refusal };
        }
        match understand(cut(&input[..end])) {
            Line::Request(request) => Decoded::Request { request, consumed: end + 1 },
            Line::Value(header) => self.value(header, input, end + 1),
            Line::Refused(refusal, swallow) => {
                self.swallow = swallow;
                Decoded::Refused { refusal, consumed: end + 1 }
            }
            Line::Foreign => Decoded::Fatal { refusal: Refusal::text(UNKNOWN_COMMAND, true) },
        }
    }

    fn decide(&mut self, input: &[u8]) -> Protocol {
        if self.protocol == Protocol::Undecided {
            self.protocol = match input.first() {
                None => Protocol::Undecided,
                Some(&binary::REQUEST_MAGIC) => Protocol::Binary,
                Some(_) => Protocol::Text,
            };
        }
        self.protocol
    }

    /// Bytes of a refused value still to come. Larger than what has arrived; never worth a buffer.
    pub fn to_swallow(&self) -> usize {
        self.swallow
    }

    fn skip<'a>(&mut self, arrived: usize) -> Decoded<'a> {
        let consumed = self.swallow.min(arrived);
        self.swallow -= consumed;
        if consumed == 0 { Decoded::Incomplete { missing: 1 } } else { Decoded::Skipped { consumed } }
    }

    /// Looks at what arrived since the last look, so that a long line costs no more for coming byte by byte.
    #[cold]
    fn has_line_end(&mut self, input: &[u8]) -> bool {
        let searched = std::mem::take(&mut self.searched).min(input.len());
        memchr(b'\n', &input[searched..]).is_some()
    }

    #[cold]
    fn without_line_end<'a>(&mut self, input: &'a [u8]) -> Decoded<'a> {
        if input.len() > COMMAND_LINE_BYTES_MAX {
            if let Some(refusal) = self.line_refusal(input, input.len()) {
                return Decoded::Fatal { refusal };
            }
            self.searched = input.len();
        }
        Decoded::Incomplete { missing: 1 }
    }

    /// Why a line beyond [`COMMAND_LINE_BYTES_MAX`] is not taken. memcached closes without a word, so we do.
    #[cold]
    fn line_refusal(&self, input: &[u8], bytes: usize) -> Option<Refusal> {
        let spaces = input.iter().take(LEADING_SPACES_MAX + 1).take_while(|byte| **byte == b' ').count();
        let retrieval =
            [&b"get "[..], b"gets ", b"gat ", b"gats "].iter().any(|name| input[spaces..].starts_with(name));
        if spaces > LEADING_SPACES_MAX || !retrieval {
            return Some(Refusal::text(LINE_TOO_LONG, true));
        }
        (bytes > self.limits.line_bytes_max).then_some(Refusal::loud(LINE_TOO_LONG))
    }

    /// A value of `bytes` behind a line, when all of it is there and as it should be.
    #[inline]
    fn whole_value<'a>(&self, input: &'a [u8], line_bytes: usize, bytes: usize) -> Option<&'a [u8]> {
        if bytes > self.limits.value_bytes_max {
            return None;
        }
        let (value, rest) = input[line_bytes..].split_at_checked(bytes)?;
        rest.starts_with(b"\r\n").then_some(value)
    }

    /// Gives a store command its value, once all of it has arrived.
    fn value<'a>(&mut self, header: ValueHeader<'a>, input: &'a [u8], line_bytes: usize) -> Decoded<'a> {
        let ValueHeader { mut request, bytes } = header;
        if bytes > self.limits.value_bytes_max {
            self.swallow = bytes + 2;
            return Decoded::Request { request: storage::too_large(request), consumed: line_bytes };
        }
        let total = line_bytes + bytes + 2;
        if input.len() < total {
            return Decoded::Incomplete { missing: total - input.len() };
        }
        let (value, line_end) = input[line_bytes..total].split_at(bytes);
        if line_end != b"\r\n" {
            return Decoded::Refused { refusal: storage::bad_data_chunk(&request), consumed: total };
        }
        match &mut request {
            Request::Set(set) => set.value = value,
            Request::MetaSet(set) => set.value = value,
            // No other command announces a value.
            _ => {}
        }
        Decoded::Request { request, consumed: total }
    }
}

/// Cuts the `\r` off a line.
#[inline]
fn cut(line: &[u8]) -> &[u8] {
    match line {
        [line @ .., b'\r'] => line,
        line => line,
    }
}

/// Reads one line, its end cut off.
fn understand(line: &[u8]) -> Line<'_> {
    let mut rest = line;
    let command = token::next(&mut rest);
    match command {
        b"get" => retrieval::decode(rest, false),
        b"gets" => retrieval::decode(rest, true),
        b"gat" => retrieval::decode_touch(rest, false),
        b"gats" => retrieval::decode_touch(rest, true),
        b"set" => storage::decode(rest, SetMode::Set),
        b"add" => storage::decode(rest, SetMode::Add),
        b"replace" => storage::decode(rest, SetMode::Replace),
        b"append" => storage::decode(rest, SetMode::Append),
        b"prepend" => storage::decode(rest, SetMode::Prepend),
        b"cas" => storage::decode_cas(rest),
        b"mg" => meta::decode_get(rest).into(),
        b"ms" => meta::decode_set(rest),
        b"md" => meta::decode_delete(rest).into(),
        b"ma" => meta::decode_arithmetic(rest).into(),
        b"me" => meta::decode_debug(rest).into(),
        b"mn" => Line::Request(meta::decode_noop(rest)),
        _ => simple::decode(command, rest),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Words that make sense somewhere, and some that do nowhere.
    fn word() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(vec![
                "0",
                "1",
                "3",
                "+3",
                "-1",
                "3x",
                "1234567890",
                "99999999999999999999",
                "2000000"
            ])
            .prop_map(str::to_owned),
            prop::sample::select(vec![
                "noreply", "v", "q", "k", "t", "vx", "O", "O12", "T5", "b", "u", "\t", "!", "\u{7f}"
            ])
            .prop_map(str::to_owned),
            (30_usize..34).prop_map(|bytes| format!("O{}", "x".repeat(bytes))),
            (248_usize..253).prop_map(|bytes| "k".repeat(bytes)),
            "[a-z]{1,12}",
        ]
    }

    proptest! {
        #[test]
        fn short_ways_give_what_the_general_way_gives(
            command in prop::sample::select(vec!["get ", "set ", "mg ", "set a 0 0 ", "set a 5 60 3", " get "]),
            words in vec((word(), prop::sample::select(vec![" ", " ", " ", "  ", ""])), 0..8),
            behind in prop::sample::select(vec!["\r\n", "\n", "\r\nabc\r\n", "\r\nabcde", "\r\nab", "\r\n\r\n"]),
        ) {
            let words: String = words.iter().flat_map(|(word, space)| [word.as_str(), space]).collect();
            let input = format!("{command}{words}{behind}");
            let mut decoder = RequestDecoder::new(Limits { value_bytes_max: 1 << 20, ..Limits::default() });
            decoder.protocol = Protocol::Text;
            let mut general = decoder.clone();
            prop_assert_eq!(decoder.decode(input.as_bytes()), general.decode_any(input.as_bytes()));
            prop_assert_eq!((decoder.swallow, decoder.searched), (general.swallow, general.searched));
        }
    }

    // Each look at a line searched all of it for its end: a line of 1 MiB that came byte by byte took 8 s of a core.
    #[test]
    fn long_line_that_comes_byte_by_byte_is_searched_once() {
        let line = [b"get ".as_slice(), &b"key ".repeat(5000), b"\r\n"].concat();
        let mut decoder = RequestDecoder::default();
        for arrived in 0..line.len() {
            assert_eq!(decoder.decode(&line[..arrived]), Decoded::Incomplete { missing: 1 });
            assert_eq!(decoder.searched, if arrived > COMMAND_LINE_BYTES_MAX { arrived } else { 0 });
        }
        let Decoded::Request { consumed, .. } = decoder.decode(&line) else { panic!("no request") };
        assert_eq!((consumed, decoder.searched), (line.len(), 0));
        assert_eq!(decoder.decode(b"mn\n"), Decoded::Request { request: Request::MetaNoop, consumed: 3 });
    }
}
