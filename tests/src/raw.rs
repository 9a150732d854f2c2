//! Bytes in, bytes out: a connection that knows nothing of the protocol but its fence.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

use crate::wait::Deadline;

/// How long to wait for the fence's answer.
const REPLY_LIMIT: Duration = Duration::from_secs(5);
/// Answers nothing but itself, in every state between two commands.
const FENCE: &[u8] = b"mn\r\n";
const FENCE_REPLY: &[u8] = b"MN\r\n";
/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 << 10;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The bytes, without the fence's reply.
    pub bytes: Vec<u8>,
    /// The server closed the connection.
    pub closed: bool,
    /// Nothing more came in time, and no fence.
    pub stuck: bool,
}

/// A connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
}

impl Raw {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(address: SocketAddr) -> anyhow::Result<Raw> {
        let stream = TcpStream::connect_timeout(&address, REPLY_LIMIT)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_LIMIT))?;
        stream.set_write_timeout(Some(REPLY_LIMIT))?;
        Ok(Raw { stream })
    }

    /// The socket, for whoever misbehaves on purpose.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the server has closed the connection or does not read.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends bytes, then the fence, and reads up to the fence's reply: all that the bytes caused.
    pub fn exchange(&mut self, bytes: &[u8]) -> Received {
        // A server that closes early makes writing fail; what it said before is still read.
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.write_all(FENCE));
        // What was sent may hold fences of its own.
        let fences = 1 + occurrences(bytes, FENCE);
        let done =
            |received: &[u8]| received.ends_with(FENCE_REPLY) && occurrences(received, FENCE_REPLY) >= fences;
        self.until(done, FENCE_REPLY.len())
    }

    /// Reads until bytes end with `end`, which is left in.
    pub fn read_to(&mut self, end: &[u8]) -> Received {
        self.until(|received| received.ends_with(end), 0)
    }

    /// Reads to the end of the connection.
    pub fn read_to_close(&mut self) -> Received {
        self.until(|_| false, 0)
    }

    fn until(&mut self, done: impl Fn(&[u8]) -> bool, cut: usize) -> Received {
        let deadline = Deadline::within(REPLY_LIMIT);
        let (mut bytes, mut chunk) = (Vec::new(), vec![0; READ_BYTES]);
        loop {
            let (closed, stuck) = match self.stream.read(&mut chunk) {
                Ok(0) => (true, false),
                Ok(count) => {
                    bytes.extend_from_slice(&chunk[..count]);
                    if done(&bytes) {
                        bytes.truncate(bytes.len() - cut);
                        return Received { bytes, closed: false, stuck: false };
                    }
                    (false, deadline.is_over())
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    (false, true)
                }
                Err(_) => (true, false),
            };
            if closed || stuck {
                return Received { bytes, closed, stuck };
            }
        }
    }
}

fn occurrences(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).filter(|window| *window == wanted).count()
}
