//! Hit ratio through the smart client beside that of one stock memcached with the same memory a zone.

use anyhow::bail;
use evanesce_tests::{Up, start_memcached};

use crate::Bench;
use crate::replay::{Replay, Report};

/// Nodes a zone that `up` starts by default.
const NODES_PER_ZONE: u64 = 2;
/// When all fits, the ratios are the same but for requests in flight.
const FITS_POINTS_MAX: f64 = 0.5;
/// Under eviction, ours may be this much below.
const EVICTING_POINTS_BELOW_MAX: f64 = 2.0;

/// Runs both sizes.
///
/// # Errors
/// When a replay is not clean or a ratio is out of bounds.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    let (fits_mib, evicting_mib) = bench.memory_mib;
    let (ours, stock) = pair(bench, fits_mib)?;
    let points = ours.hit_percent() - stock.hit_percent();
    println!("  all fits: {points:+.3} points beside stock memcached");
    if points.abs() > FITS_POINTS_MAX {
        bail!("the hit ratios differ by more than {FITS_POINTS_MAX} points");
    }
    let (ours, stock) = pair(bench, evicting_mib)?;
    let points = ours.hit_percent() - stock.hit_percent();
    println!("  under eviction: {points:+.3} points beside stock memcached");
    if points < -EVICTING_POINTS_BELOW_MAX {
        bail!("the hit ratio is more than {EVICTING_POINTS_BELOW_MAX} points below");
    }
    Ok(())
}

fn pair(bench: &Bench, node_mib: u64) -> anyhow::Result<(Report, Report)> {
    let total_mib = node_mib * NODES_PER_ZONE;
    println!("ratios: {node_mib} MiB a node, {total_mib} MiB a zone");
    let memory = format!("{node_mib}MiB");
    let mut up =
        Up::start(&bench.programs, &bench.directory, &format!("up-{memory}"), &["--memory", &memory])?;
    let discoveries = up.report.discoveries();
    let zone = &up.report.zones()[0];
    let options = ["--discovery", &discoveries, "--cluster", &up.report.cluster, "--zone", zone];
    let name = format!("smart-{memory}");
    let ours = Replay::start(&bench.programs, &bench.directory, &name, &bench.trace, &options)?.finish()?;
    up.process.terminate()?;

    let (_memcached, address) = start_memcached(&bench.programs, &bench.directory, total_mib, &[])?;
    let address = address.to_string();
    let name = format!("stock-{memory}");
    let stock =
        Replay::start(&bench.programs, &bench.directory, &name, &bench.trace, &["--target", &address])?
            .finish()?;
    let (ours, stock) = (ours.report, stock.report);
    if ours.requests != stock.requests {
        bail!("the replays are of different length");
    }
    Ok((ours, stock))
}
