//! What may differ between two right servers, taken out of what they sent: CAS tokens become roles, times
//! and sizes of their own making are masked.

use std::collections::HashMap;

use evanesce_tests::shown;

/// The CAS tokens that one server showed in one case, numbered by first sight.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    roles: HashMap<u64, usize>,
    seen: Vec<u64>,
}

impl Tokens {
    /// The token with a role, from 1.
    pub(crate) fn token(&self, role: usize) -> Option<u64> {
        self.seen.get(role.checked_sub(1)?).copied()
    }

    fn role(&mut self, digits: &str) -> Option<String> {
        let token = digits.parse().ok()?;
        let next = self.seen.len() + 1;
        let role = *self.roles.entry(token).or_insert(next);
        if role == next {
            self.seen.push(token);
        }
        Some(format!("@{role}"))
    }
}

/// Replies with roles and masks, printable, one line a reply line. Values are shown as they are.
pub(crate) fn normal(bytes: &[u8], tokens: &mut Tokens) -> String {
    let (mut out, mut rest) = (String::new(), bytes);
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").map_or(rest.len(), |at| at + 2);
        let (line, after) = rest.split_at(end);
        let text = normal_line(&String::from_utf8_lossy(line), tokens);
        out.push_str(&shown(text.as_bytes()));
        rest = after;
        if let Some(length) = value_length(line) {
            let (value, after) = rest.split_at(rest.len().min(length + 2));
            out.push_str(&shown(value));
            rest = after;
        }
    }
    out
}

/// Length of the value that follows a header.
fn value_length(line: &[u8]) -> Option<usize> {
    let words: Vec<&str> = str::from_utf8(line).ok()?.split_ascii_whitespace().collect();
    match words[..] {
        ["VALUE", _, _, length, ..] => length.parse().ok(),
        ["VA", length, ..] => length.parse().ok(),
        _ => None,
    }
}

fn normal_line(line: &str, tokens: &mut Tokens) -> String {
    let (text, end) = line.split_at(line.trim_end_matches(['\r', '\n']).len());
    let words: Vec<&str> = text.split(' ').collect();
    let word = |at: usize, word: &str| -> Option<String> {
        match (words[0], at) {
            ("VALUE", 4) => tokens.role(word),
            ("VA" | "HD" | "EN" | "NF" | "NS" | "EX", 1..) => meta_flag(word, tokens),
            ("ME", 2..) => debug_field(word, tokens),
            _ => None,
        }
    };
    let mut word = word;
    let normal: Vec<String> = words
        .iter()
        .enumerate()
        .map(|(at, text)| word(at, text).unwrap_or_else(|| (*text).to_owned()))
        .collect();
    normal.join(" ") + end
}

fn meta_flag(word: &str, tokens: &mut Tokens) -> Option<String> {
    let number =
        word.get(1..).filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))?;
    match word.as_bytes()[0] {
        b'c' => tokens.role(number).map(|role| format!("c{role}")),
        // Seconds left and seconds since: a tick may lie between two servers.
        b't' => Some("t~".to_owned()),
        b'l' => Some("l~".to_owned()),
        _ => None,
    }
}

fn debug_field(word: &str, tokens: &mut Tokens) -> Option<String> {
    let (name, value) = word.split_once('=')?;
    match name {
        "cas" => tokens.role(value).map(|role| format!("cas={role}")),
        "exp" if value == "-1" => None,
        // Its layout in memory is a server's own.
        "exp" | "la" | "cls" | "size" => Some(format!("{name}=~")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Tokens, normal};

    #[test]
    fn tokens_get_roles_by_first_sight_and_values_stay() {
        let mut tokens = Tokens::default();
        let seen = normal(b"VALUE k 0 2 77\r\nHD\r\nVALUE j 0 1 5\r\nx\r\nEND\r\n", &mut tokens);
        assert_eq!(seen, r"VALUE k 0 2 @1\r\nHD\r\nVALUE j 0 1 @2\r\nx\r\nEND\r\n");
        assert_eq!(normal(b"VA 1 c77 t30 f5 Oc9\r\ny\r\n", &mut tokens), r"VA 1 c@1 t~ f5 Oc9\r\ny\r\n");
        assert_eq!((tokens.token(1), tokens.token(2), tokens.token(3)), (Some(77), Some(5), None));
    }

    #[test]
    fn times_and_layout_are_masked_but_never_expiring_is_not() {
        let mut tokens = Tokens::default();
        let debug = b"ME k exp=-1 la=3 cas=9 fetch=no cls=1 size=63\r\n";
        assert_eq!(normal(debug, &mut tokens), r"ME k exp=-1 la=~ cas=@1 fetch=no cls=~ size=~\r\n");
        assert_eq!(normal(b"HD t-1 l0\r\n", &mut tokens), r"HD t-1 l~\r\n");
        assert_eq!(normal(b"CLIENT_ERROR t30 x\r\n", &mut tokens), r"CLIENT_ERROR t30 x\r\n");
    }
}
