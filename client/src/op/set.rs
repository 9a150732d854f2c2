//! `set`: to every zone.

use std::time::Duration;

use bytes::Bytes;
use evanesce_wire::request::SetMode;
use tokio::time::Instant;

use super::OpFuture;
use crate::codec::CodecError;
use crate::core::{Core, TIMEOUT_MAX};
use crate::error::WriteError;
use crate::key::{Key, KeyError};
use crate::namespace::Namespace;
use crate::outcome::Written;
use crate::policy::LatchPolicy;
use crate::request::Change;
use crate::spread::{SpreadPlan, spread};
use crate::ttl::Ttl;

/// Stores one value.
///
/// Goes to the owner in every server group at once, with one absolute expiry, and returns when the latch is met; the
/// other replicas are written all the same. Cancel-safe: once polled, dropping it takes nothing back.
#[must_use = "an operation does nothing until it is awaited"]
pub struct Set<'a> {
    namespace: &'a Namespace,
    key: Result<Key, KeyError>,
    value: Result<Bytes, CodecError>,
    flags: u32,
    ttl: Ttl,
    latch: LatchPolicy,
    timeout: Duration,
}

impl<'a> Set<'a> {
    pub(crate) fn new(namespace: &'a Namespace, key: &[u8], value: Result<Bytes, CodecError>) -> Self {
        let (ttl, latch) = (namespace.ttl, namespace.latch);
        let timeout = namespace.core.settings.write_timeout;
        Self { namespace, key: namespace.key(key), value, flags: 0, ttl, latch, timeout }
    }

    /// How long the item lives. Default the namespace's.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// The item's flags. Default 0; for typed values the codec's, which readers look for.
    pub fn flags(mut self, flags: u32) -> Self {
        self.flags = flags;
        self
    }

    /// How many acknowledgements to wait for. Default the namespace's.
    pub fn latch(mut self, latch: LatchPolicy) -> Self {
        self.latch = latch;
        self
    }

    /// How long to wait for them. Default the client's, 500 ms.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`WriteError`], when key or value cannot be used or too few replicas acknowledged.
    pub async fn run(self) -> Result<Written, WriteError> {
        let core = &self.namespace.core;
        let cluster = core.cluster().ok_or(WriteError::Closed)?;
        let exptime = self.ttl.exptime(Core::now());
        let (value, flags) = (self.value?, self.flags);
        let change = Change::Store { mode: SetMode::Set, value, flags, exptime, compare: None };
        let deadline = Instant::now() + self.timeout.min(TIMEOUT_MAX);
        let key = self.key?;
        core.flights.forget(&key);
        let plan = SpreadPlan::of_all(key, change, self.latch, deadline);
        Ok(spread(core, &cluster, plan).await?.written)
    }
}

impl<'a> IntoFuture for Set<'a> {
    type Output = Result<Written, WriteError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
