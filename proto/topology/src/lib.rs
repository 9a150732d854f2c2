//! Who is in a cluster, and which of its nodes hold a key.
//!
//! # Goals
//! - Clients of every language and release agree on a key's owner: each [`RingProfile`] is defined to the bit
//!   ([the two definitions](#the-two-profiles)), and the topology carries all that it needs.
//! - A [`Topology`] that came out of [`Topology::new`] cannot be wrong: names, weights, sizes are checked once.
//! - One node's change moves only its own share of the keys; a death moves none.
//! - Finding a key's nodes allocates nothing: see [`Placement::replicas`].
//!
//! # Non-goals
//! - No sockets, no tasks, no clock, no random source. Who is alive is for a registry to say, who answers for a
//!   client to see; nothing here skips a node because it is down.
//! - No replicas along the ring: copies are in other server groups.
//! - No change of a ring in place: it is built anew and swapped whole.
//!
//! # Shape
//! ```text
//! Topology (epoch 41, profile)          Placement                             a key
//!   group home-a, zone a  ── Ring ──┐                                           │ RingHash::key_hash
//!     nodes a1 a2 a3                ├── owner(group, hash), replicas(hash) <─ KeyHash
//!   group home-b, zone b  ── Ring ──┘   read_order(local zone)
//!     nodes b1 b2 b3                    home_order(hash)
//! ```
//!
//! # The two profiles
//! Both are rings as Karger and others describe: a node has many points, a key belongs to the first point at or after
//! its hash, around the end if need be. "xxh3" is `XXH3_64bits` with seed 0 and the default secret.
//!
//! | | `evanesce` (default) | `evcache` |
//! |---|---|---|
//! | positions | 64 bits | 32 bits |
//! | points per unit of weight | 4000 | 160; weights other than 1 are refused |
//! | point `i` | xxh3 of ring text, then `i` as 4 bytes little-endian | number `i % 4` (4 bytes, little-endian) of MD5 of `<ring text>-<i / 4>` |
//! | key | xxh3 of its bytes | first 4 bytes, little-endian, of MD5 of its bytes |
//! | ring text | the ring name | `<host>/<ip>:11211`: see [`evcache_ring_text`] |
//! | fullest of 100 equal nodes | at most 1.08 of the mean | 1.21 to 1.37 |
//! | where two points meet | the node later by name | the same |
//!
//! `evcache` is what Netflix's Java client computes. Its ring text holds an address: where Java clients share a
//! cluster, a ring name needs a stable IP. They list nodes in their own discovery's order; where that is not the
//! order of names, a point that two nodes share may get another owner: with 100 nodes, one point of one ring in 30.
//!
//! # Two rings
//! While a group is resized, old and new ring are in force under one epoch: [`ServerGroup::nodes`] are read and decide,
//! the [`SecondRing`] is written, too. [`Placement::owner`] and all that follows from it go by the first, and
//! [`Placement::second_owner`] tells who else is written.
//!
//! # Example
//! ```
//! use std::sync::Arc;
//! use evanesce_topology::{Epoch, GroupMode, Node, NodeState, Placement, RingProfile, ServerGroup, Topology};
//!
//! let node = |name: &str, port| Node {
//!     name: name.to_owned(),
//!     ring_text: name.to_owned(),
//!     weight: 1,
//!     state: NodeState::Serving,
//!     incarnation: 1,
//!     memcached: ([127, 0, 0, 1], port).into(),
//!     grpc: None,
//!     http: None,
//!     version: "0.1.0".to_owned(),
//!     capabilities: Vec::new(),
//! };
//! let group = |name: &str, zone: &str, nodes| ServerGroup {
//!     name: name.to_owned(),
//!     zone: zone.to_owned(),
//!     mode: GroupMode::ReadWrite,
//!     nodes,
//!     second: None,
//! };
//! let groups = vec![
//!     group("home-a", "a", vec![node("a1", 7001), node("a2", 7002)]),
//!     group("home-b", "b", vec![node("b1", 7003), node("b2", 7004)]),
//! ];
//! let topology = Topology::new("HOME".to_owned(), Epoch(1), RingProfile::EVANESCE, groups)?;
//! let placement = Placement::new(Arc::new(topology))?;
//!
//! let hash = placement.key_hash(b"user:42");
//! let copies: Vec<&str> =
//!     placement.replicas(hash).iter().map(|replica| placement.node(replica).name.as_str()).collect();
//! assert_eq!(copies, ["a2", "b1"]);
//! assert_eq!(placement.read_order("b"), [1, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
pub use membership::{
    Epoch, GroupMode, Node, NodeState, RingHash, RingProfile, RingRole, SecondRing, ServerGroup, Topology,
};
pub use name::{
    NAME_BYTES_MAX, NameError, NameKind, RING_TEXT_BYTES_MAX, RingTextError, check_name, check_ring_text,
};
pub use placement::{NodeRef, Placement, PlacementError, ReplicaSet};
pub use ring::{KeyHash, Ring, RingError, RingPoint};
pub use words::WordError;
