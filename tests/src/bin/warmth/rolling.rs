//! `evanesce ctl rolling-restart` of a whole cluster, under load.

use std::time::{Duration, Instant};

use evanesce_tests::{Process, Verdict, pause};

use crate::Bench;
use crate::cluster::{Change, Cluster};
use crate::load::Load;

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
    let cluster = Cluster::start(bench, "up-rolling", &["--memory", memory, "--restart"])?;
    let clients =
        ["a", "b", "c"].map(|zone| cluster.client(zone)).into_iter().collect::<Result<Vec<_>, _>>()?;
    for (zone, client) in ["a", "b", "c"].iter().zip(&clients) {
        cluster.serves(client, &cluster.node(zone)?, None)?;
    }
    let filler = cluster.careful_client("a")?;
    let failed = cluster.change(&filler, 0..items, |_| Some(Change::Set { round: 0, bytes: VALUE_BYTES }));
    verdict.must(failed == 0, format!("{failed} writes failed while all was well"));
    let load = Load { clients, items, value_bytes: VALUE_BYTES, per_second };
    let running = load.start(&cluster.runtime);
    let begun = Instant::now();
    pause(BEFORE);
    let restarted = Instant::now();
    let discoveries = cluster.up.report.discoveries();
    let arguments = ["ctl", "--discovery", &discoveries, "--cluster", &cluster.up.report.cluster];
    let arguments = arguments.into_iter().chain(["rolling-restart", "--pause", "1s", "--within", "2m"]);
    let mut ctl = Process::start("ctl-rolling", &bench.programs.evanesce, arguments, &bench.directory)?;
    let status = ctl.wait(LIMIT);
    let ended = Instant::now();
    let taken = running.finish(&cluster.runtime)?;
    verdict
        .must(status.as_ref().is_ok_and(|status| status.success()), format!("{status:?}: {}", ctl.printed()));
    let (requests, failed, wrong) = taken.counts();
    let (before, lowest) =
        (taken.hits_min_percent(begun, restarted), taken.hits_min_percent(restarted, ended));
    verdict.figure(format!(
        "3 nodes restarted in {:.1} s under {requests} requests: {failed} failed, {wrong} wrong; hits {before:.2} % \
         before, {lowest:.2} % in the worst second; p99 {:.1} ms before, {:.1} ms meanwhile",
        (ended - restarted).as_secs_f64(),
        taken.p99(begun, restarted).as_secs_f64() * 1e3,
        taken.p99(restarted, ended).as_secs_f64() * 1e3,
    ));
    verdict.must(failed == 0, format!("{failed} requests failed"));
    verdict.must(wrong == 0, format!("{wrong} values were wrong"));
    verdict.must(
        before - lowest <= POINTS_MAX,
        format!("the hit ratio fell from {before:.2} % to {lowest:.2} %, by at most {POINTS_MAX} points"),
    );
    Ok(())
}
