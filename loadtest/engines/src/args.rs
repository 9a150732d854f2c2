//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::engine::EngineName;
use crate::load::{Source, Synthetic};
use crate::policy::PolicyName;
use crate::size::{self, Memory};

/// Benchmarks of Evanesce's storage engine beside other engines, simulated policies and memcached.
///
/// Tables go to stdout, progress to stderr. Every load is drawn from --seed and comes out the same each time; every
/// value carries its key's number and is checked. Exit code: 0 when all answers were right and our engine refused
/// nothing, 1 otherwise, 2 for a wrong command line.
#[derive(Debug, Parser)]
#[command(name = "evanesce-engines", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Hit ratios of engines, simulated policies and memcached at equal memory.
    Hits(HitsArgs),
    /// Items that fit a budget before the first eviction, and resident memory for each.
    Density(DensityArgs),
    /// One cell of `density`, in a process of its own.
    #[command(hide = true)]
    DensityOf(DensityOfArgs),
}

/// What all measurements share.
#[derive(Debug, Args)]
pub(crate) struct SharedArgs {
    /// Engines; all when none is given.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) engine: Vec<EngineName>,

    /// Lock domains of engines that let one choose. Ours gets fewer when each would have less than 4 MiB, as in
    /// the node.
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) shards: u16,

    /// Write records there as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

const HITS_HELP: &str = "\
Examples:
  The synthetic loads at four sizes, every engine and simulator:
    evanesce-engines hits --memory 64MiB,128MiB,256MiB,512MiB
  Our engine against its policy, at shares of the footprint:
    evanesce-engines hits --engine evanesce --policy s3-fifo-size --memory 1%,5%,10%,25%
  A trace, four copies side by side so that 64 MiB is little, with memcached beside:
    evanesce-engines hits --trace OLTP.lis.zst --scale 4 --memcached-binary /usr/bin/memcached

Each request gets a key of 32 bytes and on a miss sets it; a thousand requests take 10 ms of the store's time. The
ratio is over all requests, from an empty cache. A simulator counts 24 bytes beside key and value (--overhead); an
engine gets the memory as its whole budget. Of refusals, memcached's and the peers' only lower their ratio.

Traces, plain or zstd: lines of `first_block count 0 number` (values of 100 to 4,096 bytes, drawn from the key), and
CSV with columns size and lbn (values of that size).";

/// `hits`.
#[derive(Debug, Args)]
#[command(after_help = HITS_HELP, group = ArgGroup::new("peer").args(["memcached", "memcached_binary"]))]
pub(crate) struct HitsArgs {
    #[command(flatten)]
    pub(crate) shared: SharedArgs,

    /// Simulated policies; all when none is given.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) policy: Vec<PolicyName>,

    /// Engines only.
    #[arg(long, conflicts_with = "policy")]
    pub(crate) no_policy: bool,

    /// Simulated policies only.
    #[arg(long, conflicts_with = "engine")]
    pub(crate) no_engine: bool,

    /// Memory sizes, as 64MiB, or as 5% of what the load would fill at the simulators' overhead.
    #[arg(
        long,
        value_name = "SIZE|SHARE",
        value_delimiter = ',',
        default_value = "64MiB,128MiB,256MiB,512MiB"
    )]
    pub(crate) memory: Vec<Memory>,

    /// Trace files to replay instead of the synthetic loads.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Vec<PathBuf>,

    /// Copies of a trace, each with keys of its own, interleaved.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) scale: u32,

    /// Synthetic loads; both when neither this nor a trace is given.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) load: Vec<SyntheticName>,

    /// Keys of the synthetic loads.
    #[arg(long, value_name = "N", default_value = "4000000", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keys: u32,

    /// Requests of the synthetic loads.
    #[arg(long, value_name = "N", default_value = "20000000")]
    pub(crate) requests: usize,

    /// What the synthetic loads are drawn from.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,

    /// Bytes that a simulator counts for an item beside key and value.
    #[arg(long, value_name = "BYTES", default_value = "24")]
    pub(crate) overhead: usize,

    /// A memcached that runs, with whatever memory it was started with; it is flushed before each load.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) memcached: Option<SocketAddr>,

    /// A memcached to start on loopback with each memory size, and to end after.
    #[arg(long, value_name = "FILE")]
    pub(crate) memcached_binary: Option<PathBuf>,
}

/// Loads that are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SyntheticName {
    /// Zipf 0.9, values log-normal with a median of 150 bytes and a sigma of 1.
    Zipf,
    /// Zipf 1.0, 20 % of the requests for keys that never return, values as above.
    Scan,
}

impl HitsArgs {
    /// The loads that were asked for.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let trace = |path: &PathBuf| Source::Trace { path: path.clone(), scale: self.scale };
        let mut sources: Vec<Source> = self.trace.iter().map(trace).collect();
        let drawn = Synthetic { keys: self.keys, requests: self.requests, seed: self.seed };
        let names = match (self.load.is_empty(), sources.is_empty()) {
            (true, true) => &[SyntheticName::Zipf, SyntheticName::Scan],
            _ => self.load.as_slice(),
        };
        sources.extend(names.iter().map(|name| match name {
            SyntheticName::Zipf => Source::Zipf(drawn),
            SyntheticName::Scan => Source::Scan(drawn),
        }));
        sources
    }
}

const DENSITY_HELP: &str = "\
Fills each engine in a process of its own, up to the first eviction (or refusal), with keys of one length and values
of another. `budget` is the memory given over the items that fit; `resident` is what the process grew by, over the
same. An engine that keeps to a true budget has both alike; moka, quick_cache and foyer count what their user's
weigher says, so that only `resident` tells what an item costs there. Overheads are without key and value.";

/// `density`.
#[derive(Debug, Args)]
#[command(after_help = DENSITY_HELP)]
pub(crate) struct DensityArgs {
    #[command(flatten)]
    pub(crate) shared: SharedArgs,

    /// The budget.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size::bytes)]
    pub(crate) memory: u64,

    /// Sizes of key and value in bytes.
    #[arg(long, value_name = "KEY/VALUE", value_delimiter = ',', default_value = "16/50,32/100,32/1000", value_parser = item_size)]
    pub(crate) item: Vec<(usize, usize)>,
}

fn item_size(text: &str) -> Result<(usize, usize), String> {
    let sizes = text.split_once('/').and_then(|(key, value)| Some((key.parse().ok()?, value.parse().ok()?)));
    let fits = |(key, value): &(usize, usize)| (10..=250).contains(key) && (8..=1 << 19).contains(value);
    sizes
        .filter(fits)
        .ok_or(format!("{text:?}: write 16/50, keys of 10 to 250 bytes, values of 8 bytes to 512 KiB"))
}

/// One cell of `density`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DensityOfArgs {
    #[arg(long)]
    pub(crate) engine: EngineName,
    #[arg(long)]
    pub(crate) shards: u16,
    #[arg(long)]
    pub(crate) memory: usize,
    #[arg(long)]
    pub(crate) key_bytes: usize,
    #[arg(long)]
    pub(crate) value_bytes: usize,
    #[arg(long)]
    pub(crate) ttl: bool,
}
