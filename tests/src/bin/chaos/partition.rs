//! Clients that do not reach some zone, in one direction or in both, two of them with a wrong clock.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use evanesce_tests::{Deadline, Process, eventually, pause};

use crate::Bench;
use crate::copies::{Copies, Copy, compare};
use crate::counts::{self, Away};
use crate::fault::failures;
use crate::netns::{Host, Network};
use crate::verdict::Verdict;
use crate::worker::{Line, keys_of, parse, parse_failure};
use evanesce_tests::clock::{ms, now_ns, ns};
use evanesce_tests::witness::Witness;

/// A zone each, and a client process each.
const ZONES: [&str; 3] = ["a", "b", "c"];
/// Clients, one in each zone and one more in the first, and by how many milliseconds their clocks are wrong.
const WORKERS: [(&str, i64); 4] = [("w0", 0), ("w1", -3_000), ("w2", 10_000), ("w3", -400)];
/// Nodes of a zone: one server each, at one host.
const NODES: u16 = 2;
/// The first node's port, in a namespace of its own.
const PORT: u16 = 11_211;
/// Clients' clocks agree to within this once they are corrected, with what measuring adds: writes of different clients
/// that are no farther apart count as made at once.
const AT_ONCE: Duration = Duration::from_millis(150);
/// Where Debian has the library that falsifies a process's wall clock.
const FAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
];
/// The clock is read a moment after it was told.
const CLOCK_TOLERANCE_MS: i64 = 200;
/// A process is ready by then.
const START_LIMIT: Duration = Duration::from_secs(60);
/// After its time is over a worker sends its repairs.
const END_LIMIT: Duration = Duration::from_secs(60);

/// What is kept from whom: what `from` sends does not reach `to`. Numbers of workers and zones.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// Requests are lost.
    Requests { worker: usize, zone: usize },
    /// Replies are lost.
    Replies { worker: usize, zone: usize },
    /// All is lost.
    Both { worker: usize, zone: usize },
}

impl Cut {
    /// Which some worker does not reach.
    fn zone(self) -> usize {
        let (Self::Requests { zone, .. } | Self::Replies { zone, .. } | Self::Both { zone, .. }) = self;
        zone
    }
}

/// One after the other, each with the last one healed. A worker's own zone has its number.
const CUTS: [&[Cut]; 4] = [
    &[Cut::Requests { worker: 0, zone: 1 }, Cut::Replies { worker: 1, zone: 2 }],
    &[Cut::Both { worker: 2, zone: 0 }, Cut::Both { worker: 0, zone: 2 }],
    &[Cut::Requests { worker: 0, zone: 0 }, Cut::Replies { worker: 1, zone: 1 }],
    &[Cut::Both { worker: 3, zone: 0 }, Cut::Both { worker: 2, zone: 1 }],
];

/// Servers and clients in their places. Dropped in order: processes before their network.
struct World {
    workers: Vec<Process>,
    _nodes: Vec<Process>,
    network: Network,
    list: String,
}

/// Runs it.
///
/// # Errors
/// When namespaces cannot be made, or a process does not start or end.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let secs = |short, long| Duration::from_secs(if bench.short { short } else { long });
    let (cut, pause_between) = (secs(3, 20), secs(2, 5));
    let length = (cut + pause_between) * u32::try_from(CUTS.len()).unwrap_or(0) + pause_between;
    let mut world = World::start(bench, length)?;
    let witness = Witness::start();
    let (begun, mut aways) = (now_ns(), Vec::new());
    for cuts in CUTS {
        pause(pause_between);
        let from = now_ns();
        world.cut(cuts)?;
        pause(cut);
        world.heal()?;
        let zones = cuts.iter().map(|cut| ZONES[cut.zone()].to_owned()).collect();
        aways.push(Away { from, to: now_ns(), zones });
    }
    let (mut lines, mut counts) = (Vec::new(), Vec::new());
    let (mut failed_reads, mut failed_writes) = (Vec::new(), Vec::new());
    for worker in &mut world.workers {
        let ended = worker.wait(END_LIMIT)?;
        let printed = worker.printed();
        verdict.must(ended.success(), format!("a client ended with {ended}: {}", last(&printed)));
        told(verdict, &printed);
        lines.extend(printed.lines().filter_map(parse));
        counts.extend(printed.lines().filter_map(counts::parse));
        failed_reads.extend(printed.lines().filter_map(|line| parse_failure(line, "read")));
        failed_writes.extend(printed.lines().filter_map(|line| parse_failure(line, "write")));
    }
    let starved = witness.finish();
    // As many operations are reads as are writes.
    failures(verdict, "reads", &failed_reads, lines.len(), &starved);
    failures(verdict, "writes", &failed_writes, lines.len(), &starved);
    verdict.figure(starved.told());
    let ended = now_ns();
    let (all, homes) = world.dump(bench, begun - ns(START_LIMIT)..ended)?;
    let (numbers, all): (Vec<Copies>, _) =
        all.into_iter().partition(|copies| homes.contains_key(&copies.key));
    judge(verdict, &lines, &all);
    counts::judge(verdict, &counts, &numbers, &homes, &aways);
    verdict.figure(format!("read in {:.0} ms", ms(now_ns() - ended)));
    Ok(())
}

fn last(printed: &str) -> &str {
    printed.lines().last().unwrap_or_default()
}

/// Each client's own count.
fn told(verdict: &mut Verdict, printed: &str) {
    if let Some(end) = printed.lines().find_map(|line| line.strip_prefix("end ")) {
        verdict.figure(end.to_owned());
    }
}

/// Nothing differs, nothing deleted is there, and no write was lost that nobody was told of.
fn judge(verdict: &mut Verdict, lines: &[Line], all: &[Copies]) {
    let compared = compare(all);
    let mut by_key: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in lines {
        by_key.entry(&line.key).or_default().push(line);
    }
    let superseded = lines.iter().filter(|line| line.fate == "superseded").count();
    let (mut undone, mut lost) = (Vec::new(), Vec::new());
    for copies in all {
        let Some(writes) = by_key.get(copies.key.as_str()) else { continue };
        let found = copies.zones.iter().find_map(|(_, copy)| copy.as_ref());
        let found = found.map(|copy| String::from_utf8_lossy(&copy.value).into_owned());
        let Some(after) = lost_after(writes, found.as_deref()) else { continue };
        let what = format!("{} is {found:?}, not {after:?}", copies.key);
        if after.value.is_none() { undone.push(what) } else { lost.push(what) }
    }
    verdict.figure(format!(
        "{} writes, {superseded} superseded; {} keys differ, {} absent from a zone, {} deletes undone, {} writes lost silently",
        lines.len(),
        compared.differing.len(),
        compared.absent_somewhere,
        undone.len(),
        lost.len()
    ));
    verdict.none("keys differ between zones", &compared.differing);
    verdict.none("deletes were undone", &undone);
    verdict.none("writes were lost silently", &lost);
}

/// A write that was acknowledged, superseded by nothing, and begun after the one that is there had ended: at once after
/// one of the same client.
fn lost_after<'a>(writes: &[&'a Line], found: Option<&str>) -> Option<&'a Line> {
    let found = writes.iter().filter(|write| write.value.as_deref() == found);
    // Of an absent key any delete may be the reason, and a write that failed may have come late.
    let last = found.max_by_key(|write| if write.fate == "failed" { u64::MAX } else { write.ended })?;
    let is_after = |write: &&&Line| {
        let margin = if write.client() == last.client() { 0 } else { ns(AT_ONCE) };
        last.fate != "failed" && write.begun > last.ended + margin
    };
    writes.iter().find(|write| write.fate == "acked" && is_after(write)).copied()
}

impl World {
    fn start(bench: &Bench, length: Duration) -> anyhow::Result<Self> {
        let network = Network::new(ZONES.len() + WORKERS.len())?;
        let (mut nodes, mut list) = (Vec::new(), Vec::new());
        for (number, zone) in ZONES.iter().enumerate() {
            let mut names = Vec::new();
            for node in 0..NODES {
                let host = network.host(number);
                let at = host.at(PORT + node);
                let listen = at.to_string();
                let arguments =
                    ["node", "--standalone", "--insecure", "--listen", &listen, "--memory", "64MiB"]
                        .map(str::to_owned);
                let name = format!("node-{zone}{node}");
                let program = &bench.programs.evanesce;
                nodes.push(network.start(host, &name, program, &arguments, &[], &bench.directory)?);
                names.push(format!("n{node}/{at}"));
            }
            list.push(format!("{zone}={}", names.join(",")));
        }
        let list = list.join(";");
        let mut world = Self { workers: Vec::new(), _nodes: nodes, network, list };
        for (number, worker) in WORKERS.iter().enumerate() {
            let worker = world.work(bench, number, *worker, length)?;
            world.workers.push(worker);
        }
        Ok(world)
    }

    fn work(
        &self,
        bench: &Bench,
        number: usize,
        (name, skew): (&str, i64),
        length: Duration,
    ) -> anyhow::Result<Process> {
        let arguments = [
            "worker",
            "--nodes",
            &self.list,
            "--zone",
            ZONES[number % ZONES.len()],
            "--name",
            name,
            "--secs",
            &length.as_secs().to_string(),
            "--seed",
            &(bench.seed + number as u64).to_string(),
        ]
        .map(str::to_owned);
        let environment = if skew == 0 { Vec::new() } else { falsified(skew)? };
        let host = self.network.host(ZONES.len() + number);
        let program = std::env::current_exe()?;
        let process = self.network.start(host, name, &program, &arguments, &environment, &bench.directory)?;
        let ready = || process.printed().starts_with("ready").then_some(());
        eventually("a client to connect", Deadline::within(START_LIMIT), ready)
            .with_context(|| process.printed())?;
        check_clock(&process.printed(), skew)?;
        Ok(process)
    }

    fn cut(&self, cuts: &[Cut]) -> anyhow::Result<()> {
        let (zone, worker) = (|at| self.network.host(at), |at| self.network.host(ZONES.len() + at));
        for cut in cuts {
            match *cut {
                Cut::Requests { worker: from, zone: to } => self.network.cut(worker(from), zone(to))?,
                Cut::Replies { worker: to, zone: from } => self.network.cut(zone(from), worker(to))?,
                Cut::Both { worker: one, zone: other } => {
                    self.network.cut(worker(one), zone(other))?;
                    self.network.cut(zone(other), worker(one))?;
                }
            }
        }
        Ok(())
    }

    fn heal(&self) -> anyhow::Result<()> {
        let hosts: Vec<Host> = (0..ZONES.len() + WORKERS.len()).map(|at| self.network.host(at)).collect();
        self.network.heal(&hosts)
    }

    /// What each zone holds, as seen from the switch, and the home zones of the numbers that were counted in that time.
    fn dump(
        &self,
        bench: &Bench,
        counted: Range<u64>,
    ) -> anyhow::Result<(Vec<Copies>, BTreeMap<String, String>)> {
        let names = WORKERS.map(|(name, _)| name).join(",");
        let (from, to) = (counted.start.to_string(), counted.end.to_string());
        let arguments = ["dump", "--nodes", &self.list, "--names", &names, "--from", &from, "--to", &to];
        let arguments = arguments.map(str::to_owned);
        let program = std::env::current_exe()?;
        let host = self.network.switch();
        let mut dump = self.network.start(host, "dump", &program, &arguments, &[], &bench.directory)?;
        let ended = dump.wait(END_LIMIT)?;
        if !ended.success() {
            bail!("cannot read the zones: {}", dump.printed());
        }
        let mut all: BTreeMap<String, Vec<(String, Option<Copy>)>> = BTreeMap::new();
        let (printed, mut homes) = (dump.printed(), BTreeMap::new());
        for line in printed.lines() {
            if let Some((key, zone)) = line.strip_prefix("home ").and_then(|home| home.split_once(' ')) {
                homes.insert(key.to_owned(), zone.to_owned());
                continue;
            }
            let mut words = line.strip_prefix("copy ").with_context(|| line.to_owned())?.splitn(4, ' ');
            let mut next = || words.next().map(str::to_owned).unwrap_or_default();
            let (key, zone, version, value) = (next(), next(), next(), next());
            let copy = (version != "-").then(|| Copy { version, value: value.into_bytes() });
            all.entry(key).or_default().push((zone, copy));
        }
        let expected: usize = WORKERS.iter().map(|(name, _)| keys_of(name).len()).sum();
        if all.is_empty() || all.len() > expected + homes.len() {
            bail!("the zones were not read");
        }
        Ok((all.into_iter().map(|(key, zones)| Copies { key, zones }).collect(), homes))
    }
}

/// What makes a process believe in a clock that is so many milliseconds off; its steady clock stays right.
fn falsified(skew: i64) -> anyhow::Result<Vec<(&'static str, String)>> {
    let library = FAKETIME.iter().find(|path| Path::new(path).exists());
    let library = library.context("libfaketime is missing: see tests/chaos/run")?;
    Ok(vec![
        ("LD_PRELOAD", (*library).to_owned()),
        ("FAKETIME", format!("{:+.3}", skew as f64 / 1e3)),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ])
}

/// Whether the process believes in the clock it was given.
fn check_clock(printed: &str, skew: i64) -> anyhow::Result<()> {
    let told = printed.lines().find_map(|line| line.strip_prefix("ready ")).context("no clock")?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let off = told.parse::<i64>()? - now;
    if (off - skew).abs() > CLOCK_TOLERANCE_MS {
        bail!("the clock of a client is {off} ms off, and was to be {skew} ms");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::lost_after;
    use crate::worker::Line;

    #[test]
    fn write_is_lost_when_an_earlier_one_is_there() {
        let line = |value: Option<&str>, begun, fate: &str| Line {
            key: "k".to_owned(),
            value: value.map(str::to_owned),
            begun,
            ended: begun + 5,
            fate: fate.to_owned(),
        };
        let (first, second) = (line(Some("1"), 0, "acked"), line(Some("2"), 10, "acked"));
        let overtaken = line(Some("3"), 20, "superseded");
        let writes = [&first, &second, &overtaken];
        assert_eq!(lost_after(&writes, Some("1")), Some(&second));
        assert_eq!(lost_after(&writes, Some("2")), None);
        let delete = line(None, 30, "acked");
        assert_eq!(lost_after(&[&first, &delete], Some("1")), Some(&delete));
        assert_eq!(lost_after(&[&first, &delete], None), None);
        let other = line(Some("w1:0:1"), 10, "acked");
        assert_eq!(lost_after(&[&first, &other], Some("1")), None, "clocks do not agree so well");
    }
}
