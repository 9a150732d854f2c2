//! Writes alone, at full memory, through a gateway that writes behind, beside the same writes straight into Cassandra, in turns.
//!
//! Both promise the same to who writes: Cassandra flushes its own log every second, and so does the gateway. A window of the tier is
//! over when the store has all of it, too: what it took until then is told as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use evanesce_persister::{BackingStore, Change, KeyChange, StoreItem};
use evanesce_tests::Verdict;
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use crate::kinds::{Kind, Want};
use crate::parts::Bench;
use crate::same_keys::{Newest, differing, store};
use crate::stage::{Gateway, Stage};
use crate::talk::{Put, Talk};

/// What a node may hold: less than what is written.
const MEMORY: &str = "16MiB";
const VALUE_BYTES: usize = 1024;
const KEYS: usize = 10_000;
/// Those who write at once, one write each.
const WRITERS: usize = 32;
/// Windows of each, and the writes of one.
const WINDOWS: usize = 3;
const WRITES: usize = 5_000;
/// Fills the nodes before the first window; more of them fit no such node.
const FILLERS: usize = 8;
const FILLS_MAX: usize = 100_000;
/// Between two tries of a write that was refused since the log is full.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How long a write may take, straight or through the tier.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// What the windows of one way came to.
#[derive(Default)]
struct Windows {
    /// Of each write, from its first try to its acknowledgement.
    waits: Vec<Duration>,
    /// From the first write to the last acknowledgement, and until the store had all.
    took: Duration,
    settled: Duration,
    /// Refusals that said that the log is full, and others.
    full: usize,
    unclear: Vec<String>,
}

pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    bench.runtime.block_on(play(bench, verdict))
}

async fn play(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let directory = bench.directory.join("throughput-cassandra");
    std::fs::create_dir_all(&directory)?;
    let mut cassandra = Kind::Cassandra.install(&directory, &bench.installed)?.started()?;
    let settings = |keyspace: &str| {
        format!("{}keyspace = '{keyspace}'\n", Kind::Cassandra.settings(cassandra.address, Want::default()))
    };
    let stage = Stage::start_small(&bench.programs, &bench.directory, "throughput", MEMORY)?;
    let file = format!(
        "log_dir = 'DIR/log'\n[stores.main]\n{}[namespaces.tier]\nstore = 'main'\nmode = 'write-behind'\nflush = '1s'\n\
         write_timeout = '10s'\n",
        settings("tier")
    );
    let gateway = stage.started("throughput-a", 0, &file)?;
    let (straight, behind) = (store(&settings("straight")).await?, store(&settings("tier")).await?);
    fill(&stage, &gateway).await?;
    let before = evictions(&stage).await?;
    let (mut direct, mut tier, mut newest) = (Windows::default(), Windows::default(), Newest::new());
    let (mut waiting, versions) = (Vec::new(), Arc::new(AtomicU64::new(1)));
    for window in 0..WINDOWS {
        let numbers = window * WRITES..(window + 1) * WRITES;
        direct.straight(&straight, numbers.clone(), &versions).await?;
        waiting.push(tier.behind(&gateway, numbers, &mut newest).await?);
    }
    for (before, after) in before.iter().zip(evictions(&stage).await?) {
        verdict.must(after > *before, "a node was not full while writes came");
    }
    verdict.must(newest.len() == KEYS.min(WINDOWS * WRITES), format!("{} keys were written", newest.len()));
    verdict.none("acknowledged writes are not in Cassandra in the end", &differing(&*behind, &newest).await?);
    verdict.none("writes through the tier were refused unclearly", &tier.unclear);
    // Those are between its driver and Cassandra, and tell what that bears.
    verdict.must(direct.waits.len() > direct.unclear.len(), format!("of Cassandra: {:?}", direct.unclear));
    let left = gateway.number("tier:log_waiting").await?;
    straight.close().await;
    behind.close().await;
    drop(gateway);
    cassandra.stop()?;
    verdict.figure(format!(
        "{}{WRITERS} writers of {VALUE_BYTES} bytes, {WINDOWS} windows of {WRITES} each in turns: straight into Cassandra {}, {} \
         failed; through the tier {}, {}/s until the store has all, {} refused since the log was full; its queue at the \
         end of each window {waiting:?}, in the end {left}",
        if cfg!(debug_assertions) { "not built for speed (see --release): " } else { "" },
        direct.told(),
        direct.unclear.len(),
        tier.told(),
        per_second(tier.waits.len(), tier.settled),
        tier.full,
    ));
    Ok(())
}

/// The key and value of a write: the same for both.
fn write_of(number: usize) -> (String, String) {
    (format!("tier:{}", number % KEYS), format!("write {number:0$}", VALUE_BYTES - "write ".len()))
}

/// Those of these numbers that one writer writes: of each key all, so that its newest is known.
fn own(numbers: std::ops::Range<usize>, writer: usize) -> impl Iterator<Item = usize> {
    numbers.filter(move |number| number % KEYS % WRITERS == writer)
}

fn per_second(count: usize, time: Duration) -> u64 {
    (count as f64 / time.as_secs_f64().max(f64::EPSILON)) as u64
}

impl Windows {
    /// One window of writes into the store itself.
    async fn straight(
        &mut self,
        store: &Arc<dyn BackingStore>,
        numbers: std::ops::Range<usize>,
        versions: &Arc<AtomicU64>,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let writers = (0..WRITERS).map(|writer| {
            let (store, versions) = (Arc::clone(store), Arc::clone(versions));
            let numbers = own(numbers.clone(), writer);
            tokio::spawn(async move {
                let mut written = Self::default();
                for number in numbers {
                    let (key, value) = write_of(number);
                    let (begun, version) = (Instant::now(), versions.fetch_add(1, Ordering::Relaxed));
                    let item = StoreItem { value: value.into(), flags: 0, expires_at: None, version: None };
                    let change = KeyChange { key: key.into(), version, change: Change::Put(item) };
                    let outcome = store.write(&[change], begun + WRITE_LIMIT).await.pop();
                    match outcome.context("the store told of no write")? {
                        Ok(_) => written.waits.push(begun.elapsed()),
                        Err(error) => written.unclear.push(error.to_string()),
                    }
                }
                anyhow::Ok(written)
            })
        });
        for written in try_join_all(writers).await? {
            self.add(written?);
        }
        self.took += begun.elapsed();
        Ok(())
    }

    /// One window of writes through the gateway, and until the store has them. Returns how many waited when the last was
    /// acknowledged.
    async fn behind(
        &mut self,
        gateway: &Gateway,
        numbers: std::ops::Range<usize>,
        newest: &mut Newest,
    ) -> anyhow::Result<u64> {
        let mut connections = Vec::with_capacity(WRITERS);
        for _ in 0..WRITERS {
            connections.push(Talk::to(gateway.address).await?);
        }
        let begun = Instant::now();
        let writers = connections.into_iter().enumerate().map(|(writer, talk)| {
            let numbers = own(numbers.clone(), writer);
            tokio::spawn(async move { Self::put(talk, numbers).await })
        });
        for written in try_join_all(writers).await? {
            let (written, own) = written?;
            self.add(written);
            newest.extend(own);
        }
        self.took += begun.elapsed();
        let waiting = gateway.number("tier:log_waiting").await?;
        gateway.drained("tier").await?;
        self.settled += begun.elapsed();
        Ok(waiting)
    }

    async fn put(mut talk: Talk, numbers: impl Iterator<Item = usize>) -> anyhow::Result<(Self, Newest)> {
        let (mut written, mut newest) = (Self::default(), Newest::new());
        for number in numbers {
            let (key, value) = write_of(number);
            let begun = Instant::now();
            loop {
                match talk.put(&key, &value).await? {
                    Put::Stored(version) => {
                        written.waits.push(begun.elapsed());
                        newest.insert(key, (version, value));
                        break;
                    }
                    Put::Refused(line) if line.contains("write-behind log is full") => {
                        written.full += 1;
                        sleep(AGAIN_AFTER).await;
                    }
                    Put::Refused(line) => {
                        written.unclear.push(line);
                        break;
                    }
                }
            }
        }
        Ok((written, newest))
    }

    fn add(&mut self, more: Self) {
        self.waits.extend(more.waits);
        self.full += more.full;
        self.unclear.extend(more.unclear);
    }

    fn told(&self) -> String {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        let at = |share: f64| {
            let wait = waits.get(((waits.len() as f64 * share) as usize).min(waits.len().saturating_sub(1)));
            wait.map_or(0.0, |wait| wait.as_secs_f64() * 1e3)
        };
        format!("{}/s, p50 {:.1} ms, p99 {:.1} ms", per_second(waits.len(), self.took), at(0.5), at(0.99))
    }
}

/// Writes to the cluster alone until each node evicts.
async fn fill(stage: &Stage, gateway: &Gateway) -> anyhow::Result<()> {
    for first in (0..FILLS_MAX).step_by(4_000) {
        let fillers = (0..FILLERS).map(|filler| {
            let address = gateway.address;
            tokio::spawn(async move {
                let mut talk = Talk::to(address).await?;
                for number in (first + filler..first + 4_000).step_by(FILLERS) {
                    talk.put(&format!("fill:{number}"), &write_of(number).1).await?;
                }
                anyhow::Ok(())
            })
        });
        for filled in try_join_all(fillers).await? {
            filled?;
        }
        if evictions(stage).await?.into_iter().all(|evicted| evicted > 0) {
            return Ok(());
        }
    }
    ensure!(false, "the nodes are never full");
    Ok(())
}

/// Of each node.
async fn evictions(stage: &Stage) -> anyhow::Result<Vec<u64>> {
    let mut all = Vec::new();
    for address in stage.nodes() {
        let stats = Talk::to(address).await?.stats_of("").await?;
        all.push(stats.get("evictions").context("a node does not tell of evictions")?.parse()?);
    }
    Ok(all)
}
