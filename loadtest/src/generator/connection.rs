//! One non-blocking connection, with one batch on its way at most.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpStream;
use socket2::{Domain, Socket, Type};

use super::SAMPLE;
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

/// Why a connection is of no more use.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    Closed,
    /// The answer is not what a right one could be, or did not come.
    Unexpected {
        batch: Batch,
        got: usize,
    },
}

/// A batch that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) batch: Batch,
    /// What the check byte by byte found, for a batch that is in the sample.
    pub(super) checked: Option<Faults>,
}

impl Connection {
    /// Connects, blocking: a listener on this machine answers at once.
    ///
    /// # Errors
    /// When there is no listener, no descriptor or no local port.
    pub(super) fn open(server: SocketAddr, source: Option<IpAddr>) -> io::Result<Connection> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        socket.connect(&server.into())?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let stream = TcpStream::from_std(socket.into());
        Ok(Connection {
            stream,
            out: Vec::new(),
            sent: 0,
            batch: Batch::default(),
            got: 0,
            kept: Vec::new(),
            busy: false,
        })
    }

    /// What to watch for events.
    pub(super) fn source(&mut self) -> &mut TcpStream {
        &mut self.stream
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
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(0) => return Err(Fault::Closed),
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Io(error)),
            }
        }
        Ok(())
    }

    /// Reads what is there; whether the answer is whole.
    fn read(&mut self, buffer: &mut [u8]) -> Result<bool, Fault> {
        loop {
            let bytes = match self.stream.read(buffer) {
                Ok(0) => return Err(Fault::Closed),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::Io(error)),
            };
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

/// Whether an answer may begin so: `VALUE` or `STORED`, by what was asked.
fn begins_well(byte: u8, batch: &Batch) -> bool {
    (byte == b'V' && batch.gets > 0) || (byte == b'S' && batch.sets > 0)
}
