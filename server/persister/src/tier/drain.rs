//! From the log to the store, for as long as the tier lives.
//!
//! After the store has a change, the cluster is looked at: while it waited in the log, another gateway may have loaded what the
//! store had before. What the cluster has must be as new as what the store has.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use evanesce_client::{Item, Version};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{Tier, WRITE_MAX, loaded_item};
use crate::log::{Log, Taken, now_ms};
use crate::store::{Applied, Change, ErrorKind, KeyChange, Outcome};

/// Changes of one lot, within what the store takes.
const LOT_MAX: usize = 256;

/// Bytes of one lot, which are in memory: some of the largest values.
const LOT_BYTES_MAX: u64 = 8 << 20;

/// Lots on their way to the store at once, of one namespace.
const LOTS: usize = 4;

/// Between two looks for a change whose time has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The same while nothing waits but dead letters.
const LOOK_IDLY_EVERY: Duration = Duration::from_secs(1);

/// The first pause of a change that failed, and the longest: a store that is back has everything within some seconds.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Pauses double so often: by then they are the longest.
const DOUBLINGS_MAX: usize = 8;

/// How old a change may be for the cluster's copy of it to be told by its version alone. A load stamps what it brings
/// [`WRITE_MAX`] before itself, so one that is older may have been overtaken by a load.
const FRESH: Duration = Duration::from_millis(WRITE_MAX.as_millis() as u64 / 2);

/// Starts to drain the tier's log, if it has one.
pub(crate) fn start(tier: &Arc<Tier>) -> Vec<JoinHandle<()>> {
    let Some(log) = tier.log.clone() else { return Vec::new() };
    let lot = |_| tokio::spawn(drain(Arc::clone(tier), Arc::clone(&log)));
    (0..LOTS).map(lot).collect()
}

async fn drain(tier: Arc<Tier>, log: Arc<Log>) {
    loop {
        let lot = take(&log).await;
        if lot.taken.is_empty() {
            // Woken, or to look whether one may be tried again.
            let longest = if log.is_busy() { LOOK_EVERY } else { LOOK_IDLY_EVERY };
            let _ = timeout(longest, log.woken()).await;
            continue;
        }
        tier.drain_lot(lot).await;
    }
}

/// Changes on their way to the store. Dropped in the middle, as by a reload, those of which nothing is known wait again.
struct Lot {
    log: Arc<Log>,
    taken: VecDeque<Taken>,
}

impl Drop for Lot {
    fn drop(&mut self) {
        self.taken.iter().for_each(|taken| self.log.release(&taken.change.key));
    }
}

async fn take(log: &Arc<Log>) -> Lot {
    let of_log = Arc::clone(log);
    let take = move || Lot { taken: of_log.take(LOT_MAX, LOT_BYTES_MAX).into(), log: of_log };
    let taken = tokio::task::spawn_blocking(take).await;
    // The runtime ends.
    taken.unwrap_or_else(|_| Lot { log: Arc::clone(log), taken: VecDeque::new() })
}

impl Tier {
    async fn drain_lot(&self, mut lot: Lot) {
        let changes: Vec<KeyChange> = lot.taken.iter().map(|taken| taken.change.clone()).collect();
        let outcomes = self.gate.write_many(&changes).await;
        let applied = lot.taken.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Ok(Applied::Yes));
        self.agree(applied.map(|(taken, _)| taken).collect()).await;
        for outcome in outcomes {
            let Some(taken) = lot.taken.pop_front() else { return };
            self.conclude(&lot.log, &taken, outcome);
        }
    }

    fn conclude(&self, log: &Log, taken: &Taken, outcome: Outcome) {
        let KeyChange { key, version, .. } = &taken.change;
        match outcome {
            Ok(applied) => {
                self.counts.drained.add(1);
                self.counts.superseded.add(usize::from(applied == Applied::Superseded));
                log.done(key, *version);
            }
            Err(error)
                if error.kind == ErrorKind::Permanent || taken.attempts >= self.config.log.retries_max =>
            {
                self.counts.buried.add(1);
                tracing::error!(namespace = %self.name, key = %key.escape_ascii(), %error, "a write became a dead letter");
                log.bury(key, *version, &error.to_string());
            }
            Err(_) => {
                self.counts.retries.add(1);
                log.retry_at(key, *version, Instant::now() + pause(taken.attempts));
            }
        }
    }

    /// Makes the cluster show nothing older than what the store was just given.
    async fn agree(&self, taken: Vec<&Taken>) {
        let keys: Vec<Bytes> = taken.iter().map(|taken| taken.change.key.clone()).collect();
        let Ok(found) = self.keys.clone().skip_near_cache().get_many_items(&keys).no_fallback().run().await
        else {
            return;
        };
        let in_cluster = found.into_map();
        let agree = taken.into_iter().map(|taken| self.agree_on(taken, in_cluster.get(&taken.change.key)));
        futures_util::future::join_all(agree).await;
    }

    async fn agree_on(&self, taken: &Taken, there: Option<&Item>) {
        let KeyChange { key, version, change } = &taken.change;
        let Some(ours) = Version::from_u64(*version) else { return };
        if there.is_some_and(|item| item.version.is_none()) {
            // Its nodes keep no versions, and nobody can tell.
            return;
        }
        let there = there.and_then(|item| item.version);
        let is_fresh = now_ms().saturating_sub(taken.stamped_ms) < FRESH.as_millis() as u64;
        // What fails here is as if a reader had come between: it ends with the TTL of what the cluster has.
        let _ = match (there, change) {
            (Some(there), Change::Put(_)) if there == ours => return,
            (Some(there), _) if there > ours && is_fresh => return,
            (Some(there), Change::Put(item)) if there < ours => {
                let Some(item) = loaded_item(item.clone()) else { return };
                let ttl = item.ttl.map_or(self.config.ttl, |left| left.min(self.config.ttl));
                let set = self.keys.set(key, item.value).flags(item.flags).ttl(ttl).version(ours);
                set.run().await.map(drop)
            }
            // A load may be on its way that began before the store had this; the write itself may be, too, which is newer than
            // this delete.
            (_, Change::Put(_)) if is_fresh => {
                let Some(before) = Version::from_u64(version.saturating_sub(1)) else { return };
                self.keys.delete(key).version(before).run().await.map(drop)
            }
            _ if is_fresh => self.keys.delete(key).version(ours).run().await.map(drop),
            _ => self.keys.delete(key).run().await.map(drop),
        };
    }
}

fn pause(attempts: usize) -> Duration {
    let pauses =
        ExponentialBuilder::default().with_min_delay(PAUSE_MIN).with_max_delay(PAUSE_MAX).with_jitter();
    let mut pauses = pauses.without_max_times().build();
    pauses.nth(attempts.min(DOUBLINGS_MAX)).unwrap_or(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_at_some_seconds() {
        assert!(pause(0) < Duration::from_millis(150));
        assert!((1..=1_000).all(|attempts| pause(attempts) <= 2 * PAUSE_MAX));
        assert!(pause(1_000) >= PAUSE_MAX);
    }
}
