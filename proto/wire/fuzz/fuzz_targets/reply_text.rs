//! Replies from any peer: the decoder always gets on, keeps its limits, and does not care how the bytes are split.
//!
//! `cargo +nightly fuzz run reply_text`, in `proto/wire`.

#![no_main]

use bytes::BytesMut;
use evanesce_wire::limits::{REPLY_LINE_BYTES_MAX, REPLY_VALUE_BYTES_MAX};
use evanesce_wire::{Expect, Reply, ReplyDecoder, ReplyError};
use libfuzzer_sys::fuzz_target;

fn run(input: &[u8], expect: Expect, chunk: usize) -> (Vec<Reply>, Option<ReplyError>) {
    let mut decoder = ReplyDecoder::new();
    let (mut buffer, mut replies, mut arrived) = (BytesMut::new(), Vec::new(), 0);
    loop {
        let before = buffer.len();
        match decoder.decode(&mut buffer, expect) {
            Ok(Some(reply)) => {
                assert!(buffer.len() < before);
                check(&reply);
                replies.push(reply);
            }
            Ok(None) => {
                let missing = decoder.missing();
                assert!(missing > 0 && missing <= REPLY_VALUE_BYTES_MAX + 2);
                if arrived == input.len() {
                    return (replies, None);
                }
                let end = (arrived + chunk).min(input.len());
                buffer.extend_from_slice(&input[arrived..end]);
                arrived = end;
            }
            Err(error) => return (replies, Some(error)),
        }
    }
}

fn check(reply: &Reply) {
    if let Reply::Meta(meta) = reply {
        assert!(meta.flags.len() <= REPLY_LINE_BYTES_MAX);
        assert!(meta.flags().all(|flag| flag.letter != b' '));
        let _ = (meta.client_flags(), meta.cas(), meta.ttl(), meta.opaque(), meta.key(), meta.hit_before());
    }
}

fuzz_target!(|input: &[u8]| {
    let [kind, chunk, input @ ..] = input else { return };
    let kind = [Expect::Retrieval, Expect::Stats, Expect::Line, Expect::Meta][usize::from(kind % 4)];
    let whole = run(input, kind, input.len().max(1));
    assert_eq!(run(input, kind, usize::from(*chunk).max(1)), whole);
    assert_eq!(run(input, kind, 1), whole);
});
