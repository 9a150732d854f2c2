//! Peers that stay: idle connections, slow writers, slow readers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use evanesce_tests::{Raw, pause};

/// Slow writers at once.
const SLOW_WRITERS: usize = 100;
/// Slow readers at once, each with this many answers due.
const SLOW_READERS: usize = 20;
const SLOW_READ_REQUESTS: usize = 200;
/// Between two rounds over slow peers.
const ROUND: Duration = Duration::from_millis(20);

/// Opens connections that say nothing.
///
/// # Errors
/// When one is refused.
pub(crate) fn idle(address: SocketAddr, count: usize) -> anyhow::Result<Vec<Raw>> {
    let open = |number| Raw::connect(address).with_context(|| format!("idle connection {number}"));
    (0..count).map(open).collect()
}

/// Counts those of the idle connections that still serve.
pub(crate) fn serving(idle: &mut [Raw]) -> usize {
    let answers = |raw: &mut &mut Raw| raw.exchange(b"version\r\n").bytes.starts_with(b"VERSION ");
    idle.iter_mut().filter_map(|mut raw| answers(&mut raw).then_some(())).count()
}

/// Writes requests a byte a round on many connections, until told to stop.
///
/// # Errors
/// When a connection is refused.
pub(crate) fn write_slowly(address: SocketAddr, stop: &AtomicBool) -> anyhow::Result<()> {
    let request =
        b"set slow 0 0 60\r\n123456789012345678901234567890123456789012345678901234567890\r\nget slow\r\n";
    let mut writers = streams(address, SLOW_WRITERS)?;
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        for (number, writer) in writers.iter_mut().enumerate() {
            // Each in another place of the request. A server may end a connection; the others go on.
            let byte = request[(at + number) % request.len()];
            let _ = writer.write_all(&[byte]);
        }
        at += 1;
        pause(ROUND);
    }
    Ok(())
}

/// Asks for far more items of this size than a socket holds, on many connections, and reads a byte a round, until told to stop.
///
/// # Errors
/// When a connection is refused.
pub(crate) fn read_slowly(address: SocketAddr, item_bytes: usize, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut raw = Raw::connect(address)?;
    let item = format!("set large 0 0 {item_bytes}\r\n{}\r\n", "x".repeat(item_bytes));
    raw.exchange(item.as_bytes());
    let requests = "get large\r\n".repeat(SLOW_READ_REQUESTS);
    let mut readers = streams(address, SLOW_READERS)?;
    for reader in &mut readers {
        reader.write_all(requests.as_bytes()).context("a slow reader's requests were refused")?;
    }
    let mut byte = [0];
    while !stop.load(Ordering::Relaxed) {
        for reader in &mut readers {
            let _ = reader.read(&mut byte);
        }
        pause(ROUND);
    }
    Ok(())
}

fn streams(address: SocketAddr, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let open = || {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_millis(1)))?;
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        Ok(stream)
    };
    (0..count).map(|_| open()).collect::<std::io::Result<_>>().context("a slow peer was refused")
}
