//! Membership, ring and replica selection: pure functions.

mod membership;

pub use membership::{Epoch, GroupMode, Node, NodeState, RingHash, RingProfile, ServerGroup, Topology};
