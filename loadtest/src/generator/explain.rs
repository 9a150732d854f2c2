//! Asks a server once more for what it did not answer rightly, to say what it answers instead.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::traffic::{Faults, Traffic};

/// How long the server may take this time.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// What follows the batch, so that the end of the answers is known.
const MARK: &[u8] = b"version\r\n";
/// Bytes of an answer that are shown.
const EXCERPT_BYTES_MAX: usize = 60;
/// Bytes of an answer that are read: any batch's replies, and then some.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What a fresh connection answers to batch `number`, in words.
pub(super) fn explain(server: SocketAddr, traffic: &Traffic, number: u64) -> String {
    match ask(server, traffic, number) {
        Ok(answer) => describe(traffic.check(number, &answer), &answer),
        Err(error) => format!("and when asked again, {error}"),
    }
}

fn describe(faults: Faults, answer: &[u8]) -> String {
    let excerpt = String::from_utf8_lossy(&answer[..answer.len().min(EXCERPT_BYTES_MAX)]);
    match faults {
        Faults { misses: 0, wrong: 0 } => "asked again, it answers rightly".to_owned(),
        Faults { misses, wrong: 0 } => {
            format!("asked again, {misses} keys miss that were stored; give the server more memory")
        }
        Faults { wrong, .. } => format!("asked again, {wrong} answers are wrong; they begin {excerpt:?}"),
    }
}

/// The answer, without that to the mark.
fn ask(server: SocketAddr, traffic: &Traffic, number: u64) -> std::io::Result<Vec<u8>> {
    let mut request = Vec::new();
    traffic.render(number, &mut request);
    request.extend_from_slice(MARK);
    let mut stream = TcpStream::connect_timeout(&server, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    stream.write_all(&request)?;
    let mut answer = Vec::new();
    let mut part = vec![0; 1 << 16];
    while answer.len() < ANSWER_BYTES_MAX {
        // What came before a limit passes or the server closes is worth showing.
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(bytes) => answer.extend_from_slice(&part[..bytes]),
        }
        if let Some(end) = mark_in(&answer) {
            answer.truncate(end);
            break;
        }
    }
    Ok(answer)
}

/// Where the answer to the mark begins, once it is the last line.
fn mark_in(answer: &[u8]) -> Option<usize> {
    let line = answer.strip_suffix(b"\r\n")?;
    let start = line.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    line[start..].starts_with(b"VERSION ").then_some(start)
}

#[cfg(test)]
mod tests {
    use super::mark_in;

    #[test]
    fn mark_is_found_as_last_line_only() {
        assert_eq!(mark_in(b"END\r\nVERSION 1.6.18\r\n"), Some(5));
        assert_eq!(mark_in(b"VERSION 1.6.18\r\n"), Some(0));
        assert_eq!(mark_in(b"END\r\nVERSION 1.6"), None);
        assert_eq!(mark_in(b"VERSION 1\r\nEND\r\n"), None);
    }
}
