//! All nodes of the client's zone are killed, and come back empty.

use std::time::Duration;

use crate::Bench;
use crate::fault::{Scene, judge, two_zones};
use crate::load::Stale;
use crate::verdict::Verdict;
use evanesce_tests::clock::{ms, ns};

/// Clients find the zone one after the other. Until the last has, its writes reach the zone as repairs, and others may
/// read there what it has just overwritten: for the longest delay between two attempts to connect, and some.
const BOUND: Duration = Duration::from_secs(3);

/// A write that its own zone has acknowledged is on its way to the others for so long at most: at half of the peak one read in
/// some hundred thousand meets one.
const ON_ITS_WAY: Duration = Duration::from_millis(20);

/// Runs it.
///
/// # Errors
/// When the cluster does not start or come back.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let mut scene = Scene::set(bench, "up-zone-loss", verdict, two_zones)?;
    let secs = |short, long| Duration::from_secs(if bench.short { short } else { long });
    let lengths = (secs(4, 10), secs(6, 30), secs(6, 30));
    let (times, taken, starved) = scene.play(
        lengths,
        |stage, zone| {
            let nodes = stage.nodes_of(zone);
            nodes.iter().try_for_each(|node| stage.kill(node))?;
            Ok(nodes)
        },
        |stage, nodes| nodes.iter().try_for_each(|node| stage.restart(node)),
    )?;
    judge(verdict, times, &taken, &starved);
    let back: Vec<_> = taken.stale.iter().filter(|stale| stale.begun >= times.healed).collect();
    let since = |stale: &Stale| stale.begun - times.healed;
    let last = back.iter().map(|stale| since(stale)).max().unwrap_or(0);
    let oldest = back.iter().map(|stale| stale.by_ns).max().unwrap_or(0);
    let during = taken.stale.len() - back.len();
    verdict.figure(format!(
        "{during} stale reads before the zone came back, {} after, the last {:.0} ms after, the oldest by {:.3} ms",
        back.len(),
        ms(last),
        ms(oldest)
    ));
    let told = |wrong: &dyn Fn(&Stale) -> bool| -> Vec<String> {
        back.iter().filter(|stale| wrong(stale)).map(|stale| format!("{stale:?}")).collect()
    };
    let brought_back = told(&|stale| stale.begun - stale.by_ns < times.healed);
    verdict.none("reads of what was overwritten before the zone came back", &brought_back);
    let late = told(&|stale| since(stale) > ns(BOUND) && stale.by_ns > ns(ON_ITS_WAY));
    verdict.none("stale reads beyond the bound", &late);
    scene.converge(verdict)
}
