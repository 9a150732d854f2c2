//! `throughput`: operations per second, every engine's window in turn with the others'.

mod window;

use anyhow::Result;
use serde::Serialize;

use crate::args::ThroughputArgs;
use crate::engine::{Engine, EngineConfig, EngineName};
use crate::report::{table, write_json};
use crate::size::Shown;
use crate::stats::Quartiles;
pub(crate) use window::OPERATIONS_A_LOOK;
use window::{KEY_BYTES_MEAN, Stream, Window, fill, measure};

/// Without `--memory` the budget is so many times what all items need: nothing is evicted but to reuse the room of
/// what was overwritten.
const MEMORY_FACTOR: usize = 4;
/// What an item may need beside key and value, by the greediest engine.
const ITEM_OVERHEAD_BYTES: usize = 300;

/// A mix of reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mix {
    /// Reads only.
    Read,
    /// Nine reads for each write.
    Mixed,
    /// Writes only.
    Write,
}

impl Mix {
    const ALL: [Mix; 3] = [Mix::Read, Mix::Mixed, Mix::Write];

    fn name(self) -> &'static str {
        match self {
            Mix::Read => "read",
            Mix::Mixed => "90/10",
            Mix::Write => "write",
        }
    }

    /// Share of writes.
    fn write_share(self) -> f64 {
        match self {
            Mix::Read => 0.0,
            Mix::Mixed => 0.1,
            Mix::Write => 1.0,
        }
    }
}

/// One window, as written down.
#[derive(Debug, Clone, Serialize)]
struct Record {
    mix: Mix,
    engine: EngineName,
    threads: usize,
    round: usize,
    #[serde(flatten)]
    window: Window,
}

/// Measures every mix, engine and number of threads.
pub(crate) fn run(args: &ThroughputArgs) -> Result<bool> {
    let names = EngineName::chosen(&args.shared.engine);
    let item_bytes = KEY_BYTES_MEAN + args.value_bytes;
    let default_bytes = MEMORY_FACTOR * args.keys as usize * item_bytes;
    let least_bytes = args.keys as usize * (item_bytes + ITEM_OVERHEAD_BYTES) * 5 / 4;
    let memory_bytes = args.memory.map_or(default_bytes.max(least_bytes), |bytes| bytes as usize);
    let config = EngineConfig {
        memory_bytes,
        item_bytes_max: 2 * KEY_BYTES_MEAN + args.value_bytes,
        item_bytes_mean: item_bytes,
        ttl: None,
        evicts: true,
        shards: usize::from(args.shared.shards),
    };
    let made = names.iter().map(|name| name.make(&config)).collect::<Result<Vec<_>>>()?;
    for (name, engine) in names.iter().zip(&made) {
        eprintln!("throughput: filling {name}: {} items of {} bytes", args.keys, args.value_bytes);
        fill(&**engine, args.keys, args.value_bytes);
    }
    let mixes = if args.mix.is_empty() { &Mix::ALL[..] } else { &args.mix };
    let mut records = Vec::new();
    for mix in mixes {
        let of_mix = rounds(args, *mix, &names, &made);
        let memory = Shown(memory_bytes as u64);
        println!("\n{}: {} keys, values of {} bytes, {memory}\n", mix.name(), args.keys, args.value_bytes);
        println!("{}", print(args, &names, &of_mix));
        records.extend(of_mix);
    }
    write_json(args.shared.json.as_deref(), "throughput", &records)?;
    let faults = records.iter().filter(|record| {
        record.window.wrong > 0 || (record.window.refused > 0 && record.engine == EngineName::Evanesce)
    });
    Ok(faults.inspect(|record| eprintln!("fault: {record:?}")).count() == 0)
}

/// All windows of one mix: in each round every engine in turn, with each number of threads in turn.
fn rounds(args: &ThroughputArgs, mix: Mix, names: &[EngineName], made: &[Box<dyn Engine>]) -> Vec<Record> {
    let threads_max = args.threads.iter().copied().max().unwrap_or(1);
    let stream = |thread: usize| Stream::new(args.keys, mix.write_share(), args.seed + thread as u64);
    let streams: Vec<Stream> = (0..threads_max).map(stream).collect();
    let mut records = Vec::new();
    for round in 0..args.pairs {
        eprintln!("throughput: {}, round {} of {}", mix.name(), round + 1, args.pairs);
        for (name, engine) in names.iter().zip(made) {
            for threads in &args.threads {
                let streams = &streams[..*threads];
                let window = measure(&**engine, streams, round, args);
                records.push(Record { mix, engine: *name, threads: *threads, round, window });
            }
        }
    }
    records
}

/// Millions of operations a second of every round.
fn rates(records: &[Record], engine: EngineName, threads: usize) -> Vec<f64> {
    let is_asked = |record: &&Record| record.engine == engine && record.threads == threads;
    records.iter().filter(is_asked).map(|record| record.window.mops).collect()
}

/// The rates of one over those of another, round by round.
fn ratios(above: &[f64], below: &[f64]) -> Quartiles {
    Quartiles::of(above.iter().zip(below).map(|(above, below)| above / below).collect())
}

fn print(args: &ThroughputArgs, names: &[EngineName], records: &[Record]) -> String {
    let reference = names[0];
    let mut header = vec!["engine".to_owned()];
    for threads in &args.threads {
        let plural = if *threads == 1 { "thread" } else { "threads" };
        header.extend([
            format!("{threads} {plural}, Mop/s"),
            format!("to {reference}"),
            "CPU ns/op".to_owned(),
        ]);
    }
    let scales = match args.threads.as_slice() {
        [one, .., many] => Some((*one, *many)),
        _ => None,
    };
    header.extend(scales.map(|(one, many)| format!("{one} to {many}")));
    header.push("misses".to_owned());
    let row = |name: &EngineName| {
        let mut row = vec![name.to_string()];
        for threads in &args.threads {
            let own = rates(records, *name, *threads);
            let cpu = records.iter().filter(|record| record.engine == *name && record.threads == *threads);
            let cpu = Quartiles::of(cpu.map(|record| record.window.cpu_ns_per_op).collect());
            let ratio = ratios(&own, &rates(records, reference, *threads)).to_string();
            row.extend([format!("{:.2}", Quartiles::of(own).median), ratio, format!("{:.0}", cpu.median)]);
        }
        let scaling =
            |(one, many)| ratios(&rates(records, *name, many), &rates(records, *name, one)).to_string();
        row.extend(scales.map(scaling));
        let of_engine = || records.iter().filter(|record| record.engine == *name);
        let reads: u64 = of_engine().map(|record| record.window.reads).sum();
        let misses: u64 = of_engine().map(|record| record.window.misses).sum();
        row.push(format!("{:.2} %", 100.0 * misses as f64 / reads.max(1) as f64));
        row
    };
    let rows: Vec<Vec<String>> = names.iter().map(row).collect();
    table(&header, &rows)
}
