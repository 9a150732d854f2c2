//! `density`: items that fit a budget, and what each costs.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use evanesce_store::Time;
use serde::{Deserialize, Serialize};

use crate::args::{DensityArgs, DensityOfArgs};
use crate::engine::{EngineConfig, EngineName};
use crate::load::{Payload, write_key};
use crate::process::resident_bytes;
use crate::report::{header, table, write_json};

/// Items between two looks at whether the engine is full.
const ITEMS_A_LOOK: u64 = 1024;
/// Of these so many may be refused before the engine counts as full: segcache refuses one now and then whose places
/// in the table are taken.
const REFUSED_MAX: u64 = ITEMS_A_LOOK / 100;
/// The TTL of items that have one.
const TTL: Duration = Duration::from_secs(3600);
/// When it is.
const NOW: Time = Time(1_700_000_000_000);

/// What a child found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Filled {
    items: u64,
    resident_before_bytes: u64,
    resident_after_bytes: u64,
}

/// One cell, as written down.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Record {
    engine: EngineName,
    key_bytes: usize,
    value_bytes: usize,
    ttl: bool,
    memory_bytes: u64,
    items: u64,
    budget_bytes_per_item: f64,
    resident_bytes_per_item: f64,
}

/// Runs every cell in a child, one after the other.
pub(crate) fn run(args: &DensityArgs) -> Result<bool> {
    let mut records = Vec::new();
    for (key_bytes, value_bytes) in &args.item {
        for engine in EngineName::chosen(&args.shared.engine) {
            for ttl in [false, true] {
                if ttl && !engine.has_ttl() {
                    continue;
                }
                let of = DensityOfArgs {
                    engine,
                    shards: args.shared.shards,
                    memory: usize::try_from(args.memory)?,
                    key_bytes: *key_bytes,
                    value_bytes: *value_bytes,
                    ttl,
                };
                let record = record(&of, &fill_in_child(&of)?);
                eprintln!("density: {engine} {key_bytes}/{value_bytes}, ttl {ttl}: {} items", record.items);
                records.push(record);
            }
        }
    }
    print(&records);
    write_json(args.shared.json.as_deref(), "density", &records)?;
    Ok(true)
}

fn fill_in_child(of: &DensityOfArgs) -> Result<Filled> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["density-of", "--engine", &of.engine.to_string(), "--shards", &of.shards.to_string()]);
    command.args(["--memory", &of.memory.to_string(), "--key-bytes", &of.key_bytes.to_string()]);
    command.args(["--value-bytes", &of.value_bytes.to_string()]).args(of.ttl.then_some("--ttl"));
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the process that fills {} ended with {}", of.engine, output.status);
    serde_json::from_slice(&output.stdout).context("the child's answer")
}

fn record(of: &DensityOfArgs, filled: &Filled) -> Record {
    let grown = filled.resident_after_bytes.saturating_sub(filled.resident_before_bytes);
    Record {
        engine: of.engine,
        key_bytes: of.key_bytes,
        value_bytes: of.value_bytes,
        ttl: of.ttl,
        memory_bytes: of.memory as u64,
        items: filled.items,
        budget_bytes_per_item: of.memory as f64 / filled.items as f64,
        resident_bytes_per_item: grown as f64 / filled.items as f64,
    }
}

/// The child: fills one engine and says on stdout what came of it.
pub(crate) fn run_child(of: &DensityOfArgs) -> Result<bool> {
    let ttl = of.ttl.then_some(TTL);
    let config = EngineConfig {
        memory_bytes: of.memory,
        item_bytes_max: of.key_bytes + of.value_bytes,
        item_bytes_mean: of.key_bytes + of.value_bytes,
        ttl,
        evicts: false,
        shards: usize::from(of.shards),
    };
    let (mut payload, mut key) = (Payload::new(of.value_bytes), vec![0; of.key_bytes]);
    let resident_before_bytes = resident_bytes();
    let engine = of.engine.make(&config)?;
    let (mut tried, mut items, mut is_full) = (0, 0, false);
    while !is_full {
        let mut refused = 0;
        for number in tried..tried + ITEMS_A_LOOK {
            write_key(number, &mut key);
            refused += u64::from(!engine.set(&key, payload.value(number, of.value_bytes), ttl, NOW));
        }
        tried += ITEMS_A_LOOK;
        items += ITEMS_A_LOOK - refused;
        let evicts = engine.evictions().map(|evictions| evictions > 0);
        let evicts = evicts.unwrap_or_else(|| engine.items().is_some_and(|there| there < items));
        is_full = evicts || refused > REFUSED_MAX;
    }
    let resident_after_bytes = resident_bytes();
    serde_json::to_writer(std::io::stdout(), &Filled { items, resident_before_bytes, resident_after_bytes })?;
    Ok(true)
}

fn print(records: &[Record]) {
    let columns =
        ["engine", "key/value", "ttl", "items", "budget/item", "overhead", "resident/item", "overhead"];
    let row = |record: &Record| {
        let item_bytes = (record.key_bytes + record.value_bytes) as f64;
        vec![
            record.engine.to_string(),
            format!("{}/{}", record.key_bytes, record.value_bytes),
            if record.ttl { "yes" } else { "no" }.to_owned(),
            record.items.to_string(),
            format!("{:.1}", record.budget_bytes_per_item),
            format!("{:.1}", record.budget_bytes_per_item - item_bytes),
            format!("{:.1}", record.resident_bytes_per_item),
            format!("{:.1}", record.resident_bytes_per_item - item_bytes),
        ]
    };
    let rows: Vec<Vec<String>> = records.iter().map(row).collect();
    println!("{}", table(&header(&columns), &rows));
}
