//! `delete`: in every zone.

use tokio::time::Instant;

use super::OpFuture;
use super::options::{Limit, latch_option, limit_options, version_option};
use crate::error::WriteError;
use crate::key::{Key, KeyError};
use crate::namespace::Namespace;
use crate::observe::{Operation, Watch};
use crate::outcome::Deleted;
use crate::policy::LatchPolicy;
use crate::request::Change;
use crate::spread::{SpreadPlan, spread};
use crate::version::Version;

/// Deletes one key.
///
/// Goes to the owner in every server group at once and returns when the latch is met. A replica that does not have
/// the key acknowledges as well. Cancel-safe: once polled, dropping it takes nothing back.
#[must_use = "an operation does nothing until it is awaited"]
pub struct Delete<'a> {
    namespace: &'a Namespace,
    key: Result<Key, KeyError>,
    latch: LatchPolicy,
    limit: Limit,
    version: Option<Version>,
}

impl<'a> Delete<'a> {
    pub(crate) fn new(namespace: &'a Namespace, key: &[u8]) -> Self {
        let limit = Limit::of_write(namespace);
        Self { namespace, key: namespace.key(key), latch: namespace.latch, limit, version: None }
    }

    latch_option!();
    version_option!();

    limit_options!("How long to wait for them. Default the client's, 500 ms.", limit);

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`WriteError`], when the key cannot be used or too few replicas acknowledged.
    pub async fn run(self) -> Result<Deleted, WriteError> {
        match Watch::begin(self.namespace, Operation::Delete, 1) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    async fn execute(self) -> Result<Deleted, WriteError> {
        let core = &self.namespace.core;
        let cluster = core.cluster().ok_or(WriteError::Closed)?;
        let deadline = self.limit.end_of_write(Instant::now())?;
        let key = self.key?;
        core.flights.forget(&key);
        let plan = SpreadPlan::of_all(key, Change::Delete, self.latch, deadline);
        let plan = SpreadPlan { version: self.version, ..plan };
        let spread = spread(core, &cluster, plan).await?;
        Ok(Deleted { found: spread.found, written: spread.written })
    }
}

impl<'a> IntoFuture for Delete<'a> {
    type Output = Result<Deleted, WriteError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
