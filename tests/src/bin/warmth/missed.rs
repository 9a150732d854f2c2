//! A node with a memory file is away while keys are overwritten and deleted, and comes back when nobody is left who did so.
//!
//! It deletes more than tombstones are remembered for, so what comes back cannot go by them alone.

use std::time::Instant;

use evanesce_tests::{NodeReport, Verdict};
use rustix::process::Signal;

use crate::Bench;
use crate::cluster::{Change, Cluster};
use crate::talk::{self, key, value};

/// Bytes of a value.
const VALUE_BYTES: usize = 200;
/// The zone whose node goes away.
const AWAY: &str = "c";
/// Of each so many keys one is overwritten and one deleted.
const OF: u64 = 3;

/// Runs it.
///
/// # Errors
/// When something could not be tried at all.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let (items, memory) = if bench.short { (60_000, "64MiB") } else { (1_000_000, "512MiB") };
    let mut cluster = Cluster::start(bench, "up-missed", &["--memory", memory])?;
    let node = cluster.node(AWAY)?;
    let file = bench.directory.join("missed-memory").display().to_string();
    let options = ["--memory-file", &file];
    let client = cluster.careful_client("a")?;
    let mut last = cluster.serves(&client, &node, None)?;
    cluster.end(&node, Signal::KILL)?;
    cluster.start_again(&node, &options)?;
    last = cluster.serves(&client, &node, Some(last))?;
    cluster.reaches_all(&client)?;
    let failed = cluster.change(&client, 0..items, |_| Some(Change::Set { round: 0, bytes: VALUE_BYTES }));
    verdict.must(failed == 0, format!("{failed} writes failed while all was well"));
    for (round, signal) in [(1, Signal::TERM), (2, Signal::KILL)] {
        cluster.end(&node, signal)?;
        // A writer of its own, which takes what it has not told the node with it.
        let writer = cluster.client("b")?;
        let failed = cluster.change(&writer, 0..items, move |number| match number % OF {
            0 => Some(Change::Set { round, bytes: VALUE_BYTES }),
            1 => Some(Change::Delete),
            _ => None,
        });
        drop(writer);
        let begun = Instant::now();
        cluster.start_again(&node, &options)?;
        last = cluster.serves(&client, &node, Some(last))?;
        let took = begun.elapsed();
        verdict.figure(format!(
            "after {signal:?} and {} changes missed, of which {failed} failed, it is read from {:.1} s after its start",
            items / OF * 2,
            took.as_secs_f64()
        ));
        judge(verdict, &node, items, round)?;
        // All is as before for the next round.
        let restored =
            move |number| (number % OF == 1).then_some(Change::Set { round: 0, bytes: VALUE_BYTES });
        cluster.reaches_all(&client)?;
        cluster.change(&client, 0..items, restored);
    }
    Ok(())
}

/// Looks at every key where the node was away.
fn judge(verdict: &mut Verdict, node: &NodeReport, items: u64, round: u64) -> anyhow::Result<()> {
    let found = talk::get(node.memcached, 0..items)?;
    let (mut stale, mut returned, mut missing) = (Vec::new(), Vec::new(), 0);
    for number in 0..items {
        let round = if number % OF == 0 { round } else { 0 };
        match found.get(&number) {
            Some(_) if number % OF == 1 => returned.push(key(number)),
            Some(there) if *there != value(number, round, VALUE_BYTES) => stale.push(key(number)),
            None if number % OF != 1 => missing += 1,
            _ => {}
        }
    }
    verdict.none("keys that were overwritten are served as they were", &stale);
    verdict.none("keys that were deleted are back", &returned);
    verdict.must(missing == 0, format!("{missing} of {items} keys are missing"));
    Ok(())
}
