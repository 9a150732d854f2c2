//! What all hosts of a run share beside the network, and the time of day.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evanesce_client::Client;
use evanesce_node::SimulatedNode;
use parking_lot::Mutex;

use crate::history::History;
use crate::plan::{CLIENT_ZONES, Host, Plan, ZONES};

/// When every run begins: the first of 2026, in milliseconds since the Unix epoch.
pub(crate) const BEGIN_UNIX_MS: u64 = 1_767_225_600_000;

/// Where nodes speak memcached.
pub(crate) const NODE_PORT: u16 = 11_211;

/// Where discoveries speak gRPC.
pub(crate) const DISCOVERY_PORT: u16 = 11_300;

/// What all hosts share.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) history: Arc<Mutex<History>>,
    /// Those that run.
    pub(crate) nodes: RefCell<BTreeMap<Host, Seat>>,
    /// Those that are connected.
    pub(crate) clients: RefCell<BTreeMap<Host, Client>>,
    pub(crate) reach: RefCell<Reach>,
    pub(crate) is_working: Cell<bool>,
    /// Clients with callers that wait or go on.
    pub(crate) at_work: Cell<usize>,
    /// All is quiet: each client is to read everything once.
    pub(crate) is_quiet: Cell<bool>,
    /// What each client read then.
    pub(crate) last_reads: RefCell<BTreeMap<Host, LastReads>>,
    /// For how many reasons each node stands still.
    frozen: RefCell<BTreeMap<Host, usize>>,
    addresses: BTreeMap<Host, IpAddr>,
    starts: Cell<u64>,
}

/// Values by key, or why a read failed.
pub(crate) type LastReads = BTreeMap<String, Result<Option<String>, String>>;

/// A node that runs.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) node: Rc<SimulatedNode>,
    /// No other start has this number.
    pub(crate) start: u64,
}

/// Since when nothing lies between a client and a zone, by client and zone; `None` while something does.
pub(crate) struct Reach {
    since_ms: Vec<Vec<Option<u64>>>,
}

impl World {
    pub(crate) fn new(plan: Plan, addresses: BTreeMap<Host, IpAddr>) -> Rc<Self> {
        Rc::new(Self {
            plan,
            history: Arc::default(),
            nodes: RefCell::default(),
            clients: RefCell::default(),
            reach: RefCell::new(Reach { since_ms: vec![vec![Some(0); ZONES.len()]; CLIENT_ZONES.len()] }),
            is_working: Cell::new(true),
            at_work: Cell::new(CLIENT_ZONES.len()),
            is_quiet: Cell::new(false),
            last_reads: RefCell::default(),
            frozen: RefCell::default(),
            addresses,
            starts: Cell::new(0),
        })
    }

    /// The number of one more start of a process.
    pub(crate) fn start(&self) -> u64 {
        self.starts.set(self.starts.get() + 1);
        self.starts.get()
    }

    pub(crate) fn address(&self, host: Host) -> SocketAddr {
        let port = if matches!(host, Host::Discovery(_)) { DISCOVERY_PORT } else { NODE_PORT };
        SocketAddr::new(self.addresses[&host], port)
    }

    pub(crate) fn discoveries(&self) -> Vec<String> {
        let discoveries = self.addresses.keys().filter(|host| matches!(host, Host::Discovery(_)));
        discoveries.map(|host| self.address(*host).to_string()).collect()
    }

    /// One more reason, or one less, for nodes to stand still.
    pub(crate) fn freeze(&self, hosts: &[Host], is_frozen: bool) {
        for host in hosts {
            let mut frozen = self.frozen.borrow_mut();
            let reasons = frozen.entry(*host).or_default();
            *reasons = if is_frozen { *reasons + 1 } else { reasons.saturating_sub(1) };
            if let Some(seat) = self.nodes.borrow().get(host) {
                seat.node.freeze(*reasons > 0);
            }
        }
    }

    /// A node runs now.
    pub(crate) fn seat(&self, host: Host, seat: Seat) {
        seat.node.freeze(self.frozen.borrow().get(&host).is_some_and(|reasons| *reasons > 0));
        self.nodes.borrow_mut().insert(host, seat);
    }

    /// What a node's clock is ahead.
    pub(crate) fn node_skew_ms(&self, host: Host) -> i64 {
        let Host::Node(zone, node) = host else { return 0 };
        self.plan.node_skews_ms[zone][node]
    }

    /// The time by a node's clock, when the run has lasted so long.
    pub(crate) fn node_wall_ms(&self, host: Host, now_ms: u64) -> u64 {
        (BEGIN_UNIX_MS + now_ms).saturating_add_signed(self.node_skew_ms(host))
    }
}

impl Reach {
    pub(crate) fn set(&mut self, client: usize, zone: usize, is_clear: bool, now_ms: u64) {
        let since = &mut self.since_ms[client][zone];
        *since = match (is_clear, *since) {
            (false, _) => None,
            (true, None) => Some(now_ms),
            (true, known) => known,
        };
    }

    /// The zones that were in a client's reach all the time since then.
    pub(crate) fn clear_since(&self, client: usize, then_ms: u64) -> Vec<&'static str> {
        let clear = |zone: &usize| self.since_ms[client][*zone].is_some_and(|since| since <= then_ms);
        (0..ZONES.len()).filter(clear).map(|zone| ZONES[zone]).collect()
    }
}

/// The time of day, right.
pub(crate) fn wall() -> SystemTime {
    let since = turmoil::since_epoch().unwrap_or(Duration::from_millis(BEGIN_UNIX_MS));
    UNIX_EPOCH + since
}

/// The time of day by a clock that is ahead by so much.
pub(crate) fn wall_ahead(ahead_ms: i64) -> SystemTime {
    let by = Duration::from_millis(ahead_ms.unsigned_abs());
    if ahead_ms < 0 { wall() - by } else { wall() + by }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
