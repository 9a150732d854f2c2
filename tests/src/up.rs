//! `evanesce up`, and what it reports.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use crate::process::Process;
use crate::programs::Programs;
use crate::wait::{Deadline, eventually};

/// A cluster of some zones on two busy cores takes seconds; a minute means it is not coming.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The file of `up --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct UpReport {
    /// The cluster's name.
    pub cluster: String,
    /// One discovery per zone.
    pub discovery: Vec<DiscoveryReport>,
    /// The gateway.
    pub gateway: GatewayReport,
    /// All nodes.
    pub nodes: Vec<NodeReport>,
}

/// One discovery.
#[derive(Debug, Clone, Deserialize)]
pub struct DiscoveryReport {
    /// Its zone.
    pub zone: String,
    /// gRPC address.
    pub grpc: SocketAddr,
    /// HTTP address.
    pub http: SocketAddr,
    /// Process id.
    pub pid: u32,
    /// The command that starts it again.
    pub argv: Vec<String>,
}

/// The gateway.
#[derive(Debug, Clone, Deserialize)]
pub struct GatewayReport {
    /// Where it speaks memcached.
    pub memcached: SocketAddr,
    /// gRPC address.
    pub grpc: SocketAddr,
    /// HTTP address.
    pub http: SocketAddr,
    /// Process id.
    pub pid: u32,
    /// The command that starts it again.
    pub argv: Vec<String>,
}

/// One node.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Its server group.
    pub group: String,
    /// Its ring text.
    pub ring: String,
    /// Where it speaks memcached.
    pub memcached: SocketAddr,
    /// gRPC address.
    pub grpc: SocketAddr,
    /// HTTP address.
    pub http: SocketAddr,
    /// Process id.
    pub pid: u32,
    /// The command that starts it again.
    pub argv: Vec<String>,
}

/// A running `evanesce up`.
#[derive(Debug)]
pub struct Up {
    /// The process; its children end with it.
    pub process: Process,
    /// What it reported.
    pub report: UpReport,
}

impl Up {
    /// Starts a cluster and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time, with what it printed.
    pub fn start(programs: &Programs, directory: &Path, name: &str, options: &[&str]) -> anyhow::Result<Up> {
        let path = directory.join(format!("{name}.json"));
        // One of an earlier run would look like this one's.
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        let json = path.display().to_string();
        let mut arguments = vec!["up", "--json", &json];
        arguments.extend(options);
        let mut process = Process::start(name, &programs.evanesce, arguments, directory)?;
        let ready = || (path.exists() || process.ended().is_some()).then_some(());
        eventually("the report of up", Deadline::within(START_LIMIT), ready).with_context(|| {
            format!(
                "up printed:\n{}",
                std::fs::read_to_string(directory.join(format!("{name}.log"))).unwrap_or_default()
            )
        })?;
        process.check()?;
        let text = std::fs::read_to_string(&path).context("up ended before it was ready")?;
        let report = serde_json::from_str(&text).with_context(|| format!("not the promised JSON: {text}"))?;
        Ok(Up { process, report })
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Asked to end, it takes its logs and state with it; killed, it would leave them.
        let _ = self.process.terminate();
    }
}

impl UpReport {
    /// The zones, sorted.
    #[must_use]
    pub fn zones(&self) -> Vec<String> {
        let mut zones: Vec<String> = self.nodes.iter().map(|node| node.zone.clone()).collect();
        zones.sort();
        zones.dedup();
        zones
    }

    /// The nodes of a zone.
    pub fn nodes_of<'a>(&'a self, zone: &'a str) -> impl Iterator<Item = &'a NodeReport> {
        self.nodes.iter().filter(move |node| node.zone == zone)
    }

    /// All discoveries' gRPC addresses, separated by commas, as the tools take them.
    #[must_use]
    pub fn discoveries(&self) -> String {
        let addresses: Vec<String> =
            self.discovery.iter().map(|discovery| discovery.grpc.to_string()).collect();
        addresses.join(",")
    }
}
