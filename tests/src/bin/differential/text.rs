//! Classic text commands, drawn from a seed: usual ones, edges, faults.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::numbers::{self, pick};
use crate::stream::{Command, TokenSlot};

/// Keys of a stream: few, so that commands meet the items of others.
const KEYS: usize = 16;
/// The longest key.
const KEY_BYTES_MAX: usize = 250;
/// Longest line but those of `get` and `gets`, with room: memcached may close the connection beyond 2048 bytes.
const LINE_BYTES_MAX: usize = 1900;
/// Longest value behind a line that may be wrong: it may be read as a line.
const UNREAD_BYTES_MAX: usize = 1000;
/// Expiries below may pass while a stream is played.
const SOON_SECONDS: i128 = 500;
/// A value beyond what both servers hold: refused and swallowed.
const OVERSIZE_BYTES: usize = (1 << 20) + 1;

/// The commands that carry a value.
const STORES: [&str; 6] = ["set", "add", "replace", "append", "prepend", "cas"];
/// All others that have an executor.
const LINES: [&str; 8] = ["get", "gets", "gat", "gats", "incr", "decr", "touch", "delete"];

/// The stream with a number in the run of a seed: the same whatever came before.
pub(crate) fn stream(seed: u64, number: u64, commands: usize) -> Vec<Command> {
    let mut draw = Draw::new(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    (0..commands).map(|_| draw.command()).collect()
}

struct Draw {
    random: SmallRng,
    keys: Vec<Vec<u8>>,
}

impl Draw {
    fn new(seed: u64) -> Draw {
        let mut random = SmallRng::seed_from_u64(seed);
        let keys = (0..KEYS).map(|number| key(&mut random, number)).collect();
        Draw { random, keys }
    }

    fn command(&mut self) -> Command {
        match self.random.random_range(0..2000) {
            0..600 => self.retrieval(),
            600..1280 => self.store(),
            1280..1520 => self.arithmetic(),
            1520..1640 => self.touch(),
            1640..1760 => self.delete(),
            1760..1820 => self.other(),
            1820..1930 => self.crooked_line(),
            1930..1999 => self.crooked_store(),
            _ => self.oversize(),
        }
    }

    /// A key, seldom one byte too long.
    fn key(&mut self) -> Vec<u8> {
        if self.random.random_ratio(1, 150) {
            return long_key(&mut self.random, KEY_BYTES_MAX + 1);
        }
        self.keys[self.random.random_range(0..KEYS)].clone()
    }

    /// `get`, `gets`, `gat`, `gats` with some keys, now and then many.
    fn retrieval(&mut self) -> Command {
        let name = pick(&mut self.random, &["get", "get", "gets", "gets", "gat", "gats"]);
        let mut words = vec![name.as_bytes().to_vec()];
        if name.starts_with("gat") {
            words.push(numbers::expiry(&mut self.random).into());
        }
        let count = match self.random.random_range(0..300) {
            0 if name.starts_with("get") => self.random.random_range(25..150),
            1..60 => self.random.random_range(2..7),
            _ => 1,
        };
        let mut keys: Vec<_> = (0..count).map(|_| self.key()).collect();
        // It touches those before a key too long: a stated difference.
        if let Some(long) = keys.iter().find(|key| name.starts_with("gat") && key.len() > KEY_BYTES_MAX) {
            keys = vec![long.clone()];
        }
        words.extend(keys.iter().cloned());
        let bytes = self.line(&words);
        // It drops the replies before it that are not sent yet: a stated difference.
        let alone = keys.iter().any(|key| key.len() > KEY_BYTES_MAX);
        Command { reads: keys, alone, ..Command::of(bytes) }
    }

    fn store(&mut self) -> Command {
        let (name, mut key, value) = (pick(&mut self.random, &STORES), self.key(), self.value());
        if value.len() > UNREAD_BYTES_MAX {
            key.truncate(KEY_BYTES_MAX);
        }
        if name == "cas" && self.random.random_ratio(2, 3) {
            return self.compare_and_set(key, &value);
        }
        let (mut flags, mut expiry) = (numbers::flags(&mut self.random), numbers::expiry(&mut self.random));
        if value.len() > UNREAD_BYTES_MAX {
            (flags, expiry) = ("1", "0");
        }
        let length = value.len().to_string();
        let mut words = vec![name.into(), key, flags.into(), expiry.into(), length.into_bytes()];
        if name == "cas" {
            let long = value.len() > UNREAD_BYTES_MAX;
            words.push(if long { "1234567890" } else { numbers::foreign_token(&mut self.random) }.into());
        }
        self.noreply(&mut words);
        with_value(self.line(&words), &value)
    }

    /// A `cas` with a token that the key has or had.
    fn compare_and_set(&mut self, key: Vec<u8>, value: &[u8]) -> Command {
        let length = value.len().to_string();
        let mut bytes = [b"cas ", &key[..], b" 5 0 ", length.as_bytes(), b" "].concat();
        let token = Some(TokenSlot { at: bytes.len(), key });
        bytes.extend_from_slice(if self.random.random_ratio(1, 20) { b" noreply\r\n" } else { b"\r\n" });
        Command { token, ..with_value(bytes, value) }
    }

    fn arithmetic(&mut self) -> Command {
        let key = self.key();
        if self.random.random_ratio(1, 3) {
            let value = numbers::stored(&mut self.random);
            let words = [b"set".to_vec(), key, b"3".to_vec(), b"0".to_vec(), value.len().to_string().into()];
            return with_value(self.line(&words), value.as_bytes());
        }
        let name = pick(&mut self.random, &["incr", "decr"]);
        let mut words = vec![name.into(), key.clone(), numbers::delta(&mut self.random).into()];
        self.noreply(&mut words);
        Command { counts: Some(key), ..Command::of(self.line(&words)) }
    }

    fn touch(&mut self) -> Command {
        let mut words = vec![b"touch".to_vec(), self.key(), numbers::expiry(&mut self.random).into()];
        self.noreply(&mut words);
        Command::of(self.line(&words))
    }

    fn delete(&mut self) -> Command {
        let mut words = vec![b"delete".to_vec(), self.key()];
        if self.random.random_ratio(1, 8) {
            words.push(pick(&mut self.random, &["0", "1", "x", "00", "-0"]).into());
        }
        self.noreply(&mut words);
        Command::of(self.line(&words))
    }

    /// Commands without a key.
    fn other(&mut self) -> Command {
        // A verbosity above 0 would fill memcached's log.
        let lines = [
            "version",
            "version 1",
            "verbosity 0",
            "verbosity x",
            "verbosity",
            "verbosity 0 noreply",
            "verbosity 0 0 0",
            "stats reset",
            "flush_all",
            "flush_all 0",
            "flush_all noreply",
            "flush_all x",
            "flush_all -1",
            "flush_all 5 5 5",
            "",
            " ",
            "foo",
            "foo bar",
            "GET a",
            "Set a 0 0 1",
            "gett a",
            "get",
            "gets",
            "gat",
            "gat 0",
            "set",
            "ge",
            "g",
            "noreply",
        ];
        let line = pick(&mut self.random, &lines);
        let end = if self.random.random_ratio(1, 8) { "\n" } else { "\r\n" };
        Command { closes: line == "quit", ..Command::of(format!("{line}{end}")) }
    }

    /// A line without a value that has too few words, too many, or a byte changed.
    fn crooked_line(&mut self) -> Command {
        loop {
            let bytes = self.crooked_bytes();
            let mut lines = bytes.split(|byte| *byte == b'\n');
            if !lines.any(|line| differs_as_stated(line) || expires_soon(line)) {
                // Any key of it may have been changed: it waits for all that came before and nothing waits with it.
                return Command { alone: true, reads: self.keys.clone(), ..Command::of(bytes) };
            }
        }
    }

    fn crooked_bytes(&mut self) -> Vec<u8> {
        let name = pick(&mut self.random, &LINES);
        let count = self.random.random_range(0..7);
        let mut words = vec![name.as_bytes().to_vec()];
        for _ in 0..count {
            let word = match self.random.random_range(0..4) {
                0 => numbers::delta(&mut self.random).as_bytes().to_vec(),
                1 => b"noreply".to_vec(),
                _ => self.key(),
            };
            words.push(word);
        }
        let mut bytes = self.line(&words);
        if count > 0 && self.random.random_ratio(1, 3) {
            let at = self.random.random_range(name.len()..bytes.len() - 1);
            // A zero byte is a stated difference.
            bytes[at] = self.random.random_range(1..=255);
        }
        bytes
    }

    /// A store command whose line or value is wrong.
    fn crooked_store(&mut self) -> Command {
        let name = pick(&mut self.random, &STORES).as_bytes().to_vec();
        let key = self.key();
        match self.random.random_range(0..4) {
            // Nothing is swallowed: the value is read as commands.
            0 => {
                let words =
                    [name, key, b"0".into(), b"0".into(), numbers::refused_length(&mut self.random).into()];
                with_value(self.line(&words), b"get a")
            }
            1 => {
                let mut words = vec![name, key, b"0".into(), b"0".into(), b"5".into()];
                if self.random.random() {
                    words.truncate(self.random.random_range(1..5));
                } else {
                    words.extend([b"1".to_vec(), b"2".to_vec(), b"3".to_vec()]);
                }
                with_value(self.line(&words), b"value")
            }
            2 => self.wrong_end(&name, key, b"12345678 "),
            _ => self.wrong_end(&name, key, b"123"),
        }
    }

    /// A value of another length than the 5 bytes announced, and a line for what is left over.
    fn wrong_end(&mut self, name: &[u8], key: Vec<u8>, value: &[u8]) -> Command {
        let mut words = vec![name.to_vec(), key, b"0".into(), b"0".into(), b"5".into()];
        if name == b"cas" {
            words.push(b"1".into());
        }
        self.noreply(&mut words);
        let mut command = with_value(self.line(&words), value);
        command.bytes.extend_from_slice(b"get filling\r\n");
        command
    }

    fn oversize(&mut self) -> Command {
        let mut words = vec![pick(&mut self.random, &STORES).as_bytes().to_vec(), self.key()];
        let length = OVERSIZE_BYTES + self.random.random_range(0..2000);
        words.extend([b"0".to_vec(), b"0".to_vec(), length.to_string().into_bytes()]);
        if words[0] == b"cas" {
            words.push(b"1".into());
        }
        self.noreply(&mut words);
        let line = self.line(&words);
        // Unless its value is swallowed, it is a line that is too long.
        if words[1].len() > KEY_BYTES_MAX {
            return Command::of(line);
        }
        with_value(line, &vec![b'o'; length])
    }

    /// Adds `noreply` now and then, or what looks like it.
    fn noreply(&mut self, words: &mut Vec<Vec<u8>>) {
        match self.random.random_range(0..40) {
            0..3 => words.push(b"noreply".to_vec()),
            3 => words.push(pick(&mut self.random, &["noreplyx", "norepl", "NOREPLY", "0"]).into()),
            _ => {}
        }
    }

    /// Bytes of a value: few, none, a number, lines, some thousands.
    fn value(&mut self) -> Vec<u8> {
        let length = match self.random.random_range(0..100) {
            0..10 => 0,
            10..30 => return numbers::stored(&mut self.random).into(),
            30..36 => return b"a\r\nget b\r\nEND\r\n".to_vec(),
            36..95 => self.random.random_range(1..40),
            95..99 => self.random.random_range(40..2000),
            _ => self.random.random_range(2000..20_000),
        };
        // Neither the fence nor its reply, nor a meta command.
        (0..length).map(|_| self.random.random_range(b'n'..=b'z')).collect()
    }

    /// The words with spaces between them and a line end.
    fn line(&mut self, words: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.random.random_ratio(1, 100) {
            bytes.push(b' ');
        }
        for (at, word) in words.iter().enumerate() {
            if at > 0 {
                let spaces = if self.random.random_ratio(1, 60) { self.random.random_range(2..5) } else { 1 };
                bytes.resize(bytes.len() + spaces, b' ');
            }
            bytes.extend_from_slice(word);
        }
        let unbounded = words[0] == b"get" || words[0] == b"gets";
        if !unbounded {
            bytes.truncate(LINE_BYTES_MAX);
        }
        let ends: [&[u8]; 4] = [b"\n", b" \r\n", b"  \r\n", b" \n"];
        let end = self.random.random_range(0..80);
        bytes.extend_from_slice(ends.get(end).copied().unwrap_or(b"\r\n"));
        bytes
    }
}

/// Whether a line of drawn words shows a stated difference: an expiry above 32 bits, or a key too long behind `gat`.
fn differs_as_stated(line: &[u8]) -> bool {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
    match words[..] {
        [b"touch", _, expiry, ..] => is_beyond_32_bits(expiry),
        [b"gat" | b"gats", expiry, ref keys @ ..] => {
            is_beyond_32_bits(expiry) || keys.iter().any(|key| key.len() > KEY_BYTES_MAX)
        }
        _ => false,
    }
}

/// Whether a line makes an item expire while its stream is played: memcached counts whole ticks of its clock, so that
/// one second may be over at once, and a slow machine plays for seconds.
fn expires_soon(line: &[u8]) -> bool {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
    match words[..] {
        [b"touch", _, expiry, ..] | [b"gat" | b"gats", expiry, ..] => {
            let digits = expiry.trim_ascii_start();
            let digits = digits.strip_prefix(b"+").unwrap_or(digits);
            // Any other byte behind the digits makes it no number, for both.
            let behind = digits.iter().find(|byte| !byte.is_ascii_digit());
            (1..SOON_SECONDS).contains(&number(expiry)) && behind.is_none_or(u8::is_ascii_whitespace)
        }
        _ => false,
    }
}

/// Whether a word is read as a number that 32 bits do not hold.
fn is_beyond_32_bits(word: &[u8]) -> bool {
    i32::try_from(number(word)).is_err()
}

/// What a word is read as: its sign and the digits it begins with.
fn number(word: &[u8]) -> i128 {
    let word = word.trim_ascii_start();
    let (sign, digits) = match word.first() {
        Some(b'-') => (-1, &word[1..]),
        Some(b'+') => (1, &word[1..]),
        _ => (1, word),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    sign * digits
        .fold(0_i128, |number, digit| number.saturating_mul(10).saturating_add(i128::from(digit - b'0')))
}

/// A line and its value.
fn with_value(mut line: Vec<u8>, value: &[u8]) -> Command {
    line.extend_from_slice(value);
    line.extend_from_slice(b"\r\n");
    Command::of(line)
}

/// The keys of a stream: most are short, some as long as allowed, some of odd bytes.
fn key(random: &mut SmallRng, number: usize) -> Vec<u8> {
    match number {
        0 => b"0".to_vec(),
        1 => long_key(random, KEY_BYTES_MAX),
        2 => long_key(random, KEY_BYTES_MAX - 1),
        3 => b"\x01\x7f\xc3\xa9\xff\t".to_vec(),
        4 => b"noreply".to_vec(),
        _ => format!("k{number}").into_bytes(),
    }
}

fn long_key(random: &mut SmallRng, length: usize) -> Vec<u8> {
    (0..length).map(|_| random.random_range(b'a'..=b'z')).collect()
}

#[cfg(test)]
mod tests {
    use super::{KEY_BYTES_MAX, STORES, differs_as_stated, expires_soon, stream};

    #[test]
    fn a_seed_and_a_number_always_give_the_same_stream() {
        assert_eq!(stream(7, 3, 500), stream(7, 3, 500));
        assert_ne!(stream(7, 3, 500), stream(7, 4, 500));
        assert_eq!(stream(7, 3, 500)[..100], stream(7, 3, 100));
    }

    #[test]
    fn lines_that_show_a_stated_difference_are_told() {
        let long = format!("gat 0 a {}", "k".repeat(KEY_BYTES_MAX + 1));
        for line in [
            "touch k5 184467440737095",
            "gat 00000000000000000400000000000012 k",
            "gats -2147483649 k",
            &long,
        ] {
            assert!(differs_as_stated(line.as_bytes()), "{line}");
        }
        for line in
            ["touch k5 2147483647", "gat -1 k", "gats x k", "gat", "touch", "incr k 99999999999", "gat 1x k"]
        {
            assert!(!differs_as_stated(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn nothing_expires_while_a_stream_is_played() {
        for line in ["gat 1 k13", "gats +2 9 k", "touch k 7", "touch k 010 noreply", "gat \t7 k"] {
            assert!(expires_soon(line.as_bytes()), "{line}");
        }
        for line in
            ["gat 0 k", "gat -1 k", "gat 1x k", "touch k 1000", "incr k 1", "get 1 k", "touch k", "gat"]
        {
            assert!(!expires_soon(line.as_bytes()), "{line}");
        }
        for number in 0..20 {
            for command in stream(2, number, 2000) {
                assert!(!command.bytes.split(|byte| *byte == b'\n').any(expires_soon), "{command:?}");
            }
        }
    }

    #[test]
    fn every_command_comes_in_a_stream() {
        let sent: Vec<u8> = stream(1, 0, 4000).into_iter().flat_map(|command| command.bytes).collect();
        for name in STORES.iter().chain(&super::LINES).chain(&["flush_all", "version", "noreply"]) {
            assert!(sent.windows(name.len()).any(|window| window == name.as_bytes()), "no {name}");
        }
    }

    #[test]
    fn retrieval_of_a_key_too_long_stands_alone() {
        let commands = stream(1, 1, 4000);
        let long =
            commands.iter().filter(|command| command.reads.iter().any(|key| key.len() > KEY_BYTES_MAX));
        assert!(long.clone().count() > 0);
        assert!(long.into_iter().all(|command| command.alone));
    }

    #[test]
    fn nothing_holds_what_a_stated_difference_is_about() {
        for command in stream(1, 2, 4000) {
            assert!(!command.bytes.contains(&0), "a zero byte");
        }
    }

    #[test]
    fn nothing_that_is_stored_has_a_minus() {
        for command in (0..20).flat_map(|number| stream(3, number, 2000)) {
            let mut lines = command.bytes.splitn(2, |byte| *byte == b'\n');
            let line = lines.next().unwrap_or_default();
            let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
            let stores = words.next().is_some_and(|name| STORES.iter().any(|store| store.as_bytes() == name));
            let (key, value) = (words.next().unwrap_or_default(), lines.next().unwrap_or_default());
            assert!(!stores || !key.contains(&b'-') && !value.contains(&b'-'), "{command:?}");
        }
    }
}
