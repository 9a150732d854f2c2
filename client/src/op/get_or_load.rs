//! `get_or_load`: reads, and loads what is not there, once for all who ask.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::{OpFuture, ReadOptions};
use crate::error::{LoadError, ReadError};
use crate::item::Item;
use crate::key::{Key, KeyError};
use crate::load::{Absent, LoadPlan, Loader, Wish, value_of};
use crate::namespace::Namespace;
use crate::near::get;
use crate::policy::LatchPolicy;
use crate::request::Want;
use crate::ttl::Ttl;
use crate::view::View;

/// How long a loader may take before others may try: some attempts at a slow database.
const LOAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Spreads what was loaded together over a tenth of its life.
const JITTER: f64 = 0.1;

/// What XFetch's authors found best: few loads are early, and fewer still too late.
const EARLY: f64 = 1.0;

/// Reads one key, and calls a loader when it is not there.
///
/// - **Once**: callers of one process share one load, and processes agree by a lease that the key's home zone grants.
///   Whoever does not load waits for the value, and has it at most some 20 ms after the fill. The lease of a loader that
///   died lasts [`load_timeout`](Self::load_timeout) and two to three seconds more; then another loads.
/// - **A write or a delete while it is loaded wins**: the fill is stamped with the time of the lease. Callers that
///   came before are still given what was loaded. (Not so with servers that keep no versions.)
/// - **No zone answers**: it is loaded without a lease, once for this process.
/// - **Before it expires** a key that is read is loaded anew while it is served, and so is one that may be served
///   [`stale`](Self::stale). Not for a second after a load that failed.
/// - The loader runs in its own task: a caller that goes away does not end it, and a panic in it is an error.
#[must_use = "an operation does nothing until it is awaited"]
pub struct GetOrLoad<'a, V> {
    namespace: &'a Namespace,
    key: Result<Key, KeyError>,
    view: V,
    loader: Loader,
    options: ReadOptions,
    plan: LoadPlan,
    timeout: Option<Duration>,
}

impl<'a, V: View + 'a> GetOrLoad<'a, V> {
    pub(crate) fn new(namespace: &'a Namespace, key: &[u8], view: V, loader: Loader) -> Self {
        let plan = LoadPlan {
            ttl: namespace.ttl,
            jitter: JITTER,
            stale: Duration::ZERO,
            early: EARLY,
            absent: Absent::Forgotten,
            load_timeout: LOAD_TIMEOUT,
            latch: namespace.latch,
            form: namespace.form(),
            loads: Arc::clone(&namespace.loads),
        };
        let options = ReadOptions::of(namespace);
        Self { namespace, key: namespace.key(key), view, loader, options, plan, timeout: None }
    }

    /// The values are typed ones.
    pub(crate) fn typed(mut self) -> Self {
        self.plan.form = self.namespace.typed_form();
        self
    }

    /// How long a loaded item is fresh. Default the namespace's.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.plan.ttl = ttl.into();
        self
    }

    /// For so long after its TTL the item is served all the same, while one caller loads it anew: nobody waits.
    /// Default zero. All readers of the key should say the same: an item in the last such part of its life is stale.
    pub fn stale(mut self, time: Duration) -> Self {
        self.plan.stale = time;
        self
    }

    /// How many load times before its TTL ends an item is loaded anew, on average, by one of those who read it: it is
    /// served meanwhile, and nobody waits. Default 1; 0 is never. The more a key is read the surer somebody does in time.
    ///
    /// It is XFetch, of Vattani, Chierichetti and Lowenstein, 2015. Load times are averages of the namespace in this client.
    pub fn early(mut self, load_times: f64) -> Self {
        self.plan.early = load_times;
        self
    }

    /// For how long it is remembered that the loader found nothing. Default not at all. To other operations
    /// such a key is a miss.
    pub fn absent_ttl(mut self, ttl: Duration) -> Self {
        self.plan.absent = Absent::For(ttl);
        self
    }

    /// Remembers that the loader found nothing, for a tenth of the TTL: at least 1 s, at most 30 s.
    pub fn remember_absent(mut self) -> Self {
        self.plan.absent = Absent::ForShare;
        self
    }

    /// Up to which share of the TTL, 0 to 1, it is shortened at random, so that what was loaded together does not
    /// expire together. Default 0.1.
    pub fn jitter(mut self, share: f64) -> Self {
        self.plan.jitter = share.clamp(0.0, 1.0);
        self
    }

    /// How long the loader may take; then it is ended. Default 5 s.
    pub fn load_timeout(mut self, timeout: Duration) -> Self {
        self.plan.load_timeout = timeout.min(Duration::from_secs(24 * 60 * 60));
        self
    }

    /// How many acknowledgements the fill is counted good with. Default the namespace's. Nobody waits for them.
    pub fn latch(mut self, latch: LatchPolicy) -> Self {
        self.plan.latch = latch;
        self
    }

    /// How long this caller waits in all, the load included, which goes on after that. Default without end: the load
    /// has one.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Asks the nodes, whatever the near cache holds; what they answer takes its place there.
    pub fn skip_near_cache(mut self) -> Self {
        self.options.near = false;
        self
    }

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`LoadError`]: what the loader said, or that it took too long. That the cache does not answer is none.
    pub async fn run(self) -> Result<Option<V::Output>, LoadError> {
        let Self { namespace, key, view, loader, options, plan, timeout: patience } = self;
        let key = key?;
        let found = match patience {
            None => get_or_load(namespace, &key, options, plan, loader).await?,
            Some(patience) => timeout(patience, get_or_load(namespace, &key, options, plan, loader))
                .await
                .map_err(|_| LoadError::Timeout)??,
        };
        let Some((value, flags)) = found else { return Ok(None) };
        Ok(Some(view.show(Item { value, flags, cas: 0, ttl: None, version: None })?))
    }
}

async fn get_or_load(
    namespace: &Namespace,
    key: &Key,
    options: ReadOptions,
    plan: LoadPlan,
    loader: Loader,
) -> Result<Option<(Bytes, u32)>, LoadError> {
    let core = &namespace.core;
    let cluster = core.cluster().ok_or(LoadError::Closed)?;
    let read_plan = options.plan(core, Want::Item);
    match get(core, &cluster, plan.form, key, &read_plan).await {
        Ok(Some(item)) => {
            let wish = plan.wish(&item, core.ambient().random());
            if wish == Some(Wish::Stale) {
                core.metrics.stale_served.increment(1);
            }
            if let Some(wish) = wish.filter(|_| plan.loads.may_refresh(Instant::now())) {
                // One that is refused is tried by the next reader.
                let _ = core.flights.join(core, key, plan, loader, wish);
            }
            return Ok(value_of(item));
        }
        Ok(None) | Err(ReadError::Unanswered { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut flight = core.flights.join(core, key, plan, loader, Wish::Missing)?;
    // The flight always says something before it goes, unless its runtime does.
    let loaded = flight.wait_for(Option::is_some).await.map_err(|_| LoadError::Closed)?;
    loaded.clone().expect("it was waited for")
}

impl<'a, V: View + 'a> IntoFuture for GetOrLoad<'a, V> {
    type Output = Result<Option<V::Output>, LoadError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
