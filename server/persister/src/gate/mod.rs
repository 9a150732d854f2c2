//! The way to a store: so much at once, so much in a second, nothing while it is ill, and no key for longer than its caller
//! waits.
//!
//! ```text
//!  key, key, key ──> lane: waits, within the bounds of its namespace and of all ──> a batch of what waits
//!                                                                                     │ a place among the calls,
//!                                                                                     │ the breaker's leave,
//!                                                                                     v the rate's
//!                                                                                   store
//! ```
//!
//! What waits while all places are taken goes together, so a store that is slow is asked for more at a time, not more
//! often.

mod allowance;
mod breaker;
mod counts;
mod lane;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::StoreLimits;
use crate::store::{Abilities, BackingStore, ErrorKind, KeyChange, Loaded, Outcome, StoreError, failed_all};

use allowance::Allowance;
use breaker::{Breaker, Leave, Round};
pub(crate) use counts::{Count, GateCounts};
use lane::{Lane, Lot, Place};

/// A call is cut off so long after the deadline that the store was given, which it should have kept itself.
const CUT_AFTER: Duration = Duration::from_millis(100);

/// Which part of the places those who write many wait for at once: a namespace's log has four such, and calls take places in the
/// order they ask, so that a load waits for one round of writes at most.
const MANY_SHARE: usize = 4;

/// Between two looks of a call that waits for the breaker, which may close before it said.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A store behind its limits. Dropped, it ends its tasks; what waits is refused.
pub(crate) struct Gate {
    inner: Arc<Inner>,
    drivers: [JoinHandle<()>; 2],
}

struct Inner {
    store: Arc<dyn BackingStore>,
    limits: StoreLimits,
    places: Arc<Semaphore>,
    /// Lock order: alone.
    state: Mutex<State>,
    loads: Lane<Bytes, Loaded>,
    writes: Lane<KeyChange, Outcome>,
    counts: GateCounts,
}

struct State {
    breaker: Breaker,
    allowance: Allowance,
}

/// The bound of one namespace: how many of its keys may wait at once.
#[derive(Debug, Clone)]
pub(crate) struct Budget(pub(super) Arc<Semaphore>);

impl Budget {
    pub(crate) fn new(keys_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(keys_max)))
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("store", &self.inner.store.kind()).finish_non_exhaustive()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.drivers.iter().for_each(JoinHandle::abort);
    }
}

impl Gate {
    /// Sets a gate before a store. Its tasks run on the present runtime.
    pub(crate) fn new(store: Arc<dyn BackingStore>, limits: StoreLimits) -> Self {
        let now = Instant::now();
        let state = State {
            breaker: Breaker::new(limits.breaker_errors, limits.breaker_pause),
            allowance: Allowance::new(limits.rate_max, now),
        };
        let inner = Arc::new(Inner {
            store,
            limits,
            places: Arc::new(Semaphore::new(limits.concurrency_max)),
            state: Mutex::new(state),
            loads: Lane::new(limits.queue_max),
            writes: Lane::new(limits.queue_max),
            counts: GateCounts::default(),
        });
        let drivers = [
            tokio::spawn(drive(Arc::clone(&inner), inner.loads_max(), |inner| &inner.loads, Inner::load_lot)),
            tokio::spawn(drive(
                Arc::clone(&inner),
                inner.writes_max(),
                |inner| &inner.writes,
                Inner::write_lot,
            )),
        ];
        Self { inner, drivers }
    }

    pub(crate) fn abilities(&self) -> Abilities {
        self.inner.store.abilities()
    }

    pub(crate) fn store(&self) -> &Arc<dyn BackingStore> {
        &self.inner.store
    }

    pub(crate) fn limits(&self) -> &StoreLimits {
        &self.inner.limits
    }

    pub(crate) fn counts(&self) -> &GateCounts {
        &self.inner.counts
    }

    /// Closed, open or trying.
    pub(crate) fn breaker(&self) -> &'static str {
        self.inner.state.lock().breaker.name()
    }

    /// Calls under way.
    pub(crate) fn calls(&self) -> usize {
        self.inner.limits.concurrency_max - self.inner.places.available_permits()
    }

    /// Why a key that would be loaded now would be refused, if it would: for those who can save themselves the way here. Whoever
    /// is refused for it counts that.
    pub(crate) fn refusal(&self, budget: &Budget) -> Option<StoreError> {
        self.inner.refuse_if_ill().err().or_else(|| self.inner.loads.refusal(budget))
    }

    /// Loads one key, together with others that wait.
    pub(crate) async fn load(&self, key: Bytes, budget: &Budget, deadline: Instant) -> Loaded {
        let refused = |error: StoreError| {
            self.inner.counts.refused.add(1);
            error
        };
        self.inner.refuse_if_ill().map_err(refused)?;
        let place = self.inner.loads.join(key, budget, deadline).map_err(refused)?;
        wait(place, deadline).await
    }

    /// Loads many keys, in as few calls as may be; the answers are in their order.
    pub(crate) async fn load_many(&self, keys: &[Bytes], budget: &Budget, deadline: Instant) -> Vec<Loaded> {
        if let Err(error) = self.inner.refuse_if_ill() {
            self.inner.counts.refused.add(keys.len());
            return failed_all(keys.len(), &error);
        }
        let places = self.inner.loads.join_many(keys.iter().cloned(), budget, deadline);
        let refused = places.iter().filter(|place| place.is_err()).count();
        self.inner.counts.refused.add(refused);
        let wait = async |place: Result<_, _>| wait(place?, deadline).await;
        join_all(places.into_iter().map(wait)).await
    }

    /// Writes one change, together with others that wait.
    ///
    /// # Errors
    ///
    /// [`Refusal`] tells whether the store may have it.
    pub(crate) async fn write(
        &self,
        change: KeyChange,
        budget: &Budget,
        deadline: Instant,
    ) -> Result<crate::store::Applied, Refusal> {
        let refused = |error| {
            self.inner.counts.refused.add(1);
            Refusal { error, maybe_applied: false }
        };
        self.inner.refuse_if_ill().map_err(refused)?;
        let place = self.inner.writes.join(change, budget, deadline).map_err(refused)?;
        let begun = place.begun();
        wait(place, deadline).await.map_err(|error| {
            let maybe_applied = begun.get() && error.kind != ErrorKind::Permanent;
            Refusal { error, maybe_applied }
        })
    }

    /// Writes many changes that wait elsewhere, as soon as there are places for them. Waits while the store is ill.
    pub(crate) async fn write_many(&self, changes: &[KeyChange]) -> Vec<Outcome> {
        let at_once = (self.inner.limits.concurrency_max / MANY_SHARE).max(1);
        // Collected first: a stream over a closure that borrows is not known to be `Send`.
        let calls: Vec<_> =
            changes.chunks(self.inner.writes_max()).map(|part| self.write_part(part)).collect();
        let outcomes: Vec<Vec<Outcome>> = stream::iter(calls).buffered(at_once).collect().await;
        outcomes.into_iter().flatten().collect()
    }

    async fn write_part(&self, changes: &[KeyChange]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(changes.len());
        while outcomes.len() < changes.len() {
            let rest = &changes[outcomes.len()..];
            let Permit { place, round, most } = self.inner.permit(rest.len()).await;
            outcomes.extend(self.inner.write(&rest[..most.min(rest.len())], round).await);
            drop(place);
        }
        outcomes
    }

    /// Asks the store whether it is there, whatever the breaker says.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        let deadline = Instant::now() + self.inner.limits.timeout;
        let checked = timeout_at(deadline + CUT_AFTER, self.inner.store.check(deadline)).await;
        checked.unwrap_or_else(|_| Err(StoreError::timeout()))
    }
}

/// Why a write was not done.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) error: StoreError,
    /// The store may have done it all the same.
    pub(crate) maybe_applied: bool,
}

async fn wait<T>(place: Place<Result<T, StoreError>>, deadline: Instant) -> Result<T, StoreError> {
    timeout_at(deadline + CUT_AFTER, place.outcome()).await.unwrap_or_else(|_| Err(StoreError::timeout()))
}

/// What a call needs to begin.
struct Permit {
    place: OwnedSemaphorePermit,
    round: Round,
    /// Its keys.
    most: usize,
}

/// Takes what waits in a lane to the store, a lot of at most `most` at a time, for ever.
async fn drive<T, R, F>(
    inner: Arc<Inner>,
    most: usize,
    lane: fn(&Inner) -> &Lane<T, R>,
    call: fn(Arc<Inner>, Lot<T, R>, Round) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
    T: lane::Keyed + Send + 'static,
    R: Send + 'static,
{
    loop {
        let wanted = lane(&inner).waiting().await;
        let Permit { place, round, most } = inner.permit(wanted.min(most)).await;
        let lot = lane(&inner).take(most, Instant::now());
        inner.counts.timed_out.add(lot.too_late);
        if lot.items.is_empty() {
            // All have gone, and the next may try the store.
            inner.state.lock().breaker.on_untried(round, Instant::now());
            continue;
        }
        let inner = Arc::clone(&inner);
        tokio::spawn(async move {
            call(inner, lot, round).await;
            drop(place);
        });
    }
}

impl Inner {
    /// Keys of one load.
    fn loads_max(&self) -> usize {
        if self.store.asks_key_by_key() { 1 } else { self.store.abilities().batch_max.max(1) }
    }

    /// Changes of one write.
    fn writes_max(&self) -> usize {
        if self.store.writes_key_by_key() { 1 } else { self.store.abilities().batch_max.max(1) }
    }

    /// Fails fast while the store is ill.
    fn refuse_if_ill(&self) -> Result<(), StoreError> {
        match self.state.lock().breaker.is_open(Instant::now()) {
            false => Ok(()),
            true => Err(StoreError::new(
                ErrorKind::Overload,
                "the backing store does not answer and is left alone for a moment: try again later",
            )),
        }
    }

    /// A place among the calls, and for how many keys; waits for it.
    async fn permit(&self, wanted: usize) -> Permit {
        // Never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.expect("places are never closed");
        let wanted = wanted.max(1);
        loop {
            let pause = {
                let (now, mut state) = (Instant::now(), self.state.lock());
                match state.breaker.ask(now, self.limits.timeout) {
                    Leave::NotBefore(until) => until - now,
                    Leave::Yes(round) => match state.allowance.take(wanted, now) {
                        Ok(most) => return Permit { place, round, most },
                        Err(wait) => wait,
                    },
                }
            };
            sleep(pause.min(LOOK_EVERY)).await;
        }
    }

    async fn load_lot(self: Arc<Self>, lot: Lot<Bytes, Loaded>, round: Round) {
        // The store's own time, though those who wait may go before: what it says of the store's health is to be true.
        let deadline = self.deadline();
        let keys = &lot.items;
        self.counts.load_calls.add(1);
        self.counts.loads.add(keys.len());
        let loaded = timeout_at(deadline + CUT_AFTER, self.store.load(keys, deadline)).await;
        let mut loaded = loaded.unwrap_or_else(|_| failed_all(keys.len(), &StoreError::timeout()));
        self.judge(&loaded, round);
        loaded.resize_with(keys.len(), || {
            Err(StoreError::permanent("the backing store did not tell of a key"))
        });
        lot.tell(loaded);
    }

    async fn write_lot(self: Arc<Self>, lot: Lot<KeyChange, Outcome>, round: Round) {
        let outcomes = self.write(&lot.items, round).await;
        lot.tell(outcomes);
    }

    async fn write(&self, changes: &[KeyChange], round: Round) -> Vec<Outcome> {
        let deadline = self.deadline();
        self.counts.write_calls.add(1);
        self.counts.writes.add(changes.len());
        let outcomes = timeout_at(deadline + CUT_AFTER, self.store.write(changes, deadline)).await;
        let mut outcomes = outcomes.unwrap_or_else(|_| failed_all(changes.len(), &StoreError::timeout()));
        self.judge(&outcomes, round);
        let untold = || Err(StoreError::permanent("the backing store did not tell of a change"));
        outcomes.resize_with(changes.len(), untold);
        outcomes
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.limits.timeout
    }

    /// What a call says of the store's health: it is ill when it answered for no key, and not by the keys' fault.
    fn judge<T>(&self, answers: &[Result<T, StoreError>], round: Round) {
        let ill = |answer: &Result<T, StoreError>| {
            answer.as_ref().is_err_and(|error| error.kind != ErrorKind::Permanent)
        };
        for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            self.counts.on_error(error.kind);
        }
        let mut state = self.state.lock();
        if !answers.is_empty() && answers.iter().all(ill) {
            if state.breaker.on_error(round, Instant::now()) {
                self.counts.breaker_opened.add(1);
            }
        } else {
            state.breaker.on_answer();
        }
    }
}

#[cfg(test)]
mod tests;
