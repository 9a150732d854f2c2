//! A node as the client sees it: its connection, its health, and what it answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use evanesce_transport::{Connection, ConnectionState, TransportError};
use evanesce_wire::reply::{ErrorReply, MetaReply, Reply};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::ambient::Ambient;
use crate::core::Settings;
use crate::error::{Attempt, NodeError};
use crate::lanes::{Lane, Lanes};
use crate::metrics::{NodeMetrics, cross_zone};
use crate::policy::{Breaker, ConcurrencyLimit, Ended, Pace, RoundTrips};
use crate::repair::NodeId;

/// A node in its place.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) zone: String,
    pub(crate) group: String,
    pub(crate) name: String,
    /// Which process stands there; the same for all of a static list.
    pub(crate) incarnation: u64,
    /// What tells it from others that may stand in its place: see [`Place`](crate::place::Place).
    pub(crate) mark: u8,
    /// It is being given what it is to hold, or about to be.
    pub(crate) warming: bool,
    /// Its lease has lapsed, so discovery says.
    pub(crate) down: bool,
    /// Another process stood there before, as far as this client knows.
    pub(crate) replaced: bool,
    pub(crate) link: Arc<Link>,
}

/// What outlives a topology: the connection to an address, and how it fares.
#[derive(Debug)]
pub(crate) struct Link {
    /// What everybody shares: all changes go over it, in their order.
    pub(crate) connection: Connection,
    /// None to nodes of other zones.
    lanes: Lanes,
    /// Of single reads, and of batches that are hedged as they are.
    pub(crate) round_trips: RoundTrips,
    /// Of single reads. Lock order: alone.
    limit: Mutex<ConcurrencyLimit>,
    /// Of batches of reads, which take their time. Lock order: alone.
    batch_limit: Mutex<ConcurrencyLimit>,
    health: Health,
    metrics: NodeMetrics,
    ambient: Ambient,
    opaque: AtomicU64,
    /// It was seen to keep no versions.
    no_versions: AtomicBool,
    /// The last batch of reads brought many bytes.
    large_values: AtomicBool,
}

/// Bytes of values above which the keys of a batch are asked for one by one: so that those that came in time count, though
/// the last are late.
const BATCH_BYTES_SMALL_MAX: usize = 256 << 10;

impl Member {
    /// Which node it is, whatever its address.
    pub(crate) fn id(&self) -> NodeId {
        NodeId { group: self.group.clone(), node: self.name.clone() }
    }

    /// Whether it may have forgotten what it agreed to: it has just started, and this client knew it before. In a cluster that
    /// has just been made nobody has anything to forget.
    pub(crate) fn has_forgotten(&self, now: Instant) -> bool {
        let connection = &self.link.connection;
        connection.settles(now) && (self.replaced || connection.has_been_lost())
    }

    /// Whether it has ended, as far as anybody can tell: discovery says so, and nobody listens there. What this client sees
    /// alone is not enough, for others may see something else.
    pub(crate) fn is_gone(&self) -> bool {
        let ConnectionState::Down { cause, .. } = self.link.connection.state() else { return false };
        self.down && cause.kind() == io::ErrorKind::ConnectionRefused
    }

    /// An attempt at this node that failed.
    pub(crate) fn attempt(&self, cause: NodeError) -> Attempt {
        let detail = self.link.detail(&cause);
        Attempt { zone: self.zone.clone(), node: self.name.clone(), cause, detail }
    }
}

impl Link {
    pub(crate) fn new(address: SocketAddr, zone: &str, settings: &Settings) -> Self {
        let mut connection = settings.connection.clone();
        // Without a zone of our own nobody knows which are others.
        if !settings.zone.is_empty() && settings.zone != zone {
            connection.traffic = Some(cross_zone(&settings.cluster, zone));
        }
        // Lanes are for the reads that a zone is asked first for.
        let is_near = settings.zone.is_empty() || settings.zone == zone;
        let lanes = Lanes::new(address, connection.clone(), if is_near { settings.lanes } else { 0 });
        let pace = Pace::memory(settings.read_attempt_timeout);
        Self {
            connection: Connection::spawn(address, connection),
            lanes,
            round_trips: RoundTrips::default(),
            limit: Mutex::new(ConcurrencyLimit::new(pace)),
            batch_limit: Mutex::new(ConcurrencyLimit::new(Pace::slow(settings.read_timeout))),
            health: Health::default(),
            metrics: NodeMetrics::register(&settings.cluster, zone),
            ambient: settings.ambient.clone(),
            opaque: AtomicU64::new(0),
            no_versions: AtomicBool::new(false),
            large_values: AtomicBool::new(false),
        }
    }

    /// Over which connection a read goes that comes from this lane, if from any.
    pub(crate) fn way(&self, lane: Option<Lane>) -> &Connection {
        let lane = lane.filter(|_| self.connection.is_caught_up());
        lane.and_then(|lane| self.lanes.get(lane)).unwrap_or(&self.connection)
    }

    /// Requests that have no outcome yet.
    pub(crate) fn outstanding(&self) -> usize {
        self.connection.outstanding() + self.lanes.outstanding()
    }

    /// Whether batches of reads bring large values, as far as the last one tells.
    pub(crate) fn has_large_values(&self) -> bool {
        self.large_values.load(Ordering::Relaxed)
    }

    /// A batch of reads, or a line of one, brought so many bytes of values.
    pub(crate) fn note_values(&self, bytes: usize) {
        self.large_values.store(bytes > BATCH_BYTES_SMALL_MAX, Ordering::Relaxed);
    }

    /// What more is known of an error.
    fn detail(&self, error: &NodeError) -> Arc<str> {
        let NodeError::Transport(TransportError::Unreachable { cause, .. }) = error else {
            return Arc::default();
        };
        let failure = self.connection.failure().filter(|failure| failure.cause == *cause);
        failure.map(|failure| failure.detail).unwrap_or_default()
    }

    /// A number that no other request in flight on this connection has.
    pub(crate) fn next_opaque(&self) -> u64 {
        self.opaque.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a read may go to the node. While it is ill, true once for each probe.
    pub(crate) fn admit(&self, now: Instant) -> bool {
        self.health.calm.load(Ordering::Relaxed) || self.health.breaker.lock().admit(now)
    }

    /// Whether the node keeps versions, as far as is known: while it is away, whether it did.
    pub(crate) fn keeps_versions(&self) -> bool {
        self.note_greeting();
        !self.no_versions.load(Ordering::Relaxed)
    }

    /// Remembers what the node said when it was connected to.
    pub(crate) fn note_greeting(&self) {
        if let Some(greeting) = self.connection.greeting() {
            self.no_versions.store(!greeting.versions, Ordering::Relaxed);
        }
    }

    /// Whether its breaker is closed.
    pub(crate) fn is_calm(&self) -> bool {
        self.health.calm.load(Ordering::Relaxed)
    }

    /// A place for one more single read; `None` when as many as the node bears are under way.
    pub(crate) fn permit(&self, now: Instant) -> Option<Permit<'_>> {
        let admitted = self.counted(self.limit.lock().admit());
        admitted.then_some(Permit { link: self, limit: &self.limit, started: now, open: true, single: true })
    }

    /// A place for one more batch of reads; `hedged`, if how long it takes is to count among single reads.
    pub(crate) fn batch_permit(&self, now: Instant, hedged: bool) -> Option<Permit<'_>> {
        let limit = &self.batch_limit;
        let admitted = self.counted(limit.lock().admit());
        admitted.then_some(Permit { link: self, limit, started: now, open: true, single: hedged })
    }

    /// Counts what was not admitted.
    fn counted(&self, admitted: bool) -> bool {
        if !admitted {
            self.metrics.overloaded.increment(1);
        }
        admitted
    }

    /// Single reads under way, and how many may be.
    pub(crate) fn reads(&self) -> (u32, u32) {
        let limit = self.limit.lock();
        (limit.in_flight(), limit.limit())
    }

    /// Whether as many single reads as the node bears are under way.
    pub(crate) fn is_full(&self) -> bool {
        let (in_flight, limit) = self.reads();
        in_flight >= limit
    }

    /// Whether nobody should wait for this node in particular: it is away, or does not answer.
    pub(crate) fn is_suspect(&self) -> bool {
        let ill = !self.health.calm.load(Ordering::Relaxed) && self.health.breaker.lock().is_open();
        ill || matches!(self.connection.state(), ConnectionState::Down { .. })
    }

    /// Tells the breaker what came of a request, and reads the reply.
    pub(crate) fn judge(&self, outcome: Result<Reply, TransportError>) -> Result<MetaReply, NodeError> {
        match self.judge_any(outcome)? {
            Reply::Meta(meta) => Ok(meta),
            _ => Err(NodeError::Unexpected),
        }
    }

    /// The same for a reply to any command.
    pub(crate) fn judge_any(&self, outcome: Result<Reply, TransportError>) -> Result<Reply, NodeError> {
        match outcome {
            Ok(reply) => {
                self.health.on_success(&self.metrics);
                if let Reply::Error(error) = &reply { Err(refusal(error)) } else { Ok(reply) }
            }
            Err(error) => {
                if is_illness(&error) {
                    self.health.on_error(self.ambient.random(), &self.metrics);
                }
                if matches!(error, TransportError::QueueFull { .. }) {
                    self.metrics.queue_full.increment(1);
                }
                Err(error.into())
            }
        }
    }
}

/// It is no longer asked for anything.
impl Drop for Link {
    fn drop(&mut self) {
        if !self.is_calm() {
            self.metrics.breakers_open.decrement(1);
        }
    }
}

/// A read, or a batch, under way to a node. Says how long it took when it has ended, or nobody waits for it any more.
pub(crate) struct Permit<'a> {
    link: &'a Link,
    limit: &'a Mutex<ConcurrencyLimit>,
    started: Instant,
    open: bool,
    single: bool,
}

impl Permit<'_> {
    /// It ended.
    pub(crate) fn ended(&mut self, outcome: &Result<Reply, TransportError>) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.started);
        match outcome {
            Ok(_) | Err(TransportError::Timeout { sent: true, .. }) => self.close(now, Ended::After(took)),
            Err(_) => self.close(now, Ended::Unknown),
        }
    }

    /// It is sent once more at `now`, since this process did not run.
    pub(crate) fn held_up(&mut self, now: Instant) {
        self.started = now;
        self.limit.lock().on_held_up();
    }

    fn close(&mut self, now: Instant, ended: Ended) {
        self.open = false;
        self.limit.lock().on_end(now, ended);
        if let (Ended::After(took), true) = (ended, self.single) {
            self.link.round_trips.record(took);
            self.link.metrics.attempt_seconds.record(took);
        }
    }
}

/// Another node answered first, or the caller went away: that the node was slow is known, that it would have been fast
/// is not.
impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let now = Instant::now();
        let waited = now.saturating_duration_since(self.started);
        let slow = self.link.round_trips.p95().is_some_and(|p95| waited > p95);
        self.close(now, if slow { Ended::After(waited) } else { Ended::Unknown });
    }
}

/// A breaker, and whether it has anything to say: the way of a healthy node takes no lock.
#[derive(Debug)]
struct Health {
    calm: AtomicBool,
    breaker: Mutex<Breaker>,
}

impl Default for Health {
    fn default() -> Self {
        Self { calm: AtomicBool::new(true), breaker: Mutex::default() }
    }
}

impl Health {
    fn on_success(&self, metrics: &NodeMetrics) {
        if self.calm.load(Ordering::Relaxed) {
            return;
        }
        let mut breaker = self.breaker.lock();
        if breaker.is_open() {
            breaker.on_success();
            self.calm.store(true, Ordering::Relaxed);
            metrics.breakers_open.decrement(1);
        }
    }

    fn on_error(&self, jitter: f64, metrics: &NodeMetrics) {
        let mut breaker = self.breaker.lock();
        let was_open = breaker.is_open();
        breaker.on_error(Instant::now(), jitter);
        self.calm.store(!breaker.is_open(), Ordering::Relaxed);
        if breaker.is_open() && !was_open {
            metrics.breakers_open.increment(1);
        }
    }
}

/// Whether an error means that the node is ill. One that is known to be away is not asked anyway, and is used again as
/// soon as it is back; a full queue and a refused request are ours.
fn is_illness(error: &TransportError) -> bool {
    matches!(
        error,
        TransportError::Timeout { .. }
            | TransportError::Closed { sent: true, .. }
            | TransportError::Protocol { .. }
    )
}

/// The one error that memcached calls the server's and that is the caller's.
const TOO_LARGE: &[u8] = b"object too large for cache";

fn refusal(error: &ErrorReply) -> NodeError {
    let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    match error {
        ErrorReply::Unknown => NodeError::Refused("it does not know the command".into()),
        ErrorReply::Client(line) => NodeError::Refused(text(line)),
        ErrorReply::Server(line) if line == TOO_LARGE => NodeError::Refused(text(line)),
        ErrorReply::Server(line) => NodeError::Failed(text(line)),
    }
}
