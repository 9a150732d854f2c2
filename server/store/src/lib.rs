//! The storage engine.

mod config;
mod naive;
mod op;
mod stats;
mod store;

pub use config::{StoreConfig, StoreConfigError};
pub use op::{
    Arithmetic, ArithmeticOutcome, Compare, Delete, DeleteMode, DeleteOutcome, Direction, Expiry, Hit,
    Lookup, Read, Time, Value, Write, WriteMode, WriteOutcome,
};
pub use stats::StoreStats;
pub use store::Store;
