//! `add`, `replace`, `append`, `prepend`: the home zone decides.

use bytes::Bytes;
use evanesce_wire::request::SetMode;
use tokio::time::Instant;

use super::OpFuture;
use super::options::{Limit, latch_option, limit_options};
use crate::codec::CodecError;
use crate::error::WriteError;
use crate::key::{Key, KeyError};
use crate::large::{Put, join_at_home, put_at_home};
use crate::namespace::Namespace;
use crate::observe::{Operation, Watch};
use crate::outcome::StoreOutcome;
use crate::policy::LatchPolicy;
use crate::request::Done;
use crate::ttl::Ttl;
use crate::value::Form;

/// Stores one value if its key is absent (`add`) or present (`replace`), or puts it behind (`append`) or before
/// (`prepend`) the value that is there.
///
/// The key's home zone decides, or the next in its order while that cannot be reached; what it stored goes to the
/// other server groups as a set, and counts as the first acknowledgement. It is done once every zone that is well has it, too,
/// unless the latch is `None`: no zone that decides next then knows less. Cancel-safe: once polled, it runs to its
/// end. Appends keep the flags and the TTL of the item, which must be whole and not compressed, under a key of 250 bytes at
/// most. Where a load found nothing and that is remembered there is nothing to append to: not stored.
#[must_use = "an operation does nothing until it is awaited"]
pub struct Store<'a> {
    namespace: &'a Namespace,
    key: Result<Key, KeyError>,
    mode: SetMode,
    value: Result<Bytes, CodecError>,
    flags: u32,
    ttl: Ttl,
    latch: LatchPolicy,
    limit: Limit,
    form: Form,
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
        let limit = Limit::of_write(namespace);
        let joins = matches!(mode, SetMode::Append | SetMode::Prepend);
        let key = if joins { namespace.key_as_it_is(key) } else { namespace.key(key) };
        Self { namespace, key, mode, value, flags: 0, ttl, latch, limit, form: namespace.form() }
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

    /// The item's flags. Default 0; for typed values the codec's, which readers look for.
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
    /// [`WriteError`]; [`WriteError::MaybeApplied`] when the home zone did not say whether it stored the value.
    pub async fn run(self) -> Result<StoreOutcome, WriteError> {
        match Watch::begin(self.namespace, self.operation(), 1) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    fn operation(&self) -> Operation {
        match self.mode {
            SetMode::Append => Operation::Append,
            SetMode::Prepend => Operation::Prepend,
            SetMode::Replace => Operation::Replace,
            SetMode::Add | SetMode::Set => Operation::Add,
        }
    }

    async fn execute(self) -> Result<StoreOutcome, WriteError> {
        let exptime = self.ttl.exptime(self.namespace.core.nodes_now());
        let deadline = self.limit.end_of_write(Instant::now())?;
        let (key, value, flags, latch) = (self.key?, self.value?, self.flags, self.latch);
        let what = Put { key, value, flags, exptime, version: None, latch, deadline };
        let core = &self.namespace.core;
        let decided = match self.mode {
            SetMode::Append | SetMode::Prepend => join_at_home(core, self.form, self.mode, what).await?,
            mode => put_at_home(core, self.form, mode, None, what).await?,
        };
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
