//! The smart client against real processes that die, freeze, lose their network and come back.
//! `tests/chaos/run` builds what this needs and calls it.

mod cancel;
mod copies;
mod counted;
mod counts;
mod fault;
mod freeze;
mod history;
mod ledger;
mod load;
mod netns;
mod partition;
mod soak;
mod stage;
mod stampede;
mod stock;
mod strike;
mod verdict;
mod worker;
mod zone_loss;

use std::path::PathBuf;
use std::process::ExitCode;

use evanesce_tests::Programs;
use evanesce_tests::suite::{Part, Told, exit_code};

/// What every part runs on.
struct Bench {
    programs: Programs,
    directory: PathBuf,
    short: bool,
    seed: u64,
    /// This process is at a host of its own network already, so it may cut what goes to the servers it starts.
    at_host: bool,
}

const PARTS: [Part<Bench>; 7] = [
    ("zone-loss", zone_loss::run),
    ("freeze", freeze::run),
    ("partitions", partition::run),
    ("stampede", stampede::run),
    ("soak", soak::run),
    ("cancel", cancel::run),
    ("stock", stock::run),
];

fn main() -> ExitCode {
    exit_code("chaos", run())
}

/// Returns how many parts failed.
fn run() -> anyhow::Result<u8> {
    let mut arguments = std::env::args().skip(1).peekable();
    match arguments.peek().map(String::as_str) {
        Some("worker") => return worker::work(arguments.skip(1)).map(|()| 0),
        Some("caller") => return stampede::caller::work(arguments.skip(1)).map(|()| 0),
        Some("dump") => return worker::dump(arguments.skip(1)).map(|()| 0),
        _ => {}
    }
    let told = Told::read(arguments, &["--at-host"])?;
    let seed = told.seed.unwrap_or_else(|| rand::random::<u64>() >> 32);
    println!("chaos: seed {seed}");
    let (directory, at_host) = (told.directory.clone(), !told.switches.is_empty());
    let bench = Bench { programs: Programs::find()?, directory, short: told.short, seed, at_host };
    told.run(&bench, &PARTS)
}
