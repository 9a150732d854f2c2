//! The store does not answer, then nobody is there, then it is back; gateways are under load all the while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use evanesce_tests::Verdict;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::origin::{Origin, value};
use crate::parts::Bench;
use crate::plot::plot;
use crate::stage::{Gateway, Stage};
use crate::stampede::judge_rate;
use crate::talk::{Got, Talk};

/// Keys that are cached, and keys that are stale.
const KEYS: usize = 200;
/// Connections that read each of them, and that miss.
const READERS: usize = 4;
/// Between two reads of a connection.
const PAUSE: Duration = Duration::from_millis(5);
/// What the gateway may ask of the store in a second.
const RATE: usize = 500;
/// How long the store takes.
const LOAD: Duration = Duration::from_millis(5);
/// How long a load may take, and a caller wait beyond that: half a second, and what a loaded machine adds.
const LOAD_TIMEOUT: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_secs(4);
/// What half of the misses take while the store is known to be ill: nobody waits for it.
const FAST: Duration = Duration::from_millis(250);
/// A store that is ill is seen by so few requests, each to see whether it is back, and those that found it ill.
const PROBES_MAX: usize = 100;
/// The breaker is open by then, and the store used again.
const BREAKER_LIMIT: Duration = Duration::from_secs(20);
const BACK_LIMIT: Duration = Duration::from_secs(5);
/// What is watched after that.
const AFTER: Duration = Duration::from_secs(2);

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kept,
    Stale,
    Miss,
}

/// A read and what came of it.
#[derive(Debug, Clone)]
struct Read {
    kind: Kind,
    begun: Instant,
    took: Duration,
    /// Why it was not answered.
    refused: Option<String>,
}

pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    bench.runtime.block_on(play(bench, verdict))
}

async fn play(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let stage = Stage::start(&bench.programs, &bench.directory, "down")?;
    let mut origin = Origin::start(LOAD).await?;
    let file = format!(
        "[stores.main]\nkind = 'http'\nurl = 'http://{}/{{key}}'\nconcurrency_max = 16\nrate_max = {RATE}\ntimeout = '1s'\n\
         [namespaces.kept]\nstore = 'main'\n[namespaces.stale]\nstore = 'main'\nttl = '2s'\nstale = '10min'\nload_timeout = '1s'\n\
         [namespaces.miss]\nstore = 'main'\nload_timeout = '1s'\n",
        origin.address
    );
    let gateway = stage.started("down-a", 0, &file)?;
    let load = Load::start(&gateway).await?;
    let length = Duration::from_secs(if bench.short { 5 } else { 30 });
    sleep(Duration::from_secs(3)).await;
    origin.take();
    let outage = Instant::now();
    origin.silent(true);
    is_shown(&stage, &gateway, verdict).await?;
    let ill = Instant::now();
    sleep((outage + length).saturating_duration_since(Instant::now())).await;
    let silent = origin.take().came.len();
    origin.stop().await;
    sleep(length).await;
    is_shown(&stage, &gateway, verdict).await?;
    let gone = origin.take().came.len();
    origin.silent(false);
    let back = Instant::now();
    origin.again().await?;
    sleep(BACK_LIMIT + AFTER).await;
    let reads = load.end().await?;
    let came = origin.take().came;
    verdict.must(silent + gone <= PROBES_MAX, format!("an ill store was asked {} times", silent + gone));
    judge_rate(&came, back, RATE, verdict);
    judge_outage(&reads, [outage, ill, back], verdict);
    judge_back(&reads, back, verdict);
    verdict.figure(format!(
        "{silent} requests while it was silent, {} loads since it is back, in 100 ms {}",
        came.len(),
        plot(&came, back)
    ));
    Ok(())
}

/// The breaker is seen to be open in `stats`, by `ctl store status`, and in the metrics.
async fn is_shown(stage: &Stage, gateway: &Gateway, verdict: &mut Verdict) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut talk = Talk::to(gateway.address).await?;
    loop {
        let stats = talk.stats().await?;
        let breaker = stats.get("store:main:breaker").context("stats do not tell of the breaker")?;
        if breaker != "closed" {
            break;
        }
        ensure!(begun.elapsed() < BREAKER_LIMIT, "the breaker is closed still");
        sleep(Duration::from_millis(20)).await;
    }
    let grpc = gateway.grpc.to_string();
    let told = stage.ctl(&["store", "status", "--gateway", &grpc])?;
    let is_told = told.contains("main") && (told.contains("open") || told.contains("trying"));
    verdict.must(is_told, format!("ctl store status does not show it: {told}"));
    let metrics = gateway.metrics()?;
    verdict.must(
        metrics.contains("evanesce_store_breaker_open{store=\"main\"} 1"),
        "the metrics do not show the breaker",
    );
    Ok(())
}

/// Reads of all kinds, until it ends.
struct Load {
    reads: Arc<Mutex<Vec<Read>>>,
    ends: Arc<AtomicBool>,
    readers: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Load {
    async fn start(gateway: &Gateway) -> anyhow::Result<Self> {
        let mut talk = Talk::to(gateway.address).await?;
        for kind in [Kind::Kept, Kind::Stale] {
            for number in 0..KEYS {
                let key = key(kind, number);
                let got = talk.get(&key).await?;
                ensure!(got == Got::Value(value(&key)), "{key} was not loaded: {got:?}");
            }
        }
        let (reads, ends) = (Arc::default(), Arc::<AtomicBool>::default());
        let mut readers = Vec::new();
        for kind in [Kind::Kept, Kind::Stale, Kind::Miss] {
            for reader in 0..READERS {
                let talk = Talk::to(gateway.address).await?;
                readers.push(tokio::spawn(read(talk, kind, reader, Arc::clone(&reads), Arc::clone(&ends))));
            }
        }
        Ok(Self { reads, ends, readers })
    }

    async fn end(self) -> anyhow::Result<Vec<Read>> {
        self.ends.store(true, Ordering::Relaxed);
        try_join_all(self.readers).await?.into_iter().collect::<anyhow::Result<()>>()?;
        Ok(std::mem::take(&mut self.reads.lock()))
    }
}

fn key(kind: Kind, number: usize) -> String {
    match kind {
        Kind::Kept => format!("kept:{}", number % KEYS),
        Kind::Stale => format!("stale:{}", number % KEYS),
        Kind::Miss => format!("miss:{number}"),
    }
}

async fn read(
    mut talk: Talk,
    kind: Kind,
    reader: usize,
    reads: Arc<Mutex<Vec<Read>>>,
    ends: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let mut number = reader;
    while !ends.load(Ordering::Relaxed) {
        let (key, begun) = (key(kind, number), Instant::now());
        number += READERS;
        let refused = match talk.get(&key).await? {
            Got::Value(found) if found == value(&key) => None,
            Got::Refused(line) => Some(line),
            other => Some(format!("{key} is {other:?}")),
        };
        reads.lock().push(Read { kind, begun, took: begun.elapsed(), refused });
        sleep(PAUSE).await;
    }
    Ok(())
}

/// What is cached or stale is served all the time; misses fail fast, and say why.
fn judge_outage(reads: &[Read], [outage, ill, back]: [Instant; 3], verdict: &mut Verdict) {
    let mut told = Vec::new();
    for kind in [Kind::Kept, Kind::Stale] {
        let of_kind: Vec<&Read> = reads.iter().filter(|read| read.kind == kind).collect();
        let failed: Vec<String> = of_kind.iter().filter_map(|read| read.refused.clone()).collect();
        verdict.none(&format!("reads of {kind:?} keys failed"), &failed);
        let during = of_kind.iter().filter(|read| read.begun >= outage && read.begun < back);
        let longest = during.clone().map(|read| read.took).max().unwrap_or_default();
        told.push(format!("{} {kind:?} reads, the longest {} ms", during.count(), longest.as_millis()));
    }
    let misses = reads.iter().filter(|read| read.kind == Kind::Miss && read.begun + read.took < back);
    let late = misses.clone().filter(|read| read.took > LOAD_TIMEOUT + SLACK).map(|read| format!("{read:?}"));
    verdict.none("misses took too long", &late.collect::<Vec<_>>());
    let mut during: Vec<&Read> = misses.filter(|read| read.begun >= ill).collect();
    let unclear: Vec<String> = during
        .iter()
        .filter(|read| !read.refused.as_ref().is_some_and(|line| line.contains("backing store")))
        .map(|read| format!("{read:?}"))
        .collect();
    verdict.none("misses were not refused for the store's sake", &unclear);
    during.sort_by_key(|read| read.took);
    let took = |part: usize| during.get(during.len() * part / 100).map_or(Duration::MAX, |read| read.took);
    verdict.must(took(50) < FAST, format!("half of the misses took more than {:?}", took(50)));
    verdict.figure(format!(
        "store away for {:.1} s: {}; {} misses refused, half within {:.1} ms, p99 {:.1} ms",
        (back - outage).as_secs_f64(),
        told.join(", "),
        during.len(),
        took(50).as_secs_f64() * 1e3,
        took(99).as_secs_f64() * 1e3
    ));
}

/// Misses are loaded again soon, and go on to be.
fn judge_back(reads: &[Read], back: Instant, verdict: &mut Verdict) {
    let after: Vec<&Read> =
        reads.iter().filter(|read| read.kind == Kind::Miss && read.begun >= back).collect();
    let loaded = after.iter().filter(|read| read.refused.is_none());
    let first = loaded.clone().map(|read| read.begun + read.took - back).min();
    let last = after.iter().filter(|read| read.refused.is_some()).map(|read| read.begun - back).max();
    let last = last.unwrap_or_default();
    verdict.must(
        first.is_some() && last < BACK_LIMIT,
        format!("misses were refused {last:?} after it was back"),
    );
    verdict.figure(format!(
        "back: the first load after {} ms, the last refusal after {} ms, {} loaded since",
        first.unwrap_or_default().as_millis(),
        last.as_millis(),
        loaded.count()
    ));
}
