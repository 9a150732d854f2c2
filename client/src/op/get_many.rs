//! `get_many`: one batch for each node, elsewhere only for the keys that need it.

use super::options::{fallback_option, limit_options, near_option};
use super::{OpFuture, ReadOptions};
use crate::error::ReadError;
use crate::item::{self, Item};
use crate::key::{Key, KeyError};
use crate::namespace::Namespace;
use crate::near::{self, Asked};
use crate::observe::{Operation, Watch};
use crate::read::ReadPlan;
use crate::request::Want;
use crate::view::View;

/// Reads many keys.
///
/// Each key goes the way of a single read; those of one node travel together. Cancel-safe.
#[must_use = "an operation does nothing until it is awaited"]
pub struct GetMany<'a, V> {
    namespace: &'a Namespace,
    keys: Result<Vec<Key>, KeyError>,
    view: V,
    options: ReadOptions,
    hedges: bool,
}

impl<'a, V: View + 'a> GetMany<'a, V> {
    pub(crate) fn new<K: AsRef<[u8]>>(
        namespace: &'a Namespace,
        keys: impl IntoIterator<Item = K>,
        view: V,
    ) -> Self {
        Self {
            namespace,
            keys: namespace.keys(keys),
            view,
            options: ReadOptions::of(namespace),
            hedges: false,
        }
    }

    /// What it reads, for a batch.
    pub(super) fn into_parts(self) -> (&'a Namespace, Result<Vec<Key>, KeyError>, V, ReadOptions) {
        (self.namespace, self.keys, self.view, self.options)
    }

    limit_options!("How long all of it may take. Default the client's, 50 ms.", options.limit);

    fallback_option!();
    near_option!();

    /// Has it hedged as single reads are, under the same budget: keys that their node has not answered when it is slow are asked
    /// of the next zone one by one. For few keys that somebody waits for. Not by default.
    pub fn hedged(mut self) -> Self {
        self.hedges = true;
        self
    }

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`ReadError`], when a key is wrong or the client is closed. Keys that could not be read are no error of the
    /// whole: they are among the failed.
    pub async fn run(self) -> Result<item::GetMany<V::Output>, ReadError> {
        match Watch::begin(self.namespace, Operation::GetMany, self.keys.as_ref().map_or(0, Vec::len)) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    /// The same, with the outcome of each key in the place of the key.
    ///
    /// # Errors
    ///
    /// As those of [`run`](Self::run).
    pub async fn run_each(self) -> Result<Vec<Result<Option<V::Output>, ReadError>>, ReadError> {
        let watch = Watch::begin(self.namespace, Operation::GetMany, self.keys.as_ref().map_or(0, Vec::len));
        match watch {
            None => self.execute_each().await,
            Some(watch) => watch.over(self.execute_each()).await,
        }
    }

    async fn execute_each(self) -> Result<Vec<Result<Option<V::Output>, ReadError>>, ReadError> {
        let Self { namespace, keys, view, options, hedges } = self;
        let keys = keys?;
        find(namespace, options, hedges, &keys, V::WANT, |item| Ok(view.show_present(item)?)).await
    }

    async fn execute(self) -> Result<item::GetMany<V::Output>, ReadError> {
        let Self { namespace, keys, view, options, hedges } = self;
        let keys = keys?;
        let found = find(namespace, options, hedges, &keys, V::WANT, near::as_it_is).await?;
        let mut result = item::GetMany { hits: Vec::with_capacity(keys.len()), ..item::GetMany::default() };
        for (key, found) in keys.iter().zip(found) {
            result.sort_in(&view, key, found);
        }
        Ok(result)
    }
}

/// The outcomes of the keys, in their order, as `show` makes them.
async fn find<T>(
    namespace: &Namespace,
    options: ReadOptions,
    hedges: bool,
    keys: &[Key],
    want: Want,
    show: impl Fn(Item) -> Result<Option<T>, ReadError>,
) -> Result<Vec<Result<Option<T>, ReadError>>, ReadError> {
    let core = &namespace.core;
    let cluster = core.cluster().ok_or(ReadError::Closed)?;
    let plan = ReadPlan { hedges, ..options.plan(core, want) };
    let asked = Asked { form: namespace.form(), near: options.near, terms: plan.terms() };
    Ok(near::get_many(core, &cluster, |_| asked, keys, &plan, show).await)
}

impl<'a, V: View + 'a> IntoFuture for GetMany<'a, V> {
    type Output = Result<item::GetMany<V::Output>, ReadError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
