//! `get_or_load`: reads, and loads what is not there, once for all who ask.

use tokio::time::{Instant, timeout};

use super::load_options::load_options;
use super::options::Limit;
use super::{OpFuture, ReadOptions};
use crate::core::TIMEOUT_MAX;
use crate::error::{LoadError, ReadError};
use crate::item::{Item, LoadedItem, Origin};
use crate::key::{Key, KeyError};
use crate::load::{LoadPlan, Loader, Wish, value_of, wait};
use crate::namespace::Namespace;
use crate::near::get;
use crate::observe::{Operation, Watch};
use crate::request::Want;
use crate::view::View;

/// Reads one key, and calls a loader when it is not there.
///
/// - **Once**: callers of one process share one load, and processes agree by a lease that the key's home zone grants.
///   Whoever does not load waits for the value, and has it at most some 20 ms after the fill. The lease of a loader that
///   died, of a process that ended while it loaded, or one whose grant was lost on its way lasts
///   [`load_timeout`](Self::load_timeout) and two to three seconds more; then another loads.
/// - **A write or a delete while it is loaded wins**: the fill is stamped with the time of the lease. Callers that
///   came before are still given what was loaded; those that come after it have it loaded anew. (Not so with servers
///   that keep no versions.)
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
    limit: Limit,
}

impl<'a, V: View + 'a> GetOrLoad<'a, V> {
    pub(crate) fn new(namespace: &'a Namespace, key: &[u8], view: V, loader: Loader) -> Self {
        let plan = LoadPlan::of(namespace);
        let options = ReadOptions::of(namespace);
        Self {
            namespace,
            key: namespace.key(key),
            view,
            loader,
            options,
            plan,
            limit: Limit::of(TIMEOUT_MAX),
        }
    }

    /// The values are typed ones.
    pub(crate) fn typed(mut self) -> Self {
        self.plan.form = self.namespace.typed_form();
        self
    }

    load_options!();

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`LoadError`]: what the loader said, or that it took too long. That the cache does not answer is none.
    pub async fn run(self) -> Result<Option<V::Output>, LoadError> {
        match Watch::begin(self.namespace, Operation::GetOrLoad, 1) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    /// Runs it, and tells where the answer came from, too.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_with_origin(self) -> Result<(Option<V::Output>, Origin), LoadError> {
        match Watch::begin(self.namespace, Operation::GetOrLoad, 1) {
            None => self.find().await,
            Some(watch) => watch.over(self.find()).await,
        }
    }

    async fn execute(self) -> Result<Option<V::Output>, LoadError> {
        self.find().await.map(|(found, _)| found)
    }

    async fn find(self) -> Result<(Option<V::Output>, Origin), LoadError> {
        let Self { namespace, key, view, loader, options, plan, limit } = self;
        let key = key?;
        let loaded = get_or_load(namespace, &key, options, plan, loader);
        let (found, origin) =
            timeout(limit.left(Instant::now()), loaded).await.map_err(|_| LoadError::Timeout)??;
        let Some(LoadedItem { value, flags, ttl }) = found else { return Ok((None, origin)) };
        Ok((Some(view.show(Item { value, flags, cas: 0, ttl, version: None, until_secs: None })?), origin))
    }
}

async fn get_or_load(
    namespace: &Namespace,
    key: &Key,
    options: ReadOptions,
    plan: LoadPlan,
    loader: Loader,
) -> Result<(Option<LoadedItem>, Origin), LoadError> {
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
            let found = value_of(item);
            let origin = Origin::of_present(found.is_some(), wish == Some(Wish::Stale));
            return Ok((found, origin));
        }
        Ok(None) | Err(ReadError::Unanswered { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let waiter = core.flights.join(core, key, plan.clone(), loader, Wish::Missing)?;
    Ok((wait(core, key, &plan, waiter).await?, Origin::Loader))
}

impl<'a, V: View + 'a> IntoFuture for GetOrLoad<'a, V> {
    type Output = Result<Option<V::Output>, LoadError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
