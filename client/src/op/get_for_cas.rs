//! `gets`: from the home zone.

use tokio::time::Instant;

use super::OpFuture;
use super::options::{Limit, limit_options};
use crate::error::ReadError;
use crate::home::read_at_home;
use crate::item::Item;
use crate::key::{Key, KeyError};
use crate::large::assemble;
use crate::namespace::Namespace;
use crate::observe::{Operation, Watch};
use crate::read::ReadPlan;
use crate::request::Want;

/// Reads an item from its key's home zone, with the CAS token that
/// [`Namespace::compare_and_set`](crate::Namespace::compare_and_set) wants: each zone has its own.
///
/// The next zone in the key's order is asked only while the home zone cannot answer. A miss there is a miss.
/// Cancel-safe.
#[must_use = "an operation does nothing until it is awaited"]
pub struct GetForCas<'a> {
    namespace: &'a Namespace,
    key: Result<Key, KeyError>,
    limit: Limit,
}

impl<'a> GetForCas<'a> {
    pub(crate) fn new(namespace: &'a Namespace, key: &[u8]) -> Self {
        Self { namespace, key: namespace.key(key), limit: Limit::of_read(namespace) }
    }

    limit_options!("How long all attempts together may take. Default the client's, 50 ms.", limit);

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`ReadError`], when the key is wrong or no zone could answer.
    pub async fn run(self) -> Result<Option<Item>, ReadError> {
        match Watch::begin(self.namespace, Operation::GetForCas, 1) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    async fn execute(self) -> Result<Option<Item>, ReadError> {
        let core = &self.namespace.core;
        let cluster = core.cluster().ok_or(ReadError::Closed)?;
        let plan = ReadPlan::new(core, Want::Item, self.limit.left(Instant::now()));
        let (key, deadline) = (self.key?, Instant::now() + plan.timeout);
        match read_at_home(core, &cluster, &key, &plan).await? {
            Some(hit) => assemble(core, &cluster, self.namespace.form(), &key, hit, deadline).await,
            None => Ok(None),
        }
    }
}

impl<'a> IntoFuture for GetForCas<'a> {
    type Output = Result<Option<Item>, ReadError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
