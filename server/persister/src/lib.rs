//! The tier between a cluster and a backing store: what is not in the cluster is loaded from the store, and what is
//! written goes down to it.
//!
//! # Goals
//!
//! - Many misses of a key come to one load; a store that is ill is left alone, and never sees more than it was meant to.
//! - An older value never replaces a newer one, in the cluster or in the store, however many gateways write.
//! - A back-end is one file behind a feature, held to one suite (feature `conformance`).
//!
//! # Non-goals
//!
//! - A database: it keeps nothing that a store should, but for writes on their way down.
//!
//! ```text
//!  gateway, or any program with a client
//!     |
//!  persister: namespaces and stores, as config says
//!     |
//!  tier: one namespace ──────> client: the cluster
//!     |          \
//!  gate           log: writes that wait, on the disk
//!     |
//!  store: what a backing store is      stores/*: embedded, memory, ...
//! ```
//!
//! ```
//! use bytes::Bytes;
//! use evanesce_persister::{Applied, BackingStore, Change, KeyChange, StoreItem, stores::memory::Memory};
//! use tokio::time::{Duration, Instant};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let (store, soon) = (Memory::default(), Instant::now() + Duration::from_secs(1));
//! let item = StoreItem { value: Bytes::from("Ada"), flags: 0, expires_at: None, version: None };
//! let put = KeyChange { key: Bytes::from("user:42"), version: 7, change: Change::Put(item) };
//! assert_eq!(store.write(&[put], soon).await, [Ok(Applied::Yes)]);
//! # }
//! ```

pub mod clock;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod gate;
mod log;
mod metrics;
mod persister;
mod store;
pub mod stores;
mod tier;

pub use config::{
    ClusterConfig, Config, ConfigErrors, FlushPolicy, LogConfig, Mode, NamespaceConfig, NearConfig,
    StoreConfig, StoreLimits,
};
pub use log::{DeadLetter, LogError, LogState};
pub use persister::{
    ClusterState, Clusters, Number, OperatorError, Owner, Persister, Reach, Route, StartErrors,
};
pub use store::{
    Abilities, Applied, BackingStore, Change, ErrorKind, KeyChange, Loaded, Outcome, StoreError, StoreItem,
    failed_all,
};
pub use tier::{Decided, Step, Stored, Tier, TierError};
