//! `soak`: one server under everything at once for long; its answers and its memory.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::bench::say;
use crate::report::write_json;
use crate::usage::resident_bytes;
use crate::{args, interrupt};

mod kill;
mod memory;
mod operation;
mod parts;
mod tally;
mod worker;

use memory::{Growth, Samples};
use operation::Domain;
use tally::{Shared, Tally};
use worker::Worker;

/// Between two looks at memory.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Shortest time between two kills that a timer keeps.
const KILL_EVERY_MIN: Duration = Duration::from_millis(1);
/// How soon the end and Ctrl-C are noticed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the command found.
#[derive(Debug, Serialize)]
struct Report {
    seed: u64,
    seconds: f64,
    interrupted: bool,
    #[serde(flatten)]
    tally: Tally,
    memory: Option<Growth>,
}

/// Runs the command; whether nothing happened that must not.
///
/// # Errors
/// When the server takes no connections or has ended, or the report cannot be written.
pub(crate) fn run(options: &args::Soak) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seed = options.seed.unwrap_or_else(rand::random);
    say(&format!("seed {seed}"));
    let report = runtime.block_on(soak(options, seed))?;
    println!("{report}");
    if let Some(path) = &options.json {
        write_json(path, &report)?;
    }
    Ok(report.tally.is_clean())
}

async fn soak(options: &args::Soak, seed: u64) -> anyhow::Result<Report> {
    let shared = Arc::new(Shared::default());
    let domain = Domain { keys: options.keys.get(), value_bytes_max: options.value_bytes_max };
    let mut workers = JoinSet::new();
    for number in 0..options.connections.get() as u64 {
        let random = SmallRng::seed_from_u64(seed.wrapping_add(number));
        let (server, shared) = (options.server, shared.clone());
        workers.spawn(Worker { server, domain, random, shared, token: None }.work());
    }
    let started = Instant::now();
    let mut watch = Watch { pid: options.pid, samples: Samples::default(), bar: bar(), started };
    let watched = watch.until_over(options, &shared, &mut workers).await;
    shared.stop();
    watch.bar.finish_and_clear();
    watched?;
    while let Some(ended) = workers.join_next().await {
        ended.context("a worker panicked")??;
    }
    Ok(Report {
        seed,
        seconds: started.elapsed().as_secs_f64(),
        interrupted: interrupt::requested(),
        tally: shared.tally(),
        memory: options.pid.map(|_| watch.samples.growth()),
    })
}

/// Looks on while workers work.
struct Watch {
    pid: Option<u32>,
    samples: Samples,
    bar: ProgressBar,
    started: Instant,
}

impl Watch {
    async fn until_over(
        &mut self,
        options: &args::Soak,
        shared: &Shared,
        workers: &mut JoinSet<anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        let mut looks = interval(LOOK_EVERY);
        let mut samples = interval(SAMPLE_EVERY);
        // Without kills the timer is never looked at.
        let mut kills = interval(options.kill_every.unwrap_or(options.duration).max(KILL_EVERY_MIN));
        kills.set_missed_tick_behavior(MissedTickBehavior::Skip);
        kills.tick().await;
        while self.started.elapsed() < options.duration && !interrupt::requested() {
            tokio::select! {
                _ = looks.tick() => {}
                _ = samples.tick() => self.sample(shared)?,
                _ = kills.tick(), if options.kill_every.is_some() => shared.order_kill(),
                ended = workers.join_next() => {
                    ended.context("there are no workers")?.context("a worker panicked")??;
                }
            }
        }
        Ok(())
    }

    fn sample(&mut self, shared: &Shared) -> anyhow::Result<()> {
        if let Some(pid) = self.pid {
            let bytes =
                resident_bytes(pid).with_context(|| format!("the server, process {pid}, has ended"))?;
            self.samples.push(bytes);
        }
        if !self.bar.is_hidden() {
            let tally = shared.tally();
            let seconds = self.started.elapsed().as_secs_f64();
            let rate = tally.requests as f64 / seconds.max(1.0);
            let (wrong, refused, broken) = (tally.wrong, tally.refused, tally.broken);
            let (kills, mib) = (tally.kills.values().sum::<u64>(), self.samples.last().unwrap_or(0) >> 20);
            let faults = format!("{wrong} wrong {refused} refused {broken} broken");
            self.bar.set_message(format!("{rate:.0} req/s {faults} {kills} kills {mib} MiB"));
            self.bar.tick();
        }
        Ok(())
    }
}

/// A line on a terminal's stderr; nothing elsewhere.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} {msg}").expect("the template is well formed");
    ProgressBar::new_spinner().with_style(style)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { seed, seconds, interrupted, tally, memory } = self;
        let cut = if *interrupted { " (interrupted)" } else { "" };
        writeln!(f, "requests  {} in {seconds:.1} s{cut}, seed {seed}", tally.requests)?;
        writeln!(f, "gets      {} keys, {} hits", tally.gets, tally.hits)?;
        let kills: Vec<String> =
            tally.kills.iter().map(|(moment, count)| format!("{count} {moment:?}")).collect();
        writeln!(f, "kills     {} ({} by reset)", kills.join(", "), tally.resets)?;
        write!(f, "faults    {} wrong, {} refused, {} broken", tally.wrong, tally.refused, tally.broken)?;
        tally.texts.iter().try_for_each(|(text, count)| write!(f, "\n          {count} x {text}"))?;
        let Some(memory) = memory else { return Ok(()) };
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (early, late) = (mib(memory.resident_bytes_early), mib(memory.resident_bytes_late));
        let (max, growth) = (mib(memory.resident_bytes_max), memory.growth_percent);
        write!(f, "\nmemory    max {max:.1} MiB; early {early:.1}, late {late:.1} MiB: {growth:+.2} %")
    }
}
