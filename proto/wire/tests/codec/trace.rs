//! What a decoder made of a stream of bytes, in a form that can be compared.

use bytes::BytesMut;
use evanesce_wire::limits::{Limits, SASL_DATA_BYTES_MAX};
use evanesce_wire::{
    BinaryCommand, Decoded, Expect, Reply, ReplyDecoder, ReplyError, Request, RequestDecoder,
};

/// The most that a request of the binary protocol has before its value: header, extras, key.
const BINARY_BYTES_MAX: usize = 24 + 20 + 250;

/// One thing the request decoder said. Skipped bytes are left out: how many come at once depends on the split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Request(String),
    Refused(&'static str),
    RefusedSilently(&'static str),
    Fatal(&'static str),
    FatalSilently(&'static str),
    Incomplete,
}

pub(crate) fn small_limits() -> Limits {
    Limits { value_bytes_max: 64, line_bytes_max: 4096 }
}

/// Decodes `input` arriving in chunks of these sizes, the last one repeated. Checks progress and exactness on the way.
pub(crate) fn requests_split(input: &[u8], limits: Limits, splits: &[usize]) -> Vec<Event> {
    let mut decoder = RequestDecoder::new(limits);
    let mut events = Vec::new();
    let (mut start, mut arrived, mut chunk) = (0, 0, 0);
    loop {
        match decoder.decode(&input[start..arrived]) {
            Decoded::Request { request, consumed } => {
                assert!(consumed > 0 && consumed <= arrived - start);
                check_limits(&request, limits);
                events.push(Event::Request(format!("{request:?}")));
                start += consumed;
            }
            Decoded::Refused { refusal, consumed } => {
                assert!(consumed > 0 && consumed <= arrived - start);
                events.push(if refusal.silent {
                    Event::RefusedSilently(refusal.line())
                } else {
                    Event::Refused(refusal.line())
                });
                start += consumed;
            }
            Decoded::Skipped { consumed } => {
                assert!(consumed > 0 && consumed <= arrived - start);
                start += consumed;
            }
            Decoded::Incomplete { missing } => {
                assert!(missing > 0);
                let most = if decoder.is_binary() { BINARY_BYTES_MAX.max(SASL_DATA_BYTES_MAX) } else { 2 };
                assert!(missing <= limits.value_bytes_max + most, "a server may reserve what is missing");
                if arrived == input.len() {
                    events.push(Event::Incomplete);
                    return events;
                }
                let size = splits.get(chunk).or(splits.last()).copied().unwrap_or(usize::MAX).max(1);
                chunk += 1;
                arrived = arrived.saturating_add(size).min(input.len());
            }
            Decoded::Fatal { refusal } => {
                events.push(if refusal.silent {
                    Event::FatalSilently(refusal.line())
                } else {
                    Event::Fatal(refusal.line())
                });
                return events;
            }
        }
    }
}

fn check_limits(request: &Request<'_>, limits: Limits) {
    match request {
        Request::Get(get) => assert!(get.keys.iter().all(|key| (1..=250).contains(&key.len()))),
        Request::Set(set) => {
            assert!((1..=250).contains(&set.key.len()) && set.value.len() <= limits.value_bytes_max);
        }
        Request::MetaSet(set) => {
            assert!((1..=250).contains(&set.key.bytes.len()) && set.value.len() <= limits.value_bytes_max);
        }
        Request::MetaGet(get) => assert!((1..=250).contains(&get.key.bytes.len())),
        Request::MetaDelete(delete) => assert!((1..=250).contains(&delete.key.bytes.len())),
        Request::Binary(request) => {
            assert!(request.key().is_none_or(|key| (1..=250).contains(&key.len())));
            if let BinaryCommand::Set(set) = &request.command {
                assert!(set.value.len() <= limits.value_bytes_max);
            }
        }
        _ => {}
    }
}

/// Decodes `input` arriving at once.
pub(crate) fn requests(input: &[u8]) -> Vec<Event> {
    requests_split(input, small_limits(), &[])
}

/// The answers memcached would send for what is wrong in `input`, as one text; requests show as `<name>`.
pub(crate) fn answers(input: &[u8]) -> String {
    let say = |event: &Event| match event {
        Event::Request(request) => {
            let end = request.find(['(', ' ']).unwrap_or(request.len());
            format!("<{}>", &request[..end])
        }
        Event::Refused(line) | Event::Fatal(line) => (*line).to_owned(),
        Event::RefusedSilently(_) => "(silent)".to_owned(),
        Event::FatalSilently(_) => "(closed)".to_owned(),
        Event::Incomplete => String::new(),
    };
    let said: Vec<String> = requests(input).iter().map(say).filter(|said| !said.is_empty()).collect();
    said.join("|")
}

/// The only request in `input`.
pub(crate) fn only(input: &[u8]) -> Request<'_> {
    match RequestDecoder::new(Limits::default()).decode(input) {
        Decoded::Request { request, consumed } => {
            assert_eq!(consumed, input.len());
            request
        }
        other => panic!("no request: {other:?}"),
    }
}

/// Decodes replies arriving in chunks of these sizes, the last one repeated, until the input or the peer's sense ends.
pub(crate) fn replies_split(
    input: &[u8],
    expect: &[Expect],
    splits: &[usize],
) -> (Vec<Reply>, Option<ReplyError>) {
    let mut decoder = ReplyDecoder::new();
    let mut buffer = BytesMut::new();
    let mut replies = Vec::new();
    let (mut arrived, mut chunk) = (0, 0);
    loop {
        let kind = expect[replies.len() % expect.len()];
        match decoder.decode(&mut buffer, kind) {
            Ok(Some(reply)) => replies.push(reply),
            Ok(None) => {
                assert!(decoder.missing() > 0);
                if arrived == input.len() {
                    return (replies, None);
                }
                let size = splits.get(chunk).or(splits.last()).copied().unwrap_or(usize::MAX).max(1);
                chunk += 1;
                let end = arrived.saturating_add(size).min(input.len());
                buffer.extend_from_slice(&input[arrived..end]);
                arrived = end;
            }
            Err(error) => return (replies, Some(error)),
        }
    }
}
