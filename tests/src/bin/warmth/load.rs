//! Reads and writes on a schedule, each timed from when it was due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use evanesce_client::Client;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};

use crate::talk::{key, value};

/// The generator wakes so often, and starts all that is due.
const TICK: Duration = Duration::from_millis(1);
/// One in so many is a write.
const WRITES: u64 = 20;
/// Over so long a hit ratio is taken.
const WINDOW: Duration = Duration::from_secs(1);
/// Fewer reads in a window tell nothing.
const READS_MIN: usize = 100;

/// What is asked.
#[derive(Clone)]
pub(crate) struct Load {
    /// Each request is of the next of these.
    pub(crate) clients: Vec<Client>,
    pub(crate) items: u64,
    pub(crate) value_bytes: usize,
    pub(crate) per_second: f64,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Hit,
    Miss,
    Written,
    Failed,
    Wrong,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    due: Instant,
    took: Duration,
    outcome: Outcome,
}

/// Load under way.
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<Sample>>>,
    task: JoinHandle<()>,
}

/// All that came of it.
pub(crate) struct Taken {
    samples: Vec<Sample>,
}

impl Load {
    /// Starts it.
    pub(crate) fn start(self, runtime: &Runtime) -> Running {
        let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (seen, into) = (Arc::clone(&stop), Arc::clone(&taken));
        Running { stop, taken, task: runtime.spawn(async move { self.generate(&seen, &into).await }) }
    }

    async fn generate(self, stop: &AtomicBool, taken: &Arc<Mutex<Vec<Sample>>>) {
        let mut random = SmallRng::seed_from_u64(7);
        let mut under_way = JoinSet::new();
        let (start, gap) = (Instant::now(), Duration::from_secs_f64(1.0 / self.per_second));
        let (mut number, mut tick) = (0, tokio::time::interval(TICK));
        while !stop.load(Ordering::Relaxed) {
            tick.tick().await;
            while start + gap * number < Instant::now() {
                let due = start + gap * number;
                let client = self.clients[number as usize % self.clients.len()].clone();
                // What is read more is read much more.
                let skewed = random.random::<f64>().powi(2);
                let asked = (skewed * self.items as f64) as u64;
                let (is_write, bytes) = (random.random_range(0..WRITES) == 0, self.value_bytes);
                let taken = Arc::clone(taken);
                under_way.spawn(async move {
                    let outcome = one(&client, asked, bytes, is_write).await;
                    taken.lock().push(Sample { due, took: due.elapsed(), outcome });
                });
                number += 1;
            }
            while under_way.try_join_next().is_some() {}
        }
        under_way.join_all().await;
    }
}

async fn one(client: &Client, number: u64, bytes: usize, is_write: bool) -> Outcome {
    if is_write {
        let written = client.set(key(number), value(number, 0, bytes)).await;
        return if written.is_ok() { Outcome::Written } else { Outcome::Failed };
    }
    match client.get(key(number)).await {
        Ok(Some(there)) if *there == *value(number, 0, bytes).as_bytes() => Outcome::Hit,
        Ok(Some(_)) => Outcome::Wrong,
        Ok(None) => Outcome::Miss,
        Err(_) => Outcome::Failed,
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
        let mut samples = std::mem::take(&mut *self.taken.lock());
        samples.sort_by_key(|sample| sample.due);
        Ok(Taken { samples })
    }
}

impl Taken {
    /// Requests, and how many of them failed or gave a wrong value.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let of = |outcome| self.samples.iter().filter(|sample| sample.outcome == outcome).count();
        (self.samples.len(), of(Outcome::Failed), of(Outcome::Wrong))
    }

    /// The lowest hit ratio of a second between two instants, in percent.
    pub(crate) fn hits_min_percent(&self, from: Instant, to: Instant) -> f64 {
        let (mut lowest, mut begin) = (100.0_f64, from);
        while begin < to {
            let in_window = |sample: &&Sample| sample.due >= begin && sample.due < begin + WINDOW;
            let of = |outcome| {
                self.samples.iter().filter(in_window).filter(|sample| sample.outcome == outcome).count()
            };
            let (hits, misses) = (of(Outcome::Hit), of(Outcome::Miss));
            if hits + misses >= READS_MIN {
                lowest = lowest.min(100.0 * hits as f64 / (hits + misses) as f64);
            }
            begin += WINDOW;
        }
        lowest
    }

    /// The 99th percentile of what was due between two instants.
    pub(crate) fn p99(&self, from: Instant, to: Instant) -> Duration {
        let between = self.samples.iter().filter(|sample| sample.due >= from && sample.due < to);
        let mut took: Vec<Duration> = between.map(|sample| sample.took).collect();
        took.sort_unstable();
        took.get(took.len() * 99 / 100).copied().unwrap_or_default()
    }
}
