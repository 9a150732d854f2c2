//! A suite of parts: what it is told on its command line, and the running of what was chosen.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::verdict::Verdict;

/// A part of a suite and its name on the command line. It adds to its verdict as it goes.
pub type Part<B> = (&'static str, fn(&B, &mut Verdict) -> anyhow::Result<()>);

/// What a suite was told.
#[derive(Debug, Default)]
pub struct Told {
    /// Small sizes, for CI.
    pub short: bool,
    /// Where logs go; the system's place for such unless given.
    pub directory: PathBuf,
    /// What chance begins with, if it was given.
    pub seed: Option<u64>,
    /// Which of the suite's own switches were given.
    pub switches: Vec<String>,
    only: Vec<String>,
}

impl Told {
    /// Reads `--short`, `--directory DIR`, `--seed N`, `--only NAME` (again and again) and the suite's own `switches`.
    ///
    /// # Errors
    /// When there is anything else, or a value is missing.
    pub fn read(mut arguments: impl Iterator<Item = String>, switches: &[&str]) -> anyhow::Result<Self> {
        let mut told = Self { directory: std::env::temp_dir(), ..Self::default() };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--short" => told.short = true,
                "--seed" => told.seed = Some(value()?.parse().context("--seed takes a number")?),
                "--directory" => told.directory = value()?.into(),
                "--only" => told.only.push(value()?),
                known if switches.contains(&known) => told.switches.push(argument),
                _ => bail!("unknown argument {argument}"),
            }
        }
        Ok(told)
    }

    /// Runs the parts that were chosen, all unless some were, and prints what each found. Returns how many failed.
    ///
    /// # Errors
    /// When one was chosen that there is not.
    pub fn run<B>(&self, bench: &B, parts: &[Part<B>]) -> anyhow::Result<u8> {
        let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
        if let Some(unknown) = self.only.iter().find(|only| !names.contains(&only.as_str())) {
            bail!("no part {unknown}: {}", names.join(", "));
        }
        let is_chosen = |name: &str| self.only.is_empty() || self.only.iter().any(|only| only == name);
        let chosen = parts.iter().filter(|(name, _)| is_chosen(name));
        Ok(chosen.map(|part| u8::from(!passes(bench, part))).sum())
    }
}

fn passes<B>(bench: &B, (name, part): &Part<B>) -> bool {
    let mut verdict = Verdict::default();
    if let Err(error) = part(bench, &mut verdict) {
        verdict.must(false, format!("{error:#}"));
    }
    println!("{name}: {verdict}");
    verdict.passed()
}

/// The exit code of a suite: how many parts failed, or 255 when it could not be run.
#[must_use]
pub fn exit_code(suite: &str, failed: anyhow::Result<u8>) -> ExitCode {
    failed.map_or_else(
        |error| {
            eprintln!("{suite}: {error:#}");
            ExitCode::from(u8::MAX)
        },
        ExitCode::from,
    )
}

#[cfg(test)]
mod tests {
    use super::{Part, Told};

    fn told(arguments: &[&str]) -> anyhow::Result<Told> {
        Told::read(arguments.iter().map(|&argument| argument.to_owned()), &["--at-host"])
    }

    const PARTS: [Part<()>; 2] = [
        ("good", |(), _| Ok(())),
        ("bad", |(), verdict| {
            verdict.must(false, "it is");
            Ok(())
        }),
    ];

    #[test]
    fn chosen_parts_are_run_and_failures_counted() {
        let failed = |arguments: &[&str]| told(arguments).expect("known").run(&(), &PARTS).ok();
        assert_eq!(failed(&["--short"]), Some(1));
        assert_eq!(failed(&["--only", "good"]), Some(0));
        assert_eq!(failed(&["--only", "good", "--only", "bad", "--at-host"]), Some(1));
        assert_eq!(failed(&["--only", "other"]), None);
    }

    #[test]
    fn unknown_and_unfinished_arguments_are_refused() {
        for arguments in [["--shor"].as_slice(), &["--only"], &["--seed", "x"], &["--other"]] {
            assert!(told(arguments).is_err(), "{arguments:?}");
        }
    }
}
