//! Random operations of several clients while nodes die, freeze, are cut off and come back, checked against all that was
//! done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evanesce_client::Client;
use evanesce_tests::{Deadline, pause};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Bench;
use crate::copies::{compare, copies};
use crate::fault::failures;
use crate::history::{History, Seen};
use crate::ledger::{Balance, KEYS, Ledger};
use crate::load::{Taken, Traffic};
use crate::netns::Network;
use crate::stage::{Stage, all_connected, repairs_through, runtime};
use crate::strike::Strike;
use crate::verdict::Verdict;
use evanesce_tests::clock::{ms, now_ns, ns};
use evanesce_tests::witness::{Starved, Witness};

/// Keys that are set, deleted, touched and read.
const HISTORY_KEYS: usize = 500;
/// Callers of each client.
const CALLERS: usize = 8;
/// Between two operations of a caller.
const PAUSE: Duration = Duration::from_millis(8);
/// Keys of one bulk read.
const BULK_KEYS: usize = 10;
/// So long after a fault all clients have found the nodes again and sent their repairs: from then on nothing that had
/// been overwritten is read. The longest delay between two attempts to connect is one and a half seconds, and one
/// attempt takes up to one.
const BOUND: Duration = Duration::from_secs(4);
/// Without a fault a replica may be so far behind another on a machine with more to do than cores.
const BEHIND: Duration = Duration::from_millis(500);
/// Between the bound and the next fault something is to be seen of health.
const HEALTHY: Duration = Duration::from_secs(2);

/// Keys whose values are larger than an item may be, so that they are kept in parts.
const LARGE_KEYS: usize = 3;
/// Their bytes.
const LARGE_BYTES: usize = 1_500_000;

/// What all callers share.
struct Soak {
    traffic: Traffic,
    /// Of large values.
    large: Traffic,
    ledger: Ledger,
    taken: Mutex<Taken>,
    failed_at_home: Mutex<Vec<String>>,
    added_twice: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// When a fault came, and when it was gone.
type Spans = Vec<(u64, u64)>;

/// Runs it, all of it at one host of a network of its own, where traffic can be cut.
///
/// # Errors
/// When the cluster does not start or come back, or the network cannot be made.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    if bench.at_host {
        return soak(bench, verdict);
    }
    let network = Network::new(1)?;
    let (seed, directory) = (bench.seed.to_string(), bench.directory.display().to_string());
    let mut arguments = vec!["--at-host", "--only", "soak", "--seed", &seed, "--directory", &directory];
    if bench.short {
        arguments.push("--short");
    }
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let ended = network.run(network.host(0), &std::env::current_exe()?, &arguments)?;
    verdict.must(ended.success(), format!("it failed with {ended}: see above"));
    Ok(())
}

fn soak(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let mut stage = Stage::start(&bench.programs, &bench.directory, "up-soak")?;
    let runtime = runtime()?;
    let zones = stage.up.report.zones();
    let mut clients = Vec::new();
    for zone in &zones {
        clients.push(runtime.block_on(stage.client(zone))?);
    }
    let history = Arc::new(History::new("s", HISTORY_KEYS));
    let traffic = Traffic { clients: clients.clone(), history, seed: bench.seed };
    let history = Arc::new(History::new("large", LARGE_KEYS).with_values_of(LARGE_BYTES));
    let large = Traffic { clients: clients.clone(), history, seed: bench.seed };
    let soak = Arc::new(Soak {
        traffic,
        large,
        ledger: Ledger::new(),
        taken: Mutex::default(),
        failed_at_home: Mutex::default(),
        added_twice: Mutex::default(),
        stop: AtomicBool::new(false),
    });
    runtime.block_on(soak.traffic.fill())?;
    runtime.block_on(soak.large.fill())?;
    runtime.block_on(soak.ledger.open(&clients[0]))?;
    let witness = Witness::start();
    let callers = runtime.spawn(Arc::clone(&soak).call_all());
    let length = Duration::from_secs(if bench.short { 60 } else { 600 });
    let spans = faults(bench, &mut stage, &zones, Deadline::within(length));
    soak.stop.store(true, Ordering::Relaxed);
    runtime.block_on(callers)?;
    let spans = spans?;
    let starved = witness.finish();
    judge(verdict, &soak, &spans, &starved);
    let keys: Vec<String> = (0..HISTORY_KEYS).map(|key| soak.traffic.history.key(key)).collect();
    all_connected(&clients, &keys)?;
    repairs_through(&clients)?;
    judge_end(verdict, &soak.traffic, &runtime.block_on(soak.traffic.read_all()));
    judge_end(verdict, &soak.large, &runtime.block_on(soak.large.read_all()));
    let compared = compare(&copies(&clients[0], &[keys, soak.ledger.keys()].concat())?);
    verdict.figure(format!("{} keys differ", compared.differing.len()));
    verdict.none("keys differ between zones", &compared.differing);
    let balance = runtime.block_on(soak.ledger.balance(&clients[0]))?;
    judge_additions(verdict, &soak, &spans, &balance);
    Ok(())
}

/// Nothing that was acknowledged may be lost, and nothing counted twice, whether or not the machine was starved.
fn judge_additions(verdict: &mut Verdict, soak: &Soak, spans: &Spans, balance: &Balance) {
    let at_risk = soak.ledger.acked_while(|at| is_disturbed(spans, at));
    verdict.figure(format!(
        "{} additions acked ({at_risk} of them around faults), {} unknown, {} lost, {} too many",
        balance.acked, balance.maybe, balance.lost, balance.too_many
    ));
    let first = balance.told.first().map_or("", String::as_str);
    verdict.must(balance.lost == 0, format!("{} additions lost: {first}", balance.lost));
    verdict.must(balance.too_many == 0, format!("{} additions too many: {first}", balance.too_many));
}

/// Whether a fault was there, or had just gone.
fn is_disturbed(spans: &Spans, at: u64) -> bool {
    spans.iter().any(|(from, to)| at >= *from && at <= to + ns(BOUND))
}

/// Strikes one zone after the other, in an order that the seed gives, each healed before the next.
fn faults(bench: &Bench, stage: &mut Stage, zones: &[String], until: Deadline) -> anyhow::Result<Spans> {
    let mut random = SmallRng::seed_from_u64(bench.seed);
    let mut spans = Vec::new();
    let mut due = Vec::new();
    pause(HEALTHY);
    while !until.is_over() {
        let zone = &zones[random.random_range(0..zones.len())];
        let mut nodes = stage.nodes_of(zone);
        if random.random_range(0..2) == 0 {
            nodes.truncate(1);
        }
        let length = Duration::from_millis(random.random_range(300..4_000));
        let strike = Strike::next(&mut due, &mut random);
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let begun = now_ns();
        println!("  soak: {strike:?} {zone} {names:?} for {length:?} at {:.0} ms", ms(begun));
        strike.hit(stage, &nodes, length)?;
        let healed = now_ns();
        println!("  soak: healed at {:.0} ms", ms(healed));
        spans.push((begun, healed));
        pause(BOUND + HEALTHY);
    }
    Ok(spans)
}

/// What callers found while it went on.
fn judge(verdict: &mut Verdict, soak: &Soak, spans: &Spans, starved: &Starved) {
    let taken = soak.taken.lock();
    let late = taken.stale.iter().filter(|stale| {
        !is_disturbed(spans, stale.begun)
            && stale.by_ns > ns(BEHIND)
            && !starved.within(stale.begun - stale.by_ns, stale.begun)
    });
    let late: Vec<String> = late.map(|stale| format!("{stale:?}")).collect();
    let deleted = taken.stale.iter().filter(|stale| stale.deleted).count();
    let oldest = taken.stale.iter().map(|stale| stale.by_ns).max().unwrap_or(0);
    let after = |begun: u64| spans.iter().filter(|(_, to)| begun > *to).map(|(_, to)| begun - to).min();
    let last = taken.stale.iter().filter(|stale| stale.by_ns > ns(BEHIND));
    let last = last.filter_map(|stale| after(stale.begun)).max().unwrap_or(0);
    verdict.figure(format!(
        "{} faults, {} operations, {} misses, {} superseded",
        spans.len(),
        taken.samples.len(),
        taken.misses,
        taken.superseded
    ));
    verdict.figure(format!(
        "{} stale reads ({deleted} of deleted values), the oldest by {:.0} ms, the last {:.0} ms after healing",
        taken.stale.len(),
        ms(oldest),
        ms(last)
    ));
    verdict.figure(format!("{} decisions of home zones failed", soak.failed_at_home.lock().len()));
    verdict.none("wrong answers", &taken.wrong);
    verdict.none("stale reads beyond the bound", &late);
    let of = taken.samples.len();
    failures(verdict, "reads", &taken.reads_failed, of, starved);
    failures(verdict, "writes", &taken.writes_failed, of, starved);
    verdict.figure(starved.told());
    let twice = std::mem::take(&mut *soak.added_twice.lock());
    verdict.figure(format!("{} adds won twice", twice.len()));
    verdict.none("adds were won twice", &twice);
}

/// All is healed: every zone must be right.
fn judge_end(verdict: &mut Verdict, traffic: &Traffic, read: &Taken) {
    let stale: Vec<String> = read.stale.iter().map(|stale| format!("{stale:?}")).collect();
    verdict.none("stale reads in the end", &stale);
    verdict.none("wrong reads in the end", &read.wrong);
    let asked = traffic.history.len() * traffic.clients.len();
    let key = traffic.history.key(0);
    verdict.figure(format!("{} of {asked} last reads of {key} and so on missed", read.misses));
}

impl Soak {
    async fn call_all(self: Arc<Self>) {
        let mut callers = JoinSet::new();
        for caller in 0..self.traffic.clients.len() * CALLERS {
            let soak = Arc::clone(&self);
            callers.spawn(async move { soak.call(caller).await });
        }
        callers.join_all().await;
    }

    async fn call(&self, caller: usize) {
        let mut random = SmallRng::seed_from_u64(self.traffic.seed ^ (caller as u64) << 32);
        let at = caller % self.traffic.clients.len();
        let client = &self.traffic.clients[at];
        while !self.stop.load(Ordering::Relaxed) {
            sleep(PAUSE).await;
            let key = random.random_range(0..self.traffic.history.len());
            match random.random_range(0..20) {
                0 if random.random_range(0..8) == 0 => {
                    self.large.one(random.random(), now_ns(), &self.taken).await;
                }
                0..9 => self.traffic.one(random.random(), now_ns(), &self.taken).await,
                9..12 => self.get_many(at, &mut random).await,
                12 => {
                    // An expiry is not what is checked; that touching breaks nothing is.
                    let _ = client.touch(self.traffic.history.key(key), Duration::from_secs(900)).await;
                }
                13 => self.add(client, key).await,
                _ => {
                    let failed = self.ledger.add((at, client), random.random_range(0..KEYS)).await;
                    self.failed_at_home.lock().extend(failed);
                }
            }
        }
    }

    async fn get_many(&self, client: usize, random: &mut SmallRng) {
        let history = &self.traffic.history;
        let keys: Vec<usize> = (0..BULK_KEYS).map(|_| random.random_range(0..history.len())).collect();
        let begun = now_ns();
        let found = self.traffic.clients[client].get_many(keys.iter().map(|key| history.key(*key))).await;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.taken.lock().reads_failed.push((begun, now_ns(), error.to_string()));
                return;
            }
        };
        for (key, value) in &found.hits {
            let key = keys.iter().find(|known| history.key(**known).as_bytes() == key);
            let seen = key.map(|key| history.judge(*key, Some(value), begun));
            let mut taken = self.taken.lock();
            match seen {
                None => taken.wrong.push("a bulk read answered a key that was not asked".to_owned()),
                Some(Seen::Stale { by_ns, deleted }) => {
                    let key = history.key(*key.unwrap_or(&0));
                    taken.stale.push(crate::load::Stale { begun, by_ns, deleted, key, client });
                }
                Some(Seen::Wrong(what)) => taken.wrong.push(what),
                Some(Seen::Right | Seen::Miss) => {}
            }
        }
        let failed = found.failed.iter().map(|(_, error)| (begun, now_ns(), error.to_string()));
        self.taken.lock().reads_failed.extend(failed);
    }

    /// A lock that somebody holds for a moment: nobody else may win it meanwhile.
    async fn add(&self, client: &Client, key: usize) {
        let key = format!("lock-{}", key % 5);
        let holder = rand::random::<u32>().to_string();
        let added = client.add(&key, holder.clone()).ttl(Duration::from_secs(60)).await;
        let Ok(true) = added.map(|outcome| outcome.is_stored()) else { return };
        if let Ok(Some(item)) = client.get_for_cas(&key).await
            && item.value != holder
        {
            self.added_twice.lock().push(key.clone());
        }
        // It goes by itself when this fails.
        let _ = client.delete(&key).await;
    }
}
