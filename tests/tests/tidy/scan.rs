//! Enough of Rust's lexical grammar to tell code from strings and comments, and to find functions.

/// The source with the insides of comments, strings and characters blanked; every line keeps its place.
pub(crate) fn code_only(source: &str) -> String {
    let mut scanner = Scanner { source: source.as_bytes(), at: 0, out: Vec::with_capacity(source.len()) };
    while scanner.at < scanner.source.len() {
        scanner.step();
    }
    String::from_utf8(scanner.out)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

struct Scanner<'a> {
    source: &'a [u8],
    at: usize,
    out: Vec<u8>,
}

impl Scanner<'_> {
    fn step(&mut self) {
        let rest = &self.source[self.at..];
        if rest.starts_with(b"//") {
            let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            self.blank(end);
        } else if rest.starts_with(b"/*") {
            self.blank(block_comment(rest));
        } else if let Some(length) = self.raw_string(rest) {
            self.blank(length);
        } else if rest[0] == b'"' {
            self.blank(quoted(rest));
        } else if rest[0] == b'\'' {
            match character(rest) {
                Some(length) => self.blank(length),
                None => self.keep(),
            }
        } else {
            self.keep();
        }
    }

    fn keep(&mut self) {
        self.out.push(self.source[self.at]);
        self.at += 1;
    }

    fn blank(&mut self, length: usize) {
        let bytes = &self.source[self.at..self.at + length];
        self.out.extend(bytes.iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
        self.at += length;
    }

    /// Length of a raw string that starts here, its prefix included.
    fn raw_string(&self, rest: &[u8]) -> Option<usize> {
        if self.at > 0 && is_word(self.source[self.at - 1]) {
            return None;
        }
        let prefix = [&b"br"[..], b"cr", b"r"].into_iter().find(|prefix| rest.starts_with(prefix))?.len();
        let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
        let start = prefix + hashes;
        if rest.get(start) != Some(&b'"') {
            return None;
        }
        let closing = [b"\"", "#".repeat(hashes).as_bytes()].concat();
        let inside = &rest[start + 1..];
        let end = inside.windows(closing.len()).position(|window| window == closing);
        Some(end.map_or(rest.len(), |end| start + 1 + end + closing.len()))
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at.min(rest.len())
}

/// Length of a string that starts here with its quote.
fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Length of a character that starts here with its quote; `None` when it is a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let end = rest.iter().skip(3).position(|&byte| byte == b'\'')?;
        return Some(end + 4);
    }
    let width = match rest.get(1)? {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    (rest.get(width + 1) == Some(&b'\'')).then_some(width + 2)
}

/// One function: its name, the lines (from 1) of its `fn` and of its closing brace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// Every function with a body, nested ones included.
pub(crate) fn functions(source: &str) -> Vec<Function> {
    let code = code_only(source);
    let found = words(&code).filter(|&(_, word)| word == "fn").filter_map(|(at, _)| function(&code, at));
    found.collect()
}

fn function(code: &str, at: usize) -> Option<Function> {
    let after = &code[at + 2..];
    let name: String = after.trim_start().chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect();
    if name.is_empty() {
        return None;
    }
    let open = at + 2 + body_start(after)?;
    let close = closing_brace(code, open)?;
    Some(Function { name, first: line_of(code, at), last: line_of(code, close) })
}

/// Offset of the brace that opens the body; `None` for a declaration that ends with a semicolon.
fn body_start(signature: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, byte) in signature.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Offset of the brace that closes the one at `open`.
pub(crate) fn closing_brace(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return Some(at),
            b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// Line, from 1, of an offset.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// Every word (letters, digits, underscore) with its offset.
pub(crate) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let pieces = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let placed = pieces.map(move |piece| (piece.as_ptr() as usize - text.as_ptr() as usize, piece));
    placed.filter(|(_, piece)| !piece.is_empty())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[test]
fn braces_in_strings_comments_and_characters_do_not_count() {
    let source = concat!(
        "fn first<'a>(x: &'a [u8; 2]) -> char {\n",
        "    let a = \"}\\\"}\"; // }\n",
        "    let b = r#\"} \" }\"#; /* } /* } */ } */\n",
        "    let c = b\"}\"; let d = br\"}\";\n",
        "    let é = 'é'; let q = '\\''; let u = '\\u{7d}';\n",
        "    '}'\n",
        "}\n",
        "trait T { fn declared(&self); fn given(&self) {} }\n",
        "type Pointer = fn(u8) -> u8;\n",
    );
    let found = functions(source);
    let expected = [("first", 1, 7), ("given", 8, 8)];
    let seen: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.first, f.last)).collect();
    assert_eq!(seen, expected);
}

#[test]
fn nested_functions_are_found_beside_their_parents() {
    let names: Vec<String> = functions("fn a() {\n fn b() {}\n}").into_iter().map(|f| f.name).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn blanking_keeps_every_line_where_it_was() {
    let source = "a\n/* b\n c */ \"d\ne\" f\n";
    let code = code_only(source);
    assert_eq!(code.lines().count(), source.lines().count());
    assert_eq!(words(&code).map(|(_, word)| word).collect::<Vec<_>>(), ["a", "f"]);
}
