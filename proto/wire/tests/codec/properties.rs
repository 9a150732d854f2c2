//! Properties that hold for every request, every reply, every split, and for noise.

use bytes::{Bytes, BytesMut};
use evanesce_wire::binary::opcode;
use evanesce_wire::encode;
use evanesce_wire::reply::{MetaReply, MetaStatus, Status};
use evanesce_wire::{Expect, Limits, Reply, Value};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::string::string_regex;

use crate::binary::frame;
use crate::trace::{only, replies_split, requests_split, small_limits};

fn key() -> impl Strategy<Value = String> {
    string_regex("[!-~]{1,250}").expect("a regular expression")
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

fn noreply() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(""), Just(" noreply")]
}

fn storage() -> impl Strategy<Value = Vec<u8>> {
    let command =
        prop_oneof![Just("set"), Just("add"), Just("replace"), Just("append"), Just("prepend"), Just("cas")];
    (command, key(), any::<u32>(), any::<i64>(), value(), any::<u64>(), noreply()).prop_map(
        |(command, key, flags, exptime, value, cas, noreply)| {
            let cas = if command == "cas" { format!(" {cas}") } else { String::new() };
            let line = format!("{command} {key} {flags} {exptime} {}{cas}{noreply}\r\n", value.len());
            [line.as_bytes(), &value, b"\r\n"].concat()
        },
    )
}

/// What operators and their tools ask.
fn operator() -> impl Strategy<Value = String> {
    let classes =
        vec(1..64_u32, 1..9).prop_map(|ids| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(","));
    let scope = prop_oneof![Just("all".to_owned()), Just("hash".to_owned()), classes];
    let list = prop_oneof![Just("metadump"), Just("mgdump"), Just("crawl")];
    prop_oneof![
        (list, scope).prop_map(|(what, scope)| format!("lru_crawler {what} {scope}\r\n")),
        prop_oneof![Just("enable"), Just("disable")].prop_map(|what| format!("lru_crawler {what}\r\n")),
        (0..=1_000_000_u32).prop_map(|micros| format!("lru_crawler sleep {micros}\r\n")),
        any::<u32>().prop_map(|items| format!("lru_crawler tocrawl {items}\r\n")),
        Just("watch fetchers mutations evictions connevents deletions rawcmds\r\n".to_owned()),
        prop_oneof![Just("shutdown\r\n"), Just("shutdown graceful\r\n"), Just("config get cluster\r\n")]
            .prop_map(str::to_owned),
    ]
}

fn one_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(key(), 1..20).prop_map(|keys| format!("get {}\r\n", keys.join(" "))),
        vec(key(), 1..20).prop_map(|keys| format!("gets {}\r\n", keys.join(" "))),
        (any::<i64>(), vec(key(), 0..9)).prop_map(|(exptime, keys)| {
            format!("gat {exptime}{}{}\r\n", if keys.is_empty() { "" } else { " " }, keys.join(" "))
        }),
        (key(), any::<u64>(), noreply())
            .prop_map(|(key, delta, noreply)| format!("incr {key} {delta}{noreply}\r\n")),
        (key(), any::<i64>(), noreply())
            .prop_map(|(key, time, noreply)| format!("touch {key} {time}{noreply}\r\n")),
        (key(), noreply()).prop_map(|(key, noreply)| format!("delete {key}{noreply}\r\n")),
        (1..i64::MAX, noreply()).prop_map(|(delay, noreply)| format!("flush_all {delay}{noreply}\r\n")),
        Just("mn\r\n".to_owned()),
        Just("mn V\r\n".to_owned()),
        (key(), prop_oneof![Just(""), Just(" V")])
            .prop_map(|(key, version)| format!("me {key}{version}\r\n")),
        operator(),
    ]
    .prop_map(String::into_bytes)
}

/// Some flags, each at most once, in any order.
fn flags() -> impl Strategy<Value = String> {
    let all = vec![
        prop_oneof![Just("v"), Just("q")].prop_map(str::to_owned).boxed(),
        prop_oneof![Just("k"), Just("t"), Just("c")].prop_map(str::to_owned).boxed(),
        any::<i64>().prop_map(|number| format!("T{number}")).boxed(),
        any::<i64>().prop_map(|number| format!("N{number}")).boxed(),
        any::<u64>().prop_map(|number| format!("C{number}")).boxed(),
        any::<u64>().prop_map(|number| format!("E{number}")).boxed(),
        any::<u32>().prop_map(|number| format!("F{number}")).boxed(),
        string_regex("O[!-~]{0,31}").expect("a regular expression").boxed(),
        prop_oneof![Just("V".to_owned()), any::<u64>().prop_map(|number| format!("V{number}"))].boxed(),
        Just("r".to_owned()).boxed(),
    ];
    (all, vec(any::<bool>(), 10), any::<usize>()).prop_map(|(mut flags, kept, turn)| {
        let turn = turn % flags.len();
        flags.rotate_left(turn);
        flags.iter().zip(kept).filter(|(_, kept)| *kept).map(|(flag, _)| format!(" {flag}")).collect()
    })
}

fn meta() -> impl Strategy<Value = Vec<u8>> {
    let command = prop_oneof![Just("mg"), Just("md"), Just("ma")];
    prop_oneof![
        (command, key(), flags())
            .prop_map(|(command, key, flags)| format!("{command} {key}{flags}\r\n").into_bytes()),
        (key(), flags(), value()).prop_map(|(key, flags, value)| {
            [format!("ms {key} {}{flags}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat()
        }),
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![storage(), one_line(), meta()]
}

/// A whole request of the binary protocol.
fn binary_request() -> impl Strategy<Value = Vec<u8>> {
    let key = || vec(any::<u8>(), 1..251);
    let retrieval = prop_oneof![
        Just(opcode::GET),
        Just(opcode::GETQ),
        Just(opcode::GETK),
        Just(opcode::GETKQ),
        Just(opcode::DELETE)
    ];
    let touching =
        prop_oneof![Just(opcode::TOUCH), Just(opcode::GAT), Just(opcode::GATQ), Just(opcode::GATKQ)];
    let store = prop_oneof![Just(opcode::SET), Just(opcode::ADDQ), Just(opcode::REPLACE)];
    let join = prop_oneof![Just(opcode::APPEND), Just(opcode::PREPENDQ)];
    let arithmetic = prop_oneof![Just(opcode::INCREMENT), Just(opcode::DECREMENTQ)];
    let bare =
        prop_oneof![Just(opcode::NOOP), Just(opcode::VERSION), Just(opcode::QUITQ), Just(opcode::FLUSH)];
    let sasl = prop_oneof![Just(opcode::SASL_AUTH), Just(opcode::SASL_STEP)];
    prop_oneof![
        (retrieval, key(), any::<u64>()).prop_map(|(op, key, cas)| frame(op, b"", &key, b"", cas)),
        (touching, any::<[u8; 4]>(), key()).prop_map(|(op, expiry, key)| frame(op, &expiry, &key, b"", 0)),
        (store, any::<[u8; 8]>(), key(), value(), any::<u64>())
            .prop_map(|(op, extras, key, value, cas)| frame(op, &extras, &key, &value, cas)),
        (join, key(), value()).prop_map(|(op, key, value)| frame(op, b"", &key, &value, 0)),
        (arithmetic, any::<[u8; 16]>(), 0..u32::MAX, key()).prop_map(|(op, numbers, expiry, key)| {
            frame(op, &[&numbers[..], &expiry.to_be_bytes()].concat(), &key, b"", 0)
        }),
        bare.prop_map(|op| frame(op, b"", b"", b"", 0)),
        vec(any::<u8>(), 0..100).prop_map(|argument| frame(opcode::STAT, b"", &argument, b"", 0)),
        (sasl, value()).prop_map(|(op, data)| frame(op, b"", b"PLAIN", &data, 0)),
    ]
}

/// Frames with some of their bytes changed.
fn binary_noise() -> impl Strategy<Value = Vec<u8>> {
    let broken = (binary_request(), vec((0_usize..24, any::<u8>()), 0..3), any::<bool>()).prop_map(
        |(mut frame, changes, short)| {
            changes.iter().for_each(|(at, byte)| frame[*at] = *byte);
            // Long bodies that nobody sends would end the case here.
            frame[8..10].fill(0);
            frame.truncate(if short { frame.len() / 2 } else { frame.len() });
            frame
        },
    );
    vec(broken, 1..8).prop_map(|frames| [&[0x80][..], &frames.concat()[1..]].concat())
}

/// Bytes that look enough like the protocol to get deep into the decoder.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        string_regex("(get|gets|gat|set|cas|incr|delete|mg|ms|md|ma|me|mn|noreply|stats)")
            .expect("a regular expression"),
        string_regex("[0-9]{1,3}|-1|[TNRCEFJDM][0-9]{0,3}|[a-zA-Z]").expect("a regular expression"),
        string_regex("( |\r\n|\n|\r|\t){1,3}").expect("a regular expression"),
        string_regex("[ -~]{0,40}").expect("a regular expression"),
    ]
    .prop_map(String::into_bytes);
    vec(prop_oneof![word, vec(any::<u8>(), 0..8)], 0..60).prop_map(|parts| parts.concat())
}

fn reply() -> impl Strategy<Value = (Reply, Expect)> {
    let bytes = || value().prop_map(Bytes::from);
    let hit = (key(), any::<u32>(), any::<bool>(), any::<u64>(), bytes()).prop_map(
        |(key, flags, with, cas, data)| Value::new(key.as_bytes(), flags, with.then_some(cas), &data),
    );
    let stat =
        ("[!-~]{1,20}", "[!-~]{0,20}").prop_map(|(name, value)| (Bytes::from(name), Bytes::from(value)));
    let status = prop_oneof![Just(MetaStatus::Done), Just(MetaStatus::Miss), Just(MetaStatus::Exists)];
    let flags = || flags().prop_map(|flags| Bytes::from(flags.trim_start().to_owned()));
    prop_oneof![
        vec(hit, 0..8).prop_map(|values| (Reply::Values(values), Expect::Retrieval)),
        vec(stat, 0..8).prop_map(|stats| (Reply::Stats(stats), Expect::Stats)),
        prop_oneof![Just(Status::Stored), Just(Status::NotFound)]
            .prop_map(|status| (Reply::Status(status), Expect::Line)),
        any::<u64>().prop_map(|number| (Reply::Number(number), Expect::Line)),
        (status, flags()).prop_map(|(status, flags)| (
            Reply::Meta(MetaReply { status, value: None, flags }),
            Expect::Meta
        )),
        (bytes(), flags()).prop_map(|(value, flags)| {
            (Reply::Meta(MetaReply { status: MetaStatus::Value, value: Some(value), flags }), Expect::Meta)
        }),
    ]
}

fn encode_reply(reply: &Reply, out: &mut BytesMut) {
    match reply {
        Reply::Values(values) => {
            for value in values {
                encode::value_header(out, value.key(), value.flags, value.data().len(), value.cas);
                out.extend_from_slice(value.data());
                out.extend_from_slice(b"\r\n");
            }
            encode::end(out);
        }
        Reply::Stats(stats) => {
            for (name, value) in stats {
                encode::stat(
                    out,
                    std::str::from_utf8(name).expect("text"),
                    std::str::from_utf8(value).expect("text"),
                );
            }
            encode::end(out);
        }
        Reply::Status(status) => encode::status(out, *status),
        Reply::Number(number) => encode::number(out, *number),
        Reply::Meta(meta) => {
            let mut line = meta.status.letters().to_owned();
            if let Some(value) = &meta.value {
                line += &format!(" {}", value.len());
            }
            if !meta.flags.is_empty() {
                line += &format!(" {}", std::str::from_utf8(&meta.flags).expect("text"));
            }
            encode::error_line(out, &line);
            if let Some(value) = &meta.value {
                out.extend_from_slice(value);
                out.extend_from_slice(b"\r\n");
            }
        }
        other => panic!("not generated: {other:?}"),
    }
}

proptest! {
    #[test]
    fn binary_request_survives_decoding_and_encoding(wire in binary_request()) {
        let mut out = BytesMut::new();
        only(&wire).encode(&mut out);
        assert_eq!(out, wire);
    }

    #[test]
    fn any_split_of_binary_requests_gives_the_same_sequence(
        wire in vec(binary_request(), 1..6),
        splits in vec(1usize..200, 1..20),
    ) {
        let wire = wire.concat();
        for limits in [small_limits(), Limits::default()] {
            let whole = requests_split(&wire, limits, &[]);
            assert_eq!(requests_split(&wire, limits, &splits), whole);
            assert_eq!(requests_split(&wire, limits, &[1]), whole);
        }
    }

    #[test]
    fn broken_binary_requests_never_stop_the_decoder(wire in binary_noise(), splits in vec(1usize..50, 1..20)) {
        let whole = requests_split(&wire, small_limits(), &[]);
        assert_eq!(requests_split(&wire, small_limits(), &splits), whole);
        assert_eq!(requests_split(&wire, small_limits(), &[1]), whole);
    }

    #[test]
    fn request_survives_decoding_and_encoding(wire in request()) {
        let mut out = BytesMut::new();
        only(&wire).encode(&mut out);
        assert_eq!(out, wire);
    }

    #[test]
    fn any_split_of_requests_gives_the_same_sequence(wire in vec(request(), 1..6), splits in vec(1usize..200, 1..20)) {
        let wire = wire.concat();
        for limits in [small_limits(), Limits::default()] {
            let whole = requests_split(&wire, limits, &[]);
            assert_eq!(requests_split(&wire, limits, &splits), whole);
            assert_eq!(requests_split(&wire, limits, &[1]), whole);
        }
    }

    #[test]
    fn noise_never_stops_the_decoder_and_any_split_gives_the_same(wire in noise(), splits in vec(1usize..50, 1..20)) {
        let whole = requests_split(&wire, small_limits(), &[]);
        assert_eq!(requests_split(&wire, small_limits(), &splits), whole);
    }

    #[test]
    fn replies_survive_encoding_and_any_split(replies in vec(reply(), 1..6), splits in vec(1usize..200, 1..20)) {
        let mut wire = BytesMut::new();
        replies.iter().for_each(|(reply, _)| encode_reply(reply, &mut wire));
        let (replies, expect): (Vec<Reply>, Vec<Expect>) = replies.into_iter().unzip();
        for splits in [&[][..], &splits, &[1]] {
            assert_eq!(replies_split(&wire, &expect, splits), (replies.clone(), None));
        }
    }

    #[test]
    fn noise_never_stops_the_reply_decoder(wire in noise(), kind in 0usize..4, splits in vec(1usize..50, 1..20)) {
        let kind = [Expect::Retrieval, Expect::Stats, Expect::Line, Expect::Meta][kind];
        assert_eq!(replies_split(&wire, &[kind], &splits), replies_split(&wire, &[kind], &[]));
    }
}
