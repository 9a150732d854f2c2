//! The storage engine.

mod op;

pub use op::{
    Arithmetic, ArithmeticOutcome, Compare, Delete, DeleteMode, DeleteOutcome, Direction, Expiry, Hit,
    Lookup, Read, Time, Value, Write, WriteMode, WriteOutcome,
};
