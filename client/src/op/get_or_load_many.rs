//! `get_or_load_many`: reads, and loads what is not there, by one call.

use std::collections::HashMap;

use tokio::time::{Instant, timeout_at};

use super::load_options::load_options;
use super::options::Limit;
use super::{OpFuture, ReadOptions};
use crate::core::TIMEOUT_MAX;
use crate::error::{LoadError, ReadError};
use crate::item::{Item, LoadMany, LoadedItem, Origin};
use crate::key::{Key, KeyError};
use crate::load::{Gathering, LoadPlan, Loaded, Loader, ManyLoader, Waiter, Wish, value_of, wait};
use crate::namespace::Namespace;
use crate::near::{self, Asked};
use crate::observe::{Operation, Watch};
use crate::read::ReadPlan;
use crate::request::Want;
use crate::view::View;

/// Keys that a loader is called with at once: what a database takes in one question, and a quarter of what waits for one node.
const LOAD_KEYS_MAX: usize = 1000;

/// Reads many keys, and calls a loader with those that are not there.
///
/// Each key goes the way of [`GetOrLoad`](super::GetOrLoad): a load of it that is under way is joined, processes agree by
/// its lease who loads it, a write or delete while it is loaded wins, and what was loaded or found absent is kept.
///
/// - **One call**: the loader is called once with all keys that this process is to load, 1,000 at most: more make more calls,
///   one after the other. It is called again, with other keys, only for those that another process was loading and did not
///   fill, or when a zone takes more than 100 ms to grant their leases.
/// - **What it gives back** is a value for each key that has one. A key without is absent. A loader that cannot tell of some
///   of the keys fails as a whole: what it did not tell would be taken for absent.
/// - **When it fails** those keys are among the failed. The others keep what was found.
/// - Keys that are early or stale are served as they are, and loaded anew by another call that nobody waits for.
///
/// A caller that goes away ends no load.
#[must_use = "an operation does nothing until it is awaited"]
pub struct GetOrLoadMany<'a, V> {
    namespace: &'a Namespace,
    keys: Result<Vec<Key>, KeyError>,
    view: V,
    loader: ManyLoader,
    options: ReadOptions,
    plan: LoadPlan,
    limit: Limit,
}

/// What came of a key, and where it came from.
type WithOrigin<V> = Result<(Option<V>, Origin), LoadError>;

/// A load that was joined, or that could not be.
type Joined = Result<Waiter, LoadError>;

impl<'a, V: View + 'a> GetOrLoadMany<'a, V> {
    pub(crate) fn new<K: AsRef<[u8]>>(
        namespace: &'a Namespace,
        keys: impl IntoIterator<Item = K>,
        view: V,
        loader: ManyLoader,
    ) -> Self {
        let keys = keys.into_iter().map(|key| namespace.key(key.as_ref())).collect();
        let (options, plan) = (ReadOptions::of(namespace), LoadPlan::of(namespace));
        Self { namespace, keys, view, loader, options, plan, limit: Limit::of(TIMEOUT_MAX) }
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
    /// [`LoadError`], when a key is wrong or the client is closed. Keys that could not be loaded are no error of the whole:
    /// they are among the failed.
    pub async fn run(self) -> Result<LoadMany<V::Output>, LoadError> {
        match Watch::begin(self.namespace, Operation::GetOrLoadMany, self.keys.as_ref().map_or(0, Vec::len)) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    /// Runs it, and tells of each key in their order, as often as it is there, how it fared and where the answer came from.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_with_origins(self) -> Result<Vec<WithOrigin<V::Output>>, LoadError> {
        let keys = self.keys.as_ref().map_or(0, Vec::len);
        let watch = Watch::begin(self.namespace, Operation::GetOrLoadMany, keys);
        let found = async {
            let (_, found) = self.find().await?;
            Ok(found)
        };
        match watch {
            None => found.await,
            Some(watch) => watch.over(found).await,
        }
    }

    async fn execute(self) -> Result<LoadMany<V::Output>, LoadError> {
        let (keys, found) = self.find().await?;
        let mut result = LoadMany::default();
        for (key, found) in keys.iter().zip(found) {
            match found.map(|(value, _)| value) {
                Ok(Some(value)) => result.hits.push((key.local(), value)),
                Ok(None) => result.absent.push(key.local()),
                Err(error) => result.failed.push((key.local(), error)),
            }
        }
        Ok(result)
    }

    /// The keys, and what came of each.
    async fn find(mut self) -> Result<(Vec<Key>, Vec<WithOrigin<V::Output>>), LoadError> {
        let until = self.limit.end(Instant::now());
        let keys = std::mem::replace(&mut self.keys, Err(KeyError::Empty))?;
        let (loaded, origins) = self.load(&keys, until).await?;
        let show = |item: LoadedItem| {
            let LoadedItem { value, flags, ttl } = item;
            self.view.show(Item { value, flags, cas: 0, ttl, version: None, until_secs: None })
        };
        let found = loaded.into_iter().zip(origins);
        let found = found.map(|(loaded, origin)| Ok((loaded?.map(show).transpose()?, origin)));
        Ok((keys, found.collect()))
    }

    /// What is there, and what was loaded, and where each is from; in the order of the keys.
    async fn load(&self, keys: &[Key], until: Instant) -> Result<(Vec<Loaded>, Vec<Origin>), LoadError> {
        let core = &self.namespace.core;
        let cluster = core.cluster().ok_or(LoadError::Closed)?;
        let plan = self.options.plan(core, Want::Item);
        let timeout = plan.timeout.min(until.saturating_duration_since(Instant::now()));
        let plan = ReadPlan { timeout, attempt_timeout: plan.attempt_timeout.min(timeout), ..plan };
        let asked = Asked { form: self.plan.form, near: self.options.near, terms: plan.terms() };
        let found = near::get_many(core, &cluster, |_| asked, keys, &plan, near::as_it_is).await;
        let mut loaded: Vec<Loaded> = Vec::with_capacity(keys.len());
        let mut origins = vec![Origin::Loader; keys.len()];
        let (mut missing, mut again) = (Vec::new(), HashMap::new());
        for (at, found) in found.into_iter().enumerate() {
            loaded.push(match found {
                Ok(Some(item)) => {
                    let wish = self.wish(&item);
                    if let Some(wish) = wish.filter(|_| self.plan.loads.may_refresh(Instant::now())) {
                        again.insert(&keys[at], wish);
                    }
                    let found = value_of(item);
                    origins[at] = Origin::of_present(found.is_some(), wish == Some(Wish::Stale));
                    Ok(found)
                }
                Ok(None) | Err(ReadError::Unanswered { .. }) => {
                    missing.push(at);
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            });
        }
        self.load_again(again);
        for some in missing.chunks(LOAD_KEYS_MAX) {
            if Instant::now() >= until {
                some.iter().for_each(|&at| loaded[at] = Err(LoadError::Timeout));
                continue;
            }
            let wanted = some.iter().map(|&at| (&keys[at], Wish::Missing));
            for (&at, joined) in some.iter().zip(self.join(wanted)) {
                loaded[at] = self.outcome(&keys[at], joined, until).await;
            }
        }
        Ok((loaded, origins))
    }

    /// Why a key that is there is to be loaded anew; `None` when it is not.
    fn wish(&self, item: &Item) -> Option<Wish> {
        let core = &self.namespace.core;
        let wish = self.plan.wish(item, core.ambient().random());
        if wish == Some(Wish::Stale) {
            core.metrics.stale_served.increment(1);
        }
        wish
    }

    /// Loads what is there anew; nobody waits. What is too much for one call is left to the next reader.
    fn load_again(&self, again: HashMap<&Key, Wish>) {
        let again = again.into_iter().take(LOAD_KEYS_MAX).collect::<Vec<_>>().into_iter();
        drop(self.join(again));
    }

    /// What came of a load.
    async fn outcome(&self, key: &Key, joined: Joined, until: Instant) -> Loaded {
        let loaded = timeout_at(until, wait(&self.namespace.core, key, &self.plan, joined?));
        loaded.await.unwrap_or(Err(LoadError::Timeout))
    }

    /// Joins the loads of these keys that are under way, and starts the others, to be loaded by one call.
    fn join<'k>(&self, wanted: impl ExactSizeIterator<Item = (&'k Key, Wish)> + Clone) -> Vec<Joined> {
        let core = &self.namespace.core;
        let keys = wanted.clone().map(|(key, _)| key.local());
        let seats = Gathering::seats(&self.loader, self.plan.load_timeout, keys);
        let join = |((key, wish), seat)| {
            core.flights.join(core, key, self.plan.clone(), Loader::Together(seat), wish)
        };
        wanted.zip(seats).map(join).collect()
    }
}

impl<'a, V: View + 'a> IntoFuture for GetOrLoadMany<'a, V> {
    type Output = Result<LoadMany<V::Output>, LoadError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
