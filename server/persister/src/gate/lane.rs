//! Those who wait for a call, in the order they came.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::Budget;
use crate::store::{ErrorKind, KeyChange, StoreError};

/// What has a key.
pub(super) trait Keyed {
    fn key(&self) -> &Bytes;
}

impl Keyed for Bytes {
    fn key(&self) -> &Bytes {
        self
    }
}

impl Keyed for KeyChange {
    fn key(&self) -> &Bytes {
        &self.key
    }
}

/// Those who wait.
pub(super) struct Lane<T, R> {
    /// Lock order: alone.
    waiting: Mutex<VecDeque<Waiting<T, R>>>,
    /// How many may.
    room: Arc<Semaphore>,
    came: Notify,
}

struct Waiting<T, R> {
    item: T,
    deadline: Instant,
    outcome: oneshot::Sender<R>,
    begun: Arc<AtomicBool>,
    /// Held until it is told.
    room: [OwnedSemaphorePermit; 2],
}

/// Whose keys are too many.
const OWN: &str = "of this namespace wait";
const ALL: &str = "wait";

fn busy(whose: &str) -> StoreError {
    let message = format!("too many keys {whose} for the backing store: try again later");
    StoreError::new(ErrorKind::Overload, message)
}

/// A place in a lane.
pub(super) struct Place<R> {
    outcome: oneshot::Receiver<R>,
    begun: Arc<AtomicBool>,
}

/// Whether the store was called.
pub(super) struct Begun(Arc<AtomicBool>);

impl Begun {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl<T> Place<Result<T, StoreError>> {
    pub(super) fn begun(&self) -> Begun {
        Begun(Arc::clone(&self.begun))
    }

    pub(super) async fn outcome(self) -> Result<T, StoreError> {
        // It goes untold when its time was up before its turn, or the store is closed.
        self.outcome.await.unwrap_or_else(|_| Err(StoreError::timeout()))
    }
}

/// What goes to the store together: no key twice.
pub(super) struct Lot<T, R> {
    pub(super) items: Vec<T>,
    /// Those whose time was up.
    pub(super) too_late: usize,
    outcomes: Vec<(oneshot::Sender<R>, [OwnedSemaphorePermit; 2])>,
}

impl<T, R> Lot<T, R> {
    /// Tells each, in their order.
    pub(super) fn tell(self, outcomes: Vec<R>) {
        for ((sender, room), outcome) in self.outcomes.into_iter().zip(outcomes) {
            drop(room);
            // Who has gone need not be told.
            let _ = sender.send(outcome);
        }
    }
}

impl<T: Keyed, R> Lane<T, R> {
    pub(super) fn new(queue_max: usize) -> Self {
        Self { waiting: Mutex::default(), room: Arc::new(Semaphore::new(queue_max)), came: Notify::new() }
    }

    /// Why there would be no place now, if there would be none.
    pub(super) fn refusal(&self, budget: &Budget) -> Option<StoreError> {
        match () {
            () if budget.0.available_permits() == 0 => Some(busy(OWN)),
            () if self.room.available_permits() == 0 => Some(busy(ALL)),
            () => None,
        }
    }

    /// Takes a place.
    ///
    /// # Errors
    ///
    /// When too many have one.
    pub(super) fn join(&self, item: T, budget: &Budget, deadline: Instant) -> Result<Place<R>, StoreError> {
        let (waiting, place) = self.place(item, budget, deadline)?;
        self.waiting.lock().push_back(waiting);
        self.came.notify_one();
        Ok(place)
    }

    /// Takes a place for each, one behind the other, so that they go together.
    pub(super) fn join_many(
        &self,
        items: impl IntoIterator<Item = T>,
        budget: &Budget,
        deadline: Instant,
    ) -> Vec<Result<Place<R>, StoreError>> {
        let mut places = Vec::new();
        let mut all = self.waiting.lock();
        for item in items {
            places.push(self.place(item, budget, deadline).map(|(waiting, place)| {
                all.push_back(waiting);
                place
            }));
        }
        drop(all);
        self.came.notify_one();
        places
    }

    fn place(
        &self,
        item: T,
        budget: &Budget,
        deadline: Instant,
    ) -> Result<(Waiting<T, R>, Place<R>), StoreError> {
        let own = Arc::clone(&budget.0).try_acquire_owned();
        let own = own.map_err(|_| busy(OWN))?;
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| busy(ALL))?;
        let (sender, outcome) = oneshot::channel();
        let begun = Arc::new(AtomicBool::new(false));
        let room = [own, room];
        let waiting = Waiting { item, deadline, outcome: sender, begun: Arc::clone(&begun), room };
        Ok((waiting, Place { outcome, begun }))
    }

    /// Waits until somebody waits; returns how many.
    pub(super) async fn waiting(&self) -> usize {
        loop {
            let waiting = self.waiting.lock().len();
            if waiting > 0 {
                return waiting;
            }
            self.came.notified().await;
        }
    }

    /// The first `most` who still wait. A key that is there twice ends the lot: what comes behind keeps its order.
    pub(super) fn take(&self, most: usize, now: Instant) -> Lot<T, R> {
        let mut lot = Lot { items: Vec::new(), too_late: 0, outcomes: Vec::new() };
        let mut keys: HashSet<Bytes> = HashSet::new();
        let mut waiting = self.waiting.lock();
        while let Some(first) = waiting.front() {
            if first.deadline <= now || first.outcome.is_closed() {
                lot.too_late += 1;
                waiting.pop_front();
                continue;
            }
            if lot.items.len() >= most || !keys.insert(first.item.key().clone()) {
                break;
            }
            let Some(next) = waiting.pop_front() else { break };
            next.begun.store(true, Ordering::Release);
            lot.items.push(next.item);
            lot.outcomes.push((next.outcome, next.room));
        }
        lot
    }
}
