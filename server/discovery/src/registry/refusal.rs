//! Why a registry says no.

use std::net::SocketAddr;

use evanesce_topology::{RingProfile, TopologyError};

/// Why a registry says no. The caller is at fault in each; the connection survives each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Register again. Also told to a process whose name another has taken over.
    #[error("no lease is held under this name by this incarnation: register again")]
    Unknown,
    /// May be tried again: the holder's lease may lapse.
    #[error(
        "ring name {name:?} is held by the node at {holder}: stop that one, or start this one under another --name"
    )]
    NameHeld {
        /// The ring name.
        name: String,
        /// Where its holder speaks memcached.
        holder: SocketAddr,
    },
    /// An operator must act.
    #[error("ring text is that of node {holder:?}: give each node of a group a ring text of its own")]
    RingTextHeld {
        /// The ring name of the node that has it.
        holder: String,
    },
    /// An operator must act.
    #[error(
        "cluster {cluster:?} has the ring {held}, and this node was started with {given}: start it with the ring \
         {held}, or for another cluster"
    )]
    OtherProfile {
        /// The cluster.
        cluster: String,
        /// What its nodes agreed on.
        held: RingProfile,
        /// What the newcomer has.
        given: RingProfile,
    },
    /// An operator must act.
    #[error(
        "group {group:?} is in zone {held:?}, and this node was started in {given:?}: start it in zone {held:?}, \
         or in another group"
    )]
    OtherZone {
        /// The server group.
        group: String,
        /// Where its nodes are.
        held: String,
        /// Where the newcomer is.
        given: String,
    },
    /// An operator must act.
    #[error("this registry holds {max} {what}, and takes no more: use another registry")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it takes.
        max: usize,
    },
    /// The peer's fault.
    #[error("the roster of group {group:?} makes no sense: {fault}")]
    Roster {
        /// The server group.
        group: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// An operator must act.
    #[error(
        "group {group:?} is being changed ({what}): wait for it with `evanesce ctl change status`, or take it back \
         with `evanesce ctl change abort {group}`"
    )]
    UnderWay {
        /// The server group.
        group: String,
        /// The change.
        what: String,
    },
    /// Nothing to retry.
    #[error("no change of group {group:?} is under way; to undo one that is over, make the opposite one")]
    NoChange {
        /// The server group.
        group: String,
    },
    /// Nothing to retry.
    #[error(
        "group {group:?} is neither read nor written any more: let it go, and add it again under another name"
    )]
    TooLate {
        /// The server group.
        group: String,
    },
    /// An operator must act.
    #[error("{0}")]
    Change(String),
    /// Nothing to retry.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// Nothing to retry.
    #[error("epoch {0} is no clock's: clear the state of whoever told it")]
    AbsurdEpoch(u64),
    /// Nothing to retry.
    #[error("a node that speaks is not down: deregister it instead")]
    NotLive,
}
