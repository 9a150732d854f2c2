//! Membership, ring and replica selection: pure functions.

mod check;
mod evanesce;
mod evcache;
mod membership;
mod name;
mod placement;
mod ring;
mod words;

pub use check::{
    CAPABILITIES_MAX, CAPABILITY_BYTES_MAX, GROUPS_MAX, NODES_PER_GROUP_MAX, POINTS_PER_NODE_MAX,
    RING_POINTS_MAX, TopologyError, VERSION_BYTES_MAX, WEIGHT_MAX,
};
pub use evcache::ring_text as evcache_ring_text;
pub use membership::{Epoch, GroupMode, Node, NodeState, RingHash, RingProfile, ServerGroup, Topology};
pub use name::{
    NAME_BYTES_MAX, NameError, NameKind, RING_TEXT_BYTES_MAX, RingTextError, check_name, check_ring_text,
};
pub use placement::{NodeRef, Placement, PlacementError, ReplicaSet};
pub use ring::{KeyHash, Ring, RingError, RingPoint};
pub use words::WordError;
