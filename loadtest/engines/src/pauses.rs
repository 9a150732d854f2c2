//! `pauses`: the slowest single operations while a store fills with tiny items, and while it evicts.

use std::time::{Duration, Instant};

use anyhow::Result;
use evanesce_store::Time;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::args::PausesArgs;
use crate::clock::thread_time;
use crate::engine::{Engine, EngineConfig, EngineName};
use crate::load::{Payload, write_key};
use crate::report::{header, table, write_json};

/// Operations between two looks at whether the engine evicts.
const ITEMS_A_LOOK: u64 = 1 << 16;
/// The engine's upkeep is done so often, as in the node.
const UPKEEP_EVERY: Duration = Duration::from_millis(100);
/// When the run begins.
const START_MS: u64 = 1_700_000_000_000;
/// Slowest operations that are told one by one.
const WORST_MAX: usize = 10;
/// Histograms keep three digits.
const DIGITS: u8 = 3;
/// Above it an operation counts as slow: the bar is 10 ms.
const SLOW: Duration = Duration::from_millis(10);

/// One operation that took long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Slow {
    /// It was the so-manieth insert.
    operation: u64,
    wall_ns: u64,
    /// Of it, what this thread worked; the rest somebody else ran.
    cpu_ns: u64,
}

/// What a phase came to, as written down.
#[derive(Debug, Clone, Serialize)]
struct Record {
    engine: EngineName,
    phase: &'static str,
    operations: u64,
    seconds: f64,
    wall_ns: Percentiles,
    cpu_ns: Percentiles,
    /// Operations of more than 10 ms of the thread's own work.
    slow: u64,
    refused: u64,
    worst: Vec<Slow>,
    upkeep_max_cpu_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Percentiles {
    p50: u64,
    p99: u64,
    p999: u64,
    p9999: u64,
    max: u64,
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Percentiles {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Percentiles { p50: at(0.5), p99: at(0.99), p999: at(0.999), p9999: at(0.9999), max: histogram.max() }
    }
}

/// Fills every engine that was asked for, then evicts as much again.
pub(crate) fn run(args: &PausesArgs) -> Result<bool> {
    let names = match args.shared.engine.as_slice() {
        [] => vec![EngineName::Evanesce],
        names => EngineName::chosen(names),
    };
    let mut records = Vec::new();
    for name in names {
        let config = EngineConfig {
            memory_bytes: usize::try_from(args.memory)?,
            item_bytes_max: args.key_bytes + args.value_bytes,
            item_bytes_mean: args.key_bytes + args.value_bytes,
            ttl: None,
            evicts: true,
            shards: usize::from(args.shared.shards),
        };
        let engine = name.make(&config)?;
        let mut inserts = Inserts::new(&*engine, args);
        let filling = inserts.run(name, "fill", u64::MAX);
        let held = filling.operations;
        records.push(filling);
        records.push(inserts.run(name, "evict", held));
    }
    print(&records);
    write_json(args.shared.json.as_deref(), "pauses", &records)?;
    let ours = |record: &&Record| record.engine == EngineName::Evanesce;
    Ok(records.iter().filter(ours).all(|record| record.refused == 0))
}

/// Inserts of keys that never came before.
struct Inserts<'a> {
    engine: &'a dyn Engine,
    key: Vec<u8>,
    value_bytes: usize,
    payload: Payload,
    next: u64,
    started: Instant,
    upkeep_at: Duration,
}

impl<'a> Inserts<'a> {
    fn new(engine: &'a dyn Engine, args: &PausesArgs) -> Inserts<'a> {
        Inserts {
            engine,
            key: vec![0; args.key_bytes],
            value_bytes: args.value_bytes,
            payload: Payload::new(args.value_bytes),
            next: 0,
            started: Instant::now(),
            upkeep_at: UPKEEP_EVERY,
        }
    }

    /// So many inserts, or, when there is no end given, until the engine evicts.
    fn run(&mut self, engine: EngineName, phase: &'static str, operations_max: u64) -> Record {
        let mut phase_times = Times::new();
        let (first, started) = (self.next, Instant::now());
        let fills = operations_max == u64::MAX;
        while self.next - first < operations_max && !(fills && self.is_full()) {
            self.some(&mut phase_times);
        }
        let operations = self.next - first;
        eprintln!(
            "pauses: {engine}, {phase}: {operations} inserts in {:.1} s",
            started.elapsed().as_secs_f64()
        );
        Record {
            engine,
            phase,
            operations,
            seconds: started.elapsed().as_secs_f64(),
            wall_ns: Percentiles::of(&phase_times.wall),
            cpu_ns: Percentiles::of(&phase_times.cpu),
            slow: phase_times.slow,
            refused: phase_times.refused,
            worst: phase_times.worst,
            upkeep_max_cpu_ns: phase_times.upkeep_max_cpu_ns,
        }
    }

    fn is_full(&self) -> bool {
        let evicts = self.engine.evictions().map(|evictions| evictions > 0);
        evicts.unwrap_or_else(|| self.engine.items().is_none_or(|items| items < self.next))
    }

    /// A few inserts, each timed; the end of one is the beginning of the next.
    fn some(&mut self, times: &mut Times) {
        let (mut wall, mut cpu) = (self.started.elapsed(), thread_time());
        for _ in 0..ITEMS_A_LOOK {
            if wall >= self.upkeep_at {
                self.engine.upkeep(Time(START_MS + wall.as_millis() as u64));
                self.upkeep_at = wall + UPKEEP_EVERY;
                let took = thread_time() - cpu;
                times.upkeep_max_cpu_ns = times.upkeep_max_cpu_ns.max(took.as_nanos() as u64);
                (wall, cpu) = (self.started.elapsed(), thread_time());
            }
            write_key(self.next, &mut self.key);
            let value = self.payload.value(self.next, self.value_bytes);
            let now = Time(START_MS + wall.as_millis() as u64);
            let stored = self.engine.set(&self.key, value, None, now);
            let (wall_after, cpu_after) = (self.started.elapsed(), thread_time());
            times.add(self.next, wall_after - wall, cpu_after - cpu, stored);
            (wall, cpu) = (wall_after, cpu_after);
            self.next += 1;
        }
    }
}

/// Times of one phase.
struct Times {
    wall: Histogram<u64>,
    cpu: Histogram<u64>,
    slow: u64,
    refused: u64,
    /// By processor time, the slowest first.
    worst: Vec<Slow>,
    upkeep_max_cpu_ns: u64,
}

impl Times {
    fn new() -> Times {
        let histogram = || Histogram::new(DIGITS).expect("three digits are few enough");
        Times {
            wall: histogram(),
            cpu: histogram(),
            slow: 0,
            refused: 0,
            worst: Vec::new(),
            upkeep_max_cpu_ns: 0,
        }
    }

    fn add(&mut self, operation: u64, wall: Duration, cpu: Duration, stored: bool) {
        let (wall_ns, cpu_ns) = (wall.as_nanos() as u64, cpu.as_nanos() as u64);
        // A histogram that grows by itself takes every value.
        self.wall += wall_ns;
        self.cpu += cpu_ns;
        self.slow += u64::from(cpu > SLOW);
        self.refused += u64::from(!stored);
        if self.worst.len() < WORST_MAX || self.worst.last().is_some_and(|least| least.cpu_ns < cpu_ns) {
            let at = self.worst.partition_point(|slower| slower.cpu_ns >= cpu_ns);
            self.worst.insert(at, Slow { operation, wall_ns, cpu_ns });
            self.worst.truncate(WORST_MAX);
        }
    }
}

fn print(records: &[Record]) {
    let columns = ["engine, phase, time", "operations", "p50", "p99", "p99.9", "p99.99", "max", "> 10 ms"];
    let mut rows = Vec::new();
    for record in records {
        for (name, times) in [("wall", &record.wall_ns), ("own work", &record.cpu_ns)] {
            let mut row =
                vec![format!("{}, {}, {name}", record.engine, record.phase), record.operations.to_string()];
            row.extend([times.p50, times.p99, times.p999, times.p9999, times.max].map(shown));
            row.push(if name == "wall" { String::new() } else { record.slow.to_string() });
            rows.push(row);
        }
    }
    println!("{}", table(&header(&columns), &rows));
    for record in records {
        let worst = record.worst.iter().take(5);
        let worst: Vec<String> =
            worst.map(|slow| format!("{} at insert {}", shown(slow.cpu_ns), slow.operation)).collect();
        let upkeep = shown(record.upkeep_max_cpu_ns);
        println!("{}, {}: worst {}; upkeep at most {upkeep}", record.engine, record.phase, worst.join(", "));
    }
}

/// A time in a unit that fits.
fn shown(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        _ => format!("{:.1} ms", ns as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Times, WORST_MAX};

    #[test]
    fn slowest_operations_are_kept_in_their_order() {
        let mut times = Times::new();
        for operation in 0..100 {
            let cpu = Duration::from_millis(operation * 37 % 101);
            times.add(operation, cpu, cpu, true);
        }
        assert_eq!(times.worst.len(), WORST_MAX);
        assert!(times.worst.is_sorted_by(|a, b| a.cpu_ns >= b.cpu_ns));
        assert_eq!(times.worst[0].cpu_ns, times.worst.iter().map(|slow| slow.cpu_ns).max().unwrap());
        assert_eq!(times.wall.len(), 100);
        assert!(times.slow > 80);
    }
}
