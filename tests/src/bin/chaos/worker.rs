//! A client in a process of its own: writes and reads until its time is over, and prints what came of each write.
//!
//! One line for each write: `write KEY VALUE begun ended fate`, a deleted value being `-`; one for each addition to a
//! number, `count KEY fate`; at the end
//! what failed, `told read begun ended ..`, and `end reads=.. reads_failed=.. ..`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use evanesce_client::{Client, StaticNodes};
use evanesce_topology::Placement;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::copies::copies;
use crate::counts::{count, keys_between};
use crate::stage::{all_connected, repairs_through, runtime};
use evanesce_tests::clock::{now_ns, ns};

/// Writes and reads under way at once: as many as are delayed together when a zone does not answer.
const CALLERS: usize = 8;
/// Between two operations of a caller: the network is what is tested, not the speed.
const PAUSE: Duration = Duration::from_millis(4);
/// Keys that only one process writes.
pub(crate) const OWN_KEYS: usize = 200;
/// Keys that all processes write.
pub(crate) const SHARED_KEYS: usize = 40;

/// What it is told.
struct Orders {
    nodes: StaticNodes,
    zone: String,
    name: String,
    secs: u64,
    seed: u64,
}

/// One write as printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) key: String,
    /// None for a delete.
    pub(crate) value: Option<String>,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    /// `acked`, `superseded` or `failed`.
    pub(crate) fate: String,
}

impl Line {
    /// The process that wrote it: a value and a key that only one process writes begin with its name.
    pub(crate) fn client(&self) -> Option<&str> {
        match self.key.strip_prefix("own-") {
            Some(rest) => rest.split('-').next(),
            None => self.value.as_deref()?.split_once(':').map(|(client, _)| client),
        }
    }
}

/// Runs `worker`.
///
/// # Errors
/// When it cannot connect, or its orders are wrong.
pub(crate) fn work(arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut given = named(arguments)?;
    let mut take = |name: &str| given.remove(name).with_context(|| format!("--{name} is missing"));
    let orders = Orders {
        nodes: take("nodes")?.parse()?,
        zone: take("zone")?,
        name: take("name")?,
        secs: take("secs")?.parse()?,
        seed: take("seed")?.parse()?,
    };
    let runtime = runtime()?;
    let client = Client::builder("CHAOS").nodes(orders.nodes.clone()).zone(orders.zone.clone()).connect();
    let client = runtime.block_on(client)?;
    let keys = keys_of(&orders.name);
    // Nodes were started a moment ago, and the first connections may have come too early.
    all_connected(std::slice::from_ref(&client), &keys)?;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    println!("ready {clock}");
    let orders = Arc::new(orders);
    let counts = runtime.block_on(call_all(&client, &orders));
    all_connected(std::slice::from_ref(&client), &keys)?;
    repairs_through(std::slice::from_ref(&client))?;
    let left = runtime.block_on(client.close());
    let Counts { reads, reads_failed, writes_failed, pending_max, told } = counts;
    for what in told {
        println!("told {what}");
    }
    println!(
        "end reads={reads} reads_failed={reads_failed} writes_failed={writes_failed} pending_max={pending_max} left={left}"
    );
    Ok(())
}

/// Runs `dump`: prints what each zone holds, `copy KEY ZONE VERSION VALUE`, an absent one being `- -`; and of numbers
/// their home zone, `home KEY ZONE`.
///
/// # Errors
/// When a node does not answer.
pub(crate) fn dump(arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let given = named(arguments)?;
    let nodes: StaticNodes = given.get("nodes").context("--nodes is missing")?.parse()?;
    let runtime = runtime()?;
    let client = runtime.block_on(Client::builder("CHAOS").nodes(nodes).connect())?;
    let names = given.get("names").context("--names is missing")?;
    let mut keys: Vec<String> = names.split(',').flat_map(keys_of).collect();
    keys.sort();
    keys.dedup();
    let time = |name: &str| -> anyhow::Result<u64> {
        Ok(given.get(name).with_context(|| format!("--{name} is missing"))?.parse()?)
    };
    let numbers = keys_between(time("from")?..time("to")?);
    let placement = Placement::new(client.topology().context("the client is closed")?)?;
    let mut out = std::io::stdout().lock();
    for key in &numbers {
        let home = placement.home_order(placement.key_hash(key.as_bytes())).into_iter().next();
        let home = home.and_then(|group| placement.topology().groups.get(group)).context("no home zone")?;
        writeln!(out, "home {key} {}", home.zone)?;
    }
    keys.extend(numbers);
    for copies in copies(&client, &keys)? {
        for (zone, copy) in copies.zones {
            let (version, value) = copy.map_or(("-".to_owned(), "-".to_owned()), |copy| {
                (copy.version, String::from_utf8_lossy(&copy.value).into_owned())
            });
            writeln!(out, "copy {} {zone} {version} {value}", copies.key)?;
        }
    }
    Ok(())
}

/// `--name value` and so on.
///
/// # Errors
/// When it is anything else.
pub(crate) fn named(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut given = BTreeMap::new();
    while let Some(name) = arguments.next() {
        let Some(name) = name.strip_prefix("--") else { bail!("unknown argument {name}") };
        given.insert(name.to_owned(), arguments.next().with_context(|| format!("--{name} needs a value"))?);
    }
    Ok(given)
}

/// The keys that a process of this name writes.
pub(crate) fn keys_of(name: &str) -> Vec<String> {
    let own = (0..OWN_KEYS).map(|key| format!("own-{name}-{key}"));
    own.chain((0..SHARED_KEYS).map(|key| format!("shared-{key}"))).collect()
}

#[derive(Debug, Default)]
struct Counts {
    reads: u64,
    reads_failed: u64,
    writes_failed: u64,
    pending_max: usize,
    told: Vec<String>,
}

async fn call_all(client: &Client, orders: &Arc<Orders>) -> Counts {
    let counts = Arc::new(Mutex::new(Counts::default()));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (client, orders, counts) = (client.clone(), Arc::clone(orders), Arc::clone(&counts));
        callers.spawn(async move { call(caller, &client, &orders, &counts).await });
    }
    callers.join_all().await;
    std::mem::take(&mut counts.lock())
}

/// One caller has its own part of the keys, so that the writes of a process to one key come one after the other.
async fn call(caller: usize, client: &Client, orders: &Orders, counts: &Mutex<Counts>) {
    let keys: Vec<String> = keys_of(&orders.name)
        .into_iter()
        .enumerate()
        .filter(|(at, _)| at % CALLERS == caller)
        .map(|(_, key)| key)
        .collect();
    let mut random = SmallRng::seed_from_u64(orders.seed ^ caller as u64);
    let until = now_ns() + ns(Duration::from_secs(orders.secs));
    let mut number = 0_u64;
    while now_ns() < until {
        sleep(PAUSE).await;
        let key = &keys[random.random_range(0..keys.len())];
        let dice = random.random_range(0..5);
        if dice == 0 {
            println!("{}", count(client, random.random_range(0..usize::MAX)).await);
            continue;
        }
        if dice < 3 {
            let begun = now_ns();
            let read = client.get(key).await;
            let mut counts = counts.lock();
            counts.reads += 1;
            if let Err(error) = read {
                counts.reads_failed += 1;
                counts.told.push(format!("read {begun} {} {key}: {error}", now_ns()));
            }
            continue;
        }
        number += 1;
        // Keys that all write are never deleted: their last value tells whose write was the last.
        let delete = key.starts_with("own") && random.random_range(0..5) == 0;
        let value = (!delete).then(|| format!("{}:{caller}:{number}", orders.name));
        let line = write(client, key, value, counts).await;
        println!("{line}");
    }
}

async fn write(client: &Client, key: &str, value: Option<String>, counts: &Mutex<Counts>) -> String {
    let begun = now_ns();
    let written = match &value {
        Some(value) => client.set(key, value.clone()).await,
        None => client.delete(key).await.map(|deleted| deleted.written),
    };
    let ended = now_ns();
    let mut counts = counts.lock();
    counts.pending_max = counts.pending_max.max(client.repairs_pending());
    let fate = match written {
        Ok(written) if written.is_superseded() => "superseded",
        Ok(_) => "acked",
        Err(error) => {
            counts.writes_failed += 1;
            counts.told.push(format!("write {begun} {ended} {key}: {error}"));
            "failed"
        }
    };
    format!("write {key} {} {begun} {ended} {fate}", value.as_deref().unwrap_or("-"))
}

/// A line of [`work`], when it tells of a write.
pub(crate) fn parse(line: &str) -> Option<Line> {
    let mut words = line.strip_prefix("write ")?.split(' ');
    let mut next = || words.next();
    Some(Line {
        key: next()?.to_owned(),
        value: next().map(|value| (value != "-").then(|| value.to_owned()))?,
        begun: next()?.parse().ok()?,
        ended: next()?.parse().ok()?,
        fate: next()?.to_owned(),
    })
}

/// A failure that [`work`] told, of reads or of writes: when it began and ended, and what it was.
pub(crate) fn parse_failure(line: &str, of: &str) -> Option<(u64, u64, String)> {
    let mut words = line.strip_prefix("told ")?.strip_prefix(of)?.strip_prefix(' ')?.splitn(3, ' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{keys_of, parse, parse_failure};

    #[test]
    fn failures_are_told_with_their_times() {
        let failure = parse_failure("told read 3 4 k: no zone answered", "read");
        assert_eq!(failure, Some((3, 4, "k: no zone answered".to_owned())));
        assert_eq!(parse_failure("told write 3 4 k: no", "read"), None);
    }

    #[test]
    fn writes_and_deletes_are_read_back() {
        let line = parse("write k w0:1:2 3 4 acked").expect("a write");
        assert_eq!((line.value.as_deref(), line.begun, line.ended), (Some("w0:1:2"), 3, 4));
        assert_eq!(parse("write k - 3 4 acked").expect("a delete").value, None);
        assert_eq!(parse("end reads=1"), None);
    }

    #[test]
    fn processes_share_some_keys_and_no_others() {
        let (one, other) = (keys_of("w0"), keys_of("w1"));
        let shared: Vec<_> = one.iter().filter(|key| other.contains(key)).collect();
        assert_eq!(shared.len(), super::SHARED_KEYS);
    }
}
