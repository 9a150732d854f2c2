//! A node is frozen while a client writes, and the client is killed with what it still had to repair: nobody is left who
//! knows what the node missed but its siblings.

use std::time::Duration;

use anyhow::{Context, ensure};
use evanesce_client::Client;
use evanesce_tests::clock::{ms, now_ns, ns};
use evanesce_tests::{Deadline, NodeReport, Process, Verdict, eventually, pause};
use rustix::process::Signal;

use crate::Bench;
use crate::cluster::{Change, Cluster, change};
use crate::talk::{self, key, stat, value};

/// Bytes of a value.
const VALUE_BYTES: usize = 100;
/// The zone whose node is frozen.
const FROZEN: &str = "c";
/// How long it is frozen at least. One that does not run for two seconds knows that it may have missed deletes which nobody
/// remembers any more.
const FROZEN_MIN: Duration = Duration::from_secs(4);
/// Of each so many keys one is overwritten and one deleted while it is.
const OF: u64 = 10;
/// Within so long after the node goes on nothing may differ any more: two comparisons with each sibling, on a busy machine.
const CONVERGED_MAX: Duration = Duration::from_secs(30);
/// When it has not converged by then it will not.
const LIMIT: Duration = Duration::from_secs(120);
/// The writer is done by then.
const WRITER_LIMIT: Duration = Duration::from_secs(240);
/// How often a writer that is done looks whether it was killed, and all keys are looked at.
const REST: Duration = Duration::from_millis(200);

/// Runs it.
///
/// # Errors
/// When something could not be tried at all.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let (items, memory) = if bench.short { (30_000, "64MiB") } else { (1_000_000, "512MiB") };
    let cluster = Cluster::start(bench, "up-converge", &["--memory", memory])?;
    let client = cluster.careful_client("a")?;
    let node = cluster.node(FROZEN)?;
    cluster.serves(&client, &node, None)?;
    cluster.reaches_all(&client)?;
    let failed = cluster.change(&client, 0..items, |_| Some(Change::Set { round: 0, bytes: VALUE_BYTES }));
    verdict.must(failed == 0, format!("{failed} writes failed while all was well"));
    // It repairs what it knows of; it is to know of nothing.
    drop(client);
    let quiet = differing(&node);
    cluster.signal(&node, Signal::STOP)?;
    let (frozen, written) = (now_ns(), write_and_die(bench, &cluster, items));
    pause(FROZEN_MIN.saturating_sub(Duration::from_nanos(now_ns() - frozen)));
    let begun = now_ns();
    cluster.signal(&node, Signal::CONT)?;
    let pending = written?;
    let since = |at: u64| ms(at - begun) / 1e3;
    let risen = eventually("a difference in the metric", Deadline::within(LIMIT), || {
        differing(&node).filter(|differing| *differing > 0).map(|differing| (differing, now_ns()))
    });
    let fallen = eventually("a metric without differences", Deadline::within(LIMIT), || {
        (differing(&node) == Some(0)).then(now_ns)
    });
    let right = eventually("all keys as they were written", Deadline::within(LIMIT), || {
        let is_right = wrong(&node, items).is_ok_and(|wrong| wrong.is_empty());
        if !is_right {
            pause(REST);
        }
        is_right.then(now_ns)
    });
    verdict.none("keys are still wrong", &wrong(&node, items)?);
    verdict.must(pending > 0, "the writer had nothing left to repair: nothing was tested");
    verdict.must(quiet == Some(0), format!("the metric told {quiet:?} while all was well"));
    verdict.figure(format!(
        "frozen for {:.1} s; the writer died with {pending} repairs pending",
        ms(begun - frozen) / 1e3
    ));
    let ((most, risen), fallen, right) = (risen?, fallen?, right?);
    verdict.figure(format!(
        "the metric told {most} of a million keys {:.1} s after the node \
         went on, and 0 after {:.1} s; each of {items} keys was looked at by {:.1} s, at most {:.0} s",
        since(risen),
        since(fallen),
        since(right),
        CONVERGED_MAX.as_secs_f64()
    ));
    let last = fallen.max(right);
    verdict.must(last <= begun + ns(CONVERGED_MAX), format!("converged after {:.1} s", since(last)));
    Ok(())
}

/// What the metric tells.
fn differing(node: &NodeReport) -> Option<u64> {
    stat(node.memcached, "evanesce_divergence_differing_per_million")
}

/// Keys at the node that are not as they were written last.
fn wrong(node: &NodeReport, items: u64) -> anyhow::Result<Vec<String>> {
    let found = talk::get(node.memcached, 0..items)?;
    let is_wrong = |number: &u64| match number % OF {
        0 => found.get(number) != Some(&value(*number, 1, VALUE_BYTES)),
        1 => found.contains_key(number),
        _ => found.get(number) != Some(&value(*number, 0, VALUE_BYTES)),
    };
    Ok((0..items).filter(is_wrong).map(key).collect())
}

/// A client in a process of its own writes, and is killed. How many repairs it had pending.
fn write_and_die(bench: &Bench, cluster: &Cluster<'_>, items: u64) -> anyhow::Result<u64> {
    let program = std::env::current_exe()?;
    let report = &cluster.up.report;
    let arguments = ["writer".to_owned(), report.discoveries(), report.cluster.clone(), items.to_string()];
    let mut writer = Process::start("writer", &program, arguments, &bench.directory)?;
    let said = |writer: &Process| {
        let printed = writer.printed();
        let pending = printed.lines().find_map(|line| line.strip_prefix("pending "))?;
        pending.trim().parse::<u64>().ok()
    };
    eventually("a writer that is done", Deadline::within(WRITER_LIMIT), || {
        (said(&writer).is_some() || writer.ended().is_some()).then_some(())
    })?;
    let pending = said(&writer).with_context(|| format!("the writer printed:\n{}", writer.printed()))?;
    writer.kill();
    Ok(pending)
}

/// What the writer's process does: `DISCOVERIES CLUSTER ITEMS`.
///
/// # Errors
/// When it cannot connect, or a write fails.
pub(crate) fn write(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut next = |what| arguments.next().with_context(|| format!("{what} is missing"));
    let (discoveries, cluster, items) = (next("discovery")?, next("cluster")?, next("items")?);
    let items: u64 = items.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let builder = Client::builder(cluster).discovery(discoveries.split(',')).zone("a");
    let client = runtime.block_on(builder.connect())?;
    let failed = change(&runtime, &client, 0..items, |number| match number % OF {
        0 => Some(Change::Set { round: 1, bytes: VALUE_BYTES }),
        1 => Some(Change::Delete),
        _ => None,
    });
    ensure!(failed == 0, "{failed} writes failed though the zone is well");
    println!("pending {}", client.repairs_pending());
    loop {
        pause(REST);
    }
}
