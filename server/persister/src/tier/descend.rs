//! What is written, on its way down: to the store, or to the log before it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evanesce_client::{ABSENT_FLAGS, Ttl, Version};
use tokio::time::{Instant, timeout};

use super::{Tier, TierError, WRITE_MAX};
use crate::log::{Log, LogError, Room};
use crate::store::{Applied, Change, KeyChange, StoreError};

/// How often a write is stamped that others overtake on its way to the log.
const STAMPS_MAX: usize = 8;

/// So far ahead of its clock a stamp may be for nodes to take it, and those behind it.
const AHEAD_MAX: Duration = Duration::from_secs(4);

impl Tier {
    /// Sends a change down that is stamped now; and stamped anew where something newer waits in the log: that came meanwhile, or of a
    /// clock that is ahead.
    pub(super) async fn descend_newest(
        &self,
        key: &[u8],
        change: Change,
    ) -> Result<(Applied, Version), TierError> {
        let mut tries = 1;
        loop {
            let version = self.client.stamp();
            let applied = self.descend(key, change.clone(), version, None).await?;
            if applied == Applied::Yes || self.log.is_none() || tries == STAMPS_MAX {
                return Ok((applied, version));
            }
            tries += 1;
        }
    }

    /// Sends a change down: to the store, or to the log.
    pub(super) async fn descend(
        &self,
        key: &[u8],
        change: Change,
        version: Version,
        room: Option<Room>,
    ) -> Result<Applied, TierError> {
        let key = Bytes::copy_from_slice(key);
        let change = KeyChange { key: key.clone(), version: version.as_u64(), change };
        let outcome = match &self.log {
            Some(log) => self.append(log, change, room).await,
            None => self.write(change).await,
        };
        match &outcome {
            Ok(applied) => {
                self.counts.writes.add(1);
                self.counts.superseded.add(usize::from(*applied == Applied::Superseded));
            }
            Err(error) => {
                self.counts.write_failures.add(1);
                if matches!(
                    error,
                    TierError::Store { maybe_applied: true, .. } | TierError::Log(LogError::Slow)
                ) {
                    // The next reader is to see what the store has. A cluster that does not answer keeps its copy.
                    let _ = self.keys.delete(&key).run().await;
                }
            }
        }
        outcome
    }

    async fn append(&self, log: &Log, change: KeyChange, room: Option<Room>) -> Result<Applied, TierError> {
        if let Change::Put(item) = &change.change {
            self.check_size(item.value.len())?;
        }
        let appended = timeout(self.config.write_timeout.min(WRITE_MAX), log.append(change, room)).await;
        match appended.unwrap_or(Err(LogError::Slow)) {
            Err(LogError::Overtaken { by }) if self.stamps_above(by) => Ok(Applied::Superseded),
            outcome => Ok(outcome.map(|()| Applied::Yes)?),
        }
    }

    /// Has what is stamped from now on be newer than this, if it can be. Where it cannot, the clock was set back by more than nodes
    /// forgive, and nothing that is written gets past what was written before.
    fn stamps_above(&self, version: u64) -> bool {
        let Some(version) = Version::from_u64(version) else { return false };
        let farthest = self.client.stamp().stamped_at() + AHEAD_MAX;
        // A clock far ahead is not followed half way.
        if version.stamped_at() > farthest {
            return false;
        }
        self.client.stamp_above(version);
        self.client.stamp() > version
    }

    /// Has the cluster show what waits of a key, over what was placed there with this older version.
    pub(super) async fn show_what_waits(
        &self,
        log: &Log,
        key: &[u8],
        placed: Version,
    ) -> Result<(), TierError> {
        let waiting = log.find(key).map_err(|error| TierError::LogRead(Arc::new(error)))?;
        let Some(KeyChange { version, change, .. }) = waiting.map(|waiting| waiting.change) else {
            // The store has it by now. Nothing that is newer goes with what was placed.
            self.keys.delete(key).version(placed).run().await?;
            return Ok(());
        };
        let version = Version::from_u64(version).unwrap_or(placed);
        let shown = match change {
            Change::Put(item) => {
                let ttl = self.in_cluster(item.expires_at.map_or(Ttl::Never, Ttl::At));
                self.keys.set(key, item.value).flags(item.flags).ttl(ttl)
            }
            Change::Delete => self.keys.set(key, Bytes::new()).flags(ABSENT_FLAGS).ttl(self.config.ttl),
        };
        shown.version(version).run().await?;
        Ok(())
    }

    pub(super) fn check_size(&self, value: usize) -> Result<(), TierError> {
        let most = self.gate.abilities().value_bytes_max;
        if value <= most {
            return Ok(());
        }
        let error = StoreError::permanent(format!("it takes values up to {most} bytes"));
        Err(TierError::Store { error, maybe_applied: false })
    }

    async fn write(&self, change: KeyChange) -> Result<Applied, TierError> {
        let deadline = Instant::now() + self.config.write_timeout.min(WRITE_MAX);
        self.gate.write(change, &self.budget, deadline).await.map_err(|refusal| TierError::Store {
            error: refusal.error,
            maybe_applied: refusal.maybe_applied,
        })
    }
}
