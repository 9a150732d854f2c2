//! Restarts and replacements without a cold cache: memory files, nodes that were away, nodes that come back empty.
//! `tests/warmth/run` builds what this needs and calls it.

mod away;
mod cluster;
mod converge;
mod grow;
mod held;
mod java;
mod load;
mod missed;
mod plain;
mod replace;
mod restart;
mod rolling;
mod taken;
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

const PARTS: [Part<Bench>; 7] = [
    ("restart", restart::run),
    ("missed", missed::run),
    ("rolling", rolling::run),
    ("replace", replace::run),
    ("grow", grow::run),
    ("converge", converge::run),
    ("away", away::run),
];

fn main() -> ExitCode {
    exit_code("warmth", run())
}

/// Returns how many parts failed.
fn run() -> anyhow::Result<u8> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == "writer") {
        return converge::write(arguments.skip(1)).map(|()| 0);
    }
    let told = Told::read(arguments, &[])?;
    let bench = Bench { programs: Programs::find()?, directory: told.directory.clone(), short: told.short };
    told.run(&bench, &PARTS)
}
