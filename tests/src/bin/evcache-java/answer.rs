//! What the Java side asks for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use evanesce_tests::{Deadline, NodeReport, Raw, UpReport, eventually, kill_reported};
use evanesce_topology::{Node, NodeState, Ring, RingProfile};

/// Requests sent at once to one server.
const BATCH: usize = 250;
/// How long a write through the gateway may take to be in every zone.
const SPREAD_LIMIT: Duration = Duration::from_secs(10);

/// The cluster, and our own rings over it.
pub(crate) struct Bench<'a> {
    cluster: &'a UpReport,
    rings: BTreeMap<String, (Ring, Vec<&'a NodeReport>)>,
    /// Connections to the nodes and what each had counted.
    counted: Vec<(Raw, String)>,
}

impl Bench<'_> {
    pub(crate) fn new(cluster: &UpReport) -> anyhow::Result<Bench<'_>> {
        let mut rings = BTreeMap::new();
        for zone in cluster.zones() {
            let mut nodes: Vec<_> = cluster.nodes.iter().filter(|node| node.zone == zone).collect();
            nodes.sort_by(|a, b| a.name.cmp(&b.name));
            let listed: Vec<Node> = nodes.iter().map(|node| listed(node)).collect();
            rings.insert(zone.clone(), (Ring::build(RingProfile::EVCACHE, &listed)?, nodes));
        }
        Ok(Bench { cluster, rings, counted: Vec::new() })
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// With what to tell the Java side.
    pub(crate) fn answer(&mut self, asked: &str) -> anyhow::Result<()> {
        match asked.split(' ').collect::<Vec<_>>()[..] {
            ["owners", file] => self.compare_owners(file),
            ["read-owners", keys] => self.written_everywhere(keys.parse()?, "p:place-", "java"),
            ["write-owners", keys] => self.write(keys.parse()?),
            ["connections-before"] => self.count_connections(),
            ["connections-same"] => self.same_connections(),
            ["kill", zone] => self.kill(zone),
            _ => bail!("unknown: {asked}"),
        }
    }

    fn owner(&self, zone: &str, key: &str) -> anyhow::Result<SocketAddr> {
        let (ring, nodes) = self.rings.get(zone).with_context(|| format!("no zone {zone}"))?;
        Ok(nodes[ring.owner(RingProfile::EVCACHE.hash.key_hash(key.as_bytes()))].memcached)
    }

    /// The owners that Java's client computed, against ours.
    fn compare_owners(&self, file: &str) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(file)?;
        let mut compared = 0;
        for line in text.lines() {
            let [key, zone, owner] = line.split(' ').collect::<Vec<_>>()[..] else {
                bail!("not a line: {line}")
            };
            let ours = self.owner(zone, key)?;
            if ours.to_string() != owner {
                bail!("{key} in {zone}: Java has {owner}, we have {ours}");
            }
            compared += 1;
        }
        println!("  {compared} owners compared");
        if compared == 0 { bail!("no owner to compare") } else { Ok(()) }
    }

    /// Reads numbered values from the owner of each in every zone.
    fn written_everywhere(&self, keys: usize, prefix: &str, who: &str) -> anyhow::Result<()> {
        for zone in self.rings.keys() {
            let mut by_owner: BTreeMap<SocketAddr, Vec<usize>> = BTreeMap::new();
            for number in 0..keys {
                by_owner.entry(self.owner(zone, &format!("{prefix}{number}"))?).or_default().push(number);
            }
            for (owner, numbers) in by_owner {
                read(owner, &numbers, prefix, who)?;
            }
        }
        Ok(())
    }

    /// Writes through the gateway, whose client is ours, and waits until every owner has every item.
    fn write(&self, keys: usize) -> anyhow::Result<()> {
        let mut gateway = Raw::connect(self.cluster.gateway.memcached)?;
        let numbers: Vec<usize> = (0..keys).collect();
        for batch in numbers.chunks(BATCH) {
            let set = |number: &usize| {
                let value = format!("rust {number}");
                format!("set p:ours-{number} 0 900 {}\r\n{value}\r\n", value.len())
            };
            let received = gateway.exchange(batch.iter().map(set).collect::<String>().as_bytes());
            if received.bytes != "STORED\r\n".repeat(batch.len()).as_bytes() {
                bail!("the gateway said {}", received.bytes.escape_ascii());
            }
        }
        let mut last = None;
        let everywhere =
            || self.written_everywhere(keys, "p:ours-", "rust").map_err(|error| last = Some(error)).ok();
        let waited = eventually("every item in every zone", Deadline::within(SPREAD_LIMIT), everywhere);
        waited.with_context(|| last.map(|error| error.to_string()).unwrap_or_default())
    }

    fn count_connections(&mut self) -> anyhow::Result<()> {
        self.counted.clear();
        for node in &self.cluster.nodes {
            let mut raw = Raw::connect(node.memcached)?;
            let count = connections(&mut raw)?;
            self.counted.push((raw, count));
        }
        Ok(())
    }

    fn same_connections(&mut self) -> anyhow::Result<()> {
        for (raw, before) in &mut self.counted {
            let now = connections(raw)?;
            if now != *before {
                bail!("a node had {before} connections in all, and now {now}");
            }
        }
        if self.counted.is_empty() { bail!("connections were not counted before") } else { Ok(()) }
    }

    fn kill(&self, zone: &str) -> anyhow::Result<()> {
        self.cluster.nodes_of(zone).try_for_each(|node| kill_reported(node.pid, "evanesce"))
    }
}

/// A node as a ring wants it.
fn listed(node: &NodeReport) -> Node {
    Node {
        name: node.name.clone(),
        ring_text: node.ring.clone(),
        weight: 1,
        state: NodeState::Serving,
        incarnation: 0,
        memcached: node.memcached,
        grpc: None,
        http: None,
        version: String::new(),
        capabilities: Vec::new(),
    }
}

/// Reads values straight from a node.
fn read(node: SocketAddr, numbers: &[usize], prefix: &str, who: &str) -> anyhow::Result<()> {
    let mut raw = Raw::connect(node)?;
    for batch in numbers.chunks(BATCH) {
        let get = |number: &usize| format!("get {prefix}{number}\r\n");
        let hit = |number: &usize| {
            let value = format!("{who} {number}");
            format!("VALUE {prefix}{number} 0 {}\r\n{value}\r\nEND\r\n", value.len())
        };
        let received = raw.exchange(batch.iter().map(get).collect::<String>().as_bytes());
        if received.bytes != batch.iter().map(hit).collect::<String>().as_bytes() {
            let start = &received.bytes[..received.bytes.len().min(200)];
            bail!("{node} does not have all from {prefix}{} on: {}", batch[0], start.escape_ascii());
        }
    }
    Ok(())
}

/// How many connections a node has taken since it began.
fn connections(raw: &mut Raw) -> anyhow::Result<String> {
    let stats = String::from_utf8(raw.exchange(b"stats\r\n").bytes)?;
    let line = stats.lines().find_map(|line| line.strip_prefix("STAT total_connections "));
    Ok(line.context("no total_connections")?.to_owned())
}
