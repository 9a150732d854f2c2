//! What of a replay is not judged, because the machine did not run its processes.

use evanesce_tests::clock::now_ns;
use evanesce_tests::witness::Starved;

use crate::replay::{Failure, Interval, Report};
use crate::unix_ms;

/// Of so many reads one may fail in a hiccup that nobody saw, on a machine that has many.
const UNSEEN_SHARE: u64 = 10_000;
/// Below this share of intervals that no hiccup touched, nothing is said of latency.
const JUDGED_SHARE_MIN: f64 = 0.5;
/// How long an interval of a timeline is.
const INTERVAL_MS: f64 = 100.0;

/// When the machine was starved, by the clock of reports and timelines.
#[derive(Debug)]
pub(crate) struct Hiccups {
    starved: Starved,
    /// The same instant on the steady clock, in nanoseconds, and on the wall clock, in milliseconds.
    both: (u64, u64),
}

impl Hiccups {
    /// Of a witness that has just ended.
    pub(crate) fn new(starved: Starved) -> Self {
        Self { starved, both: (now_ns(), unix_ms()) }
    }

    /// For people.
    pub(crate) fn told(&self) -> String {
        self.starved.told()
    }

    /// What is wrong with a replay, but for what failed in an instant in which this machine did not run its processes. One read
    /// in ten thousand more is not judged where that happened often, for it is not always seen.
    ///
    /// # Errors
    /// When anything is.
    pub(crate) fn judge(&self, report: &Report) -> Result<(), String> {
        if report.wrong > 0 {
            return Err(format!("{} values were wrong", report.wrong));
        }
        let unseen = if self.starved.is_often() { report.requests / UNSEEN_SHARE } else { 0 };
        for (what, errors, allowed) in
            [("read", report.read_errors, unseen), ("write", report.write_errors, 0)]
        {
            let told = report.failures.iter().filter(|failure| failure.what == what);
            let (excused, judged): (Vec<_>, Vec<_>) = told.partition(|failure| self.excuses(failure));
            // Those that the report does not tell one by one are judged, too.
            let failed = errors.saturating_sub(excused.len() as u64);
            if errors > 0 {
                println!("  {failed} {what}s failed, {} more while starved; {}", excused.len(), self.told());
            }
            if failed > allowed {
                let first = judged.first().map_or("not told", |failure| failure.error.as_str());
                return Err(format!("{failed} {what}s failed, the first: {first}"));
            }
        }
        Ok(())
    }

    fn excuses(&self, failure: &Failure) -> bool {
        let ended = failure.unix_ms as f64;
        self.within(ended - failure.took_ms, ended)
    }

    /// Whether no hiccup touched an interval.
    pub(crate) fn spare(&self, interval: &Interval) -> bool {
        let ended = interval.unix_ms as f64;
        !self.within(ended - INTERVAL_MS, ended)
    }

    /// Whether they spare too few intervals to say anything of latency.
    pub(crate) fn hide_latency(&self, timeline: &[Interval]) -> bool {
        let spared = timeline.iter().filter(|interval| self.spare(interval)).count();
        (spared as f64) < timeline.len() as f64 * JUDGED_SHARE_MIN
    }

    /// Whether the machine was starved between two instants of the wall clock, or about then.
    fn within(&self, from_ms: f64, to_ms: f64) -> bool {
        let (steady_ns, unix_ms) = self.both;
        let steady = |at_ms: f64| (steady_ns as f64 + (at_ms - unix_ms as f64) * 1e6).max(0.0) as u64;
        self.starved.within(steady(from_ms), steady(to_ms))
    }
}

#[cfg(test)]
mod tests {
    use evanesce_tests::witness::Starved;

    use super::Hiccups;
    use crate::replay::{Failure, Interval, Latency, Report};

    const SECOND: u64 = 1_000_000_000;

    /// Starved for 20 ms in second 5 of the steady clock, which is second 1005 of the other.
    fn hiccups() -> Hiccups {
        let starved = Starved::seen_by(vec![(5 * SECOND, 5 * SECOND + 20_000_000)]);
        Hiccups { starved, both: (9 * SECOND, 1_009_000) }
    }

    fn report(what: &str, failed_at: &[u64]) -> Report {
        let failure = |unix_ms: &u64| Failure {
            what: what.to_owned(),
            unix_ms: *unix_ms,
            took_ms: 50.0,
            error: "no node answered in time".to_owned(),
        };
        let errors = |of: &str| if of == what { failed_at.len() as u64 } else { 0 };
        Report {
            requests: 40_000,
            hits: 40_000,
            misses: 0,
            read_errors: errors("read"),
            write_errors: errors("write"),
            wrong: 0,
            seconds: 20.0,
            latency_us: Latency { p50: 1, p99: 1, max: 1 },
            failures: failed_at.iter().map(failure).collect(),
        }
    }

    #[test]
    fn what_fails_while_the_machine_is_starved_is_excused_and_nothing_else_is() {
        let hiccups = hiccups();
        for what in ["read", "write"] {
            assert_eq!(hiccups.judge(&report(what, &[])), Ok(()));
            assert_eq!(hiccups.judge(&report(what, &[1_005_000, 1_005_100])), Ok(()));
            assert!(hiccups.judge(&report(what, &[1_005_000, 1_005_200])).is_err(), "after it");
            assert!(hiccups.judge(&report(what, &[1_004_900])).is_err(), "before it");
        }
        let untold = Report { read_errors: 2, ..report("read", &[1_005_000]) };
        assert!(hiccups.judge(&untold).is_err());
        assert!(hiccups.judge(&Report { wrong: 1, ..report("read", &[]) }).is_err());
    }

    #[test]
    fn few_reads_and_no_writes_fail_unseen_where_the_machine_is_starved_often() {
        let often = (0..10).map(|at| (at * SECOND, at * SECOND + 20_000_000)).collect();
        let hiccups = Hiccups { starved: Starved::seen_by(often), both: (9 * SECOND, 1_009_000) };
        let at = |failures: usize| vec![1_005_500; failures];
        assert_eq!(hiccups.judge(&report("read", &at(4))), Ok(()));
        assert!(hiccups.judge(&report("read", &at(5))).is_err());
        assert!(hiccups.judge(&report("write", &at(1))).is_err());
    }

    #[test]
    fn intervals_that_a_hiccup_touched_are_not_spared() {
        let interval = |unix_ms| Interval { t: 0.0, unix_ms, requests: 50, errors: 0, p99: 1, max: 1 };
        let spared = |unix_ms| hiccups().spare(&interval(unix_ms));
        let at = [1_004_900, 1_005_000, 1_005_150, 1_005_200];
        assert_eq!(at.map(spared), [true, false, false, true]);
        let timeline =
            |last: u64| (1..=last).map(|number| interval(1_004_900 + number * 50)).collect::<Vec<_>>();
        assert!(hiccups().hide_latency(&timeline(5)) && !hiccups().hide_latency(&timeline(20)));
    }
}
