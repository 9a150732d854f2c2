//! The registry of Evanesce: nodes register and renew leases, clients watch topologies.
//!
//! Goals: a topology that is never empty, never runs backwards at a client, and does not lose a node because the
//! registry, its network or its disk had a bad moment; a node is known to be down a lease after it died.
//!
//! Non-goals: agreement between registries (nodes register with each, and epochs are comparable), moving keys
//! (a node that is down keeps its place on the ring until its name is taken over), authentication (it comes with the
//! protocol's issue; until then a discovery stays on loopback).
//!
//! ```text
//!   nodes ── register, renew, deregister ──┐                     ┌── tick every 50 ms
//!                                          ├─> Desk ─ Registry <─┘
//!   clients ── watch, get, list ───────────┘    │ (pure: events and time in, topologies out)
//!        ^                                      │
//!        └── newest topologies (watch channel) ─┴─> registry.json, at each change
//! ```
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use evanesce_discovery::{Discovery, DiscoveryConfig};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! let any_port = "127.0.0.1:0".parse().unwrap();
//! let config = DiscoveryConfig { listen_grpc: any_port, listen_http: None, ..DiscoveryConfig::default() };
//! let discovery = Discovery::start(config)?;
//! println!("nodes register at {}", discovery.grpc_addr());
//! discovery.drain(Duration::from_secs(1)).await;
//! # Ok::<(), evanesce_discovery::DiscoveryError>(())
//! # }).unwrap();
//! ```

mod desk;
mod metrics;
mod missed;
pub mod registry;
mod role;
mod run;
mod service;
#[cfg(feature = "simulation")]
mod simulation;
mod state_file;

pub use run::{Discovery, DiscoveryConfig, DiscoveryError, RunningDiscovery};
#[cfg(feature = "simulation")]
pub use simulation::SimulatedDiscovery;
pub use state_file::StateError;
