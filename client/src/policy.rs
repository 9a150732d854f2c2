//! Decisions, as pure structs: events and `now` in, decision out.

mod agreement;
mod allowance;
mod ballot;
mod breaker;
mod concurrency;
mod hedge;
mod held_up;
mod latch;
mod miss_fallback;
mod refresh;
mod round_trips;
mod zone_order;

pub(crate) use agreement::{Agreement, Majority};
pub(crate) use ballot::{Ballot, Bid, Vote, back_off};
pub(crate) use breaker::Breaker;
pub(crate) use concurrency::{ConcurrencyLimit, Ended, Pace};
pub(crate) use hedge::{Hedge, Spare};
pub(crate) use held_up::held_up;
pub(crate) use latch::{Decision, Latch, Side};
pub use latch::{LatchPolicy, LatchPolicyError};
pub(crate) use miss_fallback::MissFallback;
pub(crate) use refresh::{Age, LoadTime, Refresh};
pub(crate) use round_trips::RoundTrips;
pub(crate) use zone_order::ZoneOrder;
