//! The gateway: the memcached protocol in front of a whole cluster, for programs without a smart client.
//!
//! # Goals
//!
//! - A memcached client that knows nothing of zones reads its own zone and writes to all.
//! - Bytes and flags pass verbatim, whoever wrote them.
//! - Requests of one connection keep their order where it can be observed; those on different keys go out together.
//!
//! # Non-goals
//!
//! - What one node would have to keep for all (`me`, `I` and `x` of `md`, tokens of the caller's): a clear `SERVER_ERROR`.
//!
//! ```text
//!   front: sessions, decoding          order: which may run together
//!        |  batch                           |
//!        v                                  v
//!   service ----------> answer::{get, store, touch, delete, meta} ---> client ---> every zone
//!                                  | where the namespace has a store      ^
//!                                  └──> answer::through ---> persister ---┴---> backing store
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), evanesce_gateway::StartError> {
//! use evanesce_gateway::{Gateway, GatewayConfig};
//!
//! let config = GatewayConfig { discoveries: vec!["127.0.0.1:11300".to_owned()], ..GatewayConfig::default() };
//! let gateway = Gateway::start(config).await?;
//! println!("memcached protocol at {}", gateway.memcached_addr());
//! gateway.drain(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```

mod answer;
mod clusters;
mod config;
mod counts;
mod gateway;
mod metrics;
mod nodes;
mod order;
mod persister;
mod places;
mod role;
mod service;
mod stores;

pub use config::{CONNECT_TIMEOUT_DEFAULT, DRAIN_DEADLINE_DEFAULT, GatewayConfig, ITEM_BYTES_MAX_DEFAULT};
pub use gateway::{Gateway, RunningGateway, StartError};
pub use nodes::{NodeAccess, NodeAccessError, NodeAccessErrors, NodeIdentity, NodeTls, NodeUser};
pub use persister::{PersisterFileError, faults as persister_file_faults, read as read_persister_file};
