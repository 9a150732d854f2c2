//! How many keys are under way at once in each cluster: a slow one takes no places of another's.

use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use evanesce_client::Client;
use evanesce_persister::Persister;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Keys under way at once in a cluster, in the whole gateway: with the largest default value each, 1 GiB. Others wait their turn.
const KEYS_UNDER_WAY_MAX: usize = 1024;

/// How long requests wait for their turn before they are refused: a cluster that takes longer for those before them has too much
/// to do.
const TURN_WAIT_MAX: Duration = Duration::from_secs(1);

/// Keys beside them that wait for a backing store: twice as many as may wait for one, for many may want the same key. More keep their
/// place among those under way.
const KEYS_WAITING_MAX: usize = 1024;

/// Longer than the cluster takes: a key that is not answered by then waits for its store, and others get its place.
const STORE_WAIT_MIN: Duration = Duration::from_millis(10);

/// The places of one cluster.
pub(crate) struct Places {
    under_way: Semaphore,
    waiting: Semaphore,
}

impl Default for Places {
    fn default() -> Self {
        Self { under_way: Semaphore::new(KEYS_UNDER_WAY_MAX), waiting: Semaphore::new(KEYS_WAITING_MAX) }
    }
}

impl Places {
    /// Takes so many of those under way. False when there were none for too long.
    pub(crate) async fn take(&self, keys: usize) -> bool {
        let taken = match self.under_way.try_acquire_many(keys as u32) {
            Ok(taken) => taken,
            // Never closed.
            Err(_) => match timeout(TURN_WAIT_MAX, self.under_way.acquire_many(keys as u32)).await {
                Ok(Ok(taken)) => taken,
                _ => return false,
            },
        };
        taken.forget();
        true
    }

    pub(crate) fn give_back(&self, keys: usize) {
        self.under_way.add_permits(keys);
    }

    /// Awaits what may wait for a backing store, for so many keys. While it does, others get their places, of which `held` says how
    /// many there are.
    pub(crate) async fn beside_others<T>(
        &self,
        held: &AtomicUsize,
        keys: usize,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        if let Ok(done) = timeout(STORE_WAIT_MIN, work.as_mut()).await {
            return done;
        }
        let _waits = self.waiting.try_acquire_many(keys as u32).inspect(|_| {
            let given = held.try_update(Relaxed, Relaxed, |held| held.checked_sub(keys));
            self.give_back(if given.is_ok() { keys } else { 0 });
        });
        work.await
    }
}

/// Those of the clusters beside the own one.
#[derive(Default)]
pub(crate) struct PlacesOfOthers(Mutex<Vec<(Weak<Client>, Arc<Places>)>>);

impl PlacesOfOthers {
    fn of(&self, client: &Arc<Client>) -> Arc<Places> {
        let mut known = self.0.lock();
        if let Some((_, places)) = known.iter().find(|(known, _)| known.as_ptr() == Arc::as_ptr(client)) {
            return Arc::clone(places);
        }
        known.retain(|(client, _)| client.strong_count() > 0);
        let places = Arc::<Places>::default();
        known.push((Arc::downgrade(client), Arc::clone(&places)));
        places
    }

    /// Takes places for these keys. `None` when there were none for too long.
    pub(crate) async fn take(&self, keys: Vec<OfCluster>) -> Option<Vec<Held>> {
        let mut held = Vec::with_capacity(keys.len());
        for OfCluster { client, keys } in keys {
            let places = self.of(&client);
            if !places.take(keys).await {
                return None;
            }
            held.push(Held { client, places, keys: AtomicUsize::new(keys) });
        }
        Some(held)
    }
}

/// How many keys live in a cluster beside the own one.
pub(crate) struct OfCluster {
    client: Arc<Client>,
    pub(crate) keys: usize,
}

/// How many of these keys live in which cluster beside the own one; always in one order, so that nobody waits for two in a circle.
pub(crate) fn in_others<'k>(
    persister: Option<&Persister>,
    keys: impl IntoIterator<Item = &'k [u8]>,
) -> Vec<OfCluster> {
    let mut others: Vec<OfCluster> = Vec::new();
    let Some(persister) = persister.filter(|persister| persister.has_others()) else { return others };
    for client in keys.into_iter().filter_map(|key| persister.other_cluster_of(key)) {
        match others.iter_mut().find(|known| Arc::ptr_eq(&known.client, &client)) {
            Some(known) => known.keys += 1,
            None => others.push(OfCluster { client, keys: 1 }),
        }
    }
    others.sort_by_key(|other| Arc::as_ptr(&other.client));
    others
}

/// Places in a cluster beside the own one, until they are dropped.
pub(crate) struct Held {
    pub(crate) client: Arc<Client>,
    pub(crate) places: Arc<Places>,
    /// How many of them are not given back yet.
    pub(crate) keys: AtomicUsize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.places.give_back(self.keys.swap(0, Relaxed));
    }
}
