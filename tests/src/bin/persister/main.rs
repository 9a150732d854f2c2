//! Backing stores against the real servers: the same checks for each.
//!
//! ```text
//! main -> kinds     which servers there are, how each is started, what settings it wants
//!      -> checks    what every store must do, and what it must say when it cannot
//!      -> relay     a server that is slow, or that nobody reaches
//!      -> parts     gateways under load and faults: stampede, same_keys, killed, down, throughput
//!           -> stage    a cluster, and gateways before it      -> talk   what memcached clients say
//!           -> origin   a store that counts, is slow, is gone  -> plot   what came when
//! ```

mod checks;
mod down;
mod dynamodb;
mod emulators;
mod java;
mod killed;
mod kinds;
mod locked;
mod monitor;
mod origin;
mod parts;
mod plot;
mod relay;
mod same_keys;
mod server;
mod stage;
mod stampede;
mod talk;
mod throughput;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use evanesce_tests::suite::{Told, exit_code};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::kinds::Kind;
use crate::parts::{Bench, PARTS};
use crate::server::Server;

/// What was asked for.
struct Options {
    /// Where servers keep their data and logs.
    directory: PathBuf,
    /// Where the script installed what is not a package of the system.
    installed: PathBuf,
    kinds: Vec<Kind>,
    /// What the runner of parts is told; `None` where no part was asked for.
    parts: Option<Told>,
}

fn main() -> ExitCode {
    exit_code("persister", options().and_then(|options| run(&options)))
}

/// Returns how many failed: of all stores together, and of the parts.
fn run(options: &Options) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let failed = u8::from(!runtime.block_on(stores(options))?);
    let Some(told) = &options.parts else { return Ok(failed) };
    let bench = Bench::new(&options.directory, &options.installed, told.short, runtime)?;
    Ok(failed + told.run(&bench, &PARTS)?)
}

fn options() -> anyhow::Result<Options> {
    let mut arguments = std::env::args().skip(1);
    let (mut directory, mut installed) = (std::env::temp_dir(), PathBuf::from("target/persister"));
    let (mut kinds, mut parts, mut short) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--directory" => directory = value()?.into(),
            "--installed" => installed = value()?.into(),
            "--short" => short.push(argument),
            "--only" => {
                let name = value()?;
                match Kind::ALL.into_iter().find(|kind| kind.name() == name) {
                    Some(kind) => kinds.push(kind),
                    None => parts.extend([argument, name]),
                }
            }
            _ => bail!("unknown argument {argument}"),
        }
    }
    let all = kinds.is_empty() && parts.is_empty();
    if all {
        kinds = Kind::ALL.to_vec();
    }
    let wanted = all || !parts.is_empty();
    let mut told = Told::read(short.into_iter().chain(parts), &[])?;
    told.directory.clone_from(&directory);
    Ok(Options { directory, installed, kinds, parts: wanted.then_some(told) })
}

/// Checks each kind on a server of its own; whether all is as it should be.
async fn stores(options: &Options) -> anyhow::Result<bool> {
    let mut passed = true;
    // All start together: some take long, and wait for their disks more than they compute.
    let starts = options.kinds.iter().map(|&kind| (kind, start(kind, options))).collect::<Vec<_>>();
    for (kind, start) in starts {
        let (name, began) = (kind.name(), Instant::now());
        let mut server = match start.await? {
            Ok((server, took)) => {
                println!("{name:10} server: ok, up in {:.1} s", took.as_secs_f64());
                server
            }
            Err(error) => {
                println!("{name:10} server: FAILED: {error:#}");
                passed = false;
                continue;
            }
        };
        let directory = options.directory.join(name);
        passed &= checks::all(kind, &mut server, &directory, &options.installed).await;
        if let Err(error) = server.stop() {
            println!("{name:10} stop: FAILED: {error:#}");
            passed = false;
        }
        println!("{name:10} done in {:.1} s", began.elapsed().as_secs_f64());
    }
    Ok(passed)
}

/// Starts the server of a kind beside all else; and how long that took.
fn start(kind: Kind, options: &Options) -> JoinHandle<anyhow::Result<(Server, Duration)>> {
    let (directory, installed) = (options.directory.join(kind.name()), options.installed.clone());
    spawn_blocking(move || {
        let began = Instant::now();
        std::fs::create_dir_all(&directory)?;
        let server = kind.install(&directory, &installed)?.started()?;
        Ok((server, began.elapsed()))
    })
}
