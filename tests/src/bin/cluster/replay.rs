//! The load-test harness as a child: started, watched while it runs, its report read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use evanesce_tests::witness::Witness;
use evanesce_tests::{Deadline, Process, Programs, eventually};
use serde::Deserialize;

use crate::hiccups::Hiccups;

/// A replay that has not ended by then never will.
const REPLAY_LIMIT: Duration = Duration::from_secs(1800);

/// A running replay.
#[derive(Debug)]
pub(crate) struct Replay {
    process: Process,
    json: PathBuf,
    timeline: PathBuf,
    witness: Witness,
}

/// One that has ended, and was clean.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) report: Report,
    pub(crate) timeline: Vec<Interval>,
    /// Of the machine meanwhile.
    pub(crate) hiccups: Hiccups,
}

/// What the harness reports.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) read_errors: u64,
    pub(crate) write_errors: u64,
    pub(crate) wrong: u64,
    pub(crate) seconds: f64,
    pub(crate) latency_us: Latency,
    pub(crate) failures: Vec<Failure>,
}

/// An operation that failed.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Failure {
    pub(crate) what: String,
    /// When it ended.
    pub(crate) unix_ms: u64,
    pub(crate) took_ms: f64,
    pub(crate) error: String,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

/// One line of the timeline.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Interval {
    pub(crate) t: f64,
    pub(crate) unix_ms: u64,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Replay {
    /// Starts one; `options` say against whom.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(
        programs: &Programs,
        directory: &Path,
        name: &str,
        trace: &Path,
        options: &[&str],
    ) -> anyhow::Result<Replay> {
        let json = directory.join(format!("{name}.json"));
        let timeline = directory.join(format!("{name}.jsonl"));
        // One of that name may have run before, and its report is not this one's.
        if json.exists() {
            std::fs::remove_file(&json)?;
        }
        let mut arguments = vec!["replay".to_owned(), trace.display().to_string()];
        arguments.extend(["--json".to_owned(), json.display().to_string()]);
        arguments.extend(["--timeline".to_owned(), timeline.display().to_string()]);
        arguments.extend(options.iter().map(|&option| option.to_owned()));
        println!("  evanesce-loadtest replay TRACE {}", options.join(" "));
        let process = Process::start(name, &programs.loadtest, arguments, directory)?;
        Ok(Replay { process, json, timeline, witness: Witness::start() })
    }

    /// The timeline so far.
    fn timeline(&self) -> Vec<Interval> {
        let text = std::fs::read_to_string(&self.timeline).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until it has run this long.
    ///
    /// # Errors
    /// When it ends before.
    pub(crate) fn reach(&mut self, time: Duration) -> anyhow::Result<()> {
        let what = format!("{time:?} of the replay");
        let far = |replay: &Replay| replay.timeline().last().is_some_and(|last| last.t >= time.as_secs_f64());
        eventually(&what, Deadline::within(time * 4 + Duration::from_secs(30)), || {
            (far(self) || self.process.ended().is_some()).then_some(())
        })?;
        if let Some(status) = self.process.ended() {
            bail!("the replay ended with {status} before {time:?}:\n{}", self.process.printed());
        }
        Ok(())
    }

    /// Waits for its end; what it found, which must be clean.
    ///
    /// # Errors
    /// When there was an error that the machine does not excuse, or a wrong value.
    pub(crate) fn finish(mut self) -> anyhow::Result<Ended> {
        let status = self.process.wait(REPLAY_LIMIT)?;
        let timeline = self.timeline();
        let hiccups = Hiccups::new(self.witness.finish());
        let text = std::fs::read_to_string(&self.json)
            .with_context(|| format!("the replay made no report; it printed:\n{}", self.process.printed()))?;
        let report: Report =
            serde_json::from_str(&text).with_context(|| format!("not the promised JSON: {text}"))?;
        println!("  {report}");
        if status.success() != (report.read_errors + report.write_errors + report.wrong == 0) {
            bail!("the replay ended with {status}:\n{}", self.process.printed());
        }
        if let Err(fault) = hiccups.judge(&report) {
            bail!("the replay was not clean: {fault}; {}\n{}", hiccups.told(), self.process.printed());
        }
        Ok(Ended { report, timeline, hiccups })
    }
}

impl Report {
    /// Hits in percent of answers.
    pub(crate) fn hit_percent(&self) -> f64 {
        100.0 * self.hits as f64 / (self.hits + self.misses).max(1) as f64
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Report { requests, read_errors, write_errors, wrong, seconds, latency_us, .. } = self;
        let Latency { p50, p99, max, .. } = latency_us;
        let percent = self.hit_percent();
        write!(
            f,
            "{requests} requests in {seconds:.1} s, {percent:.3} % hits, p50 {p50} p99 {p99} max {max} us, "
        )?;
        write!(f, "errors: {read_errors} read, {write_errors} write, {wrong} wrong")
    }
}
