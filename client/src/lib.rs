//! The smart client of an Evanesce cluster: finds the nodes, shards by consistent hashing, writes to every zone and
//! reads from its own.
//!
//! # Goals
//!
//! - A zone may die, freeze or come back empty: reads go on elsewhere within their deadline, writes meet their latch
//!   without it.
//! - Honest answers: a miss is `None`, an error means that no zone could answer, and a write says how many replicas
//!   acknowledged.
//! - A good guest in any program: `Clone + Send + Sync`, cancel-safe futures, no global state, bounded memory.
//! - Works against stock memcached too.
//!
//! # Non-goals
//!
//! - Strong consistency between zones: what an acknowledged write survives is what its latch says.
//! - Being a memcached client for one server: the wire and transport packages are enough for that.
//!
//! ```text
//!  Client -> Namespace -> Typed          keys and values
//!     |
//!  op/*                                  one operation a file, each a builder
//!     |
//!  read, read_many, spread, home, repair who is asked, in which order, and when it is enough
//!     |            \
//!  cluster, member  policy/*             nodes of the present epoch; pure decisions
//!     |
//!  transport                             one connection for each node
//! ```
//!
//! How to use it well is in the [`guide`].
//!
//! # Example
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use evanesce_client::{Client, LatchPolicy, StaticNodes};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let nodes: StaticNodes = "a=n1/10.0.0.1:11211;b=n1/10.0.1.1:11211".parse()?;
//! let cache = Client::builder("HOME").nodes(nodes).zone("a").connect().await?;
//!
//! let users = cache.namespace("user").ttl(Duration::from_secs(900)).typed::<(String, u32)>();
//! users.set("42", &("Ada".to_owned(), 36)).await?;
//! let user: Option<(String, u32)> = users.get("42").await?;
//! users.set("42", &("Ada".to_owned(), 37)).latch(LatchPolicy::Quorum).await?;
//! let many = users.get_many(["42", "43"]).await?;
//! println!("{} hits, {} misses, {} failed", many.hits.len(), many.misses.len(), many.failed.len());
//! users.delete("42").latch(LatchPolicy::All).await?;
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `discovery` (default) the builder takes `.discovery(["http://10.0.0.9:11300"])` instead of a
//! list. Without it no gRPC is compiled.
//!
//! # Defaults
//!
//! | what | default | set with |
//! |---|---|---|
//! | one attempt of a read | 20 ms | [`ClientBuilder::read_attempt_timeout`] |
//! | a whole read | 50 ms | [`ClientBuilder::read_timeout`], `timeout`, `deadline` of the operation |
//! | a write | 500 ms | [`ClientBuilder::write_timeout`], `timeout`, `deadline` of the operation |
//! | latch | `Local` | [`ClientBuilder::latch`], namespace, operation |
//! | TTL | 15 min | [`ClientBuilder::ttl`], namespace, operation |
//! | reads that fall back after a miss | up to 20 %, while at least 5 % of them find something | [`ClientBuilder::miss_fallback`], `no_fallback` of the operation |
//! | single reads that a second zone is asked for when slower than the 95th percentile | up to 2 % | [`ClientBuilder::hedge`] |
//! | single reads under way to a node | 8 to 4096, as its answers allow | |
//! | writes kept for replicas that missed them | 64 MiB; sets are given up before deletes | [`ClientBuilder::repair_queue_bytes`] |
//! | breaker of a node | opens at 5 errors in 1 s; probes after 100 ms, doubling to 5 s | |
//! | waiting for the first topology | 5 s | [`ClientBuilder::connect_timeout`] |
//! | connecting, stall of a connection | 1 s each | [`ClientBuilder::connection`] |
//! | requests queued, in flight, for each node | 4096 each | [`ClientBuilder::connection`] |
//! | compression of typed values, of bytes | from 4 KiB on, none | [`Namespace::compression`], [`Typed::compression`] |
//! | what servers take as one item | 1 MiB | [`ClientBuilder::item_bytes_max`] |
//! | largest value, longest key | 64 MiB, 8 KiB | |
//! | loading anew before expiry | one load time ahead | [`GetOrLoad::early`](op::GetOrLoad::early) |
//! | serving beyond the TTL, remembering absent keys | not at all | [`GetOrLoad::stale`](op::GetOrLoad::stale), [`remember_absent`](op::GetOrLoad::remember_absent) |
//! | a load | 5 s | [`GetOrLoad::load_timeout`](op::GetOrLoad::load_timeout) |
//! | jitter of a loaded item's TTL | 10 % shorter at most | [`GetOrLoad::jitter`](op::GetOrLoad::jitter) |
//! | the last topology on disk | not kept | `ClientBuilder::topology_file` |
//! | how far nodes take versions ahead of their clocks | 5 s | |
//! | how long nodes remember deletes | 5 min | |
//! | near cache: its bytes, how long it serves | none, 1 s | [`ClientBuilder::near_cache`], [`Namespace::near_cache`], [`NearCache::ttl`] |
//! | TLS, user and password | none | `ClientBuilder::tls`, [`ClientBuilder::credentials`] |
//!
//! # Versions and repair
//!
//! Every set and delete is stamped with a [`Version`] that all replicas share: of two writes of a key the larger stays,
//! in whatever order they arrive. A write that lost says so ([`Written::superseded_by`]), and that is no error. A replica
//! that missed a write gets it once it is back, from a queue of this client; [`Client::close_within`] empties it as
//! far as it can, and tells the rest. A replica that misses a read is given the item of the zone that had it. When this machine's clock differs by more than
//! a tenth of a second from most nodes', theirs is used. Servers that keep no versions, such as memcached, get plain
//! writes, and nothing is repaired.
//!
//! # TLS and passwords
//!
//! With the feature `tls` the builder takes `TlsOptions`: the authorities that sign the certificates of nodes, and a
//! certificate of its own for nodes that ask for one. [`ClientBuilder::credentials`] tells a user and a password. They
//! hold for all nodes, and there is no way back to plain text: what a discovery says of a node changes nothing. Where a
//! node and the client do not agree, a read or write that fails says why ([`Attempt::cause`], [`Attempt::detail`]): a
//! certificate that is not accepted, a wrong password, a node that speaks TLS only; it is logged once, too. The feature is
//! off by default, since rustls and its ciphers are as much code as the rest. Discovery is spoken to in plain gRPC.
//!
//! # Loading
//!
//! [`get_or_load`](Namespace::get_or_load) reads a key and calls a loader when it is not there: one caller of all
//! processes loads, by a lease under a companion key at the key's home zone (`namespace:~l<hash>`), and the others wait
//! for the value. With [`stale`](op::GetOrLoad::stale) nobody waits for what was there before. A write or delete made while it
//! is loaded wins. What is read near the end of its life is loaded anew by one of its readers while it is served
//! ([`early`](op::GetOrLoad::early)); for a second after a load that failed nobody tries that in this process.
//! [`get_or_load_many`](Namespace::get_or_load_many) does the same for many keys, and calls the loader with all that are
//! to be loaded at once.
//!
//! # Near cache
//!
//! With the feature `near-cache` (default) a namespace can keep what it reads in this process, within so many bytes and for
//! a second or as long as you say: [`Namespace::near_cache`]. `get`, `get_many`, `get_or_load` and batches look there
//! first; `skip_near_cache` does not. What this client writes is seen by its reads at once; what others write, when the near
//! TTL ends.
//!
//! # Expiry
//!
//! The client computes one absolute expiry for all replicas and rounds it up to a whole second, as nodes count: an
//! item never expires early, and up to a second late. Clocks of clients and nodes must agree to within what your TTLs
//! can bear.
//!
//! # Flags
//!
//! Typed values carry the codec in the highest eight of an item's 32 flags (see [`CODEC_FLAGS_MASK`]): postcard is
//! `0x01000000`. Bits 16 to 23 say how the client stored a value. Bytes are stored with the flags given, 0 by default,
//! which may use the others: flags with any of those eight are refused ([`ValueError::FlagsTaken`]), but by
//! [`Client::raw`], which takes and shows all as they are.
//!
//! # Large values
//!
//! Typed values from 4 KiB on are compressed with zstd where that saves a tenth at least; bytes only on demand
//! ([`Namespace::compression`]). What is too large for one item (1 MiB, [`ClientBuilder::item_bytes_max`]) goes in chunks of
//! 255 KiB under companion keys (`namespace:~c<hash>.<number>`), up to 64 MiB. Each write has chunks of its own, stored
//! with the latch and expiry of the write before anything is put under the key: a reader gets one write's value or another's,
//! or a miss when a chunk was evicted in all zones it asked, and never parts of two. A read asks for all chunks at once, from
//! the zone that had the key first; give it and the write a timeout that so many bytes need. A touch reaches the chunks, too.
//! Chunks of a value that was deleted or overwritten stay until they expire, so give large values a TTL. Nothing can be
//! appended to what is compressed or in chunks ([`ValueError::NotAppendable`]).
//!
//! # Keys
//!
//! 1 to 250 bytes, `namespace:` included. Keys with spaces or control characters go as base64, which the meta
//! protocol knows, and may have 186 bytes. Longer ones, up to 8 KiB, are hashed (`namespace:~k<hash>`): the full key is
//! stored with the value and compared, so that two keys with one hash never read each other's. `incr`, `decr`, `append` and
//! `prepend` take no such key. [`Client::raw`] changes neither keys nor values.
//!
//! # Metrics and spans
//!
//! Through the `metrics` and `tracing` facades, under the names in [`observability`]; what happens is told to a
//! [`Listener`], too.

mod ambient;
mod attempt;
mod builder;
mod client;
mod closed;
mod cluster;
mod codec;
mod core;
mod diagnostics;
mod distance;
mod error;
#[cfg(feature = "evcache")]
pub mod evcache;
#[cfg(feature = "discovery")]
mod follow;
pub mod guide;
mod home;
mod item;
mod key;
mod lanes;
mod large;
mod listener;
mod load;
mod member;
mod metrics;
mod namespace;
mod near;
pub mod observability;
mod observe;
pub mod op;
mod outcome;
mod place;
mod policy;
mod read;
mod read_many;
mod repair;
mod request;
mod skew;
mod spread;
mod static_nodes;
mod ttl;
mod typed;
mod value;
mod version;
mod view;

#[cfg(feature = "simulation")]
pub use ambient::Simulation;
pub use builder::ClientBuilder;
pub use client::{Client, Owner};
pub use closed::{Closed, NodeLeft};
pub use codec::{ABSENT_FLAGS, CODEC_FLAGS_MASK, Codec, CodecError, POSTCARD_FLAGS, Postcard};
pub use diagnostics::{Diagnostics, NearCacheDiagnostics, NodeDiagnostics};
pub use error::{
    Attempt, ConnectError, Fault, LoadError, NodeError, ReadError, TransportError, TriedDiscovery, WriteError,
};
pub use evanesce_topology::{RingProfile, RingRole, SecondRing, Topology};
pub use evanesce_transport::{
    Cause, ConnectionOptions, ConnectionState, Credentials, Failure, InvalidCredentials, Stage, Violation,
};
#[cfg(feature = "tls")]
pub use evanesce_transport::{InvalidTls, RootCertStore, TlsOptions};
pub use item::{GetMany, Item, LoadMany, LoadedItem, Origin, TypedItem};
pub use key::KeyError;
pub use listener::{Event, Listener, NodeName};
pub use namespace::Namespace;
#[cfg(feature = "near-cache")]
pub use near::NearCache;
pub use observe::{Operation, OperationFinished, OperationOutcome};
pub use outcome::{
    ArithmeticOutcome, CompareAndSetOutcome, Deleted, StoreOutcome, Touched, WriteMany, Written,
};
pub use policy::{LatchPolicy, LatchPolicyError};
pub use repair::RepairsDropped;
pub use static_nodes::{StaticNodes, StaticNodesError};
pub use ttl::Ttl;
pub use typed::Typed;
pub use value::{ChunkError, Compression, DecompressError, ValueError};
pub use version::Version;
pub use view::{Decoded, DecodedItem, Flagged, Number, OrAbsent, Raw, View, Whole};

/// The README's examples, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
