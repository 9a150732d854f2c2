//! Restarts and replacements without a cold cache: memory files, nodes that were away, nodes that come back empty.
//! `tests/warmth/run` builds what this needs and calls it.

mod cluster;
mod load;
mod missed;
mod replace;
mod restart;
mod rolling;
mod talk;

use std::path::PathBuf;
use std::process::ExitCode;

use evanesce_tests::Programs;
use evanesce_tests::suite::{Part, Told, exit_code};

/// What every part runs on.
struct Bench {
    programs: Programs,
    directory: PathBuf,
    short: bool,
}

const PARTS: [Part<Bench>; 4] = [
    ("restart", restart::run),
    ("missed", missed::run),
    ("rolling", rolling::run),
    ("replace", replace::run),
];

fn main() -> ExitCode {
    exit_code("warmth", run())
}

/// Returns how many parts failed.
fn run() -> anyhow::Result<u8> {
    let told = Told::read(std::env::args().skip(1), &[])?;
    let bench = Bench { programs: Programs::find()?, directory: told.directory.clone(), short: told.short };
    told.run(&bench, &PARTS)
}
