//! A node with a memory file, told to end or killed amid writes, and started again.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use evanesce_tests::{Deadline, Process, Verdict, eventually, free_port, pause};

use crate::Bench;
use crate::talk::{self, connect, key, value};

/// A node that does not serve by then will not.
const SERVING_LIMIT: Duration = Duration::from_secs(60);
/// What is promised after SIGTERM.
const TERM_MAX: Duration = Duration::from_secs(1);
/// What is promised after `kill -9`.
const KILL_MAX: Duration = Duration::from_secs(5);
/// Restarts of each kind. The fastest counts: a machine that does something else meanwhile is no fault of the node's.
const ROUNDS: u64 = 3;
/// Items that are checked one by one, spread over all.
const CHECKED: u64 = 50_000;
/// Items that a writer goes over while the node is killed.
const REWRITTEN: u64 = 200_000;
/// Items that expire before the node is back, or soon after.
const SHORT_LIVED: u64 = 1_000;
/// The part of the memory that is filled: nothing may be evicted, or it could not be told from what was lost.
const FILLED_PERCENT: u64 = 85;
/// Bytes of a node's own beside key and value, at most.
const OVERHEAD_BYTES: u64 = 30;
/// Threads of the node.
const THREADS: &str = "2";

/// One memory file.
struct Scene<'a> {
    bench: &'a Bench,
    address: SocketAddr,
    file: PathBuf,
    memory: String,
    items: u64,
    value_bytes: usize,
    starts: u32,
}

/// Runs it.
///
/// # Errors
/// When something could not be tried at all.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    restart(bench, verdict, 1, if bench.short { 900 } else { 140 })?;
    if !bench.short {
        restart(bench, verdict, 8, 140)?;
    }
    Ok(())
}

fn restart(bench: &Bench, verdict: &mut Verdict, gib: u64, value_bytes: usize) -> anyhow::Result<()> {
    let bytes = gib << 30;
    let directory = place(bench, bytes + bytes / 8);
    let file = directory.join(format!("evanesce-warmth-{}-{gib}", std::process::id()));
    let item_bytes = value_bytes as u64 + OVERHEAD_BYTES + key(0).len() as u64;
    let items = bytes / 100 * FILLED_PERCENT / item_bytes;
    let (address, memory) = (free_port()?, format!("{gib}GiB"));
    let mut scene = Scene { bench, address, file, memory, items, value_bytes, starts: 0 };
    let outcome = scene.play(verdict);
    // It may lie where nobody else clears up.
    let _ = std::fs::remove_file(&scene.file);
    outcome
}

/// Where a memory file of this size is to lie: in memory, if there is room.
fn place(bench: &Bench, bytes: u64) -> PathBuf {
    let free = || {
        let output = Command::new("df").args(["--output=avail", "-B1", "/dev/shm"]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.lines().nth(1)?.trim().parse::<u64>().ok()
    };
    if free().is_some_and(|free| free > bytes) { PathBuf::from("/dev/shm") } else { bench.directory.clone() }
}

impl Scene<'_> {
    fn play(&mut self, verdict: &mut Verdict) -> anyhow::Result<()> {
        let mut node = self.start()?;
        self.serves(self.items, None)?;
        self.fill()?;
        let Scene { items, memory, file, .. } = self;
        println!("  {memory}: {items} items in {}", file.display());
        let (mut terms, mut kills) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            self.write_short_lived()?;
            node.terminate()?;
            let (again, took) = self.start_again()?;
            terms.push(took);
            node = again;
            self.check(verdict, 0)?;
        }
        for round in 1..=ROUNDS {
            let acknowledged = self.kill_amid_writes(node, round)?;
            let (again, took) = self.start_again()?;
            kills.push(took);
            node = again;
            self.check_rewritten(verdict, acknowledged, round)?;
            self.check(verdict, REWRITTEN.min(self.items / 2))?;
        }
        self.judge(verdict, "SIGTERM", &terms, TERM_MAX);
        self.judge(verdict, "kill -9 amid writes", &kills, KILL_MAX);
        node.terminate()?;
        Ok(())
    }

    fn judge(&self, verdict: &mut Verdict, what: &str, took: &[Duration], most: Duration) {
        let told: Vec<String> = took.iter().map(|took| format!("{:.2}", took.as_secs_f64())).collect();
        let memory = &self.memory;
        verdict.figure(format!("{memory} serves {} s after {what}", told.join(", ")));
        let best = took.iter().min().copied().unwrap_or(Duration::MAX);
        verdict
            .must(best <= most, format!("{memory}: {best:?} from the start after {what}, at most {most:?}"));
    }

    fn start(&mut self) -> anyhow::Result<Process> {
        self.starts += 1;
        let name = format!("restart-{}-{}", self.memory, self.starts);
        let (listen, file) = (self.address.to_string(), self.file.display().to_string());
        let arguments = ["node", "--standalone", "--listen", &listen, "--memory", &self.memory];
        let arguments = arguments.into_iter().chain(["--threads", THREADS, "--memory-file", &file]);
        Process::start(&name, &self.bench.programs.evanesce, arguments, &self.bench.directory)
    }

    /// Waits until the key of a number is answered as it should be.
    fn serves(&self, number: u64, wanted: Option<&str>) -> anyhow::Result<()> {
        let looks = || {
            let found = talk::get(self.address, [number].into_iter()).ok()?;
            (found.get(&number).map(String::as_str) == wanted).then_some(())
        };
        Ok(eventually("a node that serves", Deadline::within(SERVING_LIMIT), looks)?)
    }

    /// Starts it on the file it left; how long it was from the start until an item was served.
    fn start_again(&mut self) -> anyhow::Result<(Process, Duration)> {
        let last = self.items - 1;
        let wanted = value(last, 0, self.value_bytes);
        let begun = Instant::now();
        let mut process = self.start()?;
        let served = self.serves(last, Some(&wanted));
        let took = begun.elapsed();
        served.with_context(|| format!("the node printed:\n{}", process.printed()))?;
        process.check()?;
        Ok((process, took))
    }

    fn fill(&self) -> anyhow::Result<()> {
        let middle = self.items / 2;
        std::thread::scope(|scope| {
            let first = scope.spawn(|| talk::set(self.address, 0..middle, (0, self.value_bytes), ""));
            talk::set(self.address, middle..self.items, (0, self.value_bytes), "")?;
            first.join().map_err(|_| anyhow::anyhow!("a writer broke down"))?
        })
    }

    /// Items that expire within a second.
    fn write_short_lived(&self) -> anyhow::Result<()> {
        let mut requests = String::new();
        for number in 0..SHORT_LIVED {
            requests.push_str(&format!("set soon-{number} 0 1 1 noreply\r\nx\r\n"));
        }
        talk::exchange(self.address, &(requests + "mn\r\n"))?;
        Ok(())
    }

    /// Every item that is looked at must be there as it was written; but for the first `but`. What had expired must not.
    fn check(&self, verdict: &mut Verdict, but: u64) -> anyhow::Result<()> {
        let step = ((self.items - but) / CHECKED).max(1) as usize;
        let numbers: Vec<u64> = (but..self.items).step_by(step).collect();
        let found = talk::get(self.address, numbers.iter().copied())?;
        let lost = numbers.iter().filter(|number| !found.contains_key(number)).count();
        let is_wrong = |(number, there): &(&u64, &String)| **there != value(**number, 0, self.value_bytes);
        let wrong: Vec<String> = found.iter().filter(is_wrong).map(|(number, _)| key(*number)).collect();
        let memory = &self.memory;
        verdict.must(lost == 0, format!("{memory}: {lost} of {} items are lost", numbers.len()));
        verdict.none(&format!("{memory}: items with another value"), &wrong);
        pause(Duration::from_secs(1));
        let asked: String = (0..SHORT_LIVED).map(|number| format!("mg soon-{number} v\r\n")).collect();
        let answers = talk::exchange(self.address, &asked)?;
        let expired = answers.lines().filter(|line| line.starts_with("VA ")).count();
        verdict.must(expired == 0, format!("{memory}: {expired} expired items were served"));
        Ok(())
    }

    /// Writes the first items once more, one after the other, and kills the node amid it. How many were acknowledged.
    fn kill_amid_writes(&self, mut node: Process, round: u64) -> anyhow::Result<u64> {
        let most = REWRITTEN.min(self.items / 2);
        let mut stream = connect(self.address)?;
        let answers = stream.try_clone()?;
        let bytes = self.value_bytes;
        let writer = std::thread::spawn(move || {
            // It ends when the connection does.
            (0..most).all(|number| {
                let value = value(number, round, bytes);
                let request = format!("set {} 0 0 {}\r\n{value}\r\n", key(number), value.len());
                stream.write_all(request.as_bytes()).is_ok()
            })
        });
        let acknowledged = count_until(answers, most / 4 * round, || node.kill());
        ensure!(writer.join().is_ok(), "the writer broke down");
        ensure!(acknowledged < most, "the node was killed after the last write");
        Ok(acknowledged)
    }

    /// What was acknowledged is there; what was sent and not acknowledged may be; nothing is older.
    fn check_rewritten(&self, verdict: &mut Verdict, acknowledged: u64, round: u64) -> anyhow::Result<()> {
        let most = REWRITTEN.min(self.items / 2);
        let found = talk::get(self.address, 0..most)?;
        let is_of = |number: u64, rounds: std::ops::RangeInclusive<u64>| {
            let there = found.get(&number);
            rounds.into_iter().any(|round| there == Some(&value(number, round, self.value_bytes)))
        };
        let lost = (0..acknowledged).filter(|number| !is_of(*number, round..=round)).map(key);
        verdict.none(&format!("{}: acknowledged writes are lost", self.memory), &lost.collect::<Vec<_>>());
        let stale = (acknowledged..most).filter(|number| !is_of(*number, 0..=round)).map(key);
        // Threads are amid one write each.
        let stale: Vec<String> = stale.collect();
        verdict.must(stale.len() <= 2, format!("{}: {} items are lost or wrong", self.memory, stale.len()));
        Ok(())
    }
}

/// Reads answers of writes; at so many calls `then`, and reads on to the end. How many writes were acknowledged.
fn count_until(stream: std::net::TcpStream, at: u64, then: impl FnOnce()) -> u64 {
    use std::io::{BufRead, BufReader};
    let (mut answers, mut line, mut then) = (BufReader::new(stream), String::new(), Some(then));
    let mut acknowledged = 0;
    while answers.read_line(&mut line).is_ok_and(|bytes| bytes > 0) && line == "STORED\r\n" {
        acknowledged += 1;
        line.clear();
        if acknowledged == at
            && let Some(then) = then.take()
        {
            then();
        }
    }
    acknowledged
}
