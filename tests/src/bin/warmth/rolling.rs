//! `evanesce ctl rolling-restart` of a whole cluster, under load.

use std::time::Duration;

use evanesce_tests::clock::{ms, now_ns};
use evanesce_tests::witness::Witness;
use evanesce_tests::{Verdict, pause};

use crate::Bench;
use crate::cluster::Cluster;
use crate::load::Load;
use crate::taken::{Borne, told};

/// Bytes of a value.
const VALUE_BYTES: usize = 200;
/// How long all is quiet before.
const BEFORE: Duration = Duration::from_secs(3);
/// Three nodes, and patience with a busy machine.
const LIMIT: Duration = Duration::from_secs(240);
/// What a hit ratio may drop by, in points.
const POINTS_MAX: f64 = 0.5;

/// Runs it.
///
/// # Errors
/// When something could not be tried at all.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let (items, memory, per_second) =
        if bench.short { (30_000, "64MiB", 500.0) } else { (1_000_000, "512MiB", 4_000.0) };
    let mut cluster = Cluster::start(bench, "up-rolling", &["--memory", memory, "--restart"])?;
    let clients =
        ["a", "b", "c"].map(|zone| cluster.client(zone)).into_iter().collect::<Result<Vec<_>, _>>()?;
    for (zone, client) in ["a", "b", "c"].iter().zip(&clients) {
        cluster.serves(client, &cluster.node(zone)?, None)?;
    }
    cluster.fill(&clients[0], items, VALUE_BYTES)?;
    let load = Load { clients, items, value_bytes: VALUE_BYTES, per_second };
    let (witness, running, begun) = (Witness::start(), load.start(&cluster.runtime), now_ns());
    pause(BEFORE);
    let restarted = now_ns();
    let ended = cluster.ctl(&["rolling-restart", "--pause", "1s", "--within", "2m"], LIMIT);
    let over = now_ns();
    let taken = running.finish(&cluster.runtime)?;
    let (starved, busy) = (witness.finish(), (restarted, over));
    verdict.must(ended.is_ok(), format!("{ended:?}"));
    verdict.figure(format!("3 nodes restarted in {:.1} s", ms(over - restarted) / 1e3));
    taken.judge_outcomes(verdict, &Borne::default(), &starved);
    taken.judge_hits(verdict, (begun, restarted), busy, POINTS_MAX);
    verdict.figure(format!(
        "p99 {} before, {} meanwhile; {}",
        told(taken.p99((begun, restarted), &starved)),
        told(taken.p99(busy, &starved)),
        starved.told()
    ));
    Ok(())
}
