//! `gets`: from the home zone.

use tokio::time::Instant;

use super::OpFuture;
use super::options::{Limit, limit_options};
use crate::error::ReadError;
use crate::home::read_at_home;
use crate::key::{Key, KeyError};
use crate::large::assemble;
use crate::namespace::Namespace;
use crate::observe::{Operation, Watch};
use crate::read::ReadPlan;
use crate::view::{View, Whole};

/// Reads an item from its key's home zone, with the CAS token that
/// [`Namespace::compare_and_set`](crate::Namespace::compare_and_set) wants: each zone has its own.
///
/// The next zone in the key's order is asked only while the home zone cannot answer. A miss there is a miss.
/// Cancel-safe.
#[must_use = "an operation does nothing until it is awaited"]
pub struct GetForCas<'a, V = Whole> {
    namespace: &'a Namespace,
    key: Result<Key, KeyError>,
    view: V,
    with_absent: bool,
    limit: Limit,
}

impl GetForCas<'_> {
    /// Shows a key that is known to have no value, too: an item without a value, of the flags
    /// [`ABSENT_FLAGS`](crate::ABSENT_FLAGS), whose token can be compared with. Default a miss.
    pub fn with_absent(mut self) -> Self {
        self.with_absent = true;
        self
    }
}

impl<'a, V: View + 'a> GetForCas<'a, V> {
    pub(crate) fn new(namespace: &'a Namespace, key: &[u8], view: V) -> Self {
        Self {
            namespace,
            key: namespace.key(key),
            view,
            with_absent: false,
            limit: Limit::of_read(namespace),
        }
    }

    limit_options!("How long all attempts together may take. Default the client's, 50 ms.", limit);

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`ReadError`], when the key is wrong, no zone could answer, or the value cannot be decoded.
    pub async fn run(self) -> Result<Option<V::Output>, ReadError> {
        match Watch::begin(self.namespace, Operation::GetForCas, 1) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    async fn execute(self) -> Result<Option<V::Output>, ReadError> {
        let core = &self.namespace.core;
        let cluster = core.cluster().ok_or(ReadError::Closed)?;
        let plan = ReadPlan::new(core, V::WANT, self.limit.left(Instant::now()));
        let (key, deadline) = (self.key?, Instant::now() + plan.timeout);
        let Some(hit) = read_at_home(core, &cluster, &key, &plan).await? else { return Ok(None) };
        match assemble(core, &cluster, self.namespace.form(), &key, hit, deadline).await? {
            Some(item) if self.with_absent => Ok(Some(self.view.show(item)?)),
            Some(item) => Ok(self.view.show_present(item)?),
            None => Ok(None),
        }
    }
}

impl<'a, V: View + 'a> IntoFuture for GetForCas<'a, V> {
    type Output = Result<Option<V::Output>, ReadError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
