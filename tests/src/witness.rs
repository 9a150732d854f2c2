//! Whether the machine was starved: then it says little how long requests took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::{ms, now_ns, ns};
use crate::wait::pause;

/// Between two looks at the clock.
const STEP: Duration = Duration::from_millis(1);
/// A thread that wakes so much late did not get a core: others of this machine were waiting, too.
pub const LATE_MIN: Duration = Duration::from_millis(5);

/// One thread cannot be late whenever some process of a dozen is: what happened so close to its lateness is not judged.
const AROUND: Duration = Duration::from_millis(50);
/// So many times in a minute, and the machine had other work to do.
const OFTEN: u64 = 10;
/// A shorter run counts as one of this.
const MINUTE: Duration = Duration::from_secs(60);

/// A thread that does nothing but wake up, and notes when it was late.
#[derive(Debug)]
pub struct Witness {
    begun: u64,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(u64, u64)>>,
}

/// When the machine was starved, in order.
#[derive(Debug, Default)]
pub struct Starved {
    spans: Vec<(u64, u64)>,
    /// How long was looked.
    watched: u64,
}

impl Witness {
    /// Begins to look.
    #[must_use]
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || watch(&seen));
        Self { begun: now_ns(), stop, thread }
    }

    /// Ends it.
    #[must_use]
    pub fn finish(self) -> Starved {
        self.stop.store(true, Ordering::Relaxed);
        let spans = self.thread.join().unwrap_or_default();
        Starved { spans, watched: now_ns() - self.begun }
    }
}

fn watch(stop: &AtomicBool) -> Vec<(u64, u64)> {
    let mut spans = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let before = now_ns();
        pause(STEP);
        let due = before + ns(STEP);
        let now = now_ns();
        if now.saturating_sub(due) >= ns(LATE_MIN) {
            spans.push((due, now));
        }
    }
    spans
}

impl Starved {
    /// Whether it was at any time between, or just before or after.
    #[must_use]
    pub fn within(&self, from: u64, to: u64) -> bool {
        let (from, to) = (from.saturating_sub(ns(AROUND)), to + ns(AROUND));
        let next = self.spans.partition_point(|(_, end)| *end < from);
        self.spans.get(next).is_some_and(|(start, _)| *start <= to)
    }

    /// Whether it was so between, or just before or after, or so before that somebody who needs `catch_up` times as long to make
    /// up for it had not caught up yet.
    #[must_use]
    pub fn held_up(&self, from: u64, to: u64, catch_up: u64) -> bool {
        let meets = |&(start, end): &(u64, u64)| {
            start <= to + ns(AROUND) && from <= end + ns(AROUND) + (end - start) * catch_up
        };
        self.spans.iter().any(meets)
    }

    /// Each time.
    #[must_use]
    pub fn spans(&self) -> &[(u64, u64)] {
        &self.spans
    }

    /// As several saw it.
    #[must_use]
    pub fn seen_by(mut spans: Vec<(u64, u64)>) -> Self {
        spans.sort_unstable();
        spans.dedup_by(|next, last| {
            let meets = next.0 <= last.1;
            if meets {
                last.1 = last.1.max(next.1);
            }
            meets
        });
        Self { spans, watched: 0 }
    }

    /// For how long it was between.
    #[must_use]
    pub fn lost_between(&self, from: u64, to: u64) -> u64 {
        let lost = |(start, end): &(u64, u64)| (*end).min(to).saturating_sub((*start).max(from));
        self.spans.iter().map(lost).sum()
    }

    /// Whether it was again and again.
    #[must_use]
    pub fn is_often(&self) -> bool {
        let minutes = self.watched.div_ceil(ns(MINUTE)).max(1);
        self.spans.len() as u64 >= OFTEN * minutes
    }

    /// For the line of figures.
    #[must_use]
    pub fn told(&self) -> String {
        let longest = self.spans.iter().map(|(start, end)| end - start).max().unwrap_or(0);
        format!("machine starved {} times, up to {:.0} ms", self.spans.len(), ms(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::{MINUTE, Starved, ns};

    #[test]
    fn few_times_in_many_minutes_are_not_often() {
        let spans: Vec<(u64, u64)> = (0..10).map(|at| (at * 10, at * 10 + 5)).collect();
        let often = |watched| Starved { spans: spans.clone(), watched }.is_often();
        assert!(often(0) && often(ns(MINUTE)));
        assert!(!often(ns(MINUTE) + 1));
    }

    #[test]
    fn time_that_several_saw_lost_counts_once() {
        let starved = Starved::seen_by(vec![(50, 60), (10, 20), (15, 30)]);
        assert_eq!(starved.spans(), [(10, 30), (50, 60)]);
        assert_eq!(starved.lost_between(0, 100), 30);
        assert_eq!(starved.lost_between(25, 55), 10);
        assert_eq!(starved.lost_between(31, 49), 0);
    }
}
