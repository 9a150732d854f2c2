//! What a backing store is: the system of record behind a cluster.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

/// An item as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreItem {
    /// The value, verbatim.
    pub value: Bytes,
    /// The writer's flags, verbatim.
    pub flags: u32,
    /// When it expires, in seconds since the Unix epoch; `None` when it does not.
    pub expires_at: Option<u64>,
    /// The version of the write, the same as in the cluster; `None` where the store keeps none, or somebody else wrote it.
    pub version: Option<u64>,
}

/// What is to become of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It has this value from now on. The item's own version counts for nothing here.
    Put(StoreItem),
    /// It is gone.
    Delete,
}

/// One change, of one key, with the version that orders it among the changes of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The whole key, namespace and all: 1 to 250 bytes of any kind.
    pub key: Bytes,
    /// Its version: 63 bits, so it fits a signed number. The upper 41 bits are milliseconds since 2025, the rest makes
    /// it unique. For `USING TIMESTAMP` and the like it is the timestamp as it is.
    pub version: u64,
    /// What is to become of it.
    pub change: Change,
}

impl KeyChange {
    /// Of the value that it brings.
    pub(crate) fn value_bytes(&self) -> usize {
        if let Change::Put(item) = &self.change { item.value.len() } else { 0 }
    }
}

/// What a change came to that met no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The store has it, as durably as the store does anything; or had it before, of this very version.
    Yes,
    /// The store has something newer of the key, which stays. An outcome, not an error.
    Superseded,
}

/// Whose fault a failure is, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// It may be better in a moment: a timeout, a lost connection, a node of the store that restarts. Retried.
    Transient,
    /// The same again comes to the same: a value that is too large, a key that cannot be stored, a table that is not
    /// there. Not retried by itself; a write becomes a dead letter.
    Permanent,
    /// The store does not know us, or does not allow it: an operator must act. Retried slowly.
    Credentials,
    /// The store has too much to do, and says so. Retried, after a longer pause.
    Overload,
}

impl ErrorKind {
    /// How metrics and stats call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Credentials => "credentials",
            Self::Overload => "overload",
        }
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// Of what kind.
    pub kind: ErrorKind,
    /// What happened and what to do, in lowercase, on one line, without secrets.
    pub message: Arc<str>,
}

impl StoreError {
    /// An error of this kind.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl AsRef<str>) -> Self {
        Self { kind, message: Arc::from(message.as_ref()) }
    }

    /// One that may be better in a moment.
    #[must_use]
    pub fn transient(message: impl AsRef<str>) -> Self {
        Self::new(ErrorKind::Transient, message)
    }

    /// One that stays.
    #[must_use]
    pub fn permanent(message: impl AsRef<str>) -> Self {
        Self::new(ErrorKind::Permanent, message)
    }

    /// The answer of a store that did not answer by the deadline.
    #[must_use]
    pub fn timeout() -> Self {
        Self::transient("the backing store did not answer in time")
    }
}

/// What a store said of one key.
pub type Loaded = Result<Option<StoreItem>, StoreError>;

/// What became of one change.
pub type Outcome = Result<Applied, StoreError>;

/// What a store can do. What it cannot is said at the start, where a namespace wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// It takes writes.
    pub writes: bool,
    /// It keeps versions: an older write or delete never replaces a newer one, whoever sends it and in whatever order.
    pub versions: bool,
    /// It keeps flags. Without them they are 0 when loaded.
    pub flags: bool,
    /// It expires items by itself, or does not show those that have expired.
    pub expiry: bool,
    /// Largest value, in bytes.
    pub value_bytes_max: usize,
    /// Keys of one load, changes of one write. More are cut up before the store sees them.
    pub batch_max: usize,
}

/// A system of record.
///
/// One value for all tasks and runtimes of the process: futures may be polled on any of them. They are dropped when
/// nobody waits any more, and what they did by then stays done.
///
/// - **Per key**: a load or write of many keys answers for each, in the order asked. One key that fails takes no other
///   along.
/// - **Idempotent**: the same change again is [`Applied::Yes`] again.
/// - **In time**: it gives up at `deadline`. Whoever calls cuts it off soon after.
/// - No retries inside beyond what the driver cannot be talked out of: retries, limits and breakers are the persister's.
pub trait BackingStore: Send + Sync + 'static {
    /// What kind it is, as `[stores.NAME] kind` says it.
    fn kind(&self) -> &'static str;

    /// What it can do.
    fn abilities(&self) -> Abilities;

    /// Whether each key of a call is a request of its own to the store, several of them at once. Such a store is given one key
    /// a call, so that it sees no more requests at once than it is configured to be asked.
    fn asks_key_by_key(&self) -> bool {
        false
    }

    /// The same of changes, for a store that reads many keys by one request and writes them one by one.
    fn writes_key_by_key(&self) -> bool {
        self.asks_key_by_key()
    }

    /// Reads keys. Expired items are as if absent where it can tell. No key comes twice in one call.
    fn load<'a>(&'a self, keys: &'a [Bytes], deadline: Instant) -> BoxFuture<'a, Vec<Loaded>>;

    /// Writes and deletes. No key comes twice in one call.
    fn write<'a>(&'a self, changes: &'a [KeyChange], deadline: Instant) -> BoxFuture<'a, Vec<Outcome>>;

    /// Whether it is there and lets us in. Called at the start and by an operator; costs the store next to nothing.
    fn check(&self, deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Ends what it has running. What was acknowledged is safe before.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// The same answer for each of `keys`: for a store that failed as a whole.
#[must_use]
pub fn failed_all<T>(keys: usize, error: &StoreError) -> Vec<Result<T, StoreError>> {
    (0..keys).map(|_| Err(error.clone())).collect()
}
