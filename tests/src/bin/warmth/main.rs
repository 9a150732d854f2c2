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

use anyhow::{Context, bail};
use evanesce_tests::{Programs, Verdict};

/// What every part runs on.
struct Bench {
    programs: Programs,
    directory: PathBuf,
    short: bool,
}

/// A part and its name on the command line. It adds to its verdict as it goes.
type Part = (&'static str, fn(&Bench, &mut Verdict) -> anyhow::Result<()>);

const PARTS: [Part; 4] = [
    ("restart", restart::run),
    ("missed", missed::run),
    ("rolling", rolling::run),
    ("replace", replace::run),
];

fn main() -> ExitCode {
    match run() {
        Ok(failures) => ExitCode::from(failures),
        Err(error) => {
            eprintln!("warmth: {error:#}");
            ExitCode::from(u8::MAX)
        }
    }
}

/// Returns how many parts failed.
fn run() -> anyhow::Result<u8> {
    let (mut short, mut directory, mut only) = (false, std::env::temp_dir(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--short" => short = true,
            "--directory" => directory = value()?.into(),
            "--only" => only.push(value()?),
            _ => bail!("unknown argument {argument}"),
        }
    }
    if let Some(unknown) = only.iter().find(|only| PARTS.iter().all(|(name, _)| name != only)) {
        bail!("no part {unknown}: {:?}", PARTS.map(|(name, _)| name));
    }
    let bench = Bench { programs: Programs::find()?, directory, short };
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
