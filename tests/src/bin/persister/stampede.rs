//! Everybody misses at once: one key, and many.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use evanesce_tests::Verdict;
use futures_util::future::try_join_all;
use tokio::sync::Barrier;
use tokio::time::{Instant, sleep};

use crate::origin::{Origin, Seen, value};
use crate::parts::Bench;
use crate::plot::plot;
use crate::stage::{Gateway, Stage};
use crate::talk::{Got, Talk};

/// Who misses the one key, at both gateways together.
const CALLERS: usize = 2_000;
/// How long its load takes: all have missed by then, unless the machine is very slow.
const ONE_LOAD: Duration = Duration::from_millis(500);

/// More callers of one slow load than a gateway has requests under way, and how long that load takes.
const BESIDE_CALLERS: usize = 1_500;
const BESIDE_LOAD: Duration = Duration::from_secs(4);

/// Keys asked for by one connection at once: as many as a gateway takes together.
const PIPELINED: usize = 64;
/// How long a load of many keys takes.
const MANY_LOAD: Duration = Duration::from_millis(5);
/// What each gateway may ask of the store: calls at once, and keys in a second.
const CONCURRENCY: usize = 16;
const RATE: usize = 1_000;
/// How long a load may take, and a caller wait for it.
const LOAD_TIMEOUT: Duration = Duration::from_secs(2);
/// What a caller may wait beyond that: a second for his turn, half of one for the cluster, and what a loaded machine adds.
const SLACK: Duration = Duration::from_secs(8);
/// Between two tries of keys that were refused.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// All keys have come by then.
const ALL_LIMIT: Duration = Duration::from_secs(300);

pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    bench.runtime.block_on(play(bench, verdict))
}

async fn play(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let stage = Stage::start(&bench.programs, &bench.directory, "stampede")?;
    let origin = Origin::start(ONE_LOAD).await?;
    let file = |rate: &str| {
        format!(
            "[stores.main]\nkind = 'http'\nurl = 'http://{}/{{key}}'\nconcurrency_max = {CONCURRENCY}\ntimeout = '20s'\n{rate}\
             [namespaces.one]\nstore = 'main'\nload_timeout = '20s'\n[namespaces.many]\nstore = 'main'\nload_timeout = '{}s'\n",
            origin.address,
            LOAD_TIMEOUT.as_secs()
        )
    };
    let rate = format!("rate_max = {RATE}\n");
    let gateways =
        [stage.started("stampede-a", 0, &file(&rate))?, stage.started("stampede-b", 1, &file(&rate))?];
    one(bench, &gateways, &origin, verdict).await?;
    beside(&gateways[0], &origin, verdict).await?;
    origin.delay(MANY_LOAD);
    many(bench, &gateways, &origin, verdict).await
}

/// One key: one load, and all have what it brought.
async fn one(
    bench: &Bench,
    gateways: &[Gateway; 2],
    origin: &Origin,
    verdict: &mut Verdict,
) -> anyhow::Result<()> {
    let rounds = if bench.short { 3 } else { 20 };
    let (mut loads, mut longest) = (Vec::new(), Duration::ZERO);
    for round in 0..rounds {
        let key = format!("one:{round}");
        let barrier = Arc::new(Barrier::new(CALLERS));
        let calls = (0..CALLERS).map(|caller| {
            let (key, barrier, address) = (key.clone(), Arc::clone(&barrier), gateways[caller % 2].address);
            tokio::spawn(async move {
                let mut talk = Talk::to(address).await;
                barrier.wait().await;
                let begun = Instant::now();
                let got = talk.as_mut().map_err(|error| anyhow::anyhow!("{error:#}"))?.get(&key).await?;
                anyhow::Ok((got, begun.elapsed()))
            })
        });
        let mut wrong = Vec::new();
        for call in try_join_all(calls).await? {
            let (got, took) = call?;
            longest = longest.max(took);
            if got != Got::Value(value(&key)) {
                wrong.push(format!("{got:?}"));
            }
        }
        verdict.none(&format!("callers of {key} were answered otherwise"), &wrong);
        loads.push(origin.take().by_key.values().sum::<u32>());
    }
    verdict.must(loads.iter().all(|loads| *loads == 1), format!("loads of each round: {loads:?}, not one"));
    verdict.figure(format!(
        "{CALLERS} callers of one key, {rounds} rounds: {} loads, the longest call {} ms of a load of {} ms",
        loads.iter().sum::<u32>(),
        longest.as_millis(),
        ONE_LOAD.as_millis()
    ));
    Ok(())
}

/// While more wait for one slow load than a gateway has under way, others' hits are answered.
async fn beside(gateway: &Gateway, origin: &Origin, verdict: &mut Verdict) -> anyhow::Result<()> {
    let mut hits = Talk::to(gateway.address).await?;
    ensure!(hits.get("one:hit").await? == Got::Value(value("one:hit")), "the key is not loaded");
    origin.delay(BESIDE_LOAD);
    origin.take();
    let calls = (0..BESIDE_CALLERS).map(|_| {
        let address = gateway.address;
        tokio::spawn(async move { Talk::to(address).await?.get("one:slow").await })
    });
    let calls: Vec<_> = calls.collect();
    let begun = Instant::now();
    let (mut longest, mut most) = (Duration::ZERO, 0);
    while begun.elapsed() < BESIDE_LOAD {
        let asked = Instant::now();
        let hit = hits.get("one:hit").await?;
        verdict.must(hit == Got::Value(value("one:hit")), format!("a hit was answered {hit:?}"));
        longest = longest.max(asked.elapsed());
        most += 1;
        sleep(Duration::from_millis(10)).await;
    }
    for call in try_join_all(calls).await? {
        let got = call?;
        verdict.must(got == Got::Value(value("one:slow")), format!("a caller of a slow load had {got:?}"));
    }
    let loads = origin.take().came.len();
    verdict.must(loads == 1, format!("{loads} loads of the slow key"));
    verdict.must(
        longest < BESIDE_LOAD / 2,
        format!("a hit took {longest:?} beside {BESIDE_CALLERS} callers of a slow load"),
    );
    verdict.figure(format!(
        "{most} hits beside {BESIDE_CALLERS} callers of a load of {BESIDE_LOAD:?}: the longest {} ms",
        longest.as_millis()
    ));
    Ok(())
}

/// What came of the calls of one wave.
#[derive(Default)]
struct Wave {
    refused: Vec<String>,
    wrong: Vec<String>,
    unclear: Vec<String>,
    longest: Duration,
}

/// Many keys: the store sees no more than it may, and nobody waits for longer than he should.
async fn many(
    bench: &Bench,
    gateways: &[Gateway; 2],
    origin: &Origin,
    verdict: &mut Verdict,
) -> anyhow::Result<()> {
    let all = if bench.short { 20_000 } else { 100_000 };
    let mut keys: Vec<String> = (0..all).map(|number| format!("many:{number}")).collect();
    origin.take();
    let begun = Instant::now();
    let (mut first, mut longest, mut waves) = (None, Duration::ZERO, 0);
    let mut seen = Seen::default();
    while !keys.is_empty() {
        ensure!(begun.elapsed() < ALL_LIMIT, "{} keys are refused still", keys.len());
        let wave = wave(&keys, gateways).await?;
        verdict.none("keys have another value", &wave.wrong);
        verdict.none("refusals say nothing", &wave.unclear);
        longest = longest.max(wave.longest);
        first.get_or_insert((keys.len() - wave.refused.len(), wave.longest));
        keys = wave.refused;
        waves += 1;
        sleep(AGAIN_AFTER).await;
    }
    let more = origin.take();
    seen.most = seen.most.max(more.most);
    seen.came.extend(more.came);
    let (answered, waited) = first.unwrap_or_default();
    verdict.must(
        longest < LOAD_TIMEOUT + SLACK,
        format!("a call took {longest:?}, more than {LOAD_TIMEOUT:?} and {SLACK:?}"),
    );
    let most = 2 * CONCURRENCY;
    verdict.must(seen.most <= most, format!("the store had {} requests at once, not {most}", seen.most));
    judge_rate(&seen.came, begun, 2 * RATE, verdict);
    let twice = more.by_key.values().filter(|asked| **asked > 1).count();
    verdict.figure(format!(
        "{all} keys at once: {answered} answered and {} refused within {} ms; all in {:.1} s and {waves} waves; the store had {} at \
         once of {most}, {} loads, {twice} keys loaded again; loads in 100 ms {}",
        all - answered,
        waited.as_millis(),
        begun.elapsed().as_secs_f64(),
        seen.most,
        seen.came.len(),
        plot(&seen.came, begun)
    ));
    Ok(())
}

/// Asks for all keys at once, half of them at each gateway.
async fn wave(keys: &[String], gateways: &[Gateway; 2]) -> anyhow::Result<Wave> {
    let barrier = Arc::new(Barrier::new(keys.chunks(PIPELINED).len()));
    let calls = keys.chunks(PIPELINED).enumerate().map(|(number, keys)| {
        let (keys, barrier, address) = (keys.to_vec(), Arc::clone(&barrier), gateways[number % 2].address);
        tokio::spawn(async move {
            let talk = Talk::to(address).await;
            barrier.wait().await;
            let (mut talk, begun) = (talk?, Instant::now());
            let asked: String = keys.iter().map(|key| format!("get {key}\r\n")).collect();
            talk.send(&asked).await?;
            let mut got = Vec::with_capacity(keys.len());
            for key in keys {
                got.push((key, talk.got().await?, begun.elapsed()));
            }
            anyhow::Ok(got)
        })
    });
    let mut wave = Wave::default();
    for call in try_join_all(calls).await? {
        for (key, got, took) in call? {
            wave.longest = wave.longest.max(took);
            match got {
                Got::Value(found) if found == value(&key) => {}
                Got::Refused(line) => {
                    if !["backing store", "try again", "send less"].iter().any(|clear| line.contains(clear)) {
                        wave.unclear.push(line);
                    }
                    wave.refused.push(key);
                }
                other => wave.wrong.push(format!("{key}: {other:?}")),
            }
        }
    }
    Ok(wave)
}

/// No instant has seen more since the beginning than the rate allows, and the burst of a tenth of a second. A machine that is slow
/// makes requests come later, so this holds on any.
pub(crate) fn judge_rate(came: &[Instant], begun: Instant, rate: usize, verdict: &mut Verdict) {
    let allowed =
        |at: &Instant| rate as f64 * (at.saturating_duration_since(begun).as_secs_f64() + 0.1) + 2.0;
    let over = came.iter().enumerate().find(|(number, at)| (number + 1) as f64 > allowed(at));
    if let Some((number, at)) = over {
        let ms = at.saturating_duration_since(begun).as_millis();
        verdict
            .must(false, format!("{} loads came within {ms} ms, more than {rate} in a second", number + 1));
    }
}
