//! A node is killed under load, and a newcomer takes its name: it is given what it owns by the sibling zones.

use std::time::{Duration, Instant};

use evanesce_tests::{Deadline, Verdict, eventually, pause};
use rustix::process::Signal;

use crate::Bench;
use crate::cluster::{Change, Cluster, held_percent};
use crate::load::Load;
use crate::talk::stat;

/// Bytes of a value: with its key about what Netflix's items of 2.2 GB in 15 million have.
const VALUE_BYTES: usize = 130;
/// The zone whose node dies.
const LOST: &str = "b";
/// How long all is quiet before.
const BEFORE: Duration = Duration::from_secs(4);
/// From its start on so long a node may be without half a percent of its items.
const NEARLY_WARM: Duration = Duration::from_secs(10);
/// What it may be without when it serves.
const MISSING_PERCENT_MAX: f64 = 0.1;
/// Warm-up ends by then, or does not.
const LIMIT: Duration = Duration::from_secs(300);
/// Keys that a node is asked for to learn how warm it is.
const ASKED: u64 = 5_000;

/// Runs it.
///
/// # Errors
/// When something could not be tried at all.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let (items, memory, per_second) =
        if bench.short { (100_000, "64MiB", 500.0) } else { (15_000_000, "3GiB", 2_000.0) };
    let mut cluster = Cluster::start(bench, "up-replace", &["--memory", memory])?;
    let (node, client) = (cluster.node(LOST)?, cluster.client(LOST)?);
    let incarnation = cluster.serves(&client, &node, None)?;
    let filler = cluster.careful_client(LOST)?;
    let failed = cluster.change(&filler, 0..items, |_| Some(Change::Set { round: 0, bytes: VALUE_BYTES }));
    verdict.must(failed == 0, format!("{failed} writes failed while all was well"));
    let load = Load { clients: vec![client.clone()], items, value_bytes: VALUE_BYTES, per_second };
    let running = load.start(&cluster.runtime);
    let begun = Instant::now();
    pause(BEFORE);
    let killed = Instant::now();
    cluster.end(&node, Signal::KILL)?;
    cluster.start_again(&node, &[])?;
    let given = || stat(node.memcached, "evanesce_warm_up_items").unwrap_or(0);
    eventually("the first items of a warm-up", Deadline::within(LIMIT), || (given() > 0).then_some(()))?;
    let first = Instant::now();
    let mut after_ten = None;
    let serves = || {
        if first.elapsed() >= NEARLY_WARM && after_ten.is_none() {
            after_ten = held_percent(node.memcached, items, ASKED).ok();
        }
        let incarnation_now = cluster.standing(&client, &node)?;
        (incarnation_now != incarnation).then_some(())
    };
    eventually("a newcomer that serves", Deadline::within(LIMIT), serves)?;
    let warm = Instant::now();
    let (held, given) = (held_percent(node.memcached, items, ASKED)?, given());
    let after_ten = after_ten.unwrap_or(held);
    let taken = running.finish(&cluster.runtime)?;
    let (requests, failed, wrong) = taken.counts();
    let seconds = (warm - first).as_secs_f64();
    let mib = given as f64 * (VALUE_BYTES + crate::talk::key(0).len()) as f64 / f64::from(1 << 20);
    verdict.figure(format!(
        "{given} items in {seconds:.1} s ({:.0} a second, {:.1} MiB/s), serving {:.1} s after the kill; it holds \
         {after_ten:.2} % after 10 s at most and {held:.2} % in the end; {requests} requests: {failed} failed, {wrong} \
         wrong; worst second {:.2} % hits; p99 {:.1} ms before, {:.1} ms while it warms",
        given as f64 / seconds,
        mib / seconds,
        (warm - killed).as_secs_f64(),
        taken.hits_min_percent(killed, warm),
        taken.p99(begun, killed).as_secs_f64() * 1e3,
        taken.p99(first, warm).as_secs_f64() * 1e3,
    ));
    verdict.must(failed == 0, format!("{failed} requests failed"));
    verdict.must(wrong == 0, format!("{wrong} values were wrong"));
    let least = 100.0 - MISSING_PERCENT_MAX;
    verdict.must(held >= least, format!("the newcomer holds {held:.2} %, at least {least:.2} %"));
    Ok(())
}
