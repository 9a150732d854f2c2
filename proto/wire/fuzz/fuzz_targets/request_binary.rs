//! Requests of the binary protocol from anyone: the decoder always gets on, keeps its limits, does not care how the bytes
//! are split, and what it understood is understood the same once written out again.
//!
//! `cargo +nightly fuzz run request_binary`, in `proto/wire`.

#![no_main]

use bytes::BytesMut;
use evanesce_wire::limits::{KEY_BYTES_MAX, SASL_DATA_BYTES_MAX};
use evanesce_wire::{BinaryCommand, BinaryRequest, Decoded, Limits, Request, RequestDecoder};
use libfuzzer_sys::fuzz_target;

// Small, so that short inputs reach what lies behind the limits.
const LIMITS: Limits = Limits { value_bytes_max: 32, line_bytes_max: 2500 };

/// The most that is waited for at once: header, extras and key, or data of authentication.
const MISSING_BYTES_MAX: usize = SASL_DATA_BYTES_MAX;

/// What the decoder said, skipped bytes left out: how many come at once depends on the split.
fn run(input: &[u8], chunk: usize) -> Vec<String> {
    let mut decoder = RequestDecoder::new(LIMITS);
    let (mut said, mut start, mut arrived) = (Vec::new(), 0, 0);
    loop {
        let taken = match decoder.decode(&input[start..arrived]) {
            Decoded::Request { request, consumed } => {
                check(&request);
                said.push(format!("{request:?}"));
                consumed
            }
            Decoded::Refused { refusal, consumed } => {
                said.push(format!("{refusal:?}"));
                consumed
            }
            Decoded::Skipped { consumed } => consumed,
            Decoded::Incomplete { missing } => {
                assert!(missing > 0 && missing <= MISSING_BYTES_MAX);
                if arrived == input.len() {
                    return said;
                }
                arrived = (arrived + chunk).min(input.len());
                continue;
            }
            Decoded::Fatal { refusal } => {
                said.push(format!("fatal {refusal:?}"));
                return said;
            }
        };
        assert!(taken > 0 && taken <= arrived - start);
        start += taken;
    }
}

fn check(request: &Request<'_>) {
    let request = match request {
        Request::Binary(request) => request,
        Request::TooLarge(refused) => return assert!((1..=KEY_BYTES_MAX).contains(&refused.key.bytes.len())),
        other => panic!("a request of another protocol: {other:?}"),
    };
    assert!(request.key().is_none_or(|key| (1..=KEY_BYTES_MAX).contains(&key.len())));
    if let BinaryCommand::Set(set) = &request.command {
        assert!(set.value.len() <= LIMITS.value_bytes_max);
    }
    round_trip(request);
}

fn round_trip(request: &BinaryRequest<'_>) {
    let mut wire = BytesMut::new();
    request.encode(&mut wire);
    let decoded = RequestDecoder::new(LIMITS).decode(&wire);
    let (request, consumed) = (Request::Binary(request.clone()), wire.len());
    assert_eq!(decoded, Decoded::Request { request, consumed });
}

fuzz_target!(|input: &[u8]| {
    let Some((chunk, input)) = input.split_first() else { return };
    let input = [&[0x80], input].concat();
    let whole = run(&input, input.len());
    assert_eq!(run(&input, usize::from(*chunk).max(1)), whole);
    assert_eq!(run(&input, 1), whole);
});
