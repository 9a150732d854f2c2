//! Requests from anyone: the decoder always gets on, keeps its limits, does not care how the bytes are split, and what
//! it understood is understood the same once written out again.
//!
//! `cargo +nightly fuzz run request_text`, in `proto/wire`.

#![no_main]

use bytes::BytesMut;
use evanesce_wire::limits::KEY_BYTES_MAX;
use evanesce_wire::{Decoded, Limits, Request, RequestDecoder, binary};
use libfuzzer_sys::fuzz_target;

// Small, so that short inputs reach what lies behind the limits.
const LIMITS: Limits = Limits { value_bytes_max: 32, line_bytes_max: 2500 };

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
                assert!(missing > 0 && missing <= LIMITS.value_bytes_max + 2);
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
    let (keys, value): (Vec<&[u8]>, &[u8]) = match request {
        Request::Get(get) => (get.keys.iter().collect(), &[]),
        Request::Set(set) => (vec![set.key], set.value),
        Request::Arithmetic(arithmetic) => (vec![arithmetic.key], &[]),
        Request::Touch(touch) => (vec![touch.key], &[]),
        Request::Delete(delete) => (vec![delete.key], &[]),
        Request::MetaGet(get) => (vec![&get.key.bytes], &[]),
        Request::MetaSet(set) => (vec![&set.key.bytes], set.value),
        Request::MetaDelete(delete) => (vec![&delete.key.bytes], &[]),
        Request::MetaArithmetic(arithmetic) => (vec![&arithmetic.key.bytes], &[]),
        Request::MetaDebug(debug) => (vec![&debug.key.bytes], &[]),
        _ => (Vec::new(), &[]),
    };
    assert!(keys.iter().all(|key| (1..=KEY_BYTES_MAX).contains(&key.len())));
    assert!(value.len() <= LIMITS.value_bytes_max);
    round_trip(request);
}

fn round_trip(request: &Request<'_>) {
    // A value that was too large is gone; an argument of stats may be longer than a line once its name is added.
    if matches!(request, Request::TooLarge(_)) {
        return;
    }
    let mut wire = BytesMut::new();
    request.encode(&mut wire);
    let limits = Limits { line_bytes_max: wire.len(), ..LIMITS };
    match RequestDecoder::new(limits).decode(&wire) {
        Decoded::Request { request: again, consumed } => {
            assert_eq!(&again, request);
            assert_eq!(consumed, wire.len());
        }
        Decoded::Fatal { .. } if wire.len() > 2048 => {}
        other => panic!("{request:?} became {other:?}"),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((chunk, input)) = input.split_first() else { return };
    // The binary protocol has a target of its own.
    if input.first() == Some(&binary::REQUEST_MAGIC) {
        return;
    }
    let whole = run(input, input.len().max(1));
    assert_eq!(run(input, usize::from(*chunk).max(1)), whole);
    assert_eq!(run(input, 1), whole);
});
