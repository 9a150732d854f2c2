//! A well-behaved connection that must not notice anything.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use evanesce_tests::Raw;

/// An answer that takes longer is a disturbance: far above what a loaded machine needs.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Sizes of values that are written in turn.
const SIZES: [usize; 5] = [1, 100, 1000, 10_000, 200_000];

/// What a connection saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) exchanges: u64,
    pub(crate) slowest: Duration,
}

/// Sets and gets, each answer checked, until told to stop.
///
/// # Errors
/// When an answer is wrong, late or missing.
pub(crate) fn watch(address: SocketAddr, stop: &AtomicBool) -> anyhow::Result<Seen> {
    let mut raw = Raw::connect(address)?;
    let mut seen = Seen { exchanges: 0, slowest: Duration::ZERO };
    while !stop.load(Ordering::Relaxed) {
        let number = seen.exchanges;
        let key = format!("witness{}", number % 97);
        let size = SIZES[usize::try_from(number).unwrap_or(0) % SIZES.len()];
        let value = format!("{number:020}").chars().cycle().take(size).collect::<String>();
        let begun = Instant::now();
        let bytes = format!("set {key} {} 0 {size}\r\n{value}\r\nget {key}\r\n", number % 1000);
        let received = raw.exchange(bytes.as_bytes());
        let took = begun.elapsed();
        let right = format!("STORED\r\nVALUE {key} {} {size}\r\n{value}\r\nEND\r\n", number % 1000);
        if received.bytes != right.as_bytes() {
            let shown =
                String::from_utf8_lossy(&received.bytes[..received.bytes.len().min(200)]).into_owned();
            let (closed, stuck) = (received.closed, received.stuck);
            bail!(
                "exchange {number}, {size} bytes, after {took:?}: closed {closed}, stuck {stuck}, got {shown:?}"
            );
        }
        if took > ANSWER_LIMIT {
            bail!("exchange {number} took {took:?}");
        }
        seen.exchanges += 1;
        seen.slowest = seen.slowest.max(took);
    }
    Ok(seen)
}
