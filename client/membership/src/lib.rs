//! Registers a node with every discovery it knows, and follows a cluster's topology across the discoveries' failures.
//!
//! Goals: a lease that lives as long as the process does; a topology that only ever gets newer, and is never empty,
//! whatever the discoveries go through; nothing for the caller to retry.
//!
//! Non-goals: deciding who owns a key (the topology package), deciding who is down (the discoveries), agreement
//! between discoveries (each keeps its own registry; epochs are comparable, see [`evanesce_topology::Epoch`]).
//!
//! ```text
//!   Registration ──┬─ register, renew, register again ──> discovery a       one task per discovery
//!                  └─ register, renew, register again ──> discovery b
//!
//!   TopologyWatch ─── watch ──> discovery a ──x                            one task; at a failure on to the
//!        │            watch ──> discovery b ──> Topology 7, 8, ...         next of the list, round and round
//!        └──> tokio watch channel of the newest topology
//! ```
//!
//! # Example
//!
//! ```no_run
//! use evanesce_membership::{MembershipOptions, TopologyWatch};
//!
//! # async fn demo() -> Result<(), evanesce_membership::EndpointError> {
//! let discoveries = ["127.0.0.1:11300".to_owned(), "http://127.0.0.2:11300".to_owned()];
//! let watch = TopologyWatch::start(&discoveries, "HOME", MembershipOptions::default())?;
//! let mut topologies = watch.subscribe();
//! let known = topologies.wait_for(Option::is_some).await.expect("the watch lives");
//! println!("epoch {:?}", known.as_ref().map(|topology| topology.epoch));
//! # Ok(())
//! # }
//! ```

mod carried;
mod endpoint;
mod follower;
mod keeper;
mod options;
mod registration;
mod reporter;
mod saved;
#[cfg(feature = "simulation")]
mod simulation;
mod topology_watch;

pub use endpoint::EndpointError;
pub use options::MembershipOptions;
pub use registration::{DiscoveryStatus, NodeFacts, Registration};
pub use reporter::Reporter;
pub use saved::{SavedTopology, SavedTopologyError};
#[cfg(feature = "simulation")]
pub use simulation::{Connector, Duplex, Opening};
pub use topology_watch::{TopologyWatch, WatchStatus};
