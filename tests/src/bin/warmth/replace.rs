//! A node is killed under load, and a newcomer takes its name: it is given what it owns by the sibling zones.

use std::time::Duration;

use evanesce_tests::clock::{ms, now_ns, ns};
use evanesce_tests::witness::Witness;
use evanesce_tests::{Deadline, Verdict, eventually, pause};
use rustix::process::Signal;

use crate::Bench;
use crate::cluster::{Cluster, held_percent};
use crate::load::Load;
use crate::taken::Borne;
use crate::talk::stat;

/// Bytes of a value: with its key about what Netflix's items of 2.2 GB in 15 million have.
const VALUE_BYTES: usize = 130;
/// The zone whose node dies.
const LOST: &str = "b";
/// How long all is quiet before.
const BEFORE: Duration = Duration::from_secs(4);
/// So long after its first item it is asked what it could answer by then.
const NEARLY_WARM: Duration = Duration::from_secs(10);
/// What it may be without when it serves.
const MISSING_PERCENT_MAX: f64 = 0.1;
/// A part of the measured peak.
const LOAD_SHARE: f64 = 0.5;
/// What the zone's hit ratio may drop by from [`NEARLY_WARM`] on, in points.
const POINTS_MAX: f64 = 0.5;
/// What p99 may rise by.
const P99_TIMES: f64 = 2.0;
/// A killed node is silent until its memory is gone, and only then are its connections: meanwhile the others get its load in
/// bursts, and the client refuses what they cannot bear ...
const SILENT_MAX: Duration = Duration::from_secs(1);
/// ... of what is due then, such a share at most.
const REFUSED_SHARE: f64 = 0.01;
/// Half of the peak and a warm-up leave a tenth of the machine to what was due while it stood still.
const CATCH_UP: u64 = 10;
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
    cluster.fill(&client, items, VALUE_BYTES)?;
    let mut load = Load { clients: vec![client.clone()], items, value_bytes: VALUE_BYTES, per_second };
    if !bench.short {
        let peak = load.peak(&cluster.runtime);
        load.per_second = peak * LOAD_SHARE;
        verdict.figure(format!("load {:.0}/s, half of the peak", load.per_second));
    }
    let (witness, running, begun) = (Witness::start(), load.start(&cluster.runtime), now_ns());
    pause(BEFORE);
    let killed = now_ns();
    cluster.end(&node, Signal::KILL)?;
    cluster.start_again(&node, &[])?;
    let given = || stat(node.memcached, "evanesce_warm_up_items").unwrap_or(0);
    eventually("the first items of a warm-up", Deadline::within(LIMIT), || (given() > 0).then_some(()))?;
    let first = now_ns();
    let mut after_ten = None;
    let serves = || {
        if now_ns() >= first + ns(NEARLY_WARM) && after_ten.is_none() {
            after_ten = held_percent(node.memcached, items, ASKED, true).ok();
        }
        let incarnation_now = cluster.standing(&client, &node)?;
        (incarnation_now != incarnation).then_some(())
    };
    eventually("a newcomer that serves", Deadline::within(LIMIT), serves)?;
    let warm = now_ns();
    let (held, given) = (held_percent(node.memcached, items, ASKED, false)?, given());
    let after_ten = after_ten.unwrap_or(held);
    let taken = running.finish(&cluster.runtime)?;
    let starved = witness.finish();
    let seconds = ms(warm - first) / 1e3;
    let mb = given as f64 * (VALUE_BYTES + crate::talk::key(0).len()) as f64 / 1e6;
    verdict.figure(format!(
        "{given} items in {seconds:.1} s ({:.0} a second, {:.1} MB/s), serving {:.1} s after the kill; it has \
         {after_ten:.2} % of what is read after 10 s at most, and {held:.2} % of all in the end",
        given as f64 / seconds,
        mb / seconds,
        ms(warm - killed) / 1e3,
    ));
    let ill = (killed, killed + ns(SILENT_MAX));
    taken.judge_outcomes(verdict, &Borne { ill, share: REFUSED_SHARE, catch_up: CATCH_UP }, &starved);
    let settled = first + ns(NEARLY_WARM);
    let (early, late) = ((killed, settled.min(warm)), (if settled < warm { settled } else { first }, warm));
    verdict.figure(format!(
        "hits from the kill until {} s after its first item {:.2} % in the worst second; {}",
        NEARLY_WARM.as_secs(),
        taken.hits_min_percent(early),
        taken.seconds_below((killed, warm), 100.0 - POINTS_MAX),
    ));
    taken.judge_hits(verdict, (begun, killed), late, POINTS_MAX);
    taken.judge_p99(verdict, (&[(begun, killed)], &[(first, warm)]), (P99_TIMES, bench.short), &starved);
    let least = 100.0 - MISSING_PERCENT_MAX;
    verdict.must(held >= least, format!("the newcomer holds {held:.2} %, at least {least:.2} %"));
    Ok(())
}
