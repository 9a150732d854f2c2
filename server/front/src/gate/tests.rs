//! What memcached 1.6.18 answers with `-Y`, and with `-S`, as it was seen to.

use bytes::BytesMut;

use super::*;

fn users() -> Users {
    Users::parse(b"u:p\nbob:secret word\n").unwrap()
}

/// What is answered, and how it goes on, the input cut into pieces of `chunk` bytes.
fn ask(input: &[u8], chunk: usize) -> (String, Verdict, usize) {
    let (mut gate, users, mut out, mut seen) = (Gate::default(), users(), Vec::new(), Vec::new());
    let mut verdict = Verdict::Waits { missing: 1 };
    for part in input.chunks(chunk) {
        seen.extend_from_slice(part);
        let step = gate.take(&seen, &users, &mut out);
        seen.drain(..step.consumed);
        verdict = step.verdict;
        match verdict {
            Verdict::Waits { missing } => assert!(missing > 0),
            Verdict::Admitted | Verdict::Close => break,
        }
    }
    (String::from_utf8_lossy(&out).into_owned(), verdict, seen.len())
}

const WAITS: Verdict = Verdict::Waits { missing: 1 };
const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated\r\n";
const NOT_ENDED: &str = "CLIENT_ERROR bad command line termination\r\n";
const NO_PASSWORD: &str = "CLIENT_ERROR bad authentication token format\r\n";
const FAILED: &str = "CLIENT_ERROR authentication failure\r\n";
const STORED: &str = "STORED\r\n";

#[test]
fn text_is_answered_as_memcached_does() {
    let (x, admitted) = (WAITS, Verdict::Admitted);
    for (input, reply, verdict) in [
        ("get a\r\n", UNAUTHENTICATED, x),
        ("version\r\n", UNAUTHENTICATED, x),
        ("quit\r\n", UNAUTHENTICATED, x),
        ("\r\n", UNAUTHENTICATED, x),
        ("mn\r\n", UNAUTHENTICATED, x),
        ("ms a 3\r\nu p\r\n", UNAUTHENTICATED, x),
        ("add a 0 0 3\r\nu p\r\n", UNAUTHENTICATED, x),
        ("SET a 0 0 3\r\nu p\r\n", UNAUTHENTICATED, x),
        ("set\ta 0 0 3\r\nu p\r\n", UNAUTHENTICATED, x),
        ("set a 0 0\r\nu p\r\n", UNAUTHENTICATED, x),
        ("set a 0 0 x\r\n", UNAUTHENTICATED, x),
        ("set a 0 0 -1\r\nu p\r\n", UNAUTHENTICATED, x),
        ("set a 0 0 5x\r\nu p\r\n", UNAUTHENTICATED, x),
        ("set a 0 0 3\r\nu p\r\n", STORED, admitted),
        ("set a 0 0 3 noreply\r\nu p\r\n", STORED, admitted),
        ("set a 0 0 3 4 5 6 7\r\nu p\r\n", STORED, admitted),
        ("set a x y 3\r\nu p\r\n", STORED, admitted),
        ("set  a  0 0  3\r\nu p\r\n", STORED, admitted),
        ("set a 0 0 +3\r\nu p\r\n", STORED, admitted),
        ("set a 0 0 3\nu p\r\n", STORED, admitted),
        ("set a 0 0 7\r\nu p q r\r\n", STORED, admitted),
        ("set a 0 0 5\r\n u  p\r\n", STORED, admitted),
        ("set a 0 0 5\r\nu p\0x\r\n", STORED, admitted),
        ("set a 0 0 3\r\nu x\r\n", FAILED, x),
        ("set a 0 0 10\r\nbob secret\r\n", FAILED, x),
        ("set a 0 0 15\r\nbob secret word\r\n", FAILED, x),
        ("set a 0 0 1\r\nu\r\n", NO_PASSWORD, x),
        ("set a 0 0 0\r\n\r\n", NO_PASSWORD, x),
        ("set a 0 0 3\r\nu\tp\r\n", NO_PASSWORD, x),
        ("set a 0 0 2\r\nu p\r\n", NOT_ENDED, x),
        ("set a 0 0 3\r\nu p\0\r\n", NOT_ENDED, x),
        ("set a 0 0 9\r\nbob secret\r\n", NOT_ENDED, x),
        ("v", "", x),
        ("set a 0 0 3\r\nu", "", Verdict::Waits { missing: 4 }),
        ("set a 0 0 3\nu p\n", "", x),
        // Of answers to what came at once, the last.
        ("get a\r\nset a 0 0 3\r\nu p\r\n", STORED, admitted),
        ("set a 0 0 4\r\nu p\r\nversion\r\n", UNAUTHENTICATED, x),
    ] {
        let (said, how, _) = ask(input.as_bytes(), usize::MAX);
        assert_eq!((said.as_str(), how), (reply, verdict), "{input:?}");
        // However it is cut, whoever comes in comes in.
        assert_eq!(ask(input.as_bytes(), 1).1 == admitted, verdict == admitted, "{input:?} in bytes");
    }
}

#[test]
fn what_follows_a_password_is_left_for_the_session() {
    let (said, verdict, left) = ask(b"set a 0 0 3\r\nu p\r\nget a\r\n", usize::MAX);
    assert_eq!((said.as_str(), verdict, left), (STORED, Verdict::Admitted, 7));
}

#[test]
fn what_a_stranger_may_make_a_connection_hold_is_bounded() {
    assert_eq!(ask(&[b'x'; 2048], usize::MAX).1, WAITS);
    assert_eq!(ask(&[b'x'; 2049], usize::MAX), (String::new(), Verdict::Close, 2049));
    assert_eq!(ask(b"set a 0 0 2048\r\n", usize::MAX).1, Verdict::Waits { missing: 2050 });
    for length in ["2049", "4294967299", "99999999999999999999999"] {
        assert_eq!(ask(format!("set a 0 0 {length}\r\n").as_bytes(), usize::MAX).1, Verdict::Close);
    }
}

/// A request of the binary protocol.
fn request(opcode: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, opcode, 0, key.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(&((key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 7]);
    bytes.extend_from_slice(&[0; 8]);
    [&bytes[..], key, value].concat()
}

/// Opcode, status and text of each reply, and how it goes on.
fn ask_binary(input: &[u8], chunk: usize) -> (Vec<(u8, u8, String)>, Verdict) {
    let (mut gate, users, mut out, mut seen) = (Gate::default(), users(), Vec::new(), BytesMut::new());
    let mut verdict = WAITS;
    for part in input.chunks(chunk) {
        seen.extend_from_slice(part);
        let step = gate.take(&seen, &users, &mut out);
        let _ = seen.split_to(step.consumed);
        verdict = step.verdict;
        if !matches!(verdict, Verdict::Waits { .. }) {
            break;
        }
    }
    let (mut replies, mut rest) = (Vec::new(), &out[..]);
    while !rest.is_empty() {
        let body = u32::from_be_bytes(*rest[8..].first_chunk().unwrap()) as usize;
        assert_eq!((rest[0], &rest[12..16]), (0x81, &[0, 0, 0, 7][..]));
        replies.push((rest[1], rest[7], String::from_utf8_lossy(&rest[24..24 + body]).into_owned()));
        rest = &rest[24 + body..];
    }
    (replies, verdict)
}

#[test]
fn binary_is_answered_as_memcached_does() {
    let auth = |data: &[u8]| request(opcode::SASL_AUTH, b"PLAIN", data);
    let refused = |opcode: u8| (opcode, 0x20, "Auth failure.".to_owned());
    let header = Verdict::Waits { missing: 24 };
    let get = request(opcode::GET, b"k", b"");
    for (input, replies, verdict) in [
        (request(opcode::SASL_LIST, b"", b""), vec![(0x20, 0, "PLAIN".to_owned())], header),
        (request(opcode::VERSION, b"", b""), vec![(0x0b, 0, "1.6.18".to_owned())], header),
        (request(opcode::NOOP, b"", b""), vec![refused(0x0a)], Verdict::Close),
        (get.clone(), vec![refused(0x00)], Verdict::Close),
        (request(opcode::GETQ, b"k", b""), vec![refused(0x09)], Verdict::Close),
        (request(opcode::QUIT, b"", b""), vec![refused(0x07)], Verdict::Close),
        (request(opcode::QUITQ, b"", b""), vec![refused(0x17)], Verdict::Close),
        (request(0x55, b"", b""), vec![refused(0x55)], Verdict::Close),
        (request(opcode::SET, b"k", &[0; 3000]), vec![refused(0x01)], Verdict::Close),
        (auth(b"\0u\0x"), vec![refused(0x21)], header),
        (auth(b"u p"), vec![refused(0x21)], header),
        (auth(b"z\0u\0p"), vec![refused(0x21)], header),
        (auth(b""), vec![(0x21, 0x21, String::new())], header),
        (request(opcode::SASL_AUTH, b"CRAM-MD5", b""), vec![refused(0x21)], header),
        (auth(b"\0u\0p"), vec![(0x21, 0, AUTHENTICATED.to_owned())], Verdict::Admitted),
        (auth(b"u\0u\0p"), vec![(0x21, 0, AUTHENTICATED.to_owned())], Verdict::Admitted),
        (
            request(opcode::SASL_STEP, b"PLAIN", b"\0bob\0secret word"),
            vec![(0x22, 0, AUTHENTICATED.to_owned())],
            Verdict::Admitted,
        ),
        (
            [auth(b"\0u\0x"), auth(b"\0u\0p"), get.clone()].concat(),
            vec![refused(0x21), (0x21, 0, AUTHENTICATED.to_owned())],
            Verdict::Admitted,
        ),
        ([auth(b"\0u\0x"), get].concat(), vec![refused(0x21), refused(0x00)], Verdict::Close),
    ] {
        for chunk in [usize::MAX, 7, 1] {
            assert_eq!(ask_binary(&input, chunk), (replies.clone(), verdict), "{input:?} by {chunk}");
        }
    }
}

#[test]
fn attempts_failures_and_requests_without_any_are_counted() {
    let (mut gate, mut out) = (Gate::default(), Vec::new());
    let step = gate.take(b"set a 0 0 3\r\nu x\r\nget a\r\nset a 0 0 3\r\nu p\r\n", &users(), &mut out);
    assert_eq!((step.attempts, step.failures, step.missing), (2, 1, 1));
    assert_eq!(step.verdict, Verdict::Admitted);
    let step = Gate::default().take(&request(opcode::GETQ, b"k", b""), &users(), &mut out);
    assert_eq!((step.attempts, step.failures, step.missing), (0, 0, 1));
}
