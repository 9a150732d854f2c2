//! Operations as those see them who look on: a span each, and an event for listeners.
//!
//! Who does not look on pays for a look at two flags: nothing is made, and the operation runs as it would without.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Level, Span, span};

use crate::core::Core;
use crate::error::{LoadError, ReadError, WriteError};
use crate::item;
use crate::listener::Event;
use crate::namespace::Namespace;
use crate::outcome::{
    ArithmeticOutcome, CompareAndSetOutcome, Deleted, StoreOutcome, Touched, WriteMany, Written,
};

/// What all spans of the client are told under.
pub(crate) const TARGET: &str = "evanesce_client";

/// The span of an operation, at level `debug`.
const OPERATION: &str = "evanesce_client.operation";

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
        let name = prefix.strip_suffix(b":").unwrap_or(prefix);
        let namespace = String::from_utf8_lossy(name).into_owned();
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
    /// Whether anybody looks on operations: two loads, and none of them shared with a writer.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.events.wants_operations() || tracing::enabled!(target: TARGET, Level::DEBUG)
    }
}

/// What an operation answers.
pub(crate) trait HasOutcome {
    fn outcome(&self) -> OperationOutcome;
}

impl<T: HasOutcome, E: HasOutcome> HasOutcome for Result<T, E> {
    fn outcome(&self) -> OperationOutcome {
        match self {
            Ok(answer) => answer.outcome(),
            Err(error) => error.outcome(),
        }
    }
}

impl<T> HasOutcome for Option<T> {
    fn outcome(&self) -> OperationOutcome {
        if self.is_some() { OperationOutcome::Hit } else { OperationOutcome::Miss }
    }
}

impl<V> HasOutcome for item::GetMany<V> {
    fn outcome(&self) -> OperationOutcome {
        OperationOutcome::of_many(self.hits.len(), self.misses.len(), self.failed.len())
    }
}

impl<V> HasOutcome for item::LoadMany<V> {
    fn outcome(&self) -> OperationOutcome {
        OperationOutcome::of_many(self.hits.len(), self.absent.len(), self.failed.len())
    }
}

impl HasOutcome for WriteMany {
    fn outcome(&self) -> OperationOutcome {
        match (self.written.len(), self.failed.len()) {
            (_, 0) => OperationOutcome::Done,
            (0, _) => OperationOutcome::Failed,
            _ => OperationOutcome::Partial,
        }
    }
}

impl HasOutcome for StoreOutcome {
    fn outcome(&self) -> OperationOutcome {
        if self.is_stored() { OperationOutcome::Done } else { OperationOutcome::NotDone }
    }
}

impl HasOutcome for CompareAndSetOutcome {
    fn outcome(&self) -> OperationOutcome {
        if matches!(self, Self::Stored(_)) { OperationOutcome::Done } else { OperationOutcome::NotDone }
    }
}

impl HasOutcome for ArithmeticOutcome {
    fn outcome(&self) -> OperationOutcome {
        if self.number().is_some() { OperationOutcome::Done } else { OperationOutcome::NotDone }
    }
}

macro_rules! done {
    ($($outcome:ty),+) => {$(
        impl HasOutcome for $outcome {
            fn outcome(&self) -> OperationOutcome {
                OperationOutcome::Done
            }
        }
    )+};
}

// The nodes that were flushed are a number.
done!(Written, Deleted, Touched, usize);

impl HasOutcome for ReadError {
    fn outcome(&self) -> OperationOutcome {
        if self.may_retry() { OperationOutcome::Failed } else { OperationOutcome::Unusable }
    }
}

impl HasOutcome for WriteError {
    fn outcome(&self) -> OperationOutcome {
        match self {
            Self::NotAcknowledged { .. } | Self::Busy => OperationOutcome::Failed,
            Self::MaybeApplied { .. } => OperationOutcome::MaybeApplied,
            _ => OperationOutcome::Unusable,
        }
    }
}

impl HasOutcome for LoadError {
    fn outcome(&self) -> OperationOutcome {
        match self {
            Self::Loader(_) | Self::LoaderPanicked | Self::Timeout | Self::Busy => OperationOutcome::Failed,
            _ => OperationOutcome::Unusable,
        }
    }
}
