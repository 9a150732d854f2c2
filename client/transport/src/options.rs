//! The limits and times of a connection.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use metrics::Counter;
use tokio::time::Instant;

use crate::credentials::Credentials;
#[cfg(feature = "simulation")]
use crate::simulation::Connector;
#[cfg(feature = "tls")]
use crate::tls::TlsOptions;

/// A loopback or same-zone handshake takes well under a millisecond; a second leaves room for one lost SYN.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Requests of some tens of milliseconds at full speed: more would only time out in the queue.
const QUEUE_MAX: usize = 4096;

/// Some items of the largest size, or a full queue of 2 KiB items.
const QUEUED_BYTES_MAX: usize = 8 << 20;

/// A node answers in order, so this many are enough to keep it busy over any round trip within a region.
const IN_FLIGHT_MAX: usize = 4096;

/// A node that answers nothing for a second is frozen or gone: a new connection finds out which.
const STALL_TIMEOUT: Duration = Duration::from_secs(1);

/// Sixteen items of the default limit: beyond it the peer is broken, or no memcached.
const REPLY_BYTES_MAX: usize = 16 << 20;

/// Short, since a restarted node should be found within a few tens of milliseconds.
const BACKOFF_MIN: Duration = Duration::from_millis(15);

/// Long enough that thousands of clients do not hammer a node that is away.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Stands for times beyond the clock's end, which some set to have no limit: longer than any process runs.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Limits and times of one connection.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// How long one attempt to connect may take, TLS, authentication and greeting included. Default 1 s.
    pub connect_timeout: Duration,
    /// Requests that may wait to be written; one more fails with `QueueFull`. Default 4096.
    pub queue_max: usize,
    /// Bytes that may wait to be written; the request that crosses the limit is the last let in. Default 8 MiB.
    pub queued_bytes_max: usize,
    /// Written requests without a reply, beyond which no more are written. Default 4096.
    pub in_flight_max: usize,
    /// A connection on which replies are due and none comes for this long is closed; seen up to a quarter late.
    /// Default 1 s.
    pub stall_timeout: Duration,
    /// The largest reply read. Default 16 MiB.
    pub reply_bytes_max: usize,
    /// Delay before the second attempt to connect; doubles, with jitter. Default 15 ms.
    pub backoff_min: Duration,
    /// The largest delay, before jitter. Default 1 s.
    pub backoff_max: Duration,
    /// How to speak TLS with the node. Default none: plain TCP.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsOptions>,
    /// Who we are, for nodes that want a password. Default none.
    pub credentials: Option<Credentials>,
    /// Counts the bytes that go over it. Default none.
    pub traffic: Option<Traffic>,
    /// Opens streams in place of TCP; then no TLS is spoken. Default none.
    #[cfg(feature = "simulation")]
    pub connector: Option<Connector>,
}

/// What counts the bytes that go over a connection, those of TLS, the greeting and authentication excepted.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// Those that the node sent.
    pub read: Counter,
    /// Those that it was sent.
    pub written: Counter,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            connect_timeout: CONNECT_TIMEOUT,
            queue_max: QUEUE_MAX,
            queued_bytes_max: QUEUED_BYTES_MAX,
            in_flight_max: IN_FLIGHT_MAX,
            stall_timeout: STALL_TIMEOUT,
            reply_bytes_max: REPLY_BYTES_MAX,
            backoff_min: BACKOFF_MIN,
            backoff_max: BACKOFF_MAX,
            #[cfg(feature = "tls")]
            tls: None,
            credentials: None,
            traffic: None,
            #[cfg(feature = "simulation")]
            connector: None,
        }
    }
}

impl ConnectionOptions {
    /// So many bytes were read.
    pub(crate) fn count_read(&self, bytes: usize) {
        if let Some(traffic) = &self.traffic {
            traffic.read.increment(bytes as u64);
        }
    }

    /// So many bytes were written.
    pub(crate) fn count_written(&self, bytes: usize) {
        if let Some(traffic) = &self.traffic {
            traffic.written.increment(bytes as u64);
        }
    }

    /// The delays between attempts, without end.
    pub(crate) fn delays(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(self.backoff_min)
            .with_max_delay(self.backoff_max)
            .with_jitter()
            .without_max_times()
            .build()
    }
}

/// The instant `duration` after `now`, or one that never comes.
pub(crate) fn after(now: Instant, duration: Duration) -> Instant {
    now.checked_add(duration).unwrap_or_else(|| now + NEVER)
}
