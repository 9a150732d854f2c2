//! A node of the client's zone is stopped, and goes on as if nothing had been; then it stops for moments again and again.
//! Two clients of its zone have the same load side by side, one that hedges its reads and one that does not.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use evanesce_client::Client;
use evanesce_tests::{Deadline, NodeReport, pause};
use tokio::runtime::Runtime;

use crate::Bench;
use crate::counted::Counted;
use crate::fault::{Scene, judge, percentile, told};
use crate::load::{Sample, Taken};
use crate::stage::Stage;
use crate::verdict::Verdict;
use evanesce_tests::clock::{ms, now_ns};
use evanesce_tests::witness::{Starved, Witness};

/// Which of the clients hedges, and which does not. A third is of another zone.
const ON: usize = 0;
const OFF: usize = 1;
/// The most that hedges may add to the reads.
const HEDGES_SHARE_MAX: f64 = 0.03;
/// A stutter: shorter than an attempt, so that nothing but a hedge ends the wait.
const STUTTER: Duration = Duration::from_millis(15);
/// Between two: three reads in two hundred meet one, of the half that this node has.
const STUTTER_EVERY: Duration = Duration::from_millis(500);

/// The clients of the struck zone, and what they counted.
struct Pair {
    on: Arc<Counted>,
    off: Arc<Counted>,
}

/// Reads and hedges of one client.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    reads: u64,
    hedges: u64,
}

/// Runs it.
///
/// # Errors
/// When the cluster does not start or the node does not go on.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let mut pair = None;
    let mut scene = Scene::set(bench, "up-freeze", verdict, |stage, runtime, zones| {
        let (clients, counted) = connect(stage, runtime, zones)?;
        pair = Some(counted);
        Ok(clients)
    })?;
    let pair = pair.context("no clients")?;
    let secs = |short, long| Duration::from_secs(if bench.short { short } else { long });
    let lengths = (secs(3, 10), secs(10, 30), secs(6, 30));
    let (mut before, mut after) = (pair.asked()?, pair.asked()?);
    let (times, taken, starved) = scene.play(
        lengths,
        |stage, zone| {
            before = pair.asked()?;
            stage.freeze(&[first_node(stage, zone)?])
        },
        |_, frozen| {
            after = pair.asked()?;
            drop(frozen);
            Ok(())
        },
    )?;
    judge(verdict, times, &taken, &starved);
    let awake = taken.stale.iter().filter(|stale| stale.begun >= times.healed);
    let longest = awake.clone().map(|stale| stale.begun - times.healed).max().unwrap_or(0);
    verdict.figure(format!(
        "{} stale reads in all, {} after it woke, the last {:.0} ms after",
        taken.stale.len(),
        awake.count(),
        ms(longest)
    ));
    beside(verdict, "frozen", (times.fault, times.healed), &taken, &starved);
    judge_hedges(verdict, "frozen", before, after);
    scene.converge(verdict)?;
    stutter(verdict, &mut scene, &pair, secs(12, 30))
}

/// The same with a node that does not run for a moment, again and again: what hedges are for.
fn stutter(verdict: &mut Verdict, scene: &mut Scene, pair: &Pair, length: Duration) -> anyhow::Result<()> {
    let node = first_node(&scene.stage, &scene.zone)?;
    let (witness, begun, before) = (Witness::start(), now_ns(), pair.asked()?);
    let running = scene.traffic.start(&scene.runtime, scene.per_second);
    let until = Deadline::within(length);
    while !until.is_over() {
        let frozen = scene.stage.freeze(std::slice::from_ref(&node))?;
        pause(STUTTER);
        drop(frozen);
        pause(STUTTER_EVERY);
    }
    let taken = running.finish(&scene.runtime)?;
    let starved = witness.finish();
    beside(verdict, "stuttering", (begun, now_ns()), &taken, &starved);
    verdict.figure(starved.told());
    judge_hedges(verdict, "stuttering", before, pair.asked()?);
    Ok(())
}

fn first_node(stage: &Stage, zone: &str) -> anyhow::Result<NodeReport> {
    stage.nodes_of(zone).into_iter().next().context("a zone without nodes")
}

fn connect(stage: &Stage, runtime: &Runtime, zones: &[String]) -> anyhow::Result<(Vec<Client>, Pair)> {
    let [struck, other, ..] = zones else { anyhow::bail!("too few zones") };
    let (hedging, on) = Counted::of(|| runtime.block_on(stage.builder(struck).connect()));
    let (patient, off) = Counted::of(|| runtime.block_on(stage.builder(struck).hedge(0.0).connect()));
    let other = runtime.block_on(stage.client(other))?;
    Ok((vec![hedging?, patient?, other], Pair { on, off }))
}

/// p99.9 of both clients' reads between two instants.
fn beside(verdict: &mut Verdict, when: &str, (from, to): (u64, u64), taken: &Taken, starved: &Starved) {
    let of = |client: usize| -> Vec<Sample> {
        let reads = taken.samples.iter().filter(|sample| sample.read && sample.client == client);
        reads.filter(|sample| sample.due >= from && sample.due < to).copied().collect()
    };
    let (on, off) = (of(ON), of(OFF));
    verdict.figure(format!(
        "{when}: read p99.9 with hedging {} (p99 {}), without {} (p99 {}), of {} and {} reads",
        told(percentile(&on, 0.999, starved)),
        told(percentile(&on, 0.99, starved)),
        told(percentile(&off, 0.999, starved)),
        told(percentile(&off, 0.99, starved)),
        on.len(),
        off.len()
    ));
}

/// Hedges are few, and there are none where they are turned off.
fn judge_hedges(verdict: &mut Verdict, when: &str, before: [Asked; 2], after: [Asked; 2]) {
    let [on, off] = [ON, OFF].map(|client| Asked {
        reads: after[client].reads - before[client].reads,
        hedges: after[client].hedges - before[client].hedges,
    });
    let share = on.hedges as f64 / on.reads.max(1) as f64;
    verdict.figure(format!("{} hedges for {} reads, {:.2} %", on.hedges, on.reads, share * 100.0));
    let fault = format!("{when}: hedges are {:.2} % of reads", share * 100.0);
    verdict.must(share <= HEDGES_SHARE_MAX, fault);
    verdict.must(off.hedges == 0, format!("{when}: {} hedges where they are turned off", off.hedges));
}

impl Pair {
    /// By [`ON`] and [`OFF`].
    fn asked(&self) -> anyhow::Result<[Asked; 2]> {
        let of = |counted: &Counted| -> anyhow::Result<Asked> {
            let count =
                |name| counted.count(name).with_context(|| format!("the client does not count {name}"));
            Ok(Asked {
                reads: count("evanesce_client_reads_total")?,
                hedges: count("evanesce_client_hedges_total")?,
            })
        };
        Ok([of(&self.on)?, of(&self.off)?])
    }
}
