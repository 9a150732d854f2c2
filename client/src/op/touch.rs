//! `touch`: in every zone.

use tokio::time::Instant;

use super::OpFuture;
use super::options::{Limit, latch_option, limit_options};
use crate::error::WriteError;
use crate::key::{Key, KeyError};
use crate::namespace::Namespace;
use crate::observe::{Operation, Watch};
use crate::outcome::Touched;
use crate::policy::LatchPolicy;
use crate::request::Change;
use crate::spread::{SpreadPlan, spread};
use crate::ttl::Ttl;

/// Gives one item a new TTL.
///
/// Goes to the owner in every server group at once, with one absolute expiry, and returns when the latch is met. A
/// replica that does not have the key acknowledges as well. The chunks of a large value follow, and nobody waits for them.
/// Cancel-safe: once polled, dropping it takes nothing back.
///
/// A replica that is out of reach keeps the TTL it had: nobody makes up for a touch that was missed. Its item expires, and is read from
/// another zone then, and copied.
#[must_use = "an operation does nothing until it is awaited"]
pub struct Touch<'a> {
    namespace: &'a Namespace,
    key: Result<Key, KeyError>,
    ttl: Ttl,
    latch: LatchPolicy,
    limit: Limit,
}

impl<'a> Touch<'a> {
    pub(crate) fn new(namespace: &'a Namespace, key: &[u8], ttl: Ttl) -> Self {
        let limit = Limit::of_write(namespace);
        Self { namespace, key: namespace.key(key), ttl, latch: namespace.latch, limit }
    }

    latch_option!();

    limit_options!("How long to wait for them. Default the client's, 500 ms.", limit);

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`WriteError`], when the key cannot be used or too few replicas acknowledged.
    pub async fn run(self) -> Result<Touched, WriteError> {
        match Watch::begin(self.namespace, Operation::Touch, 1) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    async fn execute(self) -> Result<Touched, WriteError> {
        let core = &self.namespace.core;
        let cluster = core.cluster().ok_or(WriteError::Closed)?;
        let change = Change::touch(self.ttl.exptime(core.nodes_now()), self.namespace.form());
        let deadline = self.limit.end_of_write(Instant::now())?;
        let plan = SpreadPlan::of_all(self.key?, change, self.latch, deadline);
        let spread = spread(core, &cluster, plan).await?;
        Ok(Touched { found: spread.found, written: spread.written })
    }
}

impl<'a> IntoFuture for Touch<'a> {
    type Output = Result<Touched, WriteError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
