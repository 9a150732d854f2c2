//! Conformance: the same bytes, and the same client programs, against stock memcached, a node and a gateway.
//!
//! `tests/conformance/run` builds what this needs and calls it. See [`script`] for the transcripts' form.

mod clients;
mod normal;
mod peer;
mod run;
mod script;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use evanesce_tests::{Process, Programs, Up, start_memcached, start_node};

use crate::run::{Server, compare, run_all};
use crate::script::{Script, Step};

/// The server that is right by definition.
const STOCK: &str = "memcached";
/// Cases that wait longer than this in all are left out of the short form.
const SHORT_WAIT_SECS: f64 = 4.0;

/// What was asked for.
struct Options {
    /// Directory with `transcripts` and `clients`.
    home: PathBuf,
    /// Where logs go.
    directory: PathBuf,
    /// Leave long cases out.
    short: bool,
    /// A Python that has the client libraries; without it they are not run.
    python: Option<PathBuf>,
    /// A running server to compare instead of starting our own.
    against: Option<SocketAddr>,
    /// Leave the gateway out.
    no_gateway: bool,
    /// Print what stock memcached said.
    show: bool,
}

fn main() -> ExitCode {
    match options().and_then(|options| conform(&options)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(different) => {
            println!("FAILED: {different} differences");
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn options() -> anyhow::Result<Options> {
    let mut arguments = std::env::args().skip(1);
    let mut options = Options {
        home: PathBuf::from("tests/conformance"),
        directory: std::env::temp_dir(),
        short: false,
        python: None,
        against: None,
        no_gateway: false,
        show: false,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--short" => options.short = true,
            "--no-gateway" => options.no_gateway = true,
            "--show" => options.show = true,
            "--home" => options.home = value()?.into(),
            "--directory" => options.directory = value()?.into(),
            "--python" => options.python = Some(value()?.into()),
            "--against" => options.against = Some(value()?.parse().context("--against takes ip:port")?),
            _ => bail!("unknown argument {argument}"),
        }
    }
    Ok(options)
}

/// The servers under comparison, stock memcached first, and what keeps them running.
struct Bench {
    servers: Vec<Server>,
    _processes: Vec<Process>,
    _up: Option<Up>,
}

fn bench(options: &Options) -> anyhow::Result<Bench> {
    let programs = Programs::find()?;
    let directory = &options.directory;
    let (memcached, address) = start_memcached(&programs, directory, 256, &[])?;
    let mut bench =
        Bench { servers: vec![Server { name: STOCK, address }], _processes: vec![memcached], _up: None };
    if let Some(address) = options.against {
        bench.servers.push(Server { name: "node", address });
        return Ok(bench);
    }
    let (node, address) = start_node(&programs, directory, "256MiB", &["--threads", "2"])?;
    bench.servers.push(Server { name: "node", address });
    bench._processes.push(node);
    if !options.no_gateway {
        let up = Up::start(&programs, directory, "up", &["--zones", "2", "--nodes", "2"])?;
        bench.servers.push(Server { name: "gateway", address: up.report.gateway.memcached });
        bench._up = Some(up);
    }
    Ok(bench)
}

/// Runs everything; the number of differences.
fn conform(options: &Options) -> anyhow::Result<usize> {
    let scripts = scripts(&options.home.join("transcripts"), options.short)?;
    let bench = bench(options)?;
    let mut different = transcripts(&bench.servers, &scripts, options.show)?;
    different += clients::compare(&bench.servers, options.python.as_deref(), &options.home.join("clients"))?;
    Ok(different)
}

fn scripts(directory: &Path, short: bool) -> anyhow::Result<Vec<Script>> {
    let mut scripts = Vec::new();
    let entries = std::fs::read_dir(directory).with_context(|| format!("no {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().context("a file has a name")?.to_string_lossy().into_owned();
        scripts.push(Script::parse(&name, &std::fs::read_to_string(&path)?)?);
    }
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    if short {
        scripts
            .iter_mut()
            .for_each(|script| script.cases.retain(|case| waits(&case.steps) <= SHORT_WAIT_SECS));
    }
    Ok(scripts)
}

fn waits(steps: &[Step]) -> f64 {
    let wait = |step: &Step| if let Step::Wait(time) = step { time.as_secs_f64() } else { 0.0 };
    steps.iter().map(wait).sum()
}

/// All transcripts against all servers, each server in its own thread.
fn transcripts(servers: &[Server], scripts: &[Script], show: bool) -> anyhow::Result<usize> {
    let prefix = format!("{}_", std::process::id());
    let said = std::thread::scope(|scope| {
        let prefix = prefix.as_str();
        let spawn = |server| scope.spawn(move || run_all(server, scripts, prefix));
        let threads: Vec<_> = servers.iter().map(spawn).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().expect("no case panics");
        threads.into_iter().map(join).collect::<anyhow::Result<Vec<_>>>()
    })?;
    if show {
        run::show(scripts, &said[0]);
    }
    let mut total = 0;
    for (server, answers) in servers.iter().zip(&said).skip(1) {
        let (compared, different) = compare([&servers[0], server], scripts, [&said[0], answers])?;
        println!("{:8} {compared} cases compared with {STOCK}, {different} different", server.name);
        total += different;
    }
    Ok(total)
}
