//! The cache node: executes memcached commands against the store, and takes part in a cluster.
//!
//! # Goals
//!
//! - Every classic and meta command, with memcached's own replies.
//! - One place that knows both the wire and the store: `execute`, one command to a file.
//! - Registered with every discovery it is given; drained without a request in hand being lost.
//!
//! # Non-goals
//!
//! - Bytes and sockets (wire and front), keeping items (store), who owns which key (topology and clients).
//! - Repairs of single writes (clients), the ring and its changes (discovery).
//!
//! ```text
//!                       ┌──────── Shared: store, clock, counters ─────────┐
//!   front ── batch ──▶ NodeService ──▶ execute(request, context, replies) │
//!                                                                         │
//!   admin ── status, stats, metrics, flush, drain ──▶ NodeRole ───────────┘
//!   discovery ◀── register, renew, leave ──── Registration
//! ```
//!
//! # Example
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//! use std::time::Duration;
//!
//! use evanesce_node::{Node, NodeConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let node = Node::start(NodeConfig::default()).await?;
//! let mut peer = TcpStream::connect(node.memcached_addr())?;
//! peer.write_all(b"set greeting 0 60 5\r\nhello\r\nget greeting\r\nquit\r\n")?;
//! let mut reply = String::new();
//! peer.read_to_string(&mut reply)?;
//! assert_eq!(reply, "STORED\r\nVALUE greeting 0 5\r\nhello\r\nEND\r\n");
//! node.drain(Duration::from_secs(1)).await;
//! # Ok(()) })
//! # }
//! ```

mod ahead;
mod clock;
mod commands;
mod config;
mod cut;
mod execute;
mod facts;
mod items;
mod long;
mod memory;
mod metrics;
mod namespaces;
mod node;
mod pace;
mod promises;
mod reconcile;
mod resize;
mod role;
mod service;
mod settings;
mod settling;
mod shared;
#[cfg(feature = "simulation")]
mod simulation;
mod warm;
mod watch;

pub use config::{
    DRAIN_DEADLINE_DEFAULT, ITEM_BYTES_MAX_DEFAULT, MEMORY_BYTES_DEFAULT, NodeConfig,
    RECONCILE_EVERY_DEFAULT, WARM_UP_LIMIT_DEFAULT,
};
pub use evanesce_front::Drained;
pub use evanesce_store::{NamespaceConfig, NamespaceError};
pub use namespaces::namespace_faults;
pub use node::{Node, RunningNode, StartError};
#[cfg(feature = "simulation")]
pub use simulation::{SimulatedItem, SimulatedNode};
