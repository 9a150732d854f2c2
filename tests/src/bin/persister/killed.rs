//! A gateway is killed while writes wait in its log; the log is damaged; its disk is full. What was acknowledged gets to the store.

mod damaged;
mod full;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;
use evanesce_tests::Verdict;
use futures_util::future::try_join_all;
use rustix::process::Signal;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::kinds::{Kind, Want};
use crate::monitor::Monitor;
use crate::parts::Bench;
use crate::same_keys::{Newest, differing, put, store};
use crate::server::Server;
use crate::stage::{Gateway, Stage};
use crate::talk::Talk;

/// Connections that write.
const WRITERS: usize = 8;
/// How often each key is written.
const WRITES_OF_KEY: usize = 5;
/// Between two looks how many writes were acknowledged.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// So many are by then.
const WRITES_LIMIT: Duration = Duration::from_secs(300);

/// A cluster, and a store that can be stopped.
pub(super) struct Ground {
    pub(super) stage: Stage,
    pub(super) redis: Server,
    /// What is written of it in a file of namespaces.
    pub(super) settings: String,
}

pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    bench.runtime.block_on(play(bench, verdict))
}

async fn play(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let stage = Stage::start(&bench.programs, &bench.directory, "killed")?;
    let directory = bench.directory.join("killed-redis");
    std::fs::create_dir_all(&directory)?;
    let redis = Kind::Redis.install(&directory, &bench.installed)?.started()?;
    let settings = Kind::Redis.settings(redis.address, Want::default());
    let ground = Ground { stage, redis, settings };
    killed(bench, &ground, verdict).await?;
    damaged::play(&ground, verdict).await?;
    full::play(&ground, verdict).await
}

impl Ground {
    /// The file of a gateway with one namespace, written behind.
    pub(super) fn file(&self, namespace: &str, more: &str) -> String {
        format!(
            "log_dir = 'DIR/log'\n[stores.main]\n{}\ntimeout = '2s'\n[namespaces.{namespace}]\nstore = 'main'\n\
             mode = 'write-behind'\nwrite_timeout = '10s'\n{more}",
            self.settings
        )
    }

    /// The store stands still.
    pub(super) fn freeze(&self) -> anyhow::Result<()> {
        self.redis.signal(Signal::STOP)
    }

    pub(super) fn thaw(&self) -> anyhow::Result<()> {
        self.redis.signal(Signal::CONT)
    }

    /// Judges that the store has all of it.
    pub(super) async fn has_all(
        &self,
        newest: &Newest,
        when: &str,
        verdict: &mut Verdict,
    ) -> anyhow::Result<()> {
        let store = store(&self.settings).await?;
        verdict.none(
            &format!("acknowledged writes are not in the store {when}"),
            &differing(&*store, newest).await?,
        );
        store.close().await;
        Ok(())
    }
}

/// `kill -9` in the middle of many writes, most of which wait for a store that stands still.
async fn killed(bench: &Bench, ground: &Ground, verdict: &mut Verdict) -> anyhow::Result<()> {
    let all = if bench.short { 20_000 } else { 100_000 };
    let monitor = Monitor::of(ground.redis.address)?;
    let mut gateway = ground.stage.started("killed-a", 0, &ground.file("kept", "flush = '100ms'\n"))?;
    let begun = Instant::now();
    let mut newest = Newest::new();
    let writers = Writers::start(&gateway, 0..all);
    writers.acknowledged(all / 4).await?;
    ground.freeze()?;
    writers.acknowledged(all / 2).await?;
    gateway.kill();
    let (written, unknown) = writers.end(&mut newest).await?;
    gateway.start()?;
    let waited = gateway.number("kept:log_waiting").await?;
    ground.thaw()?;
    gateway.drained("kept").await?;
    // What was not acknowledged may have been taken all the same.
    let known: Newest = newest
        .iter()
        .filter(|(key, _)| !unknown.contains(key))
        .map(|(key, at)| (key.clone(), at.clone()))
        .collect();
    ground.has_all(&known, "after the restart", verdict).await?;
    let writers = Writers::start(&gateway, written..all);
    writers.acknowledged(all - written).await?;
    let (rest, _) = writers.end(&mut newest).await?;
    gateway.drained("kept").await?;
    newest.retain(|key, _| !unknown.contains(key));
    ground.has_all(&newest, "in the end", verdict).await?;
    let (applied, back) = monitor.told();
    verdict.none("keys of the store went back", &back);
    verdict.must(applied > 0, "the store told of no change");
    verdict.figure(format!(
        "{} writes acknowledged in {:.1} s, the gateway killed after {written}, when {waited} keys waited; {applied} changes of the \
         store in order",
        written + rest,
        begun.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Those who write.
struct Writers {
    acknowledged: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Written>>,
}

/// What one of them did until it was done, or the gateway was gone.
#[derive(Default)]
struct Written {
    newest: Newest,
    count: usize,
    /// What it was writing when the gateway went.
    unknown: Option<String>,
}

impl Writers {
    /// The writes of these numbers, those of one key by one connection.
    fn start(gateway: &Gateway, numbers: std::ops::Range<usize>) -> Self {
        let acknowledged = Arc::<AtomicUsize>::default();
        let write = |writer: usize| {
            let (address, acknowledged, numbers) =
                (gateway.address, Arc::clone(&acknowledged), numbers.clone());
            tokio::spawn(async move {
                let mut written = Written::default();
                let Ok(mut talk) = Talk::to(address).await else { return written };
                let own = numbers.filter(|number| number / WRITES_OF_KEY % WRITERS == writer);
                for number in own {
                    let (key, value) =
                        (format!("kept:{}", number / WRITES_OF_KEY), format!("write {number}"));
                    let Ok(version) = put(&mut talk, &key, &value).await else {
                        written.unknown = Some(key);
                        break;
                    };
                    written.newest.insert(key, (version, value));
                    written.count += 1;
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                written
            })
        };
        let tasks = (0..WRITERS).map(write).collect();
        Self { acknowledged, tasks }
    }

    /// Waits until so many are.
    async fn acknowledged(&self, count: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.acknowledged.load(Ordering::Relaxed) < count {
            let ended = self.tasks.iter().all(JoinHandle::is_finished);
            let acknowledged = self.acknowledged.load(Ordering::Relaxed);
            ensure!(
                !ended || acknowledged >= count,
                "the writers ended with {acknowledged} acknowledged of {count}"
            );
            ensure!(begun.elapsed() < WRITES_LIMIT, "{acknowledged} of {count} writes are acknowledged");
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// How many they wrote, and the keys of which it is not known.
    async fn end(self, newest: &mut Newest) -> anyhow::Result<(usize, Vec<String>)> {
        let (mut count, mut unknown) = (0, Vec::new());
        for written in try_join_all(self.tasks).await? {
            newest.extend(written.newest);
            count += written.count;
            unknown.extend(written.unknown);
        }
        Ok((count, unknown))
    }
}
