//! `get_and_touch`: reads, and touches in every zone.

use tokio::time::Instant;

use super::options::{fallback_option, limit_options};
use super::{OpFuture, ReadOptions};
use crate::error::ReadError;
use crate::key::{Key, KeyError};
use crate::large::get;
use crate::namespace::Namespace;
use crate::observe::{Operation, Watch};
use crate::policy::LatchPolicy;
use crate::read::ReadPlan;
use crate::request::Change;
use crate::spread::{SpreadPlan, spread};
use crate::ttl::Ttl;
use crate::view::View;

/// Reads one key and gives its item a new TTL.
///
/// Reads as `get` does, touching where it reads; after a hit the other server groups are touched too, and nobody
/// waits for them. Cancel-safe.
#[must_use = "an operation does nothing until it is awaited"]
pub struct GetAndTouch<'a, V> {
    namespace: &'a Namespace,
    key: Result<Key, KeyError>,
    ttl: Ttl,
    view: V,
    options: ReadOptions,
}

impl<'a, V: View + 'a> GetAndTouch<'a, V> {
    pub(crate) fn new(namespace: &'a Namespace, key: &[u8], ttl: Ttl, view: V) -> Self {
        Self { namespace, key: namespace.key(key), ttl, view, options: ReadOptions::of(namespace) }
    }

    limit_options!("How long all attempts together may take. Default the client's, 50 ms.", options.limit);
    fallback_option!();

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`ReadError`], when the key is wrong, no zone could answer, or the value cannot be decoded.
    pub async fn run(self) -> Result<Option<V::Output>, ReadError> {
        match Watch::begin(self.namespace, Operation::GetAndTouch, 1) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    async fn execute(self) -> Result<Option<V::Output>, ReadError> {
        let core = &self.namespace.core;
        let cluster = core.cluster().ok_or(ReadError::Closed)?;
        let key = self.key?;
        let exptime = self.ttl.exptime(core.nodes_now());
        // A touch is a change: it takes its place among all others.
        let plan = ReadPlan { touch: Some(exptime), lane: None, ..self.options.plan(core, V::WANT) };
        let form = self.namespace.form();
        // The first node to answer may have taken the expiry, whatever comes of the rest.
        let _writing = core.near.writing(&key);
        let Some(item) = get(core, &cluster, form, &key, &plan).await? else { return Ok(None) };
        let change = Change::touch(exptime, form);
        let deadline = Instant::now();
        let plan = SpreadPlan::of_all(key.clone(), change, LatchPolicy::None, deadline);
        // The replica that answered is touched twice, which costs less than telling them apart.
        let _ = spread(core, &cluster, plan).await;
        Ok(self.view.show_present(item)?)
    }
}

impl<'a, V: View + 'a> IntoFuture for GetAndTouch<'a, V> {
    type Output = Result<Option<V::Output>, ReadError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
