//! From the log to the store, for as long as the tier lives.
//!
//! After the store has a change, the cluster is looked at: while it waited in the log, another gateway may have loaded what the
//! store had before. What the cluster has must be as new as what the store has.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use evanesce_client::{Item, Version};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::{Tier, WRITE_MAX, loaded_item};
use crate::log::{Log, Taken};
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

/// How long a lot that is on its way may take after a reload: longer than a store that is well takes. What is cut off goes once more,
/// and a store without versions may have carried out both, in any order.
const LAST_LOT_MAX: Duration = WRITE_MAX;

/// The first pause of a change that failed, and the longest: a store that is back has everything within some seconds.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Pauses double so often: by then they are the longest.
const DOUBLINGS_MAX: usize = 8;

/// What clocks of gateways may differ by: loads are told from writes that are under way by their stamps, [`WRITE_MAX`] apart.
const SKEW_MAX: Duration = Duration::from_secs(1);

/// The tasks that drain a log. Dropped, they end what is on its way to the store, and then themselves.
pub(crate) struct Drain {
    ends: watch::Sender<bool>,
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.ends.send_replace(true);
    }
}

impl Drain {
    /// Starts to drain the tier's log, if it has one. What is on its way is cut off when `closes` is true.
    pub(crate) fn start(tier: &Arc<Tier>, closes: &watch::Sender<bool>) -> Self {
        let ends = watch::Sender::default();
        if let Some(log) = &tier.log {
            for _ in 0..LOTS {
                let end = End { of_drain: ends.subscribe(), of_all: closes.subscribe() };
                tokio::spawn(drain(end, Arc::clone(tier), Arc::clone(log)));
            }
        }
        Self { ends }
    }
}

/// When a task of a drain ends.
struct End {
    of_drain: watch::Receiver<bool>,
    of_all: watch::Receiver<bool>,
}

impl End {
    fn is_near(&self) -> bool {
        *self.of_drain.borrow() || *self.of_all.borrow()
    }

    /// It is to begin nothing more.
    async fn near(&mut self) {
        tokio::select! {
            () = told(&mut self.of_drain) => {}
            () = told(&mut self.of_all) => {}
        }
    }

    /// It is to go on with nothing, or what it does takes too long.
    async fn cut(&mut self) {
        let last = async {
            told(&mut self.of_drain).await;
            sleep(LAST_LOT_MAX).await;
        };
        tokio::select! {
            () = last => {}
            () = told(&mut self.of_all) => {}
        }
    }
}

/// Never, once nobody is there to tell.
async fn told(end: &mut watch::Receiver<bool>) {
    if end.wait_for(|ends| *ends).await.is_err() {
        pending::<()>().await;
    }
}

/// The end is dropped behind the log: who waits until nobody listens for it any more finds the log free.
async fn drain(mut end: End, tier: Arc<Tier>, log: Arc<Log>) {
    while !end.is_near() {
        let lot = take(&log).await;
        if lot.taken.is_empty() {
            // Woken, or to look whether one may be tried again.
            let longest = if log.is_busy() { LOOK_EVERY } else { LOOK_IDLY_EVERY };
            tokio::select! {
                _ = timeout(longest, log.woken()) => {}
                () = end.near() => {}
            }
            continue;
        }
        tokio::select! {
            () = tier.drain_lot(lot) => {}
            () = end.cut() => {}
        }
    }
}

/// Changes on their way to the store. Dropped in the middle, those of which nothing is known wait again.
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
        let taken = lot.taken.iter().zip(&outcomes);
        let answered = taken.filter_map(|(taken, outcome)| Some((taken, *outcome.as_ref().ok()?)));
        self.agree(answered.collect()).await;
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

    /// Makes the cluster show nothing older than what the store has since it was asked.
    async fn agree(&self, taken: Vec<(&Taken, Applied)>) {
        let keys: Vec<Bytes> = taken.iter().map(|(taken, _)| taken.change.key.clone()).collect();
        let cluster = self.keys.clone().skip_near_cache();
        let Ok(found) = cluster.get_many_items_or_absent(&keys).no_fallback().run().await else { return };
        let in_cluster = found.into_map();
        let agree = taken.into_iter().map(|(taken, applied)| {
            let there = in_cluster.get(&taken.change.key);
            self.agree_on(&taken.change, applied, there)
        });
        futures_util::future::join_all(agree).await;
    }

    async fn agree_on(&self, taken: &KeyChange, applied: Applied, there: Option<&Item>) {
        let KeyChange { key, version, change } = taken;
        let Some(ours) = Version::from_u64(*version) else { return };
        if there.is_some_and(|item| item.version.is_none()) {
            // Its nodes keep no versions, and nobody can tell.
            return;
        }
        let there = there.and_then(|item| item.version);
        // What fails here is as if a reader had come between: it ends with the TTL of what the cluster has.
        let _ = match (there, change) {
            (there, _) if applied == Applied::Superseded => match there {
                // Somebody's newer value is in the store, and is to be loaded.
                Some(there) if there <= ours => self.keys.delete(key).version(ours).run().await.map(drop),
                _ => return,
            },
            (Some(there), Change::Put(_)) if there == ours => return,
            // A write, which has its own way to the store.
            (Some(there), _) if there > ours && !there.is_of_yielding_load() => return,
            (Some(there), Change::Put(item)) if there < ours => {
                let Some(item) = loaded_item(item.clone()) else { return };
                let ttl = item.ttl.map_or(self.config.ttl, |left| left.min(self.config.ttl));
                let set = self.keys.set(key, item.value).flags(item.flags).ttl(ttl).version(ours);
                set.run().await.map(drop)
            }
            _ => {
                let last = self.last_overtaken(*version, change).max(there);
                let Some(last) = last else { return };
                self.keys.delete(key).version(last).run().await.map(drop)
            }
        };
    }

    /// The newest version that a load can have given to what the store had before a change that it was given just now; or, of a
    /// delete, its own. Not that of a write that is on its way, whose own copy may come yet.
    fn last_overtaken(&self, version: u64, change: &Change) -> Option<Version> {
        let own = match change {
            Change::Put(_) => version.checked_sub(1)?,
            Change::Delete => version,
        };
        let loads = self.client.stamp().earlier_by(WRITE_MAX.saturating_sub(SKEW_MAX));
        Some(Version::from_u64(own)?.max(loads))
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
