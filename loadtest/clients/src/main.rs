//! `evanesce-clients`: what a GET costs in processor time through Evanesce's client, beside other clients.
//!
//! Goals: the same work through each client, against one server, in windows taken in turn, with every value checked.
//! Non-goals: rates and latencies, which on few cores tell of the server, and figures that can be compared between
//! machines or days.
//!
//! ```text
//!  compare ── starts ──> memcached, filled                                on one core
//!     │
//!     └── a window to each in turn ──> work --client evanesce        ┐
//!                                      work --client memcache-async  │    all on the other core,
//!                                      libmemcached threads          │    one runs, the others wait
//!                                      ...                           ┘
//! ```
//!
//! A worker is any program that prints `ready`, then for each line `<milliseconds>` works so long and prints
//! `<keys read> <nanoseconds of processor time>`. It ends with its input.

mod args;
mod client;
mod compare;
mod keys;
mod server;
mod table;
mod work;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let run = match &cli.command {
        Command::Compare(args) => compare::run(args),
        Command::Work(args) => work::run(args),
    };
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("evanesce-clients: {error:#}");
            ExitCode::from(1)
        }
    }
}
