//! One load under way in this process, and those who wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::lease::{Asked, ask};
use super::time::{ByNamespace, Loads};
use super::waiter::{Progress, Waiter};
use super::{LoadPlan, Loaded, Loader, Wish, value_of};
use crate::codec::ABSENT_FLAGS;
use crate::core::Core;
use crate::error::LoadError;
use crate::item::LoadedItem;
use crate::key::Key;
use crate::large::{Put, put};
use crate::observe::{load_span, traced};
use crate::ttl::Ttl;
use crate::version::Version;

/// Loads that may be under way at once in one client: more would only queue at what they load from, each with a task of
/// some kilobytes.
const FLIGHTS_MAX: usize = 16_384;

/// The loads under way, by key.
#[derive(Default)]
pub(crate) struct Flights {
    /// Lock order: alone.
    by_key: Mutex<HashMap<Key, Arc<Flight>>>,
    /// Under way, forgotten ones included; so that writes with no load under way take no lock.
    active: AtomicUsize,
    loads: ByNamespace,
}

type Flight = watch::Sender<Progress>;

impl Flights {
    /// What is known of the loads of the namespace of this prefix.
    pub(crate) fn loads(&self, prefix: &Bytes) -> Arc<Loads> {
        self.loads.of(prefix)
    }

    /// Joins the load of `key` that is under way, or starts one. Who does not wait for it drops what is returned.
    ///
    /// # Errors
    ///
    /// When too many are under way.
    pub(crate) fn join(
        &self,
        core: &Arc<Core>,
        key: &Key,
        plan: LoadPlan,
        loader: Loader,
        wish: Wish,
    ) -> Result<Waiter, LoadError> {
        let mut by_key = self.by_key.lock();
        if let Some(flight) = by_key.get(key) {
            return Ok(Waiter::beside(flight.subscribe(), loader));
        }
        if self.active.fetch_add(1, Ordering::AcqRel) >= FLIGHTS_MAX {
            self.active.fetch_sub(1, Ordering::AcqRel);
            return Err(LoadError::Busy);
        }
        let (flight, progress) = watch::channel(Progress::Asking);
        let flight = Arc::new(flight);
        by_key.insert(key.clone(), Arc::clone(&flight));
        drop(by_key);
        // Made here, since a runtime that ends may drop the task before its first step.
        let landing = Landing { core: Arc::clone(core), key: key.clone(), flight };
        tokio::spawn(async move {
            let Landing { core, key, flight } = &landing;
            let (loaded, superseded) = fly(core, key, &plan, loader, wish, flight).await;
            // Whoever looks again must not find it.
            landing.take_off();
            flight.send_replace(Progress::Landed { loaded, superseded });
        });
        Ok(Waiter::first(progress))
    }

    /// How many are under way.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// The key was written or deleted: whoever comes from now on does not join a load that began before.
    pub(crate) fn forget(&self, key: &Key) {
        if self.active.load(Ordering::Acquire) > 0 {
            self.remove(key, |_| true);
        }
    }

    fn remove(&self, key: &Key, is_it: impl Fn(&Arc<Flight>) -> bool) {
        let mut by_key = self.by_key.lock();
        if by_key.get(key).is_some_and(is_it) {
            by_key.remove(key);
        }
    }
}

/// Takes a flight off the map when it ends, however it does.
struct Landing {
    core: Arc<Core>,
    key: Key,
    flight: Arc<Flight>,
}

impl Landing {
    fn take_off(&self) {
        self.core.flights.remove(&self.key, |flight| Arc::ptr_eq(flight, &self.flight));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.take_off();
        self.core.flights.active.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Loads `key`, or waits until somebody else has. Tells, too, whether a zone had something newer than what was loaded.
async fn fly(
    core: &Arc<Core>,
    key: &Key,
    plan: &LoadPlan,
    mut loader: Loader,
    wish: Wish,
    flight: &Flight,
) -> (Loaded, bool) {
    let is_waited_for = || flight.receiver_count() > 0;
    let lease = match ask(core, key, plan, wish, is_waited_for, || loader.waits()).await {
        Ok(Asked::Granted(lease)) => Some(lease),
        Ok(Asked::Found(item)) => {
            core.metrics.loads_elsewhere.increment(1);
            return (Ok(value_of(item)), false);
        }
        Ok(Asked::Nobody) => None,
        Err(error) => return (Err(error), false),
    };
    // Stamped before the load in any case, so that a delete meanwhile is newer.
    let version = lease.as_ref().and_then(|lease| lease.version);
    let version = version.unwrap_or_else(|| core.clock.stamp(core.now())).yielding_by(plan.yields_to);
    flight.send_replace(Progress::Loading);
    let loaded = match load_span(core, key) {
        None => run(core, plan, loader).await,
        Some(span) => traced(span, run(core, plan, loader)).await,
    };
    let kept = match &loaded {
        Ok(Some(LoadedItem { value, flags, ttl })) => {
            Some((value.clone(), *flags, plan.kept(*ttl, core.ambient().random())))
        }
        Ok(None) => plan.absent_for(core.ambient().random()).map(|ttl| (Bytes::new(), ABSENT_FLAGS, ttl)),
        Err(_) => None,
    };
    // Nobody who came before the loader was called needs the fill.
    flight.send_replace(Progress::Loaded(loaded.clone()));
    let mut superseded = false;
    if let Some(kept) = kept {
        superseded = fill(core, key, plan, kept, version).await;
    }
    if let Some(lease) = lease {
        lease.release();
    }
    (loaded, superseded)
}

/// Calls the loader, in a task of its own: it may panic, and it is ended when its time is up.
async fn run(core: &Core, plan: &LoadPlan, loader: Loader) -> Loaded {
    let started = Instant::now();
    let mut task = tokio::spawn(async move { loader.call().await });
    let loaded = match timeout(plan.load_timeout, &mut task).await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(_)) => Err(LoadError::LoaderPanicked),
        Err(_) => {
            task.abort();
            Err(LoadError::Timeout)
        }
    };
    if loaded.is_ok() {
        plan.loads.on_loaded(started.elapsed());
        core.metrics.loads.increment(1);
    } else {
        plan.loads.on_failed(Instant::now());
        core.metrics.load_failures.increment(1);
    }
    loaded
}

/// Gives the value to every zone, with the version of the lease's grant, or of when the load began without one: a write
/// or a delete since then is newer. Returns whether there was one.
async fn fill(
    core: &Arc<Core>,
    key: &Key,
    plan: &LoadPlan,
    (value, flags, ttl): (Bytes, u32, Ttl),
    version: Version,
) -> bool {
    let Some(cluster) = core.cluster() else { return false };
    let exptime = ttl.exptime(core.nodes_now());
    let deadline = Instant::now() + core.settings.write_timeout;
    let version = Some(version);
    let what = Put { key: key.clone(), value, flags, exptime, version, latch: plan.latch, deadline };
    match put(core, &cluster, plan.form, what).await {
        Ok(filled) => filled.written.is_superseded(),
        Err(error) => {
            debug!(%error, "a loaded value was not stored as its latch wants");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tests::core;
    use crate::load::tests::plan;
    use crate::load::wait;

    /// What was seen in review: the load of a runtime that ended at once stayed in the map, and all who asked for its
    /// key from then on waited for ever.
    #[test]
    fn flight_that_never_began_is_forgotten() {
        let core = Arc::new(core());
        let key = Key::new(b"", b"k").expect("a good key");
        let plan = LoadPlan { early: 0.0, ..plan(Ttl::Never, 0.0, 0) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let loader = Loader::Alone(Box::new(|| Box::pin(async { Ok(None) })));
        let waiter =
            runtime.block_on(async { core.flights.join(&core, &key, plan.clone(), loader, Wish::Missing) });
        drop(runtime);
        let waiter = waiter.expect("there is room");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let told = runtime.block_on(wait(&core, &key, &plan, waiter));
        assert!(matches!(told, Err(LoadError::Closed)), "nobody is left to tell");
        assert_eq!(core.flights.active(), 0);
        assert!(core.flights.by_key.lock().is_empty());
    }
}
