//! A whole zone is away under writes and deletes, longer than deletes are remembered, and comes back: nothing that was deleted
//! returns.
//!
//! One of its nodes is stopped, and wakes with all that it had; the other ends and is started again on its memory file. Its
//! discovery is stopped, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evanesce_client::Client;
use evanesce_tests::clock::{ms, now_ns};
use evanesce_tests::{Deadline, NodeReport, Verdict, eventually, pause, signal_reported};
use parking_lot::Mutex;
use rand::RngExt;
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::Bench;
use crate::cluster::{Change, Cluster};
use crate::talk::{self, key, value};

/// Bytes of a value.
const VALUE_BYTES: usize = 200;
/// The zone that goes away.
const AWAY: &str = "c";
/// Of so many keys one is overwritten and one deleted by a client that ends before the zone is back, one deleted by a client
/// that is there then, and one is left as it is.
const OF: u64 = 4;
/// How long the zone is away. Deletes that came too late are remembered for five minutes by clients; how many a node
/// remembers is a matter of number, and more than that are deleted in both forms.
const LONG: Duration = Duration::from_secs(600);
/// Longer than a lease, so that the zone is known to be away.
const SHORT: Duration = Duration::from_secs(10);
/// The zone has what it missed by then.
const BACK_LIMIT: Duration = Duration::from_secs(180);
/// It is looked at once more so long after: a comparison in the background lies between.
const AGAIN_AFTER: Duration = Duration::from_secs(45);
const AGAIN_AFTER_SHORT: Duration = Duration::from_secs(3);
/// Callers that read what was deleted while the zone comes back.
const READERS: usize = 4;
/// Between two reads of a caller.
const READ_STEP: Duration = Duration::from_millis(4);
/// Between two looks at all keys.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keys of one node, or of all.
#[derive(Debug, Default)]
struct Looked {
    returned: Vec<String>,
    stale: Vec<String>,
    missing: usize,
}

/// Runs it.
///
/// # Errors
/// When something could not be tried at all.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let (items, memory) = if bench.short { (80_000, "64MiB") } else { (1_000_000, "512MiB") };
    let logs = bench.directory.join("up-away").display().to_string();
    let lease = if bench.short { "4s" } else { "10s" };
    let options = ["--memory", memory, "--lease", lease, "--data-dir", &logs];
    let mut cluster = Cluster::of(bench, "up-away", ("3", "2"), &options)?;
    let nodes: Vec<NodeReport> = cluster.up.report.nodes_of(AWAY).cloned().collect();
    let [stopped, ended] = nodes.as_slice() else { anyhow::bail!("not two nodes in zone {AWAY}") };
    let file = bench.directory.join("away-memory").display().to_string();
    let with_file = ["--memory-file", &file];
    let client = cluster.careful_client("a")?;
    let first = cluster.serves(&client, ended, None)?;
    cluster.end(ended, Signal::KILL)?;
    cluster.start_again(ended, &with_file)?;
    let first = cluster.serves(&client, ended, Some(first))?;
    cluster.reaches_all(&client)?;
    let failed = cluster.change(&client, 0..items, |_| Some(Change::Set { round: 0, bytes: VALUE_BYTES }));
    verdict.must(failed == 0, format!("{failed} writes failed while all was well"));
    drop(client);
    let survivor = cluster.client("b")?;
    let reader = cluster.client(AWAY)?;
    leave(&mut cluster, stopped, ended)?;
    let gone = now_ns();
    let failed = change_meanwhile(&cluster, &survivor, items)?;
    let away = if bench.short { SHORT } else { LONG };
    pause(away.saturating_sub(Duration::from_nanos(now_ns() - gone)));
    let readers = Readers::start(&cluster, &reader, items);
    let back = now_ns();
    discovery(&cluster, Signal::CONT)?;
    cluster.signal(stopped, Signal::CONT)?;
    cluster.start_again(ended, &with_file)?;
    cluster.serves(&survivor, ended, Some(first))?;
    cluster.serves(&survivor, stopped, None)?;
    let right = eventually("a zone that has what it missed", Deadline::within(BACK_LIMIT), || {
        let is_right = look(&nodes, items).is_ok_and(|looked| looked.is_right());
        if !is_right {
            pause(LOOK_EVERY);
        }
        is_right.then(now_ns)
    });
    pause(if bench.short { AGAIN_AFTER_SHORT } else { AGAIN_AFTER });
    let (reads, returned) = readers.finish(&cluster);
    let looked = look(&nodes, items)?;
    verdict.figure(format!(
        "zone {AWAY} was away for {:.0} s under {} writes and deletes, of which {failed} failed; right again after {}; \
         {reads} reads of deleted keys meanwhile; {} of {items} keys missing",
        ms(back - gone) / 1e3,
        items / OF * 3,
        right.as_ref().map_or("never".to_owned(), |right| format!("{:.1} s", ms(right - back) / 1e3)),
        looked.missing
    ));
    verdict.must(failed == 0, format!("{failed} writes failed though two zones were well"));
    verdict.none("reads found what had been deleted", &returned);
    verdict.none("deleted keys are back", &looked.returned);
    verdict.none("keys that were overwritten are as they were", &looked.stale);
    verdict.must(right.is_ok() && looked.missing == 0, format!("{} keys are missing", looked.missing));
    Ok(())
}

/// The zone goes away.
fn leave(cluster: &mut Cluster<'_>, stopped: &NodeReport, ended: &NodeReport) -> anyhow::Result<()> {
    discovery(cluster, Signal::STOP)?;
    cluster.signal(stopped, Signal::STOP)?;
    cluster.end(ended, Signal::KILL)
}

/// Signals the zone's discovery.
fn discovery(cluster: &Cluster<'_>, signal: Signal) -> anyhow::Result<()> {
    let mut discoveries = cluster.up.report.discovery.iter().filter(|discovery| discovery.zone == AWAY);
    discoveries.try_for_each(|discovery| signal_reported(discovery.pid, "evanesce", signal))
}

/// Overwrites and deletes; a part by a client that takes with it what it still had to repair. How many changes failed.
fn change_meanwhile(cluster: &Cluster<'_>, survivor: &Client, items: u64) -> anyhow::Result<u64> {
    let passing = cluster.client("a")?;
    let failed = cluster.change(&passing, 0..items, |number| match number % OF {
        0 => Some(Change::Set { round: 1, bytes: VALUE_BYTES }),
        1 => Some(Change::Delete),
        _ => None,
    });
    drop(passing);
    let deleted = |number: u64| (number % OF == 2).then_some(Change::Delete);
    Ok(failed + cluster.change(survivor, 0..items, deleted))
}

/// Looks at every key at all nodes of the zone.
fn look(nodes: &[NodeReport], items: u64) -> anyhow::Result<Looked> {
    let found =
        nodes.iter().map(|node| talk::get(node.memcached, 0..items)).collect::<Result<Vec<_>, _>>()?;
    let mut looked = Looked::default();
    for number in 0..items {
        let there: Vec<&String> = found.iter().filter_map(|found| found.get(&number)).collect();
        let is_deleted = matches!(number % OF, 1 | 2);
        let wanted = value(number, u64::from(number % OF == 0), VALUE_BYTES);
        if is_deleted && !there.is_empty() {
            looked.returned.push(key(number));
        } else if there.iter().any(|there| **there != wanted) {
            looked.stale.push(key(number));
        } else if !is_deleted && there.is_empty() {
            looked.missing += 1;
        }
    }
    Ok(looked)
}

impl Looked {
    fn is_right(&self) -> bool {
        self.returned.is_empty() && self.stale.is_empty() && self.missing == 0
    }
}

/// Callers in the zone, which read what was deleted.
struct Readers {
    stop: Arc<AtomicBool>,
    /// How many reads, and what they found though nothing is to be found.
    found: Arc<Mutex<(u64, Vec<String>)>>,
    tasks: JoinSet<()>,
}

impl Readers {
    fn start(cluster: &Cluster<'_>, client: &Client, items: u64) -> Self {
        let (stop, found) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new((0, Vec::new()))));
        let (mut tasks, begun) = (JoinSet::new(), now_ns());
        for _ in 0..READERS {
            let (client, stop, found) = (client.clone(), Arc::clone(&stop), Arc::clone(&found));
            let read = async move {
                let mut tick = tokio::time::interval(READ_STEP);
                while !stop.load(Ordering::Relaxed) {
                    tick.tick().await;
                    let number =
                        rand::rng().random_range(0..items / OF) * OF + rand::rng().random_range(1..=2);
                    let Ok(read) = client.get(key(number)).await else { continue };
                    let mut found = found.lock();
                    found.0 += 1;
                    if read.is_some() {
                        let after = ms(now_ns() - begun) / 1e3;
                        found.1.push(format!("{} after {after:.2} s", key(number)));
                    }
                }
            };
            tasks.spawn_on(read, cluster.runtime.handle());
        }
        Self { stop, found, tasks }
    }

    fn finish(self, cluster: &Cluster<'_>) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        cluster.runtime.block_on(self.tasks.join_all());
        std::mem::take(&mut *self.found.lock())
    }
}
