//! Replies as a client decodes them.

use bytes::{Bytes, BytesMut};
use evanesce_wire::encode;
use evanesce_wire::limits::REPLY_VALUES_MAX;
use evanesce_wire::reply::{ItemTold, RemainingTtl};
use evanesce_wire::{
    ErrorReply, Expect, MEMCACHED_VERSION, MetaReply, MetaStatus, Reply, ReplyDecoder, ReplyError, Status,
    Value,
};

use crate::trace::replies_split;

fn only(input: &[u8], expect: Expect) -> Reply {
    let (replies, error) = replies_split(input, &[expect], &[]);
    assert_eq!((replies.len(), error), (1, None), "input {input:?}");
    replies.into_iter().next().expect("one reply")
}

fn error(input: &[u8], expect: Expect) -> ReplyError {
    replies_split(input, &[expect], &[]).1.expect("the input is wrong")
}

fn meta(input: &[u8]) -> MetaReply {
    match only(input, Expect::Meta) {
        Reply::Meta(reply) => reply,
        other => panic!("no meta reply: {other:?}"),
    }
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn values_are_gathered_up_to_end() {
    let mut out = BytesMut::new();
    encode::value_header(&mut out, b"a", 5, 2, None);
    out.extend_from_slice(b"hi\r\n");
    encode::value_header(&mut out, b"b", 0, 4, Some(7));
    out.extend_from_slice(b"\r\n\r\n\r\n");
    encode::end(&mut out);
    assert_eq!(out, "VALUE a 5 2\r\nhi\r\nVALUE b 0 4 7\r\n\r\n\r\n\r\nEND\r\n");
    let a = Value::new(b"a", 5, None, b"hi");
    let b = Value::new(b"b", 0, Some(7), b"\r\n\r\n");
    assert_eq!(only(&out, Expect::Retrieval), Reply::Values(vec![a, b]));
    assert_eq!(only(b"END\r\n", Expect::Retrieval), Reply::Values(vec![]));
}

#[test]
fn value_announced_in_any_way_is_the_same() {
    let usual = only(b"VALUE a 5 2 7\r\nhi\r\nEND\r\n", Expect::Retrieval);
    assert_eq!(usual, Reply::Values(vec![Value::new(b"a", 5, Some(7), b"hi")]));
    for line in ["VALUE  a 5 2 7\r\n", "VALUE a  5 2 7\r\n", "VALUE a 5 2 7 \r\n", "VALUE a 5 2 7\n"] {
        let reply = only(format!("{line}hi\r\nEND\r\n").as_bytes(), Expect::Retrieval);
        assert_eq!(reply, usual, "{line:?}");
    }
}

#[test]
fn value_of_a_retrieval_is_split_off_and_not_copied() {
    let mut input = BytesMut::from(&b"VALUE a 5 2\r\nhi\r\nEND\r\nrest"[..]);
    let place = input.as_ptr() as usize;
    let reply = ReplyDecoder::new().decode(&mut input, Expect::Retrieval).unwrap().unwrap();
    let Reply::Values(mut values) = reply else { panic!("no values") };
    assert_eq!(values.pop().unwrap().into_data().as_ptr() as usize, place + 13);
    assert_eq!(input, "rest");
}

#[test]
fn error_in_the_middle_of_a_retrieval_is_the_reply() {
    let input = b"VALUE a 5 2\r\nhi\r\nSERVER_ERROR out of memory writing get response\r\nEND\r\n";
    let (replies, error) = replies_split(input, &[Expect::Retrieval], &[]);
    let text = bytes("out of memory writing get response");
    assert_eq!(replies, [Reply::Error(ErrorReply::Server(text)), Reply::Values(vec![])]);
    assert_eq!(error, None);
}

#[test]
fn statistics_are_gathered_up_to_end() {
    let mut out = BytesMut::new();
    encode::stat(&mut out, "pid", "1");
    encode::stat(&mut out, "version", "1.6.18 of ours");
    encode::stat(&mut out, "empty", "");
    encode::end(&mut out);
    let stats = [("pid", "1"), ("version", "1.6.18 of ours"), ("empty", "")];
    let stats = stats.map(|(name, value)| (bytes(name), bytes(value))).to_vec();
    assert_eq!(only(&out, Expect::Stats), Reply::Stats(stats));
    assert_eq!(only(b"RESET\r\n", Expect::Stats), Reply::Status(Status::Reset));
    assert_eq!(only(b"ERROR\r\n", Expect::Stats), Reply::Error(ErrorReply::Unknown));
}

#[test]
fn single_lines_are_understood() {
    let all = [Status::Stored, Status::NotStored, Status::Exists, Status::NotFound];
    for status in all.into_iter().chain([Status::Deleted, Status::Touched, Status::Ok, Status::Reset]) {
        let mut out = BytesMut::new();
        encode::status(&mut out, status);
        assert_eq!(only(&out, Expect::Line), Reply::Status(status));
    }
    assert_eq!(only(b"18446744073709551615\r\n", Expect::Line), Reply::Number(u64::MAX));
    let mut out = BytesMut::new();
    encode::version(&mut out);
    assert_eq!(only(&out, Expect::Line), Reply::Version(bytes(MEMCACHED_VERSION)));
    assert_eq!(only(b"ERROR\r\n", Expect::Line), Reply::Error(ErrorReply::Unknown));
    let client = ErrorReply::Client(bytes("bad data chunk"));
    assert_eq!(only(b"CLIENT_ERROR bad data chunk\r\n", Expect::Line), Reply::Error(client));
}

#[test]
fn meta_reply_tells_its_flags() {
    let hit = meta(b"VA 2 kk O1 s2 t30 c9 f5 l3 h1 X W\r\nhi\r\n");
    assert_eq!((hit.status, hit.value.as_deref()), (MetaStatus::Value, Some(&b"hi"[..])));
    assert_eq!((hit.client_flags(), hit.cas(), hit.ttl()), (Some(5), Some(9), Some(RemainingTtl::Secs(30))));
    let ttl = Some(RemainingTtl::Secs(30));
    assert_eq!(hit.item(), ItemTold { client_flags: Some(5), cas: Some(9), ttl, ..ItemTold::default() });
    assert_eq!((hit.opaque(), hit.value_bytes()), (Some(&b"1"[..]), Some(2)));
    assert_eq!((hit.last_access_secs(), hit.hit_before()), (Some(3), Some(true)));
    assert!(hit.win() && hit.stale() && !hit.won_by_other());
    assert_eq!(hit.flags().count(), 10);
    let empty = meta(b"VA 0\r\n\r\n");
    assert_eq!((empty.value.as_deref(), &empty.flags[..], empty.cas()), (Some(&b""[..]), &b""[..], None));
    assert_eq!(meta(b"HD t-1 Z\r\n").ttl(), Some(RemainingTtl::Never));
    let told = ItemTold { ttl: Some(RemainingTtl::Never), version: Some(7), ..ItemTold::default() };
    assert_eq!(meta(b"HD t-1 V7\r\n").item(), told);
    assert!(meta(b"HD t-1 Z\r\n").won_by_other());
    let miss = meta(b"EN kAAEgCg== b O7\r\n");
    assert_eq!(miss.status, MetaStatus::Miss);
    assert_eq!(&miss.key().unwrap().bytes[..], b"\x00\x01 \n");
    for letters in ["HD", "NF", "NS", "EX", "MN"] {
        assert_eq!(meta(format!("{letters}\r\n").as_bytes()).status.letters(), letters);
    }
    assert_eq!(meta(b"ME k exp=-1 la=5\r\n").flags, bytes("k exp=-1 la=5"));
    let refused = ErrorReply::Client(bytes("invalid flag"));
    assert_eq!(only(b"CLIENT_ERROR invalid flag\r\n", Expect::Meta), Reply::Error(refused));
    assert_eq!(only(b"ERROR\r\n", Expect::Meta), Reply::Error(ErrorReply::Unknown));
}

#[test]
fn value_is_split_off_and_not_copied() {
    let mut input = BytesMut::from(&b"VA 5 c1\r\nhello\r\nrest"[..]);
    let place = input.as_ptr() as usize;
    let reply = ReplyDecoder::new().decode(&mut input, Expect::Meta).unwrap().unwrap();
    let Reply::Meta(reply) = reply else { panic!("no meta reply") };
    assert_eq!(reply.value.unwrap().as_ptr() as usize, place + 9);
    assert_eq!(input, "rest");
}

#[test]
fn missing_bytes_of_a_value_are_told_exactly() {
    let mut decoder = ReplyDecoder::new();
    let mut input = BytesMut::from(&b"VA 100 c1"[..]);
    assert_eq!((decoder.decode(&mut input, Expect::Meta), decoder.missing()), (Ok(None), 1));
    input.extend_from_slice(b"\r\nabc");
    assert_eq!((decoder.decode(&mut input, Expect::Meta), decoder.missing()), (Ok(None), 99));
}

#[test]
fn what_is_no_reply_is_an_error() {
    let excerpt = |input: &[u8], expect| match error(input, expect) {
        ReplyError::Unexpected { excerpt } => excerpt,
        other => panic!("{other:?}"),
    };
    assert_eq!(excerpt(b"STORED\r\n", Expect::Retrieval), bytes("STORED"));
    assert_eq!(excerpt(b"END\r\n", Expect::Line), bytes("END"));
    assert_eq!(excerpt(b"VA x\r\n", Expect::Meta), bytes("VA x"));
    assert_eq!(excerpt(b"HDx\r\n", Expect::Meta), bytes("HDx"));
    assert_eq!(excerpt(b"STORED\r\n", Expect::Meta), bytes("STORED"));
    assert_eq!(excerpt(b"VALUE a 0\r\n", Expect::Retrieval), bytes("VALUE a 0"));
    assert_eq!(excerpt(b"VALUE a 0 0 x\r\n", Expect::Retrieval), bytes("VALUE a 0 0 x"));
    assert_eq!(excerpt(b"VALUE a\nb 0 2\r\nhi\r\n", Expect::Retrieval), bytes("VALUE a"));
    assert_eq!(excerpt(b"VALUE  0 2\r\nhi\r\n", Expect::Retrieval), bytes("VALUE  0 2"));
    assert_eq!(excerpt(&[b"x".repeat(500), b"\r\n".to_vec()].concat(), Expect::Line).len(), 64);
    for length in ["+2", "-0", "2\t", "\t2", "2\r", "2\t3", "2x", ""] {
        let line = format!("VALUE a 0 {length}\r\nhi\r\nEND\r\n");
        assert!(
            matches!(error(line.as_bytes(), Expect::Retrieval), ReplyError::Unexpected { .. }),
            "{line:?}"
        );
        let line = format!("VA {length}\r\nhi\r\n");
        assert!(matches!(error(line.as_bytes(), Expect::Meta), ReplyError::Unexpected { .. }), "{line:?}");
    }
    assert_eq!(excerpt(b"7\t8\r\n", Expect::Line), bytes("7\t8"));
    assert_eq!(error(b"VA 2\r\nhello\r\n", Expect::Meta), ReplyError::BadDataChunk);
    assert_eq!(error(b"VA 1073741825\r\n", Expect::Meta), ReplyError::ValueTooLarge { bytes: 1_073_741_825 });
    assert_eq!(error(&[b'x'; 8193], Expect::Line), ReplyError::LineTooLong);
    assert_eq!(error(&[[b'x'; 8193].as_slice(), b"\n"].concat(), Expect::Line), ReplyError::LineTooLong);
}

#[test]
fn endless_reply_is_an_error() {
    let input = b"STAT a\r\n".repeat(REPLY_VALUES_MAX + 1);
    assert_eq!(error(&input, Expect::Stats), ReplyError::TooManyValues);
    let input = b"VALUE a 0 0\r\n\r\n".repeat(REPLY_VALUES_MAX + 1);
    assert_eq!(error(&input, Expect::Retrieval), ReplyError::TooManyValues);
}
