//! Loaders that have not been called: of one key alone, and of many keys at once.
//!
//! ```text
//!  key ── seat ── lease granted ──> ready ─┐
//!  key ── seat ── lease granted ──> ready ─┼── all have decided, or the first has waited long enough ──> one call
//!  key ── seat ── found, or held elsewhere ┘
//!  key ── seat ── held elsewhere ─── whoever had it is gone ──> ready ─────────────────────────────────> one more call
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::Loaded;
use crate::error::LoadError;
use crate::policy::held_up;

/// How long a key that may be loaded waits for the others: as long as one request for a lease may take. A zone that is slow to grant
/// the rest of them holds nobody up for longer.
const GATHER_MAX: Duration = Duration::from_millis(100);

/// What a loader of many keys said of each, encoded. Keys that are not in it have no value.
pub(crate) type ManyLoaded = Result<HashMap<Bytes, Loaded>, LoadError>;

/// A loader of many keys.
pub(crate) type ManyLoader = Arc<dyn Fn(Vec<Bytes>) -> BoxFuture<'static, ManyLoaded> + Send + Sync>;

/// A loader that has not been called.
pub(crate) enum Loader {
    /// Of one key.
    Alone(Box<dyn FnOnce() -> BoxFuture<'static, Loaded> + Send>),
    /// Of many, together.
    Together(Seat),
}

impl Loader {
    /// Calls it.
    pub(super) fn call(self) -> BoxFuture<'static, Loaded> {
        match self {
            Self::Alone(loader) => loader(),
            Self::Together(seat) => Box::pin(seat.load()),
        }
    }

    /// Its key waits for somebody else's load: the other keys need not wait for it.
    pub(super) fn waits(&mut self) {
        if let Self::Together(seat) = self {
            seat.decide();
        }
    }
}

/// Keys of one caller that are loaded by one call.
pub(crate) struct Gathering {
    loader: ManyLoader,
    /// How long it may take.
    load_timeout: Duration,
    /// Lock order: alone.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Seats of which it is not known yet whether their keys are to be loaded.
    undecided: usize,
    ready: Vec<Ready>,
}

/// A key to be loaded, and who waits for it.
struct Ready {
    key: Bytes,
    outcome: oneshot::Sender<Loaded>,
}

/// One key's place in a gathering.
pub(crate) struct Seat {
    gathering: Arc<Gathering>,
    key: Bytes,
    decided: bool,
}

impl Gathering {
    /// A place for each of the keys, in their order. None of them is loaded before each has decided.
    pub(crate) fn seats(
        loader: &ManyLoader,
        load_timeout: Duration,
        keys: impl ExactSizeIterator<Item = Bytes>,
    ) -> Vec<Seat> {
        let state = Mutex::new(State { undecided: keys.len(), ready: Vec::new() });
        let gathering = Arc::new(Self { loader: Arc::clone(loader), load_timeout, state });
        keys.map(|key| Seat { gathering: Arc::clone(&gathering), key, decided: false }).collect()
    }

    /// Calls the loader with the keys that are ready, in a task of its own: it is ended when its time is up.
    fn call(&self, ready: Vec<Ready>) {
        if ready.is_empty() {
            return;
        }
        let (loader, load_timeout) = (Arc::clone(&self.loader), self.load_timeout);
        tokio::spawn(async move {
            let keys = ready.iter().map(|ready| ready.key.clone()).collect();
            let loaded = match timeout(load_timeout, async { loader(keys).await }).await {
                Ok(loaded) => loaded,
                Err(_) => Err(LoadError::Timeout),
            };
            tell(ready, loaded);
        });
    }
}

fn tell(ready: Vec<Ready>, mut loaded: ManyLoaded) {
    for Ready { key, outcome } in ready {
        let of_key = match &mut loaded {
            Ok(loaded) => loaded.remove(&key).unwrap_or(Ok(None)),
            Err(error) => Err(error.clone()),
        };
        // Nobody waits any more when it took too long.
        let _ = outcome.send(of_key);
    }
}

impl Seat {
    /// Loads the key, with others.
    async fn load(mut self) -> Loaded {
        let (outcome, mut loaded) = oneshot::channel();
        let key = self.key.clone();
        self.gathering.state.lock().ready.push(Ready { key, outcome });
        self.decide();
        let mut due = Instant::now() + GATHER_MAX;
        let told = loop {
            if let Ok(told) = timeout_at(due, &mut loaded).await {
                break told;
            }
            let now = Instant::now();
            if held_up(due, now).is_none() {
                let ready = std::mem::take(&mut self.gathering.state.lock().ready);
                self.gathering.call(ready);
                break loaded.await;
            }
            // The grants of the others may be there, unread.
            due = now + GATHER_MAX;
        };
        // Whoever was to tell has panicked, or its runtime ends.
        told.unwrap_or(Err(LoadError::LoaderPanicked))
    }

    /// The others need not wait for this one. The last to decide has all that are ready loaded.
    fn decide(&mut self) {
        let mut state = self.gathering.state.lock();
        if !std::mem::replace(&mut self.decided, true) {
            state.undecided -= 1;
        }
        if state.undecided == 0 {
            let ready = std::mem::take(&mut state.ready);
            drop(state);
            self.gathering.call(ready);
        }
    }
}

impl Drop for Seat {
    /// Its key need not be loaded.
    fn drop(&mut self) {
        if !self.decided {
            self.decide();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::item::LoadedItem;

    /// Loads each key as itself, but for `none`, and counts its calls.
    fn loader(calls: &Arc<AtomicUsize>) -> ManyLoader {
        let calls = Arc::clone(calls);
        Arc::new(move |keys: Vec<Bytes>| {
            calls.fetch_add(1, Ordering::SeqCst);
            let present = keys.into_iter().filter(|key| key != "none");
            let loaded = present
                .map(|key| (key.clone(), Ok(Some(LoadedItem { value: key, ..LoadedItem::default() }))))
                .collect();
            Box::pin(async { Ok(loaded) })
        })
    }

    fn seats(loader: &ManyLoader, keys: &[&'static str]) -> Vec<Seat> {
        let keys = keys.iter().map(|&key| Bytes::from_static(key.as_bytes()));
        Gathering::seats(loader, Duration::from_secs(5), keys)
    }

    fn value(loaded: Loaded) -> Option<Bytes> {
        loaded.expect("it is loaded").map(|item| item.value)
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_are_ready_are_loaded_by_one_call_once_all_have_decided() {
        let calls = Arc::default();
        let [first, absent, mut elsewhere, found] =
            seats(&loader(&calls), &["a", "none", "b", "c"]).try_into().ok().expect("four");
        let first = tokio::spawn(first.load());
        let absent = tokio::spawn(absent.load());
        tokio::task::yield_now().await;
        drop(found);
        assert_eq!(calls.load(Ordering::SeqCst), 0, "one has not decided");
        elsewhere.decide();
        assert_eq!(value(first.await.expect("sound")), Some("a".into()));
        assert_eq!(value(absent.await.expect("sound")), None);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert_eq!(value(elsewhere.load().await), Some("b".into()), "in a call of its own");
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn key_that_does_not_decide_holds_the_others_up_for_a_moment_only() {
        let calls = Arc::default();
        let [ready, undecided] = seats(&loader(&calls), &["a", "b"]).try_into().ok().expect("two");
        let begun = tokio::time::Instant::now();
        assert_eq!(value(ready.load().await), Some("a".into()));
        assert_eq!(begun.elapsed(), GATHER_MAX);
        drop(undecided);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn failure_panic_and_slowness_are_told_to_all_keys_of_the_call() {
        let fails: ManyLoader = Arc::new(|_| Box::pin(async { Err(LoadError::Busy) }));
        let panics: ManyLoader = Arc::new(|_| panic!("as it should"));
        let hangs: ManyLoader = Arc::new(|_| Box::pin(std::future::pending()));
        for (loader, expected) in [(fails, "too many"), (panics, "panicked"), (hangs, "in time")] {
            let told = seats(&loader, &["a", "b"]).into_iter().map(Seat::load);
            for told in futures_util::future::join_all(told).await {
                let error = told.expect_err("it failed").to_string();
                assert!(error.contains(expected), "{error}");
            }
        }
    }
}
