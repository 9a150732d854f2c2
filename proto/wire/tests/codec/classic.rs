//! Classic text, checked against what memcached 1.6.18 answered to the same bytes.

use std::borrow::Cow;

use bytes::BytesMut;
use evanesce_wire::limits::Limits;
use evanesce_wire::request::{
    Arithmetic, Delete, Direction, FlushAll, Keys, Set, SetMode, TooLarge, Touch, Verbosity,
};
use evanesce_wire::{Decoded, Expect, Exptime, MetaKey, Refusal, Request, RequestDecoder};

use crate::trace::{Event, answers, only, requests, requests_split, small_limits};

const TOO_LONG: &str = "CLIENT_ERROR bad command line format";

fn long_key() -> String {
    "k".repeat(251)
}

/// Each input with what 1.6.18 answered; requests show by name, since their outcome is not the codec's.
fn check(cases: &[(&str, &str)]) {
    let key = long_key();
    for (input, said) in cases {
        let input = input.replace("<KEY>", &key);
        assert_eq!(answers(input.as_bytes()), *said, "input {input:?}");
    }
}

fn decode_first(input: &[u8]) -> Request<'_> {
    match RequestDecoder::default().decode(input) {
        Decoded::Request { request, .. } => request,
        other => panic!("no request: {other:?}"),
    }
}

fn keys(request: &Request<'_>) -> Vec<String> {
    let Request::Get(get) = request else { panic!("no retrieval: {request:?}") };
    get.keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
}

#[test]
fn get_lists_its_keys_in_order_with_repeats() {
    assert_eq!(keys(&only(b"get a\r\n")), ["a"]);
    assert_eq!(keys(&only(b"get a\n")), ["a"]);
    assert_eq!(keys(&only(b"  get   a  b a \r\n")), ["a", "b", "a"]);
    assert_eq!(keys(&only(b"get a\r\r\n")), ["a\r"]);
    assert_eq!(keys(&only(format!("get {}\r\n", "k".repeat(250)).as_bytes())), ["k".repeat(250)]);
    assert_eq!(keys(&only(b"get abcdefghij klm\r\n")), ["abcdefghij", "klm"]);
    let many = format!("get {}\r\n", "some-key ".repeat(5000));
    assert_eq!(keys(&only(many.as_bytes())).len(), 5000);
}

#[test]
fn keys_of_a_client_hold_no_line_end() {
    assert_eq!(Keys::new(b"a b").map(|keys| keys.iter().count()), Some(2));
    let are_more = |text, count| Keys::new(text).expect("good keys").are_more_than(count);
    assert!(are_more(b"a b", 1) && are_more(b" a  b ", 1) && are_more(b"a b", 0));
    assert!(!are_more(b"a b", 2) && !are_more(b"a    ", 1));
    assert_eq!(Keys::new(b"a\r\nflush_all"), None);
    assert_eq!(Keys::new(&[&[b'k'; 250][..], b"\nflush_all"].concat()), None);
    assert_eq!(Keys::new(b"  "), None);
}

#[test]
fn gets_and_gat_carry_cas_and_expiry() {
    let facts = |input: &[u8]| match only(input) {
        Request::Get(get) => (get.with_cas, get.touch),
        other => panic!("{other:?}"),
    };
    assert_eq!(facts(b"get a\r\n"), (false, None));
    assert_eq!(facts(b"gets a\r\n"), (true, None));
    assert_eq!(facts(b"gat 60 a\r\n"), (false, Some(Exptime(60))));
    assert_eq!(facts(b"gats -1 a\r\n"), (true, Some(Exptime(-1))));
    assert!(keys(&only(b"gat 0\r\n")).is_empty());
}

#[test]
fn wrong_retrieval_is_answered_as_memcached_does() {
    check(&[
        ("get\r\n", "ERROR"),
        ("get \r\n", "ERROR"),
        ("gat\r\n", "ERROR"),
        ("gat x k\r\n", "CLIENT_ERROR invalid exptime argument"),
        ("gat x <KEY>\r\n", "CLIENT_ERROR invalid exptime argument"),
        ("gat 0 <KEY>\r\n", TOO_LONG),
        ("get <KEY>\r\n", TOO_LONG),
        ("get a <KEY> b\r\nget a\r\n", &format!("{TOO_LONG}|<Get>")),
        ("getx k\r\n", "ERROR"),
        ("get\tk\r\n", "ERROR"),
        ("GET k\r\n", "ERROR"),
    ]);
}

#[test]
fn store_commands_carry_their_value() {
    let set = Set {
        key: b"k",
        mode: SetMode::Set,
        compare: None,
        flags: 5,
        exptime: Exptime(60),
        value: b"hi",
        noreply: false,
    };
    assert_eq!(only(b"set k 5 60 2\r\nhi\r\n"), Request::Set(set.clone()));
    assert_eq!(only(b"set k 5 60 2 other\nhi\r\n"), Request::Set(set.clone()));
    assert_eq!(only(b"set k +5 060 2 noreply\r\nhi\r\n"), Request::Set(Set { noreply: true, ..set.clone() }));
    assert_eq!(only(b"add k 5 60 2\r\nhi\r\n"), Request::Set(Set { mode: SetMode::Add, ..set.clone() }));
    assert_eq!(
        only(b"replace k 5 60 2\r\nhi\r\n"),
        Request::Set(Set { mode: SetMode::Replace, ..set.clone() })
    );
    assert_eq!(
        only(b"append k 5 60 2\r\nhi\r\n"),
        Request::Set(Set { mode: SetMode::Append, ..set.clone() })
    );
    assert_eq!(
        only(b"prepend k 5 60 2\r\nhi\r\n"),
        Request::Set(Set { mode: SetMode::Prepend, ..set.clone() })
    );
    assert_eq!(only(b"cas k 5 60 2 7\r\nhi\r\n"), Request::Set(Set { compare: Some(7), ..set.clone() }));
    assert_eq!(
        only(b"cas k 5 60 2 7 noreply\r\nhi\r\n"),
        Request::Set(Set { compare: Some(7), noreply: true, ..set.clone() })
    );
    assert_eq!(only(b"set k 5 60 0\r\n\r\n"), Request::Set(Set { value: b"", ..set.clone() }));
    assert_eq!(
        only(b"set k 5 60 4\r\n\r\n\r\n\r\n"),
        Request::Set(Set { value: b"\r\n\r\n", ..set.clone() })
    );
    assert_eq!(only(b"set k 4294967301 60 2\r\nhi\r\n"), Request::Set(set));
}

#[test]
fn wrong_store_command_is_answered_as_memcached_does() {
    let bad = TOO_LONG;
    check(&[
        ("set k 0 0\r\nmn\r\n", "ERROR|<MetaNoop>"),
        ("set k 0 0 2 noreply x\r\nhi\r\nmn\r\n", "ERROR|ERROR|<MetaNoop>"),
        ("set <KEY> 0 0 2\r\nhi\r\nmn\r\n", &format!("{bad}|ERROR|<MetaNoop>")),
        ("set <KEY> 0 0 2 noreply\r\nhi\r\nmn\r\n", "(silent)|ERROR|<MetaNoop>"),
        ("set k 0 0 -1\r\nmn\r\n", &format!("{bad}|<MetaNoop>")),
        ("set k 0 0 x\r\nmn\r\n", &format!("{bad}|<MetaNoop>")),
        ("set k 0 0 noreply\r\nmn\r\n", "(silent)|<MetaNoop>"),
        ("set k -1 0 2\r\nhi\r\n", &format!("{bad}|ERROR")),
        ("set k 0x5 0 2\r\nhi\r\n", &format!("{bad}|ERROR")),
        ("set k 99999999999999999999 0 2\r\nhi\r\n", &format!("{bad}|ERROR")),
        ("set k 0 99999999999999999999 2\r\nhi\r\n", &format!("{bad}|ERROR")),
        ("set k 0 0 2147483646\r\nmn\r\n", &format!("{bad}|<MetaNoop>")),
        ("set k 0 0 2147483648\r\nmn\r\n", &format!("{bad}|<MetaNoop>")),
        ("set k 0 0 2147483645\r\nmn\r\n", "<TooLarge>"),
        ("set k 0 0 2\r\nhello\r\nmn\r\n", "CLIENT_ERROR bad data chunk|ERROR|<MetaNoop>"),
        ("set k 0 0 2 noreply\r\nhello\r\nmn\r\n", "(silent)|ERROR|<MetaNoop>"),
        ("set k 0 0 2\r\nhi\n\nmn\r\n", "CLIENT_ERROR bad data chunk|<MetaNoop>"),
        ("cas k 0 0 2\r\nhi\r\nmn\r\n", "ERROR|ERROR|<MetaNoop>"),
        ("cas k 0 0 2 x\r\nhi\r\nmn\r\n", &format!("{bad}|ERROR|<MetaNoop>")),
        ("cas k 0 0 2 -1\r\nhi\r\nmn\r\n", &format!("{bad}|ERROR|<MetaNoop>")),
        ("cas k 0 0 2 noreply\r\nhi\r\nmn\r\n", "(silent)|ERROR|<MetaNoop>"),
        ("cas k 0 0 2 1 noreply z\r\nhi\r\nmn\r\n", "ERROR|ERROR|<MetaNoop>"),
    ]);
}

#[test]
fn value_beyond_the_limit_is_swallowed_and_drops_the_item_of_set_only() {
    let input = [b"set k 0 0 65\r\n".as_slice(), &[b'x'; 65], b"\r\nmn\r\n"].concat();
    assert_eq!(answers(&input), "<TooLarge>|<MetaNoop>");
    let refused = |line: &'static str| {
        let mut decoder = RequestDecoder::new(small_limits());
        let decoded = decoder.decode(line.as_bytes());
        let Decoded::Request { request: Request::TooLarge(refused), consumed } = decoded else {
            panic!("not refused: {decoded:?}")
        };
        assert_eq!((consumed, decoder.to_swallow()), (line.len(), 102));
        assert_eq!(decoder.decode(b""), Decoded::Incomplete { missing: 1 });
        assert_eq!(decoder.decode(&[b'x'; 100]), Decoded::Skipped { consumed: 100 });
        assert_eq!(decoder.decode(b"\r\nget"), Decoded::Skipped { consumed: 2 });
        refused
    };
    let key = MetaKey { bytes: Cow::Borrowed(b"k"), base64: false };
    let expected = |drop_item, silent| {
        let refusal = Refusal::text("SERVER_ERROR object too large for cache", silent);
        TooLarge { key: key.clone(), drop_item, version: None, refusal }
    };
    assert_eq!(refused("set k 0 0 100\r\n"), expected(true, false));
    assert_eq!(refused("add k 0 0 100 noreply\r\n"), expected(false, true));
    assert_eq!(refused("cas k 0 0 100 1\r\n"), expected(false, false));
    assert_eq!(refused("ms k 100 q\r\n"), expected(true, false));
}

#[test]
fn missing_bytes_of_a_value_are_told_exactly() {
    let mut decoder = RequestDecoder::new(Limits::default());
    let input = b"set k 0 0 1000\r\nabc";
    assert_eq!(decoder.decode(&input[..15]), Decoded::Incomplete { missing: 1 });
    assert_eq!(decoder.decode(&input[..16]), Decoded::Incomplete { missing: 1002 });
    assert_eq!(decoder.decode(input), Decoded::Incomplete { missing: 999 });
}

#[test]
fn commands_of_one_line_are_understood() {
    let (key, noreply) = (&b"n"[..], false);
    let (increment, decrement) = (Direction::Increment, Direction::Decrement);
    let arithmetic =
        |direction, delta, noreply| Request::Arithmetic(Arithmetic { key, direction, delta, noreply });
    assert_eq!(only(b"incr n 1\r\n"), arithmetic(increment, 1, false));
    assert_eq!(only(b"incr n 1 foo\r\n"), arithmetic(increment, 1, false));
    assert_eq!(only(b"decr n 18446744073709551615 noreply\r\n"), arithmetic(decrement, u64::MAX, true));
    assert_eq!(only(b"touch n 0\r\n"), Request::Touch(Touch { key, exptime: Exptime(0), noreply }));
    assert_eq!(only(b"touch n -5 foo\r\n"), Request::Touch(Touch { key, exptime: Exptime(-5), noreply }));
    assert_eq!(only(b"delete n\r\n"), Request::Delete(Delete { key, noreply }));
    assert_eq!(only(b"delete n 0\r\n"), Request::Delete(Delete { key, noreply }));
    assert_eq!(only(b"delete n 0 noreply\r\n"), Request::Delete(Delete { key, noreply: true }));
    assert_eq!(only(b"delete n noreply\r\n"), Request::Delete(Delete { key, noreply: true }));
    let flush =
        |delay: Option<i64>, noreply| Request::FlushAll(FlushAll { delay: delay.map(Exptime), noreply });
    assert_eq!(only(b"flush_all\r\n"), flush(None, false));
    assert_eq!(only(b"flush_all noreply\r\n"), flush(None, true));
    assert_eq!(only(b"flush_all 0\r\n"), flush(None, false));
    assert_eq!(only(b"flush_all -1\r\n"), flush(None, false));
    assert_eq!(only(b"flush_all 10 2\r\n"), flush(Some(10), false));
    assert_eq!(only(b"flush_all 10 noreply\r\n"), flush(Some(10), true));
    assert_eq!(only(b"verbosity 1\r\n"), Request::Verbosity(Verbosity { noreply }));
    assert_eq!(only(b"verbosity 1 noreply\r\n"), Request::Verbosity(Verbosity { noreply: true }));
    assert_eq!(only(b"version x y\r\n"), Request::Version);
    assert_eq!(only(b"quit x\r\n"), Request::Quit);
    assert_eq!(only(b"stats\r\n"), Request::Stats(b""));
    assert_eq!(only(b"stats  detail on \r\n"), Request::Stats(b"detail on"));
}

#[test]
fn wrong_command_of_one_line_is_answered_as_memcached_does() {
    let delete = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]";
    let exptime = "CLIENT_ERROR invalid exptime argument";
    let delta = "CLIENT_ERROR invalid numeric delta argument";
    check(&[
        ("incr n\r\n", "ERROR"),
        ("incr n 1 noreply x\r\n", "ERROR"),
        ("incr n x\r\n", delta),
        ("incr n -1\r\n", delta),
        ("incr n 18446744073709551616\r\n", delta),
        ("incr n x noreply\r\n", "(silent)"),
        ("incr <KEY> 1\r\n", TOO_LONG),
        ("touch k\r\n", "ERROR"),
        ("touch k 0 noreply x\r\n", "ERROR"),
        ("touch k x\r\n", exptime),
        ("touch k noreply\r\n", "(silent)"),
        ("touch <KEY> 0\r\n", TOO_LONG),
        ("delete\r\n", "ERROR"),
        ("delete no 0 noreply x\r\n", "ERROR"),
        ("delete no 1\r\n", delete),
        ("delete no foo\r\n", delete),
        ("delete no 0 foo\r\n", delete),
        ("delete no noreply 0\r\n", delete),
        ("delete no 1 noreply\r\n", "(silent)"),
        ("delete no noreply noreply\r\n", "(silent)"),
        ("delete <KEY>\r\n", TOO_LONG),
        ("delete <KEY> noreply\r\n", "(silent)"),
        ("flush_all x\r\n", exptime),
        ("flush_all noreply x\r\n", exptime),
        ("flush_all x noreply\r\n", "(silent)"),
        ("flush_all noreply noreply\r\n", "(silent)"),
        ("flush_all 1 2 3\r\n", "ERROR"),
        ("verbosity\r\n", "ERROR"),
        ("verbosity 0 0 0\r\n", "ERROR"),
        ("verbosity x\r\n", TOO_LONG),
        ("verbosity noreply\r\n", "(silent)"),
        ("foo noreply\r\n", "ERROR"),
        ("\r\n", "ERROR"),
        ("\n", "ERROR"),
        ("q\r\n", "ERROR"),
        ("GET / HTTP/1.1\r\nmn\r\n", "(closed)"),
        ("patch / HTTP/1.1\r\nmn\r\n", "(closed)"),
        ("mgx / HTTP/1.1 \r\nmn\r\n", "(closed)"),
        ("HTTP/\r\nmn\r\n", "(closed)"),
        ("A HTTP/ x\r\nmn\r\n", "ERROR|<MetaNoop>"),
        ("get / HTTP/1.1\r\nmn\r\n", "<Get>|<MetaNoop>"),
    ]);
}

#[test]
fn line_beyond_2048_bytes_closes_unless_it_is_a_retrieval() {
    let line = |bytes: usize, end: &str| format!("{}{end}", "x".repeat(bytes));
    assert_eq!(requests(line(2048, "").as_bytes()), [Event::Incomplete]);
    assert_eq!(requests(line(2048, "\n").as_bytes())[0], Event::Refused("ERROR"));
    assert_eq!(answers(line(2049, "").as_bytes()), "(closed)");
    assert_eq!(answers(line(2049, "\n").as_bytes()), "(closed)");
    for name in ["get", "gets", "gat 0", "  gets"] {
        assert_eq!(answers(format!("{name} {}\r\n", "key ".repeat(800)).as_bytes()), "<Get>");
    }
    assert_eq!(answers(format!("{}get {}", " ".repeat(101), line(2000, "")).as_bytes()), "(closed)");
    let beyond = format!("get {}", "key ".repeat(1024));
    assert_eq!(requests(beyond.as_bytes()), [Event::Fatal("CLIENT_ERROR line too long")]);
    for split in [1, 7, 2048, 2049, 4096] {
        let events = requests_split(beyond.as_bytes(), small_limits(), &[split]);
        assert_eq!(events, [Event::Fatal("CLIENT_ERROR line too long")], "split {split}");
    }
}

#[test]
fn every_request_is_encoded_as_it_was_read() {
    let lines: [&[u8]; 22] = [
        b"get a b a\r\n",
        b"gets a\r\n",
        b"gat -1 a b\r\n",
        b"gats 60 a\r\n",
        b"set k 5 60 2\r\nhi\r\n",
        b"add k 0 0 0 noreply\r\n\r\n",
        b"replace k 0 -1 2\r\nhi\r\n",
        b"append k 0 0 2\r\nhi\r\n",
        b"prepend k 0 0 2\r\nhi\r\n",
        b"cas k 4294967295 0 2 18446744073709551615 noreply\r\nhi\r\n",
        b"incr n 1\r\n",
        b"decr n 18446744073709551615 noreply\r\n",
        b"touch n -9223372036854775808\r\n",
        b"delete n noreply\r\n",
        b"flush_all 10 noreply\r\n",
        b"flush_all\r\n",
        b"verbosity 0\r\n",
        b"version\r\n",
        b"stats\r\n",
        b"stats settings\r\n",
        b"quit\r\n",
        b"mn\r\n",
    ];
    for line in lines {
        let mut out = BytesMut::new();
        only(line).encode(&mut out);
        assert_eq!(out, line);
    }
}

#[test]
fn kind_of_answer_is_known_from_the_request() {
    assert_eq!(only(b"get a\r\n").expect(), Some(Expect::Retrieval));
    assert_eq!(only(b"stats\r\n").expect(), Some(Expect::Stats));
    assert_eq!(only(b"incr n 1\r\n").expect(), Some(Expect::Line));
    assert_eq!(only(b"mg a\r\n").expect(), Some(Expect::Meta));
    assert_eq!(only(b"mg a q\r\n").expect(), None);
    assert_eq!(only(b"incr n 1 noreply\r\n").expect(), None);
    assert_eq!(only(b"quit\r\n").expect(), None);
    // Nothing is sent for it, so nothing comes back: a sender that waited would take the next request's answer.
    let refused = decode_first(b"set k 0 0 2000000\r\n");
    assert!(matches!(refused, Request::TooLarge(_)));
    assert_eq!(refused.expect(), None);
}
