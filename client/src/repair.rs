//! Writes that a replica has missed, until it has them.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::key::Key;
use crate::request::Change;
use crate::version::Version;

mod drain;
mod newcomer;
mod peer;
#[cfg(feature = "discovery")]
mod tell;

pub(crate) use drain::{drain_until, wake};
pub(crate) use newcomer::hand_to_newcomers;
#[cfg(feature = "discovery")]
pub(crate) use tell::{tell, tell_at_the_end};

/// What an entry takes besides its key and value: two tree nodes and a map entry.
const ENTRY_BYTES: usize = 256;

/// A node, whatever its address: its server group and its ring name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId {
    pub(crate) group: String,
    pub(crate) node: String,
}

/// A write that a node has missed.
#[derive(Debug, Clone)]
pub(crate) struct Repair {
    pub(crate) key: Key,
    pub(crate) change: Change,
    pub(crate) version: Version,
}

/// What was given up for lack of room: the node, and the lowest version it may lack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RepairsDropped {
    /// The node's server group.
    pub group: String,
    /// Its ring name.
    pub node: String,
    /// How many.
    pub count: u64,
    /// The lowest version among them.
    pub lowest: Version,
}

/// Missed writes by node, within a limit of bytes. Pure.
///
/// Of one key only the newest is kept. When there is no room the oldest set of the node with the most bytes goes; a
/// delete only when no set is left, since what it would have removed may be served for as long as it lives.
#[derive(Debug)]
pub(crate) struct RepairQueue {
    bytes_max: usize,
    /// Of all entries, those handed out included.
    bytes: usize,
    nodes: BTreeMap<NodeId, Missed>,
    dropped: BTreeMap<NodeId, (u64, Version)>,
    /// Of what was dropped, the lowest version that discovery was not told of.
    untold: BTreeMap<NodeId, Version>,
}

/// What one node has missed, oldest first.
#[derive(Debug, Default)]
struct Missed {
    sets: BTreeMap<(Version, Key), Repair>,
    deletes: BTreeMap<(Version, Key), Repair>,
    newest: HashMap<Key, Version>,
    /// Of the entries here.
    bytes: usize,
    /// Handed out and not settled.
    in_flight: usize,
    /// Those, by key.
    flying: HashMap<Key, Flying>,
}

/// Writes of one key, handed out and not settled.
#[derive(Debug)]
struct Flying {
    count: u32,
    /// The lowest version that was among them.
    lowest: Version,
}

impl RepairQueue {
    /// An empty queue of so many bytes, overhead included.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            nodes: BTreeMap::new(),
            dropped: BTreeMap::new(),
            untold: BTreeMap::new(),
        }
    }

    /// `node` has missed this write. Returns how many were given up to make room.
    pub(crate) fn put(&mut self, node: NodeId, repair: Repair) -> u64 {
        self.bytes += repair.bytes();
        let missed = self.nodes.entry(node).or_default();
        self.bytes -= missed.put(repair);
        self.make_room()
    }

    /// Up to `max` of the oldest writes that `node` has missed, counting those handed out and not settled.
    pub(crate) fn take(&mut self, node: &NodeId, max: usize) -> Vec<Repair> {
        let Some(missed) = self.nodes.get_mut(node) else { return Vec::new() };
        let mut taken = Vec::new();
        while missed.in_flight < max {
            let Some(repair) = missed.pop() else { break };
            missed.in_flight += 1;
            let lowest = repair.version;
            let flying = missed.flying.entry(repair.key.clone()).or_insert(Flying { count: 0, lowest });
            *flying = Flying { count: flying.count + 1, lowest: flying.lowest.min(lowest) };
            taken.push(repair);
        }
        taken
    }

    /// A write handed out was executed, or is not needed any more.
    pub(crate) fn settled(&mut self, node: &NodeId, repair: &Repair) {
        self.bytes -= repair.bytes();
        self.landed(node, &repair.key);
    }

    /// A write handed out failed once more. Returns how many were given up to make room.
    pub(crate) fn put_back(&mut self, node: &NodeId, repair: Repair) -> u64 {
        let key = repair.key.clone();
        let missed = self.nodes.entry(node.clone()).or_default();
        self.bytes -= missed.put(repair);
        self.landed(node, &key);
        self.make_room()
    }

    /// Takes all that `node` has missed and is not handed out: it has gone, or keeps no versions.
    pub(crate) fn forget(&mut self, node: &NodeId) -> Vec<Repair> {
        let Some(missed) = self.nodes.get_mut(node) else { return Vec::new() };
        let all: Vec<Repair> = std::iter::from_fn(|| missed.pop()).collect();
        self.bytes -= all.iter().map(Repair::bytes).sum::<usize>();
        self.tidy(node);
        all
    }

    /// All that is not handed out, and whom it waits for.
    pub(crate) fn waiting(&self) -> Vec<(NodeId, Repair)> {
        let of = |(node, missed): (&NodeId, &Missed)| {
            let repairs = missed.sets.values().chain(missed.deletes.values());
            repairs.map(|repair| (node.clone(), repair.clone())).collect::<Vec<_>>()
        };
        self.nodes.iter().flat_map(of).collect()
    }

    /// The nodes that have missed something.
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.nodes.keys().cloned().collect()
    }

    /// Whether `node` has missed something.
    pub(crate) fn misses_any(&self, node: &NodeId) -> bool {
        self.nodes.contains_key(node)
    }

    /// Whether `node` has missed a write of this key.
    pub(crate) fn misses(&self, node: &NodeId, key: &Key) -> bool {
        self.nodes
            .get(node)
            .is_some_and(|missed| missed.newest.contains_key(key) || missed.flying.contains_key(key))
    }

    /// Writes that some node has missed, those handed out included.
    pub(crate) fn len(&self) -> usize {
        self.nodes.values().map(|missed| missed.newest.len() + missed.in_flight).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was given up for lack of room since the client was made.
    pub(crate) fn dropped(&self) -> Vec<RepairsDropped> {
        let dropped = self.dropped.iter().map(|(id, (count, lowest))| RepairsDropped {
            group: id.group.clone(),
            node: id.node.clone(),
            count: *count,
            lowest: *lowest,
        });
        dropped.collect()
    }

    /// Discovery is to be told that a node misses this version, and nobody will bring it.
    pub(crate) fn not_told(&mut self, id: NodeId, version: Version) {
        let lowest = self.untold.entry(id).or_insert(version);
        *lowest = version.min(*lowest);
    }

    /// Whether discovery is to be told of anything.
    #[cfg(feature = "discovery")]
    pub(crate) fn has_untold(&self) -> bool {
        !self.untold.is_empty()
    }

    /// What discovery is to be told: of each node the lowest version that it misses.
    #[cfg(feature = "discovery")]
    pub(crate) fn take_untold(&mut self) -> BTreeMap<NodeId, Version> {
        std::mem::take(&mut self.untold)
    }

    /// What each node has missed and does not have: how many writes, and the lowest version among them.
    pub(crate) fn left(&self) -> Vec<(NodeId, usize, Version)> {
        let left = |(id, missed): (&NodeId, &Missed)| {
            Some((id.clone(), missed.newest.len() + missed.in_flight, missed.lowest()?))
        };
        self.nodes.iter().filter_map(left).collect()
    }

    fn landed(&mut self, node: &NodeId, key: &Key) {
        if let Some(missed) = self.nodes.get_mut(node) {
            missed.in_flight = missed.in_flight.saturating_sub(1);
            if let Some(flying) = missed.flying.get_mut(key) {
                flying.count -= 1;
                if flying.count == 0 {
                    missed.flying.remove(key);
                }
            }
        }
        self.tidy(node);
    }

    fn tidy(&mut self, node: &NodeId) {
        if self.nodes.get(node).is_some_and(|missed| missed.newest.is_empty() && missed.in_flight == 0) {
            self.nodes.remove(node);
        }
    }

    fn make_room(&mut self) -> u64 {
        let mut given_up = 0;
        while self.bytes > self.bytes_max {
            let fullest = |missed: &&(&NodeId, &Missed)| (!missed.1.sets.is_empty(), missed.1.bytes);
            let nodes: Vec<_> = self.nodes.iter().collect();
            let Some(id) = nodes.iter().max_by_key(fullest).map(|(id, _)| (*id).clone()) else { break };
            // All that is left is handed out.
            let Some(repair) = self.nodes.get_mut(&id).and_then(Missed::drop_one) else { break };
            self.bytes -= repair.bytes();
            let dropped = self.dropped.entry(id.clone()).or_insert((0, repair.version));
            *dropped = (dropped.0 + 1, dropped.1.min(repair.version));
            self.not_told(id.clone(), repair.version);
            self.tidy(&id);
            given_up += 1;
        }
        given_up
    }
}

impl Missed {
    /// Keeps the newer of this and what is there of the key. Returns the bytes of the one that goes.
    fn put(&mut self, repair: Repair) -> usize {
        let known = self.newest.get(&repair.key).copied();
        if known.is_some_and(|known| known >= repair.version) {
            return repair.bytes();
        }
        let gone = known.and_then(|known| self.remove(known, &repair.key));
        self.bytes += repair.bytes();
        self.newest.insert(repair.key.clone(), repair.version);
        let tree = if matches!(repair.change, Change::Delete) { &mut self.deletes } else { &mut self.sets };
        tree.insert((repair.version, repair.key.clone()), repair);
        gone.map_or(0, |gone| gone.bytes())
    }

    fn remove(&mut self, version: Version, key: &Key) -> Option<Repair> {
        let place = (version, key.clone());
        let gone = self.sets.remove(&place).or_else(|| self.deletes.remove(&place))?;
        Some(self.gone(gone))
    }

    fn gone(&mut self, gone: Repair) -> Repair {
        self.bytes -= gone.bytes();
        self.newest.remove(&gone.key);
        gone
    }

    fn lowest(&self) -> Option<Version> {
        let first = |tree: &BTreeMap<(Version, Key), Repair>| Some(tree.first_key_value()?.0.0);
        let flying = self.flying.values().map(|flying| flying.lowest);
        flying.chain(first(&self.sets)).chain(first(&self.deletes)).min()
    }

    /// The oldest.
    fn pop(&mut self) -> Option<Repair> {
        let set = self.sets.first_key_value().map(|(place, _)| place);
        let delete = self.deletes.first_key_value().map(|(place, _)| place);
        let from_sets = match (set, delete) {
            (Some(set), Some(delete)) => set < delete,
            (set, _) => set.is_some(),
        };
        let tree = if from_sets { &mut self.sets } else { &mut self.deletes };
        let (_, oldest) = tree.pop_first()?;
        Some(self.gone(oldest))
    }

    /// What is given up first.
    fn drop_one(&mut self) -> Option<Repair> {
        let (_, oldest) = self.sets.pop_first().or_else(|| self.deletes.pop_first())?;
        Some(self.gone(oldest))
    }
}

impl Repair {
    fn bytes(&self) -> usize {
        let value = match &self.change {
            Change::Store { value, .. } => value.len(),
            _ => 0,
        };
        ENTRY_BYTES + self.key.as_bytes().len() + value
    }
}

#[cfg(test)]
mod tests;
