//! Reads and writes on a schedule, each timed from when it was due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use evanesce_client::Client;
use evanesce_tests::clock::{now_ns, ns};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::taken::{Outcome, Sample, Taken};
use crate::talk::{key, value};

/// The generator wakes so often, and starts all that is due.
const TICK: Duration = Duration::from_millis(1);
/// One in so many is a write.
const WRITES: u64 = 20;
/// Requests at once: with all the time that one may take, more than the highest load has. Beyond that this machine does not
/// even get its own callers done.
const UNDER_WAY_MAX: usize = 20_000;
/// How long a peak is looked for.
const PEAK_WINDOW: Duration = Duration::from_secs(5);
/// Callers that find it.
const PEAK_CALLERS: u64 = 32;

/// What is asked.
#[derive(Clone)]
pub(crate) struct Load {
    /// Each request is of the next of these.
    pub(crate) clients: Vec<Client>,
    pub(crate) items: u64,
    pub(crate) value_bytes: usize,
    pub(crate) per_second: f64,
}

/// Load under way.
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<Sample>>>,
    task: JoinHandle<Result<(), JoinError>>,
}

impl Load {
    /// What is read more is read much more: a number is drawn as this power of chance.
    pub(crate) const SKEW: i32 = 2;

    /// Starts it.
    pub(crate) fn start(self, runtime: &Runtime) -> Running {
        let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (seen, into) = (Arc::clone(&stop), Arc::clone(&taken));
        Running { stop, taken, task: runtime.spawn(async move { self.generate(&seen, &into).await }) }
    }

    /// Requests a second that many callers get, one after the other, with all that runs on this machine.
    pub(crate) fn peak(&self, runtime: &Runtime) -> f64 {
        let until = now_ns() + ns(PEAK_WINDOW);
        let mut callers = JoinSet::new();
        for caller in 0..PEAK_CALLERS {
            let load = self.clone();
            let call = async move {
                let (mut random, mut count) = (SmallRng::seed_from_u64(caller), 0_u64);
                while now_ns() < until {
                    // A request that fails at once would count for many.
                    let outcome = load.one(load.client(count), load.pick(&mut random)).await;
                    count += u64::from(outcome != Outcome::Failed);
                }
                count
            };
            callers.spawn_on(call, runtime.handle());
        }
        let requests: u64 = runtime.block_on(callers.join_all()).into_iter().sum();
        requests as f64 / PEAK_WINDOW.as_secs_f64()
    }

    async fn generate(self, stop: &AtomicBool, taken: &Arc<Mutex<Vec<Sample>>>) -> Result<(), JoinError> {
        let mut random = SmallRng::seed_from_u64(7);
        let mut batches = JoinSet::new();
        let under_way = Arc::new(AtomicUsize::new(0));
        let (start, gap) = (now_ns(), 1e9 / self.per_second);
        let (mut number, mut tick) = (0_u64, tokio::time::interval(TICK));
        let load = Arc::new(self);
        while !stop.load(Ordering::Relaxed) {
            tick.tick().await;
            let now = now_ns();
            let room = UNDER_WAY_MAX.saturating_sub(under_way.load(Ordering::Relaxed));
            let mut batch = Vec::new();
            loop {
                let due = start + (number as f64 * gap) as u64;
                if due > now {
                    break;
                }
                if batch.len() < room {
                    batch.push((due, number, load.pick(&mut random)));
                } else {
                    taken.lock().push(Sample { due, begun: now, ended: now, outcome: Outcome::Unsent });
                }
                number += 1;
            }
            if !batch.is_empty() {
                under_way.fetch_add(batch.len(), Ordering::Relaxed);
                let (load, taken, under_way) = (Arc::clone(&load), Arc::clone(taken), Arc::clone(&under_way));
                batches.spawn(async move { load.all(batch, &taken, &under_way).await });
            }
            while let Some(done) = batches.try_join_next() {
                done?;
            }
        }
        batches.join_all().await;
        Ok(())
    }

    /// Asks for what is due at the same time: one task for all of it, for one each would cost more than the requests.
    async fn all(
        &self,
        batch: Vec<(u64, u64, (u64, bool))>,
        taken: &Mutex<Vec<Sample>>,
        under_way: &AtomicUsize,
    ) {
        let mut samples = Vec::with_capacity(batch.len());
        let requests = batch.into_iter().map(async |(due, number, asked)| {
            let begun = now_ns();
            let outcome = self.one(self.client(number), asked).await;
            Sample { due, begun, ended: now_ns(), outcome }
        });
        let mut requests: FuturesUnordered<_> = requests.collect();
        while let Some(sample) = requests.next().await {
            under_way.fetch_sub(1, Ordering::Relaxed);
            samples.push(sample);
        }
        taken.lock().append(&mut samples);
    }

    fn client(&self, number: u64) -> &Client {
        &self.clients[number as usize % self.clients.len()]
    }

    /// A key's number, and whether it is to be written.
    fn pick(&self, random: &mut SmallRng) -> (u64, bool) {
        let skewed = random.random::<f64>().powi(Self::SKEW);
        ((skewed * self.items as f64) as u64, random.random_range(0..WRITES) == 0)
    }

    async fn one(&self, client: &Client, (number, is_write): (u64, bool)) -> Outcome {
        let value = value(number, 0, self.value_bytes);
        if is_write {
            let written = client.set(key(number), value).await;
            return if written.is_ok() { Outcome::Written } else { Outcome::Failed };
        }
        match client.get(key(number)).await {
            Ok(Some(there)) if *there == *value.as_bytes() => Outcome::Hit,
            Ok(Some(_)) => Outcome::Wrong,
            Ok(None) => Outcome::Miss,
            Err(_) => Outcome::Failed,
        }
    }
}

impl Running {
    /// Ends it once all requests have ended.
    ///
    /// # Errors
    /// When it broke down.
    pub(crate) fn finish(self, runtime: &Runtime) -> anyhow::Result<Taken> {
        self.stop.store(true, Ordering::Relaxed);
        runtime.block_on(self.task)??;
        Ok(Taken::new(std::mem::take(&mut *self.taken.lock())))
    }
}
