//! Two gateways write the same keys behind, at the same time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use evanesce_persister::BackingStore;
use evanesce_tests::Verdict;
use futures_util::future::try_join_all;
use rand::seq::SliceRandom;
use tokio::time::{Instant, sleep};

use crate::kinds::{Kind, Want};
use crate::parts::Bench;
use crate::stage::{Gateway, Stage};
use crate::talk::{Got, Put, Talk};

/// The keys.
const KEYS: usize = 1_000;
/// Connections that write, to each gateway.
const WRITERS: usize = 4;
/// A refused write is tried again so often.
const TRIES_MAX: usize = 200;
/// And after so long.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Keys of one call of a store.
const BATCH: usize = 100;

/// The newest acknowledged write of each key.
pub(crate) type Newest = HashMap<String, (u64, String)>;

pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    bench.runtime.block_on(play(bench, verdict))
}

async fn play(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let stage = Stage::start(&bench.programs, &bench.directory, "same-keys")?;
    let directory = bench.directory.join("same-keys-redis");
    std::fs::create_dir_all(&directory)?;
    let mut redis = Kind::Redis.install(&directory, &bench.installed)?.started()?;
    let settings = Kind::Redis.settings(redis.address, Want::default());
    let file = format!(
        "log_dir = 'DIR/log'\n[stores.main]\n{settings}\n[namespaces.same]\nstore = 'main'\nmode = 'write-behind'\nflush = '20ms'\n\
         write_timeout = '10s'\n"
    );
    let gateways = [stage.started("same-keys-a", 0, &file)?, stage.started("same-keys-b", 1, &file)?];
    let rounds = if bench.short { 3 } else { 50 };
    let begun = Instant::now();
    let writers = (0..2 * WRITERS).map(|writer| {
        let address = gateways[writer % 2].address;
        tokio::spawn(async move { write(Talk::to(address).await?, writer, rounds).await })
    });
    let mut newest = Newest::new();
    for writer in try_join_all(writers).await? {
        for (key, (version, value)) in writer? {
            let known = newest.entry(key).or_default();
            if version > known.0 {
                *known = (version, value);
            }
        }
    }
    let took = begun.elapsed();
    for gateway in &gateways {
        gateway.drained("same").await?;
    }
    verdict.must(newest.len() == KEYS, format!("{} keys were written", newest.len()));
    let store = store(&settings).await?;
    verdict.none("keys of the store are not the newest", &differing(&*store, &newest).await?);
    verdict.none("keys of the cluster are not the newest", &in_cluster(&stage, &gateways, &newest).await?);
    store.close().await;
    redis.stop()?;
    verdict.figure(format!(
        "{} writes of {KEYS} keys through two gateways in {:.1} s: store and cluster have the newest of each",
        2 * WRITERS * rounds * KEYS,
        took.as_secs_f64()
    ));
    Ok(())
}

/// Writes all keys again and again, each time in another order; its newest of each.
async fn write(mut talk: Talk, writer: usize, rounds: usize) -> anyhow::Result<Newest> {
    let mut newest = Newest::new();
    let mut keys: Vec<usize> = (0..KEYS).collect();
    for round in 0..rounds {
        keys.shuffle(&mut rand::rng());
        for number in &keys {
            let (key, value) = (format!("same:{number}"), format!("writer {writer} round {round}"));
            let version = put(&mut talk, &key, &value).await?;
            newest.insert(key, (version, value));
        }
    }
    Ok(newest)
}

/// Writes until it is acknowledged; its version.
pub(crate) async fn put(talk: &mut Talk, key: &str, value: &str) -> anyhow::Result<u64> {
    for _ in 0..TRIES_MAX {
        match talk.put(key, value).await? {
            Put::Stored(version) => return Ok(version),
            Put::Refused(_) => sleep(AGAIN_AFTER).await,
        }
    }
    bail!("{key} is refused again and again")
}

/// The store itself, with no gateway before it.
pub(crate) async fn store(settings: &str) -> anyhow::Result<Arc<dyn BackingStore>> {
    let parsed = evanesce_persister::stores::settings(settings.parse()?);
    Ok(parsed.map_err(|faults| anyhow::anyhow!(faults.join("; ")))?.open().await?)
}

/// Which keys the store has otherwise.
pub(crate) async fn differing(store: &dyn BackingStore, newest: &Newest) -> anyhow::Result<Vec<String>> {
    let (keys, mut wrong): (Vec<&String>, _) = (newest.keys().collect(), Vec::new());
    for part in keys.chunks(BATCH) {
        let asked: Vec<Bytes> = part.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect();
        let loaded = store.load(&asked, Instant::now() + Duration::from_secs(30)).await;
        for (key, loaded) in part.iter().zip(loaded) {
            let (version, value) = &newest[*key];
            let item = loaded?;
            let is_it =
                item.as_ref().is_some_and(|item| item.value == *value && item.version == Some(*version));
            if !is_it {
                wrong.push(format!("{key} should be {value:?} of {version} and is {item:?}"));
            }
        }
    }
    Ok(wrong)
}

/// Which keys a node or a gateway has otherwise. A node may have none; a gateway loads it then.
async fn in_cluster(stage: &Stage, gateways: &[Gateway], newest: &Newest) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for address in stage.nodes() {
        let mut talk = Talk::to(address).await?;
        for (key, (_, value)) in newest {
            match talk.get(key).await? {
                Got::Value(found) if found != *value => {
                    wrong.push(format!("{key} is {found:?}, not {value:?}"));
                }
                _ => {}
            }
        }
    }
    for gateway in gateways {
        let mut talk = Talk::to(gateway.address).await.context("a gateway")?;
        for (key, (_, value)) in newest {
            let got = talk.get(key).await?;
            if got != Got::Value(value.clone()) {
                wrong.push(format!("{key} is {got:?}, not {value:?}"));
            }
        }
    }
    ensure!(!newest.is_empty(), "nothing was written");
    Ok(wrong)
}
