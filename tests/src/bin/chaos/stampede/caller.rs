//! Callers in a process of their own, which ask for one key when they are told to.
//!
//! It prints `ready` once it is connected, `load ROUND ID begun` and `loaded ROUND ID begun ended` for each load, and in
//! the end `call ROUND WAVE begun ended VALUE` for each call, a value being the id of the load that made it;
//! `starved from to` for each hiccup of the machine, and `end`.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use evanesce_client::Client;
use evanesce_tests::{Deadline, eventually};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::act::{Act, CALLERS, KEY, LOAD, act};
use crate::stage::{all_connected, runtime};
use crate::worker::named;
use evanesce_tests::clock::{now_ns, ns};
use evanesce_tests::witness::Witness;

/// Between two looks for the word to begin.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A load, and what comes after it.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// It comes by then.
const GO_LIMIT: Duration = Duration::from_secs(30);

/// Where the suite says when the first round of an act begins.
pub(crate) fn go_key(act: &str) -> String {
    format!("go-{act}")
}

/// One process.
struct Crowd {
    name: String,
    client: Client,
    act: &'static Act,
    loads: AtomicU64,
}

/// A call that ended.
struct Call {
    round: u64,
    wave: usize,
    begun: u64,
    ended: u64,
    value: String,
}

/// Runs `caller`.
///
/// # Errors
/// When it cannot connect, or its orders are wrong.
pub(crate) fn work(arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut given = named(arguments)?;
    let mut take = |name: &str| given.remove(name).with_context(|| format!("--{name} is missing"));
    let discoveries = take("discovery")?;
    let builder = Client::builder(take("cluster")?).discovery(discoveries.split(',')).zone(take("zone")?);
    let (name, act, rounds) = (take("name")?, act(&take("act")?)?, take("rounds")?.parse()?);
    let runtime = runtime()?;
    let client = runtime.block_on(builder.connect())?;
    all_connected(std::slice::from_ref(&client), &[KEY.to_owned()])?;
    println!("ready");
    let crowd = Arc::new(Crowd { name, client, act, loads: AtomicU64::new(0) });
    let begins = runtime.block_on(crowd.told_to_begin())?;
    let witness = Witness::start();
    let mut calls = Vec::new();
    for round in 0..rounds {
        let begins = begins + ns(act.gap) * round;
        calls.extend(runtime.block_on(Arc::clone(&crowd).play(round, begins)));
    }
    // A process that ends with a lease leaves others to wait until that has gone.
    let idle = || (crowd.client.diagnostics().loads == 0).then_some(());
    eventually("the end of all loads", Deadline::within(IDLE_LIMIT), idle)?;
    runtime.block_on(crowd.client.close());
    let mut out = std::io::stdout().lock();
    for Call { round, wave, begun, ended, value } in calls {
        writeln!(out, "call {round} {wave} {begun} {ended} {value}")?;
    }
    for (from, to) in witness.finish().spans() {
        writeln!(out, "starved {from} {to}")?;
    }
    writeln!(out, "end")?;
    Ok(())
}

impl Crowd {
    async fn told_to_begin(&self) -> anyhow::Result<u64> {
        let until = now_ns() + ns(GO_LIMIT);
        while now_ns() < until {
            if let Some(at) = self.client.get(go_key(self.act.name)).await? {
                return Ok(std::str::from_utf8(&at)?.parse()?);
            }
            sleep(LOOK_EVERY).await;
        }
        anyhow::bail!("nobody said when to begin")
    }

    /// One round of all callers.
    async fn play(self: Arc<Self>, round: u64, begins: u64) -> Vec<Call> {
        let mut callers = JoinSet::new();
        for (wave, after) in self.act.waves.iter().enumerate() {
            for _ in 0..CALLERS {
                let (crowd, at) = (Arc::clone(&self), begins + ns(*after));
                callers.spawn(async move { crowd.call(round, wave, at).await });
            }
        }
        callers.join_all().await
    }

    async fn call(self: Arc<Self>, round: u64, wave: usize, at: u64) -> Call {
        sleep(Duration::from_nanos(at.saturating_sub(now_ns()))).await;
        let namespace = self.client.raw().clone().ttl(self.act.ttl);
        let crowd = Arc::clone(&self);
        let begun = now_ns();
        // Nothing is loaded before it has expired, so that loads can be counted.
        let loading = namespace.get_or_load(KEY, move |_| crowd.load(round)).early(0.0);
        let found = loading.stale(self.act.stale).load_timeout(self.act.load_timeout).await;
        let ended = now_ns();
        let value = match found {
            Ok(Some(value)) => String::from_utf8_lossy(&value).into_owned(),
            Ok(None) => "nothing".to_owned(),
            Err(error) => format!("failed: {error}"),
        };
        Call { round, wave, begun, ended, value }
    }

    /// What all is about: it must be called once.
    async fn load(self: Arc<Self>, round: u64) -> Result<Option<Bytes>, std::convert::Infallible> {
        let number = self.loads.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", self.name);
        let begun = now_ns();
        println!("load {round} {id} {begun}");
        sleep(LOAD).await;
        println!("loaded {round} {id} {begun} {}", now_ns());
        Ok(Some(id.into()))
    }
}
