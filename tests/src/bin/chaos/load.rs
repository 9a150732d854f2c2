//! Reads and writes on a schedule, each timed from when it was due and checked against the history.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evanesce_client::{Client, Written};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};

use crate::history::{Fate, History, Seen};
use evanesce_tests::clock::{now_ns, ns};

/// The generator wakes so often, and starts all that is due.
const TICK: Duration = Duration::from_millis(1);
/// Callers of the closed loop that looks for the peak.
const PEAK_CALLERS: usize = 64;

/// Who asks, and for what.
#[derive(Clone)]
pub(crate) struct Traffic {
    /// Each request is of the next of these.
    pub(crate) clients: Vec<Client>,
    pub(crate) history: Arc<History>,
    pub(crate) seed: u64,
}

/// One request that ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) due: u64,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) read: bool,
    /// Of which client.
    pub(crate) client: usize,
}

/// A read of what had been overwritten.
#[derive(Debug, Clone)]
#[expect(dead_code, reason = "all of it is shown when it is a fault")]
pub(crate) struct Stale {
    pub(crate) begun: u64,
    pub(crate) by_ns: u64,
    pub(crate) deleted: bool,
    pub(crate) key: String,
    pub(crate) client: usize,
}

/// All that came of it.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) samples: Vec<Sample>,
    /// When each failed read began and ended, and what it said.
    pub(crate) reads_failed: Vec<(u64, u64, String)>,
    pub(crate) writes_failed: Vec<(u64, u64, String)>,
    pub(crate) stale: Vec<Stale>,
    pub(crate) wrong: Vec<String>,
    pub(crate) misses: u64,
    pub(crate) superseded: u64,
}

/// A load that runs.
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    taken: Arc<Mutex<Taken>>,
    task: JoinHandle<()>,
}

impl Traffic {
    /// Writes every key once.
    ///
    /// # Errors
    /// When one could not be written.
    pub(crate) async fn fill(&self) -> anyhow::Result<()> {
        let taken = Arc::new(Mutex::new(Taken::default()));
        for first in (0..self.history.len()).step_by(PEAK_CALLERS) {
            let mut set = JoinSet::new();
            for key in first..(first + PEAK_CALLERS).min(self.history.len()) {
                let (traffic, taken) = (self.clone(), Arc::clone(&taken));
                set.spawn(async move { traffic.write(key, key, false, &taken).await });
            }
            set.join_all().await;
        }
        let failed = std::mem::take(&mut taken.lock().writes_failed);
        match failed.first() {
            Some((_, _, what)) => anyhow::bail!("{} of the first writes failed: {what}", failed.len()),
            None => Ok(()),
        }
    }

    /// Requests per second that many callers get out of the client.
    pub(crate) async fn peak(&self, window: Duration) -> f64 {
        let until = now_ns() + ns(window);
        let taken = Arc::new(Mutex::new(Taken::default()));
        let mut set = JoinSet::new();
        for caller in 0..PEAK_CALLERS {
            let (traffic, taken) = (self.clone(), Arc::clone(&taken));
            set.spawn(async move {
                let mut random = SmallRng::seed_from_u64(traffic.seed + caller as u64);
                while now_ns() < until {
                    traffic.one(random.random(), now_ns(), &taken).await;
                }
            });
        }
        set.join_all().await;
        let requests = taken.lock().samples.len();
        requests as f64 / window.as_secs_f64()
    }

    /// Starts a load of so many requests per second.
    pub(crate) fn start(&self, runtime: &Runtime, per_second: f64) -> Running {
        let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Taken::default())));
        let (traffic, seen, into) = (self.clone(), Arc::clone(&stop), Arc::clone(&taken));
        let task = runtime.spawn(async move { traffic.generate(per_second, &seen, &into).await });
        Running { stop, taken, task }
    }

    async fn generate(&self, per_second: f64, stop: &AtomicBool, taken: &Arc<Mutex<Taken>>) {
        let mut random = SmallRng::seed_from_u64(self.seed);
        let mut under_way = JoinSet::new();
        let (start, gap) = (now_ns(), 1e9 / per_second);
        let mut number = 0_u64;
        let mut tick = tokio::time::interval(TICK);
        while !stop.load(Ordering::Relaxed) {
            tick.tick().await;
            loop {
                let due = start + (number as f64 * gap) as u64;
                if due > now_ns() {
                    break;
                }
                number += 1;
                let (traffic, taken, dice) = (self.clone(), Arc::clone(taken), random.random());
                under_way.spawn(async move { traffic.one(dice, due, &taken).await });
            }
            while under_way.try_join_next().is_some() {}
        }
        under_way.join_all().await;
    }

    /// One request: nine in ten are reads, one write in ten is a delete.
    pub(crate) async fn one(&self, dice: u64, due: u64, taken: &Mutex<Taken>) {
        let begun = now_ns();
        let mut random = SmallRng::seed_from_u64(dice);
        let key = random.random_range(0..self.history.len());
        let client = random.random_range(0..self.clients.len());
        let read = random.random_range(0..10) != 0;
        if read {
            self.read(client, key, taken).await;
        } else {
            self.write(client, key, random.random_range(0..10) == 0, taken).await;
        }
        taken.lock().samples.push(Sample { due, begun, ended: now_ns(), read, client });
    }

    /// Reads a key and judges what came.
    pub(crate) async fn read(&self, client: usize, key: usize, taken: &Mutex<Taken>) {
        let begun = now_ns();
        let found = self.clients[client].get(self.history.key(key)).await;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                taken.lock().reads_failed.push((begun, now_ns(), error.to_string()));
                return;
            }
        };
        match self.history.judge(key, found.as_deref(), begun) {
            Seen::Right => {}
            Seen::Miss => taken.lock().misses += 1,
            Seen::Stale { by_ns, deleted } => {
                let key = self.history.key(key);
                taken.lock().stale.push(Stale { begun, by_ns, deleted, key, client });
            }
            Seen::Wrong(what) => taken.lock().wrong.push(what),
        }
    }

    async fn write(&self, client: usize, key: usize, delete: bool, taken: &Mutex<Taken>) {
        let Some(number) = self.history.begin(key, delete) else { return };
        let begun = now_ns();
        let client = &self.clients[client % self.clients.len()];
        let written: Result<Written, _> = if delete {
            client.delete(self.history.key(key)).await.map(|deleted| deleted.written)
        } else {
            client.set(self.history.key(key), self.history.value(key, number)).await
        };
        let fate = match &written {
            Ok(written) if written.is_superseded() => Fate::Superseded,
            Ok(_) => Fate::Acked,
            Err(_) => Fate::Unknown,
        };
        self.history.end(key, fate);
        match written {
            Err(error) => taken.lock().writes_failed.push((begun, now_ns(), error.to_string())),
            Ok(_) => taken.lock().superseded += u64::from(fate == Fate::Superseded),
        }
    }

    /// Reads every key through every client.
    pub(crate) async fn read_all(&self) -> Taken {
        let taken = Mutex::new(Taken::default());
        for client in 0..self.clients.len() {
            for key in 0..self.history.len() {
                self.read(client, key, &taken).await;
            }
        }
        taken.into_inner()
    }
}

impl Running {
    /// Ends it once all requests have ended.
    ///
    /// # Errors
    /// When it broke down.
    pub(crate) fn finish(self, runtime: &Runtime) -> anyhow::Result<Taken> {
        self.stop.store(true, Ordering::Relaxed);
        runtime.block_on(self.task)?;
        Ok(std::mem::take(&mut self.taken.lock()))
    }
}
