//! What a client knows, for a support ticket.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::core::Core;
use crate::member::Member;
use crate::repair::RepairsDropped;

/// A client's state at one moment: who it knows, how they fare, what is owed to whom. No keys, values or secrets.
///
/// `Display` writes it as text to read, serde as whatever you like.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Diagnostics {
    /// The version of this crate.
    pub client_version: &'static str,
    /// The cluster's name.
    pub cluster: String,
    /// The zone this process runs in, as it was told.
    pub zone: String,
    /// The epoch in force; none once closed.
    pub epoch: Option<u64>,
    /// The server groups that are resized: two rings of theirs are in force.
    pub resized: Vec<String>,
    /// The zones that are read, in the order in which they are asked.
    pub zones: Vec<String>,
    /// What is added to this machine's clock, in milliseconds, since most nodes' clocks say so.
    pub clock_correction_ms: i64,
    /// Keys read since the client was made.
    pub reads: u64,
    /// Loads under way.
    pub loads: usize,
    /// Writes that some replica has missed and does not have yet.
    pub repairs_pending: usize,
    /// The bytes they take.
    pub repair_bytes: usize,
    /// Missed writes given up for lack of room.
    pub repairs_dropped: Vec<RepairsDropped>,
    /// The near caches; none without the feature `near-cache`.
    pub near_caches: Vec<NearCacheDiagnostics>,
    /// The nodes, as the topology has them.
    pub nodes: Vec<NodeDiagnostics>,
}

/// What one near cache holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NearCacheDiagnostics {
    /// Its namespace; `default` is that of all that have none of their own.
    pub namespace: String,
    /// What it holds, overhead included.
    pub bytes: u64,
    /// What it may hold.
    pub bytes_max: u64,
    /// For how long it serves an item at most.
    pub ttl: Duration,
}

/// How one node fares.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NodeDiagnostics {
    /// Its zone.
    pub zone: String,
    /// Its server group.
    pub group: String,
    /// Its ring name.
    pub node: String,
    /// Where it speaks memcached.
    pub address: SocketAddr,
    /// Where the connection is in its life.
    pub connection: String,
    /// Why there is no connection.
    pub failure: Option<String>,
    /// Whether the breaker keeps reads away from it.
    pub breaker_open: bool,
    /// Whether it keeps versions.
    pub versions: bool,
    /// Requests without an outcome.
    pub outstanding: usize,
    /// Single reads under way.
    pub reads_in_flight: u32,
    /// The most that may be.
    pub reads_limit: u32,
    /// What 95 of 100 recent reads took at most; none while too few are known.
    pub p95: Option<Duration>,
    /// Whether it has missed writes that are kept for it.
    pub misses_writes: bool,
}

impl Diagnostics {
    pub(crate) fn of(core: &Core) -> Self {
        let cluster = core.cluster();
        // Its lock is held alone.
        let (missing, repairs_pending, repair_bytes, repairs_dropped) = {
            let repairs = core.repairs.lock();
            (repairs.nodes(), repairs.len(), repairs.bytes(), repairs.dropped())
        };
        let nodes = cluster.iter().flat_map(|cluster| cluster.members());
        let nodes = nodes.map(|member| NodeDiagnostics::of(member, missing.contains(&member.id())));
        let resized = cluster.iter().flat_map(|cluster| cluster.resized());
        let zones = cluster.iter().flat_map(|cluster| cluster.zones());
        Self {
            client_version: env!("CARGO_PKG_VERSION"),
            cluster: core.settings.cluster.clone(),
            zone: core.settings.zone.clone(),
            epoch: cluster.as_ref().map(|cluster| cluster.placement().topology().epoch.0),
            resized: resized.map(str::to_owned).collect(),
            zones: zones.map(|zone| zone.to_string()).collect(),
            clock_correction_ms: core.clock.correction_ms(),
            reads: core.reads(),
            loads: core.flights.active(),
            repairs_pending,
            repair_bytes,
            repairs_dropped,
            near_caches: core.near.diagnostics(),
            nodes: nodes.collect(),
        }
    }
}

impl NodeDiagnostics {
    fn of(member: &Member, misses_writes: bool) -> Self {
        let link = &member.link;
        let (reads_in_flight, reads_limit) = link.reads();
        Self {
            zone: member.zone.clone(),
            group: member.group.clone(),
            node: member.name.clone(),
            address: link.connection.address(),
            connection: format!("{:?}", link.connection.state()),
            failure: link.connection.failure().map(|failure| failure.to_string()),
            breaker_open: !link.is_calm(),
            versions: link.connection.speaks_versions(),
            outstanding: link.outstanding(),
            reads_in_flight,
            reads_limit,
            p95: link.round_trips.p95(),
            misses_writes,
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epoch = self.epoch.map_or_else(|| "none: closed".to_owned(), |epoch| epoch.to_string());
        writeln!(
            f,
            "evanesce-client {}, cluster {}, zone {:?}",
            self.client_version, self.cluster, self.zone
        )?;
        writeln!(
            f,
            "epoch {epoch}, reads zones {}, clock {:+} ms",
            self.zones.join(", "),
            self.clock_correction_ms
        )?;
        writeln!(f, "{} reads since the start, {} loads under way", self.reads, self.loads)?;
        writeln!(f, "{} writes missed by some replica, {} bytes", self.repairs_pending, self.repair_bytes)?;
        if !self.resized.is_empty() {
            writeln!(f, "resized, with two rings in force: {}", self.resized.join(", "))?;
        }
        for dropped in &self.repairs_dropped {
            writeln!(f, "given up: {} writes to {}/{}", dropped.count, dropped.group, dropped.node)?;
        }
        for NearCacheDiagnostics { namespace, bytes, bytes_max, ttl } in &self.near_caches {
            writeln!(f, "near cache of {namespace}: {bytes} of {bytes_max} bytes, for {ttl:?}")?;
        }
        for node in &self.nodes {
            writeln!(f, "{node}")?;
        }
        Ok(())
    }
}

impl fmt::Display for NodeDiagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { zone, group, node, address, connection, .. } = self;
        write!(f, "{zone} {group}/{node} {address}: {connection}")?;
        if let Some(failure) = &self.failure {
            write!(f, " ({failure})")?;
        }
        if self.breaker_open {
            f.write_str(", breaker open")?;
        }
        if !self.versions {
            f.write_str(", no versions")?;
        }
        if self.misses_writes {
            f.write_str(", misses writes")?;
        }
        write!(f, ", {} outstanding, ", self.outstanding)?;
        write!(f, "{} of {} reads", self.reads_in_flight, self.reads_limit)?;
        match self.p95 {
            Some(p95) => write!(f, ", p95 {} us", p95.as_micros()),
            None => Ok(()),
        }
    }
}
