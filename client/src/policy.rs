//! Decisions, as pure structs: events and `now` in, decision out.

mod allowance;
mod breaker;
mod held_up;
mod latch;
mod miss_fallback;

pub(crate) use breaker::Breaker;
pub(crate) use held_up::held_up;
pub(crate) use latch::{Decision, Latch, Side};
pub use latch::{LatchPolicy, LatchPolicyError};
pub(crate) use miss_fallback::MissFallback;
