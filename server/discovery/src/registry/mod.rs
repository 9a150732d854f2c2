//! Who is in which cluster: a pure struct that takes events with the time they came at, and says what follows.
//!
//! ```text
//!   register ┐                 ┌ granted, refused
//!   renew    ├──> Registry ────┤
//!   return   │    clusters     └ tick: new topologies, lapses, warnings
//!   watched  ┘    judge
//! ```
//!
//! # Life of a node
//!
//! ```text
//!            register                    lease lapses, or is given back
//!   (none) ───────────> joining, ... ─────────────────────────────────────> down
//!                       serving, ...  <─────────────────────────────────────
//!                                      renewed after a lapse; registered again; name taken over
//! ```
//!
//! A node that is `down` stays in its group, and so on the ring, until its name is taken over.
//!
//! # When a registry settles
//!
//! - It remembers live nodes: when each of them was heard of, or a lease after the start.
//! - It remembers none: at once, there is nothing to protect. But when a node or watcher tells, within the first lease,
//!   of an epoch from well before the start, then the registry has lost its memory, and waits until a lease after
//!   the start as well.
//!
//! Until then it publishes nothing; and it never publishes an empty topology.

mod changes;
mod cluster;
mod judge;
mod plan;
mod refusal;
mod request;
mod roster;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evanesce_grpc::discovery::v1::Stage;
use evanesce_topology::{Epoch, NodeState, Topology};

use cluster::{Cluster, Group, Member};
use judge::Judge;

pub use changes::{Change, PlannedChange};
pub use judge::{Lapsed, MassLapse};
pub use refusal::Refusal;
pub use request::{Kept, Register, Renew, Return};

/// Clusters of one registry. A name is only made by a node's registration, so this stops a misled fleet, not traffic.
pub const CLUSTERS_MAX: usize = 1024;

/// Nodes of one cluster, those that are down included: a topology of this many is about 1 MB as a message, and at
/// most 20 MB when every node uses all the room it has; watchers take 32 MiB.
pub const NODES_PER_CLUSTER_MAX: usize = 4096;

/// How far ahead of our clock an epoch that a node or watcher claims to have seen may be, in milliseconds: clocks are
/// wrong by decades, not by 142,000 years. A limit that moves with the clock can be claimed, but not claimed past, so
/// no mistaken peer uses up the numbers that watchers take (those below 2^62).
pub const EPOCH_AHEAD_MAX: u64 = 1 << 52;

/// When something happens, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// On a clock that never steps: leases are judged by it.
    pub elapsed: Duration,
    /// Milliseconds since the Unix epoch: epochs are numbered by it.
    pub wall_ms: u64,
}

/// How long leases last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTerms {
    /// How long a lease lasts without a renewal. Default 10 s.
    pub lease: Duration,
    /// How often nodes are told to renew. Default 3 s; at most a third of the lease, so that the silence of nodes
    /// that died together can be told from that of nodes about to renew.
    pub renew_every: Duration,
}

impl Default for LeaseTerms {
    fn default() -> Self {
        Self { lease: Duration::from_secs(10), renew_every: Duration::from_secs(3) }
    }
}

/// What a node was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// The newest epoch of its cluster; 0 before the first.
    pub epoch: Epoch,
    /// How long to stay without renewing, and how often to renew.
    pub terms: LeaseTerms,
}

/// What came of a tick.
#[derive(Debug, Default)]
pub struct Ticked {
    /// Whether any topology is new: see [`Registry::published`].
    pub published: bool,
    /// Nodes whose lease lapsed.
    pub lapsed: Vec<Lapsed>,
    /// A mass lapse began.
    pub mass_lapse_began: Option<MassLapse>,
    /// A mass lapse is over.
    pub mass_lapse_ended: bool,
    /// The registry itself had stalled: every lease was prolonged.
    pub stalled: Option<Duration>,
    /// The registry settled.
    pub settled: bool,
}

/// Whether what is known may be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settling {
    /// It may.
    Settled,
    /// Not before every remembered node was heard of, or this time has come.
    Remembering { until: Duration },
    /// Not before this time: whoever is out there must first be heard of.
    Amnesiac { until: Duration },
}

/// Topologies by cluster.
pub type Published = Arc<BTreeMap<String, Arc<Topology>>>;

/// Who is in which cluster.
#[derive(Debug)]
pub struct Registry {
    terms: LeaseTerms,
    clusters: BTreeMap<String, Cluster>,
    judge: Judge,
    started: Moment,
    settling: Settling,
    /// Whether the start found no live node on record.
    blank: bool,
    /// When the last event or tick came that found the registry awake.
    awake_at: Duration,
    /// A stall noticed since the last tick.
    stalled: Option<Duration>,
    revision: u64,
    published: Published,
}

impl Registry {
    /// A registry that knows what `membership` says; empty for one that knows nothing.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when the membership breaks a rule that a registration must keep.
    pub fn new(terms: LeaseTerms, membership: Vec<Kept>, now: Moment) -> Result<Self, Refusal> {
        let mut clusters = BTreeMap::new();
        for kept in membership {
            request::check_kept(&kept)?;
            let name = kept.topology.cluster.clone();
            clusters.insert(name, Cluster::restore(kept, now.elapsed, terms.lease));
        }
        let blank = !clusters.values().any(Cluster::has_unconfirmed);
        let until = now.elapsed + terms.lease;
        Ok(Self {
            terms,
            clusters,
            judge: Judge::default(),
            started: now,
            settling: if blank { Settling::Settled } else { Settling::Remembering { until } },
            blank,
            awake_at: now.elapsed,
            stalled: None,
            revision: 0,
            published: Published::default(),
        })
    }

    /// A node registers: for the first time, again, or under a name that another left.
    ///
    /// | the name is | then |
    /// |---|---|
    /// | new | the node joins its group |
    /// | held by the same incarnation | its facts are refreshed |
    /// | vacated: `down`, or not heard of for a lease | the newcomer takes it over, its place on the ring with it |
    /// | held by another at the same memcached address | likewise: that process ended before its lease |
    /// | held by another elsewhere | refused |
    ///
    /// # Errors
    ///
    /// [`Refusal`] says why, and what to do.
    pub fn register(&mut self, request: Register, now: Moment) -> Result<Granted, Refusal> {
        self.wake(now);
        request::check_register(&request)?;
        let epoch_seen = request::heeded(request.epoch_seen, now);
        self.heed_epoch_seen(epoch_seen, now);
        if !self.clusters.contains_key(&request.cluster) && self.clusters.len() >= CLUSTERS_MAX {
            return Err(Refusal::TooMany { what: "clusters", max: CLUSTERS_MAX });
        }
        if let Some(cluster) = self.clusters.get(&request.cluster) {
            cluster.check_fits(&request, now.elapsed, self.terms.lease)?;
        }
        let cluster = self.clusters.entry(request.cluster).or_insert_with(|| Cluster::new(request.profile));
        cluster.show(epoch_seen);
        let is_open =
            cluster.rosters.get(&request.group).is_none_or(|roster| roster.stage() == Stage::Opening);
        let group = cluster.groups.entry(request.group).or_insert_with(|| Group::new(request.zone));
        let is_new = !group.members.contains_key(&request.node.name);
        let changed = group.admit(request.node, now.elapsed, self.terms.lease);
        if is_new && is_open {
            // Whoever stands by holds no change up.
            group.since = now.elapsed;
        }
        cluster.dirty |= changed;
        self.revision += u64::from(changed);
        Ok(Granted { epoch: Epoch(cluster.epoch), terms: self.terms })
    }

    /// A node renews its lease and tells its state. One that had lapsed is back.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unknown`]: it should register again.
    pub fn renew(&mut self, request: &Renew, now: Moment) -> Result<Granted, Refusal> {
        self.wake(now);
        request::check_renew(request)?;
        let lease_until = now.elapsed + self.terms.lease;
        let cluster = self.clusters.get_mut(&request.cluster).ok_or(Refusal::Unknown)?;
        cluster.show(request::heeded(request.epoch_seen, now));
        let member = held(cluster, &request.group, &request.name, request.incarnation)?;
        if member.returned {
            return Err(Refusal::Unknown);
        }
        member.heard(now.elapsed, lease_until);
        let changed = std::mem::replace(&mut member.node.state, request.state) != request.state;
        cluster.dirty |= changed;
        self.revision += u64::from(changed);
        Ok(Granted { epoch: Epoch(cluster.epoch), terms: self.terms })
    }

    /// A node gives its lease back: it is `down` from now on, and stays on the ring.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unknown`]: nothing is held by that incarnation.
    pub fn give_back(&mut self, request: &Return, now: Moment) -> Result<(), Refusal> {
        self.wake(now);
        let cluster = self.clusters.get_mut(&request.cluster).ok_or(Refusal::Unknown)?;
        let member = held(cluster, &request.group, &request.name, request.incarnation)?;
        member.returned = true;
        member.lapsed_at = None;
        if member.node.state != NodeState::Down {
            member.node.state = NodeState::Down;
            cluster.dirty = true;
            self.revision += 1;
        }
        Ok(())
    }

    /// A watcher of `cluster` holds the topology of `epoch_seen`. When that is newer than ours, the next tick numbers
    /// past it, so that the watcher can take what we have.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when the name is none or the epoch absurd.
    pub fn watched(&mut self, cluster: &str, epoch_seen: u64, now: Moment) -> Result<(), Refusal> {
        self.wake(now);
        request::check_watch(cluster, epoch_seen, now)?;
        self.heed_epoch_seen(epoch_seen, now);
        if let Some(cluster) = self.clusters.get_mut(cluster) {
            cluster.show(epoch_seen);
            cluster.outnumbered |= epoch_seen > cluster.epoch;
        }
        Ok(())
    }

    /// Judges leases, settles, and publishes what changed since the last tick under one new epoch a cluster. To be
    /// called regularly, and much more often than a renewal is due: a late tick is taken for a stall.
    pub fn tick(&mut self, now: Moment) -> Ticked {
        self.wake(now);
        let mut ticked = Ticked { stalled: self.stalled.take(), ..Ticked::default() };
        self.judge.tick(&mut self.clusters, self.terms.lease, now.elapsed, &mut ticked);
        self.revision += ticked.lapsed.len() as u64;
        self.settle(now.elapsed, &mut ticked);
        if self.is_settled() {
            self.advance(now.elapsed);
            self.publish(now, &mut ticked);
        }
        ticked
    }

    /// The topologies to show: nothing until settled, and only clusters that have nodes.
    #[must_use]
    pub fn published(&self) -> Published {
        if self.is_settled() { Arc::clone(&self.published) } else { Published::default() }
    }

    /// Whether topologies may be shown.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settling == Settling::Settled
    }

    /// The mass lapse that is on, if one is.
    #[must_use]
    pub fn mass_lapse(&self) -> Option<MassLapse> {
        self.judge.mass_lapse()
    }

    /// How long leases last.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.terms.lease
    }

    /// The names of the clusters.
    pub fn clusters(&self) -> impl Iterator<Item = &str> {
        self.clusters.keys().map(String::as_str)
    }

    /// The newest epoch of each cluster; 0 before the first.
    pub fn epochs(&self) -> impl Iterator<Item = (&str, Epoch)> {
        self.clusters.iter().map(|(name, cluster)| (name.as_str(), Epoch(cluster.epoch)))
    }

    /// How many nodes are in each state.
    #[must_use]
    pub fn count(&self, state: NodeState) -> usize {
        self.clusters.values().flat_map(Cluster::members).filter(|member| member.node.state == state).count()
    }

    /// What to keep on disk.
    #[must_use]
    pub fn membership(&self) -> Vec<Kept> {
        let kept = |(name, cluster): (&String, &Cluster)| Kept {
            topology: cluster.topology(name),
            rosters: cluster.rosters.to_messages(),
        };
        self.clusters.iter().map(kept).collect()
    }

    /// Grows whenever [`Registry::membership`] changes.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Notices that nothing, not even a tick, came for longer than nodes take to renew: we were not there to hear
    /// them, so every lease begins anew.
    fn wake(&mut self, now: Moment) {
        let gap = now.elapsed.saturating_sub(self.awake_at);
        self.awake_at = now.elapsed.max(self.awake_at);
        if gap <= self.terms.renew_every {
            return;
        }
        self.stalled = Some(gap);
        let lease_until = now.elapsed + self.terms.lease;
        for member in self.clusters.values_mut().flat_map(Cluster::members_mut) {
            member.prolong(now.elapsed, lease_until);
        }
        self.settling.prolong(lease_until);
    }

    /// An epoch from well before the start, told to a registry that remembers nothing: it has lost its memory.
    fn heed_epoch_seen(&mut self, epoch_seen: u64, now: Moment) {
        let lease_ms = u64::try_from(self.terms.lease.as_millis()).unwrap_or(u64::MAX);
        let until = self.started.elapsed + self.terms.lease;
        let before_start = epoch_seen > 0 && epoch_seen.saturating_add(lease_ms) < self.started.wall_ms;
        if self.blank && before_start && now.elapsed < until && self.is_settled() {
            self.settling = Settling::Amnesiac { until };
        }
    }

    fn settle(&mut self, now: Duration, ticked: &mut Ticked) {
        let done = match self.settling {
            Settling::Settled => false,
            Settling::Amnesiac { until } => now >= until,
            Settling::Remembering { until } => {
                now >= until || !self.clusters.values().any(Cluster::has_unconfirmed)
            }
        };
        if done {
            self.settling = Settling::Settled;
            ticked.settled = true;
            self.clusters.values_mut().for_each(|cluster| cluster.dirty = true);
        }
    }

    fn publish(&mut self, now: Moment, ticked: &mut Ticked) {
        let mut fresh = Vec::new();
        for (name, cluster) in &mut self.clusters {
            if let Some(topology) = cluster.publish(name, now.wall_ms, self.published.get(name)) {
                fresh.push((name.clone(), topology));
            }
        }
        if fresh.is_empty() {
            return;
        }
        self.revision += 1;
        ticked.published = true;
        Arc::make_mut(&mut self.published).extend(fresh);
    }
}

impl Settling {
    /// Time stood still: what was waited for may have come meanwhile.
    fn prolong(&mut self, to: Duration) {
        match self {
            Self::Settled => {}
            Self::Remembering { until } | Self::Amnesiac { until } => *until = to,
        }
    }
}

/// The member that `incarnation` holds.
fn held<'a>(
    cluster: &'a mut Cluster,
    group: &str,
    name: &str,
    incarnation: u64,
) -> Result<&'a mut Member, Refusal> {
    let group = cluster.groups.get_mut(group).ok_or(Refusal::Unknown)?;
    let member = group.members.get_mut(name).ok_or(Refusal::Unknown)?;
    if member.node.incarnation == incarnation { Ok(member) } else { Err(Refusal::Unknown) }
}
