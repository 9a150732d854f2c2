//! A thousand callers in four processes want one key that is not there any more.

mod act;
pub(crate) mod caller;
mod told;

use std::time::Duration;

use anyhow::Context;
use evanesce_client::{Client, LatchPolicy};
use evanesce_tests::{Deadline, Process, eventually, pause};
use tokio::runtime::Runtime;

use crate::Bench;
use crate::copies::copies;
use crate::stage::{Stage, runtime};
use crate::verdict::Verdict;
use evanesce_tests::clock::{ms, now_ns, ns};
use evanesce_tests::witness::Witness;

use act::{Act, CALLERS, DEATH_LIMIT, DELETE, DELETE_AT, EXPIRY, KEY, KILL, LOAD, PROCESSES, STALE};
use told::{Call, Load, Told};

/// What waiting may cost beyond the load.
const WAIT_MARGIN: Duration = Duration::from_millis(50);
/// Nobody waits: no longer than for a read whose first zone does not answer, and no load is that short.
const STALE_LIMIT: Duration = Duration::from_millis(50);
/// A process is ready by then.
const START_LIMIT: Duration = Duration::from_secs(20);
/// It has ended so long after its last round: waits for a dead loader included.
const END_LIMIT: Duration = Duration::from_secs(20);
/// Between the word to begin and the first round: all have heard it by then.
const START_AHEAD: Duration = Duration::from_secs(1);
/// Between two looks for the one that loads.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Who deletes does so a while before the first round, too.
const DELETED_AHEAD: Duration = Duration::from_millis(300);

/// What goes on beside the callers. It is told the client of another process, when the first round begins, and who calls.
type Beside<'a> = &'a mut dyn FnMut(&Client, u64, &mut Vec<Process>) -> anyhow::Result<()>;

/// The cluster, and a client of the suite's own.
struct Theatre<'a> {
    bench: &'a Bench,
    stage: Stage,
    runtime: Runtime,
    client: Client,
}

/// Runs it.
///
/// # Errors
/// When the cluster or a process does not start or end.
pub(crate) fn run(bench: &Bench, verdict: &mut Verdict) -> anyhow::Result<()> {
    let stage = Stage::start(&bench.programs, &bench.directory, "up-stampede")?;
    let runtime = runtime()?;
    let zones = stage.up.report.zones();
    let client = runtime.block_on(stage.client(zones.last().context("no zone")?))?;
    let theatre = Theatre { bench, stage, runtime, client };
    theatre.expiry(verdict)?;
    theatre.stale(verdict)?;
    theatre.delete(verdict)?;
    let deaths = if bench.short { 1 } else { 5 };
    (0..deaths).try_for_each(|_| theatre.kill(verdict))
}

impl Theatre<'_> {
    fn rounds(&self, act: &Act) -> u64 {
        if self.bench.short { act.rounds.0 } else { act.rounds.1 }
    }

    /// The key expires between two rounds: it is loaded once, and nobody waits longer than for that.
    fn expiry(&self, verdict: &mut Verdict) -> anyhow::Result<()> {
        let told = self.play(&EXPIRY, &mut |_, _, _| Ok(()))?;
        let mut wrong = Vec::new();
        for round in 0..self.rounds(&EXPIRY) {
            let loads = told.loads_of(round);
            verdict.must(loads.len() == 1, format!("expiry {round}: {} loads: {loads:?}", loads.len()));
            let others = told.calls.iter().filter(|call| call.round == round);
            let others = others.filter(|call| loads.iter().all(|load| load.id != call.value));
            wrong.extend(others.map(|call| format!("{call:?}")));
        }
        verdict.none("callers were given something else than what was loaded", &wrong);
        self.judge_waits(&EXPIRY, verdict, &told, ns(LOAD + WAIT_MARGIN));
        Ok(())
    }

    /// The key is there beyond its TTL: one loads it anew, and nobody waits.
    fn stale(&self, verdict: &mut Verdict) -> anyhow::Result<()> {
        let first = self.client.set(KEY, "first").ttl(STALE.ttl + STALE.stale).latch(LatchPolicy::All);
        self.runtime.block_on(first.into_future())?;
        pause(STALE.gap);
        let told = self.play(&STALE, &mut |_, _, _| Ok(()))?;
        let (mut known, mut wrong) = (vec!["first".to_owned()], Vec::new());
        for round in 0..self.rounds(&STALE) {
            let loads = told.loads_of(round);
            verdict.must(loads.len() == 1, format!("stale {round}: {} loads: {loads:?}", loads.len()));
            known.extend(loads.iter().map(|load| load.id.clone()));
            let calls = told.calls.iter().filter(|call| call.round == round);
            // The last, and the one that is loaded in this round.
            let last = &known[known.len().saturating_sub(2)..];
            wrong.extend(calls.filter(|call| !last.contains(&call.value)).map(|call| format!("{call:?}")));
        }
        verdict.none("callers were given something else than the last value or the new one", &wrong);
        self.judge_waits(&STALE, verdict, &told, ns(STALE_LIMIT));
        Ok(())
    }

    /// Another process deletes the key in the middle of the load: callers after that load it anew, and what was being
    /// loaded is nowhere in the end.
    fn delete(&self, verdict: &mut Verdict) -> anyhow::Result<()> {
        let mut deleted = Vec::new();
        let rounds = self.rounds(&DELETE);
        let told = self.play(&DELETE, &mut |client, begins, _| {
            for round in 0..rounds {
                let begins = begins + ns(DELETE.gap) * round;
                pause_until(begins - ns(DELETED_AHEAD));
                self.runtime.block_on(client.delete(KEY).latch(LatchPolicy::All).into_future())?;
                pause_until(begins + ns(DELETE_AT));
                self.runtime.block_on(client.delete(KEY).into_future())?;
                deleted.push(now_ns());
            }
            Ok(())
        })?;
        let (mut undone, mut joined) = (Vec::new(), 0);
        for (round, deleted) in (0..).zip(&deleted) {
            let loads = told.loads_of(round);
            let twice = loads.len() == 2 && loads[0].begun < *deleted && loads[1].begun > *deleted;
            verdict.must(
                twice,
                format!("delete {round} at {deleted}: not one load before and one after: {loads:?}"),
            );
            let late: Vec<&Call> =
                told.calls.iter().filter(|call| call.round == round && call.begun > *deleted).collect();
            joined += late.len();
            let is_old = |call: &&&Call| loads.last().is_none_or(|load| load.id != call.value);
            undone.extend(late.iter().filter(is_old).map(|call| format!("{call:?}")));
        }
        verdict.none("callers after a delete were not given what was loaded after it", &undone);
        verdict.figure(format!("{joined} calls after a delete"));
        // The load before the delete, and the one after it.
        self.judge_waits(&DELETE, verdict, &told, 2 * ns(LOAD + WAIT_MARGIN));
        let last = told.loads.last().map(|load| load.id.as_bytes().to_vec());
        for copies in copies(&self.client, &[KEY.to_owned()])? {
            for (zone, copy) in copies.zones {
                let found = copy.map(|copy| copy.value);
                verdict.must(found == last, format!("zone {zone} has {found:?} in the end, not {last:?}"));
            }
        }
        Ok(())
    }

    /// The process that loads is killed: another one loads when the lease has gone.
    fn kill(&self, verdict: &mut Verdict) -> anyhow::Result<()> {
        self.runtime.block_on(self.client.delete(KEY).latch(LatchPolicy::All).into_future())?;
        let mut killed = None;
        let told = self.play(&KILL, &mut |_, begins, processes| {
            let limit = Deadline::within(Duration::from_nanos(begins.saturating_sub(now_ns())) + LOAD);
            while !limit.is_over() && killed.is_none() {
                pause(LOOK_EVERY);
                let loads = processes.iter().position(|process| process.printed().contains("\nload "));
                if let Some(at) = loads {
                    processes[at].kill();
                    killed = Some((at, now_ns()));
                }
            }
            Ok(())
        })?;
        let (at, died) = killed.context("nobody loaded")?;
        let loads = told.loads.iter().collect::<Vec<_>>();
        let [dead, new] = loads[..] else {
            verdict.must(false, format!("kill: not two loads: {loads:?}"));
            return Ok(());
        };
        let is_dead = dead.id.starts_with(&format!("{}-", name(at))) && dead.ended.is_none();
        verdict.must(is_dead, format!("kill: {dead:?} was not killed, but process {at}"));
        verdict.figure(format!(
            "loader killed, the next load {:.0} ms later",
            ms(new.begun.saturating_sub(died))
        ));
        let wrong = told.calls.iter().filter(|call| call.value != new.id).map(|call| format!("{call:?}"));
        verdict.none(
            "callers were given something else than the second load's value",
            &wrong.collect::<Vec<_>>(),
        );
        let left = told.calls.len();
        let all = (PROCESSES - 1) * CALLERS * KILL.waves.len();
        verdict.must(left == all, format!("kill: {left} of {all} calls of the living ended"));
        self.judge_waits(&KILL, verdict, &told, ns(DEATH_LIMIT + LOAD + WAIT_MARGIN));
        Ok(())
    }

    /// Starts the callers, lets them play, and reads what they told.
    fn play(&self, act: &'static Act, beside: Beside<'_>) -> anyhow::Result<Told> {
        let mut processes =
            (0..PROCESSES).map(|number| self.start(act, number)).collect::<anyhow::Result<Vec<_>>>()?;
        for process in &processes {
            let ready = || process.printed().starts_with("ready").then_some(());
            eventually("callers to connect", Deadline::within(START_LIMIT), ready)
                .with_context(|| process.printed())?;
        }
        let witness = Witness::start();
        let begins = now_ns() + ns(START_AHEAD);
        let go = self.client.set(caller::go_key(act.name), begins.to_string()).ttl(START_AHEAD);
        self.runtime.block_on(go.latch(LatchPolicy::All).into_future())?;
        beside(&self.client, begins, &mut processes)?;
        let length = act.gap * u32::try_from(self.rounds(act))?;
        let mut printed = String::new();
        for (number, process) in processes.iter_mut().enumerate() {
            let ended = process.wait(START_AHEAD + length + END_LIMIT)?;
            let text = process.printed();
            anyhow::ensure!(
                ended.success() || ended.code().is_none(),
                "{} ended with {ended}: {text}",
                name(number)
            );
            printed.push_str(&text);
        }
        Ok(Told::parse(printed.lines(), witness.finish().spans().to_vec()))
    }

    fn start(&self, act: &Act, number: usize) -> anyhow::Result<Process> {
        let report = &self.stage.up.report;
        let zones = report.zones();
        let (discovery, name) = (report.discoveries(), name(number));
        let rounds = self.rounds(act).to_string();
        let arguments = [
            "caller",
            "--cluster",
            &report.cluster,
            "--discovery",
            &discovery,
            "--zone",
            &zones[number % zones.len()],
            "--name",
            &name,
            "--act",
            act.name,
            "--rounds",
            &rounds,
        ];
        let log = format!("{}-{name}", act.name);
        Process::start(&log, &std::env::current_exe()?, arguments, &self.bench.directory)
    }

    /// No call may take longer, less the time in which the machine was seen not to run what was ready.
    fn judge_waits(&self, act: &Act, verdict: &mut Verdict, told: &Told, limit: u64) {
        let mut took: Vec<u64> = told.calls.iter().map(|call| call.ended - call.begun).collect();
        took.sort_unstable();
        let over: Vec<&Call> = told.calls.iter().filter(|call| call.ended - call.begun > limit).collect();
        let (late, excused): (Vec<&Call>, Vec<&Call>) =
            over.iter().partition(|call| told.waited(call) > limit);
        let failed: Vec<String> = told
            .calls
            .iter()
            .filter(|call| call.value.starts_with("failed"))
            .map(|call| format!("{call:?}"))
            .collect();
        let load = told.loads.iter().filter_map(|load: &Load| Some(load.ended? - load.begun)).max();
        verdict.figure(format!(
            "{}: {} calls, {} loads of up to {:.0} ms, p99 {:.1} ms, the longest {:.1} ms, {} over {:.0} ms only while starved",
            act.name,
            took.len(),
            told.loads.len(),
            ms(load.unwrap_or(0)),
            ms(took.get(took.len() * 99 / 100).copied().unwrap_or(0)),
            ms(took.last().copied().unwrap_or(0)),
            excused.len(),
            ms(limit)
        ));
        verdict.figure(told.starved.told());
        verdict.none(&format!("{}: calls failed", act.name), &failed);
        let late: Vec<String> = late.iter().map(|call| format!("{call:?}")).collect();
        verdict.none(&format!("{}: calls took longer than {:.0} ms", act.name, ms(limit)), &late);
    }
}

fn name(number: usize) -> String {
    format!("p{number}")
}

fn pause_until(at: u64) {
    pause(Duration::from_nanos(at.saturating_sub(now_ns())));
}
