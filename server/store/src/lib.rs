//! The storage engine of a node: items in bounded memory, looked up by key.
//!
//! Goals:
//! - The budget is the whole budget: one mapping holds items, large values, the table and ghosts, and nothing is ever
//!   refused for want of memory while anything can be evicted.
//! - A high hit ratio: S3-FIFO eviction, over segments, with ghosts of two bytes.
//! - memcached's rules for every operation, to the letter; expiry exact to the millisecond.
//! - Few bytes an item: a header of 12 to 14 (6 more with an expiry, 4 with flags, 8 with a token of the caller's), about
//!   9.3 of table and 1.5 of ghosts.
//! - Replicas agree: every write has a version, deletes are remembered, and items can be walked and summed up in the
//!   order of their hashes.
//! - Work under a lock is short and bounded; shards keep threads apart.
//!
//! Non-goals: sockets, tasks, protocol text, and a clock: the time is an argument of every operation.
//!
//! ```text
//!  key ── hash ──┬─ first bits ──> shard (one lock)
//!                └─ order ──> page of the shard's table ──> segment and offset
//!
//!  arena   one mapping  [segment][segment][segment] ...                64 to 256 KiB each, one pool for all
//!
//!  shard   table    pages of slots in order of hash, and ghosts        in segments, 512 bytes at a time
//!          spaces   of namespaces that share memory, and of each with a guarantee or a limit:
//!            small    segment > segment > open segments                new items
//!            main     segment > segment > ... > open segments          items that came back
//!          tombstones, flushes, counts
//!
//!  segment of items   [header key value][header key list] ... free
//!  segment of pieces  [piece][piece][piece] ...                        of large values; a reader may keep them
//! ```
//!
//! A shard that lacks room evicts its own, unless it holds far less than others; then the one that holds most gives.
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
mod check;
mod config;
mod decide;
mod delete;
mod due;
mod evict;
mod expire;
mod file;
mod flush;
mod item;
mod known;
mod large;
mod live;
mod look;
mod namespace;
mod observe;
mod op;
mod prefetch;
mod read;
mod room;
mod segment;
mod shard;
mod slot;
mod stats;
mod store;
mod sums;
mod table;
mod tombstone;
mod version;
mod walk;
mod write;

pub use config::{StoreConfig, StoreConfigError};
pub use decide::Decides;
pub use file::{Checked, MemoryFileError, Refusal, Start, Warm};
pub use known::Known;
pub use namespace::{NamespaceConfig, NamespaceError};
pub use observe::Evicted;
pub use op::{
    Arithmetic, ArithmeticOutcome, Compare, Delete, DeleteMode, DeleteOutcome, Direction, Expiry, Hit,
    Lookup, Read, Time, Value, Write, WriteMode, WriteOutcome,
};
pub use stats::{NamespaceStats, StoreStats};
pub use store::Store;
pub use sums::{SLICES_MAX, Sums, fingerprint};
pub use version::Version;
pub use walk::{Access, Digest, Walked};
