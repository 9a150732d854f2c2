//! How many requests may be under way at one node.

use std::time::Duration;

use tokio::time::Instant;

/// Where a limit starts: more than a client with a fast node ever has in flight, so that a start is not throttled, and
/// cut within a second where it is too much.
const LIMIT_START: f64 = 256.0;

/// Below it a node is as good as shut out, which is the breaker's to decide; and it takes a few to see that it is fast
/// again.
const LIMIT_MIN: f64 = 8.0;

/// As many as a connection has places for: from there on its own queue is the limit.
const LIMIT_MAX: f64 = 4096.0;

/// A window: long beside a round trip, short beside what a caller notices.
const WINDOW: Duration = Duration::from_millis(100);

/// Fewer round trips have no mean worth a decision; the window then goes on ...
const WINDOW_SAMPLES_MIN: u32 = 50;

/// ... up to this, and is thrown away: its round trips are old.
const WINDOW_MAX: Duration = Duration::from_secs(2);

/// So much longer than usual may a window's mean be before the limit is cut.
const TOLERANCE: f64 = 1.5;

/// The most that one window counts for: a pause of the node shows in one window, an overload in all.
const GRADIENT_MIN: f64 = 0.5;

/// The share of a cut that takes effect at once: ten times too large a limit is right after some ten windows.
const SMOOTHING: f64 = 0.5;

/// No round trip is shorter, and none is divided by zero.
const USUAL_MIN: Duration = Duration::from_micros(1);

/// The usual round trip rises by this share of the difference for each window: over ten seconds, so that an overload is
/// cut long before it counts as usual.
const RISE: f64 = 1.0 / 128.0;

/// It falls faster: a mean below it shows what the node can do.
const FALL: f64 = 1.0 / 8.0;

/// What differs between kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pace {
    /// Means up to this are fast, and differences among them are noise of schedulers and batches.
    fast: Duration,
    /// Means are never usual above this, however long they last: a queue that stays is an overload all the same.
    usual_max: Duration,
}

impl Pace {
    /// Answers from memory. A quarter of the attempt's timeout is no place to be: one reply in some would miss it.
    pub(crate) fn memory(attempt_timeout: Duration) -> Self {
        let usual_max = (attempt_timeout / 4).max(USUAL_MIN);
        Self { fast: Duration::from_millis(1).min(usual_max), usual_max }
    }

    /// Answers that take their time: large values and batches, a tier on disk, a backing store.
    pub(crate) fn slow(timeout: Duration) -> Self {
        let usual_max = (timeout / 2).max(USUAL_MIN);
        Self { fast: Duration::from_millis(10).min(usual_max), usual_max }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was answered, or given up, after this long.
    After(Duration),
    /// It says nothing of the node: it was never sent, its caller went away, or this process was held up meanwhile.
    Unknown,
}

/// The limit of one kind of requests at one node. Pure. After Gradient2 of Netflix's concurrency-limits, whose
/// defaults are made for calls of many milliseconds.
///
/// ```text
///             admit                    on_end
///  waiting ----------> in flight, < limit ----------> window of 100 ms, >= 50 round trips
///                                                          |
///                    mean <= 1.5 x usual                   v    mean > 1.5 x usual
///        limit + sqrt(limit), if half was used  <----- decide -----> limit x (1.5 x usual / mean), halfway
/// ```
///
/// What is usual is an average of the means that rises slowly and falls fast, between the two bounds of its [`Pace`].
/// The lower one keeps noise below a millisecond out. The upper one is what Gradient2 lacks: without it an overload
/// that lasts becomes usual, and the limit drifts up for ever. A window in which less than half of the limit was used
/// changes nothing: neither is the limit known to be good, nor is this client the cause of the queue.
///
/// Two kinds of answers in one mean would make the share of the slower one look like a queue: give each its own.
#[derive(Debug, Clone)]
pub(crate) struct ConcurrencyLimit {
    pace: Pace,
    limit: f64,
    in_flight: u32,
    /// The mean that is usual; `None` before the first window.
    usual: Option<Duration>,
    window: Option<Window>,
}

/// Round trips that ended lately.
#[derive(Debug, Clone)]
struct Window {
    started: Instant,
    sum: Duration,
    samples: u32,
    /// The most requests in flight at once.
    peak: u32,
}

impl ConcurrencyLimit {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, limit: LIMIT_START, in_flight: 0, usual: None, window: None }
    }

    /// The limit now: at least 8, at most 4096.
    pub(crate) fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// Requests under way.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Whether one more request may be sent; if so, [`on_end`](Self::on_end) must follow once. A refusal is a reason to
    /// ask elsewhere or to wait, and nothing against the node.
    pub(crate) fn admit(&mut self) -> bool {
        if self.in_flight >= self.limit() {
            return false;
        }
        self.in_flight += 1;
        if let Some(window) = &mut self.window {
            window.peak = window.peak.max(self.in_flight);
        }
        true
    }

    /// A request that was admitted ended at `now`.
    pub(crate) fn on_end(&mut self, now: Instant, ended: Ended) {
        let in_flight = self.in_flight;
        self.in_flight = in_flight.saturating_sub(1);
        let Ended::After(took) = ended else { return };
        let window = self.window.get_or_insert_with(|| Window::new(now, in_flight));
        window.sum += took;
        window.samples += 1;
        let age = now.saturating_duration_since(window.started);
        if age >= WINDOW && window.samples >= WINDOW_SAMPLES_MIN {
            let (mean, peak) = (window.sum / window.samples, window.peak);
            self.window = None;
            self.decide(mean, peak);
        } else if age >= WINDOW_MAX {
            self.window = None;
        }
    }

    /// This process did not run for a while: what ended lately took longer than the node did.
    pub(crate) fn on_held_up(&mut self) {
        self.window = None;
    }

    fn decide(&mut self, mean: Duration, peak: u32) {
        let mean = mean.max(self.pace.fast);
        let usual = self.learn(mean.min(self.pace.usual_max));
        if f64::from(peak) < self.limit / 2.0 {
            return;
        }
        let gradient = TOLERANCE * usual.as_secs_f64() / mean.as_secs_f64();
        let limit = if gradient >= 1.0 {
            self.limit + self.limit.sqrt()
        } else {
            let wanted = self.limit * gradient.max(GRADIENT_MIN);
            self.limit + (wanted - self.limit) * SMOOTHING
        };
        self.limit = limit.clamp(LIMIT_MIN, LIMIT_MAX);
    }

    /// What was usual before this window; moves it towards its mean. Of the first window nothing else is known.
    fn learn(&mut self, mean: Duration) -> Duration {
        let before = self.usual.unwrap_or(mean);
        let after = if mean > before {
            before + (mean - before).mul_f64(RISE)
        } else {
            before - (before - mean).mul_f64(FALL)
        };
        self.usual = Some(after);
        before
    }
}

impl Window {
    fn new(started: Instant, in_flight: u32) -> Self {
        Self { started, sum: Duration::ZERO, samples: 0, peak: in_flight }
    }
}

#[cfg(test)]
mod tests;
