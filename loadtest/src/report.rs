//! The report of a replay: for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::tally::{Failure, Tally};

/// A report. Scripts rely on the first eight keys; more may be added behind them.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Requests of the trace that were made.
    requests: u64,
    hits: u64,
    misses: u64,
    read_errors: u64,
    write_errors: u64,
    /// Hits whose value was not the key's.
    wrong: u64,
    seconds: f64,
    /// Of reads: from the instant each was due with a rate, else from when it was begun.
    latency_us: Latency,
    /// Hits per hit or miss.
    hit_ratio: f64,
    requests_per_second: f64,
    writes: u64,
    /// Writes that met their policy while some replica failed.
    writes_partial: u64,
    /// With a rate: requests begun more than a millisecond after they were due.
    late: u64,
    /// Of writes, from when each was begun.
    write_latency_us: Latency,
    /// Cut short by Ctrl-C.
    interrupted: bool,
    /// Texts of errors and how often each was seen.
    errors: BTreeMap<String, u64>,
    /// The first thousand operations that failed, each with when it ended and how long it took.
    failures: Vec<Failure>,
    /// The same per zone that clients stood in.
    zones: BTreeMap<String, ZoneReport>,
}

/// The part of one zone's client.
#[derive(Debug, Serialize)]
struct ZoneReport {
    requests: u64,
    hits: u64,
    misses: u64,
    read_errors: u64,
    write_errors: u64,
    wrong: u64,
    latency_us: Latency,
}

/// Quantiles in microseconds.
#[derive(Debug, Serialize)]
struct Latency {
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Latency {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: histogram.max() }
    }
}

impl Report {
    /// The report of a run that took `seconds`, with each zone's share.
    pub(crate) fn new(zones: &[(String, Tally)], took: Duration, interrupted: bool) -> Report {
        let mut total = Tally::new();
        zones.iter().for_each(|(_, tally)| total.add(tally));
        let seconds = took.as_secs_f64();
        Report {
            requests: total.requests,
            hits: total.hits,
            misses: total.misses,
            read_errors: total.read_errors,
            write_errors: total.write_errors,
            wrong: total.wrong,
            seconds,
            latency_us: Latency::of(&total.read_us),
            hit_ratio: total.hit_ratio(),
            requests_per_second: total.requests as f64 / seconds.max(f64::MIN_POSITIVE),
            writes: total.writes,
            writes_partial: total.writes_partial,
            late: total.late,
            write_latency_us: Latency::of(&total.write_us),
            interrupted,
            errors: total.errors.clone(),
            failures: total.failures.clone(),
            zones: zones.iter().map(|(name, tally)| (name.clone(), ZoneReport::of(tally))).collect(),
        }
    }

    /// Whether there was neither an error nor a wrong value.
    pub(crate) fn is_clean(&self) -> bool {
        self.read_errors + self.write_errors + self.wrong == 0
    }
}

impl ZoneReport {
    fn of(tally: &Tally) -> ZoneReport {
        ZoneReport {
            requests: tally.requests,
            hits: tally.hits,
            misses: tally.misses,
            read_errors: tally.read_errors,
            write_errors: tally.write_errors,
            wrong: tally.wrong,
            latency_us: Latency::of(&tally.read_us),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {} p99 {} p99.9 {} max {} us", self.p50, self.p99, self.p999, self.max)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = if self.interrupted { " (interrupted)" } else { "" };
        let (seconds, rate) = (self.seconds, self.requests_per_second);
        writeln!(f, "requests  {} in {seconds:.2} s, {rate:.0}/s{cut}", self.requests)?;
        writeln!(f, "hits      {} ({:.3} %), misses {}", self.hits, self.hit_ratio * 100.0, self.misses)?;
        writeln!(f, "reads     {}", self.latency_us)?;
        let (writes, partial) = (self.writes, self.writes_partial);
        writeln!(f, "writes    {writes}, {partial} of them not on every replica: {}", self.write_latency_us)?;
        if self.zones.len() > 1 {
            for (zone, part) in &self.zones {
                let (requests, latency) = (part.requests, &part.latency_us);
                writeln!(f, "zone {zone:4} {requests} requests: {latency}")?;
            }
        }
        if self.late > 0 {
            writeln!(f, "late      {} begun over a millisecond after they were due", self.late)?;
        }
        let (reads, writes, wrong) = (self.read_errors, self.write_errors, self.wrong);
        write!(f, "errors    {reads} of reads, {writes} of writes, {wrong} wrong values")?;
        self.errors.iter().try_for_each(|(text, count)| write!(f, "\n          {count} x {text}"))
    }
}

/// Writes any report as one line of JSON.
///
/// # Errors
/// When the file cannot be written, with its name.
pub(crate) fn write_json(path: &Path, report: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(report)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::Report;
    use crate::tally::{Read, Tally};
    use std::time::Duration;

    #[test]
    fn json_has_the_keys_scripts_rely_on() {
        let (mut a, mut b) = (Tally::new(), Tally::new());
        a.read(Read::Hit, Duration::from_micros(10), false);
        b.read(Read::Miss, Duration::from_micros(30), true);
        b.write(false, true, Duration::from_micros(50));
        let zones = [("a".to_owned(), a), ("b".to_owned(), b)];
        let report = Report::new(&zones, Duration::from_secs(2), false);
        assert!(report.is_clean());
        let json = serde_json::to_value(&report).expect("serialises");
        let numbers = ["requests", "hits", "misses", "read_errors", "write_errors", "wrong"];
        let seen = numbers.map(|name| json[name].as_u64().expect("a number"));
        assert_eq!(seen, [2, 1, 1, 0, 0, 0]);
        assert_eq!(json["seconds"], 2.0);
        let latency = &json["latency_us"];
        assert_eq!(
            ["p50", "p99", "p999", "max"].map(|name| latency[name].as_u64()),
            [10, 30, 30, 30].map(Some)
        );
        assert_eq!(json["zones"]["b"]["latency_us"]["max"], 30);
    }

    #[test]
    fn any_error_or_wrong_value_makes_it_unclean() {
        for outcome in [Read::Error, Read::Wrong] {
            let mut tally = Tally::new();
            tally.read(outcome, Duration::ZERO, false);
            assert!(!Report::new(&[("a".to_owned(), tally)], Duration::ZERO, false).is_clean());
        }
        let mut tally = Tally::new();
        tally.write(true, false, Duration::ZERO);
        assert!(!Report::new(&[("a".to_owned(), tally)], Duration::ZERO, false).is_clean());
    }
}
