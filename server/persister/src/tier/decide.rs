//! What is made of what a key has: add, cas, append, counts, a new expiry.
//!
//! The tier reads the key at its home zone, or loads it, makes the new item, and has the home zone compare and set. What was
//! decided there goes down with the version that the decision was given.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use evanesce_client::{ABSENT_FLAGS, CompareAndSetOutcome, Item, StoreOutcome, Ttl, Version};
use tokio::sync::Mutex;

use super::{Stored, Tier, TierError, expires_at};
use crate::store::{Change, StoreItem};

/// Tries of one decision: each that fails means that another's succeeded.
const TRIES_MAX: usize = 32;

/// Locks of the keys that are decided on: those of one gateway take turns instead of failing each other.
const TURNS: usize = 256;

/// What is to become of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<R> {
    /// It gets this item.
    Store {
        /// The value.
        value: Bytes,
        /// The flags.
        flags: u32,
        /// How long it lives.
        ttl: Ttl,
    },
    /// It stays as it is, and this is why.
    Leave(R),
}

/// What a decision came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided<R> {
    /// It was stored.
    Stored(Stored),
    /// It was left as it is.
    Left(R),
}

/// Whose turn it is, by key.
pub(super) struct Turns(Vec<Mutex<()>>);

impl Default for Turns {
    fn default() -> Self {
        Self((0..TURNS).map(|_| Mutex::default()).collect())
    }
}

impl Turns {
    fn of(&self, key: &[u8]) -> &Mutex<()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        &self.0[hasher.finish() as usize % TURNS]
    }
}

/// What a key has.
struct Present {
    item: Option<Item>,
    /// What the home zone compares; `None` when it has no such item.
    token: Option<u64>,
}

impl Tier {
    /// Makes a new item of what the key has. `step` is asked again when somebody else was faster.
    ///
    /// # Errors
    ///
    /// [`TierError`].
    pub async fn decide<R>(
        self: &Arc<Self>,
        key: &[u8],
        mut step: impl FnMut(Option<&Item>) -> Step<R>,
    ) -> Result<Decided<R>, TierError> {
        let _turn = self.turns.of(key).lock().await;
        for _ in 0..TRIES_MAX {
            let Present { item, token } = self.present(key).await?;
            let (value, flags, ttl) = match step(item.as_ref()) {
                Step::Leave(why) => return Ok(Decided::Left(why)),
                Step::Store { value, flags, ttl } => (value, flags, ttl),
            };
            let in_cluster = if self.config.mode.writes() { self.in_cluster(ttl) } else { ttl };
            let Some(version) = self.place(key, token, &value, flags, in_cluster).await? else { continue };
            if self.config.mode.writes() {
                let item = StoreItem { value, flags, expires_at: expires_at(ttl), version: None };
                let down = version.unwrap_or_else(|| self.client.stamp());
                if let Err(error) = self.descend(key, Change::Put(item), down).await {
                    // The cluster must not show what the store will never have.
                    let _ = self.keys.delete(key).run().await;
                    return Err(error);
                }
            }
            return Ok(Decided::Stored(Stored { version }));
        }
        Err(TierError::Contended)
    }

    /// Has the home zone store it, if the key is still as it was. `None` when it is not.
    async fn place(
        &self,
        key: &[u8],
        token: Option<u64>,
        value: &Bytes,
        flags: u32,
        ttl: Ttl,
    ) -> Result<Option<Option<Version>>, TierError> {
        let Some(token) = token else {
            let add = self.keys.add(key, value.clone()).flags(flags).ttl(ttl).run().await?;
            return Ok(match add {
                StoreOutcome::Stored(written) => Some(written.version),
                StoreOutcome::NotStored => None,
            });
        };
        let set = self.keys.compare_and_set(key, token, value.clone()).flags(flags).ttl(ttl);
        Ok(match set.run().await? {
            CompareAndSetOutcome::Stored(written) => Some(written.version),
            CompareAndSetOutcome::Exists | CompareAndSetOutcome::NotFound => None,
        })
    }

    async fn present(self: &Arc<Self>, key: &[u8]) -> Result<Present, TierError> {
        if let Some(present) = self.at_home(key).await? {
            return Ok(present);
        }
        let loaded = self.get(key).await?;
        match self.at_home(key).await? {
            Some(present) => Ok(present),
            // The cluster did not keep it, for something was newer.
            None => Ok(Present { item: loaded, token: None }),
        }
    }

    async fn at_home(&self, key: &[u8]) -> Result<Option<Present>, TierError> {
        let found = self.keys.get_for_cas(key).run().await?;
        Ok(found.map(|item| {
            let token = Some(item.cas);
            Present { item: Some(item).filter(|item| item.flags != ABSENT_FLAGS), token }
        }))
    }
}
