//! `cas`: the home zone decides.

use bytes::Bytes;
use evanesce_wire::request::SetMode;
use tokio::time::Instant;

use super::OpFuture;
use super::options::{Limit, latch_option, limit_options};
use crate::codec::CodecError;
use crate::error::WriteError;
use crate::key::{Key, KeyError};
use crate::large::{Put, put_at_home};
use crate::namespace::Namespace;
use crate::observe::{Operation, Watch};
use crate::outcome::CompareAndSetOutcome;
use crate::policy::LatchPolicy;
use crate::request::Done;
use crate::ttl::Ttl;
use crate::value::Form;

/// Stores one value if nobody changed the item since its CAS token was read with
/// [`Namespace::get_for_cas`](crate::Namespace::get_for_cas).
///
/// The key's home zone decides; what it stored goes to the other server groups as a set. While the home zone cannot be
/// reached the next one decides, whose tokens are others: the answer is [`CompareAndSetOutcome::Exists`] then, and to
/// read again helps. Cancel-safe: once polled, it runs to its end.
#[must_use = "an operation does nothing until it is awaited"]
pub struct CompareAndSet<'a> {
    namespace: &'a Namespace,
    key: Result<Key, KeyError>,
    cas: u64,
    value: Result<Bytes, CodecError>,
    flags: u32,
    ttl: Ttl,
    latch: LatchPolicy,
    limit: Limit,
    form: Form,
}

impl<'a> CompareAndSet<'a> {
    pub(crate) fn new(
        namespace: &'a Namespace,
        key: &[u8],
        cas: u64,
        value: Result<Bytes, CodecError>,
    ) -> Self {
        let (ttl, latch) = (namespace.ttl, namespace.latch);
        let limit = Limit::of_write(namespace);
        let (key, form) = (namespace.key(key), namespace.form());
        Self { namespace, key, cas, value, flags: 0, ttl, latch, limit, form }
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

    limit_options!("How long all of it may take. Default the client's, 500 ms.", limit);

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// [`WriteError`], when key or value cannot be used; [`WriteError::MaybeApplied`] when the home zone did not say whether it stored the value.
    pub async fn run(self) -> Result<CompareAndSetOutcome, WriteError> {
        match Watch::begin(self.namespace, Operation::CompareAndSet, 1) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    async fn execute(self) -> Result<CompareAndSetOutcome, WriteError> {
        let exptime = self.ttl.exptime(self.namespace.core.nodes_now());
        let deadline = self.limit.end_of_write(Instant::now())?;
        let (key, value, flags, latch) = (self.key?, self.value?, self.flags, self.latch);
        let what = Put { key, value, flags, exptime, version: None, latch, deadline };
        let decided =
            put_at_home(&self.namespace.core, self.form, SetMode::Set, Some(self.cas), what).await?;
        Ok(match decided.done {
            Done::Yes => CompareAndSetOutcome::Stored(decided.written),
            Done::NotFound => CompareAndSetOutcome::NotFound,
            _ => CompareAndSetOutcome::Exists,
        })
    }
}

impl<'a> IntoFuture for CompareAndSet<'a> {
    type Output = Result<CompareAndSetOutcome, WriteError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
