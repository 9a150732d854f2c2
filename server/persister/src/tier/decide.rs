//! What is made of what a key has: add, cas, append, counts, a new expiry.
//!
//! The tier reads the key at its home zone, or loads it, makes the new item, and has the home zone compare and set. What was
//! decided there goes down with the version that the decision was given.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evanesce_client::{ABSENT_FLAGS, CompareAndSetOutcome, Item, StoreOutcome, Ttl, Version};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Stored, Tier, TierError, WRITE_MAX, expires_at, is_over};
use crate::clock::unix_now;
use crate::config::Mode;
use crate::log::Room;
use crate::store::{Applied, Change, StoreItem};

/// Tries of one decision: each that fails means that another's succeeded.
const TRIES_MAX: usize = 32;

/// Between two looks whether the store has what another gateway took: a write and a lot of a log that is not behind.
const UNSETTLED_PAUSE: Duration = Duration::from_millis(20);

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
    /// What is there gets this value, and expires when it would have.
    Change {
        /// The value.
        value: Bytes,
        /// The flags.
        flags: u32,
    },
    /// What is there lives for so long from now on.
    Expire(Ttl),
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
        let deadline = Instant::now() + self.config.load_timeout + self.config.write_timeout.min(WRITE_MAX);
        let turn = timeout_at(deadline, self.turns.of(key).lock()).await;
        let _turn = turn.map_err(|_| TierError::Late)?;
        let mut contended = TierError::Contended;
        for _ in 0..TRIES_MAX {
            if Instant::now() >= deadline {
                return Err(TierError::Late);
            }
            let Present { item, token } = self.present(key).await?;
            let (value, flags, ttl) = match step(item.as_ref()) {
                Step::Leave(why) => return Ok(Decided::Left(why)),
                Step::Store { value, flags, ttl } => (value, flags, ttl),
                Step::Expire(ttl) => match self.newest(key, item).await? {
                    Some((value, flags)) => (value, flags, ttl),
                    None => {
                        contended = TierError::Unsettled;
                        self.wait_for_store(key).await?;
                        continue;
                    }
                },
                Step::Change { value, flags } => match self.life(key, item.as_ref()).await? {
                    Some(ttl) => (value, flags, ttl),
                    None => {
                        contended = TierError::Unsettled;
                        self.wait_for_store(key).await?;
                        continue;
                    }
                },
            };
            let room = self.room_for(key, &value)?;
            let (shown, shown_flags, in_cluster) = self.shown(&value, flags, ttl);
            let placed = self.place(key, token, &shown, shown_flags, in_cluster).await?;
            let Some(version) = placed else { continue };
            if self.config.mode.writes() {
                let change = match is_over(ttl) {
                    true => Change::Delete,
                    false => {
                        Change::Put(StoreItem { value, flags, expires_at: expires_at(ttl), version: None })
                    }
                };
                if self.follow(key, change, version, room).await? == Applied::Superseded {
                    continue;
                }
            }
            return Ok(Decided::Stored(Stored { version }));
        }
        Err(contended)
    }

    /// Makes sure that what is decided can go down, before others see it: what was there is another gateway's, maybe.
    fn room_for(&self, key: &[u8], value: &Bytes) -> Result<Option<Room>, TierError> {
        if !self.config.mode.writes() {
            return Ok(None);
        }
        let log = self.log.as_ref();
        let room = self
            .check_size(value.len())
            .and_then(|()| Ok(log.map(|log| log.reserve(key.len(), value.len())).transpose()?));
        self.counts.write_failures.add(usize::from(room.is_err()));
        room
    }

    /// What the cluster gets where a key gets this: of a delete that waits in the log, that there is nothing.
    fn shown(&self, value: &Bytes, flags: u32, ttl: Ttl) -> (Bytes, u32, Ttl) {
        match self.config.mode {
            Mode::WriteBehind if is_over(ttl) => (Bytes::new(), ABSENT_FLAGS, Ttl::After(self.config.ttl)),
            mode if mode.writes() => (value.clone(), flags, self.in_cluster(ttl)),
            _ => (value.clone(), flags, ttl),
        }
    }

    /// Sends down what the cluster has. Where the store does not take it, the cluster must not show it.
    async fn follow(
        &self,
        key: &[u8],
        change: Change,
        version: Option<Version>,
        room: Option<Room>,
    ) -> Result<Applied, TierError> {
        let down = version.unwrap_or_else(|| self.client.stamp());
        let applied = self.descend(key, change, down, room).await;
        match &applied {
            Ok(Applied::Yes) => {}
            // The next try is to see what is newer; a delete would take that, too, where it waits.
            Ok(Applied::Superseded) => match &self.log {
                Some(log) => self.show_what_waits(log, key, down).await?,
                None => _ = self.keys.delete(key).run().await?,
            },
            // What fails here ends with the TTL of what the cluster has.
            Err(_) => _ = self.keys.delete(key).run().await,
        }
        applied
    }

    /// What is left of the life of what a key has. The cluster's TTL is cut where writes go down, so log or store are asked then;
    /// `None` when they have nothing that lives.
    async fn life(&self, key: &[u8], item: Option<&Item>) -> Result<Option<Ttl>, TierError> {
        if !self.config.mode.writes() {
            return Ok(Some(item.and_then(|item| item.ttl).map_or(Ttl::Never, Ttl::After)));
        }
        let below = self.below(Bytes::copy_from_slice(key)).await?;
        Ok(below.and_then(|item| match item.expires_at {
            None => Some(Ttl::Never),
            Some(at) => (at > unix_now()).then_some(Ttl::At(at)),
        }))
    }

    /// Value and flags of what a key has, to be written down again: those below, unless the cluster's is newer, which waits in the
    /// log of another gateway then. `None` as of [`life`](Self::life).
    async fn newest(&self, key: &[u8], item: Option<Item>) -> Result<Option<(Bytes, u32)>, TierError> {
        let in_cluster = item.map(|item| (item.version.map(Version::as_u64), item.value, item.flags));
        if !self.config.mode.writes() {
            return Ok(in_cluster.map(|(_, value, flags)| (value, flags)));
        }
        let below = self.below(Bytes::copy_from_slice(key)).await?;
        let Some(below) = below.filter(|item| item.expires_at.is_none_or(|at| at > unix_now())) else {
            return Ok(None);
        };
        Ok(Some(match in_cluster {
            Some((version, value, flags)) if self.log.is_some() && version > below.version => (value, flags),
            _ => (below.value, below.flags),
        }))
    }

    /// The cluster shows what log and store do not have. Behind a log it waits in that of another gateway, most likely, and what
    /// the cluster has stays; else the store is right.
    async fn wait_for_store(&self, key: &[u8]) -> Result<(), TierError> {
        match self.config.mode {
            Mode::WriteBehind => sleep(UNSETTLED_PAUSE).await,
            _ => _ = self.keys.delete(key).run().await?,
        }
        Ok(())
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
        let found = self.keys.get_for_cas(key).with_absent().run().await?;
        Ok(found.map(|item| {
            let token = Some(item.cas);
            Present { item: Some(item).filter(|item| item.flags != ABSENT_FLAGS), token }
        }))
    }
}
