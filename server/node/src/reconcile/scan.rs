//! Walks through all items, a few milliseconds at a time.

use std::sync::Arc;
use std::time::Duration;

use evanesce_store::Walked;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::shared::Shared;

/// A step ends after this time: other work on the same cores goes on between two.
const STEP: Duration = Duration::from_millis(5);

/// Rests that are shorter than a timer's tick are saved up.
const REST_MIN: Duration = Duration::from_millis(2);

/// One rest is no longer than this: work that was held up itself is not to hold up the next for long.
const REST_MAX: Duration = Duration::from_secs(1);

/// How much of a core a comparison may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// A twentieth: nobody waits for it.
    None,
    /// Two thirds: somebody waits, and others are served meanwhile.
    Some,
    /// All of it: this node is read by nobody before it is done.
    Full,
}

impl Haste {
    pub(super) fn is_any(self) -> bool {
        self != Self::None
    }

    fn rest(self, worked: Duration) -> Duration {
        match self {
            Self::None => worked * 19,
            Self::Some => worked / 2,
            Self::Full => Duration::ZERO,
        }
    }
}

/// Rests that work has earned to others.
#[derive(Debug)]
pub(super) struct Pace {
    haste: Haste,
    owed: Duration,
}

impl Pace {
    pub(super) fn new(haste: Haste) -> Self {
        Self { haste, owed: Duration::ZERO }
    }

    /// After work that took so long.
    pub(super) async fn rest(&mut self, worked: Duration) {
        self.owed += self.haste.rest(worked);
        if self.owed >= REST_MIN {
            sleep(std::mem::take(&mut self.owed).min(REST_MAX)).await;
        }
    }
}

/// A walk.
pub(super) struct Scan {
    shared: Arc<Shared>,
    next: Option<u64>,
    pace: Pace,
}

impl Scan {
    pub(super) fn new(shared: &Arc<Shared>, haste: Haste) -> Self {
        Self { shared: Arc::clone(shared), next: Some(0), pace: Pace::new(haste) }
    }

    pub(super) fn is_over(&self) -> bool {
        self.next.is_none()
    }

    /// The next step: `visit` adds items to `found` until it is `full`, or the step's time is over.
    pub(super) async fn step<T: Send + 'static>(
        &mut self,
        found: T,
        visit: impl Fn(&mut T, &Walked<'_>) + Send + 'static,
        full: impl Fn(&T) -> bool + Send + 'static,
    ) -> Result<T, Status> {
        let (shared, mut next, mut found) = (Arc::clone(&self.shared), self.next, found);
        let step = spawn_blocking(move || {
            let began = Instant::now();
            let now = shared.clock.now();
            while let Some(from) = next.filter(|_| began.elapsed() < STEP && !full(&found)) {
                next = shared.store.walk(from, now, |walked| {
                    // A stale item is about to be replaced, and only its node knows by whom.
                    if !walked.hit.stale {
                        visit(&mut found, walked);
                    }
                });
            }
            (found, next, began.elapsed())
        });
        let (found, next, took) = step.await.map_err(|_| Status::unavailable("this node ends"))?;
        self.next = next;
        self.pace.rest(took).await;
        Ok(found)
    }
}
