//! The whole system on one machine: per zone a discovery and its nodes, one gateway; each a real process of this same
//! binary.
//!
//! ```text
//!   places ──> plan ──> fleet: one child per process, its stdin a pipe, its output a log file
//!                         │
//!                       ready: /health/ready of each, the topology of each discovery
//!                         │
//!                       report: the table, lines to try, --json FILE (json_file)
//!                         │
//!                       watch: a dead child is reported (--restart: started again) until told to end
//! ```

mod demo;
mod fleet;
mod json_file;
mod places;
mod plan;
mod ready;
mod report;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bytesize::ByteSize;
use clap::Parser;
use evanesce_node::namespace_faults;
use evanesce_topology::{NameKind, RingProfile, check_name};
use tokio::time::Instant;

use crate::config;
use crate::output;
use crate::stop::{Stop, Stops};
use fleet::{Ended, Fleet};
use json_file::JsonFile;
use plan::Plan;

/// How long everything together may take to be ready: a second is usual; this is for a machine under load.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Before a dead child is started again, so that one that dies at once does not spin.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Zones are named by letters.
const ZONES_MAX: i64 = 26;
/// Nodes of a zone, each with an address of its own in the last octet.
const NODES_MAX: i64 = 200;

const EXAMPLES: &str = "\
Examples:
  evanesce up                                    3 zones of 2 nodes, 64MiB each
  evanesce up --zones 1 --nodes 1                the smallest cluster
  evanesce up --demo-store                       namespaces over a backing store, to try
  evanesce up --namespace user,guarantee=16MiB   keys user:... keep a quarter of each node
  evanesce up --ring evcache --cluster EVCACHE   as Netflix's Java client expects it
  evanesce up --json cluster.json                for scripts: who is where, how to start each

On Linux every process gets a loopback address of its own, 127.x.y.z, with the default ports; the
gateway takes 127.0.0.1:11211 where that is free. Elsewhere: free ports of 127.0.0.1.
Ctrl-C ends all within 10 s.";

/// Run a whole cluster on this machine, until Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "up", after_help = EXAMPLES)]
pub(crate) struct Up {
    /// Zones, each with a discovery and one full copy of the data.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=ZONES_MAX))]
    zones: u8,
    /// Nodes per zone.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=NODES_MAX))]
    nodes: u8,
    /// Memory per node, as in 64MiB.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_memory)]
    memory: String,
    /// Count, guarantee and limit a namespace by itself on every node, as the node's flag of this name; once for each.
    #[arg(long = "namespace", value_name = config::NAMESPACE, value_parser = parse_namespace)]
    namespaces: Vec<String>,
    /// Threads per node, and of the gateway.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// The cluster's name.
    #[arg(long, value_name = "NAME", default_value = "HOME", value_parser = parse_cluster)]
    cluster: String,
    /// How keys find their node: `evanesce`, or `evcache` as Netflix's Java client computes it.
    #[arg(long, value_name = "PROFILE", default_value_t = RingProfile::EVANESCE)]
    ring: RingProfile,
    /// Give the gateway a backing store on this machine's disk: keys user:... are written through to it, keys session:... behind,
    /// keys page:... are read from it.
    #[arg(long)]
    demo_store: bool,
    /// How long a node that stopped renewing counts as alive, and how long each step of a change of groups takes at least.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = config::parse_lease)]
    lease: Duration,
    /// When all is ready, write who is where to this file (whole, by rename).
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Start a process that died again, instead of only reporting it.
    #[arg(long)]
    restart: bool,
    /// Where discoveries keep their state and every process its log. Unless given: a temporary directory, removed at
    /// the end.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

fn parse_cluster(text: &str) -> Result<String, String> {
    check_name(NameKind::Cluster, text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn parse_memory(text: &str) -> Result<String, String> {
    match text.parse::<ByteSize>() {
        Ok(size) if size >= ByteSize::mib(8) => Ok(text.to_owned()),
        Ok(_) => Err("a node needs at least 8MiB".to_owned()),
        Err(_) => Err("write a size such as 64MiB or 2GiB".to_owned()),
    }
}

fn parse_namespace(text: &str) -> Result<String, String> {
    config::parse_namespace(text).map(|_| text.to_owned())
}

/// Where things are kept.
enum DataDir {
    /// The operator's own.
    Kept(PathBuf),
    /// Removed at the end.
    Temporary(tempfile::TempDir),
}

impl DataDir {
    fn open(chosen: Option<PathBuf>) -> anyhow::Result<Self> {
        match chosen {
            Some(path) => {
                std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
                let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
                Ok(Self::Kept(path))
            }
            None => {
                let dir = tempfile::Builder::new().prefix("evanesce-up-").tempdir();
                Ok(Self::Temporary(dir.context("cannot make a temporary directory; see --data-dir")?))
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(dir) => dir.path(),
        }
    }

    /// Keeps a temporary directory for whoever wants to know what went wrong.
    fn keep(self) -> PathBuf {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(dir) => dir.keep(),
        }
    }
}

impl Up {
    /// Runs until told to end.
    pub(crate) fn main(self) -> ExitCode {
        let outcome = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")
            .and_then(|runtime| runtime.block_on(self.run()));
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                output::complain(&format!("evanesce up: {error:#}"));
                ExitCode::FAILURE
            }
        }
    }

    async fn run(self) -> anyhow::Result<()> {
        self.check_namespaces()?;
        let mut stops = Stops::listen()?;
        let json = self.json.as_deref().map(JsonFile::claim).transpose().context("--json")?;
        let data_dir = DataDir::open(self.data_dir.clone())?;
        let places = places::find(usize::from(self.zones), usize::from(self.nodes))?;
        let plan = Plan::new(&self.shape()?, data_dir.path(), &places);
        if self.demo_store {
            demo::write(data_dir.path())?;
        }
        let mut fleet = Fleet::start(plan, data_dir.path())?;
        let lived = tokio::select! {
            lived = self.live(&mut fleet, json.as_ref()) => lived,
            stop = stops.next() => {
                if stop != Stop::ParentGone {
                    output::complain("\nending; once more ends at once");
                }
                Ok(())
            }
        };
        let ended = fleet.end(&mut stops).await;
        drop(places);
        if lived.is_err() {
            output::complain(&format!("logs are kept in {}", data_dir.keep().display()));
        }
        lived.and(ended)
    }

    /// Every node would refuse what is wrong with them together: better told once.
    fn check_namespaces(&self) -> anyhow::Result<()> {
        let memory: ByteSize = self.memory.parse().map_err(anyhow::Error::msg)?;
        let namespaces: Result<Vec<_>, _> =
            self.namespaces.iter().map(|text| config::parse_namespace(text)).collect();
        let memory_bytes = usize::try_from(memory.as_u64()).unwrap_or(usize::MAX);
        let faults = namespace_faults(&namespaces.map_err(anyhow::Error::msg)?, memory_bytes);
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        anyhow::ensure!(faults.is_empty(), "--namespace: {}", faults.join("; "));
        Ok(())
    }

    fn shape(&self) -> anyhow::Result<plan::Shape> {
        let exe = std::env::current_exe().context("cannot find this program's own file")?;
        Ok(plan::Shape {
            exe: exe.display().to_string(),
            cluster: self.cluster.clone(),
            profile: self.ring,
            memory: self.memory.clone(),
            threads: self.threads,
            namespaces: self.namespaces.clone(),
            demo_store: self.demo_store,
            lease: self.lease,
        })
    }

    /// Never ends by itself but in failure.
    async fn live(&self, fleet: &mut Fleet, json: Option<&JsonFile>) -> anyhow::Result<()> {
        ready_or_why(fleet).await?;
        let strangers = ready::strangers(fleet.plan()).await;
        if !strangers.is_empty() {
            output::complain(&report::strangers(fleet, &strangers));
        }
        write_json(fleet, json)?;
        output::text(&report::welcome(fleet))?;
        // In order, because all pause as long.
        let mut due = VecDeque::new();
        loop {
            tokio::select! {
                ended = fleet.next_ended() => {
                    output::complain(&format!("\n{}", report::obituary(fleet, &ended)));
                    if self.restart {
                        due.push_back((Instant::now() + RESTART_PAUSE, ended.index));
                    }
                }
                index = next_due(&mut due) => match fleet.restart(index) {
                    Ok(pid) => {
                        complain_restarted(fleet, index, pid);
                        // The cluster goes on without.
                        write_json(fleet, json).unwrap_or_else(|error| output::complain(&format!("{error:#}")));
                    }
                    Err(error) => {
                        output::complain(&format!("{error:#}"));
                        due.push_back((Instant::now() + RESTART_PAUSE, index));
                    }
                },
            }
        }
    }
}

fn write_json(fleet: &Fleet, json: Option<&JsonFile>) -> anyhow::Result<()> {
    json.map_or(Ok(()), |json| json.write(&report::file(fleet)))
}

/// Waits for the first restart to be due; forever where there is none. Cancel-safe.
async fn next_due(due: &mut VecDeque<(Instant, usize)>) -> usize {
    match due.front() {
        Some((at, _)) => tokio::time::sleep_until(*at).await,
        None => std::future::pending().await,
    }
    let (_, index) = due.pop_front().expect("there was a front");
    index
}

/// Waits until everything is ready, or says what is not, and why.
async fn ready_or_why(fleet: &mut Fleet) -> anyhow::Result<()> {
    let mut waiting = ready::Waiting::new(fleet.plan());
    let deadline = Instant::now() + READY_WITHIN;
    let ended = {
        let plan = fleet.plan().clone();
        tokio::select! {
            () = waiting.until_ready(&plan) => return Ok(()),
            ended = fleet.next_ended() => Some(ended),
            () = tokio::time::sleep_until(deadline) => None,
        }
    };
    match ended {
        Some(ended) => anyhow::bail!("{}", died_early(fleet, &ended)),
        None => anyhow::bail!("not ready within {}:\n{waiting}", humantime::format_duration(READY_WITHIN)),
    }
}

fn complain_restarted(fleet: &Fleet, index: usize, pid: u32) {
    output::complain(&format!("{} is started again, as pid {pid}", fleet.process(index).name));
}

fn died_early(fleet: &Fleet, ended: &Ended) -> String {
    format!("{}\n{}", report::obituary(fleet, ended), fleet.log_tail(ended.index))
}
