//! `set`: to every zone.

use bytes::Bytes;
use tokio::time::Instant;

use super::OpFuture;
use super::options::{Limit, latch_option, limit_options, version_option};
use crate::codec::CodecError;
use crate::error::WriteError;
use crate::key::{Key, KeyError};
use crate::large::{Put, put};
use crate::namespace::Namespace;
use crate::observe::{Operation, Watch};
use crate::outcome::Written;
use crate::policy::LatchPolicy;
use crate::ttl::Ttl;
use crate::value::Form;
use crate::version::Version;

/// Stores one value.
///
/// Goes to the owner in every server group at once, with one absolute expiry, and returns when the latch is met; the
/// other replicas are written all the same. Cancel-safe: once polled, dropping it takes nothing back.
///
/// A value too large for one item goes in chunks, each of which meets the latch before the next step. Dropped in the middle,
/// such a value is not stored, and its key keeps what it had.
#[must_use = "an operation does nothing until it is awaited"]
pub struct Set<'a> {
    namespace: &'a Namespace,
    key: Result<Key, KeyError>,
    value: Result<Bytes, CodecError>,
    flags: u32,
    ttl: Ttl,
    latch: LatchPolicy,
    limit: Limit,
    form: Form,
    version: Option<Version>,
}

impl<'a> Set<'a> {
    pub(crate) fn new(namespace: &'a Namespace, key: &[u8], value: Result<Bytes, CodecError>) -> Self {
        let (ttl, latch) = (namespace.ttl, namespace.latch);
        let limit = Limit::of_write(namespace);
        let (key, form) = (namespace.key(key), namespace.form());
        Self { namespace, key, value, flags: 0, ttl, latch, limit, form, version: None }
    }

    /// The value is a typed one, of the codec with these flags.
    pub(crate) fn typed(self, flags: u32) -> Self {
        Self { flags, form: self.namespace.typed_form(), ..self }
    }

    /// How long the item lives. Default the namespace's.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// The item's flags; bits 16 to 23 are the client's. Default 0; for typed values the codec's, which readers look for.
    pub fn flags(mut self, flags: u32) -> Self {
        self.flags = flags;
        self
    }

    latch_option!();
    version_option!();

    limit_options!("How long to wait for them. Default the client's, 500 ms.", limit);

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`WriteError`], when key or value cannot be used or too few replicas acknowledged.
    pub async fn run(self) -> Result<Written, WriteError> {
        match Watch::begin(self.namespace, Operation::Set, 1) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    async fn execute(self) -> Result<Written, WriteError> {
        let core = &self.namespace.core;
        let cluster = core.cluster().ok_or(WriteError::Closed)?;
        let exptime = self.ttl.exptime(core.nodes_now());
        let (value, flags, latch) = (self.value?, self.flags, self.latch);
        let deadline = self.limit.end_of_write(Instant::now())?;
        let key = self.key?;
        core.flights.forget(&key);
        let what = Put { key, value, flags, exptime, version: self.version, latch, deadline };
        Ok(put(core, &cluster, self.form, what).await?.written)
    }
}

impl<'a> IntoFuture for Set<'a> {
    type Output = Result<Written, WriteError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
