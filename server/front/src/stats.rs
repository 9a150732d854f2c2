//! What a front counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::budget::Budget;
use crate::connection::{Connection, Connections};
use crate::refusal::HandshakeRefusal;

/// A front's counters, summed over its threads. All but the gauges only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrontStats {
    /// Worker threads.
    pub threads: usize,
    /// Connections now (a gauge).
    pub curr_connections: u64,
    /// Connections that may be open at once.
    pub connections_max: u64,
    /// Connections accepted and served so far.
    pub total_connections: u64,
    /// Connections told that there are too many.
    pub rejected_connections: u64,
    /// Failures of `accept`, such as too few file descriptors.
    pub accept_errors: u64,
    /// Bytes read from sockets.
    pub bytes_read: u64,
    /// Bytes written to sockets.
    pub bytes_written: u64,
    /// Batches handed to the service.
    pub batches: u64,
    /// Requests handed to the service.
    pub requests: u64,
    /// Requests answered with an error line before any service saw them.
    pub refused_requests: u64,
    /// Requests refused because pieces of others filled the input budget.
    pub input_exhausted: u64,
    /// Connections closed because replies to slow readers filled the output budget.
    pub output_exhausted: u64,
    /// Connections closed for making no progress within a request or a reply.
    pub stalled_connections: u64,
    /// Connections closed for being idle longer than allowed.
    pub idle_connections: u64,
    /// Handshakes of TLS that came to their end.
    pub tls_handshakes: u64,
    /// Those that did not, by reason; see [`FrontStats::tls_refusals`].
    tls_refused: [u64; HandshakeRefusal::ALL.len()],
    /// Names and passwords looked at.
    pub auth_cmds: u64,
    /// Of these, wrong ones.
    pub auth_errors: u64,
    /// Requests refused for want of a name and password.
    pub auth_missing: u64,
    /// Changed files of certificates or users that were taken over.
    pub reloads: u64,
    /// Changed files of certificates or users that could not be used.
    pub reload_errors: u64,
    /// Bytes that requests arriving in pieces hold now (a gauge).
    pub input_bytes: u64,
    /// Bytes that replies to slow readers hold now (a gauge).
    pub output_bytes: u64,
}

impl FrontStats {
    /// Handshakes of TLS that were refused or given up, each by the label of its reason: `plain_text`,
    /// `no_certificate`, `expired_certificate`, `foreign_certificate`, `peer_refused`, `protocol`, `timed_out`, `gone`,
    /// and `plain_port` for TLS where plain text is spoken.
    pub fn tls_refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        HandshakeRefusal::ALL.into_iter().map(HandshakeRefusal::label).zip(self.tls_refused)
    }

    /// What `stats` tells of who was let in since `before` and who was not, beside `auth_cmds` and `auth_errors`.
    pub fn protection_since(&self, before: &Self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let counts = [
            ("evanesce_auth_missing", self.auth_missing, before.auth_missing),
            ("evanesce_tls_handshakes", self.tls_handshakes, before.tls_handshakes),
            ("evanesce_reloads", self.reloads, before.reloads),
            ("evanesce_reload_errors", self.reload_errors, before.reload_errors),
        ];
        let stats = HandshakeRefusal::ALL.into_iter().map(HandshakeRefusal::stat);
        let refused = stats.zip(self.tls_refused).zip(before.tls_refused);
        let refused = refused.map(|((name, now), before)| (name, now, before));
        counts.into_iter().chain(refused).map(|(name, now, before)| (name, now.saturating_sub(before)))
    }
}

/// Reads a front's counters from anywhere, before and after its start.
#[derive(Debug, Clone)]
pub struct StatsHandle(pub(crate) Arc<Counters>);

impl StatsHandle {
    /// The counters as they are now.
    #[must_use]
    pub fn stats(&self) -> FrontStats {
        self.0.sum()
    }

    /// The connections that are open now, by number, each with how long its peer has been silent, to a second.
    #[must_use]
    pub fn connections(&self) -> Vec<(Arc<Connection>, Duration)> {
        self.0.connections.all()
    }
}

/// Counters and gauges of a whole front.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) connections_max: usize,
    pub(crate) curr_connections: AtomicUsize,
    pub(crate) total_connections: AtomicU64,
    pub(crate) rejected_connections: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) reloads: AtomicU64,
    pub(crate) reload_errors: AtomicU64,
    pub(crate) input: Arc<Budget>,
    pub(crate) output: Arc<Budget>,
    pub(crate) workers: Vec<WorkerCounters>,
    pub(crate) connections: Connections,
}

/// Counters of one worker, on cache lines of their own: no other thread writes them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerCounters {
    pub(crate) connections: AtomicUsize,
    pub(crate) bytes_read: Counter,
    pub(crate) bytes_written: Counter,
    pub(crate) batches: Counter,
    pub(crate) requests: Counter,
    pub(crate) refused_requests: Counter,
    pub(crate) input_exhausted: Counter,
    pub(crate) output_exhausted: Counter,
    pub(crate) stalled_connections: Counter,
    pub(crate) idle_connections: Counter,
    pub(crate) tls_handshakes: Counter,
    /// In the order of [`HandshakeRefusal::ALL`].
    pub(crate) tls_refused: [Counter; HandshakeRefusal::ALL.len()],
    pub(crate) auth_cmds: Counter,
    pub(crate) auth_errors: Counter,
    pub(crate) auth_missing: Counter,
}

impl WorkerCounters {
    /// Counts a handshake that came to nothing.
    pub(crate) fn refused_handshake(&self, refusal: HandshakeRefusal) {
        self.tls_refused[refusal as usize].add(1);
    }
}

/// A counter with one writing thread and any number of readers: no locked instruction to count.
///
/// Two threads that add to the same counter lose counts, nothing worse.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only ever called by the thread that owns it.
    #[inline]
    pub fn add(&self, count: usize) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count as u64), Ordering::Relaxed);
    }

    /// The count, from any thread.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn new(
        threads: usize,
        connections_max: usize,
        input: Arc<Budget>,
        output: Arc<Budget>,
    ) -> Self {
        Self {
            connections_max,
            curr_connections: AtomicUsize::new(0),
            total_connections: AtomicU64::new(0),
            rejected_connections: AtomicU64::new(0),
            accept_errors: AtomicU64::new(0),
            reloads: AtomicU64::new(0),
            reload_errors: AtomicU64::new(0),
            input,
            output,
            workers: (0..threads).map(|_| WorkerCounters::default()).collect(),
            connections: Connections::default(),
        }
    }

    fn sum(&self) -> FrontStats {
        let sum =
            |counter: fn(&WorkerCounters) -> &Counter| self.workers.iter().map(|w| counter(w).get()).sum();
        FrontStats {
            threads: self.workers.len(),
            curr_connections: self.curr_connections.load(Ordering::Relaxed) as u64,
            connections_max: self.connections_max as u64,
            total_connections: self.total_connections.load(Ordering::Relaxed),
            rejected_connections: self.rejected_connections.load(Ordering::Relaxed),
            accept_errors: self.accept_errors.load(Ordering::Relaxed),
            bytes_read: sum(|w| &w.bytes_read),
            bytes_written: sum(|w| &w.bytes_written),
            batches: sum(|w| &w.batches),
            requests: sum(|w| &w.requests),
            refused_requests: sum(|w| &w.refused_requests),
            input_exhausted: sum(|w| &w.input_exhausted),
            output_exhausted: sum(|w| &w.output_exhausted),
            stalled_connections: sum(|w| &w.stalled_connections),
            idle_connections: sum(|w| &w.idle_connections),
            tls_handshakes: sum(|w| &w.tls_handshakes),
            tls_refused: HandshakeRefusal::ALL.map(|reason| {
                self.workers.iter().map(|worker| worker.tls_refused[reason as usize].get()).sum()
            }),
            auth_cmds: sum(|w| &w.auth_cmds),
            auth_errors: sum(|w| &w.auth_errors),
            auth_missing: sum(|w| &w.auth_missing),
            reloads: self.reloads.load(Ordering::Relaxed),
            reload_errors: self.reload_errors.load(Ordering::Relaxed),
            input_bytes: self.input.used() as u64,
            output_bytes: self.output.used() as u64,
        }
    }
}
