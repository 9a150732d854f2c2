//! Options of the commands that measure two servers side by side.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use evanesce_wire::limits::KEY_BYTES_MAX;

use crate::keys::KEY_BYTES_MIN;
use crate::load::Load;
use crate::value::HEADER_BYTES;

/// Shortest window: below it the scheduler's grain shows.
const WINDOW_MIN: Duration = Duration::from_millis(10);
/// Longest key and value together that any server under test takes by default.
const VALUE_BYTES_MAX: usize = 1_000_000;

/// Two servers, the items they hold, and where everything runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct Pair {
    /// First server's command, with {port} where its port goes.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) a: String,

    /// Second server's command, likewise: the one to compare with.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) b: String,

    /// Items that both servers hold.
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keys: u64,

    /// Length of keys, at least 16.
    #[arg(long, value_name = "BYTES", default_value = "32", value_parser = key_bytes)]
    pub(crate) key_bytes: usize,

    /// Length of values: at least 10 more than of keys, for a value carries its key and a checksum.
    #[arg(long, value_name = "BYTES", default_value = "100")]
    pub(crate) value_bytes: usize,

    /// Connections to each server.
    #[arg(long, value_name = "N", default_value = "50")]
    pub(crate) connections: NonZeroUsize,

    /// Core that both servers run on; one is idle while the other is measured.
    #[arg(long, value_name = "CORE", default_value = "0")]
    pub(crate) server_cpu: usize,

    /// Core that the load generator runs on.
    #[arg(long, value_name = "CORE", default_value = "1")]
    pub(crate) client_cpu: usize,

    /// Let everything run on any core: where there is only one, or to measure several threads.
    #[arg(long, conflicts_with_all = ["server_cpu", "client_cpu"])]
    pub(crate) no_pin: bool,

    /// Write the report there as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl Pair {
    /// Where the servers run; anywhere if `None`.
    pub(crate) fn server_core(&self) -> Option<usize> {
        (!self.no_pin).then_some(self.server_cpu)
    }

    /// Where the generator runs; anywhere if `None`.
    pub(crate) fn client_core(&self) -> Option<usize> {
        (!self.no_pin).then_some(self.client_cpu)
    }

    /// Checks what one option alone cannot show.
    ///
    /// # Errors
    /// What to change.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let needed = self.key_bytes + HEADER_BYTES;
        if !(needed..=VALUE_BYTES_MAX).contains(&self.value_bytes) {
            anyhow::bail!(
                "values of {} bytes: with these keys they must be {needed} to {VALUE_BYTES_MAX}",
                self.value_bytes
            );
        }
        Ok(())
    }
}

const PAIRS_HELP: &str = "\
Example, a node against stock memcached:
  evanesce-loadtest pairs \\
    --a 'target/release/evanesce node --standalone --listen 127.0.0.1:{port} --threads 1 --memory 1GiB' \\
    --b 'memcached -l 127.0.0.1 -p {port} -U 0 -t 1 -m 1024 -c 4096 -u nobody'

Both servers live at once on one core; the generator, on another, drives one window of A, one of B, and so on.
What can be trusted is the median of the paired ratios: absolute figures drift with the machine. 14 rounds are
good for a claim of 5 %, 60 for one of 2 to 3 %.

Loads: get, mget, mix (10 % sets) or set, with a depth behind: get16 sends 16 requests at once and waits for all
answers, mget32 asks for 32 keys in one request. Each key counts as a request.

Every answer's length and kind is checked, and one batch in 64 byte by byte: key, value, checksum. All keys are
there and memory should be too, so a miss is an error.

Exit code: 0 when every answer was right, 1 when not or on any error, 2 for a wrong command line.";

/// `pairs`.
#[derive(Debug, Args)]
#[command(after_help = PAIRS_HELP)]
pub(crate) struct Pairs {
    #[command(flatten)]
    pub(crate) pair: Pair,

    /// Pairs of windows for each load.
    #[arg(long, value_name = "N", default_value = "14")]
    pub(crate) rounds: NonZeroU32,

    /// How long each server is measured in turn.
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = window)]
    pub(crate) window: Duration,

    /// Loads, one after the other.
    #[arg(long, value_name = "LOAD", value_delimiter = ',', default_value = "get,get16,mget32,mix16,set16")]
    pub(crate) loads: Vec<Load>,
}

const LATENCY_HELP: &str = "\
Example, a node against stock memcached at half of memcached's peak:
  evanesce-loadtest latency \\
    --a 'target/release/evanesce node --standalone --listen 127.0.0.1:{port} --threads 1 --memory 1GiB' \\
    --b 'memcached -l 127.0.0.1 -p {port} -U 0 -t 1 -m 1024 -c 4096 -u nobody'

GETs of one key are sent on a schedule, whether or not earlier ones were answered, and each is timed from the
instant it was due. Arrivals are independent of each other (Poisson), as those of many users are; both servers get
the same arrivals and keys in the same round. A percentage is of B's peak, which a closed loop finds first.

The generator spins, so it needs a core of its own. Its own lateness (due to sent) is part of every latency and is
reported beside them: where it comes near them, the machine is too busy for this measurement.

Exit code: 0 when every answer was right, 1 when not or on any error, 2 for a wrong command line.";

/// `latency`.
#[derive(Debug, Args)]
#[command(after_help = LATENCY_HELP)]
pub(crate) struct Latency {
    #[command(flatten)]
    pub(crate) pair: Pair,

    /// Requests per second, or a share of B's peak.
    #[arg(long, value_name = "N/s|N%", default_value = "50%")]
    pub(crate) rate: RateOf,

    /// Pairs of windows.
    #[arg(long, value_name = "N", default_value = "14")]
    pub(crate) rounds: NonZeroU32,

    /// How long each server is measured in turn.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = window)]
    pub(crate) window: Duration,
}

const CONNECTIONS_HELP: &str = "\
Example, a node against stock memcached:
  evanesce-loadtest connections --count 15000 --active 10000 \\
    --a 'target/release/evanesce node --standalone --listen 127.0.0.1:{port} --threads 1 --memory 1GiB \\
         --connections-max 16384' \\
    --b 'memcached -l 127.0.0.1 -p {port} -U 0 -t 1 -m 1024 -c 16384 -u nobody'

COUNT connections are opened to A and to B, by a process for each, over several loopback source addresses; each
does one GET and then nothing. Resident memory that the server gained, over COUNT, is what an idle connection
costs. Then ACTIVE of them take turns, --in-flight at once, in windows of A and B in turn: processor time per GET.

Every process needs a few more file descriptors than COUNT; the soft limit is raised to the hard one.

Exit code: 0 when every answer was right, 1 when not or on any error, 2 for a wrong command line.";

/// `connections`.
#[derive(Debug, Args)]
#[command(after_help = CONNECTIONS_HELP)]
pub(crate) struct Connections {
    #[command(flatten)]
    pub(crate) pair: Pair,

    /// Connections to hold open to each server.
    #[arg(long, value_name = "N", default_value = "15000")]
    pub(crate) count: NonZeroUsize,

    /// How many of them ask, in rotation.
    #[arg(long, value_name = "N", default_value = "10000")]
    pub(crate) active: NonZeroUsize,

    /// GETs on their way at once, each on another connection. The default is that of `pairs --loads get`, so that
    /// the number of connections is all that differs from it.
    #[arg(long, value_name = "N", default_value = "50")]
    pub(crate) in_flight: NonZeroUsize,

    /// Pairs of windows.
    #[arg(long, value_name = "N", default_value = "14")]
    pub(crate) rounds: NonZeroU32,

    /// How long each server is measured in turn.
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = window)]
    pub(crate) window: Duration,
}

/// `crowd`: the process that holds the connections to one server. Started by `connections`, not by people.
#[derive(Debug, Args)]
pub(crate) struct Crowd {
    #[arg(long)]
    pub(crate) server: SocketAddr,
    #[arg(long)]
    pub(crate) pid: u32,
    #[arg(long)]
    pub(crate) count: usize,
    #[arg(long)]
    pub(crate) keys: u64,
    #[arg(long)]
    pub(crate) key_bytes: usize,
    #[arg(long)]
    pub(crate) value_bytes: usize,
}

/// A rate, or a share of a server's peak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RateOf {
    PerSecond(f64),
    /// 1 is all of it.
    Peak(f64),
}

impl FromStr for RateOf {
    type Err = String;

    fn from_str(text: &str) -> Result<RateOf, String> {
        let rate = match text.strip_suffix('%') {
            Some(percent) => percent.parse().map(|percent: f64| RateOf::Peak(percent / 100.0)),
            None => text.strip_suffix("/s").unwrap_or(text).parse().map(RateOf::PerSecond),
        };
        match rate {
            Ok(rate @ (RateOf::PerSecond(number) | RateOf::Peak(number)))
                if number.is_finite() && number > 0.0 =>
            {
                Ok(rate)
            }
            _ => Err(format!("{text:?} is not a rate: write 50000/s or 50%")),
        }
    }
}

fn key_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes @ KEY_BYTES_MIN..=KEY_BYTES_MAX) => Ok(bytes),
        _ => Err(format!("a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes")),
    }
}

fn window(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration < WINDOW_MIN { Err(format!("at least {WINDOW_MIN:?}")) } else { Ok(duration) }
}
