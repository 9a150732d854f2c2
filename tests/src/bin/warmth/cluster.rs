//! A cluster of real processes whose nodes end and come back.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use evanesce_client::{Client, LatchPolicy};
use evanesce_tests::{Deadline, NodeReport, Process, Up, eventually, free_port, pause, signal_reported};
use evanesce_topology::{NodeState, Topology};
use rustix::process::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::Bench;
use crate::held::{owner, placement};
use crate::load::Load;
use crate::talk::{key, value};

/// What the reported pids must run.
const PROGRAM: &str = "evanesce";
/// A node that has not ended by then will not: it has ten seconds to drain.
const END_LIMIT: Duration = Duration::from_secs(20);
/// A lease, a comparison with all siblings, and patience with a busy machine.
const SERVING_LIMIT: Duration = Duration::from_secs(120);
/// To ask a discovery is one call.
const ASK_LIMIT: Duration = Duration::from_secs(20);
/// One answer that `ctl` waits for: this machine may be busy.
const ANSWER_LIMIT: &str = "10s";
/// Between two questions to a discovery.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Writes under way at once.
const CALLERS: u64 = 32;

/// `up`, its nodes by zone, and those that were started again.
pub(crate) struct Cluster<'a> {
    pub(crate) up: Up,
    pub(crate) runtime: Runtime,
    bench: &'a Bench,
    again: Vec<(String, Process)>,
    starts: u32,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Set { round: u64, bytes: usize },
    Delete,
}

impl<'a> Cluster<'a> {
    /// Three zones of one node.
    ///
    /// # Errors
    /// When they do not start.
    pub(crate) fn start(bench: &'a Bench, name: &str, options: &[&str]) -> anyhow::Result<Self> {
        Self::of(bench, name, ("3", "1"), options)
    }

    /// So many zones of so many nodes.
    ///
    /// # Errors
    /// When they do not start.
    pub(crate) fn of(
        bench: &'a Bench,
        name: &str,
        (zones, nodes): (&str, &str),
        options: &[&str],
    ) -> anyhow::Result<Self> {
        let mut all = vec!["--zones", zones, "--nodes", nodes];
        all.extend(options);
        let up = Up::start(&bench.programs, &bench.directory, name, &all)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { up, runtime, bench, again: Vec::new(), starts: 0 })
    }

    /// The node of a zone.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn node(&self, zone: &str) -> anyhow::Result<NodeReport> {
        self.up.report.nodes_of(zone).next().cloned().with_context(|| format!("no node in zone {zone}"))
    }

    /// A client of a zone, whose writes are through where the zone has them.
    ///
    /// # Errors
    /// When it does not connect.
    pub(crate) fn client(&self, zone: &str) -> anyhow::Result<Client> {
        self.client_with(zone, LatchPolicy::Local)
    }

    /// A client of a zone, whose writes are through where all zones have them.
    ///
    /// # Errors
    /// When it does not connect.
    pub(crate) fn careful_client(&self, zone: &str) -> anyhow::Result<Client> {
        self.client_with(zone, LatchPolicy::All)
    }

    fn client_with(&self, zone: &str, latch: LatchPolicy) -> anyhow::Result<Client> {
        let report = &self.up.report;
        let discoveries = report.discovery.iter().map(|discovery| discovery.grpc.to_string());
        let builder = Client::builder(report.cluster.clone()).discovery(discoveries).zone(zone).latch(latch);
        Ok(self.runtime.block_on(builder.connect())?)
    }

    /// Sends a node a signal.
    ///
    /// # Errors
    /// When it runs no more.
    pub(crate) fn signal(&self, node: &NodeReport, signal: Signal) -> anyhow::Result<()> {
        let again = self.again.iter().find(|(name, _)| *name == node.name);
        signal_reported(again.map_or(node.pid, |(_, process)| process.pid()), PROGRAM, signal)
    }

    /// Sends a node a signal that ends it, and waits for its end.
    ///
    /// # Errors
    /// When it does not end.
    pub(crate) fn end(&mut self, node: &NodeReport, signal: Signal) -> anyhow::Result<()> {
        self.signal(node, signal)?;
        if let Some(at) = self.again.iter().position(|(name, _)| *name == node.name) {
            self.again.swap_remove(at).1.wait(END_LIMIT)?;
            return Ok(());
        }
        let pid = node.pid;
        // One that `up` has not waited for yet is a zombie, and has closed its sockets when its last thread has ended: not when
        // its memory is gone, and not when its first thread is a zombie.
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            let is_zombie =
                |stat: String| stat.rsplit(") ").next().is_some_and(|state| state.starts_with('Z'));
            let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
            stat.map_or(true, is_zombie) && threads <= 1
        };
        Ok(eventually("the end of a node", Deadline::within(END_LIMIT), || is_gone().then_some(()))?)
    }

    /// Starts a node again as it was started, with some options more.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start_again(&mut self, node: &NodeReport, options: &[&str]) -> anyhow::Result<()> {
        self.starts += 1;
        let (program, arguments) = node.argv.split_first().context("an empty argv")?;
        let arguments = arguments.iter().map(String::as_str).chain(options.iter().copied());
        let name = format!("{}-{}-again-{}", self.up.report.cluster, node.name, self.starts);
        let process = Process::start(&name, Path::new(program), arguments, &self.bench.directory)?;
        self.again.push((node.name.clone(), process));
        Ok(())
    }

    /// Starts a node that is like another but for its name and addresses, and no part of `up`.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start_new(&mut self, like: &NodeReport, name: &str) -> anyhow::Result<NodeReport> {
        let [memcached, grpc, http] = [free_port()?, free_port()?, free_port()?];
        let mut node = NodeReport { name: name.to_owned(), memcached, grpc, http, ..like.clone() };
        let instead = [("--name", name.to_owned()), ("--listen", memcached.to_string())];
        let instead = instead.into_iter().chain([("--grpc", grpc.to_string()), ("--http", http.to_string())]);
        for (option, value) in instead {
            let at = node.argv.iter().position(|argument| argument == option);
            let at = at.with_context(|| format!("a node without {option}"))? + 1;
            *node.argv.get_mut(at).with_context(|| format!("{option} without a value"))? = value;
        }
        self.start_again(&node, &[])?;
        Ok(node)
    }

    /// Runs `evanesce ctl` to its end. Answers what it printed.
    ///
    /// # Errors
    /// When it fails, or takes longer.
    pub(crate) fn ctl(&mut self, arguments: &[&str], limit: Duration) -> anyhow::Result<String> {
        self.ctl_at(&self.up.report.discoveries(), arguments, limit)
    }

    fn ctl_at(&mut self, discoveries: &str, arguments: &[&str], limit: Duration) -> anyhow::Result<String> {
        self.starts += 1;
        let (name, report) = (format!("ctl-{}-{}", self.up.report.cluster, self.starts), &self.up.report);
        let mut all = vec!["ctl", "--discovery", discoveries, "--cluster", &report.cluster];
        all.extend(["--timeout", ANSWER_LIMIT]);
        all.extend(arguments);
        let mut ctl = Process::start(&name, &self.bench.programs.evanesce, all, &self.bench.directory)?;
        let status = ctl.wait(limit).with_context(|| format!("it printed:\n{}", ctl.printed()))?;
        ensure!(status.success(), "ctl {} ended with {status}: {}", arguments.join(" "), ctl.printed());
        Ok(ctl.printed())
    }

    /// Waits until every discovery shows of the changes of groups what is waited for.
    ///
    /// # Errors
    /// When one does not in time.
    pub(crate) fn all_show(&mut self, what: &str, shows: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        let addresses: Vec<_> =
            self.up.report.discovery.iter().map(|discovery| discovery.grpc.to_string()).collect();
        for address in addresses {
            eventually(what, Deadline::within(SERVING_LIMIT), || {
                let status = self.ctl_at(&address, &["change", "status", "--json"], ASK_LIMIT).ok();
                let shown = status.and_then(|status| serde_json::from_str(&status).ok());
                let is_shown = shown.is_some_and(|shown| shows(&shown));
                if !is_shown {
                    pause(ASK_EVERY);
                }
                is_shown.then_some(())
            })?;
        }
        Ok(())
    }

    /// Waits until another process than that of this incarnation has the node's name and serves. Answers its incarnation.
    ///
    /// # Errors
    /// When none does in time.
    pub(crate) fn serves(&self, client: &Client, node: &NodeReport, but: Option<u64>) -> anyhow::Result<u64> {
        let looks = || self.standing(client, node).filter(|incarnation| Some(*incarnation) != but);
        let what = format!("node {} that serves again", node.name);
        Ok(eventually(&what, Deadline::within(SERVING_LIMIT), looks)?)
    }

    /// Waits until a write of a careful client has come to all zones.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub(crate) fn reaches_all(&self, client: &Client) -> anyhow::Result<()> {
        let written = || self.runtime.block_on(async { client.set("reached", "all").await.ok().map(drop) });
        Ok(eventually("a write that comes to all zones", Deadline::within(SERVING_LIMIT), written)?)
    }

    /// The incarnation of a node that serves.
    pub(crate) fn standing(&self, client: &Client, node: &NodeReport) -> Option<u64> {
        let (incarnation, state) = standing(&*client.topology()?, &node.zone, &node.name)?;
        (state == NodeState::Serving).then_some(incarnation)
    }

    /// Writes items straight to the node of each zone that owns them, all in one version: many more a second than a client
    /// writes one by one.
    ///
    /// # Errors
    /// When a node does not store them.
    pub(crate) fn fill(&self, client: &Client, items: u64, bytes: usize) -> anyhow::Result<()> {
        let flags = format!(" V{}", client.stamp().as_u64());
        let fill = |node: &NodeReport| {
            let ring = placement(client, &node.group)?;
            let is_own = |number: &u64| owner(&ring, &key(*number)).is_ok_and(|own| own == node.memcached);
            crate::talk::set(node.memcached, (0..items).filter(is_own), (0, bytes), &flags)
        };
        std::thread::scope(|scope| {
            let fill = &fill;
            let fills: Vec<_> =
                self.up.report.nodes.iter().map(|node| scope.spawn(move || fill(node))).collect();
            fills
                .into_iter()
                .try_for_each(|fill| fill.join().map_err(|_| anyhow::anyhow!("it broke down"))?)
        })
    }

    /// Changes keys through a client; how many changes failed.
    pub(crate) fn change(
        &self,
        client: &Client,
        numbers: impl Iterator<Item = u64> + Send + 'static,
        change: impl Fn(u64) -> Option<Change> + Send + Sync + 'static,
    ) -> u64 {
        crate::cluster::change(&self.runtime, client, numbers, change)
    }
}

/// Changes keys through a client; how many changes failed.
pub(crate) fn change(
    runtime: &Runtime,
    client: &Client,
    numbers: impl Iterator<Item = u64> + Send + 'static,
    change: impl Fn(u64) -> Option<Change> + Send + Sync + 'static,
) -> u64 {
    let (numbers, change) = (Arc::new(parking_lot::Mutex::new(numbers)), Arc::new(change));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, numbers, change) = (client.clone(), Arc::clone(&numbers), Arc::clone(&change));
        let call = async move {
            let mut failed = 0;
            loop {
                let Some(number) = numbers.lock().next() else { return failed };
                let is_written = match change(number) {
                    Some(Change::Set { round, bytes }) => {
                        client.set(key(number), value(number, round, bytes)).await.is_ok()
                    }
                    Some(Change::Delete) => client.delete(key(number)).await.is_ok(),
                    None => true,
                };
                failed += u64::from(!is_written);
            }
        };
        callers.spawn_on(call, runtime.handle());
    }
    runtime.block_on(callers.join_all()).into_iter().sum()
}

/// Incarnation and state of a node.
fn standing(topology: &Topology, zone: &str, name: &str) -> Option<(u64, NodeState)> {
    let group = topology.groups.iter().find(|group| group.zone == zone)?;
    let node = group.nodes.iter().find(|node| node.name == name)?;
    Some((node.incarnation, node.state))
}

/// Of so many keys that a node should have, how many it has, in percent: of keys spread evenly over `items`, or as a load
/// reads them.
pub(crate) fn held_percent(
    address: SocketAddr,
    items: u64,
    asked: u64,
    as_read: bool,
) -> anyhow::Result<f64> {
    let power = if as_read { Load::SKEW } else { 1 };
    let number = |at: u64| ((at as f64 / asked as f64).powi(power) * items as f64) as u64;
    let mut numbers: Vec<u64> = (0..asked.min(items)).map(number).collect();
    let found = crate::talk::get(address, numbers.iter().copied())?;
    numbers.retain(|number| found.contains_key(number));
    Ok(100.0 * numbers.len() as f64 / asked.min(items) as f64)
}
