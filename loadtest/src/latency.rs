//! `latency`: how long requests take that come on a schedule, of two servers, in windows taken in turn.

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::args::{self, RateOf};
use crate::bench::{Bench, SIDES, Setting, WARM_UP, say};
use crate::generator::{Lanes, Pace, Plan, Pool, Timing, Until};
use crate::keys::{mixed, seed_of};
use crate::load::{Kind, Load};
use crate::report::write_json;
use crate::statistics::{Spread, median};

/// What is asked for: one key at a time.
const LOAD: Load = Load { kind: Kind::Get, depth: 1 };
/// How long B's peak is looked for.
const PEAK_WINDOW: Duration = Duration::from_secs(1);
/// Of the shortest p99.9, so much may be the generator's own lateness before a report says that it was disturbed.
const LATENESS_SHARE_MAX: f64 = 0.25;
/// Quantiles that are compared, with their names.
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// What the command found.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    setting: Setting,
    rounds: u32,
    requests_per_second: f64,
    /// What a closed loop got out of B, when the rate was a share of it.
    peak_of_b: Option<f64>,
    quantiles: Vec<Quantile>,
    a: Side,
    b: Side,
}

/// One quantile: medians over the windows in microseconds, and the spread of the ratios of the pairs.
#[derive(Debug, Serialize)]
struct Quantile {
    name: &'static str,
    a_us: f64,
    b_us: f64,
    ratio: Spread,
}

/// One server over all its windows.
#[derive(Debug, Default, Serialize)]
struct Side {
    requests: u64,
    latency_us_max: f64,
    /// The generator's own lateness, median over the windows.
    lateness_us_p999: f64,
    late: u64,
    dropped: u64,
    checked: u64,
    wrong: u64,
}

/// Runs the command; whether every answer was right.
///
/// # Errors
/// When a server does not start, a request is not answered, or the report cannot be written.
pub(crate) fn run(options: &args::Latency) -> anyhow::Result<bool> {
    let bench = Bench::set_up(&options.pair)?;
    let connections = options.pair.connections.get();
    let (per_second, peak_of_b) = match options.rate {
        RateOf::PerSecond(rate) => (rate, None),
        RateOf::Peak(share) => {
            let peak = peak(&bench, connections)?;
            (peak * share, Some(peak))
        }
    };
    let of_peak = peak_of_b.map_or(String::new(), |peak| format!("; B's peak: {peak:.0}/s"));
    say(&format!("rate: {per_second:.0}/s, Poisson arrivals{of_peak}"));
    let [a, b] = &bench.servers;
    let mut lanes = [Lanes::connect(a.address(), connections)?, Lanes::connect(b.address(), connections)?];
    let mut rounds = Vec::new();
    for round in 0..options.rounds.get() {
        let seed = mixed(seed_of("latency") + u64::from(round));
        let pace = Pace { per_second, warm_up: WARM_UP, window: options.window, seed };
        let traffic = bench.traffic(LOAD, seed);
        let [a, b] = &mut lanes;
        let a = a.open_loop(&traffic, &pace).context("cannot measure A")?;
        rounds.push([a, b.open_loop(&traffic, &pace).context("cannot measure B")?]);
    }
    let report = Report {
        setting: bench.setting(&options.pair),
        rounds: options.rounds.get(),
        requests_per_second: per_second,
        peak_of_b,
        quantiles: QUANTILES.map(|(name, at)| Quantile::of(name, at, &rounds)).into(),
        a: Side::of(&rounds, 0),
        b: Side::of(&rounds, 1),
    };
    println!("{report}");
    if let Some(path) = &options.pair.json {
        write_json(path, &report)?;
    }
    Ok(report.a.wrong + report.b.wrong == 0)
}

/// What a closed loop gets out of B, in requests per second.
fn peak(bench: &Bench, connections: usize) -> anyhow::Result<f64> {
    let mut pool = Pool::connect(bench.servers[1].address(), connections)?;
    let (active, in_flight) = (connections, connections);
    let plan = Plan { first: 0, active, in_flight, until: Until::Elapsed(PEAK_WINDOW) };
    let traffic = bench.traffic(LOAD, seed_of("peak"));
    Ok(bench.window(1, &mut pool, &traffic, &plan)?.requests_per_second())
}

impl Report {
    /// Whether the generator's own lateness is too large a part of the longest latencies.
    fn is_disturbed(&self) -> bool {
        let tail = self.quantiles.last().map_or(0.0, |quantile| quantile.a_us.min(quantile.b_us));
        self.a.lateness_us_p999.max(self.b.lateness_us_p999) > tail * LATENESS_SHARE_MAX
    }
}

impl Quantile {
    fn of(name: &'static str, at: f64, rounds: &[[Timing; 2]]) -> Quantile {
        let of = |side: usize| -> Vec<f64> {
            rounds.iter().map(|pair| micros(pair[side].latency.value_at_quantile(at))).collect()
        };
        let (a, b) = (of(0), of(1));
        Quantile { name, a_us: median(&a), b_us: median(&b), ratio: Spread::of_ratios(&a, &b) }
    }
}

impl Side {
    fn of(rounds: &[[Timing; 2]], side: usize) -> Side {
        let mut total = Side::default();
        let mut lateness = Vec::new();
        for timing in rounds.iter().map(|pair| &pair[side]) {
            total.requests += timing.latency.len();
            total.latency_us_max = total.latency_us_max.max(micros(timing.latency.max()));
            total.late += timing.late;
            total.dropped += timing.dropped;
            total.checked += timing.checked;
            total.wrong += timing.wrong;
            lateness.push(micros(timing.lateness.value_at_quantile(0.999)));
        }
        total.lateness_us_p999 = median(&lateness);
        total
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "latency     A us      B us   A/B  (quartiles, min..max)")?;
        for Quantile { name, a_us, b_us, ratio } in &self.quantiles {
            writeln!(f, "{name:7} {a_us:8.1}  {b_us:8.1}  {ratio}")?;
        }
        for (name, side) in SIDES.iter().zip([&self.a, &self.b]) {
            let Side { requests, latency_us_max, lateness_us_p999, late, dropped, checked, wrong } = side;
            write!(f, "\n{name}: {requests} requests, longest {latency_us_max:.0} us; the generator's own ")?;
            write!(f, "lateness p99.9 {lateness_us_p999:.1} us, {late} over 1 ms late, {dropped} dropped; ")?;
            write!(f, "{checked} checked, {wrong} wrong")?;
        }
        if self.is_disturbed() {
            write!(
                f,
                "\nThe generator itself was late for much of this: the machine was too busy to compare tails."
            )?;
        }
        Ok(())
    }
}
