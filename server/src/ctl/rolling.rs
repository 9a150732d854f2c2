//! `rolling-restart`: node by node and zone by zone, each warm and serving before the next one goes.
//!
//! ```text
//!   all serve? ── no ──> refused, nothing is touched
//!      │ yes
//!      v
//!   one node: drain, or the operator's command ──> another process has its name ──> warm, serves ──> pause ─┐
//!      ^                                                                                                    │
//!      └───────────────────────────────── all serve again ──────────────────────────────────────────────────┘
//! ```
//!
//! A key has one owner in each zone. So with one node away at a time each key is held by all zones but one, and the node
//! that comes back is given its items by them, or has them from its memory file.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use evanesce_grpc::admin::v1::{DrainRequest, GetStatusRequest};
use evanesce_topology::{Node, NodeState, ServerGroup, Topology};
use futures_util::future::join_all;
use serde::Serialize;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout_at};

use crate::ctl::Done;
use crate::ctl::process::DEADLINE_AS_CONFIGURED;
use crate::ctl::reach::Reach;
use crate::output;

/// Between two looks: soon enough for an operator, too seldom to be load.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A supervisor starts a process again within this, unless there is none.
const BACK_USUALLY: Duration = Duration::from_secs(30);

/// Which nodes, and how.
#[derive(Debug, Args)]
pub(crate) struct RollingArgs {
    /// The nodes by name; all of the cluster, or of --zone, unless given.
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// The shell command that restarts a node, with {node}, {zone} and {group} for its names. Unless given the node is
    /// asked to drain and end, and whatever supervises it must start it again.
    #[arg(long, value_name = "COMMAND")]
    with: Option<String>,
    /// How long one node may take until it is warm and serves.
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = humantime::parse_duration)]
    within: Duration,
    /// How long to wait behind each node, in which clients give it what it missed.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pause: Duration,
}

/// A node that was restarted.
#[derive(Debug, Serialize)]
struct Restarted {
    node: String,
    zone: String,
    /// Until it served again.
    seconds: f64,
}

/// A place on a ring, whoever fills it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    zone: String,
    group: String,
    name: String,
}

impl Place {
    fn of(group: &ServerGroup, node: &Node) -> Self {
        Self { zone: group.zone.clone(), group: group.name.clone(), name: node.name.clone() }
    }

    fn node<'a>(&self, topology: &'a Topology) -> Option<&'a Node> {
        let group = topology.groups.iter().find(|group| group.name == self.group)?;
        group.nodes.iter().find(|node| node.name == self.name)
    }
}

/// `rolling-restart`.
pub(crate) async fn restart(
    reach: &Reach,
    args: &RollingArgs,
    zone: Option<&str>,
    as_json: bool,
) -> anyhow::Result<Done> {
    let topology = reach.topology().await?;
    let places = chosen(&topology, &args.nodes, zone)?;
    let faults = faults(reach, &topology).await;
    ensure!(faults.is_empty(), "nothing was restarted, for not all is well: {}", faults.join("; "));
    let tell = |line: &str| if as_json { Ok(()) } else { output::text(&format!("{line}\n")) };
    let all = places.iter().map(|place| place.name.as_str()).collect::<Vec<_>>().join(", ");
    tell(&format!("to restart, one after the other: {all}"))?;
    if topology.groups.len() == 1 {
        tell("there is one zone only: a node without a memory file comes back empty")?;
    }
    let mut done = Vec::new();
    for (index, place) in places.iter().enumerate() {
        if index > 0 {
            sleep(args.pause).await;
        }
        let one = restart_one(reach, args, place, index > 0, &tell).await;
        let seconds = one.with_context(|| stopped(&places[..index], &places[index..]))?;
        done.push(Restarted { node: place.name.clone(), zone: place.zone.clone(), seconds });
    }
    if as_json {
        output::json(&done)?;
    }
    Ok(Done::Well)
}

/// The nodes meant, zone by zone.
fn chosen(topology: &Topology, named: &[String], zone: Option<&str>) -> anyhow::Result<Vec<Place>> {
    let resized = topology.groups.iter().find(|group| group.second.is_some());
    if let Some(group) = resized {
        bail!(
            "group {} is being resized: let that end, or abort it, before its nodes are restarted",
            group.name
        );
    }
    let places = || {
        let pairs =
            topology.groups.iter().flat_map(|group| group.nodes.iter().map(move |node| (group, node)));
        pairs.map(|(group, node)| Place::of(group, node))
    };
    for name in named {
        let mut names = places().map(|place| place.name);
        if !names.any(|known| known == *name) {
            let names: Vec<_> = places().map(|place| place.name).collect();
            bail!("no node is named {name}: these are {}", names.join(", "));
        }
    }
    let is_meant = |place: &Place| {
        zone.is_none_or(|zone| place.zone == zone) && (named.is_empty() || named.contains(&place.name))
    };
    let chosen: Vec<_> = places().filter(is_meant).collect();
    ensure!(!chosen.is_empty(), "no node of zone {} is meant", zone.unwrap_or("any"));
    Ok(chosen)
}

/// What keeps a node from being taken away: everything that does not serve already.
async fn faults(reach: &Reach, topology: &Topology) -> Vec<String> {
    let nodes = topology.groups.iter().flat_map(|group| &group.nodes);
    let asked =
        nodes.map(|node| async move { fault(reach, node).await.map(|why| format!("{} {why}", node.name)) });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Why a node does not serve, or `None`.
async fn fault(reach: &Reach, node: &Node) -> Option<String> {
    if node.state != NodeState::Serving {
        return Some(format!("is {}", node.state));
    }
    let Some(grpc) = node.grpc else {
        return Some("has no gRPC side to ask how it does; start it with --grpc".to_owned());
    };
    let asked = async {
        let mut admin = reach.admin(&grpc.to_string()).await?;
        reach.within(admin.get_status(GetStatusRequest {})).await
    };
    match asked.await {
        Ok(status) if status.get_ref().ready => None,
        Ok(status) => Some(format!("is {} and not ready", status.get_ref().state)),
        Err(error) => Some(format!("at {grpc}: {error:#}")),
    }
}

/// Restarts one node, and returns how many seconds it was until it served again.
async fn restart_one(
    reach: &Reach,
    args: &RollingArgs,
    place: &Place,
    waits: bool,
    tell: &impl Fn(&str) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let began = Instant::now();
    let until = began + args.within;
    let before = all_serve(reach, place, waits.then_some(until)).await?;
    match &args.with {
        Some(command) => run(command, place, until).await?,
        None => drain(reach, &before).await?,
    }
    let (mut said, mut hint_at) = (String::new(), Some(Instant::now() + BACK_USUALLY));
    loop {
        let state = match look(reach, place, before.incarnation).await {
            Look::Serves => {
                let seconds = began.elapsed().as_secs_f64();
                tell(&format!("{}: serves again after {seconds:.1} s", place.name))?;
                return Ok(seconds);
            }
            Look::Back(state) => state,
            Look::Away(state) => {
                if hint_at.take_if(|at| *at <= Instant::now()).is_some() {
                    tell(&format!("{}: does anything start it again? see --with", place.name))?;
                }
                state
            }
        };
        ensure!(Instant::now() < until, "{} does not serve after {:?}; it {state}", place.name, args.within);
        if state != said {
            tell(&format!("{}: {state}", place.name))?;
            said = state;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The node at `place`, once every node serves; waits for that where there is a time to wait until.
async fn all_serve(reach: &Reach, place: &Place, until: Option<Instant>) -> anyhow::Result<Node> {
    loop {
        let why = match reach.topology().await {
            Err(error) => error,
            Ok(topology) => match (place.node(&topology), faults(reach, &topology).await) {
                (Some(node), faults) if faults.is_empty() => return Ok(node.clone()),
                (Some(_), faults) => anyhow!("not all is well: {}", faults.join("; ")),
                (None, _) => anyhow!("{} is no longer on the ring", place.name),
            },
        };
        if until.is_none_or(|until| until <= Instant::now()) {
            return Err(why);
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn drain(reach: &Reach, node: &Node) -> anyhow::Result<()> {
    let grpc = node.grpc.with_context(|| format!("node {} has no gRPC side", node.name))?;
    let asked = async {
        let mut admin = reach.admin(&grpc.to_string()).await?;
        reach.within(admin.drain(DrainRequest { deadline_ms: DEADLINE_AS_CONFIGURED })).await
    };
    asked.await.with_context(|| format!("cannot drain {} at {grpc}", node.name)).map(drop)
}

/// Runs the operator's command. What it prints goes to standard error, which is the operator's too.
async fn run(command: &str, place: &Place, until: Instant) -> anyhow::Result<()> {
    let Place { zone, group, name } = place;
    // Names are letters, digits, dots, dashes and underscores: nothing to a shell, but a dash may begin an option.
    for name in [zone, group, name] {
        ensure!(!name.starts_with('-'), "{name} would be taken for an option: restart such nodes by hand");
    }
    let line = command.replace("{node}", name).replace("{zone}", zone).replace("{group}", group);
    let mut child = Command::new("sh")
        .args(["-c", &line])
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run sh")?;
    let ended = timeout_at(until, child.wait()).await;
    let status =
        ended.map_err(|_| anyhow!("{line:?} has not ended in time"))?.context("cannot wait for sh")?;
    ensure!(status.success(), "{line:?} failed: {status}");
    Ok(())
}

/// What became of a node that was told to end.
enum Look {
    /// Another process has its name and serves.
    Serves,
    /// Another process has its name and does not serve.
    Back(String),
    /// No other process has its name.
    Away(String),
}

async fn look(reach: &Reach, place: &Place, before: u64) -> Look {
    let topology = match reach.topology().await {
        Ok(topology) => topology,
        Err(error) => return Look::Away(format!("{error:#}")),
    };
    match place.node(&topology) {
        None => Look::Away("is no longer on the ring".to_owned()),
        Some(node) if node.incarnation == before && node.state == NodeState::Serving => {
            Look::Away("was told to end".to_owned())
        }
        Some(node) if node.incarnation == before => Look::Away(format!("is {}", node.state)),
        Some(node) => fault(reach, node).await.map_or(Look::Serves, Look::Back),
    }
}

/// For an operator whose rolling restart has stopped half way.
fn stopped(done: &[Place], left: &[Place]) -> String {
    let names =
        |places: &[Place]| places.iter().map(|place| place.name.as_str()).collect::<Vec<_>>().join(" ");
    let done = if done.is_empty() { "none".to_owned() } else { names(done) };
    format!("stopped; restarted: {done}; to go on: evanesce ctl rolling-restart {}", names(left))
}
