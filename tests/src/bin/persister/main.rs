//! Backing stores against the real servers: the same checks for each.
//!
//! ```text
//! main -> kinds     which servers there are, how each is started, what settings it wants
//!      -> checks    what every store must do, and what it must say when it cannot
//!      -> relay     a server that is slow, or that nobody reaches
//! ```

mod checks;
mod emulators;
mod java;
mod kinds;
mod relay;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::kinds::Kind;

/// What was asked for.
struct Options {
    /// Where servers keep their data and logs.
    directory: PathBuf,
    /// Where the script installed what is not a package of the system.
    installed: PathBuf,
    kinds: Vec<Kind>,
}

fn main() -> ExitCode {
    let passed = options().and_then(|options| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(run(&options))
    });
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("FAILED");
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("persister: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn options() -> anyhow::Result<Options> {
    let mut arguments = std::env::args().skip(1);
    let (mut directory, mut installed) = (std::env::temp_dir(), PathBuf::from("target/persister"));
    let mut kinds = Vec::new();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--directory" => directory = value()?.into(),
            "--installed" => installed = value()?.into(),
            "--only" => {
                let name = value()?;
                let known = || Kind::ALL.map(Kind::name).join(", ");
                let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
                kinds.push(kind.with_context(|| format!("{name}: not one of {}", known()))?);
            }
            _ => bail!("unknown argument {argument}"),
        }
    }
    if kinds.is_empty() {
        kinds = Kind::ALL.to_vec();
    }
    Ok(Options { directory, installed, kinds })
}

/// Checks each kind on a server of its own; whether all is as it should be.
async fn run(options: &Options) -> anyhow::Result<bool> {
    let mut passed = true;
    for &kind in &options.kinds {
        let (name, began) = (kind.name(), Instant::now());
        let directory = options.directory.join(name);
        std::fs::create_dir_all(&directory)?;
        let mut server =
            match kind.install(&directory, &options.installed).and_then(|server| server.started()) {
                Ok(server) => server,
                Err(error) => {
                    println!("{name:10} server: FAILED: {error:#}");
                    passed = false;
                    continue;
                }
            };
        println!("{name:10} server: ok, up in {:.1} s", began.elapsed().as_secs_f64());
        passed &= checks::all(kind, &mut server).await;
        if let Err(error) = server.stop() {
            println!("{name:10} stop: FAILED: {error:#}");
            passed = false;
        }
        println!("{name:10} done in {:.1} s", began.elapsed().as_secs_f64());
    }
    Ok(passed)
}
