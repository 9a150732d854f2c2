//! What a hostile or broken peer sends, drawn from a seed.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

/// Longest run of noise: past every limit of a line.
const NOISE_BYTES_MAX: usize = 16 << 10;
/// Most requests of a pipelined heap.
const PIPELINE_MAX: usize = 200;

/// One input: bytes, and how the peer goes on after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) kind: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) manner: Manner,
}

/// How a peer sends, and leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Sends, reads what comes, closes.
    Polite,
    /// Sends, ends its own side, reads what comes.
    HalfClosed,
    /// Sends and closes without reading.
    Rude,
    /// Sends in pieces of some bytes with a pause between them.
    Pieces { bytes: usize, pause: Duration },
}

/// A kind's name and what makes one.
type Kind = (&'static str, fn(&mut SmallRng) -> Vec<u8>);

/// The input with a number in the run of a seed: the same whatever came before, so that one can be repeated.
pub(crate) fn input(seed: u64, number: u64) -> Input {
    let mut random = SmallRng::seed_from_u64(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let kinds: [Kind; 12] = [
        ("oversized key", oversized_key),
        ("negative length", negative_length),
        ("missing line end", missing_line_end),
        ("binary noise", noise),
        ("length of 2 GiB", huge_length),
        ("line without an end", endless_line),
        ("pipelined garbage", pipelined_garbage),
        ("changed request", changed_request),
        ("wrong numbers", wrong_numbers),
        ("meta flags", meta_flags),
        ("value cut off", cut_value),
        ("many keys", many_keys),
    ];
    let (kind, make) = kinds[random.random_range(0..kinds.len())];
    let bytes = make(&mut random);
    let manner = match random.random_range(0..20) {
        0..10 => Manner::Polite,
        10..14 => Manner::HalfClosed,
        14..19 => Manner::Rude,
        _ => Manner::Pieces { bytes: 1 + bytes.len() / 20, pause: Duration::from_millis(5) },
    };
    Input { kind, bytes, manner }
}

fn pick<'a>(random: &mut SmallRng, of: &[&'a str]) -> &'a str {
    of[random.random_range(0..of.len())]
}

fn command(random: &mut SmallRng) -> &'static str {
    let commands = [
        "get",
        "gets",
        "gat",
        "gats",
        "set",
        "add",
        "replace",
        "append",
        "prepend",
        "cas",
        "incr",
        "decr",
        "touch",
        "delete",
        "verbosity",
        "stats",
        "version",
        "mg",
        "ms",
        "md",
        "ma",
        "mn",
        "me",
        "flush_all",
        "watch",
        "lru",
    ];
    pick(random, &commands)
}

fn oversized_key(random: &mut SmallRng) -> Vec<u8> {
    let key = "k".repeat(random.random_range(251..4000));
    let rest = pick(random, &["", " 0 0 5\r\nhello", " 0", " 0 0 5 1\r\nhello", " 5\r\nhello", " v"]);
    format!("{} {key}{rest}\r\n", command(random)).into_bytes()
}

fn negative_length(random: &mut SmallRng) -> Vec<u8> {
    let length = pick(random, &["-1", "-2147483648", "-9223372036854775808", "-0", "--1", "-"]);
    let command = pick(random, &["set", "add", "replace", "append", "prepend", "cas", "ms"]);
    match command {
        "ms" => format!("ms k {length}\r\nhello\r\n"),
        "cas" => format!("cas k 0 0 {length} 1\r\nhello\r\n"),
        _ => format!("{command} k 0 0 {length}\r\nhello\r\n"),
    }
    .into_bytes()
}

fn missing_line_end(random: &mut SmallRng) -> Vec<u8> {
    let texts = [
        "get k",
        "set k 0 0 5\r\nhello",
        "set k 0 0 5\nhello",
        "set k 0 0 5\r\nhellohello\r\n",
        "set k 0 0 5\rhello\r",
    ];
    pick(random, &texts).as_bytes().to_vec()
}

fn noise(random: &mut SmallRng) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(1..NOISE_BYTES_MAX)];
    random.fill_bytes(&mut bytes);
    // A first byte of 0x80 asks for the binary protocol.
    if random.random_ratio(1, 4) {
        bytes[0] = 0x80;
    }
    bytes
}

fn huge_length(random: &mut SmallRng) -> Vec<u8> {
    let lengths = [
        "2147483647",
        "2147483645",
        "2147483648",
        "4294967295",
        "4294967296",
        "18446744073709551615",
        "1073741824",
    ];
    let length = pick(random, &lengths);
    let head = match random.random_range(0..3) {
        0 => format!("ms k {length}\r\n"),
        1 => format!("set k 0 0 {length} noreply\r\n"),
        _ => format!("set k 0 0 {length}\r\n"),
    };
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + random.random_range(0..100_000), b'x');
    bytes
}

fn endless_line(random: &mut SmallRng) -> Vec<u8> {
    let start = pick(random, &["", "get ", "set ", "mg ", "get k ", " "]);
    let filler = pick(random, &["x", "k ", " ", "\r", "\0"]);
    (start.to_owned() + &filler.repeat(random.random_range(1000..200_000))).into_bytes()
}

fn pipelined_garbage(random: &mut SmallRng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.random_range(2..PIPELINE_MAX) {
        let next = match random.random_range(0..8) {
            0 => oversized_key(random),
            1 => negative_length(random),
            2 => wrong_numbers(random),
            3 => meta_flags(random),
            4 => b"get k\r\n".to_vec(),
            5 => b"set k 0 0 5\r\nhello\r\n".to_vec(),
            6 => changed_request(random),
            _ => b"\r\n".to_vec(),
        };
        bytes.extend(next);
    }
    bytes
}

fn changed_request(random: &mut SmallRng) -> Vec<u8> {
    let requests = [
        "set k 0 0 5\r\nhello\r\n",
        "get k k2 k3\r\n",
        "cas k 1 60 3 77\r\nabc\r\n",
        "incr n 18446744073709551615\r\n",
        "mg k v t f s k O123 q\r\n",
        "ms k 5 T60 F7 MS\r\nhello\r\n",
        "ma n N60 J5 D3 v\r\n",
        "touch k 60 noreply\r\n",
        "gat 60 k k2\r\n",
    ];
    let mut bytes = pick(random, &requests).as_bytes().to_vec();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..3) {
            0 => bytes[at] = random.random(),
            1 => bytes.insert(at, random.random()),
            _ if bytes.len() > 1 => _ = bytes.remove(at),
            _ => {}
        }
    }
    bytes
}

fn wrong_numbers(random: &mut SmallRng) -> Vec<u8> {
    let numbers =
        ["x", "", "1e9", "0x10", "99999999999999999999999", "-1", "+1", "1.5", "\u{663}", "1 1 1 1 1"];
    let number = pick(random, &numbers);
    let templates = [
        "set k # 0 2\r\nhi\r\n",
        "set k 0 # 2\r\nhi\r\n",
        "set k 0 0 #\r\nhi\r\n",
        "incr k #\r\n",
        "touch k #\r\n",
    ];
    let more =
        ["gat # k\r\n", "cas k 0 0 2 #\r\nhi\r\n", "delete k #\r\n", "verbosity #\r\n", "ms k #\r\nhi\r\n"];
    let template = if random.random() { pick(random, &templates) } else { pick(random, &more) };
    template.replace('#', number).into_bytes()
}

fn meta_flags(random: &mut SmallRng) -> Vec<u8> {
    let command = pick(random, &["mg", "ms", "md", "ma", "me", "mn"]);
    let mut line = format!("{command} k{}", if command == "ms" { " 2" } else { "" });
    for _ in 0..random.random_range(0..60) {
        let letter = char::from(random.random_range(b'!'..=b'~'));
        let token = pick(
            random,
            &[
                "",
                "0",
                "-1",
                "99999999999999999999",
                "x",
                "!",
                "AAAA====",
                "ooooooooooooooooooooooooooooooooooo",
            ],
        );
        line += &format!(" {letter}{token}");
    }
    line += if command == "ms" { "\r\nhi\r\n" } else { "\r\n" };
    line.into_bytes()
}

fn cut_value(random: &mut SmallRng) -> Vec<u8> {
    let announced = random.random_range(1..1_000_000);
    let mut bytes = format!("set k{} 0 0 {announced}\r\n", random.random_range(0..100)).into_bytes();
    bytes.resize(bytes.len() + random.random_range(0..announced), b'v');
    bytes
}

fn many_keys(random: &mut SmallRng) -> Vec<u8> {
    let keys = " k".repeat(random.random_range(100..5000));
    format!("{}{keys}\r\n", pick(random, &["get", "gets", "gat 0", "delete", "mg"])).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::input;
    use std::collections::HashSet;

    #[test]
    fn a_seed_and_a_number_always_give_the_same_input() {
        assert_eq!(input(7, 1234), input(7, 1234));
        assert_ne!(input(7, 1234), input(8, 1234));
    }

    #[test]
    fn every_kind_comes_in_a_short_run() {
        let kinds: HashSet<&str> = (0..500).map(|number| input(1, number).kind).collect();
        assert_eq!(kinds.len(), 12);
    }
}
