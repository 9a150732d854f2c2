//! `evanesce-engines`: what Evanesce's storage engine is worth, beside other engines, simulated policies and
//! memcached.
//!
//! Goals: set figures side by side that were taken in one run, in turn, under one load whose answers are checked;
//! show what the engine loses to an ideal of its own policy. Non-goals: servers and their protocols (but for one
//! column of memcached's hit ratios), and figures that can be compared between machines or days.
//!
//! ```text
//!  load (requests made beforehand, keys by number)
//!    │
//!    ├──> Engine: evanesce, segcache, moka, quick_cache, foyer; memcached over TCP
//!    └──> Policy: lru, s3-fifo, s3-fifo-size, w-tiny-lfu, gdsf, item by item
//!              │
//!              └──> table on stdout, records as JSON
//! ```

mod args;
mod clock;
mod density;
mod engine;
mod expiry;
mod hits;
mod load;
mod memcached;
mod pauses;
mod policy;
mod process;
mod report;
mod shift;
mod size;
mod stats;
mod throughput;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::args::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("evanesce-engines: {error:#}");
            ExitCode::from(1)
        }
    }
}

/// `false` when an answer was wrong or something was refused that must not be.
fn run(cli: &Cli) -> Result<bool> {
    match &cli.command {
        Command::Hits(args) => hits::run(args),
        Command::Density(args) => density::run(args),
        Command::Throughput(args) => throughput::run(args),
        Command::Pauses(args) => pauses::run(args),
        Command::Expiry(args) => expiry::run(args),
        Command::Shift(args) => shift::run(args),
        Command::DensityOf(args) => density::run_child(args),
    }
}
