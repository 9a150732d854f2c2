//! `connections`: what many connections cost two servers: memory while they are idle, processor time while they are
//! active.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::args;
use crate::bench::{Bench, SIDES, Setting, Window, say, window};
use crate::crowd::{Crowd, LOAD};
use crate::generator::{Plan, Pool, Until};
use crate::keys::seed_of;
use crate::report::write_json;
use crate::server::Server;
use crate::statistics::{Spread, median};
use crate::usage::resident_bytes;

/// Descriptors that a process needs beside its connections.
const DESCRIPTORS_SPARE: u64 = 100;
/// Memory has settled when it was the same for so long: servers give buffers back at once or not at all.
const SETTLE: Duration = Duration::from_millis(300);
/// Waited no longer than this for memory to settle.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(50);
/// Before memory is first read, this long a window over few connections: whatever a server makes once, it has made.
const WARM_WINDOW: Duration = Duration::from_millis(500);
/// Numbers of requests between rounds: more than any window has.
const ROUND_REQUESTS: u64 = 1 << 32;

/// What the command found.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    setting: Setting,
    rounds: u32,
    count: usize,
    active: usize,
    in_flight: usize,
    a: Figures,
    b: Figures,
    /// Processor time per GET, A's over B's, pair by pair.
    ratio: Spread,
}

/// What was found about one server.
#[derive(Debug, Serialize)]
struct Figures {
    resident_bytes_before: u64,
    resident_bytes_idle: u64,
    /// Once the connections were active.
    resident_bytes_after: u64,
    bytes_per_idle_connection: f64,
    bytes_per_connection_after: f64,
    server_us_per_get: f64,
    gets_per_second: f64,
    checked: u64,
    wrong: u64,
}

/// One server while it is measured: its connections, its resident memory at three times, its windows.
struct Side {
    crowd: Crowd,
    resident_before: u64,
    resident_idle: u64,
    resident_after: u64,
    wrong: u64,
    windows: Vec<Window>,
}

/// Runs the command; whether every answer was right.
///
/// # Errors
/// When a limit is too low, a server does not start, a request is not answered, or the report cannot be written.
pub(crate) fn run(options: &args::Connections) -> anyhow::Result<bool> {
    raise_descriptors(options.count.get() as u64 + DESCRIPTORS_SPARE)?;
    if options.active > options.count || options.in_flight > options.active {
        bail!("--in-flight must not be more than --active, nor that more than --count");
    }
    let bench = Bench::set_up(&options.pair)?;
    let mut sides = [Side::open(&bench, 0, options)?, Side::open(&bench, 1, options)?];
    for round in 0..u64::from(options.rounds.get()) {
        for (side, name) in sides.iter_mut().zip(SIDES) {
            side.window(round, options).with_context(|| format!("cannot measure {name}"))?;
        }
    }
    for (side, server) in sides.iter_mut().zip(&bench.servers) {
        side.resident_after = settled(server)?;
    }
    let report = Report::new(options, &bench, &sides);
    println!("{report}");
    if let Some(path) = &options.pair.json {
        write_json(path, &report)?;
    }
    Ok(report.a.wrong + report.b.wrong == 0)
}

/// Lets this process and those it starts have so many descriptors.
fn raise_descriptors(needed: u64) -> anyhow::Result<()> {
    let limit = rlimit::increase_nofile_limit(u64::MAX).context("cannot raise the descriptor limit")?;
    if limit < needed {
        bail!(
            "a process may hold {limit} descriptors and {needed} are needed: raise `ulimit -Hn`, or lower --count"
        );
    }
    Ok(())
}

fn warm(bench: &Bench, server: &Server, options: &args::Connections) -> anyhow::Result<Window> {
    let connections = options.pair.connections.get();
    let mut pool = Pool::connect(server.address(), connections)?;
    let (active, in_flight) = (connections, connections);
    let plan = Plan { first: 0, active, in_flight, until: Until::Elapsed(WARM_WINDOW) };
    window(&mut pool, server.pid(), &bench.traffic(LOAD, seed_of("warm")), &plan)
}

fn crowd_of(options: &args::Connections, server: &Server) -> args::Crowd {
    args::Crowd {
        server: server.address(),
        pid: server.pid(),
        count: options.count.get(),
        keys: options.pair.keys,
        key_bytes: options.pair.key_bytes,
        value_bytes: options.pair.value_bytes,
    }
}

/// A server's resident memory once it stays the same.
fn settled(server: &Server) -> anyhow::Result<u64> {
    let read = || resident_bytes(server.pid()).context("cannot read the server's memory");
    let started = Instant::now();
    let (mut bytes, mut since) = (read()?, started);
    while since.elapsed() < SETTLE && started.elapsed() < SETTLE_LIMIT {
        std::thread::park_timeout(PAUSE);
        let now = read()?;
        if now != bytes {
            (bytes, since) = (now, Instant::now());
        }
    }
    Ok(bytes)
}

impl Side {
    /// Opens all connections to a server that is warm.
    fn open(bench: &Bench, number: usize, options: &args::Connections) -> anyhow::Result<Side> {
        let (server, name) = (&bench.servers[number], SIDES[number]);
        warm(bench, server, options)?;
        let resident_before = settled(server)?;
        let mut crowd = Crowd::start(&crowd_of(options, server))?;
        let wrong = crowd.open().with_context(|| format!("connections to {name}"))?;
        let resident_idle = settled(server)?;
        say(&format!("{name}: {} connections are open", options.count));
        Ok(Side { crowd, resident_before, resident_idle, resident_after: 0, wrong, windows: Vec::new() })
    }

    fn window(&mut self, round: u64, options: &args::Connections) -> anyhow::Result<()> {
        let (active, in_flight) = (options.active.get(), options.in_flight.get());
        let window = self.crowd.window((round + 1) * ROUND_REQUESTS, active, in_flight, options.window)?;
        self.windows.push(window);
        Ok(())
    }

    fn figures_of(&self, of: fn(&Window) -> f64) -> Vec<f64> {
        self.windows.iter().map(of).collect()
    }

    fn figures(&self, count: usize) -> Figures {
        let per_connection = |bytes: u64| (bytes as f64 - self.resident_before as f64) / count as f64;
        Figures {
            resident_bytes_before: self.resident_before,
            resident_bytes_idle: self.resident_idle,
            resident_bytes_after: self.resident_after,
            bytes_per_idle_connection: per_connection(self.resident_idle),
            bytes_per_connection_after: per_connection(self.resident_after),
            server_us_per_get: median(&self.figures_of(Window::server_us_per_request)),
            gets_per_second: median(&self.figures_of(Window::requests_per_second)),
            checked: self.windows.iter().map(|window| window.checked).sum(),
            wrong: self.wrong + self.windows.iter().map(|window| window.wrong).sum::<u64>(),
        }
    }
}

impl Report {
    fn new(options: &args::Connections, bench: &Bench, sides: &[Side; 2]) -> Report {
        let [a, b] = sides;
        let of = |side: &Side| side.figures_of(Window::server_us_per_request);
        Report {
            setting: bench.setting(&options.pair),
            rounds: options.rounds.get(),
            count: options.count.get(),
            active: options.active.get(),
            in_flight: options.in_flight.get(),
            a: a.figures(options.count.get()),
            b: b.figures(options.count.get()),
            ratio: Spread::of_ratios(&of(a), &of(b)),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { count, active, in_flight, a, b, ratio, .. } = self;
        writeln!(
            f,
            "{count} idle connections: resident bytes per connection (before, idle, after being active)"
        )?;
        for (name, side) in SIDES.iter().zip([a, b]) {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let (before, idle) = (mib(side.resident_bytes_before), mib(side.resident_bytes_idle));
            let (per_idle, per_after) = (side.bytes_per_idle_connection, side.bytes_per_connection_after);
            write!(f, "{name}: {per_idle:.0} bytes (of {before:.1} MiB before, {idle:.1} MiB with them); ")?;
            writeln!(f, "{per_after:.0} bytes once they were active")?;
        }
        writeln!(f, "\n{active} active connections, {in_flight} GETs at once: processor time per GET")?;
        let (a_us, b_us) = (a.server_us_per_get, b.server_us_per_get);
        writeln!(f, "A {a_us:.2} us, B {b_us:.2} us, A/B {ratio}")?;
        let (checked, wrong) = (a.checked + b.checked, a.wrong + b.wrong);
        let (a_rate, b_rate) = (a.gets_per_second / 1e3, b.gets_per_second / 1e3);
        write!(f, "A {a_rate:.0}, B {b_rate:.0} kreq/s; {checked} checked, {wrong} wrong")
    }
}
