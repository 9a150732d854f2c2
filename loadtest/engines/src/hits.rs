//! `hits`: cache-aside replays, and how many requests hit.

use std::time::Instant;

use anyhow::Result;
use evanesce_store::Time;
use serde::Serialize;

use crate::args::HitsArgs;
use crate::engine::{Engine, EngineConfig, EngineName};
use crate::load::{Footprint, KEY_BYTES, Load, Payload, write_key};
use crate::memcached::{Memcached, Server};
use crate::policy::{Policy, PolicyName};
use crate::report::{table, write_json};
use crate::size::Shown;

/// When a replay begins.
const START: Time = Time(1_700_000_000_000);
/// Requests in one millisecond of the store's time.
const REQUESTS_PER_MS: usize = 100;
/// Requests between two calls of an engine's upkeep: a tenth of a second, as in the node.
const UPKEEP_EVERY: usize = 100 * REQUESTS_PER_MS;

/// What a replay came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Replayed {
    pub(crate) hits: u64,
    /// Hits with a value that was not the key's.
    pub(crate) wrong: u64,
    /// Sets that were refused.
    pub(crate) refused: u64,
}

/// One cell, as written down.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Record {
    load: String,
    requests: usize,
    keys: u64,
    footprint_bytes: u64,
    memory_bytes: u64,
    /// An engine, a policy, or memcached.
    cache: String,
    simulated: bool,
    hit_ratio: f64,
    wrong: u64,
    refused: u64,
    seconds: f64,
}

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Engine(EngineName),
    Memcached,
    Policy(PolicyName),
}

impl Column {
    fn name(self) -> String {
        match self {
            Column::Engine(engine) => engine.to_string(),
            Column::Memcached => "memcached".to_owned(),
            Column::Policy(policy) => format!("({policy})"),
        }
    }
}

/// Replays every load at every size against everything that was asked for.
pub(crate) fn run(args: &HitsArgs) -> Result<bool> {
    let columns = columns(args);
    let mut records = Vec::new();
    for source in args.sources() {
        let load = source.load()?;
        let footprint = load.footprint(args.overhead);
        let shown = Shown(footprint.bytes);
        eprintln!("hits: {}: {} requests, {} keys, {shown}", load.name, load.requests.len(), footprint.keys);
        let mut rows = Vec::new();
        for memory in &args.memory {
            let bytes = memory.bytes(footprint.bytes);
            let bench = Bench { args, load: &load, footprint, memory_bytes: bytes };
            let share = 100.0 * bytes as f64 / footprint.bytes as f64;
            let mut row = vec![format!("{} ({share:.1} %)", Shown(bytes))];
            for column in &columns {
                let record = bench.record(*column)?;
                row.push(format!("{:.2}", 100.0 * record.hit_ratio));
                records.push(record);
            }
            rows.push(row);
        }
        let mut header = vec!["memory".to_owned()];
        header.extend(columns.iter().map(|column| column.name()));
        println!("\nHit ratio in %, {}: {} requests\n", load.name, load.requests.len());
        println!("{}", table(&header, &rows));
    }
    write_json(args.shared.json.as_deref(), "hits", &records)?;
    let ours = EngineName::Evanesce.to_string();
    let is_fault = |record: &Record| record.wrong > 0 || (record.refused > 0 && record.cache == ours);
    let faults = records.iter().filter(|record| is_fault(record));
    Ok(faults.inspect(|record| eprintln!("fault: {record:?}")).count() == 0)
}

fn columns(args: &HitsArgs) -> Vec<Column> {
    let mut columns = Vec::new();
    if !args.no_engine {
        columns.extend(EngineName::chosen(&args.shared.engine).into_iter().map(Column::Engine));
    }
    if args.memcached.is_some() || args.memcached_binary.is_some() {
        columns.push(Column::Memcached);
    }
    if !args.no_policy {
        let is_chosen = |name: &PolicyName| args.policy.is_empty() || args.policy.contains(name);
        columns.extend(PolicyName::ALL.into_iter().filter(is_chosen).map(Column::Policy));
    }
    columns
}

/// One row of the table.
struct Bench<'a> {
    args: &'a HitsArgs,
    load: &'a Load,
    footprint: Footprint,
    memory_bytes: u64,
}

impl Bench<'_> {
    fn record(&self, column: Column) -> Result<Record> {
        let started = Instant::now();
        let replayed = match column {
            Column::Engine(engine) => replay(&*engine.make(&self.config())?, self.load),
            Column::Memcached => self.replay_memcached()?,
            Column::Policy(policy) => {
                let mut policy = policy.make(self.memory_bytes, self.load.keys);
                simulate(&mut *policy, self.load, self.args.overhead)
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        let hit_ratio = replayed.hits as f64 / self.load.requests.len() as f64;
        let Replayed { wrong, refused, .. } = replayed;
        let (cache, memory) = (column.name(), Shown(self.memory_bytes));
        eprintln!(
            "hits: {}, {memory}, {cache}: {:.2} % ({refused} refused, {wrong} wrong, {seconds:.1} s)",
            self.load.name,
            100.0 * hit_ratio
        );
        Ok(Record {
            load: self.load.name.clone(),
            requests: self.load.requests.len(),
            keys: self.footprint.keys,
            footprint_bytes: self.footprint.bytes,
            memory_bytes: self.memory_bytes,
            cache,
            simulated: matches!(column, Column::Policy(_)),
            hit_ratio,
            wrong,
            refused,
            seconds,
        })
    }

    fn config(&self) -> EngineConfig {
        let mean = self.footprint.bytes / self.footprint.keys.max(1);
        EngineConfig {
            memory_bytes: self.memory_bytes as usize,
            item_bytes_max: KEY_BYTES + self.footprint.value_bytes_max,
            item_bytes_mean: (mean as usize).saturating_sub(self.args.overhead),
            ttl: None,
            evicts: true,
            shards: usize::from(self.args.shared.shards),
        }
    }

    fn replay_memcached(&self) -> Result<Replayed> {
        let binary = self.args.memcached_binary.as_deref();
        let server = binary.map(|binary| Server::start(binary, self.memory_bytes)).transpose()?;
        let address = server.as_ref().map(Server::address).or(self.args.memcached);
        let memcached = Memcached::connect(address.expect("the column is there for a binary or an address"))?;
        let replayed = replay(&memcached, self.load);
        memcached.finish()?;
        Ok(replayed)
    }
}

/// Replays a load against an engine.
fn replay(engine: &dyn Engine, load: &Load) -> Replayed {
    let largest = load.requests.iter().map(|request| request.value_bytes).max().unwrap_or_default();
    let (mut payload, mut key, mut out) = (Payload::new(largest as usize), [0; KEY_BYTES], Vec::new());
    let mut replayed = Replayed::default();
    for (at, request) in load.requests.iter().enumerate() {
        let now = Time(START.0 + (at / REQUESTS_PER_MS) as u64);
        if at % UPKEEP_EVERY == 0 {
            engine.upkeep(now);
        }
        let number = u64::from(request.key);
        write_key(number, &mut key);
        out.clear();
        if engine.get(&key, now, &mut out) {
            replayed.hits += 1;
            replayed.wrong += u64::from(!Payload::is_right(&out, number));
        } else {
            let value = payload.value(number, request.value_bytes as usize);
            replayed.refused += u64::from(!engine.set(&key, value, None, now));
        }
    }
    replayed
}

/// Replays a load against a simulated policy.
fn simulate(policy: &mut dyn Policy, load: &Load, overhead_bytes: usize) -> Replayed {
    let beside = (KEY_BYTES + overhead_bytes) as u32;
    let hit = |request: &&crate::load::Request| policy.request(request.key, request.value_bytes + beside);
    let hits = load.requests.iter().filter(hit).count() as u64;
    Replayed { hits, ..Replayed::default() }
}
