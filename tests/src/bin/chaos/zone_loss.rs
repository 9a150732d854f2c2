//! All nodes of the client's zone are killed, and come back empty.

use std::time::Duration;

use crate::Bench;
use crate::fault::{Scene, judge};
use crate::verdict::Verdict;

/// Runs it.
///
/// # Errors
/// When the cluster does not start or come back.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let mut scene = Scene::set(bench, "up-zone-loss", verdict)?;
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
    let back = taken.stale.iter().filter(|stale| stale.begun >= times.healed);
    let back: Vec<String> = back.map(|stale| format!("{stale:?}")).collect();
    let during = taken.stale.len() - back.len();
    verdict.figure(format!("{during} stale reads before the zone came back, {} after", back.len()));
    verdict.none("stale reads after the zone came back empty", &back);
    scene.converge(verdict)
}
