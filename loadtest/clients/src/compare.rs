//! All clients side by side: alive at once, one at work at a time, in windows taken in turn.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::args::CompareArgs;
use crate::client::ClientName;
use crate::server::Server;
use crate::table;
use crate::worker::Worker;

/// What a client took in its windows, in microseconds of processor time a key.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) name: String,
    pub(crate) micros: Vec<f64>,
}

/// Measures and prints.
pub(crate) fn run(args: &CompareArgs) -> Result<()> {
    let server = Server::start(args)?;
    for &value_bytes in &args.value_bytes {
        server.fill(args.keys, value_bytes)?;
        for &callers in &args.callers {
            let taken = measure(args, &server, callers, value_bytes)?;
            table::print(&taken, callers, value_bytes);
        }
    }
    Ok(())
}

fn measure(args: &CompareArgs, server: &Server, callers: usize, value_bytes: usize) -> Result<Vec<Taken>> {
    let work =
        [server.address.to_string(), callers.to_string(), value_bytes.to_string(), args.keys.to_string()];
    let mut workers = Vec::new();
    for (name, mut command) in commands(args)? {
        command.args(&work);
        workers.push(Worker::start(&name, command)?);
    }
    let mut taken = Vec::new();
    for worker in &mut workers {
        worker.work(args.warm_up)?;
        taken.push(Taken { name: worker.name().to_owned(), micros: Vec::new() });
    }
    for _ in 0..args.rounds {
        for (worker, taken) in workers.iter_mut().zip(&mut taken) {
            taken.micros.push(worker.work(args.window)?);
        }
    }
    Ok(taken)
}

/// How to start each worker, but for what it is to do.
fn commands(args: &CompareArgs) -> Result<Vec<(String, Command)>> {
    let clients = if args.client.is_empty() { ClientName::value_variants() } else { &args.client };
    let this = std::env::current_exe()?;
    let mut commands = Vec::new();
    for client in clients {
        let mut command = on_core(1, &this, args.no_pin);
        command.args(["work", "--client", &client.name()]);
        commands.push((client.name(), command));
    }
    for foreign in &args.foreign {
        let (name, line) = foreign.split_once('=').context("a foreign worker is name=command")?;
        let mut words = line.split_whitespace();
        let mut command = on_core(1, words.next().context("the command is empty")?, args.no_pin);
        command.args(words);
        commands.push((name.to_owned(), command));
    }
    Ok(commands)
}

/// The program on that core, or wherever the system likes.
pub(crate) fn on_core(core: usize, program: impl AsRef<OsStr>, anywhere: bool) -> Command {
    if anywhere {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}
