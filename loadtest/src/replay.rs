//! A replay: workers, the ticker that collects what they record, and the report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::args;
use crate::cache::{Cache, Plain, Smart, Stored};
use crate::dispatch::{Job, Plan, dispatch};
use crate::progress::Progress;
use crate::report::{Report, write_json};
use crate::tally::{Failure, Read, Tally, Zone};
use crate::timeline::Timeline;
use crate::trace::Trace;
use crate::value::Values;

/// A request begun this long after it was due counts as late: the clock's grain and one wake-up.
pub(crate) const LATE: Duration = Duration::from_millis(1);
/// Requests that wait for a worker without a schedule: small, to stay near the trace's order.
const QUEUE_CLOSED: usize = 4;
/// Requests that wait for a worker on a schedule: seconds of a stalled key, so that others stay on time.
const QUEUE_OPEN: usize = 1024;

/// Runs the command; whether it went without error and wrong value.
///
/// # Errors
/// When the trace cannot be read, the cluster cannot be found, or a report cannot be written.
pub(crate) fn run(options: &args::Replay) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let report = match options.target {
            Some(address) => {
                let cache = Plain::connect(address, options.ttl, options.timeout).await?;
                replay(options, &[(address.to_string(), Arc::new(cache))]).await?
            }
            None => replay(options, &smart_clients(options).await?).await?,
        };
        println!("{report}");
        if let Some(path) = &options.json {
            write_json(path, &report)?;
        }
        Ok(report.is_clean())
    })
}

async fn smart_clients(options: &args::Replay) -> anyhow::Result<Vec<(String, Arc<Smart>)>> {
    let mut caches = Vec::new();
    for zone in &options.zone {
        let cache = Smart::connect(options, zone).await?;
        caches.push((zone.clone(), Arc::new(cache)));
    }
    Ok(caches)
}

/// Replays the trace against the caches; keys are dealt out over them.
async fn replay<C: Cache>(options: &args::Replay, caches: &[(String, Arc<C>)]) -> anyhow::Result<Report> {
    let trace =
        Trace::open(&options.trace).with_context(|| format!("cannot replay {}", options.trace.display()))?;
    let progress = Progress::new(&options.trace, options.limit);
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(stop_on_interrupt(stop.clone()));
    let zones: Vec<Arc<Zone>> = caches.iter().map(|(name, _)| Arc::new(Zone::new(name))).collect();

    let mut workers = JoinSet::new();
    let mut queues = Vec::new();
    let depth = if options.rate.is_some() { QUEUE_OPEN } else { QUEUE_CLOSED };
    for number in 0..options.concurrency.get() {
        let (sender, jobs) = mpsc::channel(depth);
        queues.push(sender);
        let zone = number % caches.len();
        let worker = Worker {
            number: number / caches.len(),
            cache: caches[zone].1.clone(),
            zone: zones[zone].clone(),
            values: Values::new(options.value_size),
        };
        workers.spawn(worker.work(jobs, stop.clone()));
    }
    let started = Instant::now();
    let plan = Plan { limit: options.limit, rate: options.rate };
    let stopping = stop.clone();
    let dispatched = tokio::task::spawn_blocking(move || dispatch(trace, plan, &queues, &stopping));

    let mut collector = Collector::new(options, zones, started, progress)?;
    collector.until_done(&mut workers, options.interval).await?;
    watcher.abort();
    let report = Report::new(&collector.finish()?, started.elapsed(), stop.load(Ordering::Relaxed));
    match dispatched.await? {
        Ok(()) => Ok(report),
        Err(error) => Err(anyhow!(error).context(format!("replay ended early:\n{report}"))),
    }
}

async fn stop_on_interrupt(stop: Arc<AtomicBool>) {
    if tokio::signal::ctrl_c().await.is_ok() {
        stop.store(true, Ordering::Relaxed);
    }
}

/// Serves the requests of the keys that hash to it, one at a time.
struct Worker<C> {
    number: usize,
    cache: Arc<C>,
    zone: Arc<Zone>,
    values: Values,
}

impl<C: Cache> Worker<C> {
    async fn work(self, mut jobs: mpsc::Receiver<Job>, stop: Arc<AtomicBool>) {
        while let Some(job) = jobs.recv().await {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            self.serve(&job).await;
        }
    }

    async fn serve(&self, job: &Job) {
        let begun = Instant::now();
        let due = job.due.unwrap_or(begun);
        let late = begun.saturating_duration_since(due) > LATE;
        let got = self.cache.get(&job.key).await;
        let (latency, took) = (due.elapsed(), begun.elapsed());
        let outcome = match &got {
            Ok(Some(value)) if self.values.is_right(&job.key, value) => Read::Hit,
            Ok(Some(_)) => Read::Wrong,
            Ok(None) => Read::Miss,
            Err(_) => Read::Error,
        };
        self.zone.record(self.number, |tally| {
            tally.read(outcome, latency, late);
            if let Err(error) = &got {
                tally.failure(Failure::now("read", took, format!("{error:#}")));
            }
        });
        if outcome == Read::Miss {
            self.fill(&job.key).await;
        }
    }

    async fn fill(&self, key: &[u8]) {
        let value = self.values.make(key);
        let begun = Instant::now();
        let set = self.cache.set(key, &value).await;
        let took = begun.elapsed();
        let partial = matches!(set, Ok(Stored::Partial));
        self.zone.record(self.number, |tally| {
            tally.write(set.is_err(), partial, took);
            if let Err(error) = &set {
                tally.failure(Failure::now("write", took, format!("{error:#}")));
            }
        });
    }
}

/// Takes what workers recorded, interval by interval, into totals, timeline and progress bar.
struct Collector {
    zones: Vec<Arc<Zone>>,
    totals: Vec<Tally>,
    timeline: Option<Timeline>,
    progress: Progress,
    started: Instant,
    last: Instant,
}

impl Collector {
    fn new(
        options: &args::Replay,
        zones: Vec<Arc<Zone>>,
        started: Instant,
        progress: Progress,
    ) -> anyhow::Result<Self> {
        let timeline = match &options.timeline {
            Some(path) => {
                Some(Timeline::create(path).with_context(|| format!("cannot write {}", path.display()))?)
            }
            None => None,
        };
        let totals = zones.iter().map(|_| Tally::new()).collect();
        Ok(Collector { zones, totals, timeline, progress, started, last: started })
    }

    async fn until_done(&mut self, workers: &mut JoinSet<()>, interval: Duration) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval_at((self.started + interval).into(), interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.collect()?,
                ended = workers.join_next() => match ended {
                    Some(ended) => ended.context("a worker panicked")?,
                    None => return Ok(()),
                },
            }
        }
    }

    fn collect(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let mut interval = Tally::new();
        for (zone, total) in self.zones.iter().zip(&mut self.totals) {
            let taken = zone.take();
            total.add(&taken);
            interval.add(&taken);
        }
        if let Some(timeline) = &mut self.timeline {
            timeline.push(now - self.started, &interval).context("cannot write the timeline")?;
        }
        let mut total = Tally::new();
        self.totals.iter().for_each(|tally| total.add(tally));
        self.progress.show(&total, &interval, now - self.last);
        self.last = now;
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<Vec<(String, Tally)>> {
        self.collect()?;
        self.progress.finish();
        Ok(self.zones.iter().map(|zone| zone.name.clone()).zip(self.totals).collect())
    }
}

#[cfg(test)]
mod tests;
