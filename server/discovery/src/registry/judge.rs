//! Which leases have lapsed, and whether to believe it.
//!
//! ```text
//!             a lease lapses, and more than half are missing
//!   Judging ───────────────────────────────────────────────> Keeping
//!      ^  lapsed: down                       lapsed: kept as they are │
//!      └──────────────────────────────────────────────────────────────┘
//!             half or more were heard of again; the others get one more lease
//! ```
//!
//! **Missing** are the live nodes not heard of for half a lease, and those whose lease lapsed within the last one. Nodes
//! renew every third of a lease or more often, so nodes that died together are all missing when the first of
//! their leases lapses, while those that live are not. A mass lapse is **more than half of all nodes of the registry
//! (those down for longer left out) missing, and at least two**: then it is more likely that the registry, or its network,
//! is at fault than all of them. Two of six that die are down after a lease; four of six are kept as they are.
//!
//! While a mass lapse is on, a name whose node was not heard of for a lease can be taken over all the same.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Ticked;
use super::cluster::{Cluster, Member};

/// One node alone is never a mass: a cluster of one would never be told that it is gone.
const MASS_NODES_MIN: usize = 2;

/// More than half of all nodes are missing, and all are kept as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MassLapse {
    /// How many are missing.
    pub missing: usize,
    /// Of how many.
    pub nodes: usize,
}

/// A node whose lease lapsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lapsed {
    /// Its cluster.
    pub cluster: String,
    /// Its ring name.
    pub node: String,
    /// How long it was not heard of.
    pub silence: Duration,
}

/// Judges leases.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// None while judging.
    keeping: Option<MassLapse>,
}

/// What a look at all leases found.
#[derive(Debug, Default)]
struct Census {
    nodes: usize,
    missing: usize,
    lapsed: bool,
}

impl Judge {
    pub(super) fn mass_lapse(&self) -> Option<MassLapse> {
        self.keeping
    }

    /// Looks at all leases.
    pub(super) fn tick(
        &mut self,
        clusters: &mut BTreeMap<String, Cluster>,
        lease: Duration,
        now: Duration,
        ticked: &mut Ticked,
    ) {
        let census = Census::take(clusters, lease, now);
        match (self.keeping.is_some(), census.is_mass()) {
            (true, true) => self.keeping = Some(census.mass_lapse()),
            (true, false) => {
                self.keeping = None;
                ticked.mass_lapse_ended = true;
                grant_one_more(clusters, lease, now);
            }
            (false, true) if census.lapsed => {
                self.keeping = Some(census.mass_lapse());
                ticked.mass_lapse_began = self.keeping;
            }
            (false, _) if census.lapsed => lapse(clusters, now, &mut ticked.lapsed),
            (false, _) => {}
        }
    }
}

impl Census {
    fn take(clusters: &BTreeMap<String, Cluster>, lease: Duration, now: Duration) -> Self {
        let mut census = Self::default();
        for member in clusters.values().flat_map(Cluster::members) {
            census.count(member, lease, now);
        }
        census
    }

    fn count(&mut self, member: &Member, lease: Duration, now: Duration) {
        if member.is_live() {
            self.nodes += 1;
            self.missing += usize::from(member.silence(now) >= lease / 2);
            self.lapsed |= member.lease_until <= now;
        } else if member.lapsed_at.is_some_and(|lapsed_at| lapsed_at + lease > now) {
            self.nodes += 1;
            self.missing += 1;
        }
    }

    fn is_mass(&self) -> bool {
        self.missing >= MASS_NODES_MIN && self.missing * 2 > self.nodes
    }

    fn mass_lapse(&self) -> MassLapse {
        MassLapse { missing: self.missing, nodes: self.nodes }
    }
}

/// Those still missing at the end of a mass lapse get a lease to be heard of.
fn grant_one_more(clusters: &mut BTreeMap<String, Cluster>, lease: Duration, now: Duration) {
    for member in clusters.values_mut().flat_map(Cluster::members_mut) {
        member.lease_until = member.lease_until.max(now + lease);
    }
}

fn lapse(clusters: &mut BTreeMap<String, Cluster>, now: Duration, lapsed: &mut Vec<Lapsed>) {
    for (name, cluster) in clusters {
        let before = lapsed.len();
        for member in cluster.members_mut().filter(|member| member.is_live() && member.lease_until <= now) {
            member.lapse(now);
            let node = member.node.name.clone();
            lapsed.push(Lapsed { cluster: name.clone(), node, silence: member.silence(now) });
        }
        cluster.dirty |= lapsed.len() > before;
    }
}
