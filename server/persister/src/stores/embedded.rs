//! The embedded store: an LSM tree on this machine's disk, so that everything runs with no server.
//!
//! ```text
//!  key -> | version 8 | expires_at 8, 0 is never | flags 4 | 1 an item, 0 deleted | value |
//!          all numbers big-endian
//! ```
//!
//! A deleted key keeps its version, so that nothing older comes back. One process at a time: the directory is locked.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::StoreSettings;
use crate::clock::unix_now;
use crate::store::{
    Abilities, Applied, BackingStore, Change, ErrorKind, KeyChange, Loaded, Outcome, StoreError, StoreItem,
    failed_all,
};

/// Bytes before the value.
const HEAD_BYTES: usize = 21;

/// Blocks of the tree kept in memory: enough for the index of some gigabytes, and little beside a gateway.
const CACHE_BYTES: u64 = 16 << 20;

/// Largest value: what fits a block of the tree with room to spare, and sixteen times what a cluster takes by default.
const VALUE_BYTES_MAX: usize = 16 << 20;

/// Changes of one commit: one flush of the disk for them all, and a lock held for some milliseconds.
const BATCH_MAX: usize = 1024;

/// Where it is and how careful it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The directory; made if it is not there.
    pub path: PathBuf,
    /// Whether a write is on the disk before it is acknowledged. `true` by default; with `false` the end of the process
    /// loses nothing, and that of the machine the last writes.
    #[serde(default = "yes")]
    pub sync: bool,
}

fn yes() -> bool {
    true
}

impl StoreSettings for Settings {
    fn faults(&self) -> Vec<String> {
        match self.path.as_os_str().is_empty() {
            true => vec!["path is empty; name the directory to keep the items in".to_owned()],
            false => Vec::new(),
        }
    }

    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn BackingStore>, StoreError>> {
        let settings = self.clone();
        let open = move || Embedded::open(&settings.path, settings.sync);
        Box::pin(async {
            let store = tokio::task::spawn_blocking(open).await.map_err(|_| ended())??;
            Ok(Arc::new(store) as Arc<dyn BackingStore>)
        })
    }
}

/// A store on this machine's disk.
pub struct Embedded {
    tree: Arc<Tree>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("path", &self.tree.path).finish_non_exhaustive()
    }
}

struct Tree {
    path: PathBuf,
    database: Database,
    items: Keyspace,
    durability: PersistMode,
    /// Held from the look at a key's version to the write. Lock order: alone.
    writer: Mutex<()>,
}

impl Embedded {
    /// Opens or makes a store. Blocks.
    ///
    /// # Errors
    ///
    /// When the directory cannot be had, another process has it, or what is there is damaged.
    pub fn open(path: &Path, sync: bool) -> Result<Self, StoreError> {
        let failed = |error: fjall::Error| explain(path, &error);
        std::fs::create_dir_all(path).map_err(|error| explain(path, &error.into()))?;
        let database = Database::builder(path).cache_size(CACHE_BYTES).open().map_err(failed)?;
        let items = database.keyspace("items", KeyspaceCreateOptions::default).map_err(failed)?;
        let durability = if sync { PersistMode::SyncData } else { PersistMode::Buffer };
        let path = path.to_owned();
        Ok(Self { tree: Arc::new(Tree { path, database, items, durability, writer: Mutex::new(()) }) })
    }

    /// Runs `work` where it may block, until `deadline`.
    async fn blocking<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&Tree) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let tree = Arc::clone(&self.tree);
        let work = tokio::task::spawn_blocking(move || work(&tree));
        match timeout_at(deadline, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) => Err(ended()),
            Err(_) => Err(StoreError::timeout()),
        }
    }
}

impl Tree {
    fn find(&self, key: &[u8]) -> Result<Option<(u64, Option<StoreItem>)>, StoreError> {
        let found = self.items.get(key).map_err(|error| explain(&self.path, &error))?;
        found.map(|bytes| decode(&bytes).ok_or_else(|| damaged(&self.path))).transpose()
    }

    fn load(&self, key: &[u8]) -> Loaded {
        let item = self.find(key)?.and_then(|(_, item)| item);
        Ok(item.filter(|item| item.expires_at.is_none_or(|at| at > unix_now())))
    }

    fn write(&self, changes: &[KeyChange]) -> Vec<Outcome> {
        let _writer = self.writer.lock();
        let mut batch = self.database.batch().durability(Some(self.durability));
        let mut written: HashMap<&Bytes, u64> = HashMap::new();
        let mut outcomes = Vec::with_capacity(changes.len());
        for change in changes {
            let there = match written.get(&change.key) {
                Some(version) => Ok(Some(*version)),
                None => self.find(&change.key).map(|found| found.map(|(version, _)| version)),
            };
            outcomes.push(match there {
                Err(error) => Err(error),
                _ if value_bytes(change) > VALUE_BYTES_MAX => Err(too_large()),
                Ok(Some(there)) if there > change.version => Ok(Applied::Superseded),
                Ok(_) => {
                    written.insert(&change.key, change.version);
                    batch.insert(&self.items, &change.key[..], encode(change));
                    Ok(Applied::Yes)
                }
            });
        }
        if let Err(error) = batch.commit() {
            let error = explain(&self.path, &error);
            outcomes.iter_mut().filter(|outcome| **outcome == Ok(Applied::Yes)).for_each(|outcome| {
                *outcome = Err(error.clone());
            });
        }
        outcomes
    }
}

fn value_bytes(change: &KeyChange) -> usize {
    if let Change::Put(item) = &change.change { item.value.len() } else { 0 }
}

fn too_large() -> StoreError {
    StoreError::permanent(format!("the embedded store takes values up to {VALUE_BYTES_MAX} bytes"))
}

fn encode(change: &KeyChange) -> Vec<u8> {
    let (item, value) = match &change.change {
        Change::Put(item) => (Some(item), &item.value[..]),
        Change::Delete => (None, &[][..]),
    };
    let mut bytes = Vec::with_capacity(HEAD_BYTES + value.len());
    bytes.put_u64(change.version);
    bytes.put_u64(item.and_then(|item| item.expires_at).unwrap_or_default());
    bytes.put_u32(item.map_or(0, |item| item.flags));
    bytes.put_u8(u8::from(item.is_some()));
    bytes.put_slice(value);
    bytes
}

/// `None` when it is damaged.
fn decode(mut bytes: &[u8]) -> Option<(u64, Option<StoreItem>)> {
    if bytes.len() < HEAD_BYTES {
        return None;
    }
    let version = bytes.get_u64();
    let expires_at = Some(bytes.get_u64()).filter(|at| *at != 0);
    let flags = bytes.get_u32();
    let is_item = bytes.get_u8() == 1;
    let item =
        || StoreItem { value: Bytes::copy_from_slice(bytes), flags, expires_at, version: Some(version) };
    Some((version, is_item.then(item)))
}

fn explain(path: &Path, error: &fjall::Error) -> StoreError {
    let path = path.display();
    match error {
        fjall::Error::Locked => StoreError::permanent(format!(
            "the embedded store in {path} is open in another process; give each process a path of its own"
        )),
        fjall::Error::Poisoned => StoreError::new(
            ErrorKind::Transient,
            format!("the embedded store in {path} could not write to its disk; make room there and restart"),
        ),
        fjall::Error::Io(error) => StoreError::transient(format!("the embedded store in {path}: {error}")),
        other => StoreError::permanent(format!("the embedded store in {path} cannot be used: {other:?}")),
    }
}

fn damaged(path: &Path) -> StoreError {
    StoreError::permanent(format!(
        "an item of the embedded store in {} is damaged; write it anew",
        path.display()
    ))
}

/// The runtime ends, or the store's code panicked.
fn ended() -> StoreError {
    StoreError::transient("the embedded store was interrupted")
}

impl BackingStore for Embedded {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            writes: true,
            versions: true,
            flags: true,
            expiry: true,
            value_bytes_max: VALUE_BYTES_MAX,
            batch_max: BATCH_MAX,
        }
    }

    fn load<'a>(&'a self, keys: &'a [Bytes], deadline: Instant) -> BoxFuture<'a, Vec<Loaded>> {
        let asked = keys.to_vec();
        let load = move |tree: &Tree| asked.iter().map(|key| tree.load(key)).collect::<Vec<_>>();
        Box::pin(async move {
            self.blocking(deadline, load).await.unwrap_or_else(|error| failed_all(keys.len(), &error))
        })
    }

    fn write<'a>(&'a self, changes: &'a [KeyChange], deadline: Instant) -> BoxFuture<'a, Vec<Outcome>> {
        let given = changes.to_vec();
        let write = move |tree: &Tree| tree.write(&given);
        Box::pin(async move {
            self.blocking(deadline, write).await.unwrap_or_else(|error| failed_all(changes.len(), &error))
        })
    }

    fn check(&self, deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.blocking(deadline, |tree| tree.load(b"check").map(drop)).await? })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let tree = Arc::clone(&self.tree);
        Box::pin(async move {
            // A disk that cannot be written has said so to the writes already.
            let _ = tokio::task::spawn_blocking(move || tree.database.persist(PersistMode::SyncAll)).await;
        })
    }
}
