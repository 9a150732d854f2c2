//! The closed loop: whoever is answered asks again.

use std::time::Instant;

use super::connection::{Answered, Connection};
use super::{Counts, Fault, Plan, Until};
use crate::traffic::Traffic;

/// One run over a pool's connections.
pub(super) struct ClosedLoop<'a> {
    connections: &'a mut [Connection],
    buffer: &'a mut [u8],
    traffic: &'a Traffic,
    plan: Plan,
    started: Instant,
    /// Batches begun.
    begun: u64,
    waiting: usize,
    /// The connection whose turn is next.
    cursor: usize,
    stopping: bool,
    counts: Counts,
}

impl<'a> ClosedLoop<'a> {
    pub(super) fn new(
        connections: &'a mut [Connection],
        buffer: &'a mut [u8],
        traffic: &'a Traffic,
        plan: &Plan,
    ) -> ClosedLoop<'a> {
        let active = plan.active.min(connections.len());
        ClosedLoop {
            connections: &mut connections[..active],
            buffer,
            traffic,
            plan: *plan,
            started: Instant::now(),
            begun: 0,
            waiting: 0,
            cursor: 0,
            stopping: false,
            counts: Counts::default(),
        }
    }

    /// Sends the first batches.
    pub(super) fn start(&mut self) -> Result<(), Fault> {
        for _ in 0..self.plan.in_flight.min(self.connections.len()) {
            self.begin()?;
        }
        Ok(())
    }

    /// Whether answers are to come.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Takes notice of the time.
    pub(super) fn look_at(&mut self, now: Instant) {
        if let Until::Elapsed(duration) = self.plan.until {
            self.stopping = now - self.started >= duration;
        }
    }

    /// Goes on with a connection on which something happened.
    pub(super) fn serve(&mut self, number: usize) -> Result<(), Fault> {
        // An idle connection outside this run: its end will be seen when its turn comes.
        let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
        let Some(answered) = connection.advance(self.traffic, self.buffer)? else { return Ok(()) };
        self.waiting -= 1;
        self.count(&answered);
        self.begin()
    }

    /// The first connection whose answer did not come.
    pub(super) fn stalled(&self) -> Fault {
        let stalled = self.connections.iter().find(|connection| connection.is_busy());
        stalled.expect("something is waited for").stalled()
    }

    pub(super) fn finish(self, now: Instant) -> Counts {
        Counts { elapsed: now - self.started, ..self.counts }
    }

    fn count(&mut self, answered: &Answered) {
        let Answered { batch, checked } = answered;
        self.counts.batches += 1;
        self.counts.gets += batch.gets;
        self.counts.sets += batch.sets;
        if let Some(faults) = checked {
            self.counts.checked += batch.gets + batch.sets;
            self.counts.wrong += faults.wrong + faults.misses;
        }
    }

    /// Sends the next batch on the next idle connection, unless it is time to stop.
    fn begin(&mut self) -> Result<(), Fault> {
        let over = matches!(self.plan.until, Until::Batches(count) if self.begun >= count);
        if over || self.stopping {
            return Ok(());
        }
        // One is idle, since fewer are waited for than there are.
        while self.connections[self.cursor].is_busy() {
            self.cursor = (self.cursor + 1) % self.connections.len();
        }
        self.connections[self.cursor].begin(self.traffic, self.plan.first + self.begun)?;
        self.cursor = (self.cursor + 1) % self.connections.len();
        self.begun += 1;
        self.waiting += 1;
        Ok(())
    }
}
