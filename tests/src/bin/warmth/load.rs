//! Reads and writes on a schedule, each timed from when it was due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evanesce_client::Client;
use evanesce_tests::clock::{now_ns, ns};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};

use crate::taken::{Outcome, Sample, Taken};
use crate::talk::{key, value};

/// The generator wakes so often, and starts all that is due.
const TICK: Duration = Duration::from_millis(1);
/// One in so many is a write.
const WRITES: u64 = 20;
/// Requests at once: with all the time that one may take, more than the highest load has. Beyond that this machine does not
/// even get its own callers done.
const UNDER_WAY_MAX: usize = 10_000;
/// How long a peak is looked for.
const PEAK_WINDOW: Duration = Duration::from_secs(2);
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
    task: JoinHandle<()>,
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
                    let client = load.clients[count as usize % load.clients.len()].clone();
                    // A request that fails at once would count for many.
                    let outcome = load.one(&client, load.pick(&mut random)).await;
                    count += u64::from(outcome != Outcome::Failed);
                }
                count
            };
            callers.spawn_on(call, runtime.handle());
        }
        let requests: u64 = runtime.block_on(callers.join_all()).into_iter().sum();
        requests as f64 / PEAK_WINDOW.as_secs_f64()
    }

    async fn generate(self, stop: &AtomicBool, taken: &Arc<Mutex<Vec<Sample>>>) {
        let mut random = SmallRng::seed_from_u64(7);
        let mut under_way = JoinSet::new();
        let (start, gap) = (now_ns(), 1e9 / self.per_second);
        let (mut number, mut tick) = (0_u64, tokio::time::interval(TICK));
        while !stop.load(Ordering::Relaxed) {
            tick.tick().await;
            let now = now_ns();
            loop {
                let due = start + (number as f64 * gap) as u64;
                if due > now {
                    break;
                }
                if under_way.len() >= UNDER_WAY_MAX {
                    let (begun, outcome) = (now, Outcome::Unsent);
                    taken.lock().push(Sample { due, begun, ended: begun, outcome });
                    number += 1;
                    continue;
                }
                let client = self.clients[number as usize % self.clients.len()].clone();
                let (asked, load, taken) = (self.pick(&mut random), self.clone(), Arc::clone(taken));
                under_way.spawn(async move {
                    let begun = now_ns();
                    let outcome = load.one(&client, asked).await;
                    taken.lock().push(Sample { due, begun, ended: now_ns(), outcome });
                });
                number += 1;
            }
            while under_way.try_join_next().is_some() {}
        }
        under_way.join_all().await;
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
        runtime.block_on(self.task)?;
        Ok(Taken::new(std::mem::take(&mut *self.taken.lock())))
    }
}
