//! Counts and latencies: recorded by workers, taken away interval by interval.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;

/// Longest latency told apart, in microseconds: past every deadline, so the highest means "stuck".
const LATENCY_US_MAX: u64 = 60_000_000;
/// Digits kept of a latency: a thousandth is below what repeats of a run differ by.
const LATENCY_DIGITS: u8 = 3;
/// Locks over which the workers of a zone spread.
const STRIPES: usize = 4;
/// Different error texts kept; the rest is counted under one name.
const ERROR_TEXTS_MAX: usize = 8;
/// Failures told one by one; the rest is counted alone.
const FAILURES_TOLD_MAX: usize = 1000;

/// What happened to one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    Hit,
    Miss,
    /// A hit with a value that is not the key's.
    Wrong,
    Error,
}

/// An operation that failed, and when: for whoever knows what else happened then.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Failure {
    /// `read` or `write`.
    what: &'static str,
    /// When it ended, in milliseconds of the wall clock.
    unix_ms: u64,
    /// How long it took, in milliseconds.
    took_ms: f64,
    error: String,
}

impl Failure {
    /// Of an operation that ends now.
    pub(crate) fn now(what: &'static str, took: Duration, error: String) -> Failure {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        Failure { what, unix_ms, took_ms: took.as_secs_f64() * 1e3, error }
    }
}

/// Counts and latencies of an interval or of a whole run.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) wrong: u64,
    pub(crate) read_errors: u64,
    pub(crate) writes: u64,
    pub(crate) write_errors: u64,
    /// Writes that met their policy while some replica failed.
    pub(crate) writes_partial: u64,
    /// Requests that began later than [`crate::replay::LATE`] after they were due.
    pub(crate) late: u64,
    /// Microseconds from due (or begun) to answered.
    pub(crate) read_us: Histogram<u64>,
    pub(crate) write_us: Histogram<u64>,
    pub(crate) errors: BTreeMap<String, u64>,
    /// The first of them, one by one.
    pub(crate) failures: Vec<Failure>,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new() -> Tally {
        let histogram = || {
            Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS).expect("the bounds are in order")
        };
        Tally {
            requests: 0,
            hits: 0,
            misses: 0,
            wrong: 0,
            read_errors: 0,
            writes: 0,
            write_errors: 0,
            writes_partial: 0,
            late: 0,
            read_us: histogram(),
            write_us: histogram(),
            errors: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    /// Records a read.
    pub(crate) fn read(&mut self, outcome: Read, latency: Duration, late: bool) {
        self.requests += 1;
        self.late += u64::from(late);
        match outcome {
            Read::Hit => self.hits += 1,
            Read::Miss => self.misses += 1,
            Read::Wrong => self.wrong += 1,
            Read::Error => self.read_errors += 1,
        }
        record(&mut self.read_us, latency);
    }

    /// Records a write: whether it failed, and whether a replica did although the write did not.
    pub(crate) fn write(&mut self, failed: bool, partial: bool, latency: Duration) {
        self.writes += 1;
        self.write_errors += u64::from(failed);
        self.writes_partial += u64::from(partial);
        record(&mut self.write_us, latency);
    }

    /// Records what an operation failed of.
    pub(crate) fn failure(&mut self, failure: Failure) {
        self.errors_add(format!("{}: {}", failure.what, failure.error), 1);
        self.failures_add([failure]);
    }

    fn failures_add(&mut self, failures: impl IntoIterator<Item = Failure>) {
        let room = FAILURES_TOLD_MAX.saturating_sub(self.failures.len());
        self.failures.extend(failures.into_iter().take(room));
    }

    fn errors_add(&mut self, text: String, count: u64) {
        let known = self.errors.contains_key(&text) || self.errors.len() < ERROR_TEXTS_MAX;
        *self.errors.entry(if known { text } else { "others".to_owned() }).or_default() += count;
    }

    /// Failed operations and wrong values: what makes a run not clean.
    pub(crate) fn faults(&self) -> u64 {
        self.read_errors + self.write_errors + self.wrong
    }

    /// Hits per request that was answered rightly; 0 when there was none.
    pub(crate) fn hit_ratio(&self) -> f64 {
        match self.hits + self.misses {
            0 => 0.0,
            answered => self.hits as f64 / answered as f64,
        }
    }

    /// Adds another's counts.
    pub(crate) fn add(&mut self, other: &Tally) {
        self.requests += other.requests;
        self.hits += other.hits;
        self.misses += other.misses;
        self.wrong += other.wrong;
        self.read_errors += other.read_errors;
        self.writes += other.writes;
        self.write_errors += other.write_errors;
        self.writes_partial += other.writes_partial;
        self.late += other.late;
        self.read_us.add(&other.read_us).expect("the bounds are the same");
        self.write_us.add(&other.write_us).expect("the bounds are the same");
        for (text, count) in &other.errors {
            self.errors_add(text.clone(), *count);
        }
        self.failures_add(other.failures.iter().cloned());
    }
}

fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
}

/// What the workers of one zone write into.
#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) name: String,
    stripes: [Mutex<Tally>; STRIPES],
}

impl Zone {
    /// A zone with nothing recorded.
    pub(crate) fn new(name: &str) -> Zone {
        Zone { name: name.to_owned(), stripes: std::array::from_fn(|_| Mutex::new(Tally::new())) }
    }

    /// Records something for a worker.
    pub(crate) fn record(&self, worker: usize, change: impl FnOnce(&mut Tally)) {
        change(&mut self.stripes[worker % STRIPES].lock());
    }

    /// Takes away what was recorded since the last call.
    pub(crate) fn take(&self) -> Tally {
        let mut taken = Tally::new();
        for stripe in &self.stripes {
            let mut stripe = stripe.lock();
            if stripe.requests + stripe.writes > 0 {
                taken.add(&stripe);
                *stripe = Tally::new();
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::{ERROR_TEXTS_MAX, FAILURES_TOLD_MAX, Failure, Read, Tally, Zone};
    use std::time::Duration;

    #[test]
    fn taken_tallies_add_up_to_what_was_recorded() {
        let zone = Zone::new("a");
        let mut total = Tally::new();
        for worker in 0..10 {
            zone.record(worker, |tally| {
                tally.read(Read::Hit, Duration::from_micros(worker as u64), worker == 3);
            });
            zone.record(worker, |tally| tally.write(worker == 4, false, Duration::from_millis(1)));
            total.add(&zone.take());
        }
        total.add(&zone.take());
        assert_eq!((total.requests, total.hits, total.late), (10, 10, 1));
        assert_eq!((total.writes, total.write_errors, total.faults()), (10, 1, 1));
        assert_eq!((total.read_us.len(), total.read_us.max()), (10, 9));
    }

    #[test]
    fn hit_ratio_leaves_errors_out() {
        let mut tally = Tally::new();
        assert_eq!(tally.hit_ratio(), 0.0);
        for outcome in [Read::Hit, Read::Miss, Read::Error, Read::Wrong, Read::Hit, Read::Hit] {
            tally.read(outcome, Duration::ZERO, false);
        }
        assert_eq!(tally.hit_ratio(), 0.75);
        assert_eq!(tally.faults(), 2);
    }

    #[test]
    fn error_texts_and_failures_told_are_bounded() {
        let mut tally = Tally::new();
        for number in 0..2 * FAILURES_TOLD_MAX {
            tally.failure(Failure::now("read", Duration::from_millis(7), format!("error {number}")));
        }
        assert_eq!(tally.errors.len(), ERROR_TEXTS_MAX + 1);
        assert_eq!(tally.errors["others"], (2 * FAILURES_TOLD_MAX - ERROR_TEXTS_MAX) as u64);
        assert_eq!(tally.failures.len(), FAILURES_TOLD_MAX);
        let mut total = Tally::new();
        total.add(&tally);
        total.add(&tally);
        assert_eq!(total.failures, tally.failures);
    }
}
