//! How patient a node or a client is with its discoveries.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// How patient a node or a client is with its discoveries.
///
/// A discovery that stopped answering without closing its connections (its machine is gone, its process frozen) is
/// noticed within `keepalive_every + keepalive_timeout`.
#[derive(Debug, Clone, Copy)]
pub struct MembershipOptions {
    /// How long connecting may take, name resolution included. Default 1 s.
    pub connect_timeout: Duration,
    /// How long one call, or the opening of a stream, may take. Default 1 s.
    pub call_timeout: Duration,
    /// How long a connection is silent before it is pinged. Default 2 s.
    pub keepalive_every: Duration,
    /// How long a ping may stay unanswered. Default 1 s.
    pub keepalive_timeout: Duration,
    /// The pause after the first failure; doubles with each further one, with jitter. Default 50 ms.
    pub backoff_min: Duration,
    /// The longest pause after a failure. Default 1 s: well under a lease, so that a discovery that comes back hears
    /// of its nodes before it judges them.
    pub backoff_max: Duration,
    /// How long a followed discovery may be open but say nothing (it has not settled, or does not know the cluster)
    /// before the next is asked. Only where there is a next. Default 1 s.
    pub silence_max: Duration,
    /// Opens streams in place of TCP. Default none.
    #[cfg(feature = "simulation")]
    pub connector: Option<crate::simulation::Connector>,
}

impl Default for MembershipOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            call_timeout: Duration::from_secs(1),
            keepalive_every: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(1),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
            silence_max: Duration::from_secs(1),
            #[cfg(feature = "simulation")]
            connector: None,
        }
    }
}

impl MembershipOptions {
    /// The pauses after failures in a row: endless.
    pub(crate) fn backoff(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.backoff_min)
            .with_max_delay(self.backoff_max)
            .with_jitter()
            .without_max_times()
            .build()
    }
}
