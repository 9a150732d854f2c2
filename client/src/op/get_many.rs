//! `get_many`: one batch for each node, elsewhere only for the keys that need it.

use std::time::Duration;

use tokio::time::Instant;

use super::OpFuture;
use crate::error::ReadError;
use crate::item;
use crate::key::{Key, KeyError};
use crate::large::assemble_many;
use crate::namespace::Namespace;
use crate::read::ReadPlan;
use crate::read_many::read_many;
use crate::view::View;

/// Reads many keys.
///
/// Each key goes the way of a single read; those of one node travel together. Cancel-safe.
#[must_use = "an operation does nothing until it is awaited"]
pub struct GetMany<'a, V> {
    namespace: &'a Namespace,
    keys: Result<Vec<Key>, KeyError>,
    view: V,
    timeout: Duration,
}

impl<'a, V: View + 'a> GetMany<'a, V> {
    pub(crate) fn new<K: AsRef<[u8]>>(
        namespace: &'a Namespace,
        keys: impl IntoIterator<Item = K>,
        view: V,
    ) -> Self {
        let keys = keys.into_iter().map(|key| namespace.key(key.as_ref())).collect();
        Self { namespace, keys, view, timeout: namespace.core.settings.read_timeout }
    }

    /// What it reads, for a batch.
    pub(super) fn into_parts(self) -> (&'a Namespace, Result<Vec<Key>, KeyError>, V, Duration) {
        (self.namespace, self.keys, self.view, self.timeout)
    }

    /// How long all of it may take. Default the client's, 50 ms.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`ReadError`], when a key is wrong or the client is closed. Keys that could not be read are no error of the
    /// whole: they are among the failed.
    pub async fn run(self) -> Result<item::GetMany<V::Output>, ReadError> {
        let core = &self.namespace.core;
        let cluster = core.cluster().ok_or(ReadError::Closed)?;
        let keys = self.keys?;
        let plan = ReadPlan::new(core, V::WANT, self.timeout);
        let deadline = Instant::now() + plan.timeout;
        let found = read_many(core, &cluster, &keys, &plan).await;
        let form = self.namespace.form();
        let found = assemble_many(core, &cluster, |_| form, &keys, found, deadline).await;
        let mut result = item::GetMany::default();
        for (key, found) in keys.iter().zip(found) {
            result.sort_in(&self.view, key, found);
        }
        Ok(result)
    }
}

impl<'a, V: View + 'a> IntoFuture for GetMany<'a, V> {
    type Output = Result<item::GetMany<V::Output>, ReadError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
