//! The storage engine of a node: items in bounded memory, looked up by key.
//!
//! Goals:
//! - The budget is the whole budget: segments, large items, table and ghosts are charged before they are
//!   allocated, and nothing is ever refused for want of memory while anything can be evicted.
//! - A high hit ratio: S3-FIFO eviction, over segments, with ghosts of four bytes.
//! - memcached's rules for every operation, to the letter; expiry exact to the millisecond.
//! - Few bytes an item: 23 of header (27 with flags), 10 to 13 of table, 3 to 4 of ghosts.
//! - Work under a lock is short and bounded; shards keep threads apart.
//!
//! Non-goals: sockets, tasks, protocol text, and a clock: the time is an argument of every operation.
//!
//! ```text
//!  key ── hash ──┬─ lower half ──> shard (one lock)
//!                └─ upper half ──> slot of the shard's table ──┬──> segment and offset
//!                                                              └──> extent (large items)
//!
//!  shard   table    [tag|where][tag|where][   ][tag|where] ...          8 bytes a slot
//!          ghosts   [fingerprint x 16] ...                              4 bytes each
//!          small    segment > segment > extent > open segment           new items
//!          main     segment > extent > segment > ... > open segment     items that came back
//!
//!  segment [header key value][header key value] ... free                64 KiB to 1 MiB
//!  extent  key, pieces of 16 KiB that a reader may keep
//!
//!  budget  one counter over all shards; a shard that lacks room takes it from the one that holds most
//! ```
//!
//! # Example
//!
//! ```
//! use evanesce_store::{Expiry, Lookup, Read, Store, StoreConfig, Time, Write, WriteOutcome};
//!
//! let store = Store::new(StoreConfig::default())?;
//! let now = Time(1_700_000_000_000);
//! let write = Write { expiry: Expiry::At(Time(now.0 + 60_000)), ..Write::set(b"user:42", b"Ada") };
//! assert!(matches!(store.write(&write, now), WriteOutcome::Stored { .. }));
//!
//! let read = |now| {
//!     store.read(&Read::key(b"user:42"), now, |lookup| match lookup {
//!         Lookup::Hit(hit) => Some(hit.value.contiguous().into_owned()),
//!         Lookup::Miss => None,
//!     })
//! };
//! assert_eq!(read(now).as_deref(), Some(&b"Ada"[..]));
//! assert_eq!(read(Time(now.0 + 60_000)), None);
//! # Ok::<(), evanesce_store::StoreConfigError>(())
//! ```

mod arena;
mod arithmetic;
mod config;
mod delete;
mod due;
mod evict;
mod expire;
mod flush;
mod item;
mod large;
mod namespace;
mod op;
mod read;
mod room;
mod segment;
mod shard;
mod stats;
mod store;
mod table;
mod tombstone;
mod version;
mod walk;
mod write;

pub use config::{StoreConfig, StoreConfigError};
pub use namespace::{NamespaceConfig, NamespaceError};
pub use op::{
    Arithmetic, ArithmeticOutcome, Compare, Delete, DeleteMode, DeleteOutcome, Direction, Expiry, Hit,
    Lookup, Read, Time, Value, Write, WriteMode, WriteOutcome,
};
pub use stats::{NamespaceStats, StoreStats};
pub use store::Store;
pub use version::Version;
pub use walk::{Digest, Walked};
