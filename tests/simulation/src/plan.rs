//! What a run is made of, drawn from its seed before anything happens: clocks and faults.

use std::collections::BTreeSet;
use std::fmt;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Three zones of two nodes: some keys share a node, and a node's death leaves its zone half alive.
pub const ZONES: [&str; 3] = ["a", "b", "c"];

/// Nodes of a zone.
pub const NODES_PER_ZONE: usize = 2;

/// Clients, by the zone they are in: two share one, and each zone has one.
pub const CLIENT_ZONES: [usize; 4] = [0, 1, 2, 0];

/// Discoveries, which know nothing of each other.
pub const DISCOVERIES: usize = 2;

/// When the workload begins: every node is registered by then, with every discovery.
pub const WORK_FROM_MS: u64 = 1_500;

/// The first fault comes later than this: what goes wrong before it is nobody's fault.
const FAULTS_FROM_MS: u64 = 2_000;

/// Faults begin in a span as long as this, and each lasts up to [`FAULT_MS_MAX`].
const FAULTS_FOR_MS: u64 = 6_000;

/// Long enough for breakers, stalls and leases to be felt.
const FAULT_MS_MAX: u64 = 3_500;

/// When all faults are over.
pub const HEALED_MS: u64 = FAULTS_FROM_MS + FAULTS_FOR_MS + FAULT_MS_MAX;

/// Clocks differ from the right time by so much, but for those that are wrong.
const SKEW_MS_MAX: i64 = 20;

/// Most faults that come one by one in a run; all clients may be cut off besides.
const FAULTS_MAX: usize = 6;

/// How long a step of the simulation lasts: faults begin and end between two.
pub const STEP_MS: u64 = 2;

/// A host of the simulated network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// By its number.
    Discovery(usize),
    /// By its zone and its number there.
    Node(usize, usize),
    /// By its number.
    Client(usize),
}

/// What happens to a way between two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Messages take up to so many milliseconds.
    Slow(u64),
    /// Messages wait until the fault is over, both ways: a freeze, or what TCP sends again.
    Held,
    /// Messages to the second host are lost.
    LostTo,
    /// Messages from the second host are lost.
    LostFrom,
    /// Messages are lost both ways.
    Lost,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// These processes end, and start empty when the fault is over. What a client still had to repair goes with it.
    Crash(Vec<Host>),
    /// These nodes stand still, and find it out afterwards. All sent to them meanwhile is executed then.
    Freeze(Vec<Host>),
    /// All ways between the first and the second hosts.
    Ways(Vec<Host>, Vec<Host>, Way),
}

/// A fault and when it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed {
    /// In milliseconds of the run, whole steps.
    pub from_ms: u64,
    /// In milliseconds of the run, whole steps.
    pub until_ms: u64,
    /// What.
    pub fault: Fault,
}

/// All that a seed decides beforehand.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// What each client's clock is ahead, in milliseconds.
    pub client_skews_ms: Vec<i64>,
    /// What each node's clock is ahead.
    pub node_skews_ms: Vec<Vec<i64>>,
    /// In the order of their beginnings.
    pub faults: Vec<Timed>,
    /// Up to how many milliseconds a message takes while all is well.
    pub latency_ms_max: u64,
    /// How many bytes of missed writes a client keeps: with none, what a zone has missed stays missed.
    pub repair_bytes_max: usize,
}

impl Plan {
    /// What this seed decides.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let client_skews_ms = skews(&mut random, CLIENT_ZONES.len(), &[-3_000, 10_000, -400, 1_500]);
        let nodes = skews(&mut random, ZONES.len() * NODES_PER_ZONE, &[-2_000, 1_000, 3_000]);
        let node_skews_ms = nodes.chunks(NODES_PER_ZONE).map(<[i64]>::to_vec).collect();
        let latency_ms_max = random.random_range(1..=3);
        let count = random.random_range(1..=FAULTS_MAX);
        let mut faults: Vec<Timed> = (0..count).map(|_| timed(&mut random)).collect();
        if random.random_bool(0.4) {
            faults.extend(cut_apart(&mut random));
        }
        faults.extend(death_of_client(seed));
        faults.sort_by_key(|timed| timed.from_ms);
        let repair_bytes_max = 64 << 20;
        Self { seed, client_skews_ms, node_skews_ms, faults, latency_ms_max, repair_bytes_max }
    }

    /// Whether all that is acknowledged of what one place decides adds up in the end: whoever is cut off from whatever, unless
    /// a zone has forgotten what it had while another was in trouble, too.
    #[must_use]
    pub fn promises_sums(&self) -> bool {
        let is_forgotten = self.forgets() && (self.kills_a_client() || !self.spares_a_zone());
        !is_forgotten
    }

    /// Whether a client ends with what it still had to repair.
    #[must_use]
    pub fn kills_a_client(&self) -> bool {
        self.crashes(|host| matches!(host, Host::Client(_)))
    }

    /// Whether one zone runs and is reached all the time. With trouble in all of them, one after the other, what only
    /// one had is gone with it.
    #[must_use]
    pub fn spares_a_zone(&self) -> bool {
        let hit = self.faults.iter().flat_map(|timed| match &timed.fault {
            Fault::Ways(_, _, Way::Slow(_)) => &[],
            Fault::Crash(hosts) | Fault::Freeze(hosts) | Fault::Ways(_, hosts, _) => hosts.as_slice(),
        });
        let zone = |host: &Host| if let Host::Node(zone, _) = host { Some(*zone) } else { None };
        hit.filter_map(zone).collect::<BTreeSet<_>>().len() < ZONES.len()
    }

    /// Whether writes that lie far apart are in the order in which they were made. A client takes over the time of most nodes
    /// that it reaches: of one that is cut off from the others these may be the ones that are wrong.
    #[must_use]
    pub fn promises_order(&self) -> bool {
        let is_wrong = |skew_ms: &i64| skew_ms.abs() > SKEW_MS_MAX;
        !self.cuts_some_off() || !self.node_skews_ms.iter().flatten().any(is_wrong)
    }

    /// Whether some clients are cut off from a zone that others reach.
    fn cuts_some_off(&self) -> bool {
        let is_partial = |timed: &&Timed| match &timed.fault {
            Fault::Crash(_) | Fault::Freeze(_) | Fault::Ways(_, _, Way::Slow(_)) => false,
            Fault::Ways(ones, others, _) => {
                let is_client = |one: &&Host| matches!(one, Host::Client(_));
                let is_of_nodes = others.iter().any(|other| matches!(other, Host::Node(..)));
                is_of_nodes && ones.iter().filter(is_client).count() < CLIENT_ZONES.len()
            }
        };
        self.faults.iter().any(|timed| is_partial(&timed))
    }

    /// Whether some node forgets what it has.
    #[must_use]
    pub fn forgets(&self) -> bool {
        self.crashes(|host| matches!(host, Host::Node(..)))
    }

    fn crashes(&self, is_meant: impl Fn(&Host) -> bool) -> bool {
        let crashes = |timed: &Timed| match &timed.fault {
            Fault::Crash(hosts) => hosts.iter().any(&is_meant),
            Fault::Freeze(_) | Fault::Ways(..) => false,
        };
        self.faults.iter().any(crashes)
    }
}

/// Clocks that differ a little, but for one in some runs.
fn skews(random: &mut StdRng, count: usize, wrong_ms: &[i64]) -> Vec<i64> {
    let mut skews: Vec<i64> = (0..count).map(|_| random.random_range(-SKEW_MS_MAX..=SKEW_MS_MAX)).collect();
    if random.random_bool(0.5) {
        let at = random.random_range(0..count);
        skews[at] = wrong_ms[random.random_range(0..wrong_ms.len())];
    }
    skews
}

fn timed(random: &mut StdRng) -> Timed {
    let between_steps = |ms: u64| ms.next_multiple_of(STEP_MS);
    let from_ms = between_steps(FAULTS_FROM_MS + random.random_range(0..FAULTS_FOR_MS));
    let until_ms = from_ms + between_steps(random.random_range(100..=FAULT_MS_MAX));
    Timed { from_ms, until_ms, fault: fault(random) }
}

/// In every third run one client ends in the middle of its work. Of a generator of its own: what else a seed decides is as it
/// would be without.
fn death_of_client(seed: u64) -> Option<Timed> {
    let mut random = StdRng::seed_from_u64(seed.rotate_left(16) ^ 0x00c1_1e47);
    let Timed { from_ms, until_ms, .. } = timed(&mut random);
    let client = Host::Client(random.random_range(0..CLIENT_ZONES.len()));
    random.random_ratio(1, 3).then(|| Timed { from_ms, until_ms, fault: Fault::Crash(vec![client]) })
}

/// Each client loses a zone at the same time, or one direction of it, and not all the same: what one believes away another
/// takes for well.
fn cut_apart(random: &mut StdRng) -> Vec<Timed> {
    let Timed { from_ms, until_ms, .. } = timed(random);
    let cut = |client| {
        let way = [Way::LostTo, Way::LostFrom, Way::Lost][random.random_range(0..3)];
        let zone = random.random_range(0..ZONES.len());
        let fault = Fault::Ways(vec![Host::Client(client)], nodes_of(zone), way);
        Timed { from_ms, until_ms, fault }
    };
    (0..CLIENT_ZONES.len()).map(cut).collect()
}

fn fault(random: &mut StdRng) -> Fault {
    let zone = random.random_range(0..ZONES.len());
    let node = Host::Node(zone, random.random_range(0..NODES_PER_ZONE));
    let discovery = Host::Discovery(random.random_range(0..DISCOVERIES));
    let way = match random.random_range(0..5) {
        0 => Way::Slow(random.random_range(10..60)),
        1 => Way::Held,
        2 => Way::LostTo,
        3 => Way::LostFrom,
        _ => Way::Lost,
    };
    let client = random.random_range(0..CLIENT_ZONES.len());
    match random.random_range(0..12) {
        0 => Fault::Crash(vec![node]),
        1 => Fault::Crash(nodes_of(zone)),
        2 => Fault::Crash(vec![discovery]),
        3 => Fault::Ways(all_but_nodes(), vec![node], way),
        4 => Fault::Ways(all_but_nodes(), nodes_of(zone), way),
        5 => Fault::Ways(clients_of(|of| of != zone), nodes_of(zone), way),
        6 => Fault::Ways(vec![Host::Client(client)], nodes_of(zone), way),
        7 => Fault::Ways(vec![Host::Client(client)], vec![node], way),
        8 => Fault::Ways(clients_of(|_| true), vec![discovery], way),
        9 => Fault::Freeze(vec![node]),
        10 => Fault::Freeze(nodes_of(zone)),
        _ => Fault::Ways(clients_of(|_| true), nodes_of(zone), Way::Slow(random.random_range(10..60))),
    }
}

/// The nodes of a zone.
#[must_use]
pub fn nodes_of(zone: usize) -> Vec<Host> {
    (0..NODES_PER_ZONE).map(|node| Host::Node(zone, node)).collect()
}

fn clients_of(is_of: impl Fn(usize) -> bool) -> Vec<Host> {
    (0..CLIENT_ZONES.len()).filter(|&client| is_of(CLIENT_ZONES[client])).map(Host::Client).collect()
}

/// All who speak to nodes.
#[must_use]
pub fn all_but_nodes() -> Vec<Host> {
    clients_of(|_| true).into_iter().chain((0..DISCOVERIES).map(Host::Discovery)).collect()
}

impl Host {
    /// Its name in the simulated network.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Discovery(number) => format!("discovery-{number}"),
            Self::Node(zone, number) => format!("node-{}-{number}", ZONES[zone]),
            Self::Client(number) => format!("client-{number}"),
        }
    }
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |hosts: &[Host]| hosts.iter().map(|host| host.name()).collect::<Vec<_>>().join(" ");
        write!(f, "{}..{} ms: ", self.from_ms, self.until_ms)?;
        match &self.fault {
            Fault::Crash(hosts) => write!(f, "crash {}", names(hosts)),
            Fault::Freeze(hosts) => write!(f, "freeze {}", names(hosts)),
            Fault::Ways(ones, others, way) => write!(f, "{way:?} [{}] -> [{}]", names(ones), names(others)),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "clients' clocks ahead by {:?} ms", self.client_skews_ms)?;
        writeln!(f, "nodes' clocks ahead by {:?} ms", self.node_skews_ms)?;
        self.faults.iter().try_for_each(|timed| writeln!(f, "{timed}"))
    }
}
