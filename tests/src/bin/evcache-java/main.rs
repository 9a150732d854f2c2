//! Netflix's own EVCache client, in Java, on two zones of three nodes of ours.
//!
//! `tests/evcache-java/run` builds what this needs and calls it. The checks are in Java and print a line each; where one
//! needs what only this side can do (compare owners, look into a node, kill a zone), it prints `ASK ...` and waits for
//! `OK` or a reason.

mod answer;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use evanesce_tests::{Programs, Up, UpReport};

use crate::answer::Bench;

/// The app of the Java side; it shards by the ring alone, so it need not be the cluster's name.
const CLUSTER: &str = "EVCACHE_TEST";
/// A run that is not over by then hangs; `timeout` takes it.
const JAVA_LIMIT_SECS: &str = "150";

/// What was asked for.
struct Options {
    /// Where logs go.
    directory: PathBuf,
    /// The directory with Maven's output.
    target: PathBuf,
    /// How many keys are placed.
    keys: usize,
    modes: Vec<String>,
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
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--directory" => options.directory = value()?.into(),
            "--target" => options.target = value()?.into(),
            "--keys" => options.keys = value()?.parse().context("--keys takes a number")?,
            "--mode" => options.modes.push(value()?),
            _ => bail!("unknown argument {argument}"),
        }
    }
    if options.modes.is_empty() {
        options.modes = vec!["ascii".to_owned(), "binary".to_owned()];
    }
    Ok(options)
}

/// All modes, each on a cluster of its own; whether all checks passed.
fn run(options: &Options) -> anyhow::Result<bool> {
    let programs = Programs::find()?;
    let mut passed = true;
    for mode in &options.modes {
        let arguments = ["--zones", "2", "--nodes", "3", "--ring", "evcache", "--cluster", CLUSTER];
        let up = Up::start(&programs, &options.directory, &format!("up-{mode}"), &arguments)?;
        passed &= drive(options, mode, &up.report)?;
    }
    Ok(passed)
}

/// Runs the Java side in one mode and answers what it asks.
fn drive(options: &Options, mode: &str, cluster: &UpReport) -> anyhow::Result<bool> {
    let mut java = start(options, mode, cluster)?;
    let mut answers = java.stdin.take().context("its input is piped")?;
    let lines = BufReader::new(java.stdout.take().context("its output is piped")?).lines();
    let mut bench = Bench::new(cluster)?;
    for line in lines {
        let line = line?;
        match line.strip_prefix("ASK ") {
            None => println!("{line}"),
            Some(asked) => {
                let answer =
                    bench.answer(asked).map_or_else(|error| format!("{error:#}"), |()| "OK".to_owned());
                writeln!(answers, "{}", answer.replace('\n', " "))?;
            }
        }
    }
    Ok(java.wait()?.success())
}

fn start(options: &Options, mode: &str, cluster: &UpReport) -> anyhow::Result<Child> {
    let classpath = std::fs::read_to_string(options.target.join("classpath")).context("Maven has not run")?;
    let classpath = format!("{}:{}", options.target.join("classes").display(), classpath.trim());
    let log = std::fs::File::create(options.directory.join(format!("java-{mode}.log")))?;
    Command::new("timeout")
        .args([JAVA_LIMIT_SECS, "java", "-XX:+UseSerialGC", "-Xmx512m"])
        .args(["--add-opens", "java.base/java.lang=ALL-UNNAMED", "-cp", &classpath, "evanesce.interop.Main"])
        .args([mode, &options.keys.to_string(), &nodes(cluster)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("cannot start java")
}

/// The node list in EVCache's syntax: `zone=name/ip:port,...;...`.
fn nodes(cluster: &UpReport) -> String {
    let zone = |zone: &String| {
        let node = |node: &evanesce_tests::NodeReport| {
            let host = node.ring.split('/').next().unwrap_or_default();
            format!("{host}/{}", node.memcached)
        };
        format!("{zone}={}", cluster.nodes_of(zone).map(node).collect::<Vec<_>>().join(","))
    };
    cluster.zones().iter().map(zone).collect::<Vec<_>>().join(";")
}
