//! The storage engine.

mod arithmetic;
mod budget;
mod config;
mod delete;
mod evict;
mod expire;
mod extent;
mod ghost;
mod index;
mod item;
mod op;
mod read;
mod room;
mod segment;
mod shard;
mod stats;
mod store;
mod write;

pub use config::{StoreConfig, StoreConfigError};
pub use op::{
    Arithmetic, ArithmeticOutcome, Compare, Delete, DeleteMode, DeleteOutcome, Direction, Expiry, Hit,
    Lookup, Read, Time, Value, Write, WriteMode, WriteOutcome,
};
pub use stats::StoreStats;
pub use store::Store;
