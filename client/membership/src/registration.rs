//! A node's registration with every discovery it knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evanesce_grpc::discovery::v1::NodeReport;
use evanesce_topology::{Epoch, Node, NodeState, RingProfile};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::carried::Carried;
use crate::endpoint::{Discovery, EndpointError};
use crate::keeper::LeaseKeeper;
use crate::options::MembershipOptions;

/// Epochs from here on are no clock's: a discovery that names one is mistaken, and is not believed.
pub(crate) const EPOCH_SEEN_MAX: u64 = (1 << 62) - 1;

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its cluster.
    pub cluster: String,
    /// How keys find their node in that cluster; all its nodes must agree.
    pub profile: RingProfile,
    /// Its server group.
    pub group: String,
    /// Its zone; all nodes of a group must agree.
    pub zone: String,
    /// The node, in the state it starts in.
    pub node: Node,
}

/// Keeps a node registered with every discovery it was given, for as long as this value lives.
///
/// Dropping it ends its tasks without a word: the leases lapse. [`Registration::deregister`] gives them back.
#[derive(Debug)]
pub struct Registration {
    shared: Arc<Shared>,
    /// Dropped with the registration, which aborts the tasks.
    _keepers: JoinSet<()>,
}

/// What the handle and the tasks share. No lock is held across an await.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) facts: NodeFacts,
    pub(crate) options: MembershipOptions,
    pub(crate) carried: Carried,
    /// The largest epoch any discovery answered with.
    epoch_seen: AtomicU64,
    /// What the node wishes for now.
    wish: watch::Sender<Wish>,
    /// Grows when there is something that no discovery should wait for until its renewal is due.
    news: watch::Sender<u64>,
    /// The lowest version of writes that the node was told it missed, until it asks.
    missed: watch::Sender<Option<u64>>,
    /// Whether any discovery ever accepted it.
    accepted: watch::Sender<bool>,
    /// How many tasks have not yet given their lease back.
    remaining: watch::Sender<usize>,
    lines: Vec<Mutex<Line>>,
}

/// What a node wishes its discoveries to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It is there, in this state.
    Stay(NodeState),
    /// It is leaving.
    Leave,
}

/// How one discovery is doing.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) address: String,
    /// Until when the last lease granted or renewed lasts.
    pub(crate) lease_until: Option<Instant>,
    pub(crate) last_error: Option<String>,
    pub(crate) refused: bool,
}

/// How a node's registration with one discovery is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryStatus {
    /// As `host:port`.
    pub address: String,
    /// Whether a lease is held: the last one granted or renewed has not yet lapsed by our clock.
    pub registered: bool,
    /// Why the last call failed; none when it went well.
    pub last_error: Option<String>,
    /// Whether that failure was the discovery's refusal of this node's facts (its name is taken, its ring profile is
    /// not the cluster's): it goes on trying, but most likely an operator must act.
    pub refused: bool,
}

impl Registration {
    /// Starts to register `facts` with each discovery (`host:port` or `http://host:port`), one task each.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] when the list is empty or an address cannot be read.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and I/O.
    pub fn start<S: AsRef<str>>(
        discoveries: &[S],
        facts: NodeFacts,
        options: MembershipOptions,
    ) -> Result<Self, EndpointError> {
        let discoveries = Discovery::parse_all(discoveries, &options)?;
        let shared = Arc::new(Shared {
            carried: Carried::default(),
            epoch_seen: AtomicU64::new(0),
            news: watch::Sender::new(0),
            wish: watch::Sender::new(Wish::Stay(facts.node.state)),
            missed: watch::Sender::new(None),
            accepted: watch::Sender::new(false),
            remaining: watch::Sender::new(discoveries.len()),
            lines: discoveries.iter().map(|discovery| Mutex::new(Line::new(discovery))).collect(),
            facts,
            options,
        });
        let mut keepers = JoinSet::new();
        for (slot, discovery) in discoveries.into_iter().enumerate() {
            keepers.spawn(LeaseKeeper::new(Arc::clone(&shared), slot, discovery).run());
        }
        Ok(Self { shared, _keepers: keepers })
    }

    /// Tells every discovery of the node's new state, at once. Without effect after [`Registration::deregister`].
    pub fn set_state(&self, state: NodeState) {
        self.shared.wish.send_if_modified(|wish| {
            let changed = *wish != Wish::Leave && *wish != Wish::Stay(state);
            if changed {
                *wish = Wish::Stay(state);
            }
            changed
        });
    }

    /// What the node tells of itself with each renewal from now on; `at_once` where that is not to wait for the next.
    pub fn set_report(&self, report: NodeReport, at_once: bool) {
        self.shared.carried.set_report(report);
        if at_once {
            self.shared.tell_news();
        }
    }

    /// Whether operators have decided who is on the rings of the node's group, and it is not among them.
    #[must_use]
    pub fn stands_by(&self) -> bool {
        let facts = &self.shared.facts;
        self.shared.carried.stands_by(&facts.group, &facts.node.name)
    }

    /// How each discovery is doing, in the order given.
    #[must_use]
    pub fn status(&self) -> Vec<DiscoveryStatus> {
        let now = Instant::now();
        self.shared.lines.iter().map(|line| line.lock().status(now)).collect()
    }

    /// The largest epoch that any discovery has answered with.
    #[must_use]
    pub fn epoch_seen(&self) -> Epoch {
        Epoch(self.shared.epoch_seen())
    }

    /// Resolves once any discovery has accepted this node; at once when one has before. Cancel-safe.
    pub async fn registered(&self) {
        let mut accepted = self.shared.accepted.subscribe();
        accepted.wait_for(|accepted| *accepted).await.expect("self holds the sender");
    }

    /// Resolves when a discovery tells that this node missed writes that nobody will bring it: the lowest version among
    /// them. Cancel-safe.
    pub async fn missed(&self) -> u64 {
        let mut missed = self.shared.missed.subscribe();
        loop {
            let _ = missed.wait_for(Option::is_some).await.expect("self holds the sender");
            let mut taken = None;
            self.shared.missed.send_if_modified(|missed| {
                taken = missed.take();
                false
            });
            if let Some(since) = taken {
                return since;
            }
        }
    }

    /// Gives all leases back, trying each discovery once and taking no longer than `deadline`; the tasks end.
    /// Returns whether every discovery took its lease back; where not, the lease lapses by itself.
    pub async fn deregister(&self, deadline: Duration) -> bool {
        self.shared.wish.send_replace(Wish::Leave);
        let mut remaining = self.shared.remaining.subscribe();
        let returned = remaining.wait_for(|remaining| *remaining == 0);
        let in_time = tokio::time::timeout(deadline, returned).await.is_ok();
        in_time && self.shared.lines.iter().all(|line| line.lock().last_error.is_none())
    }
}

impl Shared {
    pub(crate) fn epoch_seen(&self) -> u64 {
        self.epoch_seen.load(Ordering::Relaxed)
    }

    /// A discovery tells that the node missed writes from this version on.
    pub(crate) fn missed(&self, since: u64) {
        self.missed.send_modify(|missed| *missed = Some(missed.map_or(since, |known| known.min(since))));
    }

    /// Remembers an epoch that a discovery answered with.
    pub(crate) fn saw(&self, epoch: u64) {
        if epoch <= EPOCH_SEEN_MAX {
            self.epoch_seen.fetch_max(epoch, Ordering::Relaxed);
        }
    }

    pub(crate) fn wishes(&self) -> watch::Receiver<Wish> {
        let mut wishes = self.wish.subscribe();
        wishes.mark_changed();
        wishes
    }

    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    pub(crate) fn tell_news(&self) {
        self.news.send_modify(|news| *news += 1);
    }

    pub(crate) fn line(&self, slot: usize) -> parking_lot::MutexGuard<'_, Line> {
        self.lines[slot].lock()
    }

    /// A discovery holds a lease until `until`.
    pub(crate) fn accepted(&self, slot: usize, until: Instant) {
        {
            let mut line = self.line(slot);
            line.lease_until = Some(until);
            line.last_error = None;
            line.refused = false;
        }
        self.accepted.send_if_modified(|accepted| !std::mem::replace(accepted, true));
    }

    /// A task has given its lease back, or failed to.
    pub(crate) fn left(&self, slot: usize) {
        self.line(slot).lease_until = None;
        self.remaining.send_modify(|remaining| *remaining = remaining.saturating_sub(1));
    }
}

impl Line {
    fn new(discovery: &Discovery) -> Self {
        Self { address: discovery.address.clone(), lease_until: None, last_error: None, refused: false }
    }

    fn status(&self, now: Instant) -> DiscoveryStatus {
        DiscoveryStatus {
            address: self.address.clone(),
            registered: self.lease_until.is_some_and(|until| until > now),
            last_error: self.last_error.clone(),
            refused: self.refused,
        }
    }
}
