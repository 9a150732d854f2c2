//! Callers that go away at random instants.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use evanesce_client::Client;
use evanesce_tests::{Deadline, NodeReport, Raw, eventually};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Bench;
use crate::history::{Fate, History};
use crate::load::{Taken, Traffic};
use crate::stage::{Stage, repairs_through, runtime};
use crate::verdict::Verdict;

/// Operations.
const OPERATIONS: usize = 10_000;
/// Callers at once: far more than cores, so that many are under way when they are cancelled.
const CALLERS: usize = 64;
/// A caller goes away within this.
const PATIENCE_US_MAX: u64 = 1_500;
/// Keys.
const KEYS: usize = 300;
/// Of a large value: two chunks.
const LARGE_BYTES: usize = 1_200_000;
/// Of what a loader gives: short, so that it is loaded again.
const LOADED_TTL: Duration = Duration::from_secs(1);
/// What is under way ends by then.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// Runs it.
///
/// # Errors
/// When the cluster does not start or answer.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let stage = Stage::start(&bench.programs, &bench.directory, "up-cancel")?;
    let runtime = runtime()?;
    let zones = stage.up.report.zones();
    let connections_without_us = connections(&stage)?;
    let zone = zones.first().context("no zone")?;
    let client = runtime.block_on(stage.client(zone))?;
    let history = Arc::new(History::new("c", KEYS));
    let traffic = Traffic { clients: vec![client.clone()], history, seed: bench.seed };
    runtime.block_on(traffic.fill())?;
    let before = connections(&stage)?;
    let tasks_before = tasks(&runtime);
    let taken = Arc::new(Mutex::new(Taken::default()));
    let cancelled = runtime.block_on(cancel_all(&traffic, &taken));
    let settled = || (tasks(&runtime) <= tasks_before).then_some(());
    let settled = eventually("the end of all tasks", Deadline::within(SETTLE_LIMIT), settled);
    verdict.must(settled.is_ok(), format!("{} tasks, {tasks_before} before", tasks(&runtime)));
    let idle = || {
        let nodes = client.diagnostics().nodes;
        nodes.iter().all(|node| node.outstanding == 0 && node.reads_in_flight == 0).then_some(())
    };
    let idle = eventually("empty queues", Deadline::within(SETTLE_LIMIT), idle);
    verdict.must(idle.is_ok(), format!("requests are left over: {}", client.diagnostics()));
    repairs_through(&traffic.clients)?;
    let after = connections(&stage)?;
    let stale = judge(verdict, &runtime, &traffic, &taken);
    verdict
        .figure(format!("{OPERATIONS} operations, {cancelled} cancelled, {stale} stale, all queues empty"));
    // Each question is a connection to each node, too.
    let nodes = stage.up.report.nodes.len() as u64;
    let made = after.made - before.made - nodes;
    verdict.figure(format!("{made} connections made anew"));
    verdict.must(made == 0, "connections were lost: one was out of step");
    let left = runtime.block_on(client.close());
    verdict.must(left == 0, format!("{left} repairs left at the end"));
    drop((client, traffic));
    let gone = || (connections(&stage).ok()?.open <= connections_without_us.open).then_some(());
    let gone = eventually("the end of all connections", Deadline::within(SETTLE_LIMIT), gone);
    verdict.must(gone.is_ok(), "connections stay open after the client has gone");
    Ok(())
}

/// No wrong answer, during it or after it.
fn judge(verdict: &mut Verdict, runtime: &Runtime, traffic: &Traffic, taken: &Mutex<Taken>) -> usize {
    let taken = std::mem::take(&mut *taken.lock());
    verdict.none("wrong answers", &taken.wrong);
    let read = runtime.block_on(traffic.read_all());
    verdict.none("wrong answers afterwards", &read.wrong);
    let failed: Vec<String> = read.reads_failed.into_iter().map(|(_, _, what)| what).collect();
    verdict.none("reads failed afterwards", &failed);
    taken.stale.len() + read.stale.len()
}

/// Returns how many went away before the answer.
async fn cancel_all(traffic: &Traffic, taken: &Arc<Mutex<Taken>>) -> usize {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (traffic, taken) = (traffic.clone(), Arc::clone(taken));
        callers.spawn(async move {
            let mut random = SmallRng::seed_from_u64(traffic.seed ^ caller as u64);
            let mut cancelled = 0;
            for _ in 0..OPERATIONS.div_ceil(CALLERS) {
                let patience = Duration::from_micros(random.random_range(0..PATIENCE_US_MAX));
                let operation = operate(&traffic, &mut random, &taken);
                cancelled += usize::from(timeout(patience, operation).await.is_err());
            }
            cancelled
        });
    }
    callers.join_all().await.into_iter().sum()
}

/// Any operation. A write of the history that is cancelled ends with an unknown fate.
async fn operate(traffic: &Traffic, random: &mut SmallRng, taken: &Mutex<Taken>) {
    let (client, history) = (&traffic.clients[0], &traffic.history);
    let key = random.random_range(0..history.len());
    let other = format!("other-{key}");
    match random.random_range(0..16) {
        0..4 => traffic.read(0, key, taken).await,
        4..6 => set(client, history, key).await,
        6 => drop(client.get_many((0..50).map(|key| history.key(key))).await),
        7 => drop(client.incr(format!("n{key}"), 1).initial(0).await),
        8 => drop(client.append(&other, "x").await),
        9 => drop(client.add(&other, "x").await),
        10 => drop(client.delete(&other).await),
        11 => drop(client.get_and_touch(&other, Duration::from_secs(900)).await),
        12 => drop(client.set_many((0..50).map(|key| (format!("many-{key}"), "v"))).await),
        13 => {
            let loaded = client.namespace("loaded").ttl(LOADED_TTL);
            drop(loaded.get_or_load(&other, async |_| io::Result::Ok(Some(Bytes::from("v")))).await);
        }
        14 => {
            if let Ok(Some(item)) = client.get_for_cas(&other).await {
                drop(client.compare_and_set(&other, item.cas, "x").await);
            }
        }
        _ => drop(client.set(format!("large-{}", key % 4), vec![b'v'; LARGE_BYTES]).await),
    }
}

async fn set(client: &Client, history: &History, key: usize) {
    let Some(number) = history.begin(key, false) else { return };
    let mut ending = Ending { history, key, fate: Fate::Unknown };
    let written = client.set(history.key(key), history.value(key, number)).await;
    if written.is_ok_and(|written| !written.is_superseded()) {
        ending.fate = Fate::Acked;
    }
}

/// Ends a write of the history however its caller goes.
struct Ending<'a> {
    history: &'a History,
    key: usize,
    fate: Fate,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.history.end(self.key, self.fate);
    }
}

fn tasks(runtime: &Runtime) -> usize {
    runtime.metrics().num_alive_tasks()
}

/// Of all nodes.
#[derive(Debug, Clone, Copy, Default)]
struct Connections {
    /// Open now.
    open: u64,
    /// Made since the start, the one that asks included.
    made: u64,
}

/// Asks every node.
fn connections(stage: &Stage) -> anyhow::Result<Connections> {
    let mut all = Connections::default();
    let zones = stage.up.report.zones();
    for node in zones.iter().flat_map(|zone| stage.nodes_of(zone)) {
        let Connections { open, made } = of_node(&node)?;
        all.open += open;
        all.made += made;
    }
    Ok(all)
}

fn of_node(node: &NodeReport) -> anyhow::Result<Connections> {
    let mut raw = Raw::connect(node.memcached)?;
    raw.send(b"stats\r\n")?;
    let text = String::from_utf8_lossy(&raw.read_to(b"END\r\n").bytes).into_owned();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse::<u64>().ok()).with_context(|| format!("no {name}"))
    };
    Ok(Connections { open: value("STAT curr_connections")?, made: value("STAT total_connections")? })
}
