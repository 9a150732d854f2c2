//! What came of a load, and what is judged of it.

use std::time::Duration;

use evanesce_tests::Verdict;
use evanesce_tests::clock::{ms, ns};
use evanesce_tests::witness::{LATE_MIN, Starved};

/// Over so long a hit ratio, and a percentile, is taken.
const WINDOW: Duration = Duration::from_secs(1);
/// Fewer requests in a window tell nothing.
const WINDOW_MIN: usize = 100;
/// Below this share of requests that no hiccup of the machine touched, nothing is said of latency.
const JUDGED_SHARE_MIN: f64 = 0.5;
/// Of so many requests one may fail in a hiccup that nobody saw, on a machine that has many.
const UNSEEN_SHARE: usize = 500;
/// Where the timer's own step and a busy machine's hiccups lie: what is below is as good as quiet.
const QUIET_MIN: Duration = Duration::from_millis(5);

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Hit,
    Miss,
    Written,
    Failed,
    Wrong,
    /// There were too many under way.
    Unsent,
}

/// One request, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) due: u64,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) outcome: Outcome,
}

/// From when to when.
pub(crate) type Span = (u64, u64);

/// What may fail of a load. By default nothing.
#[derive(Debug, Default)]
pub(crate) struct Borne {
    /// When something is ill, as expected ...
    pub(crate) ill: Span,
    /// ... and such a share of what is due then may fail.
    pub(crate) share: f64,
    /// A load that leaves little of the machine takes so many times as long to catch up as it stood still.
    pub(crate) catch_up: u64,
}

/// All that came of a load, in the order in which it was due.
pub(crate) struct Taken {
    samples: Vec<Sample>,
}

impl Taken {
    pub(crate) fn new(mut samples: Vec<Sample>) -> Self {
        samples.sort_by_key(|sample| sample.due);
        Self { samples }
    }

    /// The lowest hit ratio of a second, in percent.
    pub(crate) fn hits_min_percent(&self, span: Span) -> f64 {
        self.windows(span).filter_map(hits_percent).fold(100.0, f64::min)
    }

    /// How many seconds have a hit ratio below so many percent, and when the first of them and the last.
    pub(crate) fn seconds_below(&self, span: Span, percent: f64) -> String {
        let seconds = self.windows(span).enumerate();
        let is_low = |window: &[Sample]| hits_percent(window).is_some_and(|hits| hits < percent);
        let low: Vec<usize> =
            seconds.filter(|(_, window)| is_low(window)).map(|(number, _)| number).collect();
        match (low.first(), low.last()) {
            (Some(first), Some(last)) => {
                format!("below {percent:.1} % in {} seconds, from {first} to {last}", low.len())
            }
            _ => format!("below {percent:.1} % in none"),
        }
    }

    /// The 99th percentile of what no hiccup of the machine touched; none when that is too little.
    pub(crate) fn p99(&self, span: Span, starved: &Starved) -> Option<u64> {
        p99(self.between(span), starved)
    }

    /// The median of the 99th percentiles of each second.
    pub(crate) fn p99_of_windows(&self, spans: &[Span], starved: &Starved) -> Option<u64> {
        let windows = spans.iter().flat_map(|span| self.windows(*span));
        let mut all: Vec<u64> = windows
            .filter(|window| window.len() >= WINDOW_MIN)
            .filter_map(|window| p99(window, starved))
            .collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied()
    }

    fn between(&self, (from, to): Span) -> &[Sample] {
        let at = |due: u64| self.samples.partition_point(|sample| sample.due < due);
        &self.samples[at(from)..at(to).max(at(from))]
    }

    fn windows(&self, (from, to): Span) -> impl Iterator<Item = &[Sample]> {
        let begins = (from..to).step_by(ns(WINDOW) as usize);
        begins.map(move |begin| self.between((begin, to.min(begin + ns(WINDOW)))))
    }

    /// Nothing failed, or could not be sent, but what may and what the machine held up; and nothing was wrong.
    pub(crate) fn judge_outcomes(&self, verdict: &mut Verdict, borne: &Borne, starved: &Starved) {
        let begun = self.samples.first().map_or(0, |sample| sample.due);
        let of = |outcome| self.samples.iter().filter(move |sample| sample.outcome == outcome);
        let is_held_up = |sample: &&Sample| starved.held_up(sample.due, sample.ended, borne.catch_up);
        let (held_up, failed): (Vec<_>, Vec<_>) = of(Outcome::Failed).partition(is_held_up);
        let wrong = of(Outcome::Wrong).count();
        verdict.figure(format!(
            "{} requests: {} failed, {} more while the machine was starved, {wrong} wrong, {} not sent in time",
            self.samples.len(),
            failed.len(),
            held_up.len(),
            of(Outcome::Unsent).count()
        ));
        let told = |sample: &&Sample| {
            let (at, took) = (ms(sample.due - begun) / 1e3, ms(sample.ended - sample.due));
            format!("after {at:.2} s, for {took:.0} ms")
        };
        let unsent = of(Outcome::Unsent).filter(|sample| !is_held_up(sample));
        let is_ill = |sample: &&Sample| sample.ended >= borne.ill.0 && sample.due < borne.ill.1;
        let (ill, well): (Vec<_>, Vec<_>) = failed.into_iter().chain(unsent).partition(is_ill);
        if well.len() > unseen_max(self.samples.len(), starved) {
            verdict.none("requests failed", &well.iter().map(told).collect::<Vec<_>>());
        }
        let due = self.between(borne.ill).len();
        let most = ((due as f64 * borne.share) as usize).max(unseen_max(due, starved));
        verdict.must(ill.len() <= most, format!("{} requests failed where {most} may", ill.len()));
        verdict.must(wrong == 0, format!("{wrong} values were wrong"));
    }

    /// The hit ratio of no second is lower by more than so many points.
    pub(crate) fn judge_hits(&self, verdict: &mut Verdict, quiet: Span, busy: Span, points: f64) {
        let (before, lowest) = (self.hits_min_percent(quiet), self.hits_min_percent(busy));
        verdict.figure(format!("hits {before:.2} % before, {lowest:.2} % in the worst second"));
        verdict.must(
            before - lowest <= points,
            format!("the hit ratio fell from {before:.2} % to {lowest:.2} %, by at most {points} points"),
        );
    }

    /// The p99 is so many times the quiet one at most, by the median of the seconds of each. In the `short` form, on
    /// machines where other work goes on, what is below some milliseconds is quiet.
    pub(crate) fn judge_p99(
        &self,
        verdict: &mut Verdict,
        (quiet, busy): (&[Span], &[Span]),
        (times, short): (f64, bool),
        starved: &Starved,
    ) {
        let of = |spans| self.p99_of_windows(spans, starved);
        let whole = |spans: &[Span]| spans.iter().filter_map(|span| self.p99(*span, starved)).max();
        verdict.figure(format!(
            "p99 of a second {} quiet, {} meanwhile (median); of all {} and {}",
            told(of(quiet)),
            told(of(busy)),
            told(whole(quiet)),
            told(whole(busy))
        ));
        verdict.figure(starved.told());
        let (Some(before), Some(meanwhile)) = (of(quiet), of(busy)) else {
            verdict.figure("p99 is not judged: the machine was starved");
            return;
        };
        let least = if short { ns(QUIET_MIN) } else { 0 };
        let most = ((before as f64 * times) as u64).max(least);
        verdict.must(meanwhile <= most, format!("p99 {:.2} ms, at most {:.2} ms", ms(meanwhile), ms(most)));
    }
}

/// How many of so many requests may fail: none, but where this machine was starved again and again. It is not always seen that
/// a process was held up, and a read ends after fifty milliseconds.
pub(crate) fn unseen_max(requests: usize, starved: &Starved) -> usize {
    if starved.is_often() { requests / UNSEEN_SHARE } else { 0 }
}

/// None where there were too few reads to tell.
fn hits_percent(window: &[Sample]) -> Option<f64> {
    let of = |outcome| window.iter().filter(|sample| sample.outcome == outcome).count();
    let (hits, misses) = (of(Outcome::Hit), of(Outcome::Miss));
    (hits + misses >= WINDOW_MIN).then(|| 100.0 * hits as f64 / (hits + misses) as f64)
}

fn p99(samples: &[Sample], starved: &Starved) -> Option<u64> {
    let undisturbed = samples.iter().filter(|sample| {
        let is_in_time = sample.outcome != Outcome::Unsent && sample.begun - sample.due < ns(LATE_MIN);
        is_in_time && !starved.within(sample.due, sample.ended)
    });
    let mut took: Vec<u64> = undisturbed.map(|sample| sample.ended - sample.due).collect();
    if (took.len() as f64) < samples.len() as f64 * JUDGED_SHARE_MIN {
        return None;
    }
    took.sort_unstable();
    took.get(took.len() * 99 / 100).copied()
}

/// For the line of figures.
pub(crate) fn told(p99: Option<u64>) -> String {
    p99.map_or_else(|| "starved".to_owned(), |p99| format!("{:.2} ms", ms(p99)))
}

#[cfg(test)]
mod tests {
    use evanesce_tests::Verdict;
    use evanesce_tests::witness::Starved;

    use super::{Borne, Outcome, Sample, Taken};

    const SECOND: u64 = 1_000_000_000;

    /// A thousand requests a second, of which those of one second miss and are slow.
    fn taken(slow: u64) -> Taken {
        let of = |number: u64| {
            let (due, is_slow) = (number * SECOND / 1_000, number / 1_000 == slow);
            let (took, outcome) =
                if is_slow { (3_000_000, Outcome::Miss) } else { (1_000_000, Outcome::Hit) };
            Sample { due, begun: due, ended: due + took, outcome }
        };
        Taken::new((0..10_000).map(of).collect())
    }

    #[test]
    fn one_bad_second_is_the_lowest_hit_ratio_and_not_the_usual_p99() {
        let (taken, starved) = (taken(4), Starved::default());
        assert!(taken.hits_min_percent((0, 10 * SECOND)).abs() < 1e-9);
        assert!((taken.hits_min_percent((5 * SECOND, 10 * SECOND)) - 100.0).abs() < 1e-9);
        assert_eq!(
            taken.seconds_below((2 * SECOND, 10 * SECOND), 99.5),
            "below 99.5 % in 1 seconds, from 2 to 2"
        );
        assert_eq!(taken.seconds_below((5 * SECOND, 10 * SECOND), 99.5), "below 99.5 % in none");
        assert_eq!(taken.p99_of_windows(&[(0, 10 * SECOND)], &starved), Some(1_000_000));
        assert_eq!(taken.p99((0, 10 * SECOND), &starved), Some(3_000_000));
    }

    #[test]
    fn what_fails_is_borne_where_something_is_ill_or_held_up_alone() {
        let of = |failed: std::ops::Range<u64>| {
            let of = |number: u64| {
                let due = number * SECOND / 1_000;
                let outcome = if failed.contains(&number) { Outcome::Failed } else { Outcome::Hit };
                Sample { due, begun: due, ended: due + 1_000_000, outcome }
            };
            Taken::new((0..10_000).map(of).collect())
        };
        let starved = Starved::seen_by(vec![(8 * SECOND, 8 * SECOND + 20_000_000)]);
        let borne = Borne { ill: (4 * SECOND, 5 * SECOND), share: 0.01, catch_up: 10 };
        let passes = |failed, borne: &Borne| {
            let mut verdict = Verdict::default();
            of(failed).judge_outcomes(&mut verdict, borne, &starved);
            verdict.passed()
        };
        assert!(passes(4_000..4_010, &borne));
        assert!(!passes(4_000..4_011, &borne));
        assert!(!passes(4_000..4_001, &Borne::default()));
        assert!(!passes(5_000..5_001, &borne));
        // It was under way when the illness began.
        assert!(passes(3_999..4_000, &borne) && !passes(3_998..3_999, &borne));
        assert!(passes(8_010..8_260, &borne));
        assert!(!passes(8_010..8_260, &Borne::default()));
        assert!(!passes(8_010..8_300, &borne));
    }

    #[test]
    fn latency_is_not_told_where_the_machine_was_starved() {
        let starved = Starved::seen_by(vec![(4 * SECOND, 5 * SECOND)]);
        assert_eq!(taken(4).p99((4 * SECOND, 5 * SECOND), &starved), None);
        assert_eq!(taken(4).p99((0, 10 * SECOND), &starved), Some(1_000_000));
    }
}
