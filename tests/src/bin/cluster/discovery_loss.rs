//! All discoveries die during a replay and come back.

use std::time::Duration;

use anyhow::Context;
use evanesce_tests::{Up, kill_reported, pause};
use evanesce_topology::NodeState;

use crate::Bench;
use crate::replay::Replay;
use crate::watcher::{Watcher, addresses, all_serve};
use crate::zone_loss::start_again;

/// How long until a client follows a discovery that was started again, and until a death is seen: two leases.
const FOLLOW_LIMIT: Duration = Duration::from_secs(30);

/// Runs it.
///
/// # Errors
/// When a request failed, a client saw an empty topology or an epoch run backwards, or nobody follows afterwards.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    println!("discovery loss: replay on a schedule, kill -9 of every discovery, start them again");
    let up = Up::start(&bench.programs, &bench.directory, "up-discovery", &["--memory", "64MiB"])?;
    let report = &up.report;
    let nodes = report.nodes.len();
    let watcher = Watcher::start(&addresses(report), &report.cluster)?;
    watcher.until("a topology in which all serve", FOLLOW_LIMIT, |topology| all_serve(topology, nodes))?;

    let (discoveries, zones) = (report.discoveries(), report.zones().join(","));
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
    let mut replay =
        Replay::start(&bench.programs, &bench.directory, "discovery-loss", &bench.trace, &options)?;
    replay.reach(bench.fault_after)?;
    for discovery in &report.discovery {
        kill_reported(discovery.pid, "evanesce")?;
    }
    println!("  killed -9 all {} discoveries", report.discovery.len());
    pause(bench.discoveries_away);
    let start =
        |(number, argv): (usize, &Vec<String>)| start_again(bench, &format!("discovery-{number}"), argv);
    let again = report.discovery.iter().map(|discovery| &discovery.argv).enumerate().map(start);
    let again = again.collect::<anyhow::Result<Vec<_>>>()?;
    println!("  started them again {:?} later", bench.discoveries_away);
    replay.finish()?;

    for discovery in &report.discovery {
        let fresh = Watcher::start(&[discovery.grpc.to_string()], &report.cluster)?;
        let serve = |topology: &evanesce_topology::Topology| all_serve(topology, nodes);
        fresh.until("a new client finding all nodes", FOLLOW_LIMIT, serve)?;
        fresh.finish()?;
    }
    println!("  a new client finds all {nodes} nodes at each of them");
    let epoch = watcher.topology()?.epoch;
    let node = report.nodes.last().context("there are nodes")?;
    kill_reported(node.pid, "evanesce")?;
    let down = |topology: &evanesce_topology::Topology| {
        let mut all = topology.groups.iter().flat_map(|group| &group.nodes);
        topology.epoch > epoch && all.any(|found| found.name == node.name && found.state == NodeState::Down)
    };
    let took = watcher.until("a node's death after the restart", FOLLOW_LIMIT, down)?;
    println!("  the old client sees node {} down {:.1} s after its kill", node.name, took.as_secs_f64());
    println!("  epochs and nodes as the old client saw them: {:?}", watcher.finish()?);
    drop(again);
    Ok(())
}
