//! A node of the client's zone is stopped, and goes on as if nothing had been.

use std::time::Duration;

use anyhow::Context;

use crate::Bench;
use crate::clock::ms;
use crate::fault::{Scene, judge};
use crate::verdict::Verdict;

/// Runs it.
///
/// # Errors
/// When the cluster does not start or the node does not go on.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let mut scene = Scene::set(bench, "up-freeze", verdict)?;
    let secs = |short, long| Duration::from_secs(if bench.short { short } else { long });
    let lengths = (secs(3, 10), secs(10, 30), secs(6, 30));
    let (times, taken, starved) = scene.play(
        lengths,
        |stage, zone| {
            let node = stage.nodes_of(zone).into_iter().next().context("a zone without nodes")?;
            stage.freeze(&[node])
        },
        |_, frozen| {
            drop(frozen);
            Ok(())
        },
    )?;
    judge(verdict, times, &taken, &starved);
    let awake = taken.stale.iter().filter(|stale| stale.begun >= times.healed);
    let longest = awake.clone().map(|stale| stale.begun - times.healed).max().unwrap_or(0);
    verdict.figure(format!(
        "{} stale reads in all, {} after it woke, the last {:.0} ms after",
        taken.stale.len(),
        awake.count(),
        ms(longest)
    ));
    scene.converge(verdict)
}
