//! A load during which a fault comes and goes, and what it must not notice.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use evanesce_client::Client;
use evanesce_tests::pause;
use tokio::runtime::Runtime;

use crate::Bench;
use crate::copies::{compare, copies};
use crate::history::History;
use crate::load::{Sample, Taken, Traffic};
use crate::stage::{Stage, all_connected, repairs_through, runtime};
use crate::verdict::Verdict;
use evanesce_tests::clock::{ms, now_ns, ns};
use evanesce_tests::witness::{LATE_MIN, Starved, Witness};

/// Keys of a load: each is written every few seconds.
const KEYS: usize = 2_000;
/// The client's default for a whole read.
const READ_DEADLINE: Duration = Duration::from_millis(50);
/// The client's default for one attempt: a read that took longer met a node that does not answer.
const READ_ATTEMPT: Duration = Duration::from_millis(20);
/// A breaker opens at so many errors.
const BREAKER_ERRORS: usize = 5;
/// Latency is back to normal so long after the breaker opened.
const NORMAL_AFTER: Duration = Duration::from_secs(1);
/// Normal is up to so many times the p99 before the fault ...
const NORMAL_TIMES: u64 = 3;
/// ... and no less than this, where the timer's own step and a busy machine's hiccups lie.
const NORMAL_MIN: Duration = Duration::from_millis(5);
/// Below this share of requests that no hiccup of the machine touched, nothing is said of p99.
const JUDGED_SHARE_MIN: f64 = 0.5;
/// What bars are set for.
const P99: f64 = 0.99;
/// Of so many reads one may fail in a hiccup that nobody saw, on a machine that has many.
const UNSEEN_SHARE: usize = 10_000;
/// A part of the measured peak.
const LOAD_SHARE: f64 = 0.5;
/// How long the peak is looked for.
const PEAK_WINDOW: Duration = Duration::from_secs(1);
/// How long a load is tried, ...
const SETTLE_WINDOW: Duration = Duration::from_secs(4);
/// ... how often the machine may be starved then, ...
const SETTLED_MAX: usize = 1;
/// ... what part of it is tried next, ...
const SETTLE_FACTOR: f64 = 0.7;
/// ... and how often: down to a thirtieth.
const SETTLE_STEPS_MAX: usize = 10;
/// The most in the short form, on machines where other work goes on.
const SHORT_PER_SECOND_MAX: f64 = 2_000.0;

/// The stage with its clients and load.
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    /// The first is of the zone that the fault strikes.
    pub(crate) clients: Vec<Client>,
    pub(crate) zone: String,
    pub(crate) traffic: Traffic,
    pub(crate) runtime: Runtime,
    pub(crate) per_second: f64,
}

/// When the fault came, when it went, and when all was over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) begun: u64,
    pub(crate) fault: u64,
    pub(crate) healed: u64,
}

impl Scene {
    /// A filled cluster, and its clients: `connect` is given its zones.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn set(
        bench: &Bench,
        name: &str,
        verdict: &mut Verdict,
        connect: impl FnOnce(&Stage, &Runtime, &[String]) -> anyhow::Result<Vec<Client>>,
    ) -> anyhow::Result<Self> {
        let stage = Stage::start(&bench.programs, &bench.directory, name)?;
        let runtime = runtime()?;
        let zones = stage.up.report.zones();
        let zone = zones.first().context("no zone")?.clone();
        let clients = connect(&stage, &runtime, &zones)?;
        let history = Arc::new(History::new("k", KEYS));
        let traffic = Traffic { clients: clients.clone(), history, seed: bench.seed };
        runtime.block_on(traffic.fill())?;
        let peak = runtime.block_on(traffic.peak(PEAK_WINDOW));
        let mut scene = Self { stage, clients, zone, traffic, runtime, per_second: peak * LOAD_SHARE };
        if bench.short {
            scene.per_second = scene.per_second.min(SHORT_PER_SECOND_MAX);
        } else {
            scene.settle()?;
        }
        let (load, share) = (scene.per_second, scene.per_second / peak);
        verdict.figure(format!("peak {peak:.0}/s, load {load:.0}/s, {:.0} % of it", share * 100.0));
        Ok(scene)
    }

    /// Takes the load down to what leaves the machine time for all its processes: what is judged is the client, not a
    /// machine that has more to do than cores.
    fn settle(&mut self) -> anyhow::Result<()> {
        for _ in 0..SETTLE_STEPS_MAX {
            let witness = Witness::start();
            let running = self.traffic.start(&self.runtime, self.per_second);
            pause(SETTLE_WINDOW);
            running.finish(&self.runtime)?;
            if witness.finish().spans().len() <= SETTLED_MAX {
                break;
            }
            self.per_second *= SETTLE_FACTOR;
        }
        Ok(())
    }

    /// Runs the load, with `fault` in its middle; `heal` ends it.
    ///
    /// # Errors
    /// When one of them fails.
    pub(crate) fn play<F>(
        &mut self,
        lengths: (Duration, Duration, Duration),
        fault: impl FnOnce(&mut Stage, &str) -> anyhow::Result<F>,
        heal: impl FnOnce(&mut Stage, F) -> anyhow::Result<()>,
    ) -> anyhow::Result<(Times, Taken, Starved)> {
        let (before, outage, after) = lengths;
        let witness = Witness::start();
        let begun = now_ns();
        let running = self.traffic.start(&self.runtime, self.per_second);
        pause(before);
        let at = now_ns();
        let state = fault(&mut self.stage, &self.zone)?;
        pause(outage);
        let healed = now_ns();
        heal(&mut self.stage, state)?;
        pause(after);
        let taken = running.finish(&self.runtime)?;
        Ok((Times { begun, fault: at, healed }, taken, witness.finish()))
    }

    /// All repairs through; then no key may differ, and no delete may be undone.
    ///
    /// # Errors
    /// When repairs do not end or a node does not answer.
    pub(crate) fn converge(&self, verdict: &mut Verdict) -> anyhow::Result<()> {
        let history = &self.traffic.history;
        let keys: Vec<String> = (0..history.len()).map(|key| history.key(key)).collect();
        all_connected(&self.clients, &keys)?;
        let pending: usize = self.clients.iter().map(Client::repairs_pending).sum();
        let took = repairs_through(&self.clients)?;
        verdict.figure(format!("{pending} repairs pending after it, through in {:.1} s", took.as_secs_f64()));
        let all = copies(&self.clients[0], &keys)?;
        let compared = compare(&all);
        let undone = all.iter().enumerate().filter(|(key, copies)| {
            history.is_deleted(*key) && copies.zones.iter().any(|(_, copy)| copy.is_some())
        });
        let undone: Vec<String> = undone.map(|(_, copies)| copies.key.clone()).collect();
        verdict.figure(format!(
            "{} keys differ, {} absent from a zone, {} deletes undone",
            compared.differing.len(),
            compared.absent_somewhere,
            undone.len()
        ));
        verdict.none("keys differ between zones", &compared.differing);
        verdict.none("deletes were undone", &undone);
        let read = self.runtime.block_on(self.traffic.read_all());
        let stale: Vec<String> = read.stale.iter().map(|stale| format!("{stale:?}")).collect();
        verdict.none("stale reads after healing", &stale);
        verdict.none("wrong reads after healing", &read.wrong);
        Ok(())
    }
}

/// What holds of every fault: reads and writes never fail, answers are right, latency comes back.
pub(crate) fn judge(verdict: &mut Verdict, times: Times, taken: &Taken, starved: &Starved) {
    verdict.figure(format!("{} requests, {} misses", taken.samples.len(), taken.misses));
    let of = taken.samples.len();
    failures(verdict, "reads", &taken.reads_failed, of, starved);
    failures(verdict, "writes", &taken.writes_failed, of, starved);
    verdict.none("wrong answers", &taken.wrong);
    let reads: Vec<Sample> = taken.samples.iter().filter(|sample| sample.read).copied().collect();
    let between = |from: u64, to: u64| -> Vec<Sample> {
        reads.iter().filter(|sample| sample.due >= from && sample.due < to).copied().collect()
    };
    let opened = breaker_opened(&reads, times);
    let (during, normal) =
        (between(times.fault, times.healed), between(opened + ns(NORMAL_AFTER), times.healed));
    let before = percentile(&between(times.begun, times.fault), P99, starved);
    let (during, normal) = (percentile(&during, P99, starved), percentile(&normal, P99, starved));
    verdict.figure(format!(
        "read p99 before {}, during {}, from 1 s after the breaker opened (+{:.0} ms) {}",
        told(before),
        told(during),
        ms(opened - times.fault),
        told(normal)
    ));
    verdict.figure(starved.told());
    // Where half a deadline is normal, the machine is what is slow.
    let Some(before) = before.filter(|before| *before < ns(READ_DEADLINE) / 2) else {
        verdict.figure("p99 not judged: the machine was starved before the fault");
        return;
    };
    if let Some(during) = during {
        let fault = format!("p99 during the fault {:.1} ms is over the read deadline", ms(during));
        verdict.must(during <= ns(READ_DEADLINE), fault);
    }
    if let Some(normal) = normal {
        let most = (before * NORMAL_TIMES).max(ns(NORMAL_MIN));
        let fault = format!("p99 {:.1} ms is not back to normal, {:.1} ms", ms(normal), ms(most));
        verdict.must(normal <= most, fault);
    }
}

/// Failures in an instant in which this machine did not run its processes are told and not judged. Of reads, one in ten
/// thousand more is not judged where that happened often, for it is not always seen: a read fails when two zones are held
/// up for the time of an attempt while the third is away.
pub(crate) fn failures(
    verdict: &mut Verdict,
    what: &str,
    failed: &[(u64, u64, String)],
    of: usize,
    starved: &Starved,
) {
    let (excused, failed): (Vec<_>, Vec<_>) =
        failed.iter().partition(|(begun, ended, _)| starved.within(*begun, *ended));
    verdict.figure(format!("{} {what} failed, {} more while starved", failed.len(), excused.len()));
    let allowed = if what == "reads" && starved.is_often() { of / UNSEEN_SHARE } else { 0 };
    if failed.len() <= allowed {
        return;
    }
    let failed: Vec<String> = failed.into_iter().map(|(_, _, text)| text.clone()).collect();
    verdict.none(&format!("{what} failed"), &failed);
}

/// When so many reads had met a node that does not answer; at once, when they were told that it is gone.
fn breaker_opened(reads: &[Sample], times: Times) -> u64 {
    let slow = reads.iter().filter(|sample| {
        sample.due >= times.fault
            && sample.due < times.healed
            && sample.ended - sample.due >= ns(READ_ATTEMPT)
    });
    let mut ends: Vec<u64> = slow.map(|sample| sample.ended).collect();
    ends.sort_unstable();
    // Two nodes can be ill, each with its breaker.
    ends.get(2 * BREAKER_ERRORS - 1).or(ends.last()).copied().unwrap_or(times.fault)
}

/// Over the requests that no hiccup of the machine touched, and that left in time; none when those are too few.
pub(crate) fn percentile(samples: &[Sample], share: f64, starved: &Starved) -> Option<u64> {
    let undisturbed = samples.iter().filter(|sample| {
        sample.begun - sample.due < ns(LATE_MIN) && !starved.within(sample.due, sample.ended)
    });
    let mut took: Vec<u64> = undisturbed.map(|sample| sample.ended - sample.due).collect();
    if took.is_empty() || (took.len() as f64) < samples.len() as f64 * JUDGED_SHARE_MIN {
        return None;
    }
    took.sort_unstable();
    took.get((took.len() as f64 * share) as usize).copied()
}

pub(crate) fn told(percentile: Option<u64>) -> String {
    percentile.map_or_else(|| "not judged (starved)".to_owned(), |took| format!("{:.1} ms", ms(took)))
}

/// A client in each of the first two zones.
///
/// # Errors
/// When one does not connect.
pub(crate) fn two_zones(stage: &Stage, runtime: &Runtime, zones: &[String]) -> anyhow::Result<Vec<Client>> {
    zones.iter().take(2).map(|zone| runtime.block_on(stage.client(zone))).collect()
}
