//! Replays a block trace against the store, cache-aside: get, and on a miss set. Prints the hit ratio and
//! what the items cost.
//!
//! ```text
//! cargo run --release -p evanesce-store --example replay -- TRACE [--memory 64MiB] [--shards 4]
//!     [--value-size 100-4096] [--limit REQUESTS]
//! ```
//!
//! Reads `.lis` (lines of `first count 0 number`) and `.csv` (header, then `version,time,op,size,lbn`), either
//! also with `.zst` behind. The key is the block number in decimal; the value's size is drawn from the key.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::num::NonZeroUsize;
use std::time::Instant;

use evanesce_store::{Lookup, Read, Store, StoreConfig, Time, Value, Write};

/// As the node will have it: its allocator is part of what the process takes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Args {
    trace: String,
    memory_bytes: usize,
    shards: usize,
    sizes: (usize, usize),
    limit: usize,
}

fn main() {
    let Some(args) = args() else {
        eprintln!("replay TRACE [--memory 64MiB] [--shards 4] [--value-size 100-4096] [--limit REQUESTS]");
        std::process::exit(2);
    };
    let keys = match keys(&args) {
        Ok(keys) => keys,
        Err(error) => {
            eprintln!("cannot read {}: {error}", args.trace);
            std::process::exit(1);
        }
    };
    replay(&args, &keys);
}

fn replay(args: &Args, keys: &[u64]) {
    let config = StoreConfig {
        memory_bytes: args.memory_bytes,
        shards: NonZeroUsize::new(args.shards).expect("checked when read"),
        ..StoreConfig::default()
    };
    let store = Store::new(config).expect("the arguments make a store");
    println!("resident before: {:.1} MiB", resident_mib());
    let pattern: Vec<u8> = (0..args.sizes.1 + 256).map(|at| (at % 251) as u8).collect();
    let started = Instant::now();
    let (mut hits, mut wrong, mut refused) = (0, 0, 0);
    for (request, block) in keys.iter().enumerate() {
        let now = Time(1_700_000_000_000 + request as u64 / 100);
        let key = block.to_string();
        let value = &pattern[(*block % 251) as usize..][..value_size(*block, args.sizes)];
        let found = store.read(&Read::key(key.as_bytes()), now, |lookup| match lookup {
            Lookup::Miss => None,
            Lookup::Hit(hit) => Some(is_same(&hit.value, value)),
        });
        match found {
            Some(right) => {
                hits += 1;
                wrong += usize::from(!right);
            }
            None => {
                let outcome = store.write(&Write::set(key.as_bytes(), value), now);
                refused += usize::from(!matches!(outcome, evanesce_store::WriteOutcome::Stored { .. }));
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    report(&store, keys, hits, seconds);
    assert_eq!((wrong, refused), (0, 0), "wrong values, refused writes");
}

/// Compares without copying.
fn is_same(there: &Value<'_>, value: &[u8]) -> bool {
    match there {
        Value::Inline(there) => *there == value,
        Value::Pinned(pieces) => {
            let mut rest = value;
            let mut is_next = |piece: &[u8]| rest.split_off(..piece.len()).is_some_and(|part| part == piece);
            there.len() == value.len() && pieces.iter().all(|piece| is_next(piece))
        }
    }
}

fn report(store: &Store, keys: &[u64], hits: usize, seconds: f64) {
    let stats = store.stats();
    let requests = keys.len();
    println!("requests {requests}, hits {hits}, hit ratio {:.2} %", 100.0 * hits as f64 / requests as f64);
    println!("{:.0} ns a request", 1e9 * seconds / requests as f64);
    println!("{stats:#?}");
    let waste = stats.bytes.saturating_sub(stats.item_bytes);
    println!(
        "bytes beside the items: {:.2} % of those in use, {:.1} an item",
        100.0 * waste as f64 / stats.bytes as f64,
        waste as f64 / stats.items as f64
    );
    println!("resident: {:.1} MiB", resident_mib());
}

/// 0 where the system does not tell.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// The size of a key's value: any of the range, the same each time.
fn value_size(key: u64, (min, max): (usize, usize)) -> usize {
    let mut mixed = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    min + (mixed % (max - min + 1) as u64) as usize
}

fn keys(args: &Args) -> io::Result<Vec<u64>> {
    let file = File::open(&args.trace)?;
    let name = args.trace.trim_end_matches(".zst");
    let lines: Box<dyn BufRead> = if name == args.trace {
        Box::new(BufReader::new(file))
    } else {
        Box::new(BufReader::new(zstd::Decoder::new(file)?))
    };
    // Roomy from the start: what a growing list leaves behind would show in the resident size.
    let mut keys = Vec::with_capacity(1 << 20);
    for line in lines.lines() {
        let line = line?;
        if name.ends_with(".csv") {
            // The header has no number in the last column.
            keys.extend(line.rsplit(',').next().and_then(|block| block.trim().parse::<u64>().ok()));
        } else {
            let mut numbers = line.split_whitespace().map_while(|number| number.parse::<u64>().ok());
            if let (Some(first), Some(count)) = (numbers.next(), numbers.next()) {
                keys.extend(first..first + count);
            }
        }
        if keys.len() >= args.limit {
            break;
        }
    }
    keys.truncate(args.limit);
    Ok(keys)
}

fn args() -> Option<Args> {
    let mut words = std::env::args().skip(1);
    let mut args = Args {
        trace: words.next()?,
        memory_bytes: 64 << 20,
        shards: 4,
        sizes: (100, 4096),
        limit: usize::MAX,
    };
    while let Some(option) = words.next() {
        let value = words.next()?;
        match option.as_str() {
            "--memory" => args.memory_bytes = memory(&value)?,
            "--shards" => args.shards = value.parse().ok().filter(|shards| *shards > 0)?,
            "--limit" => args.limit = value.parse().ok()?,
            "--value-size" => {
                let (min, max) = value.split_once('-').unwrap_or((&value, &value));
                args.sizes = (min.parse().ok()?, max.parse().ok()?);
            }
            _ => return None,
        }
    }
    (args.sizes.0 <= args.sizes.1).then_some(args)
}

fn memory(text: &str) -> Option<usize> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}
