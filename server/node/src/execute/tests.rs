//! Transcripts: bytes in, bytes out, at a given time. CAS tokens in replies stand as `#`.

mod binary;
mod operator;
mod versions;

use std::cell::Cell;
use std::num::NonZeroUsize;

use evanesce_front::{Flow, ReplyBuffer};
use evanesce_store::{Store, StoreConfig, Time};
use evanesce_wire::{Decoded, Limits, RequestDecoder};

use super::{Context, READS_MAX, execute};
use crate::clock::Clock;
use crate::settings::{Facts, Protection};
use crate::shared::Shared;

const START: Time = Time(1_700_000_000_250);

/// A node without sockets.
struct Bench {
    shared: Shared,
    now: Time,
    reads: Cell<usize>,
}

impl Bench {
    fn new() -> Self {
        let config =
            StoreConfig { memory_bytes: 16 << 20, shards: NonZeroUsize::MIN, ..StoreConfig::default() };
        let facts = Facts {
            protection: Protection::default(),
            memcached: "127.0.0.1:11211".parse().unwrap(),
            item_bytes_max: 1 << 20,
            connections_max: 10,
            idle_timeout: None,
            shutdown_command: false,
            configuration: None,
        };
        Self {
            shared: Shared::new(Store::new(config).unwrap(), Clock::start(), 1, None, facts),
            now: START,
            reads: Cell::new(READS_MAX),
        }
    }

    /// Decodes and executes all of `input`.
    fn send(&self, input: &[u8]) -> Vec<u8> {
        self.replies(input).to_vec()
    }

    fn replies(&self, input: &[u8]) -> ReplyBuffer {
        let mut decoder = RequestDecoder::new(Limits::default());
        let mut out = ReplyBuffer::new();
        let context = self.context();
        let mut at = 0;
        while at < input.len() {
            match decoder.decode(&input[at..]) {
                Decoded::Request { request, consumed } => {
                    at += consumed;
                    if execute(&request, &context, &mut out) == Flow::Close {
                        break;
                    }
                }
                Decoded::Refused { refusal, consumed } => {
                    at += consumed;
                    refusal.encode(out.buf());
                }
                Decoded::Skipped { consumed } => at += consumed,
                Decoded::Incomplete { missing } => panic!("{missing} bytes are missing in the transcript"),
                Decoded::Fatal { refusal } => panic!("{}", refusal.line()),
            }
        }
        out
    }

    fn context(&self) -> Context<'_> {
        Context {
            store: &self.shared.store,
            now: self.now,
            commands: &self.shared.commands[0],
            shared: &self.shared,
            hides_before: self.shared.standing.hides_before(),
            reads: &self.reads,
            watch: self.shared.watchers.watch(self.now, || 3),
        }
    }

    fn text(&self, input: &str) -> String {
        let wire = input.replace('\n', "\r\n");
        String::from_utf8(self.send(wire.as_bytes())).unwrap().replace("\r\n", "\n")
    }

    fn stat(&self, name: &str) -> u64 {
        let stats = self.text("stats\n");
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {stats}")).parse().unwrap()
    }
}

/// Replaces the CAS tokens of `gets` and of the meta flag `c`.
fn without_tokens(reply: &str) -> String {
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let is_token = |index: usize, word: &str| match words[0] {
            "VALUE" => index == 4,
            "VA" | "HD" => word.len() > 1 && word.starts_with('c') && word[1..].parse::<u64>().is_ok(),
            _ => false,
        };
        let shown =
            words.iter().enumerate().map(|(index, word)| if is_token(index, word) { "#" } else { word });
        shown.collect::<Vec<_>>().join(" ")
    };
    reply.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

fn check(transcript: &[(&str, &str)]) {
    let bench = Bench::new();
    for (input, expected) in transcript {
        assert_eq!(without_tokens(&bench.text(input)), *expected, "answer to {input:?}");
    }
}

#[test]
fn classic_storage() {
    check(&[
        ("set a 5 0 3\nabc\n", "STORED\n"),
        ("get a\n", "VALUE a 5 3\nabc\nEND\n"),
        ("gets a b\n", "VALUE a 5 3 #\nabc\nEND\n"),
        ("get a x a\n", "VALUE a 5 3\nabc\nVALUE a 5 3\nabc\nEND\n"),
        ("add a 0 0 1\nx\n", "NOT_STORED\n"),
        ("add b 0 0 1\nx\n", "STORED\n"),
        ("replace b 7 0 2\nyy\n", "STORED\n"),
        ("replace c 7 0 2\nyy\n", "NOT_STORED\n"),
        ("append b 9 9 1\nz\n", "STORED\n"),
        ("prepend b 9 9 1\na\n", "STORED\n"),
        ("get b\n", "VALUE b 7 4\nayyz\nEND\n"),
        ("append c 0 0 1\nz\n", "NOT_STORED\n"),
        ("cas c 0 0 1 1\nz\n", "NOT_FOUND\n"),
        ("cas b 0 0 1 999999999\nz\n", "EXISTS\n"),
        ("set q 0 0 1 noreply\nz\n", ""),
        ("add q 0 0 1 noreply\ny\nget q\n", "VALUE q 0 1\nz\nEND\n"),
        ("set a 0 0 3\nabcd\nversion\n", "CLIENT_ERROR bad data chunk\nERROR\nVERSION 1.6.18\n"),
    ]);
}

#[test]
fn cas_with_the_token_shown_stores_once() {
    let bench = Bench::new();
    bench.text("set a 0 0 1\nx\n");
    let shown = bench.text("gets a\n");
    let token = shown.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    let cas = format!("cas a 0 0 1 {token}\ny\n");
    assert_eq!(bench.text(&cas), "STORED\n");
    assert_eq!(bench.text(&cas), "EXISTS\n");
    assert_eq!((bench.stat("cas_hits"), bench.stat("cas_badval")), (1, 1));
}

#[test]
fn arithmetic() {
    check(&[
        ("incr n 1\n", "NOT_FOUND\n"),
        ("set n 3 0 2\n10\nincr n 5\n", "STORED\n15\n"),
        ("decr n 20\n", "0\n"),
        ("incr n 18446744073709551615\nincr n 2\n", "18446744073709551615\n1\n"),
        ("incr n 1 noreply\nget n\n", "VALUE n 3 20\n2                   \nEND\n"),
        ("incr n x\n", "CLIENT_ERROR invalid numeric delta argument\n"),
        (
            "set s 0 0 1\nx\nincr s 1\n",
            "STORED\nCLIENT_ERROR cannot increment or decrement non-numeric value\n",
        ),
    ]);
}

#[test]
fn touch_and_delete() {
    check(&[
        ("touch a 10\n", "NOT_FOUND\n"),
        ("set a 1 0 1\nx\ntouch a 10\n", "STORED\nTOUCHED\n"),
        ("gat 20 a b\n", "VALUE a 1 1\nx\nEND\n"),
        ("gats 20 a\n", "VALUE a 1 1 #\nx\nEND\n"),
        ("gat 20\n", "END\n"),
        ("mg a t\n", "HD t20\n"),
        ("touch a -1\nget a\n", "TOUCHED\nEND\n"),
        ("set a 0 0 1\nx\ndelete a\ndelete a\n", "STORED\nDELETED\nNOT_FOUND\n"),
        ("delete a noreply\ndelete a 0\n", "NOT_FOUND\n"),
        ("delete a 5\n", "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\n"),
    ]);
}

#[test]
fn small_commands() {
    check(&[
        ("version\n", "VERSION 1.6.18\n"),
        ("verbosity 1\nverbosity 1 noreply\n", "OK\n"),
        ("mn\n", "MN\n"),
        ("nonsense\n", "ERROR\n"),
        ("stats reset\n", "RESET\n"),
        ("stats nonsense\n", "ERROR\n"),
        ("stats items\n", "END\n"),
        ("quit\nversion\n", ""),
    ]);
}

#[test]
fn meta_storage() {
    check(&[
        ("ms a 2 T60 F5 c\nhi\n", "HD #\n"),
        ("mg a v t f s k q O99\n", "VA 2 t60 f5 s2 ka O99\nhi\n"),
        ("mg a\nmg a q\n", "HD\nHD\n"),
        ("mg b v\nmg b v q\nmg b k O1 v\n", "EN\nEN kb O1\n"),
        ("ms a 1 ME\nx\n", "NS\n"),
        ("ms a 2 MA q\nxx\nmg a v s\n", "VA 4 s4\nhixx\n"),
        ("ms b 1 MR\nx\nms b 1 MA\nx\nms b 1 MA N60\nx\nmg b v t\n", "NS\nNS\nHD\nVA 1 t60\nx\n"),
        ("ms a 1 C1\nx\nms c 1 C1 O3\nx\n", "EX\nNF O3\n"),
        ("ms a 1 E77 c\nx\nmg a c\n", "HD #\nHD #\n"),
        ("ms YWJj 1 b\nx\nget abc\nmg YWJj b v k\n", "HD\nVALUE abc 0 1\nx\nEND\nVA 1 kYWJj b\nx\n"),
        ("md a C1\nmd a q\nmd a\nmd a q O1\n", "EX\nNF\nNF O1\n"),
        ("me a\n", "EN\n"),
        ("ms a 1 q\nx\nmg a h l\nmg a h\n", "HD h0 l0\nHD h1\n"),
    ]);
}

#[test]
fn meta_arithmetic() {
    check(&[
        ("ma n\nma n q\n", "NF\nNF\n"),
        ("ma n N60 J10 v\n", "VA 2\n10\n"),
        ("ma n v t\n", "VA 2 t60\n11\n"),
        ("ma n MD D5\nma n q\nma n MD D100 v\n", "HD\nVA 1\n0\n"),
        ("ma n T30 t\nma n C1\n", "HD t30\nEX\n"),
    ]);
}

#[test]
fn stale_item_gives_one_caller_the_win() {
    check(&[
        ("ms a 1 T60\nx\nmd a I T30\n", "HD\nHD\n"),
        ("mg a v t\nmg a v t\n", "VA 1 t30 X W\nx\nVA 1 t30 Z X\nx\n"),
        ("ms a 1\ny\nmg a v\n", "HD\nVA 1\ny\n"),
        ("mg b N30 v t\nmg b N30 v t\n", "VA 0 t30 W\n\nVA 0 t30 Z\n\n"),
    ]);
}

// A miss with `N30 T60` made an item of 30 seconds, and `T10 R60` asked what remained before the touch. A date behind `R`
// was that many seconds.
#[test]
fn expiries_of_one_request_are_obeyed_in_the_order_sent() {
    check(&[
        ("mg a N30 T60 t\nmg b T60 N30 t\n", "HD t60 W\nHD t30 W\n"),
        ("ma c N30 T60 t\nma d T60 N30 t\n", "HD t60\nHD t30\n"),
        ("ms e 1 T90\nx\nmg e R60 T10 t\n", "HD\nHD t10\n"),
        ("ms f 1 T90\nx\nmg f T10 R60 t\n", "HD\nHD t10 W\n"),
        ("ms g 1 T10\nx\nmg g T90 R60 t\n", "HD\nHD t90\n"),
        ("ms h 1 T90\nx\nmg h R1700000060\nmg h R1700000120\n", "HD\nHD\nHD W\n"),
        ("ms i 1 T90\nx\nmg i R2592001\nmg i R-1\nmg i R0\n", "HD\nHD\nHD\nHD\n"),
    ]);
}

#[test]
fn items_expire_when_their_seconds_have_passed() {
    let mut bench = Bench::new();
    bench.text("set a 0 10 1\nx\nset b 0 1700000005 1\nx\n");
    bench.now = Time(START.0 + 4_749);
    assert_eq!(bench.text("get a b\n"), "VALUE a 0 1\nx\nVALUE b 0 1\nx\nEND\n");
    bench.now = Time(START.0 + 4_750);
    assert_eq!(bench.text("get a b\n"), "VALUE a 0 1\nx\nEND\n");
    bench.now = Time(START.0 + 9_999);
    assert_eq!(bench.text("mg a t\n"), "HD t1\n");
    bench.now = Time(START.0 + 10_000);
    assert_eq!(bench.text("get a\n"), "END\n");
}

#[test]
fn flush_takes_what_was_there_and_nothing_later() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.text("set a 0 0 1\nx\nflush_all\nget a\nset a 0 0 1\ny\nget a\n"),
        "STORED\nOK\nEND\nSTORED\nVALUE a 0 1\ny\nEND\n"
    );
    assert_eq!(
        bench.text("flush_all 10\nget a\nflush_all noreply\nget a\n"),
        "OK\nVALUE a 0 1\ny\nEND\nEND\n"
    );
    bench.text("set a 0 0 1\nx\nflush_all 10\n");
    bench.now = Time(START.0 + 9_999);
    assert_eq!(bench.text("get a\n"), "VALUE a 0 1\nx\nEND\n");
    bench.now = Time(START.0 + 10_000);
    assert_eq!(bench.text("get a\n"), "END\n");
}

#[test]
fn value_too_large_is_refused_and_drops_what_set_would_have_replaced() {
    let bench = Bench::new();
    let large = vec![b'v'; (1 << 20) + 1];
    let command =
        |name: &str| [format!("{name} a 0 0 {}\r\n", large.len()).as_bytes(), &large, b"\r\n"].concat();
    bench.text("set a 0 0 1\nx\n");
    let refused = b"SERVER_ERROR object too large for cache\r\n";
    assert_eq!(bench.send(&command("append")), refused);
    assert_eq!(bench.text("get a\n"), "VALUE a 0 1\nx\nEND\n");
    assert_eq!(bench.send(&command("set")), refused);
    assert_eq!(bench.text("get a\n"), "END\n");
    assert_eq!(bench.stat("store_too_large"), 2);
}

#[test]
fn many_keys_come_back_in_order_whatever_their_size() {
    let bench = Bench::new();
    let mut expected = Vec::new();
    let mut line = b"get".to_vec();
    for index in 0..100 {
        let value = vec![b'a' + (index % 26) as u8; index * 300];
        let set = format!("set key{index} {index} 0 {}\r\n", value.len());
        assert_eq!(bench.send(&[set.as_bytes(), &value, b"\r\n"].concat()), b"STORED\r\n");
        line.extend_from_slice(format!(" key{index} none{index}").as_bytes());
        expected.extend_from_slice(format!("VALUE key{index} {index} {}\r\n", value.len()).as_bytes());
        expected.extend_from_slice(&[&value[..], b"\r\n"].concat());
    }
    assert!(bench.send(&[&line[..], b"\r\n"].concat()) == [&expected[..], b"END\r\n"].concat());
    assert_eq!((bench.stat("get_hits"), bench.stat("get_misses")), (100, 100));
}

// All of a large value counted against the budget of unread replies, though the store accounts for it: seventeen slow
// readers filled the budget, and everybody whose reply did not fit the socket at once was closed.
#[test]
fn large_value_of_the_store_is_no_charge_to_its_reader() {
    let bench = Bench::new();
    let value = [b'v'; 500_000];
    bench.send(&[b"set a 0 0 500000\r\n", &value[..], b"\r\n"].concat());
    for request in [&b"get a\r\n"[..], b"mg a v\r\n"] {
        let replies = bench.replies(request);
        assert!(replies.len() > value.len() && replies.owned_len() < 100);
    }
}

#[test]
fn stats_count_and_reset() {
    let bench = Bench::new();
    bench.text("set a 0 0 1\nx\nget a b\ntouch a 1\ntouch b 1\ndelete a\ndelete a\nma n N0\nma n\nincr n 1\ndecr n 1\n");
    let names = [
        "cmd_get",
        "get_hits",
        "get_misses",
        "cmd_set",
        "cmd_touch",
        "touch_hits",
        "touch_misses",
        "cmd_meta",
    ];
    assert_eq!(names.map(|name| bench.stat(name)), [2, 1, 1, 1, 2, 1, 1, 2]);
    let names = ["delete_hits", "delete_misses", "incr_hits", "incr_misses", "decr_hits", "curr_items"];
    assert_eq!(names.map(|name| bench.stat(name)), [1, 1, 2, 1, 1, 1]);
    assert_eq!(bench.text("stats reset\n"), "RESET\n");
    assert_eq!((bench.stat("cmd_get"), bench.stat("curr_items")), (0, 1));
    assert!(bench.text("stats settings\n").contains("STAT item_size_max 1048576\n"));
    assert!(bench.text("stats\n").contains(&format!("STAT evanesce_version {}\n", crate::shared::VERSION)));
}
