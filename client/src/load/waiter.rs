//! A place among those who wait for a load, and how far that is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::lease::request_timeout;
use super::{LoadPlan, Loaded, Loader, Wish};
use crate::core::Core;
use crate::error::LoadError;
use crate::key::Key;

/// Loads that one caller waits for. One whose key is deleted again and again must have an answer some time.
const LOADS_MAX: u32 = 3;

/// How far a load is.
///
/// ```text
///  Asking ── lease granted ──> Loading ── loader done ──> Loaded ── stored, or refused ──> Landed
///     │ somebody else has loaded it, or nobody may                                           ^
///     └──────────────────────────────────────────────────────────────────────────────────────┘
/// ```
#[derive(Debug, Clone)]
pub(super) enum Progress {
    /// Nobody has called the loader yet.
    Asking,
    /// It works.
    Loading,
    /// It has said this, which is being stored.
    Loaded(Loaded),
    /// All is over.
    Landed {
        loaded: Loaded,
        /// A zone has something newer: a write or a delete came while it was loaded.
        superseded: bool,
    },
}

impl Progress {
    fn loaded(&self) -> Option<&Loaded> {
        match self {
            Self::Asking | Self::Loading => None,
            Self::Loaded(loaded) | Self::Landed { loaded, .. } => Some(loaded),
        }
    }

    fn is_landed(&self) -> bool {
        matches!(self, Self::Landed { .. })
    }

    fn is_superseded(&self) -> bool {
        matches!(self, Self::Landed { superseded: true, .. })
    }
}

/// A caller's place. Whoever does not wait drops it.
pub(crate) struct Waiter {
    progress: watch::Receiver<Progress>,
    /// The caller's own, when another's had been called before it came: what that finds may have been deleted, by whatever
    /// process, before this caller came.
    unused: Option<Loader>,
}

/// What waiting for one load came to.
enum Waited {
    /// That is the answer.
    Loaded(Loaded),
    /// What was loaded may have been gone before this caller came, who must look again, with its loader.
    Superseded(Loader),
}

/// Waits for what is loaded; for another load when that one began before a write or delete that this caller came after.
pub(crate) async fn wait(core: &Arc<Core>, key: &Key, plan: &LoadPlan, mut waiter: Waiter) -> Loaded {
    for _ in 1..LOADS_MAX {
        match waiter.outcome(request_timeout(core)).await {
            Waited::Loaded(loaded) => return loaded,
            Waited::Superseded(unused) => {
                waiter = core.flights.join(core, key, plan.clone(), unused, Wish::Missing)?;
            }
        }
    }
    waiter.loaded().await
}

impl Waiter {
    /// For a load that has just been started.
    pub(super) fn first(progress: watch::Receiver<Progress>) -> Self {
        Self { progress, unused: None }
    }

    /// For a load that somebody else started.
    pub(super) fn beside(progress: watch::Receiver<Progress>, mut loader: Loader) -> Self {
        let late = !matches!(*progress.borrow(), Progress::Asking);
        loader.waits();
        Self { progress, unused: late.then_some(loader) }
    }

    /// Whoever came in the middle of the load waits for the nodes' word, too, that nothing newer was there; for as long as one
    /// request may take at most, since a node that does not answer by then is ill.
    async fn outcome(&mut self, request: Duration) -> Waited {
        let loaded = self.loaded().await;
        let Some(loader) = self.unused.take() else { return Waited::Loaded(loaded) };
        let landed = timeout(request, self.progress.wait_for(Progress::is_landed)).await;
        let superseded = landed.is_ok_and(|landed| landed.is_ok_and(|progress| progress.is_superseded()));
        if superseded { Waited::Superseded(loader) } else { Waited::Loaded(loaded) }
    }

    /// What the loader said.
    async fn loaded(&mut self) -> Loaded {
        // A load always says something before it goes, unless its runtime does.
        let loaded = self.progress.wait_for(|progress| progress.loaded().is_some()).await;
        loaded.map_err(|_| LoadError::Closed)?.loaded().expect("it was waited for").clone()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::item::LoadedItem;

    fn loader() -> Loader {
        Loader::Alone(Box::new(|| Box::pin(async { Ok(None) })))
    }

    fn value() -> Loaded {
        Ok(Some(LoadedItem { value: Bytes::from_static(b"v"), ..LoadedItem::default() }))
    }

    async fn outcome(mut waiter: Waiter) -> &'static str {
        match waiter.outcome(Duration::from_millis(100)).await {
            Waited::Loaded(_) => "loaded",
            Waited::Superseded(_) => "superseded",
        }
    }

    #[tokio::test]
    async fn who_came_before_the_loader_was_called_has_what_it_found() {
        let (flight, progress) = watch::channel(Progress::Asking);
        let (first, beside) = (Waiter::first(progress.clone()), Waiter::beside(progress, loader()));
        flight.send_replace(Progress::Landed { loaded: value(), superseded: true });
        assert_eq!([outcome(first).await, outcome(beside).await], ["loaded"; 2]);
    }

    #[tokio::test]
    async fn who_came_in_the_middle_looks_again_when_something_newer_was_there() {
        let (flight, progress) = watch::channel(Progress::Loading);
        let waiters = [(); 2].map(|()| Waiter::beside(progress.clone(), loader()));
        let [one, other] = waiters.map(|waiter| tokio::spawn(outcome(waiter)));
        flight.send_replace(Progress::Loaded(value()));
        flight.send_replace(Progress::Landed { loaded: value(), superseded: true });
        assert_eq!(one.await.expect("it does not panic"), "superseded");
        assert_eq!(other.await.expect("it does not panic"), "superseded");
        let (flight, progress) = watch::channel(Progress::Loading);
        let waiter = Waiter::beside(progress, loader());
        flight.send_replace(Progress::Landed { loaded: value(), superseded: false });
        assert_eq!(outcome(waiter).await, "loaded");
    }

    #[tokio::test(start_paused = true)]
    async fn word_of_a_node_that_is_ill_is_not_waited_for_long() {
        let (flight, progress) = watch::channel(Progress::Loaded(value()));
        let waiter = Waiter::beside(progress, loader());
        assert_eq!(outcome(waiter).await, "loaded");
        drop(flight);
    }
}
