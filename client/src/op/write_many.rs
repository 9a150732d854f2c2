//! `set_many` and `delete_many`: many keys, so many under way at once.

use std::sync::Arc;

use bytes::Bytes;
use evanesce_wire::request::Exptime;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use super::OpFuture;
use super::options::{Limit, latch_option, limit_options};
use crate::cluster::Cluster;
use crate::codec::CodecError;
use crate::core::Core;
use crate::error::WriteError;
use crate::key::{Key, KeyError};
use crate::large::{Put, put};
use crate::namespace::Namespace;
use crate::observe::{Operation, Watch};
use crate::outcome::{self, Written};
use crate::policy::LatchPolicy;
use crate::request::Change;
use crate::spread::{SpreadPlan, spread};
use crate::ttl::Ttl;
use crate::value::Form;

/// Keys under way at once: a sixteenth of what a connection's queue holds, so that a batch job leaves room for others, and
/// enough to keep nodes over any round trip within a region busy.
const KEYS_IN_FLIGHT: usize = 256;

/// What is written to one key.
enum What {
    Value(Bytes),
    Nothing,
}

/// What is the same for all of the keys.
#[derive(Clone, Copy)]
struct How {
    flags: u32,
    exptime: Exptime,
    latch: LatchPolicy,
    limit: Limit,
    form: Form,
}

/// Stores or deletes many keys in every zone: so many at a time that others still get through.
///
/// Each key is written as by [`Set`](super::Set) or [`Delete`](super::Delete), and told apart in the outcome. A key given
/// twice has the last of its values. Dropped in the middle, what was begun goes on, and the rest is not sent.
#[must_use = "an operation does nothing until it is awaited"]
pub struct WriteMany<'a> {
    namespace: &'a Namespace,
    entries: Result<Vec<(Key, What)>, WriteError>,
    flags: u32,
    ttl: Ttl,
    latch: LatchPolicy,
    limit: Limit,
    form: Form,
    operation: Operation,
}

impl<'a> WriteMany<'a> {
    pub(crate) fn set<K: AsRef<[u8]>>(
        namespace: &'a Namespace,
        entries: impl IntoIterator<Item = (K, Result<Bytes, CodecError>)>,
    ) -> Self {
        let entry = |(key, value): (K, Result<Bytes, CodecError>)| {
            Ok((namespace.key(key.as_ref())?, What::Value(value?)))
        };
        Self::new(namespace, Operation::SetMany, entries.into_iter().map(entry).collect())
    }

    pub(crate) fn delete<K: AsRef<[u8]>>(
        namespace: &'a Namespace,
        keys: impl IntoIterator<Item = K>,
    ) -> Self {
        let entry = |key: K| Ok((namespace.key(key.as_ref())?, What::Nothing));
        let entries: Result<_, KeyError> = keys.into_iter().map(entry).collect();
        Self::new(namespace, Operation::DeleteMany, entries.map_err(WriteError::from))
    }

    fn new(
        namespace: &'a Namespace,
        operation: Operation,
        entries: Result<Vec<(Key, What)>, WriteError>,
    ) -> Self {
        let (limit, form) = (Limit::of_write(namespace), namespace.form());
        Self {
            namespace,
            entries,
            flags: 0,
            ttl: namespace.ttl,
            latch: namespace.latch,
            limit,
            form,
            operation,
        }
    }

    /// The values are typed ones, of the codec with these flags.
    pub(crate) fn typed(self, flags: u32) -> Self {
        Self { flags, form: self.namespace.typed_form(), ..self }
    }

    /// How long the items live. Default the namespace's. Deletes have none.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// The items' flags. Default 0; for typed values the codec's, which readers look for.
    pub fn flags(mut self, flags: u32) -> Self {
        self.flags = flags;
        self
    }

    latch_option!();

    limit_options!("How long one key may wait for its latch. Default the client's, 500 ms.", limit);

    /// Runs it; awaiting the operation does the same.
    ///
    /// # Errors
    ///
    /// When a key cannot be used or a value not be encoded, before anything is sent; or the client was closed. What goes
    /// wrong with one key is in the outcome.
    pub async fn run(self) -> Result<outcome::WriteMany, WriteError> {
        match Watch::begin(self.namespace, self.operation, self.entries.as_ref().map_or(0, Vec::len)) {
            None => self.execute().await,
            Some(watch) => watch.over(self.execute()).await,
        }
    }

    async fn execute(self) -> Result<outcome::WriteMany, WriteError> {
        let core = &self.namespace.core;
        let cluster = core.cluster().ok_or(WriteError::Closed)?;
        let exptime = self.ttl.exptime(core.nodes_now());
        let how = How { flags: self.flags, exptime, latch: self.latch, limit: self.limit, form: self.form };
        let mut entries = self.entries?.into_iter();
        let mut under_way = FuturesUnordered::new();
        let mut outcome =
            outcome::WriteMany { written: Vec::with_capacity(entries.len()), failed: Vec::new() };
        loop {
            while under_way.len() < KEYS_IN_FLIGHT {
                let Some((key, what)) = entries.next() else { break };
                under_way.push(write_one(core, &cluster, key, what, how));
            }
            match under_way.next().await {
                Some((key, Ok(written))) => outcome.written.push((key, written)),
                Some((key, Err(error))) => outcome.failed.push((key, error)),
                None => return Ok(outcome),
            }
        }
    }
}

async fn write_one(
    core: &Arc<Core>,
    cluster: &Arc<Cluster>,
    key: Key,
    what: What,
    How { flags, exptime, latch, limit, form }: How,
) -> (Bytes, Result<Written, WriteError>) {
    let local = key.local();
    core.flights.forget(&key);
    let deadline = match limit.end_of_write(Instant::now()) {
        Ok(deadline) => deadline,
        Err(error) => return (local, Err(error)),
    };
    let spread = match what {
        What::Value(value) => {
            let what = Put { key, value, flags, exptime, version: None, latch, deadline };
            put(core, cluster, form, what).await
        }
        What::Nothing => {
            spread(core, cluster, SpreadPlan::of_all(key, Change::Delete, latch, deadline)).await
        }
    };
    (local, spread.map(|spread| spread.written))
}

impl<'a> IntoFuture for WriteMany<'a> {
    type Output = Result<outcome::WriteMany, WriteError>;
    type IntoFuture = OpFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
