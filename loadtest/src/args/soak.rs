//! Options of `soak`.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

const SOAK_HELP: &str = "\
Example, half an hour against a node that runs already:
  evanesce-loadtest soak --server 127.0.0.1:11211 --pid $(pgrep -x evanesce) --duration 30m --kill-every 50ms

Requests: get of one and of several keys, gets and cas, mg, set, add, append, prepend, delete, touch, incr, with
TTLs, pipelined, values of 10 bytes to --value-bytes-max. Every value is made of parts that carry the key and a
checksum, every number its key in its high bits, so any answer can be judged by itself.

A killed connection ends with a reset or a close: with requests on their way, with half a request sent, or in the
middle of an answer; another takes its place.

wrong: a value of another key or with a bad checksum, an answer to another request or of a kind that the request
cannot have, or none within 10 s. Memory is judged by resident sizes: the median of the last tenth of the run
against the median of the tenth that follows the first quarter, when all there is to fill should be full.

Exit code: 0 when nothing was wrong, refused or closed by the server, 1 when so, 2 for a wrong command line.";

/// `soak`.
#[derive(Debug, Args)]
#[command(after_help = SOAK_HELP)]
pub(crate) struct Soak {
    /// The server, as ip:port.
    #[arg(long, value_name = "ADDR")]
    pub(crate) server: SocketAddr,

    /// Its process, to watch its memory; without it, memory is not watched.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,

    /// How long.
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,

    /// Connections.
    #[arg(long, value_name = "N", default_value = "50")]
    pub(crate) connections: NonZeroUsize,

    /// Kill one of them so often. Without it, none is killed.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) kill_every: Option<Duration>,

    /// Different keys with values; there are a tenth as many with numbers.
    #[arg(long, value_name = "N", default_value = "20000")]
    pub(crate) keys: NonZeroU32,

    /// Longest value that is written; sizes are even over their logarithm.
    #[arg(long, value_name = "BYTES", default_value = "204800", value_parser = clap::value_parser!(u32).range(100..1_000_000))]
    pub(crate) value_bytes_max: u32,

    /// Repeat the run that printed this seed, as far as the server's timing lets it.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Write the report there as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}
