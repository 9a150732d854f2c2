//! Bytes as text and back, as transcripts write them.

/// Longest run shown whole: values of a megabyte are named by length and ends.
const SHOWN_BYTES_MAX: usize = 400;
/// How much of each end of such a run is shown.
const SHOWN_ENDS_BYTES: usize = 40;

/// Bytes as one printable text.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    if bytes.len() > SHOWN_BYTES_MAX {
        let (start, end) = (&bytes[..SHOWN_ENDS_BYTES], &bytes[bytes.len() - SHOWN_ENDS_BYTES..]);
        let sum = bytes.iter().fold(0_u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        return format!("{}...({} bytes, sum {sum:x})...{}", shown(start), bytes.len(), shown(end));
    }
    bytes.escape_ascii().to_string()
}

/// The bytes that a text stands for: `\r \n \t \0 \\ \xNN` as usual, `{text*count}` repeats, `$k` is `key`, and `@n` is
/// what `token` answers for n; a token that it does not know is 0.
///
/// # Panics
///
/// When `\x` is not followed by two hexadecimal digits: transcripts are ours.
pub fn bytes_of(text: &str, key: &str, token: impl Fn(usize) -> Option<u64>) -> Vec<u8> {
    unescaped(&text.replace("$k", key), &token)
}

fn unescaped(text: &str, token: &dyn Fn(usize) -> Option<u64>) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let used = match first {
            '\\' => escape(rest, &mut out),
            '{' => repeat(rest, &mut out, token),
            '@' => {
                let digits = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
                let number = rest[1..=digits].parse().unwrap_or(0);
                out.extend(token(number).unwrap_or(0).to_string().bytes());
                1 + digits
            }
            _ => {
                out.extend(&rest.as_bytes()[..first.len_utf8()]);
                first.len_utf8()
            }
        };
        rest = &rest[used..];
    }
    out
}

fn escape(rest: &str, out: &mut Vec<u8>) -> usize {
    let byte = |byte: u8, out: &mut Vec<u8>| {
        out.push(byte);
        2
    };
    match rest.as_bytes().get(1) {
        Some(b'r') => byte(b'\r', out),
        Some(b'n') => byte(b'\n', out),
        Some(b't') => byte(b'\t', out),
        Some(b'0') => byte(0, out),
        Some(b'x') => {
            let number = rest.get(2..4).and_then(|digits| u8::from_str_radix(digits, 16).ok());
            out.push(number.expect("\\x is followed by two hexadecimal digits"));
            4
        }
        _ => byte(b'\\', out),
    }
}

/// `{text*count}`; any other brace stands for itself.
fn repeat(rest: &str, out: &mut Vec<u8>, token: &dyn Fn(usize) -> Option<u64>) -> usize {
    let inside = rest[1..].split('}').next().unwrap_or_default();
    let parts = inside.rsplit_once('*').and_then(|(text, count)| Some((text, count.parse::<usize>().ok()?)));
    match parts {
        Some((text, count)) => {
            out.extend(unescaped(text, token).repeat(count));
            inside.len() + 2
        }
        None => {
            out.push(b'{');
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes_of, shown};

    #[test]
    fn texts_become_bytes() {
        let bytes = |text: &str| bytes_of(text, "key7", |number| (number == 1).then_some(99));
        assert_eq!(bytes(r"get $k\r\n"), b"get key7\r\n");
        assert_eq!(bytes(r"cas $kb 0 0 2 @1\x00\\{ab*3}{\r\n*2}{"), b"cas key7b 0 0 2 99\0\\ababab\r\n\r\n{");
        assert_eq!(bytes("@2"), b"0");
    }

    #[test]
    fn long_runs_are_named_by_length_sum_and_ends() {
        assert_eq!(shown(b"a\r\n\0"), r"a\r\n\x00");
        let (one, other) =
            (shown(&[b'x'; 1000]), shown(&[&[b'x'; 500][..], b"y", &[b'x'; 499][..]].concat()));
        assert!(one.contains("1000 bytes") && one != other);
    }
}
