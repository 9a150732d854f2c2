//! `get`: the local zone, and on through the others.

use super::options::{fallback_option, limit_options, near_option};
use super::{OpFuture, ReadOptions};
use crate::error::ReadError;
use crate::key::{Key, KeyError};
use crate::large;
use crate::namespace::Namespace;
use crate::near;
use crate::observe::{Operation, Watch};
use crate::view::View;

/// Reads one key.
///
/// Asks the owner in the local zone. When that cannot answer, on through the other zones, nearest first, until the
/// deadline. On a miss one other zone, within the budget and while that still finds something. Cancel-safe.
#[must_use = "an operation does nothing until it is awaited"]
pub struct Get<'a, V> {
    namespace: &'a Namespace,
    key: Result<Key, KeyError>,
    view: V,
    options: ReadOptions,
}

impl<'a, V: View + 'a> Get<'a, V> {
    pub(crate) fn new(namespace: &'a Namespace, key: &[u8], view: V) -> Self {
        Self { namespace, key: namespace.key(key), view, options: ReadOptions::of(namespace) }
    }

    /// Of a key that goes over the wire as it is.
    pub(crate) fn as_it_is(namespace: &'a Namespace, key: &[u8], view: V) -> Self {
        Self { key: namespace.key_as_it_is(key), ..Self::new(namespace, key, view) }
    }

    /// What it reads, for a batch.
    pub(super) fn into_parts(self) -> (&'a Namespace, Result<Key, KeyError>, V, ReadOptions) {
        (self.namespace, self.key, self.view, self.options)
    }

    limit_options!("How long all attempts together may take. Default the client's, 50 ms.", options.limit);

    fallback_option!();
    near_option!();

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`ReadError`], when the key is wrong, no zone could answer, or the value cannot be decoded.
    #[expect(clippy::manual_async_fn, reason = "a function that waits has room for what it is given twice")]
    pub fn run(self) -> impl Future<Output = Result<Option<V::Output>, ReadError>> + Send + use<'a, V> {
        async move {
            let Some(watch) = Watch::begin(self.namespace, Operation::Get, 1) else {
                return self.execute().await;
            };
            watch.over(self.execute()).await
        }
    }

    async fn execute(&self) -> Result<Option<V::Output>, ReadError> {
        let core = &self.namespace.core;
        let cluster = core.cluster().ok_or(ReadError::Closed)?;
        let key = self.key.as_ref().map_err(Clone::clone)?;
        let plan = self.options.plan(core, V::WANT);
        let form = self.namespace.form();
        let found = match core.near.is_used() {
            false => large::get(core, &cluster, form, key, &plan).await?,
            // Boxed, so that reads without a near cache carry no room for it.
            true => Box::pin(near::get(core, &cluster, form, key, &plan)).await?,
        };
        match found {
            Some(item) => Ok(self.view.show_present(item)?),
            None => Ok(None),
        }
    }
}

impl<'a, V: View + 'a> IntoFuture for Get<'a, V> {
    type Output = Result<Option<V::Output>, ReadError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What mimalloc, the allocator of the programs, has at hand without looking for it.
    const AT_HAND_BYTES_MAX: usize = 1024;

    fn size<R>(_: impl FnOnce(&'static Namespace) -> R) -> usize {
        size_of::<R>()
    }

    #[test]
    fn read_takes_no_more_than_a_block_that_is_at_hand() {
        let bytes = size(|namespace| namespace.get_flagged("key").run());
        assert!(bytes <= AT_HAND_BYTES_MAX, "{bytes} bytes: what else is kept while a read waits?");
    }
}
