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

//! # In a program of one's own
//!
//! A gateway is not needed. [`Persister::start`] takes a client and a [`Config`], most easily that of a file; a key's namespace has a
//! [`Tier`], which reads, loads, writes and decides. Keys have their namespace before them, and values and flags are as they are,
//! so that a gateway beside it sees the same; [`Client::namespace`](evanesce_client::Client::namespace) reads what the cluster
//! has of them, and must write nothing to a namespace whose writes go down. `examples/library.rs` runs.
//!
//! ```no_run
//! use evanesce_client::{Client, Ttl};
//! use evanesce_persister::{Config, Persister};
//! use tokio::time::{Duration, Instant};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # let nodes: evanesce_client::StaticNodes = "a=n1/10.0.0.1:11211".parse()?;
//! let client = Client::builder("HOME").nodes(nodes).zone("a").connect().await?;
//! let config = Config::parse(&std::fs::read_to_string("persister.toml")?)?;
//! let persister = Persister::start(client.clone(), config).await?;
//!
//! let users = persister.tier_of(b"user:42").ok_or("the namespace user has a store")?;
//! users.set(b"user:42", "Ada".into(), 0, Ttl::Never).await?;
//! let one = users.get(b"user:42").await?.map(|item| item.value);
//! // One request to each node; what is not there is loaded together.
//! for found in users.get_many(&["user:42", "user:43"]).await? {
//!     println!("{:?}", found?.map(|item| item.value));
//! }
//! // What waits in a log goes down; what is left goes on at the next start.
//! persister.close(Instant::now() + Duration::from_secs(5)).await;
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Ask for the tier at each request: after a [`reload`](Persister::reload) it is another one. Namespaces that live in other clusters
//! have a client of each: see [`Clusters`] and [`Persister::route`].

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
