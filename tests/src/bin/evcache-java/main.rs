//! Netflix's own EVCache client, in Java, on clusters of ours.
//!
//! `tests/evcache-java/run` builds what this needs and calls it. The checks are in Java and print a line each; where one
//! needs what only this side can do (compare owners, look into a node, kill a zone), it prints `ASK ...` and waits for
//! `OK` or a reason.

mod answer;
mod lies;
mod stage;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use evanesce_tests::Programs;

use crate::answer::Bench;
use crate::lies::Lie;
use crate::stage::Stage;

/// A run that is not over by then hangs; `timeout` takes it.
const JAVA_LIMIT_SECS: &str = "240";
const MODES: [&str; 2] = ["ascii", "binary"];
/// The relay takes messages apart in this one.
const LYING_MODE: &str = "binary";
/// Checks of the client's own state before the next step, which no server can make fail.
const ABOUT_THE_CLIENT: [&str; 4] = [
    "stock alone: two groups",
    "ours written only: joins",
    "ours read: switched",
    "ours written only again: switched",
];
/// Every call on two zones of three nodes; latches over three zones of two; a group of ours beside two of memcached; and,
/// where nothing of ours takes part, every call on two zones of memcached.
const SCENES: [&str; 4] = ["calls", "latches", "migration", "control"];

/// What was asked for.
struct Options {
    /// Where logs go.
    directory: PathBuf,
    /// The directory with Maven's output.
    target: PathBuf,
    /// How many keys are placed.
    keys: usize,
    modes: Vec<String>,
    scenes: Vec<String>,
    /// Show that the checks can fail.
    prove: bool,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("FAILED");
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("evcache-java: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn options() -> anyhow::Result<Options> {
    let mut arguments = std::env::args().skip(1);
    let mut options = Options {
        directory: std::env::temp_dir(),
        target: PathBuf::from("target/evcache-java"),
        keys: 10_000,
        modes: Vec::new(),
        scenes: Vec::new(),
        prove: false,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--directory" => options.directory = value()?.into(),
            "--target" => options.target = value()?.into(),
            "--keys" => options.keys = value()?.parse().context("--keys takes a number")?,
            "--mode" => options.modes.push(one_of(&MODES, value()?)?),
            "--scene" => options.scenes.push(one_of(&SCENES, value()?)?),
            "--prove" => options.prove = true,
            _ => bail!("unknown argument {argument}"),
        }
    }
    if options.modes.is_empty() {
        options.modes = MODES.map(str::to_owned).to_vec();
    }
    if options.scenes.is_empty() {
        options.scenes = SCENES.map(str::to_owned).to_vec();
    }
    Ok(options)
}

fn one_of(known: &[&str], value: String) -> anyhow::Result<String> {
    if known.contains(&value.as_str()) {
        Ok(value)
    } else {
        bail!("{value}: not one of {}", known.join(", "))
    }
}

/// All scenes in all modes, each on servers of its own; whether all is as it should be.
fn run(options: &Options) -> anyhow::Result<bool> {
    let programs = Programs::find()?;
    if options.prove {
        return prove(options, &programs);
    }
    let mut passed = true;
    for mode in &options.modes {
        for scene in &options.scenes {
            let mut stage = set(options, &programs, mode, scene)?;
            passed &= drive(options, mode, scene, &mut stage)?.good;
        }
    }
    Ok(passed)
}

/// Runs every scene on servers that lie, in one way after the other; whether every check failed at least once.
fn prove(options: &Options, programs: &Programs) -> anyhow::Result<bool> {
    let (mut named, mut failed) = (BTreeSet::new(), BTreeSet::new());
    for scene in &options.scenes {
        for lie in Lie::ALL {
            println!("{scene} with {lie:?}");
            let mut stage = set(options, programs, LYING_MODE, scene)?;
            stage.lie(lie)?;
            let outcome = drive(options, LYING_MODE, scene, &mut stage)?;
            named.extend(outcome.passed);
            named.extend(outcome.failed.iter().cloned());
            failed.extend(outcome.failed);
        }
    }
    let never: Vec<_> =
        named.difference(&failed).filter(|name| !ABOUT_THE_CLIENT.contains(&name.as_str())).collect();
    println!("{} of {} checks failed; not one of: {never:?}", failed.len(), named.len());
    Ok(never.is_empty() && !failed.is_empty())
}

fn set(options: &Options, programs: &Programs, mode: &str, scene: &str) -> anyhow::Result<Stage> {
    let (directory, name) = (&options.directory, format!("{mode}-{scene}"));
    match scene {
        "latches" => Stage::cluster(programs, directory, &name, "3", "2"),
        "migration" => Stage::loose(programs, directory, &["ours", "stock-1", "stock-2"]),
        "control" => Stage::loose(programs, directory, &["stock-1", "stock-2"]),
        _ => Stage::cluster(programs, directory, &name, "2", "3"),
    }
}

/// What the checks of one run came to, by name.
struct Outcome {
    good: bool,
    passed: Vec<String>,
    failed: Vec<String>,
}

/// Runs the Java side and answers what it asks.
fn drive(options: &Options, mode: &str, scene: &str, stage: &mut Stage) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let mut java = start(options, mode, scene, &stage.node_list())?;
    let mut answers = java.stdin.take().context("its input is piped")?;
    let lines = BufReader::new(java.stdout.take().context("its output is piped")?).lines();
    let mut bench = Bench::new(stage);
    let mut outcome = Outcome { good: false, passed: Vec::new(), failed: Vec::new() };
    for line in lines {
        let line = line?;
        match line.strip_prefix("ASK ") {
            None => {
                outcome.note(mode, &line);
                println!("{line}");
            }
            Some(asked) => writeln!(answers, "{}", bench.answer(asked))?,
        }
    }
    outcome.good = java.wait()?.success();
    println!("  {mode} {scene}: {} s", began.elapsed().as_secs());
    Ok(outcome)
}

impl Outcome {
    fn note(&mut self, mode: &str, line: &str) {
        let Some(line) = line.strip_prefix(mode) else { return };
        if let Some((name, _)) = line.split_once(": ok") {
            self.passed.push(name.trim().to_owned());
        } else if let Some((name, _)) = line.split_once(": FAILED") {
            self.failed.push(name.trim().to_owned());
        }
    }
}

fn start(options: &Options, mode: &str, scene: &str, nodes: &str) -> anyhow::Result<Child> {
    let classpath = std::fs::read_to_string(options.target.join("classpath")).context("Maven has not run")?;
    let classpath = format!("{}:{}", options.target.join("classes").display(), classpath.trim());
    let log = std::fs::File::create(options.directory.join(format!("java-{mode}-{scene}.log")))?;
    Command::new("timeout")
        .args([JAVA_LIMIT_SECS, "java", "-XX:+UseSerialGC", "-Xmx512m"])
        .args(["--add-opens", "java.base/java.lang=ALL-UNNAMED", "-cp", &classpath, "evanesce.interop.Main"])
        .args([mode, scene, &options.keys.to_string(), nodes])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("cannot start java")
}
