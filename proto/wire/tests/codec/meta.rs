//! The meta commands, checked against memcached 1.6.18 where the newest release does the same.

use bytes::BytesMut;
use evanesce_wire::encode::{self, ItemFacts};
use evanesce_wire::request::{Direction, MetaArithmetic, MetaDelete, MetaGet, MetaSet, SetMode};
use evanesce_wire::{Exptime, MetaFlagsBuf, MetaKey, MetaStatus, Request};

use crate::trace::{answers, only};

fn get(line: &str) -> MetaGet<'_> {
    match only(line.as_bytes()) {
        Request::MetaGet(get) => get,
        other => panic!("no mg: {other:?}"),
    }
}

fn set(line: &str) -> MetaSet<'_> {
    match only(line.as_bytes()) {
        Request::MetaSet(set) => set,
        other => panic!("no ms: {other:?}"),
    }
}

fn delete(line: &str) -> MetaDelete<'_> {
    match only(line.as_bytes()) {
        Request::MetaDelete(delete) => delete,
        other => panic!("no md: {other:?}"),
    }
}

fn arithmetic(line: &str) -> MetaArithmetic<'_> {
    match only(line.as_bytes()) {
        Request::MetaArithmetic(arithmetic) => arithmetic,
        other => panic!("no ma: {other:?}"),
    }
}

fn written(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    String::from_utf8(out.to_vec()).expect("text")
}

fn facts() -> ItemFacts {
    ItemFacts {
        client_flags: 5,
        cas: 9,
        ttl_secs: Some(30),
        last_access_secs: 2,
        hit_before: true,
        value_bytes: 2,
        ..ItemFacts::default()
    }
}

#[test]
fn mg_flags_are_understood() {
    let plain = get("mg k\r\n");
    assert_eq!((&plain.key.bytes[..], plain.key.base64), (&b"k"[..], false));
    assert!(!plain.value && !plain.quiet && plain.counts_as_access && plain.touch.is_none());
    let full = get("mg k v q u T60 N-1 R30 C7 E8 Oabc k s t c f h l P1 L2\r\n");
    assert!(full.value && full.quiet && !full.counts_as_access);
    assert_eq!(
        (full.touch, full.vivify, full.recache_below),
        (Some(Exptime(60)), Some(Exptime(-1)), Some(30))
    );
    assert_eq!((full.compare, full.cas_override), (Some(7), Some(8)));
    assert_eq!(full.flags.get(b'O'), Some(&b"abc"[..]));
    assert_eq!(full.flags.iter().count(), 18);
}

#[test]
fn base64_key_is_decoded_and_goes_back_as_base64() {
    let request = get("mg AAEgCg== b k O7\r\n");
    assert_eq!((&request.key.bytes[..], request.key.base64), (&b"\x00\x01 \n"[..], true));
    assert_eq!(written(|out| encode::meta_miss(out, &request)), "EN kAAEgCg== b O7\r\n");
    let key = MetaKey::new(b"\x00\x01 \n").unwrap();
    let flags = MetaFlagsBuf::for_key(&key).flag(b'v');
    let request = MetaGet::new(key, flags.as_flags()).unwrap();
    assert_eq!(written(|out| Request::MetaGet(request).encode(out)), "mg AAEgCg== b v\r\n");
    assert_eq!(MetaKey::new(&[0; 186]).map(|key| key.base64), Some(true));
    assert_eq!(MetaKey::new(&[0; 187]), None);
    assert_eq!(MetaKey::new(&[b'k'; 250]).map(|key| key.base64), Some(false));
    assert_eq!(MetaKey::new(&[b'k'; 251]), None);
    assert_eq!(MetaKey::new(b""), None);
}

#[test]
fn wrong_meta_request_is_answered_as_memcached_does() {
    let long = "k".repeat(251);
    let (opaque, bad) = ("x".repeat(32), "CLIENT_ERROR bad command line format");
    let flags = "a b c d e f g h i j k l m n o p q r s";
    let cases = [
        ("mg\r\n", bad),
        ("mg <KEY> v\r\n", bad),
        ("mg k v v\r\n", "CLIENT_ERROR duplicate flag"),
        ("mg k \u{7f}\r\n", bad),
        ("mg k !\r\n", bad),
        ("mg k 1\r\n", "CLIENT_ERROR invalid flag"),
        ("mg k y\r\n", "CLIENT_ERROR invalid flag"),
        ("mg k Tx y\r\n", "CLIENT_ERROR invalid flag"),
        ("mg k T+1\r\n", "CLIENT_ERROR bad token in command line format"),
        ("mg k Tx\r\n", "CLIENT_ERROR bad token in command line format"),
        ("mg k T\r\n", "CLIENT_ERROR bad token in command line format"),
        ("mg k T1x\r\n", "CLIENT_ERROR bad token in command line format"),
        ("mg k Fx\r\n", bad),
        ("mg k F4294967296\r\n", bad),
        ("mg k M\r\n", "<MetaGet>"),
        ("mg k J\r\n", "CLIENT_ERROR invalid numeric initial value"),
        ("mg k O<OPAQUE>\r\n", "CLIENT_ERROR opaque token too long"),
        ("mg k b\r\n", "CLIENT_ERROR error decoding key"),
        ("mg k b c C1 f h k l O q s t u v E1 N1 R1 T1 P L\r\n", "CLIENT_ERROR options flags are too long"),
        ("md k <FLAGS>\r\n", "CLIENT_ERROR options flags are too long"),
        ("md k v v\r\n", "CLIENT_ERROR duplicate flag"),
        ("ma n v v\r\n", "CLIENT_ERROR invalid or duplicate flag"),
        ("ma n Dx\r\n", "CLIENT_ERROR invalid or duplicate flag"),
        ("ma n Mx\r\n", "CLIENT_ERROR invalid mode for ma M token"),
        ("ma n M\r\n", "CLIENT_ERROR invalid mode for ma M token"),
        ("ma n MDECR\r\n", "<MetaArithmetic>"),
        ("ma n O<OPAQUE>\r\n", "CLIENT_ERROR opaque token too long"),
        ("ma <KEY>\r\n", "CLIENT_ERROR invalid or duplicate flag"),
        ("me\r\n", bad),
        ("me Zm9 b\r\n", bad),
        ("mx k\r\n", "ERROR"),
        ("ms\r\n", bad),
        ("ms k\r\n", bad),
        ("ms k S2\r\nhi\r\nmn\r\n", "CLIENT_ERROR bad command line format|ERROR|<MetaNoop>"),
        ("ms k -1\r\nmn\r\n", "CLIENT_ERROR bad command line format|<MetaNoop>"),
        ("ms k 2 y\r\nhi\r\nmn\r\n", "CLIENT_ERROR invalid flag|<MetaNoop>"),
        ("ms k 2 b\r\nhi\r\nmn\r\n", "CLIENT_ERROR error decoding key|<MetaNoop>"),
        ("ms k 2 Mx\r\nhi\r\nmn\r\n", "CLIENT_ERROR invalid mode for ms M token|<MetaNoop>"),
        ("ms k +2\r\nmn\r\n", "CLIENT_ERROR bad command line format|<MetaNoop>"),
        ("ms k 2 MSET\r\nhi\r\nmn\r\n", "<MetaSet>|<MetaNoop>"),
        ("ms k 2 O<OPAQUE>\r\nhi\r\nmn\r\n", "CLIENT_ERROR opaque token too long|<MetaNoop>"),
        ("ms <KEY> 2\r\nhi\r\nmn\r\n", "CLIENT_ERROR bad command line format|<MetaNoop>"),
        ("ms k 2 q\r\nhello\r\nmn\r\n", "CLIENT_ERROR bad data chunk|ERROR|<MetaNoop>"),
        ("mn x y\r\n", "<MetaNoop>"),
        ("me k x y\r\n", "<MetaDebug>"),
    ];
    for (input, said) in cases {
        let input = input.replace("<KEY>", &long).replace("<OPAQUE>", &opaque).replace("<FLAGS>", flags);
        assert_eq!(answers(input.as_bytes()), said, "input {input:?}");
    }
}

#[test]
fn ms_modes_and_numbers_are_understood() {
    let plain = set("ms k 2\r\nhi\r\n");
    assert_eq!((plain.mode, plain.client_flags, plain.exptime), (SetMode::Set, 0, None));
    assert_eq!(plain.value, b"hi");
    let modes = [("S", SetMode::Set), ("E", SetMode::Add), ("A", SetMode::Append), ("P", SetMode::Prepend)];
    for (letter, mode) in modes.into_iter().chain([("R", SetMode::Replace)]) {
        assert_eq!(set(&format!("ms k 2 M{letter}\r\nhi\r\n")).mode, mode);
    }
    let full = set("ms Zm9v 2 b F5 T0 C7 E8 I N60 q c k O3 s\nhi\r\n");
    assert_eq!((&full.key.bytes[..], full.client_flags, full.exptime), (&b"foo"[..], 5, Some(Exptime(0))));
    assert_eq!((full.compare, full.cas_override, full.vivify), (Some(7), Some(8), Some(Exptime(60))));
    assert!(full.invalidate && full.quiet);
}

#[test]
fn md_and_ma_flags_are_understood() {
    let request = delete("md k C7 E8 I T30 x q\r\n");
    assert_eq!((request.compare, request.cas_override, request.touch), (Some(7), Some(8), Some(Exptime(30))));
    assert!(request.invalidate && request.drop_value && request.quiet);
    let plain = arithmetic("ma n\r\n");
    assert_eq!((plain.direction, plain.delta, plain.initial), (Direction::Increment, 1, 0));
    let full = arithmetic("ma n MD D5 J7 N60 T30 C1 E2 v q\r\n");
    assert_eq!((full.direction, full.delta, full.initial), (Direction::Decrement, 5, 7));
    assert_eq!((full.vivify, full.touch), (Some(Exptime(60)), Some(Exptime(30))));
    assert_eq!((full.compare, full.cas_override, full.value, full.quiet), (Some(1), Some(2), true, true));
    assert_eq!(arithmetic("ma n M-\r\n").direction, Direction::Decrement);
    assert_eq!(arithmetic("ma n M+\r\n").direction, Direction::Increment);
}

#[test]
fn mg_hit_returns_flags_in_the_order_asked() {
    let header =
        |line: &str, facts: &ItemFacts| written(|out| _ = encode::meta_hit_header(out, &get(line), facts));
    assert_eq!(header("mg k\r\n", &facts()), "HD\r\n");
    assert_eq!(header("mg k k O1 q v s t c f l h\r\n", &facts()), "VA 2 kk O1 s2 t30 c9 f5 l2 h1\r\n");
    assert_eq!(header("mg k h l f c t s T60 u O\r\n", &facts()), "HD h1 l2 f5 c9 t30 s2 O\r\n");
    assert_eq!(header("mg k t\r\n", &ItemFacts { ttl_secs: None, ..facts() }), "HD t-1\r\n");
    let until = ItemFacts { version: 6, until_secs: Some(70), ..facts() };
    assert_eq!(header("mg k t V O1\r\n", &until), "HD t30 V6 U70 O1\r\n");
    assert_eq!(header("mg k V\r\n", &until), "HD V6\r\n", "who asks for no time is told of none");
    assert_eq!(header("mg k t V\r\n", &ItemFacts { until_secs: None, ..until }), "HD t30 V6\r\n");
    let stale = ItemFacts { stale: true, win: true, ..facts() };
    assert_eq!(header("mg k v t c k\r\n", &stale), "VA 2 t30 c9 kk X W\r\n");
    let other = ItemFacts { stale: true, win_sent: true, ..facts() };
    assert_eq!(header("mg k v\r\n", &other), "VA 2 Z X\r\n");
}

#[test]
fn mg_leaves_the_value_out_when_the_cas_token_matches() {
    let mut out = BytesMut::new();
    assert!(!encode::meta_hit_header(&mut out, &get("mg k v C9 c\r\n"), &facts()));
    assert_eq!(out, "HD c9\r\n");
    out.clear();
    assert!(encode::meta_hit_header(&mut out, &get("mg k v C8 c\r\n"), &facts()));
    assert_eq!(out, "VA 2 c9\r\n");
}

#[test]
fn quiet_hides_the_common_answer_only() {
    assert_eq!(written(|out| encode::meta_miss(out, &get("mg k q\r\n"))), "");
    assert_eq!(written(|out| encode::meta_miss(out, &get("mg k k O1\r\n"))), "EN kk O1\r\n");
    let request = set("ms k 2 q c s k O1\r\nhi\r\n");
    let stored =
        |status, facts: Option<&ItemFacts>| written(|out| encode::meta_stored(out, status, &request, facts));
    assert_eq!(stored(MetaStatus::Done, Some(&facts())), "");
    assert_eq!(stored(MetaStatus::Exists, None), "EX c0 s2 kk O1\r\n");
    let loud = set("ms k 2 c s k O1 t f\r\nhi\r\n");
    let appended = ItemFacts { value_bytes: 4, ..facts() };
    let text = written(|out| encode::meta_stored(out, MetaStatus::Done, &loud, Some(&appended)));
    assert_eq!(text, "HD c9 s4 kk O1\r\n");
    let request = delete("md k q c O1 k\r\n");
    assert_eq!(written(|out| encode::meta_deleted(out, MetaStatus::Done, &request)), "");
    assert_eq!(written(|out| encode::meta_deleted(out, MetaStatus::NotFound, &request)), "NF O1 kk\r\n");
}

#[test]
fn ma_returns_the_number_when_asked() {
    let answer =
        |line: &str, number| written(|out| encode::meta_arithmetic(out, &arithmetic(line), number, &facts()));
    assert_eq!(answer("ma n\r\n", 7), "HD\r\n");
    assert_eq!(answer("ma n q v\r\n", 7), "");
    assert_eq!(answer("ma n N0 T30 v t c k O1\r\n", 10), "VA 2 t30 c9 kn O1\r\n10\r\n");
    assert_eq!(answer("ma n v\r\n", 0), "VA 1\r\n0\r\n");
    assert_eq!(answer("ma n v\r\n", u64::MAX), "VA 20\r\n18446744073709551615\r\n");
    let request = arithmetic("ma n q k O1\r\n");
    let text =
        written(|out| encode::meta_status(out, MetaStatus::NotFound, &request.key, &request.flags, None));
    assert_eq!(text, "NF kn O1\r\n");
}

#[test]
fn me_tells_what_the_store_knows() {
    let Request::MetaDebug(debug) = only(b"me Zm9v b\r\n") else { panic!("no me") };
    let text = written(|out| encode::meta_debug(out, &debug, &facts(), 1, 64));
    assert_eq!(text, "ME Zm9v exp=30 la=2 cas=9 fetch=yes cls=1 size=64\r\n");
    let Request::MetaDebug(debug) = only(b"me n\r\n") else { panic!("no me") };
    let fresh = ItemFacts { ttl_secs: None, hit_before: false, ..facts() };
    let text = written(|out| encode::meta_debug(out, &debug, &fresh, 1, 61));
    assert_eq!(text, "ME n exp=-1 la=2 cas=9 fetch=no cls=1 size=61\r\n");
    assert_eq!(written(encode::meta_debug_miss), "EN\r\n");
    assert_eq!(written(encode::meta_noop), "MN\r\n");
}

#[test]
fn meta_request_is_encoded_as_it_was_read() {
    let lines = [
        "mg k v q T60 Oabc\r\n",
        "ms Zm9v 2 b F5 T0 MA\r\nhi\r\n",
        "md k\r\n",
        "ma n v D5\r\n",
        "me Zm9v b\r\n",
    ];
    for line in lines {
        assert_eq!(written(|out| only(line.as_bytes()).encode(out)), line);
    }
}

#[test]
fn client_side_flags_are_checked_like_a_server_does() {
    let key = || MetaKey::new(b"k").unwrap();
    let wrong = MetaFlagsBuf::new().flag(b'v').flag(b'v');
    assert_eq!(MetaGet::new(key(), wrong.as_flags()).unwrap_err().line(), "CLIENT_ERROR duplicate flag");
    let base64 = MetaFlagsBuf::new().flag(b'b');
    assert_eq!(MetaGet::new(key(), base64.as_flags()).unwrap_err().line(), "CLIENT_ERROR error decoding key");
    let flags = MetaFlagsBuf::new().number(b'T', -1).number(b'C', u64::MAX).number(b'F', 5u32);
    let set = MetaSet::new(key(), flags.as_flags(), b"v").unwrap();
    assert_eq!((set.exptime, set.compare, set.client_flags), (Some(Exptime(-1)), Some(u64::MAX), 5));
}

#[test]
fn flag_that_would_end_the_line_is_never_written() {
    for letter in [b'\n', b' ', b'\0'] {
        assert!(std::panic::catch_unwind(|| MetaFlagsBuf::new().flag(letter)).is_err());
        assert!(std::panic::catch_unwind(|| MetaFlagsBuf::new().number(letter, 1)).is_err());
        assert!(std::panic::catch_unwind(|| MetaFlagsBuf::new().token(letter, b"x")).is_err());
    }
    assert!(std::panic::catch_unwind(|| MetaFlagsBuf::new().token(b'O', b"x\r\nflush_all")).is_err());
}

#[test]
fn versions_are_understood_where_they_mean_something() {
    let versioned = set("ms k 2 V77 r q\r\nhi\r\n");
    assert_eq!((versioned.version, versioned.repair, versioned.quiet), (Some(77), true, true));
    let asks = set("ms k 2 V\r\nhi\r\n");
    assert_eq!((asks.version, asks.repair), (None, false));
    assert_eq!((delete("md k V5\r\n").version, delete("md k\r\n").version), (Some(5), None));
    assert!(get("mg k V v\r\n").value && get("mg k v V9 r\r\n").value);
    for (input, expected) in [
        ("ms k 1 Vx\r\nx\r\n", "CLIENT_ERROR bad token in command line format"),
        ("md k V-1\r\n", "CLIENT_ERROR bad token in command line format"),
        ("mg k V V1\r\n", "CLIENT_ERROR duplicate flag"),
        ("ma k Vx\r\n", "CLIENT_ERROR invalid or duplicate flag"),
        ("mn V\r\nmn  V x\r\nmn Vx\r\n", "<MetaNoopVersions>|<MetaNoopVersions>|<MetaNoop>"),
    ] {
        assert_eq!(answers(input.as_bytes()), expected, "{input:?}");
    }
    let Request::MetaDebug(debug) = only(b"me Zm9v b V\r\n") else { panic!("no me") };
    assert!(debug.version && debug.key.base64);
}

#[test]
fn versions_are_told_and_read_back() {
    use evanesce_wire::encode::VersionTold;
    use evanesce_wire::{Expect, Reply, ReplyDecoder};

    let told = |line: &str, status, told| {
        let set = set(line);
        written(|out| encode::meta_versioned(out, status, &set.key, &set.flags, Some(&facts()), told))
    };
    let read = |line: &str| match ReplyDecoder::new().decode(&mut BytesMut::from(line), Expect::Meta) {
        Ok(Some(Reply::Meta(reply))) => (reply.status, reply.version(), reply.clock_ms()),
        other => panic!("no meta reply: {other:?}"),
    };
    let stored = told("ms k 1 O1 V7 c\r\nx\r\n", MetaStatus::Done, VersionTold::Version(7));
    assert_eq!(stored, "HD O1 V7 c9\r\n");
    assert_eq!(read(&stored), (MetaStatus::Done, Some(7), None));
    let superseded = told("ms k 1 V7 k q\r\nx\r\n", MetaStatus::NotStored, VersionTold::Version(8));
    assert_eq!(superseded, "NS V8 kk\r\n");
    assert_eq!(read(&superseded), (MetaStatus::NotStored, Some(8), None));
    let ahead = told("ms k 1 V7 O2\r\nx\r\n", MetaStatus::NotStored, VersionTold::Clock(1234));
    assert_eq!(ahead, "NS K1234 O2\r\n");
    assert_eq!(read(&ahead), (MetaStatus::NotStored, None, Some(1234)));
    assert_eq!(told("ms k 1 V7 ME\r\nx\r\n", MetaStatus::NotStored, VersionTold::Nothing), "NS\r\n");
    assert_eq!(told("ms k 1 V7 q\r\nx\r\n", MetaStatus::Done, VersionTold::Version(7)), "");
    let noop = written(|out| encode::meta_noop_versions(out, 99, None));
    assert_eq!(noop, "MN V K99\r\n");
    assert_eq!(read(&noop), (MetaStatus::Noop, None, Some(99)));
    let mut versioned = facts();
    versioned.version = 5;
    assert_eq!(
        written(|out| _ = encode::meta_hit_header(out, &get("mg k f V\r\n"), &versioned)),
        "HD f5 V5\r\n"
    );
}
