//! The binary protocol: what each frame means, what is refused, what replies look like.

use bytes::BytesMut;
use evanesce_wire::binary::{encode, opcode};
use evanesce_wire::request::{Direction, SetMode, TooLarge};
use evanesce_wire::{
    BinaryCommand, BinaryHead, BinaryRequest, BinarySet, BinaryStatus, Decoded, Exptime, Limits, Refusal,
    Request, RequestDecoder,
};

use crate::trace::{Event, only, requests, requests_split, small_limits};

const OPAQUE: u32 = 0xdead_beef;

/// A frame whose header tells the truth about its body.
pub(crate) fn frame(opcode: u8, extras: &[u8], key: &[u8], value: &[u8], cas: u64) -> Vec<u8> {
    announced(opcode, [extras.len(), key.len(), extras.len() + key.len() + value.len()], cas)
        .into_iter()
        .chain([extras, key, value].concat())
        .collect()
}

/// A header: lengths of extras, key and body.
fn announced(opcode: u8, [extras, key, body]: [usize; 3], cas: u64) -> Vec<u8> {
    let mut header = vec![0x80, opcode];
    header.extend_from_slice(&(key as u16).to_be_bytes());
    header.extend_from_slice(&[extras as u8, 0, 0, 0]);
    header.extend_from_slice(&(body as u32).to_be_bytes());
    header.extend_from_slice(&OPAQUE.to_be_bytes());
    header.extend_from_slice(&cas.to_be_bytes());
    header
}

fn head(opcode: u8) -> BinaryHead {
    BinaryHead { opcode, opaque: OPAQUE }
}

fn check(frame: &[u8], compare: Option<u64>, command: BinaryCommand<'_>) {
    let expected = Request::Binary(BinaryRequest { head: head(frame[1]), compare, command });
    assert_eq!(only(frame), expected);
}

#[test]
fn retrievals_differ_in_key_and_expiry() {
    let key = b"a b\r\n\0";
    let plain = [(opcode::GET, false), (opcode::GETQ, false), (opcode::GETK, true), (opcode::GETKQ, true)];
    for (opcode, with_key) in plain {
        check(&frame(opcode, b"", key, b"", 0), None, BinaryCommand::Get { key, with_key, touch: None });
    }
    let touching = [(opcode::GAT, false), (opcode::GATQ, false), (opcode::GATK, true), (opcode::GATKQ, true)];
    for (opcode, with_key) in touching {
        let touch = Some(Exptime(60));
        check(&frame(opcode, &[0, 0, 0, 60], key, b"", 0), None, BinaryCommand::Get { key, with_key, touch });
    }
    let exptime = Exptime(i64::from(u32::MAX));
    check(&frame(opcode::TOUCH, &[255; 4], key, b"", 0), None, BinaryCommand::Touch { key, exptime });
}

#[test]
fn store_commands_differ_in_mode_and_extras() {
    let set = |mode, flags, exptime| BinarySet {
        key: b"k",
        mode,
        flags,
        exptime: Exptime(exptime),
        value: b"\r\nv",
    };
    let extras = [0, 0, 1, 2, 0, 0, 0, 9];
    let whole = [
        (opcode::SET, opcode::SETQ, SetMode::Set),
        (opcode::ADD, opcode::ADDQ, SetMode::Add),
        (opcode::REPLACE, opcode::REPLACEQ, SetMode::Replace),
    ];
    for (loud, quiet, mode) in whole {
        let command = BinaryCommand::Set(set(mode, 258, 9));
        check(&frame(loud, &extras, b"k", b"\r\nv", 0), None, command.clone());
        check(&frame(quiet, &extras, b"k", b"\r\nv", 7), Some(7), command);
    }
    let joined = [
        (opcode::APPEND, opcode::APPENDQ, SetMode::Append),
        (opcode::PREPEND, opcode::PREPENDQ, SetMode::Prepend),
    ];
    for (loud, quiet, mode) in joined {
        let command = BinaryCommand::Set(set(mode, 0, 0));
        check(&frame(loud, b"", b"k", b"\r\nv", 0), None, command.clone());
        check(&frame(quiet, b"", b"k", b"\r\nv", 7), Some(7), command);
    }
}

#[test]
fn arithmetic_with_the_last_expiry_makes_no_item() {
    let extras =
        |expiry: u32| [&5_u64.to_be_bytes()[..], &6_u64.to_be_bytes(), &expiry.to_be_bytes()].concat();
    let command = |direction, initial| BinaryCommand::Arithmetic { key: b"k", direction, delta: 5, initial };
    let (up, down) = (Direction::Increment, Direction::Decrement);
    let initial = Some((6, Exptime(0)));
    check(&frame(opcode::INCREMENT, &extras(0), b"k", b"", 0), None, command(up, initial));
    check(&frame(opcode::DECREMENTQ, &extras(0), b"k", b"", 3), Some(3), command(down, initial));
    check(&frame(opcode::INCREMENTQ, &extras(u32::MAX), b"k", b"", 0), None, command(up, None));
    check(&frame(opcode::DECREMENT, &extras(u32::MAX), b"k", b"", 0), None, command(down, None));
}

#[test]
fn other_commands() {
    check(&frame(opcode::DELETE, b"", b"k", b"", 9), Some(9), BinaryCommand::Delete { key: b"k" });
    check(&frame(opcode::DELETEQ, b"", b"k", b"", 0), None, BinaryCommand::Delete { key: b"k" });
    check(&frame(opcode::FLUSH, b"", b"", b"", 0), None, BinaryCommand::Flush { delay: None });
    let delay = Some(Exptime(10));
    check(&frame(opcode::FLUSHQ, &[0, 0, 0, 10], b"", b"", 0), None, BinaryCommand::Flush { delay });
    check(&frame(opcode::NOOP, b"", b"", b"", 0), None, BinaryCommand::Noop);
    check(&frame(opcode::VERSION, b"", b"", b"", 0), None, BinaryCommand::Version);
    check(&frame(opcode::STAT, b"", b"", b"", 0), None, BinaryCommand::Stat { argument: b"" });
    check(&frame(opcode::STAT, b"", b"items", b"", 0), None, BinaryCommand::Stat { argument: b"items" });
    check(&frame(opcode::QUIT, b"", b"", b"", 0), None, BinaryCommand::Quit);
    check(&frame(opcode::QUITQ, b"", b"", b"", 0), None, BinaryCommand::Quit);
    check(&frame(opcode::SASL_LIST, b"", b"", b"", 0), None, BinaryCommand::SaslList);
    let (mechanism, data) = (&b"PLAIN"[..], &b"\0u\0p"[..]);
    check(
        &frame(opcode::SASL_AUTH, b"", mechanism, data, 0),
        None,
        BinaryCommand::SaslAuth { mechanism, data },
    );
    check(
        &frame(opcode::SASL_STEP, b"", mechanism, data, 0),
        None,
        BinaryCommand::SaslStep { mechanism, data },
    );
}

#[test]
fn quiet_commands_are_known_by_their_number() {
    assert!(only(&frame(opcode::GETQ, b"", b"k", b"", 0)).is_quiet());
    assert!(!only(&frame(opcode::GET, b"", b"k", b"", 0)).is_quiet());
    assert_eq!(only(&frame(opcode::GET, b"", b"k", b"", 0)).expect(), None);
}

/// What the decoder says of a frame with a `noop` behind it.
fn said(frame: &[u8]) -> Vec<Event> {
    let noop = self::frame(opcode::NOOP, b"", b"", b"", 0);
    let mut said = requests(&[frame, &noop].concat());
    assert_eq!(requests_split(&[frame, &noop].concat(), small_limits(), &[1]), said);
    if matches!(said.last(), Some(Event::Incomplete)) {
        said.pop();
    }
    if matches!(said.last(), Some(Event::Request(request)) if request.contains("Noop")) {
        said.pop();
        said.push(Event::Request("noop".to_owned()));
    }
    said
}

#[test]
fn body_of_an_unknown_command_is_skipped() {
    let noop = || Event::Request("noop".to_owned());
    for opcode in [0x1b, 0x1f, 0x25, 0x30, 0x3c, 0xff] {
        let refused = || Event::Refused("Unknown command");
        assert_eq!(said(&frame(opcode, b"", b"", b"", 0)), [refused(), noop()]);
        assert_eq!(said(&frame(opcode, b"ext", b"key", &[7; 5000], 0)), [refused(), noop()]);
    }
}

#[test]
fn parts_of_wrong_length_end_the_connection() {
    let invalid = [
        frame(opcode::GET, b"", b"", b"", 0),
        frame(opcode::GET, b"1234", b"k", b"", 0),
        frame(opcode::GETKQ, b"", b"k", b"v", 0),
        frame(opcode::GAT, b"", b"k", b"", 0),
        frame(opcode::TOUCH, b"1234", b"k", b"v", 0),
        frame(opcode::SET, b"", b"k", b"v", 0),
        frame(opcode::ADDQ, b"12345678", b"", b"v", 0),
        frame(opcode::APPEND, b"1234", b"k", b"v", 0),
        frame(opcode::PREPENDQ, b"", b"", b"v", 0),
        frame(opcode::DELETE, b"", b"k", b"v", 0),
        frame(opcode::INCREMENT, b"1234", b"k", b"", 0),
        frame(opcode::DECREMENTQ, &[0; 20], b"k", b"v", 0),
        frame(opcode::FLUSH, b"12345678", b"", b"", 0),
        frame(opcode::FLUSHQ, b"", b"k", b"", 0),
        frame(opcode::NOOP, b"", b"k", b"", 0),
        frame(opcode::VERSION, b"", b"", b"v", 0),
        frame(opcode::QUIT, b"1", b"", b"", 0),
        frame(opcode::STAT, b"1", b"", b"", 0),
        frame(opcode::STAT, b"", b"items", b"v", 0),
        frame(opcode::SASL_LIST, b"", b"k", b"", 0),
        frame(opcode::SASL_AUTH, b"", b"", b"v", 0),
        frame(opcode::GET, b"", &[b'k'; 251], b"", 0),
        frame(0x55, b"", &[b'k'; 251], b"", 0),
        announced(opcode::SET, [8, 1, (1 << 30) + 1], 0),
        announced(0x55, [0, 0, usize::from(u16::MAX) << 15], 0),
    ];
    for frame in invalid {
        assert_eq!(said(&frame), [Event::Fatal("Invalid arguments")], "{frame:?}");
    }
    for frame in [announced(opcode::GET, [0, 3, 1], 0), announced(opcode::SET, [8, 3, 10], 0)] {
        assert_eq!(said(&frame), [Event::Fatal("Unknown command")], "{frame:?}");
    }
    assert!(matches!(only(&frame(opcode::GET, b"", &[b'k'; 250], b"", 0)), Request::Binary(_)));
}

#[test]
fn anything_but_a_request_ends_the_connection_without_a_word() {
    for behind in [&b"get a\r\n"[..], &[0x81; 24], &[0]] {
        let noop = frame(opcode::NOOP, b"", b"", b"", 0);
        let wire = [&noop[..], behind].concat();
        assert_eq!(requests(&wire)[1..], [Event::FatalSilently("")]);
        assert_eq!(requests_split(&wire, small_limits(), &[1]), requests(&wire));
    }
}

#[test]
fn first_byte_decides_for_good() {
    assert_eq!(
        requests(b"mn\r\n\x80\r\n"),
        [Event::Request("MetaNoop".to_owned()), Event::Refused("ERROR"), Event::Incomplete]
    );
    let mut decoder = RequestDecoder::default();
    assert!(!decoder.is_binary());
    assert_eq!(decoder.decode(&[0x80]), Decoded::Incomplete { missing: 23 });
    assert!(decoder.is_binary() && decoder.with_limits(Limits::default()).is_binary());
}

#[test]
fn too_large_value_is_swallowed_and_told_apart_from_a_broken_server() {
    let refused = |opcode: u8, extras: &[u8]| {
        let wire = frame(opcode, extras, b"k", &[b'v'; 65], 4);
        let mut decoder = RequestDecoder::new(small_limits());
        let before_value = 24 + extras.len() + 1;
        for arrived in 0..before_value {
            let Decoded::Incomplete { missing } = decoder.decode(&wire[..arrived]) else {
                panic!("too early")
            };
            assert!(missing <= before_value - arrived, "the value needs no room");
        }
        let Decoded::Request { request: Request::TooLarge(refused), consumed } = decoder.decode(&wire) else {
            panic!("not refused")
        };
        assert_eq!((consumed, decoder.to_swallow()), (before_value, 65));
        assert_eq!(decoder.decode(&wire[consumed..]), Decoded::Skipped { consumed: 65 });
        assert_eq!(*refused.key.bytes, b"k"[..]);
        assert_eq!(refused.refusal, Refusal::binary(head(opcode), BinaryStatus::OutOfMemory, "Too large."));
        refused.drop_item
    };
    assert!(refused(opcode::SET, &[0; 8]) && refused(opcode::SETQ, &[0; 8]));
    assert!(
        !refused(opcode::ADD, &[0; 8])
            && !refused(opcode::REPLACEQ, &[0; 8])
            && !refused(opcode::APPEND, b"")
    );
    let fits = frame(opcode::SET, &[0; 8], b"k", &[b'v'; 64], 0);
    assert!(matches!(requests(&fits)[..], [Event::Request(_), Event::Incomplete]));
}

#[test]
fn limit_of_values_is_not_that_of_authentication() {
    let limits = Limits { value_bytes_max: 0, ..Limits::default() };
    let mut decoder = RequestDecoder::new(limits);
    let wire = frame(opcode::SASL_AUTH, b"", b"PLAIN", &[b'x'; 1024], 0);
    assert!(matches!(decoder.decode(&wire), Decoded::Request { request: Request::Binary(_), .. }));
    let wire = frame(opcode::SASL_STEP, b"", b"PLAIN", &[b'x'; 1025], 0);
    let refusal = Refusal::binary(head(opcode::SASL_STEP), BinaryStatus::OutOfMemory, "Out of memory");
    assert_eq!(decoder.decode(&wire), Decoded::Refused { refusal, consumed: 24 });
    assert_eq!(decoder.decode(&wire[24..]), Decoded::Skipped { consumed: 1030 });
}

#[test]
fn refusal_for_want_of_memory_keeps_its_protocol() {
    let line = "SERVER_ERROR out of memory reading request";
    let mut out = Vec::new();
    Refusal::loud("ERROR").for_want_of_memory(line).encode(&mut out);
    assert_eq!(out, b"SERVER_ERROR out of memory reading request\r\n");
    let refusal = Refusal::binary(head(1), BinaryStatus::OutOfMemory, "Too large.").for_want_of_memory(line);
    assert_eq!(refusal, Refusal::binary(head(1), BinaryStatus::OutOfMemory, "out of memory reading request"));
    let too_large = only(b"set k 0 0 9 noreply\r\n123456789\r\n");
    let Request::Set(set) = too_large else { panic!("no set") };
    let refused = TooLarge {
        key: evanesce_wire::request::MetaKey::new(set.key).unwrap(),
        drop_item: true,
        version: None,
        refusal: Refusal::text("x", true),
    };
    assert!(Request::TooLarge(refused).is_noreply());
}

/// Header and body of a reply, in words.
fn reply(status: u16, extras: u8, key: u16, body: &[u8], cas: u64) -> Vec<u8> {
    let mut reply = vec![0x81, opcode::GETK];
    reply.extend_from_slice(&key.to_be_bytes());
    reply.extend_from_slice(&[extras, 0]);
    reply.extend_from_slice(&status.to_be_bytes());
    reply.extend_from_slice(&(body.len() as u32).to_be_bytes());
    reply.extend_from_slice(&OPAQUE.to_be_bytes());
    reply.extend_from_slice(&cas.to_be_bytes());
    reply.extend_from_slice(body);
    reply
}

#[test]
fn replies_repeat_command_and_opaque() {
    let head = head(opcode::GETK);
    let said = |say: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        say(&mut out);
        out
    };
    let hit = said(&|out| {
        encode::hit_header(out, head, 9, 258, b"key", 3);
        out.extend_from_slice(b"abc");
    });
    assert_eq!(hit, reply(0, 4, 3, b"\0\0\x01\x02keyabc", 9));
    assert_eq!(said(&|out| encode::done(out, head, 9)), reply(0, 0, 0, b"", 9));
    assert_eq!(said(&|out| encode::miss_of_key(out, head, b"key")), reply(1, 0, 3, b"key", 0));
    assert_eq!(said(&|out| encode::number(out, head, 258, 9)), reply(0, 0, 0, &[0, 0, 0, 0, 0, 0, 1, 2], 9));
    assert_eq!(said(&|out| encode::version(out, head)), reply(0, 0, 0, b"1.6.18", 0));
    assert_eq!(said(&|out| encode::text(out, head, "PLAIN")), reply(0, 0, 0, b"PLAIN", 0));
    let error = said(&|out| encode::error(out, head, BinaryStatus::UnknownCommand));
    assert_eq!(error, reply(0x81, 0, 0, b"Unknown command", 0));
}

#[test]
fn statistics_in_text_become_one_reply_each_and_an_empty_one() {
    let head = head(opcode::GETK);
    let mut out = Vec::new();
    encode::stats_of_text(&mut out, head, b"STAT pid 12\r\nSTAT empty \r\nSTAT words a b\r\nEND\r\n");
    let stat = |key: u16, body: &[u8]| reply(0, 0, key, body, 0);
    let told = [stat(3, b"pid12"), stat(5, b"empty"), stat(5, b"wordsa b"), stat(0, b"")].concat();
    assert_eq!(out, told);
    for (text, status) in [(&b"RESET\r\n"[..], 0), (b"ERROR\r\n", 1), (b"CLIENT_ERROR not allowed\r\n", 1)] {
        out.clear();
        encode::stats_of_text(&mut out, head, text);
        assert_eq!(out, reply(status, 0, 0, if status == 0 { b"" } else { b"Not found" }, 0));
    }
}

#[test]
fn request_written_by_a_client_is_as_it_came() {
    let mut out = BytesMut::new();
    let frame = frame(opcode::SETQ, &[0, 0, 0, 1, 0, 0, 0, 2], b"k", b"v", 3);
    only(&frame).encode(&mut out);
    assert_eq!(out, frame);
}
