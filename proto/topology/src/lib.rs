//! Membership, ring and replica selection: pure functions.

mod check;
mod membership;
mod name;
mod words;

pub use check::{
    CAPABILITIES_MAX, CAPABILITY_BYTES_MAX, GROUPS_MAX, NODES_PER_GROUP_MAX, POINTS_PER_NODE_MAX,
    RING_POINTS_MAX, TopologyError, VERSION_BYTES_MAX, WEIGHT_MAX,
};
pub use membership::{Epoch, GroupMode, Node, NodeState, RingHash, RingProfile, ServerGroup, Topology};
pub use name::{
    NAME_BYTES_MAX, NameError, NameKind, RING_TEXT_BYTES_MAX, RingTextError, check_name, check_ring_text,
};
pub use words::WordError;
