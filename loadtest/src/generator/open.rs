//! The open loop: requests go out when they are due, whether or not earlier ones were answered, and each is timed
//! from the instant it was due.
//!
//! The loop never sleeps: between two requests it looks for answers without waiting, so that what it measures is the
//! server and not the time its own thread takes to wake up.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll};

use super::lane::{Answers, Asked, Lane};
use super::{EVENTS_MAX, Fault, GeneratorError, connect, failure, read_buffer};
use crate::interrupt;
use crate::pacing::Arrivals;
use crate::replay::LATE;
use crate::traffic::{Faults, Traffic};

/// Longest latency told apart, in nanoseconds: past any server that is still of use.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Digits kept of a latency: a thousandth is below what windows differ by.
const LATENCY_DIGITS: u8 = 3;
/// How long answers may take after the last request: then they are lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Connections to one server, on each of which any number of requests may be on their way.
pub(crate) struct Lanes {
    address: SocketAddr,
    poll: Poll,
    events: Events,
    lanes: Vec<Lane>,
    buffer: Box<[u8]>,
}

/// How fast and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) per_second: f64,
    /// At the start, sent but not recorded.
    pub(crate) warm_up: Duration,
    /// Recorded.
    pub(crate) window: Duration,
    /// Of arrivals and keys.
    pub(crate) seed: u64,
}

/// What was measured. Histograms are in nanoseconds.
#[derive(Debug)]
pub(crate) struct Timing {
    /// From due to answered.
    pub(crate) latency: Histogram<u64>,
    /// From due to sent: the generator's own part.
    pub(crate) lateness: Histogram<u64>,
    /// Sent more than a millisecond after they were due.
    pub(crate) late: u64,
    /// Not sent, because too many were on their way on the connection.
    pub(crate) dropped: u64,
    pub(crate) checked: u64,
    pub(crate) wrong: u64,
}

impl Lanes {
    /// Opens `count` connections.
    ///
    /// # Errors
    /// [`GeneratorError::Connect`].
    pub(crate) fn connect(address: SocketAddr, count: usize) -> Result<Lanes, GeneratorError> {
        let (poll, streams) = connect(address, count)?;
        Ok(Lanes {
            address,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            lanes: streams.into_iter().map(Lane::new).collect(),
            buffer: read_buffer(),
        })
    }

    /// Sends `get`s as they fall due, and waits for all answers before it returns.
    ///
    /// # Errors
    /// When a connection breaks, an answer is no hit of its key, does not come, or on Ctrl-C.
    pub(crate) fn open_loop(&mut self, traffic: &Traffic, pace: &Pace) -> Result<Timing, GeneratorError> {
        let Lanes { address, poll, events, lanes, buffer } = self;
        let failed = |fault| failure(*address, traffic, fault);
        let mut run = OpenLoop::new(lanes, traffic, pace, Instant::now());
        while run.is_under_way() {
            run.send_due().map_err(failed)?;
            match poll.poll(events, Some(Duration::ZERO)) {
                Err(source) if source.kind() != std::io::ErrorKind::Interrupted => {
                    return Err(GeneratorError::Io { address: *address, source });
                }
                _ if interrupt::requested() => return Err(GeneratorError::Interrupted),
                _ => {}
            }
            for event in events.iter() {
                run.serve(event.token().0, buffer).map_err(failed)?;
                run.send_due().map_err(failed)?;
            }
            run.check_lost(Instant::now()).map_err(failed)?;
        }
        Ok(run.recorder.timing)
    }
}

/// One run over the lanes.
struct OpenLoop<'a> {
    lanes: &'a mut [Lane],
    traffic: &'a Traffic,
    arrivals: Arrivals,
    started: Instant,
    measured_from: Instant,
    end: Instant,
    /// When the next request is due.
    due: Instant,
    number: u64,
    recorder: Recorder,
}

/// Takes the answers.
struct Recorder {
    waiting: u64,
    timing: Timing,
}

impl<'a> OpenLoop<'a> {
    fn new(lanes: &'a mut [Lane], traffic: &'a Traffic, pace: &Pace, now: Instant) -> OpenLoop<'a> {
        let mut arrivals = Arrivals::new(pace.seed, pace.per_second);
        let measured_from = now + pace.warm_up;
        OpenLoop {
            lanes,
            traffic,
            started: now,
            measured_from,
            end: measured_from + pace.window,
            due: now + arrivals.next(),
            arrivals,
            number: 0,
            recorder: Recorder { waiting: 0, timing: Timing::new() },
        }
    }

    fn is_under_way(&self) -> bool {
        self.due < self.end || self.recorder.waiting > 0
    }

    /// Sends what is due by now, one after the other.
    fn send_due(&mut self) -> Result<(), Fault> {
        loop {
            let now = Instant::now();
            if self.due > now || self.due >= self.end {
                return Ok(());
            }
            self.send(now)?;
            self.number += 1;
            self.due = self.started + self.arrivals.next();
        }
    }

    fn send(&mut self, now: Instant) -> Result<(), Fault> {
        let lane = (self.number % self.lanes.len() as u64) as usize;
        let measured = self.due >= self.measured_from;
        if self.lanes[lane].is_full() {
            self.recorder.timing.dropped += u64::from(measured);
            return Ok(());
        }
        if measured {
            let lateness = now - self.due;
            record(&mut self.recorder.timing.lateness, lateness);
            self.recorder.timing.late += u64::from(lateness > LATE);
        }
        let index = self.traffic.index_of(self.number);
        self.recorder.waiting += 1;
        let asked = Asked { due: measured.then_some(self.due), number: self.number, index };
        self.lanes[lane].ask(self.traffic.items(), asked)
    }

    fn serve(&mut self, lane: usize, buffer: &mut [u8]) -> Result<(), Fault> {
        self.lanes[lane].advance(self.traffic.items(), buffer, &mut self.recorder)
    }

    /// Fails when answers are overdue.
    fn check_lost(&self, now: Instant) -> Result<(), Fault> {
        if now < self.end + ANSWER_LIMIT {
            return Ok(());
        }
        let overdue = self.lanes.iter().find_map(|lane| lane.overdue(self.traffic.items()));
        overdue.map_or(Ok(()), Err)
    }
}

impl Answers for Recorder {
    fn take(&mut self, asked: &Asked, faults: Option<Faults>) {
        self.waiting -= 1;
        if let Some(due) = asked.due {
            record(&mut self.timing.latency, due.elapsed());
        }
        if let Some(faults) = faults {
            self.timing.checked += 1;
            self.timing.wrong += faults.wrong + faults.misses;
        }
    }
}

impl Timing {
    fn new() -> Timing {
        let histogram = || {
            Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS).expect("the bounds are in order")
        };
        Timing { latency: histogram(), lateness: histogram(), late: 0, dropped: 0, checked: 0, wrong: 0 }
    }
}

fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    histogram.saturating_record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1));
}
