//! Operations as those see them who look on: a span each, and an event for listeners.
//!
//! Who does not look on pays for a look at two flags: nothing is made, and the operation runs as it would without.

mod outcome;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Level, Span, event, span};

pub(crate) use outcome::HasOutcome;

use crate::core::Core;
use crate::error::NodeError;
use crate::key::Key;
use crate::listener::Event;
use crate::namespace::Namespace;
use crate::request::Done;

/// What all spans of the client are told under.
pub(crate) const TARGET: &str = "evanesce_client";

/// The span of an operation, at level `debug`: `operation`, `cluster`, `namespace`, `outcome`.
const OPERATION: &str = "evanesce_client.operation";
/// The span of a loader's run, at level `debug`: `cluster`, `namespace`, `outcome`.
const LOAD: &str = "evanesce_client.load";
/// The span of one attempt of a single read, at level `trace`: `zone`, `outcome`.
const ATTEMPT: &str = "evanesce_client.attempt";
/// The span of one node's part of a bulk read, at level `trace`: `zone`, `outcome`.
const NODE_BATCH: &str = "evanesce_client.node_batch";
/// The span of a change on its way to the zones, until its latch is decided, at level `trace`: `outcome`.
const WRITE: &str = "evanesce_client.write";
/// The span of a change that one place decides, at level `trace`: `outcome`.
const DECISION: &str = "evanesce_client.decision";
/// An event, and no span, at level `trace`: one replica's answer to a write, with `zone` and `outcome`.
const REPLICA: &str = "evanesce_client.replica";

/// Runs what has a span, and tells it what came of it. Boxed, so that whoever runs without carries no room for it.
pub(crate) fn traced<'a, F>(span: Span, run: F) -> BoxFuture<'a, F::Output>
where
    F: Future<Output: HasOutcome> + Send + 'a,
{
    let inside = span.clone();
    let traced = async move {
        let result = run.await;
        inside.record("outcome", result.outcome().as_str());
        result
    };
    Box::pin(traced.instrument(span))
}

/// Whether anybody looks on attempts.
#[inline]
pub(crate) fn attempts_are_told() -> bool {
    tracing::enabled!(target: TARGET, Level::TRACE)
}

/// The span of asking a node of this zone for one key; `None` when nobody looks on.
#[inline]
pub(crate) fn attempt_span(zone: &str) -> Option<Span> {
    attempts_are_told().then(|| span!(target: TARGET, Level::TRACE, ATTEMPT, zone, outcome = Empty))
}

/// The span of asking a node of this zone for many keys.
#[inline]
pub(crate) fn node_batch_span(zone: &str) -> Option<Span> {
    let looked_on = tracing::enabled!(target: TARGET, Level::TRACE);
    looked_on.then(|| span!(target: TARGET, Level::TRACE, NODE_BATCH, zone, outcome = Empty))
}

/// The span of sending a change to all zones.
#[inline]
pub(crate) fn write_span() -> Option<Span> {
    let looked_on = tracing::enabled!(target: TARGET, Level::TRACE);
    looked_on.then(|| span!(target: TARGET, Level::TRACE, WRITE, outcome = Empty))
}

/// The span of having a zone decide a change.
#[inline]
pub(crate) fn decision_span() -> Option<Span> {
    let looked_on = tracing::enabled!(target: TARGET, Level::TRACE);
    looked_on.then(|| span!(target: TARGET, Level::TRACE, DECISION, outcome = Empty))
}

/// The span of a loader's run.
pub(crate) fn load_span(core: &Core, key: &Key) -> Option<Span> {
    if !tracing::enabled!(target: TARGET, Level::DEBUG) {
        return None;
    }
    let (cluster, namespace) = (&*core.settings.cluster, name_of(key.handle_prefix()));
    Some(span!(target: TARGET, Level::DEBUG, LOAD, cluster, namespace, outcome = Empty))
}

/// A namespace as the program named it.
fn name_of(prefix: &[u8]) -> String {
    String::from_utf8_lossy(prefix.strip_suffix(b":").unwrap_or(prefix)).into_owned()
}

/// A replica in this zone has answered a write, or will not.
#[inline]
pub(crate) fn replica_answered(zone: &str, done: &Result<Done, NodeError>) {
    if tracing::enabled!(target: TARGET, Level::TRACE) {
        event!(name: REPLICA, target: TARGET, Level::TRACE, zone, outcome = done.outcome().as_str());
    }
}

/// What an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// `add`.
    Add,
    /// `append`.
    Append,
    /// The reads of a batch. Its writes are operations of their own.
    Batch,
    /// `compare_and_set`.
    CompareAndSet,
    /// `decr`.
    Decrement,
    /// `delete`.
    Delete,
    /// `delete_many`.
    DeleteMany,
    /// `flush_all`.
    FlushAll,
    /// `get` and `get_item`.
    Get,
    /// `get_and_touch` and `get_item_and_touch`.
    GetAndTouch,
    /// A read at the home zone, for a gateway.
    GetAtHome,
    /// `get_for_cas`.
    GetForCas,
    /// `get_many` and `get_many_items`.
    GetMany,
    /// `get_or_load`.
    GetOrLoad,
    /// `get_or_load_many`.
    GetOrLoadMany,
    /// `incr`.
    Increment,
    /// `prepend`.
    Prepend,
    /// `replace`.
    Replace,
    /// `set`.
    Set,
    /// `set_many`.
    SetMany,
    /// `touch`.
    Touch,
}

/// What came of an operation, as far as its kind is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OperationOutcome {
    /// All keys were found.
    Hit,
    /// No key was found.
    Miss,
    /// Of many keys some were found or written, and others not.
    Partial,
    /// A write met its latch.
    Done,
    /// The condition of a write did not hold: the key was there, or was not, or its item another.
    NotDone,
    /// No zone answered, the latch was not met, or the loader failed.
    Failed,
    /// A change that one place decides may have been made: it did not say.
    MaybeApplied,
    /// Key, value or client could not be used, or the value not be decoded.
    Unusable,
    /// The caller went away before the end.
    Abandoned,
}

/// An operation that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationFinished {
    /// What it was.
    pub operation: Operation,
    /// The namespace, as the program named it. Empty for keys given with theirs, and for batches.
    pub namespace: String,
    /// How many keys it had.
    pub keys: usize,
    /// What came of it.
    pub outcome: OperationOutcome,
    /// How long it took.
    pub took: Duration,
}

impl Operation {
    /// Its word in spans: `get_many`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Append => "append",
            Self::Batch => "batch",
            Self::CompareAndSet => "compare_and_set",
            Self::Decrement => "decr",
            Self::Delete => "delete",
            Self::DeleteMany => "delete_many",
            Self::FlushAll => "flush_all",
            Self::Get => "get",
            Self::GetAndTouch => "get_and_touch",
            Self::GetAtHome => "get_at_home",
            Self::GetForCas => "get_for_cas",
            Self::GetMany => "get_many",
            Self::GetOrLoad => "get_or_load",
            Self::GetOrLoadMany => "get_or_load_many",
            Self::Increment => "incr",
            Self::Prepend => "prepend",
            Self::Replace => "replace",
            Self::Set => "set",
            Self::SetMany => "set_many",
            Self::Touch => "touch",
        }
    }
}

impl OperationOutcome {
    /// Its word in spans: `maybe_applied`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Partial => "partial",
            Self::Done => "done",
            Self::NotDone => "not_done",
            Self::Failed => "failed",
            Self::MaybeApplied => "maybe_applied",
            Self::Unusable => "unusable",
            Self::Abandoned => "abandoned",
        }
    }

    /// Of a read of many keys.
    pub(crate) fn of_many(hits: usize, misses: usize, failed: usize) -> Self {
        match (hits, misses, failed) {
            (1.., 0, 0) => Self::Hit,
            (0, _, 0) => Self::Miss,
            (0, 0, _) => Self::Failed,
            _ => Self::Partial,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for OperationOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An operation that somebody looks on.
pub(crate) struct Watch {
    core: Arc<Core>,
    operation: Operation,
    namespace: String,
    keys: usize,
    span: Span,
}

impl Watch {
    /// `None` when nobody looks on.
    #[inline]
    pub(crate) fn begin(namespace: &Namespace, operation: Operation, keys: usize) -> Option<Self> {
        if !namespace.core.is_watched() {
            return None;
        }
        let prefix = namespace.prefix.as_deref().unwrap_or_default();
        Some(Self::new(&namespace.core, prefix, operation, keys))
    }

    /// The same for keys of several namespaces.
    pub(crate) fn begin_batch(core: &Arc<Core>, keys: usize) -> Option<Self> {
        core.is_watched().then(|| Self::new(core, b"", Operation::Batch, keys))
    }

    #[cold]
    fn new(core: &Arc<Core>, prefix: &[u8], operation: Operation, keys: usize) -> Self {
        let namespace = name_of(prefix);
        let cluster = &*core.settings.cluster;
        let (word, name) = (operation.as_str(), namespace.as_str());
        let span = span!(target: TARGET, Level::DEBUG, OPERATION, operation = word, cluster, namespace = name, outcome = Empty);
        Self { core: Arc::clone(core), operation, namespace, keys, span }
    }

    /// Runs it, and tells what came of it. Boxed, so that operations carry no room for it.
    pub(crate) fn over<'a, F>(self, run: F) -> BoxFuture<'a, F::Output>
    where
        F: Future<Output: HasOutcome> + Send + 'a,
    {
        let span = self.span.clone();
        let watched = async move {
            let mut ending =
                Ending { watch: self, began: Instant::now(), outcome: OperationOutcome::Abandoned };
            let result = run.await;
            ending.outcome = result.outcome();
            result
        };
        Box::pin(watched.instrument(span))
    }
}

/// Tells what came of an operation, however it ends.
struct Ending {
    watch: Watch,
    began: Instant,
    outcome: OperationOutcome,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Watch { core, operation, namespace, keys, span } = &mut self.watch;
        span.record("outcome", self.outcome.as_str());
        if core.events.wants_operations() {
            let (operation, namespace, keys) = (*operation, std::mem::take(namespace), *keys);
            let (outcome, took) = (self.outcome, self.began.elapsed());
            core.events.tell(&Event::OperationFinished(OperationFinished {
                operation,
                namespace,
                keys,
                outcome,
                took,
            }));
        }
    }
}

impl Core {
    /// The span that a task belongs to which goes on with what this one began.
    pub(crate) fn span(&self) -> Span {
        if self.is_watched() { Span::current() } else { Span::none() }
    }

    /// Whether anybody looks on operations: two loads, and none of them shared with a writer.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.events.wants_operations() || tracing::enabled!(target: TARGET, Level::DEBUG)
    }
}
