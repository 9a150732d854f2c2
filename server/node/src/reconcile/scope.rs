//! Which keys two nodes of sibling groups have in common, and which slices of them are meant.

use std::sync::Arc;

use evanesce_grpc::convert;
use evanesce_grpc::discovery::v1;
use evanesce_grpc::peer::v1::{Pair, Slices};
use evanesce_store::{SLICES_MAX, Sums};
use evanesce_topology::{Epoch, NodeRef, Placement, ServerGroup, Topology};
use tonic::Status;

use crate::warm::RingError;

/// The keys of two nodes.
#[derive(Debug)]
pub(super) struct Scope {
    placement: Placement,
    owners: [NodeRef; 2],
}

impl Scope {
    /// Those that both groups' rings give to the two.
    pub(super) fn new(pair: Pair) -> Result<Self, RingError> {
        let group = |group: Option<v1::ServerGroup>| {
            Ok::<_, RingError>(ServerGroup::try_from(group.ok_or(RingError::NoGroup)?)?)
        };
        let groups = vec![group(pair.asker_group)?, group(pair.giver_group)?];
        let names = [(groups[0].name.clone(), pair.asker), (groups[1].name.clone(), pair.giver)];
        let profile = convert::profile(pair.profile)?;
        let topology = Arc::new(Topology::new(pair.cluster, Epoch::default(), profile, groups)?);
        let owners = names.map(|(group, name)| find(&topology, &group, name));
        let [one, other] = owners;
        Ok(Self { owners: [one?, other?], placement: Placement::new(topology)? })
    }

    /// The group of who is asked, as the asker knows it.
    pub(super) fn giver_group(&self) -> &ServerGroup {
        &self.placement.topology().groups[self.owners[1].group]
    }

    /// Whether both own the key.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        let hash = self.placement.key_hash(key);
        self.owners.iter().all(|owner| self.placement.owner(owner.group, hash) == Some(*owner))
    }
}

fn find(topology: &Topology, group: &str, name: String) -> Result<NodeRef, RingError> {
    let of = |at: usize| {
        let node = topology.groups[at].nodes.iter().position(|node| node.name == name)?;
        Some(NodeRef { group: at, node })
    };
    let group = topology.groups.iter().position(|known| known.name == group);
    group.and_then(of).ok_or(RingError::NoOwner(name))
}

/// Sums of as many slices as a peer says.
pub(super) fn sums(slices: Option<Slices>) -> Result<Sums, Status> {
    let Slices { salt, count } = slices.ok_or_else(|| Status::invalid_argument("the slices are missing"))?;
    if !(1..=SLICES_MAX).contains(&(count as usize)) {
        return Err(Status::invalid_argument(format!("{count} slices: ask for 1 to {SLICES_MAX}")));
    }
    Ok(Sums::new(salt, count as usize))
}

/// Some of the slices.
#[derive(Debug)]
pub(super) struct Wanted {
    sums: Sums,
    slices: Vec<bool>,
}

impl Wanted {
    /// Those that `wanted` names; such as are not there are none.
    pub(super) fn new(sums: Sums, wanted: &[u32]) -> Self {
        let mut slices = vec![false; sums.digests().len()];
        for at in wanted {
            if let Some(slice) = slices.get_mut(*at as usize) {
                *slice = true;
            }
        }
        Self { sums, slices }
    }

    /// Whether the key is in one of them.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.slices[self.sums.slice(key)]
    }
}
