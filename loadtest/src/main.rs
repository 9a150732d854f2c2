//! `evanesce-loadtest`: drives caches, checks every answer, and says what they did in figures that can be compared.
//!
//! - `replay`: a trace of requests, cache-aside, against a cluster through the smart client or against any one
//!   memcached: hit ratio, latency, errors.
//! - `pairs`: two servers side by side, in windows taken in turn: processor time per request.
//! - `latency`: the same two, latency of requests that come on a schedule.
//! - `connections`: the same two, memory of idle connections and processor time with many active ones.
//! - `soak`: one server, all kinds of requests for long, connections killed: wrong answers, growth of memory.
//!
//! Goals: figures that can be set side by side, since both sides were measured in the same minutes on the same cores
//! with the same requests; a wrong answer is caught, wherever it comes from, and fails the run. Non-goals: absolute
//! figures that would be true on another day or machine.
//!
//! # Replay
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
//!
//! # Two servers side by side
//!
//! ```text
//! Server A, Server B: processes on one core, both filled with the same items
//!        ^ one window each, in turn                       | /proc: processor time, before and after
//! Pool of connections <- Generator, one thread on another core <- Traffic: batches, a pure function of a number
//!                                                         v
//!                                       report: medians, and the spread of the paired ratios
//! ```
//!
//! While one server is measured the other is idle. Before and after a window nothing is on its way, so that the
//! time used and the requests answered belong together exactly.

mod args;
mod bench;
mod cache;
mod connections;
mod crowd;
mod dispatch;
mod generator;
mod interrupt;
mod keys;
mod latency;
mod load;
mod pacing;
mod pairs;
mod pin;
mod progress;
mod replay;
mod report;
mod server;
mod soak;
mod statistics;
mod tally;
mod timeline;
#[cfg(test)]
mod tiny;
mod trace;
mod traffic;
mod usage;
mod value;

use std::process::ExitCode;

use clap::Parser;

use args::Command;

fn main() -> ExitCode {
    let command = args::Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .init();
    match run(&command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("evanesce-loadtest: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run(cli: &args::Cli) -> anyhow::Result<bool> {
    match &cli.command {
        Command::Replay(options) => replay::run(options),
        Command::Pairs(options) => measured(|| pairs::run(options)),
        Command::Latency(options) => measured(|| latency::run(options)),
        Command::Connections(options) => measured(|| connections::run(options)),
        Command::Soak(options) => measured(|| soak::run(options)),
        Command::Crowd(options) => measured(|| crowd::run(options)),
    }
}

/// Runs a command that starts servers, which must not be left behind on Ctrl-C.
fn measured(command: impl FnOnce() -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    interrupt::listen()?;
    command()
}
