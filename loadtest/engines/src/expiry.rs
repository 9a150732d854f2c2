//! `expiry`: how much memory expired items hold while a load with TTLs runs.

mod presets;

use std::time::Duration;

use anyhow::{Context, Result};
use evanesce_store::Time;
use rand::RngExt;
use serde::Serialize;

use crate::args::ExpiryArgs;
use crate::engine::{Engine, EngineConfig, EngineName, Usage};
use crate::load::{LogNormalSizes, Payload, Random, random, write_key, zipf_ranks};
use crate::report::{header, table, write_json};

pub(crate) use presets::{PRESETS, Preset};

/// The keys of a load would fill so many times the memory.
const FOOTPRINT_FACTOR: f64 = 4.0;
/// What an item needs beside key and value, to choose the number of keys.
const ITEM_OVERHEAD_BYTES: f64 = 32.0;
/// Deviation of the logarithm of a value's size.
const VALUE_SIGMA: f64 = 0.5;
/// The store's upkeep is done so often, as in the node.
const UPKEEP_EVERY_MS: u64 = 100;
/// When a run begins.
const START_MS: u64 = 1_700_000_000_000;
/// Looks at the store while it is in its steady state: the second half of the requests.
const LOOKS: u64 = 25;
/// Items from whose sizes the store's own overhead is found.
const PROBE_ITEMS: u64 = 10_000;

/// One run, as written down.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Record {
    preset: &'static str,
    /// What lives at any time in a cache that never evicts, over the memory.
    pressure: f64,
    memory_bytes: u64,
    keys: u32,
    requests_per_second: f64,
    simulated_seconds: f64,
    hit_ratio: f64,
    /// Shares of the budget that expired items held, at every look.
    expired_shares: Vec<f64>,
    /// Shares of the budget that live items held, at every look.
    live_shares: Vec<f64>,
    /// Shares of the items there that had expired, at every look.
    expired_item_shares: Vec<f64>,
    evictions: u64,
    wrong: u64,
    refused: u64,
}

/// Runs every preset at every pressure.
pub(crate) fn run(args: &ExpiryArgs) -> Result<bool> {
    let presets = if args.preset.is_empty() { PRESETS.to_vec() } else { args.preset.clone() };
    let mut records = Vec::new();
    for preset in presets {
        for pressure in &args.pressure {
            let record = Bench::new(args, preset, *pressure)?.run()?;
            eprintln!(
                "expiry: {} at pressure {pressure}: {:.2} % expired",
                preset.name,
                mean(&record.expired_shares)
            );
            records.push(record);
        }
    }
    print(&records);
    write_json(args.json.as_deref(), "expiry", &records)?;
    Ok(records.iter().all(|record| record.wrong == 0 && record.refused == 0))
}

/// What the bench knows of a key: when its newest item expires, and the bytes of key and value.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    expires_ms: u64,
    bytes: u32,
}

struct Bench<'a> {
    args: &'a ExpiryArgs,
    preset: Preset,
    pressure: f64,
    engine: Box<dyn Engine>,
    known: Vec<Known>,
    /// The store's bytes for an item beside key and value.
    overhead_bytes: f64,
    requests_per_second: f64,
    random: Random,
    sizes: LogNormalSizes,
    payload: Payload,
    key: Vec<u8>,
    out: Vec<u8>,
    record: Record,
}

impl Bench<'_> {
    fn new(args: &ExpiryArgs, preset: Preset, pressure: f64) -> Result<Bench<'_>> {
        let item_bytes = preset.key_bytes as f64 + preset.value_bytes + ITEM_OVERHEAD_BYTES;
        let keys = (args.memory as f64 * FOOTPRINT_FACTOR / item_bytes) as u32;
        let requests_per_second =
            preset.requests_per_second(keys, args.memory as f64 * pressure / item_bytes);
        let record = Record {
            preset: preset.name,
            pressure,
            memory_bytes: args.memory,
            keys,
            requests_per_second,
            simulated_seconds: args.requests as f64 / requests_per_second,
            hit_ratio: 0.0,
            expired_shares: Vec::new(),
            live_shares: Vec::new(),
            expired_item_shares: Vec::new(),
            evictions: 0,
            wrong: 0,
            refused: 0,
        };
        Ok(Bench {
            args,
            preset,
            pressure,
            engine: make(args)?,
            known: vec![Known::default(); keys as usize],
            overhead_bytes: overhead_bytes(args, &preset)?,
            requests_per_second,
            random: random(args.seed),
            sizes: LogNormalSizes::with_mean(preset.value_bytes, VALUE_SIGMA),
            payload: Payload::new(crate::load::VALUE_BYTES_MAX),
            key: vec![0; preset.key_bytes],
            out: Vec::new(),
            record,
        })
    }

    fn run(mut self) -> Result<Record> {
        let name = self.preset.name;
        eprintln!("expiry: {name} at pressure {}: {:.0} requests/s", self.pressure, self.requests_per_second);
        let rank = zipf_ranks(self.record.keys, self.preset.exponent);
        let (steady_from, every) = (self.args.requests / 2, (self.args.requests / 2 / LOOKS).max(1));
        let (mut reads, mut hits, mut upkeep_ms) = (0_u64, 0_u64, 0);
        for request in 0..self.args.requests {
            let now_ms = START_MS + (request as f64 * 1000.0 / self.requests_per_second) as u64;
            if now_ms - START_MS >= upkeep_ms {
                self.engine.upkeep(Time(now_ms));
                upkeep_ms = now_ms - START_MS + UPKEEP_EVERY_MS;
            }
            let number = rank(&mut self.random);
            let writes = self.random.random_bool(self.preset.write_share);
            let hit = !writes && self.read(number, now_ms);
            if !hit {
                self.write(number, now_ms);
            }
            if request >= steady_from {
                reads += u64::from(!writes);
                hits += u64::from(hit);
                if (request - steady_from).is_multiple_of(every) {
                    self.look(now_ms)?;
                }
            }
        }
        self.record.hit_ratio = hits as f64 / reads.max(1) as f64;
        self.record.evictions = self.engine.evictions().unwrap_or_default();
        Ok(self.record)
    }

    fn read(&mut self, number: u32, now_ms: u64) -> bool {
        write_key(u64::from(number), &mut self.key);
        self.out.clear();
        let hit = self.engine.get(&self.key, Time(now_ms), &mut self.out);
        let is_alive = self.known[number as usize].expires_ms > now_ms;
        // A hit on an expired item is as wrong as another key's value.
        self.record.wrong += u64::from(hit && !(is_alive && Payload::is_right(&self.out, u64::from(number))));
        hit
    }

    fn write(&mut self, number: u32, now_ms: u64) {
        let (value_bytes, chosen) = (self.sizes.draw(&mut self.random), self.random.random());
        let ttl_ms = self.preset.ttl_ms(chosen);
        write_key(u64::from(number), &mut self.key);
        let value = self.payload.value(u64::from(number), value_bytes as usize);
        let stored = self.engine.set(&self.key, value, Some(Duration::from_millis(ttl_ms)), Time(now_ms));
        self.record.refused += u64::from(!stored);
        let bytes = self.key.len() as u32 + value_bytes;
        self.known[number as usize] = Known { expires_ms: now_ms + ttl_ms, bytes };
    }

    /// Counts what is alive, without touching it; what other items the store has must have expired. Sizes and TTLs are
    /// drawn apart, so the expired are as large as the live, in the mean.
    fn look(&mut self, now_ms: u64) -> Result<()> {
        let (mut alive, mut alive_bytes) = (0_u64, 0.0);
        for (number, known) in self.known.iter().enumerate().filter(|(_, known)| known.expires_ms > now_ms) {
            write_key(number as u64, &mut self.key);
            if self.engine.peek(&self.key, Time(now_ms)).context("the engine cannot be asked")? {
                alive += 1;
                alive_bytes += f64::from(known.bytes) + self.overhead_bytes;
            }
        }
        let Usage { limit_bytes, .. } = self.engine.usage().context("the engine tells no bytes")?;
        let items = self.engine.items().context("the engine tells no items")?;
        let expired = items.saturating_sub(alive) as f64;
        let mean_bytes = self.key.len() as f64 + self.preset.value_bytes + self.overhead_bytes;
        let percent = |part: f64, whole: u64| 100.0 * part / whole.max(1) as f64;
        self.record.expired_shares.push(percent(expired * mean_bytes, limit_bytes));
        self.record.live_shares.push(percent(alive_bytes, limit_bytes));
        self.record.expired_item_shares.push(percent(expired, items));
        Ok(())
    }
}

fn make(args: &ExpiryArgs) -> Result<Box<dyn Engine>> {
    EngineName::Evanesce.make(&EngineConfig {
        memory_bytes: usize::try_from(args.memory)?,
        item_bytes_max: 1 << 20,
        item_bytes_mean: 1 << 10,
        ttl: None,
        evicts: true,
        shards: usize::from(args.shards),
    })
}

/// What the store counts for an item beside key and value, from items of a preset's sizes that all live.
fn overhead_bytes(args: &ExpiryArgs, preset: &Preset) -> Result<f64> {
    let (engine, mut random) = (make(args)?, random(args.seed));
    let sizes = LogNormalSizes::with_mean(preset.value_bytes, VALUE_SIGMA);
    let (mut payload, mut key) = (Payload::new(crate::load::VALUE_BYTES_MAX), vec![0; preset.key_bytes]);
    let items_max = args.memory / 2 / (preset.key_bytes as u64 + preset.value_bytes as u64);
    let (mut items, mut bytes) = (0, 0);
    while items < PROBE_ITEMS.min(items_max) {
        let value_bytes = sizes.draw(&mut random) as usize;
        write_key(items, &mut key);
        engine.set(&key, payload.value(items, value_bytes), Some(Duration::from_secs(3600)), Time(START_MS));
        items += 1;
        bytes += key.len() + value_bytes;
    }
    let usage = engine.usage().context("the engine tells no bytes")?;
    // A store that does not count all of a large item seems to need less than nothing beside it.
    Ok((usage.item_bytes as f64 - bytes as f64).max(0.0) / items as f64)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn print(records: &[Record]) {
    let columns = [
        "load",
        "pressure",
        "requests/s",
        "hours",
        "expired, mean",
        "max",
        "expired items",
        "live",
        "evictions",
        "hit ratio",
    ];
    let row = |record: &Record| {
        let max = record.expired_shares.iter().copied().fold(0.0, f64::max);
        let percent = |value: f64| format!("{value:.2} %");
        vec![
            record.preset.to_owned(),
            record.pressure.to_string(),
            format!("{:.0}", record.requests_per_second),
            format!("{:.2}", record.simulated_seconds / 3600.0),
            percent(mean(&record.expired_shares)),
            percent(max),
            percent(mean(&record.expired_item_shares)),
            percent(mean(&record.live_shares)),
            record.evictions.to_string(),
            percent(100.0 * record.hit_ratio),
        ]
    };
    let rows: Vec<Vec<String>> = records.iter().map(row).collect();
    println!("{}", table(&header(&columns), &rows));
}
