//! Connections that speak the binary protocol.

use super::{Bench, run};

/// A request with an opaque; `body` is whatever follows the header.
fn frame(opcode: u8, extras: u8, key: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [&[0x80, opcode, 0, key, extras, 0, 0, 0], &length[..], b"opaq", &[0; 8], body].concat()
}

fn reply(opcode: u8, status: u8, text: &str) -> Vec<u8> {
    let length = (text.len() as u32).to_be_bytes();
    [&[0x81, opcode, 0, 0, 0, 0, 0, status], &length[..], b"opaq", &[0; 8], text.as_bytes()].concat()
}

/// A `set` of `k`.
fn set(bytes: usize) -> Vec<u8> {
    frame(0x01, 8, 1, &[&[0; 8], &b"k"[..], &vec![b'v'; bytes]].concat())
}

#[test]
fn quit_is_answered_and_a_quiet_one_is_not() {
    run(async || {
        let bench = Bench::new(|_| {});
        let behind = frame(0x0a, 0, 0, b"");
        assert_eq!(bench.exchange(&[frame(0x07, 0, 0, b""), behind].concat(), 9).await, reply(0x07, 0, ""));
        assert_eq!(bench.exchange(&frame(0x17, 0, 0, b""), 100).await, b"");
    });
}

#[test]
fn malformed_request_is_answered_before_the_connection_ends() {
    run(async || {
        let bench = Bench::new(|_| {});
        let requests =
            [frame(0x55, 0, 0, b"skipped"), frame(0x00, 0, 0, b""), frame(0x0a, 0, 0, b"")].concat();
        let replies = [reply(0x55, 0x81, "Unknown command"), reply(0x00, 0x04, "Invalid arguments")].concat();
        for chunk in [1, 1000] {
            assert_eq!(bench.exchange(&requests, chunk).await, replies);
        }
        assert_eq!(bench.stats().refused_requests, 4);
        assert_eq!(bench.exchange(&[frame(0x0a, 0, 0, b""), vec![0; 24]].concat(), 7).await, b"OK\r\n");
    });
}

#[test]
fn value_beyond_a_limit_is_swallowed_and_refused_by_status() {
    for chunk in [23, 999, 16 << 10, 200_000] {
        run(async || {
            let bench = Bench::new(|config| {
                config.input_bytes_max = 50_000;
                config.limits.value_bytes_max = 100_000;
            });
            let requests = [set(100_001), set(100_000), set(30_000)].concat();
            let expected = [
                reply(0x01, 0x82, "Too large."),
                reply(0x01, 0x82, "out of memory reading request"),
                b"OK\r\n".to_vec(),
            ];
            assert_eq!(bench.exchange(&requests, chunk).await, expected.concat(), "chunk {chunk}");
            assert_eq!((bench.stats().input_bytes, bench.stats().input_exhausted), (0, 1));
        });
    }
}
