//! Differential: the same random streams of commands to stock memcached and to a node, and every reply the same.
//!
//! `tests/differential/run` builds what this needs and calls it. A mismatch prints the seed, the fewest commands
//! found that still show it, and both replies. What may differ is in [`differences`].

mod binary;
mod differences;
mod numbers;
mod play;
mod replies;
mod shrink;
mod stream;
mod text;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use evanesce_tests::{Programs, start_memcached, start_node};
use rand::RngExt;
use tokio::runtime::Runtime;

use crate::play::{Answer, Wire, play};
use crate::stream::{Command, bursts};

/// Commands of a stream: enough for commands to meet, few enough to be played again while shrinking.
const STREAM_COMMANDS: usize = 2000;
/// Commands of a whole run.
const COMMANDS: usize = 1_000_000;
/// Mismatches shown in full before a run gives up.
const SHOWN_MAX: usize = 10;
/// Without its background threads: while one holds an item, `decr` leaves another length of it.
///
/// With much room behind each item: `incr` and `decr` look for a minus behind a number of 2^63 and more, through all that
/// memory still holds of earlier items, up to a zero byte. Streams leave no minus there. But where an earlier item filled
/// its memory to the last byte there is no zero either, and the search goes on into the next item's header: of addresses
/// and times some have the byte of a minus. So numbers lie where the least room is more than any small item takes.
const MEMCACHED_OPTIONS: [&str; 6] = ["-t", "1", "-o", "no_modern", "-n", "4000"];
/// Bytes of a reply that are printed.
const PRINTED_BYTES_MAX: usize = 2000;

/// What makes a stream.
type Make = fn(u64, u64, usize) -> Vec<Command>;
/// The protocols that are compared.
const WIRES: &[(Wire, Make)] = &[(play::TEXT, text::stream), (play::BINARY, binary::stream)];

/// What was asked for.
struct Options {
    /// Where logs go.
    directory: PathBuf,
    seed: u64,
    /// Commands per protocol.
    commands: usize,
    /// No new stream is begun after this.
    limit: Duration,
    /// Only this stream.
    stream: Option<u64>,
    /// Only this protocol.
    wire: Option<String>,
    /// A running server to compare instead of a node of our own.
    against: Option<SocketAddr>,
}

fn main() -> ExitCode {
    match options().and_then(|options| differ(&options)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(different) => {
            println!("FAILED: {different} streams differ");
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("differential: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn options() -> anyhow::Result<Options> {
    let mut arguments = std::env::args().skip(1);
    let mut options = Options {
        directory: std::env::temp_dir(),
        seed: rand::rng().random(),
        commands: COMMANDS,
        limit: Duration::MAX,
        stream: None,
        wire: None,
        against: None,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--seed" => options.seed = value()?.parse().context("--seed takes a number")?,
            "--commands" => options.commands = value()?.parse().context("--commands takes a number")?,
            "--seconds" => options.limit = Duration::from_secs(value()?.parse().context("--seconds")?),
            "--stream" => options.stream = Some(value()?.parse().context("--stream takes a number")?),
            "--wire" => options.wire = Some(value()?),
            "--directory" => options.directory = value()?.into(),
            "--against" => options.against = Some(value()?.parse().context("--against takes ip:port")?),
            _ => bail!("unknown argument {argument}"),
        }
    }
    Ok(options)
}

/// Both servers and the runtime that speaks to them.
struct Bench {
    runtime: Runtime,
    memcached: SocketAddr,
    node: SocketAddr,
}

impl Bench {
    /// The first burst with different answers, and both answers.
    fn mismatch(&self, wire: Wire, commands: &[Command], seed: u64) -> anyhow::Result<Option<Mismatch>> {
        let both = async {
            tokio::try_join!(
                play(wire, self.memcached, commands, seed),
                play(wire, self.node, commands, seed)
            )
        };
        let (right, said) = self.runtime.block_on(both).context("a server cannot be reached")?;
        let different = |at: &usize| right.get(*at) != said.get(*at);
        let burst = (0..right.len().max(said.len())).find(different);
        Ok(burst.map(|burst| Mismatch {
            burst,
            right: right.get(burst).cloned(),
            said: said.get(burst).cloned(),
        }))
    }
}

/// Two answers that differ.
struct Mismatch {
    /// Which burst; 0 is the flush before the stream.
    burst: usize,
    right: Option<Answer>,
    said: Option<Answer>,
}

/// Runs everything; how many streams differ.
fn differ(options: &Options) -> anyhow::Result<usize> {
    let programs = Programs::find()?;
    let (_memcached, memcached) = start_memcached(&programs, &options.directory, 1024, &MEMCACHED_OPTIONS)?;
    let node = match options.against {
        Some(_) => None,
        None => Some(start_node(&programs, &options.directory, "1GiB", &["--threads", "1"])?),
    };
    let address = node.as_ref().map(|(_, address)| *address).or(options.against);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bench = Bench { runtime, memcached, node: address.context("a node was started")? };
    println!("seed {}; meant to differ, and kept out of the streams:", options.seed);
    for difference in differences::DIFFERENCES {
        println!("  {} ({}; {})", difference.stated, difference.reason, difference.avoided);
    }
    let mut different = 0;
    for (wire, make) in WIRES {
        if options.wire.as_ref().is_none_or(|name| name == wire.name) {
            different += compare(&bench, options, *wire, *make)?;
        }
    }
    Ok(different)
}

/// All streams of one protocol; how many differ.
fn compare(bench: &Bench, options: &Options, wire: Wire, make: Make) -> anyhow::Result<usize> {
    let began = Instant::now();
    let (mut sent, mut different) = (0, 0);
    let streams = match options.stream {
        Some(stream) => stream..stream + 1,
        None => 0..options.commands.div_ceil(STREAM_COMMANDS) as u64,
    };
    for number in streams {
        if began.elapsed() > options.limit || different >= SHOWN_MAX {
            break;
        }
        let commands = make(options.seed, number, STREAM_COMMANDS);
        sent += commands.len();
        if let Some(mismatch) = bench.mismatch(wire, &commands, number)? {
            different += 1;
            println!(
                "DIFFERENT {}: --seed {} --wire {} --stream {number}",
                wire.name, options.seed, wire.name
            );
            show(bench, wire, &commands, number, &mismatch)?;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{}: {sent} commands compared in {seconds:.1} s, {different} streams differ", wire.name);
    Ok(different)
}

/// Prints the fewest commands found that still differ, and both replies.
fn show(bench: &Bench, wire: Wire, commands: &[Command], seed: u64, first: &Mismatch) -> anyhow::Result<()> {
    let played: usize = bursts(commands).iter().take(first.burst).map(|burst| burst.len()).sum();
    let fails = |some: &[Command]| Ok::<_, anyhow::Error>(bench.mismatch(wire, some, seed)?.is_some());
    let few = shrink::shortest(&commands[..played], fails)?;
    let Some(mismatch) = bench.mismatch(wire, &few, seed)? else {
        println!("it did not come again; the burst was number {}", first.burst);
        print_answers(first);
        return Ok(());
    };
    println!("the fewest commands found, {}:", few.len());
    few.iter().for_each(|command| println!("  {}", printed(&command.bytes)));
    print_answers(&mismatch);
    Ok(())
}

fn print_answers(mismatch: &Mismatch) {
    for (who, answer) in [("memcached", &mismatch.right), ("node", &mismatch.said)] {
        match answer {
            Some(answer) => println!("  {who:9} {:?} {}", answer.end, printed(&answer.plain)),
            None => println!("  {who:9} was closed before"),
        }
    }
}

fn printed(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(PRINTED_BYTES_MAX)];
    let more = if shown.len() < bytes.len() { format!("... {} bytes", bytes.len()) } else { String::new() };
    format!("{}{more}", shown.escape_ascii())
}
