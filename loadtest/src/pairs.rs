//! `pairs`: processor time per request of two servers, in windows taken in turn.

use std::fmt;

use serde::Serialize;

use crate::args;
use crate::bench::{Bench, Setting, Window};
use crate::generator::{Plan, Pool, Until};
use crate::keys::seed_of;
use crate::load::Load;
use crate::report::write_json;
use crate::statistics::{Spread, median};

/// Numbers of batches between rounds, so that none repeats the keys of another: more than any window has.
const ROUND_BATCHES: u64 = 1 << 32;

/// What the command found.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    setting: Setting,
    rounds: u32,
    loads: Vec<Row>,
}

/// One load. Medians of the windows, and the spread of the ratios of the pairs.
#[derive(Debug, Serialize)]
struct Row {
    load: String,
    /// Server's processor time, A's over B's, pair by pair.
    ratio: Spread,
    a: Figures,
    b: Figures,
    windows: Vec<[Window; 2]>,
}

#[derive(Debug, Serialize)]
struct Figures {
    server_us_per_request: f64,
    client_us_per_request: f64,
    requests_per_second: f64,
    checked: u64,
    wrong: u64,
}

/// Runs the command; whether every answer was right.
///
/// # Errors
/// When a server does not start, a request is not answered, or the report cannot be written.
pub(crate) fn run(options: &args::Pairs) -> anyhow::Result<bool> {
    let bench = Bench::set_up(&options.pair)?;
    let connections = options.pair.connections.get();
    let mut pools = [
        Pool::connect(bench.servers[0].address(), connections)?,
        Pool::connect(bench.servers[1].address(), connections)?,
    ];
    println!("{HEADER}");
    let mut rows = Vec::new();
    for load in &options.loads {
        let row = measure(&bench, &mut pools, *load, options)?;
        println!("{row}");
        rows.push(row);
    }
    let clean = rows.iter().all(|row| row.a.wrong + row.b.wrong == 0);
    if let Some(path) = &options.pair.json {
        write_json(path, &report(&bench, options, rows))?;
    }
    Ok(clean)
}

fn measure(bench: &Bench, pools: &mut [Pool; 2], load: Load, options: &args::Pairs) -> anyhow::Result<Row> {
    let traffic = bench.traffic(load, seed_of(&load.to_string()));
    let connections = options.pair.connections.get();
    let mut windows = Vec::new();
    for round in 0..options.rounds.get() {
        let plan = Plan {
            first: u64::from(round) * ROUND_BATCHES,
            active: connections,
            in_flight: connections,
            until: Until::Elapsed(options.window),
        };
        let [a, b] = pools;
        windows.push([bench.window(0, a, &traffic, &plan)?, bench.window(1, b, &traffic, &plan)?]);
    }
    Ok(Row::new(load, windows))
}

fn report(bench: &Bench, options: &args::Pairs, loads: Vec<Row>) -> Report {
    Report { setting: bench.setting(&options.pair), rounds: options.rounds.get(), loads }
}

impl Row {
    fn new(load: Load, windows: Vec<[Window; 2]>) -> Row {
        let of = |side: usize| -> Vec<f64> {
            windows.iter().map(|pair| pair[side].server_us_per_request()).collect()
        };
        Row {
            load: load.to_string(),
            ratio: Spread::of_ratios(&of(0), &of(1)),
            a: Figures::of(&windows, 0),
            b: Figures::of(&windows, 1),
            windows,
        }
    }
}

impl Figures {
    fn of(windows: &[[Window; 2]], side: usize) -> Figures {
        let figure = |of: fn(&Window) -> f64| {
            let figures: Vec<f64> = windows.iter().map(|pair| of(&pair[side])).collect();
            median(&figures)
        };
        Figures {
            server_us_per_request: figure(Window::server_us_per_request),
            client_us_per_request: figure(Window::client_us_per_request),
            requests_per_second: figure(Window::requests_per_second),
            checked: windows.iter().map(|pair| pair[side].checked).sum(),
            wrong: windows.iter().map(|pair| pair[side].wrong).sum(),
        }
    }
}

const HEADER: &str = "load      A us    B us   A/B  (quartiles, min..max)           A kreq/s B kreq/s   client us A, B   checked  wrong";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { load, ratio, a, b, .. } = self;
        let (a_us, b_us) = (a.server_us_per_request, b.server_us_per_request);
        write!(f, "{load:7} {a_us:6.2}  {b_us:6.2}  {:<36}", ratio.to_string())?;
        let (a_rate, b_rate) = (a.requests_per_second / 1e3, b.requests_per_second / 1e3);
        write!(f, "{a_rate:8.0} {b_rate:8.0}   ")?;
        write!(f, "{:6.2}, {:6.2}", a.client_us_per_request, b.client_us_per_request)?;
        write!(f, " {:9}  {:5}", a.checked + b.checked, a.wrong + b.wrong)
    }
}
