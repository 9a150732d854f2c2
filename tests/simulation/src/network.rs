//! Faults put on the simulated network and its hosts, and taken off again.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use turmoil::Sim;

use crate::plan::{CLIENT_ZONES, Fault, Host, Timed, Way, ZONES, all_but_nodes, nodes_of};
use crate::world::World;

/// Ways that get another latency at a time, of some forty.
const LATENCIES_CHANGED: usize = 4;

/// What is wrong now.
pub(crate) struct Network {
    /// All ways that are used.
    all: Vec<(Host, Host)>,
    /// By the faults' places in the plan.
    ways: BTreeMap<(Host, Host), BTreeMap<usize, Way>>,
    /// How many faults each host is down by.
    down: BTreeMap<Host, usize>,
}

impl Network {
    /// One where all is well.
    pub(crate) fn new(hosts: &[Host]) -> Self {
        let rank = |host: &Host| match host {
            Host::Client(_) => 0,
            Host::Discovery(_) => 1,
            Host::Node(..) => 2,
        };
        let all = pairs(hosts, hosts).into_iter().filter(|(one, other)| rank(one) < rank(other)).collect();
        Self { all, ways: BTreeMap::new(), down: BTreeMap::new() }
    }

    /// Begins and ends what is due.
    pub(crate) fn turn(&mut self, sim: &mut Sim<'_>, world: &World, now_ms: u64) {
        let mut changed = false;
        for (at, timed) in world.plan.faults.iter().enumerate() {
            let Timed { from_ms, until_ms, fault } = timed;
            if *from_ms == now_ms {
                world.history.lock().note(format!("begins: {timed}"));
                self.begin(sim, world, at, fault);
                changed = true;
            } else if *until_ms == now_ms {
                world.history.lock().note(format!("ends: {timed}"));
                self.end(sim, world, at, fault);
                changed = true;
            }
        }
        if changed {
            self.show_reach(world, now_ms);
        }
    }

    fn begin(&mut self, sim: &mut Sim<'_>, world: &World, at: usize, fault: &Fault) {
        match fault {
            Fault::Crash(hosts) => {
                for host in hosts {
                    let down = self.down.entry(*host).or_default();
                    *down += 1;
                    if *down == 1 {
                        if let Some(client) = world.clients.borrow_mut().remove(host) {
                            world.history.lock().died(&host.name(), client.repairs_pending());
                        }
                        sim.crash(host.name());
                        world.nodes.borrow_mut().remove(host);
                    }
                }
            }
            Fault::Freeze(hosts) => {
                world.freeze(hosts, true);
                self.begin_ways(sim, at, pairs(&all_but_nodes(), hosts), Way::Held);
            }
            Fault::Ways(ones, others, way) => self.begin_ways(sim, at, pairs(ones, others), *way),
        }
    }

    fn end(&mut self, sim: &mut Sim<'_>, world: &World, at: usize, fault: &Fault) {
        match fault {
            Fault::Crash(hosts) => {
                for host in hosts {
                    let down = self.down.entry(*host).or_insert(1);
                    *down -= 1;
                    if *down == 0 {
                        sim.bounce(host.name());
                    }
                }
            }
            Fault::Freeze(hosts) => {
                // Before anything comes.
                world.freeze(hosts, false);
                self.end_ways(sim, at, pairs(&all_but_nodes(), hosts));
            }
            Fault::Ways(ones, others, _) => self.end_ways(sim, at, pairs(ones, others)),
        }
    }

    fn begin_ways(&mut self, sim: &mut Sim<'_>, at: usize, pairs: Vec<(Host, Host)>, way: Way) {
        for pair in pairs {
            self.ways.entry(pair).or_default().insert(at, way);
            self.put(sim, pair);
        }
    }

    fn end_ways(&mut self, sim: &mut Sim<'_>, at: usize, pairs: Vec<(Host, Host)>) {
        for pair in pairs {
            self.ways.entry(pair).or_default().remove(&at);
            self.put(sim, pair);
        }
    }

    /// Makes a way what all its faults together make it.
    fn put(&self, sim: &mut Sim<'_>, pair: (Host, Host)) {
        let (one, other) = (pair.0.name(), pair.1.name());
        let ways: Vec<Way> =
            self.ways.get(&pair).into_iter().flat_map(|ways| ways.values().copied()).collect();
        let has = |way: Way| ways.contains(&way);
        // Well again, whatever it was; what was held goes on.
        sim.release(one.as_str(), other.as_str());
        if has(Way::Lost) || (has(Way::LostTo) && has(Way::LostFrom)) {
            sim.partition(one.as_str(), other.as_str());
        } else if has(Way::LostTo) {
            sim.partition_oneway(one.as_str(), other.as_str());
        } else if has(Way::LostFrom) {
            sim.partition_oneway(other.as_str(), one.as_str());
        } else if has(Way::Held) {
            sim.hold(one.as_str(), other.as_str());
        }
    }

    /// Gives some ways another latency. Drawn here, and not for each message: of messages sent in one millisecond the
    /// order is left to chance that no seed governs.
    pub(crate) fn change_latencies(&mut self, sim: &Sim<'_>, world: &World, random: &mut StdRng) {
        for _ in 0..LATENCIES_CHANGED {
            let pair = self.all[random.random_range(0..self.all.len())];
            let slow = |way: &Way| if let Way::Slow(ms) = way { Some(*ms) } else { None };
            let ways = self.ways.get(&pair).into_iter().flat_map(BTreeMap::values);
            let most_ms = ways.filter_map(slow).max().unwrap_or(world.plan.latency_ms_max);
            let latency = Duration::from_millis(random.random_range(0..=most_ms));
            sim.set_link_latency(pair.0.name(), pair.1.name(), latency);
        }
    }

    fn show_reach(&self, world: &World, now_ms: u64) {
        let mut reach = world.reach.borrow_mut();
        for client in 0..CLIENT_ZONES.len() {
            for zone in 0..ZONES.len() {
                let is_clear = nodes_of(zone).into_iter().all(|node| {
                    let way = self.ways.get(&(Host::Client(client), node));
                    let is_up = self.down.get(&node).is_none_or(|down| *down == 0);
                    is_up && way.is_none_or(BTreeMap::is_empty)
                });
                reach.set(client, zone, is_clear, now_ms);
            }
        }
    }
}

fn pairs(ones: &[Host], others: &[Host]) -> Vec<(Host, Host)> {
    ones.iter().flat_map(|one| others.iter().map(move |other| (*one, *other))).collect()
}
