//! What must hold: at every look, and once all is quiet.

use std::collections::BTreeMap;

use evanesce_node::SimulatedItem;

use crate::history::{History, Outcome, What, Write, brief};
use crate::plan::{Host, ZONES};
use crate::world::World;

/// The keys of the workload in a node; all others are companions.
const PREFIX: &[u8] = b"sim:";

/// A client keeps so many bytes of missed writes, and no more.
const REPAIR_BYTES_MAX: usize = 64 << 20;

/// Requests of one connection that have no outcome: queued and in flight.
const OUTSTANDING_MAX: usize = 2 * 4096;

/// Looks at everything again and again.
#[derive(Default)]
pub(crate) struct Checker {
    /// The newest version seen of a key at one start of a node.
    versions: BTreeMap<(Host, u64, String), u64>,
    epochs: BTreeMap<Host, u64>,
}

/// A key and what a zone has of it.
type Zone = BTreeMap<String, (String, u64)>;

impl Checker {
    /// One look, between two steps of the simulation.
    pub(crate) fn look(&mut self, world: &World, now_ms: u64) {
        let mut history = world.history.lock();
        for (host, seat) in world.nodes.borrow().iter() {
            for item in seat.node.items(world.node_wall_ms(*host, now_ms)) {
                if let Some((key, value)) = readable(&item) {
                    self.look_at_item(&mut history, (*host, seat.start, key), &value, item.version);
                }
            }
        }
        for (host, client) in world.clients.borrow().iter() {
            let epoch = client.topology().map_or(0, |topology| topology.epoch.0);
            let before = self.epochs.insert(*host, epoch).unwrap_or(0);
            if epoch < before {
                history.violated(format!("{} went from epoch {before} back to {epoch}", host.name()));
            } else if epoch > before {
                history.note(format!("{} has a newer topology", host.name()));
            }
        }
    }

    fn look_at_item(&mut self, history: &mut History, at: (Host, u64, String), value: &str, version: u64) {
        let before = self.versions.insert(at.clone(), version).unwrap_or(0);
        if before == version {
            return;
        }
        let (host, _, key) = at;
        let line = format!("{} has {key} = {:?} of {version}", host.name(), brief(value));
        if version < before {
            history.violated(format!("{line}, and had {before} before"));
        } else if let Some(fault) = history.fault_of(&key, value) {
            history.violated(format!("{line}: {fault}"));
        } else {
            history.note(line);
        }
    }

    /// Bounds that take longer to look at.
    pub(crate) fn look_at_bounds(world: &World) {
        for (host, client) in world.clients.borrow().iter() {
            let known = client.diagnostics();
            let most = known.nodes.iter().map(|node| node.outstanding).max().unwrap_or(0);
            if known.repair_bytes > REPAIR_BYTES_MAX || most > OUTSTANDING_MAX {
                let (bytes, name) = (known.repair_bytes, host.name());
                world.history.lock().violated(format!("{name} keeps {bytes} bytes, {most} requests"));
            }
        }
    }
}

/// Whether no client owes anything to a node.
pub(crate) fn is_quiet(world: &World) -> bool {
    world.clients.borrow().values().all(|client| client.repairs_pending() == 0)
}

/// The end of a run: everything is healed, and nobody has written for a while.
pub(crate) fn conclude(world: &World, now_ms: u64) -> Absent {
    let zones: Vec<Zone> = (0..ZONES.len()).map(|zone| zone_at(world, zone, now_ms)).collect();
    let mut history = world.history.lock();
    for (host, client) in world.clients.borrow().iter() {
        let (pending, name) = (client.repairs_pending(), host.name());
        if pending > 0 {
            history.violated(format!("{name} still owes {pending} writes"));
        }
    }
    let all = history.writes().clone();
    let mut absent = Absent::default();
    for (key, writes) in &all {
        let held: Vec<&(String, u64)> = zones.iter().filter_map(|zone| zone.get(key)).collect();
        absent.0 += u64::from(!held.is_empty()) * (ZONES.len() - held.len()) as u64;
        if held.windows(2).any(|pair| pair[0] != pair[1]) {
            let of = |zone: &Zone| zone.get(key).map(|(value, version)| (brief(value), *version));
            let shown: Vec<_> = ZONES.iter().zip(&zones).map(|(name, zone)| (name, of(zone))).collect();
            history.violated(format!("zones differ in {key}: {shown:?}"));
        }
        let last = held.into_iter().max_by_key(|(_, version)| *version);
        let fault = match key.as_bytes()[0] {
            b'n' | b's' => fault_of_sum(world, writes, last),
            _ => fault_of_last(world, writes, last),
        };
        if let Some(fault) = fault {
            let last = last.map(|(value, version)| (brief(value), *version));
            history.violated(format!("{key} is {last:?} in the end: {fault}"));
        }
    }
    absent
}

/// Items that one zone has and another has not, counted apart: this is a cache.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Absent(pub(crate) u64);

fn zone_at(world: &World, zone: usize, now_ms: u64) -> Zone {
    let nodes = world.nodes.borrow();
    let of_zone = nodes.iter().filter(|(host, _)| matches!(host, Host::Node(of, _) if *of == zone));
    let items = of_zone.flat_map(|(host, seat)| {
        let items = seat.node.items(world.node_wall_ms(*host, now_ms));
        items.into_iter().filter_map(|item| readable(&item).map(|(key, value)| (key, (value, item.version))))
    });
    items.collect()
}

fn readable(item: &SimulatedItem) -> Option<(String, String)> {
    let key = item.key.strip_prefix(PREFIX).filter(|key| !key.starts_with(b"~"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((text(key), text(item.value.trim_ascii_end())))
}

/// What was acknowledged with a version, and lost to none, is not older than what is there in the end.
fn fault_of_last(world: &World, writes: &[Write], last: Option<&(String, u64)>) -> Option<String> {
    let acknowledged = writes.iter().filter_map(|write| match write.outcome {
        Outcome::Done(Some(version)) => Some((version, write)),
        _ => None,
    });
    let (newest, write) = acknowledged.max_by_key(|(version, _)| *version)?;
    let version = last.map_or(0, |(_, version)| *version);
    // Nothing there is no value: a node that ended has taken it along, or a write whose caller knows of no
    // outcome was a delete.
    let is_gone = last.is_none() && (world.plan.forgets() || has_open_delete(writes));
    let is_delete = write.what == What::Delete;
    match () {
        () if version > newest || is_gone || (last.is_none() && is_delete) => None,
        () if last.is_some() && is_delete => Some(format!("{newest} deleted it")),
        () if version < newest => Some(format!("{:?} of {newest} was acknowledged", write.what)),
        () => None,
    }
}

fn has_open_delete(writes: &[Write]) -> bool {
    writes.iter().any(|write| write.what == What::Delete && !matches!(write.outcome, Outcome::NotDone))
}

/// What was added is there once; what may have been added is there once or not.
fn fault_of_sum(world: &World, writes: &[Write], last: Option<&(String, u64)>) -> Option<String> {
    let sum = |which: fn(&Outcome) -> bool| -> u64 {
        let those = writes.iter().filter(|write| which(&write.outcome));
        those.map(|write| write.what.weight()).sum()
    };
    let done = sum(|outcome| matches!(outcome, Outcome::Done(_)));
    let maybe = sum(|outcome| matches!(outcome, Outcome::Unknown | Outcome::Superseded));
    let there = last.map_or(0, |(value, _)| match value.parse::<u64>() {
        Ok(number) => number,
        Err(_) => value.split_terminator(',').count() as u64,
    });
    if there > done + maybe {
        return Some(format!("only {done} were added, and {maybe} perhaps"));
    }
    let is_exact = world.plan.shows_all_clients_the_same();
    (is_exact && there < done).then(|| format!("{done} were added, and {maybe} perhaps"))
}

impl What {
    /// What it adds, each token counting as one.
    fn weight(&self) -> u64 {
        match self {
            Self::Add(number) => *number,
            Self::Append(_) => 1,
            Self::Set(_) | Self::Delete => 0,
        }
    }
}
