//! `set_many` and `delete_many`: many keys, so many under way at once.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use evanesce_wire::request::Exptime;
use futures_util::stream::{self, StreamExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::OpFuture;
use super::options::{Limit, latch_option, limit_options};
use crate::cluster::Cluster;
use crate::codec::CodecError;
use crate::core::Core;
use crate::error::WriteError;
use crate::key::{Key, KeyError};
use crate::large::{Put, put_in_slot};
use crate::namespace::Namespace;
use crate::observe::{Operation, Watch};
use crate::outcome::{self, Written};
use crate::policy::LatchPolicy;
use crate::request::Change;
use crate::spread::{Slot, SpreadPlan, spread};
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

impl What {
    fn bytes(&self) -> usize {
        match self {
            Self::Value(value) => value.len(),
            Self::Nothing => 0,
        }
    }
}

/// Stores or deletes many keys in every zone: so many at a time that others still get through.
///
/// Each key is written as by [`Set`](super::Set) or [`Delete`](super::Delete), and told apart in the outcome. A key given
/// twice is written once, with the last of its values. Dropped in the middle, what was begun goes on, and the rest is not
/// sent.
///
/// Whatever the latch, a key is under way until all zones have answered: the slowest that is well sets the pace, and no
/// node's queue overflows. One that freezes holds it up for a second at most, until it is known to have.
#[must_use = "an operation does nothing until it is awaited"]
pub struct WriteMany<'a> {
    namespace: &'a Namespace,
    entries: Result<Vec<(Key, What)>, WriteError>,
    flags: u32,
    ttl: Ttl,
    latch: LatchPolicy,
    limit: Limit,
    form: Form,
    in_flight: usize,
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
            in_flight: KEYS_IN_FLIGHT,
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

    /// How many keys may be under way at once, each until all zones have answered. Default 256. At least one, and no more than
    /// may wait for a connection, 4,096 unless told otherwise; large values together half of the bytes that may,
    /// 4 MiB. More is faster over a long way, and leaves less room for others.
    pub fn in_flight(mut self, keys: usize) -> Self {
        self.in_flight = keys;
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
        let room = Room::new(core, self.in_flight);
        let entries = last_of_each(self.entries?);
        let mut outcome =
            outcome::WriteMany { written: Vec::with_capacity(entries.len()), failed: Vec::new() };
        let writes =
            stream::iter(entries).map(|(key, what)| write_one(core, &cluster, &room, key, what, how));
        let mut writes = std::pin::pin!(writes.buffer_unordered(room.keys));
        while let Some((key, written)) = writes.next().await {
            match written {
                Ok(written) => outcome.written.push((key, written)),
                Err(error) => outcome.failed.push((key, error)),
            }
        }
        Ok(outcome)
    }
}

/// Of a key that was given more than once, the last.
fn last_of_each(mut entries: Vec<(Key, What)>) -> Vec<(Key, What)> {
    let mut seen = HashSet::with_capacity(entries.len());
    let lasts: Vec<bool> = entries.iter().rev().map(|(key, _)| seen.insert(key.as_bytes())).collect();
    drop(seen);
    let mut lasts = lasts.into_iter().rev();
    entries.retain(|_| lasts.next().expect("one for each"));
    entries
}

/// The room that the writes of one operation share: in bytes, of which each takes at least its part.
struct Room {
    bytes: Arc<Semaphore>,
    all: usize,
    least: usize,
    /// So many at once at most.
    keys: usize,
}

impl Room {
    fn new(core: &Core, keys: usize) -> Self {
        let queue = &core.settings.connection;
        let keys = keys.clamp(1, queue.queue_max.max(1));
        // As many permits as one may ask for.
        let all = (queue.queued_bytes_max / 2).clamp(keys, u32::MAX as usize);
        Self { bytes: Arc::new(Semaphore::new(all)), all, least: all / keys, keys }
    }

    /// A place for one write, in the order in which they ask; `None` when none is free before its deadline.
    async fn slot(&self, bytes: usize, deadline: Option<Instant>) -> Option<Slot> {
        let bytes = bytes.clamp(self.least, self.all);
        let free = Arc::clone(&self.bytes).acquire_many_owned(bytes as u32);
        let slot = match deadline {
            Some(deadline) => timeout_at(deadline, free).await.ok()?,
            None => free.await,
        };
        Some(Arc::new(slot.expect("it is never closed")))
    }
}

async fn write_one(
    core: &Arc<Core>,
    cluster: &Arc<Cluster>,
    room: &Room,
    key: Key,
    what: What,
    How { flags, exptime, latch, limit, form }: How,
) -> (Bytes, Result<Written, WriteError>) {
    let local = key.local();
    let Some(slot) = room.slot(key.as_bytes().len() + what.bytes(), limit.deadline).await else {
        return (local, Err(WriteError::TooLate));
    };
    core.flights.forget(&key);
    let deadline = match limit.end_of_write(Instant::now()) {
        Ok(deadline) => deadline,
        Err(error) => return (local, Err(error)),
    };
    let spread = match what {
        What::Value(value) => {
            let what = Put { key, value, flags, exptime, version: None, latch, deadline };
            put_in_slot(core, cluster, form, what, Some(slot)).await
        }
        What::Nothing => {
            let plan = SpreadPlan::of_all(key, Change::Delete, latch, deadline);
            spread(core, cluster, SpreadPlan { slot: Some(slot), ..plan }).await
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
