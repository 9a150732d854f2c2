//! The smart client against real processes that die, freeze, lose their network and come back.
//! `tests/chaos/run` builds what this needs and calls it.

mod cancel;
mod clock;
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
mod witness;
mod worker;
mod zone_loss;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use evanesce_tests::Programs;

use crate::verdict::Verdict;

/// What every part runs on.
struct Bench {
    programs: Programs,
    directory: PathBuf,
    short: bool,
    seed: u64,
    /// This process is at a host of its own network already, so it may cut what goes to the servers it starts.
    at_host: bool,
}

/// A part and its name on the command line. It adds to its verdict as it goes.
type Part = (&'static str, fn(&Bench, &mut Verdict) -> anyhow::Result<()>);

const PARTS: [Part; 7] = [
    ("zone-loss", zone_loss::run),
    ("freeze", freeze::run),
    ("partitions", partition::run),
    ("stampede", stampede::run),
    ("soak", soak::run),
    ("cancel", cancel::run),
    ("stock", stock::run),
];

fn main() -> ExitCode {
    match run() {
        Ok(failures) => ExitCode::from(failures),
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::from(u8::MAX)
        }
    }
}

/// Returns how many parts failed.
fn run() -> anyhow::Result<u8> {
    let (mut short, mut seed, mut directory, mut only) = (false, None, std::env::temp_dir(), Vec::new());
    let mut at_host = false;
    let mut arguments = std::env::args().skip(1).peekable();
    match arguments.peek().map(String::as_str) {
        Some("worker") => return worker::work(arguments.skip(1)).map(|()| 0),
        Some("caller") => return stampede::caller::work(arguments.skip(1)).map(|()| 0),
        Some("dump") => return worker::dump(arguments.skip(1)).map(|()| 0),
        _ => {}
    }
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--short" => short = true,
            "--at-host" => at_host = true,
            "--seed" => seed = Some(value()?.parse()?),
            "--directory" => directory = value()?.into(),
            "--only" => only.push(value()?),
            _ => bail!("unknown argument {argument}"),
        }
    }
    if let Some(unknown) = only.iter().find(|only| PARTS.iter().all(|(name, _)| name != only)) {
        bail!("no part {unknown}: {:?}", PARTS.map(|(name, _)| name));
    }
    let seed = seed.unwrap_or_else(|| rand::random::<u64>() >> 32);
    println!("chaos: seed {seed}");
    let bench = Bench { programs: Programs::find()?, directory, short, seed, at_host };
    let chosen = PARTS.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|only| only == name));
    Ok(chosen.map(|part| u8::from(!passes(&bench, part))).sum())
}

fn passes(bench: &Bench, (name, part): &Part) -> bool {
    let mut verdict = Verdict::default();
    if let Err(error) = part(bench, &mut verdict) {
        verdict.must(false, format!("{error:#}"));
    }
    println!("{name}: {verdict}");
    verdict.passed()
}
