//! A cluster of real processes, and what can be done to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use evanesce_client::{Client, ClientBuilder, ConnectionState};
use evanesce_tests::{
    Deadline, NodeReport, Process, Programs, Up, eventually, kill_reported, pause, signal_reported,
    wait_for_memcached,
};
use rustix::process::Signal;
use tokio::runtime::Runtime;

/// What the reported pids must run.
const PROGRAM: &str = "evanesce";
/// A client has found a node again by then: its longest delay between two attempts, and some.
const BACK_LIMIT: Duration = Duration::from_secs(10);
/// What the repair queue may take to empty.
const REPAIR_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at the repair queues.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// `up`, and the nodes that were started again.
pub(crate) struct Stage {
    pub(crate) up: Up,
    again: Vec<(String, Process)>,
    directory: PathBuf,
}

/// Nodes that do not run. They go on when this goes.
pub(crate) struct Frozen {
    pids: Vec<u32>,
}

impl Stage {
    /// Three zones of two nodes.
    ///
    /// # Errors
    /// When they do not start.
    pub(crate) fn start(programs: &Programs, directory: &Path, name: &str) -> anyhow::Result<Self> {
        let up = Up::start(programs, directory, name, &["--memory", "64MiB"])?;
        Ok(Self { up, again: Vec::new(), directory: directory.to_owned() })
    }

    /// A client of a zone.
    ///
    /// # Errors
    /// When it does not connect.
    pub(crate) async fn client(&self, zone: &str) -> anyhow::Result<Client> {
        Ok(self.builder(zone).connect().await?)
    }

    /// A client of a zone that has not connected yet.
    pub(crate) fn builder(&self, zone: &str) -> ClientBuilder {
        let discoveries = self.up.report.discovery.iter().map(|discovery| discovery.grpc.to_string());
        Client::builder(self.up.report.cluster.clone()).discovery(discoveries).zone(zone)
    }

    /// The nodes of a zone, by their names.
    pub(crate) fn nodes_of(&self, zone: &str) -> Vec<NodeReport> {
        self.up.report.nodes_of(zone).cloned().collect()
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it runs no more.
    pub(crate) fn kill(&mut self, node: &NodeReport) -> anyhow::Result<()> {
        let id = id(node);
        if let Some(at) = self.again.iter().position(|(known, _)| *known == id) {
            // Killed, and waited for.
            drop(self.again.swap_remove(at));
            return Ok(());
        }
        kill_reported(node.pid, PROGRAM)
    }

    /// Starts a killed node again, empty, where it was.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn restart(&mut self, node: &NodeReport) -> anyhow::Result<()> {
        let (program, arguments) = node.argv.split_first().context("an empty argv")?;
        let id = id(node);
        let name = format!("{}-{id}-again", self.up.report.cluster);
        let process = Process::start(&name, Path::new(program), arguments, &self.directory)?;
        self.again.push((id, process));
        wait_for_memcached(node.memcached)
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// When it runs no more.
    pub(crate) fn freeze(&self, nodes: &[NodeReport]) -> anyhow::Result<Frozen> {
        let mut frozen = Frozen { pids: Vec::new() };
        for node in nodes {
            let id = id(node);
            let again = self.again.iter().find(|(known, _)| *known == id);
            let pid = again.map_or(node.pid, |(_, process)| process.pid());
            signal_reported(pid, PROGRAM, Signal::STOP)?;
            frozen.pids.push(pid);
        }
        Ok(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.pids {
            // It fails only for one that has ended.
            let _ = signal_reported(*pid, PROGRAM, Signal::CONT);
        }
    }
}

fn id(node: &NodeReport) -> String {
    format!("{}-{}", node.zone, node.name)
}

/// Waits until each client is connected to every owner of some keys.
///
/// # Errors
/// When it is not in time.
pub(crate) fn all_connected(clients: &[Client], keys: &[String]) -> anyhow::Result<()> {
    let is_up = |client: &Client| {
        let mut owners = keys.iter().filter_map(|key| client.owners(key).ok()).flatten();
        owners.all(|owner| owner.connection == ConnectionState::Up)
    };
    let connected = || clients.iter().all(is_up).then_some(());
    Ok(eventually("all connections of the clients", Deadline::within(BACK_LIMIT), connected)?)
}

/// Waits until no client has repairs pending. Returns how long it took.
///
/// # Errors
/// When it takes too long.
pub(crate) fn repairs_through(clients: &[Client]) -> anyhow::Result<Duration> {
    let deadline = Deadline::within(REPAIR_LIMIT);
    let through = || clients.iter().all(|client| client.repairs_pending() == 0).then_some(());
    eventually("the end of all repairs", deadline, through)?;
    let took = REPAIR_LIMIT - deadline.left();
    // What was copied after the last reads is still on its way.
    pause(LOOK_EVERY);
    Ok(took)
}

/// The suite's own runtime.
///
/// # Errors
/// When the machine has no threads left.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
