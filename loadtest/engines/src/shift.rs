//! `shift`: a store full of small values gets large ones instead.

use std::fmt;

use anyhow::Result;
use evanesce_store::Time;
use serde::Serialize;

use crate::args::ShiftArgs;
use crate::engine::{Engine, EngineConfig, EngineName};
use crate::load::{KEY_BYTES, Payload, Random, random, write_key, zipf_ranks};
use crate::policy::{Policy, PolicyName};
use crate::report::{header, table, write_json};
use crate::size::Shown;

/// Values of the first load, in bytes.
const SMALL_BYTES: usize = 100;
/// Values of the second load, in bytes.
const LARGE_BYTES: usize = 4096;
/// The keys of either load would fill so many times the memory.
const FOOTPRINT_FACTOR: usize = 4;
/// What an item needs beside key and value, to choose the number of keys.
const ITEM_OVERHEAD_BYTES: usize = 24;
/// Zipf's exponent over the keys.
const EXPONENT: f64 = 0.99;
/// Requests in one millisecond of the store's time.
const REQUESTS_PER_MS: u64 = 100;
/// Requests between two calls of an engine's upkeep.
const UPKEEP_EVERY: u64 = 100 * REQUESTS_PER_MS;
/// When a run begins.
const START_MS: u64 = 1_700_000_000_000;
/// As near to the fresh store, in points of the hit ratio, counts as back.
const BACK_POINTS: f64 = 1.0;

/// One stretch of the second load, as written down.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Record {
    subject: Subject,
    requests: u64,
    /// Bytes of keys and values set in the shifted store by the stretch's end, over its memory.
    turnovers: f64,
    shifted_hit_percent: f64,
    fresh_hit_percent: f64,
}

/// What is shifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Subject {
    Engine(EngineName),
    /// A simulated policy: what it costs by itself, without an engine.
    Policy(PolicyName),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Engine(name) => write!(f, "{name}"),
            Subject::Policy(name) => write!(f, "({name})"),
        }
    }
}

/// Shifts everything that was asked for.
pub(crate) fn run(args: &ShiftArgs) -> Result<bool> {
    let (mut records, mut refused_ours, mut wrong) = (Vec::new(), 0, 0);
    let engines = EngineName::chosen(&args.shared.engine).into_iter().map(Subject::Engine);
    for subject in engines.chain(args.policy.iter().copied().map(Subject::Policy)) {
        let shifted = Shift::new(subject, args)?.run(subject, args);
        wrong += shifted.wrong;
        refused_ours += if subject == Subject::Engine(EngineName::Evanesce) { shifted.refused } else { 0 };
        print(subject, args, &shifted);
        records.extend(shifted.records);
    }
    write_json(args.shared.json.as_deref(), "shift", &records)?;
    Ok(refused_ours == 0 && wrong == 0)
}

/// A store, or what stands for one.
enum Store {
    Engine(Box<dyn Engine>),
    Policy(Box<dyn Policy>),
}

/// A store with its requests.
struct Replay {
    store: Store,
    done: u64,
    set_bytes: u64,
    refused: u64,
    wrong: u64,
    payload: Payload,
    out: Vec<u8>,
}

impl Replay {
    fn new(subject: Subject, config: &EngineConfig, keys: u32) -> Result<Replay> {
        let store = match subject {
            Subject::Engine(name) => Store::Engine(name.make(config)?),
            Subject::Policy(name) => Store::Policy(name.make(config.memory_bytes as u64, keys)),
        };
        let (payload, out) = (Payload::new(LARGE_BYTES), Vec::new());
        Ok(Replay { store, done: 0, set_bytes: 0, refused: 0, wrong: 0, payload, out })
    }

    /// One cache-aside request; whether it hits.
    fn request(&mut self, number: u32, value_bytes: usize) -> bool {
        let now = Time(START_MS + self.done / REQUESTS_PER_MS);
        let is_upkeep_due = self.done.is_multiple_of(UPKEEP_EVERY);
        self.done += 1;
        let hit = match &mut self.store {
            Store::Policy(policy) => {
                policy.request(number, (KEY_BYTES + value_bytes + ITEM_OVERHEAD_BYTES) as u32)
            }
            Store::Engine(engine) => {
                if is_upkeep_due {
                    engine.upkeep(now);
                }
                let (mut key, number) = ([0; KEY_BYTES], u64::from(number));
                write_key(number, &mut key);
                self.out.clear();
                let hit = engine.get(&key, now, &mut self.out);
                self.wrong += u64::from(hit && !Payload::is_right(&self.out, number));
                let value = self.payload.value(number, value_bytes);
                self.refused += u64::from(!hit && !engine.set(&key, value, None, now));
                hit
            }
        };
        self.set_bytes += if hit { 0 } else { (KEY_BYTES + value_bytes) as u64 };
        hit
    }
}

/// The store that was full of small values, and one that was not.
struct Shift {
    shifted: Replay,
    fresh: Replay,
    small_keys: u32,
    large_keys: u32,
    random: Random,
}

/// What came of one subject.
struct Shifted {
    records: Vec<Record>,
    small_hit_percent: f64,
    refused: u64,
    wrong: u64,
}

impl Shift {
    fn new(subject: Subject, args: &ShiftArgs) -> Result<Shift> {
        let memory_bytes = usize::try_from(args.memory)?;
        let keys = |value_bytes| {
            let item_bytes = KEY_BYTES + value_bytes + ITEM_OVERHEAD_BYTES;
            (FOOTPRINT_FACTOR * memory_bytes / item_bytes) as u32
        };
        let config = EngineConfig {
            memory_bytes,
            item_bytes_max: KEY_BYTES + LARGE_BYTES,
            // An engine with a fixed table must be sized for the small ones.
            item_bytes_mean: KEY_BYTES + SMALL_BYTES,
            ttl: None,
            evicts: true,
            shards: usize::from(args.shared.shards),
        };
        let (small_keys, large_keys) = (keys(SMALL_BYTES), keys(LARGE_BYTES));
        Ok(Shift {
            shifted: Replay::new(subject, &config, small_keys + large_keys)?,
            fresh: Replay::new(subject, &config, small_keys + large_keys)?,
            small_keys,
            large_keys,
            random: random(args.seed),
        })
    }

    fn run(mut self, subject: Subject, args: &ShiftArgs) -> Shifted {
        eprintln!("shift: {subject}: {} small keys, {} large", self.small_keys, self.large_keys);
        let small = zipf_ranks(self.small_keys, EXPONENT);
        let mut small_hits = 0_u64;
        while self.shifted.set_bytes < args.turnovers * args.memory {
            let number = small(&mut self.random);
            small_hits += u64::from(self.shifted.request(number, SMALL_BYTES));
        }
        let small_hit_percent = 100.0 * small_hits as f64 / self.shifted.done as f64;
        self.shifted.set_bytes = 0;
        let stretch = args.memory / (2 * LARGE_BYTES as u64);
        let mut records = Vec::new();
        while self.shifted.set_bytes < args.turnovers * args.memory {
            records.push(self.stretch(subject, args, stretch));
        }
        let [refused, wrong] =
            [self.shifted.refused + self.fresh.refused, self.shifted.wrong + self.fresh.wrong];
        Shifted { records, small_hit_percent, refused, wrong }
    }

    /// So many requests of the second load, the same for both stores.
    fn stretch(&mut self, subject: Subject, args: &ShiftArgs, requests: u64) -> Record {
        let large = zipf_ranks(self.large_keys, EXPONENT);
        let (mut shifted_hits, mut fresh_hits) = (0_u64, 0_u64);
        for _ in 0..requests {
            // Keys of its own: the first load's are smaller.
            let number = self.small_keys + large(&mut self.random);
            shifted_hits += u64::from(self.shifted.request(number, LARGE_BYTES));
            fresh_hits += u64::from(self.fresh.request(number, LARGE_BYTES));
        }
        let percent = |hits: u64| 100.0 * hits as f64 / requests as f64;
        Record {
            subject,
            requests,
            turnovers: self.shifted.set_bytes as f64 / args.memory as f64,
            shifted_hit_percent: percent(shifted_hits),
            fresh_hit_percent: percent(fresh_hits),
        }
    }
}

fn print(subject: Subject, args: &ShiftArgs, shifted: &Shifted) {
    let (memory, refused) = (Shown(args.memory), shifted.refused);
    println!(
        "\n{subject}, {memory}: {:.2} % of the small values hit; {refused} refusals\n",
        shifted.small_hit_percent
    );
    let row = |record: &Record| {
        let (shifted, fresh) = (record.shifted_hit_percent, record.fresh_hit_percent);
        let numbers = [shifted, fresh, shifted - fresh].map(|percent| format!("{percent:.2}"));
        std::iter::once(format!("{:.2}", record.turnovers)).chain(numbers).collect()
    };
    let rows: Vec<Vec<String>> = shifted.records.iter().map(row).collect();
    let columns =
        ["turnovers of memory", "hit ratio after the shift, %", "of a fresh store, %", "difference"];
    println!("{}", table(&header(&columns), &rows));
    match back_after(&shifted.records) {
        Some(turnovers) => println!("within a point of the fresh store from {turnovers:.2} turnovers on"),
        None => println!("not within a point of the fresh store at the end"),
    }
}

/// Turnovers after which every stretch came near to the fresh store; 0 when all did.
fn back_after(records: &[Record]) -> Option<f64> {
    let is_back = |record: &Record| record.shifted_hit_percent > record.fresh_hit_percent - BACK_POINTS;
    match records.iter().rposition(|record| !is_back(record)) {
        None => Some(0.0),
        Some(last) if last + 1 == records.len() => None,
        Some(last) => Some(records[last].turnovers),
    }
}

#[cfg(test)]
mod tests {
    use super::{Record, Subject, back_after};
    use crate::engine::EngineName;

    fn records(differences: &[f64]) -> Vec<Record> {
        let record = |(at, difference): (usize, &f64)| Record {
            subject: Subject::Engine(EngineName::Evanesce),
            requests: 1,
            turnovers: (at + 1) as f64,
            shifted_hit_percent: 50.0 + difference,
            fresh_hit_percent: 50.0,
        };
        differences.iter().enumerate().map(record).collect()
    }

    #[test]
    fn store_is_back_when_no_later_stretch_lags() {
        assert_eq!(back_after(&records(&[0.0, -0.5, 3.0])), Some(0.0));
        assert_eq!(back_after(&records(&[-9.0, 0.0, -2.0, 0.0])), Some(3.0));
        assert_eq!(back_after(&records(&[0.0, -2.0])), None);
    }
}
