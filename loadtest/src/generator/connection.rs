//! One non-blocking connection, with one batch on its way at most.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;

use super::{Fault, SAMPLE};
use crate::traffic::{Batch, Faults, Traffic};

/// A connection. Between batches it holds its request buffer and nothing else.
pub(super) struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    sent: usize,
    batch: Batch,
    got: usize,
    /// The replies of a batch that is to be checked byte by byte.
    kept: Vec<u8>,
    busy: bool,
}

/// A batch that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) batch: Batch,
    /// What the check byte by byte found, for a batch that is in the sample.
    pub(super) checked: Option<Faults>,
}

impl Connection {
    /// A connection with nothing on its way.
    pub(super) fn new(stream: TcpStream) -> Connection {
        let batch = Batch::default();
        Connection { stream, out: Vec::new(), sent: 0, batch, got: 0, kept: Vec::new(), busy: false }
    }

    /// Whether a batch is on its way.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// What the batch on its way came to so far.
    pub(super) fn stalled(&self) -> Fault {
        Fault::Unexpected { batch: self.batch, got: self.got }
    }

    /// Sends batch `number`, as far as the socket takes it now.
    pub(super) fn begin(&mut self, traffic: &Traffic, number: u64) -> Result<(), Fault> {
        self.batch = traffic.render(number, &mut self.out);
        (self.sent, self.got, self.busy) = (0, 0, true);
        self.kept.clear();
        self.write()
    }

    /// Goes on after an event; the batch when that completes its answer.
    pub(super) fn advance(
        &mut self,
        traffic: &Traffic,
        buffer: &mut [u8],
    ) -> Result<Option<Answered>, Fault> {
        self.write()?;
        if !self.busy || !self.read(buffer)? {
            return Ok(None);
        }
        self.busy = false;
        let checked = self.is_sampled().then(|| traffic.check(self.batch.number, &self.kept));
        Ok(Some(Answered { batch: self.batch, checked }))
    }

    fn is_sampled(&self) -> bool {
        self.batch.number.is_multiple_of(SAMPLE)
    }

    fn write(&mut self) -> Result<(), Fault> {
        write_some(&mut self.stream, &self.out, &mut self.sent)
    }

    /// Reads what is there; whether the answer is whole.
    fn read(&mut self, buffer: &mut [u8]) -> Result<bool, Fault> {
        loop {
            let Some(bytes) = read_some(&mut self.stream, buffer)? else { return Ok(false) };
            let first = self.got == 0;
            self.got += bytes;
            if (first && !begins_well(buffer[0], &self.batch)) || self.got > self.batch.reply_bytes {
                return Err(self.stalled());
            }
            if self.is_sampled() {
                self.kept.extend_from_slice(&buffer[..bytes]);
            }
            if self.got == self.batch.reply_bytes {
                return if buffer[bytes - 1] == b'\n' { Ok(true) } else { Err(self.stalled()) };
            }
            // Less than there was room for: the socket is empty, and the next bytes raise the next event.
            if bytes < buffer.len() {
                return Ok(false);
            }
        }
    }
}

/// Writes what is left of `out`, as far as the socket takes it now.
pub(super) fn write_some(stream: &mut TcpStream, out: &[u8], sent: &mut usize) -> Result<(), Fault> {
    while *sent < out.len() {
        match stream.write(&out[*sent..]) {
            Ok(0) => return Err(Fault::Closed),
            Ok(bytes) => *sent += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Fault::Io(error)),
        }
    }
    Ok(())
}

/// Reads once; `None` when there is nothing.
pub(super) fn read_some(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<Option<usize>, Fault> {
    loop {
        match stream.read(buffer) {
            Ok(0) => return Err(Fault::Closed),
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Fault::Io(error)),
        }
    }
}

/// Whether an answer may begin so: `VALUE` or `STORED`, by what was asked.
fn begins_well(byte: u8, batch: &Batch) -> bool {
    (byte == b'V' && batch.gets > 0) || (byte == b'S' && batch.sets > 0)
}
