//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::engine::EngineName;
use crate::expiry::Preset;
use crate::load::{Source, Synthetic};
use crate::policy::PolicyName;
use crate::size::{self, Memory};
use crate::throughput::{Mix, OPERATIONS_A_LOOK};

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
    /// Operations per second on one and more threads, window by window in turn.
    Throughput(ThroughputArgs),
    /// The slowest single operations while the store fills and while it evicts.
    Pauses(PausesArgs),
    /// Memory that expired items hold under loads with TTLs.
    Expiry(ExpiryArgs),
    /// Hit ratio and refusals when values become forty times as large.
    Shift(ShiftArgs),
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
    #[arg(long, value_name = "N", default_value = "2000000", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keys: u32,

    /// Requests of the synthetic loads.
    #[arg(long, value_name = "N", default_value = "8000000")]
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

const THROUGHPUT_HELP: &str = "\
All engines are alive at once, each filled with every key. In each round every engine gets one window with each
number of threads, one after the other, so that what disturbs the machine disturbs all alike; ratios are taken within
a round, and their median is shown with the quartiles. Reads copy the value out. A read that misses sets its key.

`CPU ns/op` is processor time, which stands still while other processes run: compare it when the machine is shared.
It does not contain time spent waiting for a lock.

Examples:
  evanesce-engines throughput
  evanesce-engines throughput --engine evanesce,segcache --mix write --pairs 60
  With eviction: evanesce-engines throughput --memory 64MiB";

/// `throughput`.
#[derive(Debug, Args)]
#[command(after_help = THROUGHPUT_HELP)]
pub(crate) struct ThroughputArgs {
    #[command(flatten)]
    pub(crate) shared: SharedArgs,

    /// Loads: read only, nine reads for a write, write only; all when none is given.
    #[arg(long, value_name = "MIX", value_delimiter = ',')]
    pub(crate) mix: Vec<Mix>,

    /// Numbers of threads, in turn; scaling is the last over the first.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,2", value_parser = threads)]
    pub(crate) threads: Vec<usize>,

    /// Keys, of 16 to 32 bytes, asked for by Zipf's law with 0.99.
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keys: u32,

    /// Bytes of a value.
    #[arg(long, value_name = "BYTES", default_value = "100")]
    pub(crate) value_bytes: usize,

    /// Operations of which the reads are asked for at once, as by a multi-key get: 1 to 64. Engines without such an
    /// interface are asked one by one.
    #[arg(long, value_name = "N", default_value = "1", value_parser = batch)]
    pub(crate) batch: usize,

    /// Seconds of a window.
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    pub(crate) seconds: f64,

    /// Rounds: pairs of windows that are compared.
    #[arg(long, value_name = "N", default_value = "14", value_parser = pairs)]
    pub(crate) pairs: usize,

    /// The budget of each engine; without it, so much that nothing is evicted.
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    pub(crate) memory: Option<u64>,

    /// What the operations are drawn from.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,
}

fn batch(text: &str) -> Result<usize, String> {
    let batch = text.parse().ok().filter(|batch| (1..=OPERATIONS_A_LOOK).contains(batch));
    batch.ok_or(format!("{text:?} is no size of a batch: 1 to {OPERATIONS_A_LOOK}"))
}

fn threads(text: &str) -> Result<usize, String> {
    let threads = text.parse().ok().filter(|threads| (1..=256).contains(threads));
    threads.ok_or(format!("{text:?} is no number of threads: 1 to 256"))
}

fn pairs(text: &str) -> Result<usize, String> {
    let pairs = text.parse().ok().filter(|pairs| (1..=10_000).contains(pairs));
    pairs.ok_or(format!("{text:?} is no number of rounds: 1 to 10000"))
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.01..=60.0).contains(seconds));
    seconds.ok_or(format!("{text:?} is no length of a window: 0.01 to 60 seconds"))
}

const PAUSES_HELP: &str = "\
Inserts keys that never came before, on one thread, until the engine evicts, then as many again. `wall` is what a
caller waited; `own work` is what the thread itself worked, kernel included: while it stood still, others ran, which is
the machine's doing and not the engine's. Timing costs about 0.4 us an operation, in both.";

/// `pauses`.
#[derive(Debug, Args)]
#[command(after_help = PAUSES_HELP)]
pub(crate) struct PausesArgs {
    #[command(flatten)]
    pub(crate) shared: SharedArgs,

    /// The budget.
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = size::bytes)]
    pub(crate) memory: u64,

    /// Bytes of a key: 10 to 250.
    #[arg(long, value_name = "BYTES", default_value = "16", value_parser = key_bytes)]
    pub(crate) key_bytes: usize,

    /// Bytes of a value, at least 8.
    #[arg(long, value_name = "BYTES", default_value = "8")]
    pub(crate) value_bytes: usize,
}

fn key_bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| (10..=250).contains(bytes));
    bytes.ok_or(format!("{text:?} is no length of a key: 10 to 250 bytes"))
}

const EXPIRY_HELP: &str = "\
Loads like those of some of Twitter's clusters: key and value sizes, TTLs, share of writes and skew; keys for four
times the memory. Time is simulated. The rate is chosen so that, in a cache that never evicts, live items would fill
`--pressure` times the memory: below 1 memory suffices when what expires is given back, above 1 it evicts all the
while. The first half of the requests is to reach the steady state; in the second half the store is asked 25 times,
without touching, which of the items that have not expired are there; what other items it has must have expired.

`expired` and `live` are shares of the budget, `expired items` of the items there. Our engine only.";

/// `expiry`.
#[derive(Debug, Args)]
#[command(after_help = EXPIRY_HELP)]
pub(crate) struct ExpiryArgs {
    /// Loads; all when none is given: cluster4, cluster12, cluster19, cluster23, cluster26, cluster29, cluster37,
    /// cluster52.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = Preset::named)]
    pub(crate) preset: Vec<Preset>,

    /// What would live without eviction, over the memory.
    #[arg(long, value_name = "RATIO", value_delimiter = ',', default_value = "0.7,1.5", value_parser = pressure)]
    pub(crate) pressure: Vec<f64>,

    /// The budget.
    #[arg(long, value_name = "SIZE", default_value = "128MiB", value_parser = size::bytes)]
    pub(crate) memory: u64,

    /// Requests of each run.
    #[arg(long, value_name = "N", default_value = "5000000")]
    pub(crate) requests: u64,

    /// Lock domains.
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) shards: u16,

    /// What the loads are drawn from.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,

    /// Write records there as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

fn pressure(text: &str) -> Result<f64, String> {
    let pressure = text.parse().ok().filter(|pressure| (0.01..=3.5).contains(pressure));
    pressure.ok_or(format!("{text:?} is no pressure: 0.01 to 3.5"))
}

const SHIFT_HELP: &str = "\
First a load of 100-byte values (Zipf 0.99, keys for four times the memory, cache-aside) until so many turnovers of
memory were set, then one of 4 KiB values for as long. The second load also goes, request by request, to a fresh
store: what the shifted one lacks against it is what the first load still costs.";

/// `shift`.
#[derive(Debug, Args)]
#[command(after_help = SHIFT_HELP)]
pub(crate) struct ShiftArgs {
    #[command(flatten)]
    pub(crate) shared: SharedArgs,

    /// Simulated policies to shift as well: what of the lag is the policy's own. None by default.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) policy: Vec<PolicyName>,

    /// The budget.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size::bytes)]
    pub(crate) memory: u64,

    /// Bytes set by each load, over the memory.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) turnovers: u64,

    /// What the loads are drawn from.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,
}
