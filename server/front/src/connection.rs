//! The open connections of a front, for those who ask from elsewhere.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::slot::Phase;

/// Numbers of connections that have no descriptor begin here, above all descriptors.
const NUMBERS_BEGIN: u64 = 1 << 32;

/// What a connection is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Endpoints {
    /// Its file descriptor.
    pub descriptor: Option<i32>,
    /// Where its peer is; `None` for what has no address.
    pub peer: Option<SocketAddr>,
    /// Where it was accepted; `None` for what has no address.
    pub local: Option<SocketAddr>,
}

impl Endpoints {
    /// Who is at the other end, for a log.
    pub(crate) fn name(&self) -> String {
        self.peer.map_or_else(|| "a Unix socket".to_owned(), |peer| peer.to_string())
    }
}

/// A connection, open or just closed.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    endpoints: Endpoints,
    phase: AtomicU8,
    /// Milliseconds after the front's start when its peer last sent something.
    heard_ms: AtomicU64,
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Waits for a request.
    Idle,
    /// Waits for the rest of a request, or of what must come before the first.
    Partial,
    /// Is being served.
    Serving,
    /// Waits for its peer to read.
    Writing,
    /// Is done with, and waits for its peer to close.
    Closing,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// Either side closed it in order.
    Normal,
    /// It broke, stalled or exceeded a budget.
    Error,
    /// It was idle for too long.
    Idle,
    /// The front drains.
    Shutdown,
}

impl Connection {
    /// A number that no other open connection has: its file descriptor, as a rule.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its two ends.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// What it does now.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        match self.phase() {
            Phase::Idle => ConnectionState::Idle,
            Phase::Partial | Phase::Greeting | Phase::Handshaking | Phase::Proving => {
                ConnectionState::Partial
            }
            Phase::Serving => ConnectionState::Serving,
            Phase::Writing => ConnectionState::Writing,
            Phase::Lingering => ConnectionState::Closing,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Partial,
            2 => Phase::Serving,
            3 => Phase::Writing,
            4 => Phase::Lingering,
            5 => Phase::Greeting,
            6 => Phase::Handshaking,
            _ => Phase::Proving,
        }
    }

    /// Only its worker writes it.
    #[inline]
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Its peer sent something, so long after the front's start.
    #[inline]
    pub(crate) fn heard(&self, at: Duration) {
        self.heard_ms.store(at.as_millis() as u64, Ordering::Relaxed);
    }
}

/// All open connections of a front.
#[derive(Debug)]
pub(crate) struct Connections {
    started: Instant,
    open: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    next: u64,
    by_id: BTreeMap<u64, Arc<Connection>>,
}

impl Default for Connections {
    fn default() -> Self {
        Self { started: Instant::now(), open: Mutex::default() }
    }
}

impl Connections {
    /// Time since the front's start.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// A connection was let in.
    pub(crate) fn open(&self, endpoints: Endpoints) -> Arc<Connection> {
        let mut open = self.open.lock();
        let number = NUMBERS_BEGIN + open.next;
        open.next += 1;
        let descriptor = endpoints.descriptor.and_then(|descriptor| u64::try_from(descriptor).ok());
        let connection = Arc::new(Connection {
            id: descriptor.unwrap_or(number),
            endpoints,
            phase: AtomicU8::new(Phase::Serving as u8),
            heard_ms: AtomicU64::new(self.now().as_millis() as u64),
        });
        open.by_id.insert(connection.id, Arc::clone(&connection));
        connection
    }

    /// A connection ended.
    pub(crate) fn close(&self, connection: &Arc<Connection>) {
        let mut open = self.open.lock();
        // Its descriptor may belong to another by now.
        if open.by_id.get(&connection.id).is_some_and(|other| Arc::ptr_eq(other, connection)) {
            open.by_id.remove(&connection.id);
        }
    }

    /// Those that are open now, by number, each with how long its peer has been silent.
    pub(crate) fn all(&self) -> Vec<(Arc<Connection>, Duration)> {
        let now = self.now();
        let silent = |connection: &Connection| {
            now.saturating_sub(Duration::from_millis(connection.heard_ms.load(Ordering::Relaxed)))
        };
        let open = self.open.lock();
        open.by_id.values().map(|connection| (Arc::clone(connection), silent(connection))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptor_taken_over_by_a_newcomer_stays_its_own() {
        let connections = Connections::default();
        let endpoints = Endpoints { descriptor: Some(7), ..Endpoints::default() };
        let (first, second) = (connections.open(endpoints), connections.open(endpoints));
        connections.close(&first);
        assert_eq!(connections.all().len(), 1);
        second.set_phase(Phase::Writing);
        assert_eq!((second.id(), second.state()), (7, ConnectionState::Writing));
        let unknown = connections.open(Endpoints::default());
        assert!(unknown.id() >= NUMBERS_BEGIN);
        connections.close(&second);
        connections.close(&unknown);
        assert!(connections.all().is_empty());
    }
}
