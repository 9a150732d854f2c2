//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::client::ClientName;

/// What a GET costs in processor time through Evanesce's client, beside other clients.
///
/// Tables go to stdout. Exit code: 0 when every value was right, 1 otherwise, 2 for a wrong command line.
#[derive(Debug, Parser)]
#[command(name = "evanesce-clients", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// All clients side by side.
    Compare(CompareArgs),
    /// One client, in windows read from stdin.
    Work(WorkArgs),
}

/// How the clients are compared.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The memcached to start.
    #[arg(long, value_name = "PATH", default_value = "memcached")]
    pub(crate) memcached: PathBuf,

    /// A server that runs already, in place of one that is started. It must hold what `compare` writes into it.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) address: Option<SocketAddr>,

    /// Callers at once; of a client that reads in batches, keys in a batch.
    #[arg(long, value_name = "N", default_value = "64", value_delimiter = ',')]
    pub(crate) callers: Vec<usize>,

    /// Bytes of each value, at least 32.
    #[arg(long, value_name = "N", default_value = "100,1000", value_delimiter = ',')]
    pub(crate) value_bytes: Vec<usize>,

    /// Items.
    #[arg(long, value_name = "N", default_value = "100000")]
    pub(crate) keys: u32,

    /// Windows of each client.
    #[arg(long, value_name = "N", default_value = "20")]
    pub(crate) rounds: usize,

    /// Length of a window, in milliseconds.
    #[arg(long, value_name = "MS", default_value = "300", value_parser = milliseconds)]
    pub(crate) window: Duration,

    /// Length of each client's first window, which is not counted, in milliseconds: long enough for a compiler that
    /// works while the program runs.
    #[arg(long, value_name = "MS", default_value = "3000", value_parser = milliseconds)]
    pub(crate) warm_up: Duration,

    /// Our clients and those of this program to measure; all when none is given.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) client: Vec<ClientName>,

    /// Another worker, as `name=command`; the address, callers, value bytes and keys are appended. The name ends in
    /// `-batch` when one caller asks for many keys at once, and in `-shared` when callers share a connection.
    #[arg(long, value_name = "NAME=COMMAND")]
    pub(crate) foreign: Vec<String>,

    /// Do not keep the server on core 0 and the clients on core 1.
    #[arg(long)]
    pub(crate) no_pin: bool,
}

/// What one worker does.
#[derive(Debug, Args)]
pub(crate) struct WorkArgs {
    /// The client.
    #[arg(long, value_name = "NAME")]
    pub(crate) client: ClientName,

    /// The server.
    pub(crate) address: SocketAddr,

    /// Callers at once, or keys in a batch.
    pub(crate) callers: usize,

    /// Bytes of each value.
    pub(crate) value_bytes: usize,

    /// Items.
    pub(crate) keys: u32,
}

fn milliseconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}
