//! The harness that the suites of `tests/` stand on: start real programs, wait for them, speak to them, end them.
//!
//! Goals: a suite reads as what it checks, not as how it starts things; nothing outlives a suite, however it
//! ends; nothing is ended that the suite did not start; no fixed port, no blind sleep. Non-goals: to run
//! anything inside the test's own process; what can be tested so has its tests beside its code.
//!
//! ```text
//! suite (src/bin/...) -> Programs      where evanesce, evanesce-loadtest and memcached are
//!                     -> Process       one child, ended with its guard; RSS, signals
//!                     -> servers       memcached, a node, `evanesce up`, each waited for
//!                     -> Raw           bytes in, bytes out over TCP
//!                     -> golden        transcripts of another server, recorded and replayed
//!                     -> eventually    the one bounded wait
//!                     -> suite         a suite of parts, chosen on the command line
//!                     -> witness       whether the machine was starved meanwhile
//! ```
//!
//! The suites, each with a script `run` that builds what it needs (`--short` for CI): `tests/conformance`,
//! `tests/hostile`, `tests/cluster`, `tests/chaos`, `tests/warmth`. `tests/tests/tidy` holds the style of the tree and `tests/tests/golden` the node to what the
//! newest memcached was recorded to answer; both run under `cargo test`.
//!
//! ```
//! use evanesce_tests::{Deadline, eventually};
//! use std::time::Duration;
//!
//! let mut tries = 0;
//! let found = eventually("three tries", Deadline::within(Duration::from_secs(5)), || {
//!     tries += 1;
//!     (tries == 3).then_some(tries)
//! });
//! assert_eq!(found.expect("it takes three tries"), 3);
//! ```

mod bytes;
pub mod clock;
pub mod golden;
mod process;
mod programs;
mod raw;
mod servers;
pub mod suite;
mod up;
mod verdict;
mod wait;
pub mod witness;

pub use bytes::{bytes_of, shown};
pub use process::{Process, kill_reported, rss_bytes, signal_reported};
pub use programs::Programs;
pub use raw::{Raw, Received};
pub use servers::{free_port, start_memcached, start_node, wait_for_memcached};
pub use up::{DiscoveryReport, GatewayReport, NodeReport, Up, UpReport};
pub use verdict::Verdict;
pub use wait::{Deadline, WaitError, eventually, pause};

/// The README's code, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
