//! Replies made comparable: each CAS token becomes the number of its first appearance.

use std::collections::HashMap;

/// The CAS tokens that one server has shown on a connection.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    roles: HashMap<u64, usize>,
    last: HashMap<Vec<u8>, u64>,
}

impl Tokens {
    /// The last token shown for a key.
    pub(crate) fn last(&self, key: &[u8]) -> Option<u64> {
        self.last.get(key).copied()
    }

    /// The number that stands for a token on every server.
    pub(crate) fn role(&mut self, token: u64) -> usize {
        let next = self.roles.len();
        *self.roles.entry(token).or_insert(next)
    }

    /// Remembers the token of a key.
    pub(crate) fn note(&mut self, key: &[u8], token: u64) -> usize {
        self.last.insert(key.to_vec(), token);
        self.role(token)
    }
}

/// Classic text replies with roles in place of tokens. What is no such reply stays as it is.
pub(crate) fn text(bytes: &[u8], tokens: &mut Tokens) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        let Some(header) = ValueHeader::parse(line) else {
            plain.extend_from_slice(line);
            continue;
        };
        plain.extend_from_slice(header.before);
        if let Some(token) = header.token {
            plain.extend_from_slice(format!(" cas#{}", tokens.note(header.key, token)).as_bytes());
        }
        plain.extend_from_slice(b"\r\n");
        let value = rest.len().min(header.length + 2);
        plain.extend_from_slice(&rest[..value]);
        rest = &rest[value..];
    }
    plain
}

/// Length of a binary reply's header.
const HEADER_BYTES: usize = 24;

/// Binary replies with roles in place of tokens. The last byte of an opaque names the key.
pub(crate) fn binary(bytes: &[u8], tokens: &mut Tokens) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((header, after)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let body = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let token = u64::from_be_bytes(header[16..].try_into().expect("the last eight bytes"));
        plain.extend_from_slice(&header[..16]);
        if token == 0 {
            plain.extend_from_slice(b" none ");
        } else {
            plain.extend_from_slice(format!(" cas#{} ", tokens.note(&[header[15]], token)).as_bytes());
        }
        let (body, after) = after.split_at(body.min(after.len()));
        plain.extend_from_slice(body);
        rest = after;
    }
    plain.extend_from_slice(rest);
    plain
}

/// `VALUE <key> <flags> <bytes> [<cas>]`.
struct ValueHeader<'a> {
    /// All but the token and the line end.
    before: &'a [u8],
    key: &'a [u8],
    length: usize,
    token: Option<u64>,
}

impl ValueHeader<'_> {
    fn parse(line: &[u8]) -> Option<ValueHeader<'_>> {
        let line = line.strip_suffix(b"\r\n")?;
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let (length, token) = match words[..] {
            [b"VALUE", _, _, length] => (length, None),
            [b"VALUE", _, _, length, token] => (length, Some(token)),
            _ => return None,
        };
        let before = token.map_or(line, |token| &line[..line.len() - token.len() - 1]);
        let token = match token {
            Some(token) => Some(number(token)?),
            None => None,
        };
        Some(ValueHeader { before, key: words[1], length: usize::try_from(number(length)?).ok()?, token })
    }
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Tokens, binary, text};

    #[test]
    fn tokens_of_the_same_role_read_the_same() {
        let reply = |first: u64, second: u64| {
            let item = |key: &str, token| format!("VALUE {key} 0 1 {token}\r\nx\r\n");
            format!("{}{}{}END\r\n", item("a", first), item("b", second), item("a", first))
        };
        let (mut one, mut other) = (Tokens::default(), Tokens::default());
        let (left, right) =
            (text(reply(7, 8).as_bytes(), &mut one), text(reply(90, 41).as_bytes(), &mut other));
        assert_eq!(left, right);
        assert_ne!(left, text(reply(90, 90).as_bytes(), &mut other));
        assert_eq!((one.last(b"a"), other.last(b"b"), one.last(b"c")), (Some(7), Some(90), None));
    }

    #[test]
    fn token_of_a_binary_reply_is_known_by_the_opaque() {
        let reply = |token: u64| {
            let mut bytes = [0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 9, 9, 9, 3].to_vec();
            bytes.extend(token.to_be_bytes());
            bytes.extend(b"hi");
            bytes
        };
        let (mut one, mut other) = (Tokens::default(), Tokens::default());
        assert_eq!(binary(&reply(7), &mut one), binary(&reply(90), &mut other));
        assert_ne!(binary(&reply(0), &mut one), binary(&reply(7), &mut one));
        assert_eq!((one.last(&[3]), other.last(&[3])), (Some(7), Some(90)));
        assert_eq!(binary(b"\x81cut off", &mut one), b"\x81cut off");
    }

    #[test]
    fn value_that_looks_like_a_header_stays_as_it_is() {
        let reply = b"VALUE a 0 23\r\nVALUE b 0 1 77\r\nEND\r\nab\r\nEND\r\n";
        assert_eq!(text(reply, &mut Tokens::default()), reply);
    }

    #[test]
    fn what_is_cut_off_or_odd_stays_as_it_is() {
        for reply in [&b"VALUE a 0 5\r\nab"[..], b"VALUE a", b"VALUE a 0 x 1\r\n", b"ERROR\r\n", b"\xff\n\n"]
        {
            assert_eq!(text(reply, &mut Tokens::default()), reply);
        }
    }
}
