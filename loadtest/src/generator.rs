//! The generator: many connections to one server, one thread, and as little work per request as can be, so that
//! one core of it keeps one core of a server busy.
//!
//! Requests are written from templates, replies are read into one buffer that all connections share and are
//! judged by their length and their first byte; one batch in [`SAMPLE`] is kept and checked byte by byte.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};
use thiserror::Error;

mod closed;
mod connection;
mod explain;
mod lane;
mod open;

use crate::interrupt;
use crate::traffic::{Batch, Traffic};
use closed::ClosedLoop;
use connection::Connection;

pub(crate) use open::{Lanes, Pace, Timing};

/// One batch in so many is checked byte by byte: often enough to see any systematic fault within a window,
/// seldom enough to cost the generator next to nothing.
pub(crate) const SAMPLE: u64 = 64;
/// Bytes read at once: more than any batch's replies of the usual sizes, so that one read takes all there is.
const READ_BYTES: usize = 256 << 10;
/// Events taken at once: enough to spread the cost of asking, few enough that none waits long.
const EVENTS_MAX: usize = 256;
/// No answer at all for so long is a stall: far beyond what a healthy server takes even on a crowded machine.
const STALL: Duration = Duration::from_secs(10);
/// Connections from one source address: below the kernel's range of local ports, some of which are in use.
const CONNECTIONS_PER_SOURCE: usize = 5_000;

/// Connections to one server.
pub(crate) struct Pool {
    address: SocketAddr,
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    buffer: Box<[u8]>,
}

/// How long, and over how many connections, to go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Number of the first batch; the others follow.
    pub(crate) first: u64,
    /// Connections that take part, in rotation.
    pub(crate) active: usize,
    /// Batches on their way at once.
    pub(crate) in_flight: usize,
    pub(crate) until: Until,
}

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    Elapsed(Duration),
    Batches(u64),
}

/// What was asked, and how it was answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) batches: u64,
    /// Keys asked for, and so, since misses end the run, hits.
    pub(crate) gets: u64,
    pub(crate) sets: u64,
    /// Requests whose answers were checked byte by byte.
    pub(crate) checked: u64,
    /// Checked answers that were wrong.
    pub(crate) wrong: u64,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
}

/// Why a run ended early.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum GeneratorError {
    /// No connection.
    #[error("cannot connect to {address} ({number} connections are open): {source}")]
    Connect { address: SocketAddr, number: usize, source: std::io::Error },
    /// The system refused.
    #[error("cannot use the connections to {address}: {source}")]
    Io { address: SocketAddr, source: std::io::Error },
    /// The server ended a connection.
    #[error("{address} closed a connection; see why in its log")]
    Closed { address: SocketAddr },
    /// Answers of another length or kind than a right one's, or none.
    #[error("{address} answered {got} of {expected} bytes to a batch of requests: {explanation}")]
    Unexpected { address: SocketAddr, got: usize, expected: usize, explanation: String },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Pool {
    /// Opens `count` connections, from as many loopback addresses as that takes.
    ///
    /// # Errors
    /// [`GeneratorError::Connect`].
    pub(crate) fn connect(address: SocketAddr, count: usize) -> Result<Pool, GeneratorError> {
        let (poll, streams) = connect(address, count)?;
        Ok(Pool {
            address,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            connections: streams.into_iter().map(Connection::new).collect(),
            buffer: read_buffer(),
        })
    }

    /// Sends batches, each when an earlier one is answered, and waits for all answers before it returns.
    ///
    /// # Errors
    /// When a connection breaks, an answer has not the length of a right one, or on Ctrl-C.
    pub(crate) fn closed_loop(&mut self, traffic: &Traffic, plan: &Plan) -> Result<Counts, GeneratorError> {
        let Pool { address, poll, events, connections, buffer } = self;
        let mut run = ClosedLoop::new(connections, buffer, traffic, plan);
        let failed = |fault| failure(*address, traffic, fault);
        run.start().map_err(failed)?;
        while run.is_waiting() {
            wait(poll, events, STALL).map_err(|source| GeneratorError::Io { address: *address, source })?;
            run.look_at(Instant::now());
            if interrupt::requested() {
                return Err(GeneratorError::Interrupted);
            }
            if events.is_empty() {
                return Err(failed(run.stalled()));
            }
            for event in events.iter() {
                run.serve(event.token().0).map_err(failed)?;
            }
        }
        Ok(run.finish(Instant::now()))
    }
}

fn read_buffer() -> Box<[u8]> {
    vec![0; READ_BYTES].into_boxed_slice()
}

/// Opens connections and watches them: an event's token is the number of its connection.
fn connect(address: SocketAddr, count: usize) -> Result<(Poll, Vec<TcpStream>), GeneratorError> {
    let io = |source| GeneratorError::Io { address, source };
    let poll = Poll::new().map_err(io)?;
    let mut streams = Vec::with_capacity(count);
    for number in 0..count {
        if interrupt::requested() {
            return Err(GeneratorError::Interrupted);
        }
        let connect = |source| GeneratorError::Connect { address, number, source };
        let mut stream = dial(address, source_of(address, number)).map_err(connect)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(number), both).map_err(io)?;
        streams.push(stream);
    }
    Ok((poll, streams))
}

/// Connects, blocking: a listener on this machine answers at once.
fn dial(server: SocketAddr, source: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect(&server.into())?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(TcpStream::from_std(socket.into()))
}

/// Waits for events; a signal is none.
fn wait(poll: &mut Poll, events: &mut Events, limit: Duration) -> std::io::Result<()> {
    loop {
        match poll.poll(events, Some(limit)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted && !interrupt::requested() => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            other => return other,
        }
    }
}

/// Why a connection is of no more use.
#[derive(Debug)]
enum Fault {
    Io(std::io::Error),
    Closed,
    /// The answer is not what a right one could be, or did not come.
    Unexpected {
        batch: Batch,
        got: usize,
    },
}

/// Says what went wrong on a connection; asks the server again where the answer was not a right one.
fn failure(address: SocketAddr, traffic: &Traffic, fault: Fault) -> GeneratorError {
    match fault {
        Fault::Io(source) => GeneratorError::Io { address, source },
        Fault::Closed => GeneratorError::Closed { address },
        Fault::Unexpected { batch, got } => GeneratorError::Unexpected {
            address,
            got,
            expected: batch.reply_bytes,
            explanation: explain::explain(address, traffic, batch.number),
        },
    }
}

/// Where connection `number` to `server` comes from: itself loopback when the server is, from as many addresses of
/// 127.0.0.0/8 as the number of connections takes.
fn source_of(server: SocketAddr, number: usize) -> Option<IpAddr> {
    let group = u8::try_from(number / CONNECTIONS_PER_SOURCE).unwrap_or(u8::MAX - 1);
    let from = Ipv4Addr::new(127, 0, 0, group.saturating_add(1));
    (server.ip().is_loopback() && server.is_ipv4() && group > 0).then_some(IpAddr::V4(from))
}

#[cfg(test)]
mod tests;
