//! Many requests to one node, as any memcached client could send them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use evanesce_tests::Raw;

/// Keys asked for in one request: a reply of some hundred kilobytes.
const KEYS_PER_GET: u64 = 100;
/// Items written before an answer is waited for.
const ITEMS_PER_BATCH: usize = 1_000;
/// A node that says nothing for so long will not.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// The key of a number.
pub(crate) fn key(number: u64) -> String {
    format!("key-{number:09}")
}

/// The value of a key in its nth writing: nobody can take another's for it.
pub(crate) fn value(number: u64, round: u64, bytes: usize) -> String {
    let mut value = format!("{number:09}/{round:03}/");
    value.extend(std::iter::repeat_n(
        char::from(b'a' + (number % 26) as u8),
        bytes.saturating_sub(value.len()),
    ));
    value
}

/// A connection with patience.
pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

/// Writes the numbers with values of so many bytes; the flags may give all one version.
///
/// # Errors
/// When a write is not stored.
pub(crate) fn set(
    address: SocketAddr,
    numbers: impl Iterator<Item = u64>,
    (round, bytes): (u64, usize),
    flags: &str,
) -> anyhow::Result<()> {
    let mut stream = connect(address)?;
    let mut request = Vec::new();
    let mut numbers = numbers.peekable();
    while numbers.peek().is_some() {
        request.clear();
        for number in numbers.by_ref().take(ITEMS_PER_BATCH) {
            let value = value(number, round, bytes);
            write!(request, "ms {} {} q{flags}\r\n{value}\r\n", key(number), value.len())?;
        }
        request.extend_from_slice(b"mn\r\n");
        stream.write_all(&request)?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        ensure!(&answer == b"MN\r\n", "a write was answered {:?}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

/// Reads the numbers; those that are there.
///
/// # Errors
/// When the answer makes no sense.
pub(crate) fn get(
    address: SocketAddr,
    numbers: impl Iterator<Item = u64>,
) -> anyhow::Result<HashMap<u64, String>> {
    let stream = connect(address)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let (mut stream, mut found) = (stream, HashMap::new());
    let mut numbers = numbers.peekable();
    while numbers.peek().is_some() {
        let keys: Vec<String> = numbers.by_ref().take(KEYS_PER_GET as usize).map(key).collect();
        stream.write_all(format!("get {}\r\n", keys.join(" ")).as_bytes())?;
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(answers.read_line(&mut line)? > 0, "the node closed the connection");
            if line == "END\r\n" {
                break;
            }
            let mut words = line.trim_end().split(' ');
            let (verb, key, _flags, bytes) = (words.next(), words.next(), words.next(), words.next());
            ensure!(verb == Some("VALUE"), "a get was answered {line:?}");
            let number =
                key.and_then(|key| key.strip_prefix("key-")?.parse().ok()).context("an unknown key")?;
            let bytes: usize = bytes.and_then(|bytes| bytes.parse().ok()).context("a length")?;
            let mut value = vec![0; bytes + 2];
            answers.read_exact(&mut value)?;
            value.truncate(bytes);
            found.insert(number, String::from_utf8(value)?);
        }
    }
    Ok(found)
}

/// Says something to which each line is answered by one, and a fence behind it. Answers the lines.
///
/// # Errors
/// When the node does not answer.
pub(crate) fn exchange(address: SocketAddr, requests: &str) -> anyhow::Result<String> {
    let mut stream = connect(address)?;
    stream.write_all(requests.as_bytes())?;
    stream.write_all(b"quit\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A number of `stats`; `None` where there is none.
pub(crate) fn stat(address: SocketAddr, name: &str) -> Option<u64> {
    let mut raw = Raw::connect(address).ok()?;
    raw.send(b"stats\r\n").ok()?;
    let text = String::from_utf8_lossy(&raw.read_to(b"END\r\n").bytes).into_owned();
    let line =
        text.lines().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '));
    line?.parse().ok()
}
