//! A store in this process' memory: what a store must do, in as few lines as it takes. For tests and trials.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

use super::StoreSettings;
use crate::clock::unix_now;
use crate::store::{
    Abilities, Applied, BackingStore, Change, KeyChange, Loaded, Outcome, StoreError, StoreItem,
};

/// Nothing to set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {}

impl StoreSettings for Settings {
    fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn BackingStore>, StoreError>> {
        Box::pin(async { Ok(Arc::new(Memory::default()) as Arc<dyn BackingStore>) })
    }
}

/// A store that forgets everything when it is dropped, and nothing before.
#[derive(Debug, Default)]
pub struct Memory {
    /// What each key has and of which version. Deleted ones are `None`, so that nothing older comes back.
    items: Mutex<HashMap<Bytes, (u64, Option<StoreItem>)>>,
}

impl Memory {
    /// How many items there are, those that have expired included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.lock().values().filter(|(_, item)| item.is_some()).count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn apply(&self, change: &KeyChange) -> Applied {
        let mut items = self.items.lock();
        if items.get(&change.key).is_some_and(|(version, _)| *version > change.version) {
            return Applied::Superseded;
        }
        let item = match &change.change {
            Change::Put(item) => Some(StoreItem { version: Some(change.version), ..item.clone() }),
            Change::Delete => None,
        };
        items.insert(change.key.clone(), (change.version, item));
        Applied::Yes
    }

    fn find(&self, key: &Bytes) -> Option<StoreItem> {
        let (_, item) = self.items.lock().get(key)?.clone();
        item.filter(|item| item.expires_at.is_none_or(|at| at > unix_now()))
    }
}

impl BackingStore for Memory {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            writes: true,
            versions: true,
            flags: true,
            expiry: true,
            value_bytes_max: usize::MAX,
            batch_max: 1024,
        }
    }

    fn load<'a>(&'a self, keys: &'a [Bytes], _deadline: Instant) -> BoxFuture<'a, Vec<Loaded>> {
        Box::pin(async { keys.iter().map(|key| Ok(self.find(key))).collect() })
    }

    fn write<'a>(&'a self, changes: &'a [KeyChange], _deadline: Instant) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async { changes.iter().map(|change| Ok(self.apply(change))).collect() })
    }

    fn check(&self, _deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}
