//! Whose a key is, by the ring that a peer told.

use evanesce_grpc::convert::{self, ConvertError};
use evanesce_grpc::discovery::v1;
use evanesce_topology::{Epoch, Placement, PlacementError, ServerGroup, Topology, TopologyError};

/// The keys of one node.
pub(super) struct Owned {
    placement: Placement,
    /// Its place in the only group.
    owner: usize,
}

/// Why a peer's ring cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RingError {
    /// A part of it breaks a rule.
    #[error(transparent)]
    Message(#[from] ConvertError),
    /// The whole breaks a rule.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// It makes no ring.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// The node is not in its group.
    #[error("node {0:?} is not on the ring of the group")]
    NoOwner(String),
    /// No group was sent.
    #[error("the group is missing")]
    NoGroup,
}

impl Owned {
    /// Those of `owner` in `group`.
    pub(super) fn new(
        cluster: String,
        profile: Option<v1::RingProfile>,
        group: Option<v1::ServerGroup>,
        owner: &str,
    ) -> Result<Self, RingError> {
        let group = ServerGroup::try_from(group.ok_or(RingError::NoGroup)?)?;
        let topology = Topology::new(cluster, Epoch::default(), convert::profile(profile)?, vec![group])?;
        let found = topology.groups[0].nodes.iter().position(|node| node.name == owner);
        let owner = found.ok_or_else(|| RingError::NoOwner(owner.to_owned()))?;
        Ok(Self { placement: Placement::new(topology.into())?, owner })
    }

    /// Whether the key is among them.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        let owner = self.placement.owner(0, self.placement.key_hash(key));
        owner.is_some_and(|owner| owner.node == self.owner)
    }
}
