//! `evanesce-loadtest`: replays a trace of requests, cache-aside, and checks every answer.
//!
//! Goals: say what a cache does under a real sequence of requests (hit ratio, latency, errors), against a
//! cluster through the smart client or against any one memcached, in numbers that can be set side by side;
//! catch a wrong value, wherever it comes from. Non-goals: to find the most requests a server can do per
//! unit of CPU, which takes a generator with less work per request.
//!
//! ```text
//! trace file -> dispatcher (a thread: what is due, when) -> workers, by hash of the key
//!                                                             |  get; on a miss, set
//!                                                             v
//!               report, timeline, progress <- tallies <- Cache: smart client or one connection
//! ```
//!
//! All requests for a key go to one worker, in the trace's order, so that cache-aside stays what it says
//! and a repeat never races its own fill. Between keys the order may shift by what is in flight: with
//! `--concurrency 1` the replay is strictly sequential, and with more the hit ratio of a full cache may
//! differ from that in the last digits.

mod args;
mod cache;
mod dispatch;
mod pacing;
mod progress;
mod replay;
mod report;
mod tally;
mod timeline;
mod trace;
mod value;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let command = args::Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .init();
    match replay::run(&command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("evanesce-loadtest: {error:#}");
            ExitCode::from(1)
        }
    }
}
