//! The request to drain, from wherever it comes to the one place that acts on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Carries "drain, please" from a [`crate::Role`] to the role's assembly. Clones share one signal.
///
/// The first request wins: a later one changes nothing, so a deadline cannot be moved once draining began.
#[derive(Debug, Clone)]
pub struct DrainSignal {
    requested: Arc<watch::Sender<Option<Requested>>>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
struct Requested {
    deadline: Option<Duration>,
}

impl DrainSignal {
    /// A signal that nobody has given yet.
    #[must_use]
    pub fn new() -> Self {
        Self { requested: Arc::new(watch::Sender::new(None)) }
    }

    /// Asks for a drain that takes at most `deadline`; `None` leaves that to the role's configuration.
    pub fn request(&self, deadline: Option<Duration>) {
        self.requested.send_if_modified(|requested| {
            let first = requested.is_none();
            if first {
                *requested = Some(Requested { deadline });
            }
            first
        });
    }

    /// Whether a drain was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.requested.borrow().is_some()
    }

    /// Waits until a drain is asked for and returns the deadline that came with it. Cancel-safe.
    pub async fn requested(&self) -> Option<Duration> {
        let mut watched = self.requested.subscribe();
        let requested = watched.wait_for(Option::is_some).await.expect("self holds the sender");
        requested.and_then(|requested| requested.deadline)
    }
}

impl Default for DrainSignal {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn second_request_does_not_move_the_deadline() {
        let signal = DrainSignal::new();
        assert!(!signal.is_requested());
        signal.clone().request(Some(Duration::from_secs(3)));
        signal.request(Some(Duration::from_secs(9)));
        assert_eq!(signal.requested().await, Some(Duration::from_secs(3)));
        assert!(signal.is_requested());
    }
}
