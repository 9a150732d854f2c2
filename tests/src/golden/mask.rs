//! What may differ between two right servers, taken out of what they said.

use std::collections::{HashMap, HashSet};

use crate::bytes::shown;

/// Remaining seconds are rounded up to this: as many may pass between a request and the next one, and transcripts ask for
/// multiples of it.
const SECONDS_GRAIN: u64 = 10;

/// The masks of one case.
///
/// - A token becomes its role, `@1` for the first that the server gave; one that the case set itself with `E` stays.
/// - Seconds until expiry, of `t` and of `exp=`, are rounded up to ten: `t~30`. Never, which is -1, stays.
/// - Seconds since the last access, of `l` and of `la=`, and `cls=` and `size=`, which are of a server's own
///   layout, become `~`.
#[derive(Debug, Default)]
pub struct Mask {
    /// Tokens that the case sets.
    own: HashSet<u64>,
    roles: HashMap<u64, usize>,
    seen: Vec<u64>,
}

impl Mask {
    /// For a case that sends this.
    pub fn of<'a>(sent: impl Iterator<Item = &'a str>) -> Mask {
        let own = sent.flat_map(|text| text.split([' ', '\\'])).filter_map(|word| word.strip_prefix('E'));
        Mask { own: own.filter_map(|digits| digits.parse().ok()).chain([0]).collect(), ..Mask::default() }
    }

    /// The token with a role, from 1.
    #[must_use]
    pub fn token(&self, role: usize) -> Option<u64> {
        self.seen.get(role.checked_sub(1)?).copied()
    }

    /// Replies, printable, with the masks on.
    pub fn masked(&mut self, bytes: &[u8]) -> String {
        let (mut out, mut rest) = (String::new(), bytes);
        while !rest.is_empty() {
            let end = rest.windows(2).position(|pair| pair == b"\r\n").map_or(rest.len(), |at| at + 2);
            let (line, after) = rest.split_at(end);
            out.push_str(&shown(&self.line(line)));
            let (value, after) = after.split_at(after.len().min(value_bytes(line)));
            out.push_str(&shown(value));
            rest = after;
        }
        out
    }

    fn line(&mut self, line: &[u8]) -> Vec<u8> {
        let (text, end) = line.split_at(line.strip_suffix(b"\r\n").unwrap_or(line).len());
        let words: Vec<&[u8]> = text.split(|&byte| byte == b' ').collect();
        let masked: Vec<Vec<u8>> =
            words.iter().enumerate().map(|(at, word)| self.word(words[0], at, word)).collect();
        [&masked.join(&b' ')[..], end].concat()
    }

    fn word(&mut self, first: &[u8], at: usize, word: &[u8]) -> Vec<u8> {
        let text = str::from_utf8(word).unwrap_or_default();
        let masked = match first {
            b"HD" | b"EN" | b"NF" | b"NS" | b"EX" if at > 0 => self.flag(text),
            b"VA" if at > 1 => self.flag(text),
            b"ME" if at > 1 => self.field(text),
            b"VALUE" if at == 4 => self.role(text),
            _ => None,
        };
        masked.map_or_else(|| word.to_vec(), String::into_bytes)
    }

    fn flag(&mut self, word: &str) -> Option<String> {
        let (letter, number) = word.split_at_checked(1)?;
        let number = number.parse::<u64>().ok().map(|_| number)?;
        match letter {
            "c" => self.role(number).map(|role| format!("c{role}")),
            "t" => rounded(number).map(|seconds| format!("t~{seconds}")),
            "l" => Some("l~".to_owned()),
            _ => None,
        }
    }

    fn field(&mut self, word: &str) -> Option<String> {
        let (name, value) = word.split_once('=')?;
        match name {
            "cas" => self.role(value).map(|role| format!("cas={role}")),
            "exp" => rounded(value).map(|seconds| format!("exp=~{seconds}")),
            "la" | "cls" | "size" => Some(format!("{name}=~")),
            _ => None,
        }
    }

    fn role(&mut self, digits: &str) -> Option<String> {
        let token: u64 = digits.parse().ok()?;
        if self.own.contains(&token) {
            return None;
        }
        let next = self.seen.len() + 1;
        let role = *self.roles.entry(token).or_insert(next);
        if role == next {
            self.seen.push(token);
        }
        Some(format!("@{role}"))
    }
}

/// `None` where it is no number above 0.
fn rounded(digits: &str) -> Option<u64> {
    digits.parse::<u64>().ok().map(|seconds| seconds.div_ceil(SECONDS_GRAIN) * SECONDS_GRAIN)
}

/// Bytes of the value behind a line, its end included.
fn value_bytes(line: &[u8]) -> usize {
    let words: Vec<&str> = str::from_utf8(line).unwrap_or_default().split_ascii_whitespace().collect();
    let length = match words[..] {
        ["VALUE", _, _, length, ..] | ["VA", length, ..] => length.parse::<usize>().ok(),
        _ => None,
    };
    length.map_or(0, |length| length + 2)
}

#[cfg(test)]
mod tests {
    use super::Mask;

    #[test]
    fn tokens_become_roles_unless_the_case_set_them() {
        let mut mask = Mask::of([r"ms k 1 E77\r\na\r\n"].into_iter());
        let seen = mask
            .masked(b"HD c9\r\nVA 4 c77\r\nHD c\r\nHD c8\r\nEX c0\r\nHD c9 Oc9\r\nVALUE k 0 1 8\r\nx\r\n");
        assert_eq!(
            seen,
            r"HD c@1\r\nVA 4 c77\r\nHD c\r\nHD c@2\r\nEX c0\r\nHD c@1 Oc9\r\nVALUE k 0 1 @2\r\nx\r\n"
        );
        assert_eq!((mask.token(1), mask.token(2), mask.token(3)), (Some(9), Some(8), None));
    }

    #[test]
    fn times_are_rounded_and_never_stays() {
        let mut mask = Mask::default();
        let seen = mask
            .masked(b"HD t30 l3 h1\r\nHD t29\r\nHD t-1\r\nME k exp=-1 la=3 cas=9 fetch=no cls=1 size=63\r\n");
        let wanted =
            r"HD t~30 l~ h1\r\nHD t~30\r\nHD t-1\r\nME k exp=-1 la=~ cas=@1 fetch=no cls=~ size=~\r\n";
        assert_eq!(seen, wanted);
    }
}
