//! The server groups that a scene plays on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use evanesce_tests::{Process, Programs, Up, kill_reported, start_memcached, start_node, wait_for_memcached};
use evanesce_topology::{Node, NodeState, Ring, RingProfile, evcache_ring_text};

use crate::lies::{Lie, relay};

/// The app of the Java side; it shards by the ring alone, so it need not be the cluster's name.
const CLUSTER: &str = "EVCACHE_TEST";
/// Nodes in a group without a discovery.
const LOOSE_NODES: usize = 3;
/// Far more than a scene stores, for both kinds of server.
const MEMORY_MIB: u64 = 64;

/// One server group, on a ring of its own.
pub(crate) struct Group {
    pub(crate) zone: String,
    /// By name, as the ring numbers them.
    pub(crate) members: Vec<Member>,
    ring: Ring,
}

/// One node of ours, or one memcached.
pub(crate) struct Member {
    /// What Java's ring calls it.
    host: String,
    ring_text: String,
    pub(crate) address: SocketAddr,
    /// Where the client finds it.
    seen: SocketAddr,
    server: Server,
}

enum Server {
    /// A child of `up`, and the command that starts it again.
    Reported { pid: u32, argv: Vec<String> },
    /// A child of ours; none when it was stopped.
    Child(Option<Process>),
}

/// Where a scene plays. Fields are dropped in order: children before the cluster.
pub(crate) struct Stage {
    pub(crate) groups: Vec<Group>,
    cluster: Option<Up>,
    directory: PathBuf,
    lie: Option<Lie>,
}

impl Stage {
    /// Zones of ours, with discovery and gateway.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn cluster(
        programs: &Programs,
        directory: &Path,
        name: &str,
        zones: &str,
        nodes: &str,
    ) -> anyhow::Result<Stage> {
        let arguments = ["--zones", zones, "--nodes", nodes, "--ring", "evcache", "--cluster", CLUSTER];
        let up = Up::start(programs, directory, name, &arguments)?;
        let mut groups = Vec::new();
        for zone in up.report.zones() {
            let members = up.report.nodes_of(&zone).map(|node| {
                let server = Server::Reported { pid: node.pid, argv: node.argv.clone() };
                let host = node.ring.split('/').next().unwrap_or_default().to_owned();
                Member {
                    host,
                    ring_text: node.ring.clone(),
                    address: node.memcached,
                    seen: node.memcached,
                    server,
                }
            });
            groups.push(Group::new(&zone, members.collect())?);
        }
        Ok(Stage { groups, cluster: Some(up), directory: directory.to_owned(), lie: None })
    }

    /// Groups that know nothing of each other: those named `ours` of our nodes, the others of stock memcached.
    ///
    /// # Errors
    /// When a server does not start.
    pub(crate) fn loose(programs: &Programs, directory: &Path, zones: &[&str]) -> anyhow::Result<Stage> {
        let mut groups = Vec::new();
        for &zone in zones {
            let ours = zone == "ours";
            let member = |number| -> anyhow::Result<Member> {
                let (process, address) = if ours {
                    start_node(programs, directory, &format!("{MEMORY_MIB}MiB"), &[])?
                } else {
                    start_memcached(programs, directory, MEMORY_MIB, &[])?
                };
                let host = format!("{zone}-{number}");
                let ring_text = evcache_ring_text(&host, address.ip());
                Ok(Member { host, ring_text, address, seen: address, server: Server::Child(Some(process)) })
            };
            groups.push(Group::new(zone, (1..=LOOSE_NODES).map(member).collect::<anyhow::Result<_>>()?)?);
        }
        Ok(Stage { groups, cluster: None, directory: directory.to_owned(), lie: None })
    }

    /// Makes all servers lie.
    ///
    /// # Errors
    /// When a relay finds no port.
    pub(crate) fn lie(&mut self, lie: Lie) -> anyhow::Result<()> {
        self.lie = Some(lie);
        for group in &mut self.groups {
            for member in &mut group.members {
                member.seen = relay(member.address, lie)?;
            }
            if lie == Lie::Stage {
                // The last becomes the first.
                let seen: Vec<_> = group.members.iter().map(|member| member.seen).collect();
                for (member, seen) in group.members.iter_mut().zip(seen.iter().cycle().skip(seen.len() - 1)) {
                    member.seen = *seen;
                }
            }
        }
        Ok(())
    }

    /// Where the gateway speaks memcached, if there is one.
    pub(crate) fn gateway(&self) -> Option<SocketAddr> {
        Some(self.cluster.as_ref()?.report.gateway.memcached)
    }

    /// The node list in EVCache's syntax: `zone=name/ip:port,...;...`.
    pub(crate) fn node_list(&self) -> String {
        let group = |group: &Group| {
            let member = |member: &Member| format!("{}/{}", member.host, member.seen);
            format!("{}={}", group.zone, group.members.iter().map(member).collect::<Vec<_>>().join(","))
        };
        self.groups.iter().map(group).collect::<Vec<_>>().join(";")
    }

    /// A group by its zone.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn group(&self, zone: &str) -> anyhow::Result<&Group> {
        self.groups.iter().find(|group| group.zone == zone).with_context(|| format!("no zone {zone}"))
    }

    /// Kills all nodes of a zone.
    ///
    /// # Errors
    /// When there is no such zone, or a node is gone already.
    pub(crate) fn kill(&mut self, zone: &str) -> anyhow::Result<()> {
        if self.lie == Some(Lie::Stage) {
            return Ok(());
        }
        for member in &mut self.group_mut(zone)?.members {
            match &mut member.server {
                Server::Reported { pid, .. } => kill_reported(*pid, "evanesce")?,
                // Dropping it kills it.
                Server::Child(process) => drop(process.take().context("it was stopped before")?),
            }
        }
        Ok(())
    }

    /// Starts the killed nodes of a zone again where they were.
    ///
    /// # Errors
    /// When one does not start.
    pub(crate) fn start_again(&mut self, zone: &str) -> anyhow::Result<()> {
        if self.lie == Some(Lie::Stage) {
            return Ok(());
        }
        let directory = self.directory.clone();
        for member in &mut self.group_mut(zone)?.members {
            let Server::Reported { argv, .. } = &member.server else { continue };
            let (program, arguments) = argv.split_first().context("an empty argv")?;
            let name = format!("again-{}", member.host);
            let process = Process::start(&name, Path::new(program), arguments, &directory)?;
            member.server = Server::Child(Some(process));
            wait_for_memcached(member.address)?;
        }
        Ok(())
    }

    fn group_mut(&mut self, zone: &str) -> anyhow::Result<&mut Group> {
        self.groups.iter_mut().find(|group| group.zone == zone).with_context(|| format!("no zone {zone}"))
    }
}

impl Group {
    fn new(zone: &str, mut members: Vec<Member>) -> anyhow::Result<Group> {
        members.sort_by(|a, b| a.host.cmp(&b.host));
        let listed: Vec<Node> = members.iter().map(listed).collect();
        let ring = Ring::build(RingProfile::EVCACHE, &listed)?;
        Ok(Group { zone: zone.to_owned(), members, ring })
    }

    /// The address of a key's owner, by our own ring.
    pub(crate) fn owner(&self, key: &str) -> SocketAddr {
        self.owning(key).address
    }

    /// The same address as the client knows it.
    pub(crate) fn owner_seen(&self, key: &str) -> SocketAddr {
        self.owning(key).seen
    }

    fn owning(&self, key: &str) -> &Member {
        let hash = RingProfile::EVCACHE.hash.key_hash(key.as_bytes());
        &self.members[self.ring.owner(hash)]
    }
}

/// A node as a ring wants it.
fn listed(member: &Member) -> Node {
    Node {
        name: member.host.clone(),
        ring_text: member.ring_text.clone(),
        weight: 1,
        state: NodeState::Serving,
        incarnation: 0,
        memcached: member.address,
        grpc: None,
        http: None,
        version: String::new(),
        capabilities: Vec::new(),
    }
}
