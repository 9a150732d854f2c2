//! The command line.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand};

mod measure;
mod soak;

pub(crate) use measure::{Connections, Crowd, Latency, Pair, Pairs, RateOf};
pub(crate) use soak::Soak;

/// Load-test harness of Evanesce: replays traces, measures servers side by side, and checks the answers.
#[derive(Debug, Parser)]
#[command(name = "evanesce-loadtest", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the harness can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Replay a trace, cache-aside: get each key; on a miss, set it.
    Replay(Replay),
    /// Measure two servers side by side: processor time per request, in windows taken in turn.
    Pairs(Pairs),
    /// Measure two servers side by side: latency on a schedule, at a share of the second one's peak.
    Latency(Latency),
    /// Measure two servers side by side: memory of idle connections, processor time with many active ones.
    Connections(Connections),
    /// Drive one server with everything at once for long, kill connections, and watch its answers and its memory.
    Soak(Soak),
    /// Hold connections to one server for `connections`.
    #[command(hide = true)]
    Crowd(Crowd),
}

const REPLAY_HELP: &str = "\
Examples:
  Through the smart client, as a service in zone a would:
    evanesce-loadtest replay OLTP.lis.zst --discovery 127.0.0.1:11300 --cluster HOME --zone a
  The same trace against one memcached, to set hit ratios side by side:
    evanesce-loadtest replay OLTP.lis.zst --target 127.0.0.1:11211 --json memcached.json
  On a schedule, with a line of figures every 100 ms, to see a zone's loss and recovery:
    evanesce-loadtest replay OLTP.lis.zst --discovery ... --zone a --rate 5000/s --timeline loss.jsonl

Traces (plain or zstd, told apart by content):
  ARC            lines `first_block count 0 request_number`; a line is `count` consecutive requests
  libCacheSim    CSV with a header that has a column `lbn`; the key is that column
  plain          one key per line

Values carry their key and a checksum; each hit is checked, and a value that fails counts as `wrong`.
requests = hits + misses + wrong + read_errors. After a read error nothing is set.

Exit code: 0 when there was no error and no wrong value, 1 when there was, 2 for a wrong command line.";

/// `replay`.
#[derive(Debug, Args)]
#[command(after_help = REPLAY_HELP, group = ArgGroup::new("where").required(true).args(["discovery", "target"]))]
pub(crate) struct Replay {
    /// The trace file.
    pub(crate) trace: PathBuf,

    /// Discovery services of a cluster, as ip:port; the smart client finds the nodes there.
    #[arg(long, value_name = "ADDR", value_delimiter = ',', requires = "zone")]
    pub(crate) discovery: Vec<String>,

    /// The cluster, with --discovery.
    #[arg(long, value_name = "NAME", default_value = "HOME")]
    pub(crate) cluster: String,

    /// The zone to read from, with --discovery. Several: one client in each, keys dealt out, figures per zone.
    #[arg(long, value_name = "ZONE", value_delimiter = ',')]
    pub(crate) zone: Vec<String>,

    /// One plain memcached address instead, as ip:port: no zones, no discovery.
    #[arg(long, value_name = "ADDR")]
    pub(crate) target: Option<SocketAddr>,

    /// With --discovery, speak TLS with the nodes: authorities, in PEM form, that sign their certificates.
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// The name that the certificates of all nodes must hold; the address of each unless given.
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    pub(crate) tls_server_name: Option<String>,

    /// With --discovery, the user to be to nodes that ask for a password.
    #[arg(long, value_name = "NAME", requires = "password_file", conflicts_with = "target")]
    pub(crate) user: Option<String>,

    /// A file with that user's password and nothing else.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) password_file: Option<PathBuf>,

    /// Size of values in bytes: one size, or a range from which each key always draws the same.
    #[arg(long, value_name = "N|MIN-MAX", default_value = "100-4096")]
    pub(crate) value_size: ValueSize,

    /// Requests in flight at most, each for another key.
    #[arg(long, value_name = "N", default_value = "64")]
    pub(crate) concurrency: NonZeroUsize,

    /// Send on a schedule and time each request from the instant it was due. Without it: as fast as answers come.
    #[arg(long, value_name = "N/s")]
    pub(crate) rate: Option<Rate>,

    /// Stop after this many requests of the trace.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,

    /// Time until a written item expires, as 90s, 15min, 2h.
    #[arg(long, value_name = "DURATION", default_value = "1day", value_parser = humantime::parse_duration)]
    pub(crate) ttl: Duration,

    /// How long one operation against --target may take, as 100ms. The smart client has its own deadlines.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,

    /// Write the report there as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write one JSON line per interval there: t, requests, hits, errors, p50, p99, max.
    #[arg(long, value_name = "FILE")]
    pub(crate) timeline: Option<PathBuf>,

    /// Width of the timeline's intervals.
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = interval)]
    pub(crate) interval: Duration,
}

/// Shortest interval: below it the tallies cost more than what they measure.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

fn interval(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration < INTERVAL_MIN { Err(format!("at least {INTERVAL_MIN:?}")) } else { Ok(duration) }
}

/// Sizes that values may have, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ValueSize {
    pub(crate) bytes_min: usize,
    pub(crate) bytes_max: usize,
}

impl FromStr for ValueSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number =
            |text: &str| text.trim().parse().map_err(|_| format!("{text:?} is not a number of bytes"));
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        let (bytes_min, bytes_max) = (number(min)?, number(max)?);
        if bytes_min > bytes_max {
            return Err(format!("{bytes_min} is more than {bytes_max}: write MIN-MAX"));
        }
        Ok(ValueSize { bytes_min, bytes_max })
    }
}

/// Requests per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) NonZeroU32);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix("/s").unwrap_or(text);
        number.parse().map(Rate).map_err(|_| format!("{text:?} is not a rate: write 5000/s"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Cli, Command, Rate, ValueSize};
    use clap::{CommandFactory, Parser, error::ErrorKind};

    fn replay(arguments: &str) -> Result<super::Replay, ErrorKind> {
        let words = "evanesce-loadtest replay t.lis ".to_owned() + arguments;
        let parsed = Cli::try_parse_from(words.split_whitespace()).map_err(|error| error.kind())?;
        let Command::Replay(replay) = parsed.command else { panic!("another command") };
        Ok(replay)
    }

    #[test]
    fn command_line_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_are_read_as_documented() {
        let line = "--discovery 127.0.0.1:1,127.0.0.1:2 --zone a,b --rate 500/s --value-size 7";
        let replay = replay(line).expect("parses");
        assert_eq!(replay.discovery, ["127.0.0.1:1", "127.0.0.1:2"]);
        assert_eq!(replay.zone, ["a", "b"]);
        assert_eq!(replay.cluster, "HOME");
        assert_eq!(replay.rate, Some(Rate(500.try_into().expect("not 0"))));
        assert_eq!(replay.value_size, ValueSize { bytes_min: 7, bytes_max: 7 });
        assert_eq!(replay.concurrency.get(), 64);
    }

    #[test]
    fn passwords_and_tls_are_the_smart_clients() {
        let cluster = "--discovery 127.0.0.1:1 --zone a --tls-ca ca.pem --user ann";
        assert_eq!(replay(cluster).expect_err("refused"), ErrorKind::MissingRequiredArgument);
        assert!(replay(&format!("{cluster} --password-file p")).is_ok());
        let plain = replay("--target 127.0.0.1:1 --tls-ca ca.pem").expect_err("refused");
        assert_eq!(plain, ErrorKind::ArgumentConflict);
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        let kind = |arguments: &str| replay(arguments).expect_err("refused");
        assert_eq!(kind(""), ErrorKind::MissingRequiredArgument);
        assert_eq!(kind("--discovery 127.0.0.1:1"), ErrorKind::MissingRequiredArgument);
        assert_eq!(
            kind("--target 127.0.0.1:1 --discovery 127.0.0.1:1 --zone a"),
            ErrorKind::ArgumentConflict
        );
        assert_eq!(kind("--target 127.0.0.1:1 --value-size 9-8"), ErrorKind::ValueValidation);
        assert_eq!(kind("--target 127.0.0.1:1 --rate 0/s"), ErrorKind::ValueValidation);
        assert_eq!(kind("--target 127.0.0.1:1 --interval 1ms"), ErrorKind::ValueValidation);
    }
}
