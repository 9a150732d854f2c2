//! A whole cluster under a trace: hit ratios beside stock memcached, the loss of a zone, the loss of every
//! discovery. `tests/cluster/run` builds what this needs and calls it.

mod discovery_loss;
mod hiccups;
mod ratios;
mod recovery;
mod replay;
mod trace;
mod watcher;
mod zone_loss;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use evanesce_tests::Programs;

/// What every scenario runs on.
struct Bench {
    programs: Programs,
    directory: PathBuf,
    trace: PathBuf,
    /// Memory of a node, in MiB, with which all of the trace fits, and with which it does not.
    memory_mib: (u64, u64),
    /// Requests per second of replays on a schedule.
    rate: u64,
    /// Requests of replays on a schedule.
    limit: u64,
    /// How long a replay runs before the fault.
    fault_after: Duration,
    /// How long discoveries stay away.
    discoveries_away: Duration,
}

/// A scenario and its name on the command line.
type Scenario = (&'static str, fn(&Bench) -> anyhow::Result<()>);

const SCENARIOS: [Scenario; 3] =
    [("ratios", ratios::run), ("zone-loss", zone_loss::run), ("discovery-loss", discovery_loss::run)];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: FAILED: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run() -> anyhow::Result<()> {
    let (mut short, mut trace, mut directory, mut only) = (false, None, std::env::temp_dir(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--short" => short = true,
            "--trace" => trace = Some(PathBuf::from(value()?)),
            "--directory" => directory = value()?.into(),
            "--only" => only = Some(value()?),
            _ => bail!("unknown argument {argument}"),
        }
    }
    if only.as_ref().is_some_and(|only| SCENARIOS.iter().all(|(name, _)| name != only)) {
        bail!("no such scenario: {:?}", SCENARIOS.map(|(name, _)| name));
    }
    let bench = bench(short, trace, directory)?;
    let chosen = SCENARIOS.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name));
    chosen.copied().try_for_each(|(name, scenario)| scenario(&bench).context(name))
}

fn bench(short: bool, trace: Option<PathBuf>, directory: PathBuf) -> anyhow::Result<Bench> {
    let programs = Programs::find()?;
    let secs = Duration::from_secs;
    // The sizes that go with the trace: a given one is large, ours holds some 60 MB.
    let memory_mib = if trace.is_some() { (256, 64) } else { (64, 16) };
    let requests = if short { 60_000 } else { 300_000 };
    let trace = trace.map_or_else(|| trace::synthetic(&directory, requests), Ok)?;
    let (rate, limit) = if short { (2000, 40_000) } else { (3000, 180_000) };
    let (fault_after, discoveries_away) = if short { (secs(5), secs(4)) } else { (secs(15), secs(15)) };
    Ok(Bench { programs, directory, trace, memory_mib, rate, limit, fault_after, discoveries_away })
}

/// The wall clock in milliseconds, as timelines have it.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
