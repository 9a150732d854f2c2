//! Hostile input: thousands of malformed requests, crowds of idle and slow peers, and a witness that must not
//! notice. `tests/hostile/run` builds what this needs and calls it.

mod crowd;
mod inputs;
mod witness;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use evanesce_tests::{Process, Programs, Raw, Up, pause, rss_bytes, start_node, wait_for_memcached};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::inputs::{Input, Manner, input};

/// Peers that send inputs at once.
const PEERS: usize = 16;
/// How long a peer reads what comes before it leaves.
const READ_LIMIT: Duration = Duration::from_millis(20);
/// The node's whole memory budget.
const NODE_MEMORY_MIB: u64 = 64;
/// What a process may need beside its budget: program and libraries, threads, the budget of partial
/// requests, buffers of the kernel's making for five thousand connections and slow readers.
const BESIDE_BUDGET_MIB: u64 = 48;
/// What a gateway, which has no items, may need in all.
const GATEWAY_MIB: u64 = 96;
/// What slow readers of a node ask for: far more than sockets hold.
const NODE_SLOW_ITEM_BYTES: usize = 500_000;
/// The same of a gateway. It has one connection to a node for all its peers and 50 ms for a read, so half a
/// gigabyte asked for at once is late for everybody, and says so; this much must not be.
const GATEWAY_SLOW_ITEM_BYTES: usize = 10_000;
/// Share of the budget that may be exceeded, in percent.
const OVER_BUDGET_PERCENT: u64 = 5;
/// Files this process opens: its ends of the connections, and some.
const FILES: u64 = 20_000;
const MIB: u64 = 1 << 20;

struct Options {
    inputs: u64,
    idle: usize,
    seed: u64,
    directory: PathBuf,
    gateway: bool,
}

fn main() -> ExitCode {
    match options().and_then(|options| torment(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostile: FAILED: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn options() -> anyhow::Result<Options> {
    let mut arguments = std::env::args().skip(1);
    let seed = u64::from(std::process::id());
    let directory = std::env::temp_dir();
    let mut options = Options { inputs: 10_000, idle: 5_000, seed, directory, gateway: false };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--gateway" => options.gateway = true,
            "--inputs" => options.inputs = value()?.parse()?,
            "--idle" => options.idle = value()?.parse()?,
            "--seed" => options.seed = value()?.parse()?,
            "--directory" => options.directory = value()?.into(),
            _ => bail!("unknown argument {argument}"),
        }
    }
    Ok(options)
}

/// What is tormented.
struct Victim {
    name: &'static str,
    address: SocketAddr,
    pid: u32,
    rss_bytes_max: u64,
    slow_item_bytes: usize,
    node: Option<Process>,
    _up: Option<Up>,
}

fn victim(options: &Options) -> anyhow::Result<Victim> {
    let programs = Programs::find()?;
    if options.gateway {
        let up = Up::start(&programs, &options.directory, "up", &["--zones", "2", "--nodes", "1"])?;
        let (address, pid) = (up.report.gateway.memcached, up.report.gateway.pid);
        let rss_bytes_max = GATEWAY_MIB * MIB;
        let slow_item_bytes = GATEWAY_SLOW_ITEM_BYTES;
        let name = "gateway";
        return Ok(Victim { name, address, pid, rss_bytes_max, slow_item_bytes, node: None, _up: Some(up) });
    }
    let memory = format!("{NODE_MEMORY_MIB}MiB");
    let (node, address) = start_node(&programs, &options.directory, &memory, &["--threads", "2"])?;
    let budget = NODE_MEMORY_MIB * MIB;
    let rss_bytes_max = budget + budget * OVER_BUDGET_PERCENT / 100 + BESIDE_BUDGET_MIB * MIB;
    let (pid, slow_item_bytes) = (node.pid(), NODE_SLOW_ITEM_BYTES);
    Ok(Victim { name: "node", address, pid, rss_bytes_max, slow_item_bytes, node: Some(node), _up: None })
}

/// Runs it all.
fn torment(options: &Options) -> anyhow::Result<()> {
    raise_file_limit()?;
    let mut victim = victim(options)?;
    let address = victim.address;
    println!("{} at {address}, {} inputs, seed {}", victim.name, options.inputs, options.seed);
    if victim.node.is_some() {
        fill(address)?;
    }
    let filled = rss_bytes(victim.pid)?;
    let mut idle = crowd::idle(address, options.idle)?;
    let (stop, rss_max) = (AtomicBool::new(false), AtomicU64::new(0));
    let (seen, kinds) = std::thread::scope(|scope| {
        let witness = scope.spawn(|| witness::watch(address, &stop));
        let writers = scope.spawn(|| crowd::write_slowly(address, &stop));
        let readers = scope.spawn(|| crowd::read_slowly(address, victim.slow_item_bytes, &stop));
        scope.spawn(|| measure(victim.pid, &rss_max, &stop));
        let sent = send_all(address, options);
        stop.store(true, Ordering::Relaxed);
        for crowd in [writers, readers] {
            crowd.join().expect("a crowd does not panic")?;
        }
        let seen =
            witness.join().expect("the witness does not panic").context("the witness was disturbed")?;
        anyhow::Ok((seen, sent?))
    })?;
    if let Some(node) = &mut victim.node {
        node.check()?;
    }
    wait_for_memcached(address).context("it does not serve any more")?;
    let serving = crowd::serving(&mut idle);
    let rss_max = rss_max.load(Ordering::Relaxed).max(rss_bytes(victim.pid)?);
    report(&victim, &kinds, seen, filled, rss_max);
    println!("idle      {serving} of {} connections serve afterwards", idle.len());
    if serving != idle.len() {
        bail!("{} idle connections were lost", idle.len() - serving);
    }
    if rss_max > victim.rss_bytes_max {
        bail!("memory is over what is allowed");
    }
    Ok(())
}

fn report(victim: &Victim, kinds: &BTreeMap<&str, u64>, seen: witness::Seen, filled: u64, rss_max: u64) {
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    println!("inputs    {}", kinds.join(", "));
    println!("witness   {} exchanges, all right, slowest {:?}", seen.exchanges, seen.slowest);
    let (filled, rss_max, allowed) = (filled / MIB, rss_max / MIB, victim.rss_bytes_max / MIB);
    println!("memory    {filled} MiB filled, {rss_max} MiB at most, {allowed} MiB allowed (VmRSS)");
}

fn raise_file_limit() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES, |maximum| maximum.min(FILES));
    let raised = limit.current.map_or(wanted, |current| current.max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum })
        .context("cannot raise the limit of open files")
}

/// Writes half again as much as the budget holds, so that memory is what it will be.
fn fill(address: SocketAddr) -> anyhow::Result<()> {
    let mut raw = Raw::connect(address)?;
    let value = "f".repeat(2000);
    let items = NODE_MEMORY_MIB * MIB * 3 / 2 / 2000;
    for start in (0..items).step_by(200) {
        let set = |number| format!("set fill{number} 0 0 2000 noreply\r\n{value}\r\n");
        let batch: String = (start..start + 200).map(set).collect();
        let received = raw.exchange(batch.as_bytes());
        if received.closed || received.stuck || !received.bytes.is_empty() {
            bail!("filling failed: {}", String::from_utf8_lossy(&received.bytes));
        }
    }
    Ok(())
}

fn measure(pid: u32, rss_max: &AtomicU64, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        // A process that has gone is noticed by whoever talks to it.
        rss_max.fetch_max(rss_bytes(pid).unwrap_or(0), Ordering::Relaxed);
        pause(Duration::from_millis(50));
    }
}

/// Sends all inputs, some peers at once; how many there were of each kind.
fn send_all(address: SocketAddr, options: &Options) -> anyhow::Result<BTreeMap<&'static str, u64>> {
    let next = AtomicU64::new(0);
    let peer = || {
        let mut kinds: BTreeMap<&'static str, u64> = BTreeMap::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= options.inputs {
                return anyhow::Ok(kinds);
            }
            let input = input(options.seed, number);
            send(address, &input)
                .with_context(|| format!("input {number}, {}: no connection", input.kind))?;
            *kinds.entry(input.kind).or_default() += 1;
        }
    };
    std::thread::scope(|scope| {
        let peers: Vec<_> = (0..PEERS).map(|_| scope.spawn(peer)).collect();
        let mut total = BTreeMap::new();
        for peer in peers {
            for (kind, count) in peer.join().expect("a peer does not panic")? {
                *total.entry(kind).or_default() += count;
            }
        }
        Ok(total)
    })
}

/// One input on a connection of its own. Only being refused the connection is an error: whatever happens
/// after that, the server may close.
fn send(address: SocketAddr, input: &Input) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(READ_LIMIT))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    match input.manner {
        Manner::Pieces { bytes, pause: between } => {
            for piece in input.bytes.chunks(bytes) {
                if stream.write_all(piece).is_err() {
                    return Ok(());
                }
                pause(between);
            }
        }
        Manner::Polite | Manner::HalfClosed | Manner::Rude => _ = stream.write_all(&input.bytes),
    }
    if input.manner == Manner::HalfClosed {
        let _ = stream.shutdown(Shutdown::Write);
    }
    if input.manner != Manner::Rude {
        let mut chunk = [0; 4096];
        while matches!(stream.read(&mut chunk), Ok(1..)) {}
    }
    Ok(())
}
