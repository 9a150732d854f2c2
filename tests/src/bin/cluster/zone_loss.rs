//! A zone dies during a replay, all of it, and comes back.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use evanesce_tests::{Deadline, NodeReport, Process, Raw, Up, UpReport, kill_reported, wait_for_memcached};

use crate::recovery::recovery;
use crate::replay::Replay;
use crate::watcher::{Watcher, all_serve, incarnations};
use crate::{Bench, unix_ms};

/// How long the zone's processes may take to be in the topology again: a lease and some.
const REGISTER_LIMIT: Duration = Duration::from_secs(30);

/// Nodes that have just started settle for five seconds; clients that connect afterwards read them first again.
const IN_USE_LIMIT: Duration = Duration::from_secs(20);

/// Runs it.
///
/// # Errors
/// When a read or write failed, a value was wrong, latency did not recover, or the zone did not come back.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    println!("zone loss: up, fill, replay on a schedule, kill -9 of every process of one zone");
    let up = Up::start(&bench.programs, &bench.directory, "up-zone", &["--memory", "64MiB"])?;
    let report = &up.report;
    let zones = report.zones();
    let [lost, other, ..] = &zones[..] else { bail!("fewer than two zones") };
    fill(bench, report, other)?;
    let nodes = report.nodes.len();
    let survivors: Vec<String> = report
        .discovery
        .iter()
        .filter(|discovery| discovery.zone != *lost)
        .map(|d| d.grpc.to_string())
        .collect();
    let watcher = Watcher::start(&survivors, &report.cluster)?;
    watcher.until("a topology in which all serve", REGISTER_LIMIT, |topology| all_serve(topology, nodes))?;
    let before = incarnations(&*watcher.topology()?, lost);

    lose(bench, report, lost, other)?;
    let untouched = pids_outside(report, lost);
    let begun = Instant::now();
    let restarted = restart(bench, report, lost)?;
    let back = |topology: &evanesce_topology::Topology| {
        all_serve(topology, nodes) && incarnations(topology, lost).iter().all(|node| !before.contains(node))
    };
    watcher.until("the zone's nodes registered anew", REGISTER_LIMIT, back)?;
    let took = begun.elapsed().as_secs_f64();
    println!("  zone {lost} started again from argv: registered and serving after {took:.1} s");
    let own =
        report.discovery.iter().find(|discovery| discovery.zone == *lost).context("a discovery a zone")?;
    let own = Watcher::start(&[own.grpc.to_string()], &report.cluster)?;
    let took =
        own.until("its own discovery publishing all", REGISTER_LIMIT, |topology| all_serve(topology, nodes))?;
    println!("  its own discovery publishes all nodes after {:.1} s more", took.as_secs_f64());
    own.finish()?;
    in_use_again(bench, report, lost)?;
    if untouched != pids_outside(report, lost) {
        bail!("something else was restarted or ended");
    }
    println!("  epochs and nodes as a client saw them: {:?}", watcher.finish()?);
    drop(restarted);
    Ok(())
}

fn fill(bench: &Bench, report: &UpReport, zone: &str) -> anyhow::Result<()> {
    let discoveries = report.discoveries();
    // Not all of it: the replay that loses the zone must write as well as read.
    let limit = (bench.limit / 10).to_string();
    let options =
        ["--discovery", &discoveries, "--cluster", &report.cluster, "--zone", zone, "--limit", &limit];
    Replay::start(&bench.programs, &bench.directory, "zone-fill", &bench.trace, &options)?.finish()?;
    Ok(())
}

/// Replays with clients in the zone that dies and in another, and kills in the middle.
fn lose(bench: &Bench, report: &UpReport, lost: &str, other: &str) -> anyhow::Result<()> {
    let (discoveries, zones) = (report.discoveries(), format!("{lost},{other}"));
    let (rate, limit) = (format!("{}/s", bench.rate), bench.limit.to_string());
    let options = [
        "--discovery",
        &discoveries,
        "--cluster",
        &report.cluster,
        "--zone",
        &zones,
        "--rate",
        &rate,
        "--limit",
        &limit,
    ];
    let mut replay = Replay::start(&bench.programs, &bench.directory, "zone-loss", &bench.trace, &options)?;
    replay.reach(bench.fault_after)?;
    let fault = unix_ms();
    let pids = pids_of(report, lost);
    for pid in &pids {
        kill_reported(*pid, "evanesce")?;
    }
    println!("  killed -9 zone {lost}: pids {pids:?}");
    let ended = replay.finish()?;
    if ended.hiccups.hide_latency(&ended.timeline) {
        println!("  latency is not judged: {}", ended.hiccups.told());
        return Ok(());
    }
    let found = recovery(&ended.timeline, fault, |interval| ended.hiccups.spare(interval))
        .context("latency did not get back to normal")?;
    println!(
        "  latency back to normal (p99 of 100 ms at most {} us) {:.1} s after the kill; slowest request {} us, {} errors",
        found.normal_us, found.seconds, found.worst_us, found.errors
    );
    Ok(())
}

fn pids_of(report: &UpReport, zone: &str) -> Vec<u32> {
    let discoveries = report.discovery.iter().filter(|discovery| discovery.zone == zone).map(|d| d.pid);
    discoveries.chain(report.nodes_of(zone).map(|node| node.pid)).collect()
}

/// The processes outside a zone that run, with when they started.
fn pids_outside(report: &UpReport, zone: &str) -> Vec<(u32, String)> {
    let nodes = report.nodes.iter().filter(|node| node.zone != zone).map(|node| node.pid);
    let discoveries = report.discovery.iter().filter(|discovery| discovery.zone != zone).map(|d| d.pid);
    let pids = nodes.chain(discoveries).chain([report.gateway.pid]);
    pids.map(|pid| (pid, started(pid).unwrap_or_else(|| "gone".to_owned()))).collect()
}

/// When a process started, in the kernel's ticks.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name in parentheses, the start is the 20th field.
    stat.rsplit_once(") ")?.1.split(' ').nth(19).map(str::to_owned)
}

/// Starts every process of a zone by its reported command line.
fn restart(bench: &Bench, report: &UpReport, zone: &str) -> anyhow::Result<Vec<Process>> {
    let discoveries = report.discovery.iter().filter(|discovery| discovery.zone == zone).map(|d| &d.argv);
    let commands = discoveries.chain(report.nodes_of(zone).map(|node| &node.argv));
    let start =
        |(number, argv): (usize, &Vec<String>)| start_again(bench, &format!("again-{zone}-{number}"), argv);
    let processes = commands.enumerate().map(start).collect::<anyhow::Result<Vec<_>>>()?;
    for node in report.nodes_of(zone) {
        wait_for_memcached(node.memcached)?;
    }
    Ok(processes)
}

/// Starts a process by its reported command line.
///
/// # Errors
/// When there is none, or it does not start.
pub(crate) fn start_again(bench: &Bench, name: &str, argv: &[String]) -> anyhow::Result<Process> {
    let (program, arguments) = argv.split_first().context("an empty argv")?;
    Process::start(name, Path::new(program), arguments, &bench.directory)
}

/// Replays in the zone until its nodes are read from: as long as they settle, others are asked first. They must have been
/// warmed up by their siblings, and are written to where that left a key out.
fn in_use_again(bench: &Bench, report: &UpReport, zone: &str) -> anyhow::Result<()> {
    let discoveries = report.discoveries();
    let limit = (bench.limit / 4).max(1).to_string();
    let options =
        ["--discovery", &discoveries, "--cluster", &report.cluster, "--zone", zone, "--limit", &limit];
    let deadline = Deadline::within(IN_USE_LIMIT);
    let counts = loop {
        Replay::start(&bench.programs, &bench.directory, "zone-back", &bench.trace, &options)?.finish()?;
        let counts = report.nodes_of(zone).map(Counts::of).collect::<anyhow::Result<Vec<_>>>()?;
        if deadline.is_over() || counts.iter().all(|count| count.hits > 0) {
            break counts;
        }
    };
    for (node, Counts { given, sets, hits }) in report.nodes_of(zone).zip(counts) {
        println!(
            "  node {} since its start: {given} items given, {sets} written, {hits} hits read",
            node.name
        );
        if hits == 0 {
            bail!("node {} is not in use", node.name);
        }
        if given == 0 {
            bail!("node {} came back cold", node.name);
        }
    }
    Ok(())
}

/// What a node has counted since its start.
struct Counts {
    given: u64,
    sets: u64,
    hits: u64,
}

impl Counts {
    fn of(node: &NodeReport) -> anyhow::Result<Self> {
        let mut raw = Raw::connect(node.memcached)?;
        raw.send(b"stats\r\n")?;
        let text = String::from_utf8_lossy(&raw.read_to(b"END\r\n").bytes).into_owned();
        let value = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse::<u64>().ok()).unwrap_or(0)
        };
        Ok(Self { given: value("evanesce_warm_up_items"), sets: value("cmd_set"), hits: value("get_hits") })
    }
}
