//! When latency is back to normal after a fault, read off a timeline.

use crate::replay::Interval;

/// Normal is at most this many times the worst interval of ordinary ones before the fault.
const NORMAL_FACTOR: u64 = 2;
/// Share of intervals before the fault that are ordinary; the rest are outliers of a busy machine.
const ORDINARY_PERCENT: usize = 95;
/// Intervals over which latency must stay normal, and how many of them may still stick out.
const STEADY: usize = 10;
const STEADY_OUTLIERS: usize = 1;

/// What a fault did to latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Recovery {
    /// The bound of normal, on the 99th percentile of an interval, in microseconds.
    pub(crate) normal_us: u64,
    /// From the fault until latency was normal and stayed so.
    pub(crate) seconds: f64,
    /// The slowest request after the fault, in microseconds.
    pub(crate) worst_us: u64,
    /// Errors after the fault.
    pub(crate) errors: u64,
}

/// Reads a recovery off a timeline, by the intervals that are judged. `None` when there is nothing before the fault or no
/// recovery after it.
pub(crate) fn recovery(
    timeline: &[Interval],
    fault_unix_ms: u64,
    is_judged: impl Fn(&Interval) -> bool,
) -> Option<Recovery> {
    let is_after = |interval: &&Interval| interval.unix_ms > fault_unix_ms;
    let busy = timeline.iter().filter(|interval| interval.requests > 0);
    let errors = busy.clone().filter(is_after).map(|interval| interval.errors).sum();
    let worst_us = busy.clone().filter(is_after).map(|interval| interval.max).max()?;
    let (after, before): (Vec<&Interval>, Vec<&Interval>) =
        busy.filter(|interval| is_judged(interval)).partition(is_after);
    let mut ordinary: Vec<u64> = before.iter().map(|interval| interval.p99).collect();
    ordinary.sort_unstable();
    let bound =
        ordinary.get((ordinary.len() * ORDINARY_PERCENT / 100).min(ordinary.len().checked_sub(1)?))?;
    let normal_us = bound * NORMAL_FACTOR;
    let steady = |window: &&[&Interval]| {
        let outliers = window.iter().filter(|interval| interval.p99 > normal_us).count();
        window[0].p99 <= normal_us && outliers <= STEADY_OUTLIERS
    };
    let first = after.windows(STEADY).find(steady)?[0];
    Some(Recovery {
        normal_us,
        seconds: first.unix_ms.saturating_sub(fault_unix_ms) as f64 / 1000.0,
        worst_us,
        errors,
    })
}

#[cfg(test)]
mod tests {
    use super::recovery;
    use crate::replay::Interval;

    fn interval(number: u64, p99: u64) -> Interval {
        Interval {
            t: number as f64 / 10.0,
            unix_ms: number * 100,
            requests: 50,
            errors: 0,
            p99,
            max: p99 * 2,
        }
    }

    #[test]
    fn recovery_is_when_latency_is_normal_and_stays_so() {
        // Before 5 s: 1 ms. Then half a second of 40 ms, one normal interval, another second of 20 ms, normal again.
        let p99 = |number: u64| match number {
            51..=55 => 40_000,
            57..=66 => 20_000,
            _ => 1000,
        };
        let timeline: Vec<Interval> = (1..100).map(|number| interval(number, p99(number))).collect();
        let found = recovery(&timeline, 5000, |_| true).expect("recovers");
        assert_eq!((found.normal_us, found.seconds, found.worst_us), (2000, 1.7, 80_000));
        // The machine was starved in that other second: then nothing of it counts, but it is told.
        let found = recovery(&timeline, 5000, |interval| !(5700..=6600).contains(&interval.unix_ms));
        let found = found.expect("recovers");
        assert_eq!((found.normal_us, found.seconds, found.worst_us), (2000, 0.6, 80_000));
    }

    #[test]
    fn without_a_before_or_an_after_there_is_no_recovery() {
        let timeline: Vec<Interval> = (1..30).map(|number| interval(number, 1000)).collect();
        assert_eq!(recovery(&timeline, 50, |_| true), None);
        assert_eq!(recovery(&timeline, 2500, |_| true), None);
        assert_eq!(recovery(&timeline, 1000, |interval| interval.unix_ms > 1000), None);
    }
}
