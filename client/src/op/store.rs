//! `add`, `replace`, `append`, `prepend`: the home zone decides.

use std::time::Duration;

use bytes::Bytes;
use evanesce_wire::request::SetMode;

use super::OpFuture;
use crate::codec::CodecError;
use crate::core::Core;
use crate::error::WriteError;
use crate::home::{HomeWrite, change_at_home};
use crate::key::{Key, KeyError};
use crate::namespace::Namespace;
use crate::outcome::StoreOutcome;
use crate::policy::LatchPolicy;
use crate::request::{Change, Done};
use crate::ttl::Ttl;

/// Stores one value if its key is absent (`add`) or present (`replace`), or puts it behind (`append`) or before
/// (`prepend`) the value that is there.
///
/// The key's home zone decides, or the next in its order while that cannot be reached; what it stored goes to the
/// other server groups as a set, and counts as the first acknowledgement. Cancel-safe: once polled, it runs to its
/// end. Appends keep the flags and the TTL of the item.
#[must_use = "an operation does nothing until it is awaited"]
pub struct Store<'a> {
    namespace: &'a Namespace,
    key: Result<Key, KeyError>,
    mode: SetMode,
    value: Result<Bytes, CodecError>,
    flags: u32,
    ttl: Ttl,
    latch: LatchPolicy,
    timeout: Duration,
}

impl<'a> Store<'a> {
    pub(crate) fn add(namespace: &'a Namespace, key: &[u8], value: Result<Bytes, CodecError>) -> Self {
        Self::new(namespace, key, SetMode::Add, value)
    }

    pub(crate) fn replace(namespace: &'a Namespace, key: &[u8], value: Result<Bytes, CodecError>) -> Self {
        Self::new(namespace, key, SetMode::Replace, value)
    }

    pub(crate) fn append(namespace: &'a Namespace, key: &[u8], value: Bytes) -> Self {
        Self::new(namespace, key, SetMode::Append, Ok(value))
    }

    pub(crate) fn prepend(namespace: &'a Namespace, key: &[u8], value: Bytes) -> Self {
        Self::new(namespace, key, SetMode::Prepend, Ok(value))
    }

    fn new(namespace: &'a Namespace, key: &[u8], mode: SetMode, value: Result<Bytes, CodecError>) -> Self {
        let (ttl, latch) = (namespace.ttl, namespace.latch);
        let timeout = namespace.core.settings.write_timeout;
        Self { namespace, key: namespace.key(key), mode, value, flags: 0, ttl, latch, timeout }
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

    /// How long all of it may take. Default the client's, 500 ms.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; [`WriteError::MaybeApplied`] when the home zone did not say whether it stored the value.
    pub async fn run(self) -> Result<StoreOutcome, WriteError> {
        let exptime = self.ttl.exptime(Core::now());
        let (mode, value, flags) = (self.mode, self.value?, self.flags);
        let change = Change::Store { mode, value, flags, exptime, compare: None };
        let write = HomeWrite { key: self.key?, change, latch: self.latch, timeout: self.timeout };
        let decided = change_at_home(&self.namespace.core, write).await?;
        Ok(match decided.done {
            Done::Yes => StoreOutcome::Stored(decided.written),
            _ => StoreOutcome::NotStored,
        })
    }
}

impl<'a> IntoFuture for Store<'a> {
    type Output = Result<StoreOutcome, WriteError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
