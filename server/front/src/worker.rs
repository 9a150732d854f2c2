//! One worker thread: an event loop and the connections dealt to it.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::accept::Arrival;
use crate::config::FrontConfig;
use crate::hush::Hush;
use crate::pool::Pool;
use crate::relief::Relief;
use crate::secrets::Secrets;
use crate::service::Service;
use crate::slot::{Held, Slot};
use crate::stats::{Counters, WorkerCounters};
use crate::tls::HANDSHAKES_MAX;

/// How often a worker looks for connections that wait too long: the resolution of all stall limits.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Connections on their way from the acceptor to one worker: a burst that a worker takes in one go.
pub(crate) const ARRIVALS_MAX: usize = 1024;

/// What a front tells its threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Serve.
    Serve,
    /// Finish what is in hand and end.
    Drain,
    /// End now.
    Stop,
}

/// What the connections of a thread share.
pub(crate) struct Worker {
    pub(crate) config: Arc<FrontConfig>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) pool: Pool,
    /// Limits what is logged of peers in TLS.
    pub(crate) hush: Hush,
    /// Limits what is logged of passwords: those who knock at a TLS port must not hide who guesses.
    pub(crate) hush_passwords: Hush,
    /// Handshakes that may be under way.
    pub(crate) handshakes: Semaphore,
    index: usize,
    now: Cell<Duration>,
    draining: Cell<bool>,
    slots: RefCell<Vec<Weak<Slot>>>,
    live: Cell<usize>,
    ended: Notify,
    relief: Relief,
}

/// A connection that was let in; lets the next one in when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    counters: Arc<Counters>,
    worker: usize,
}

impl Permit {
    /// Lets a connection in, to the worker that has the fewest, if there are not too many.
    pub(crate) fn take(counters: &Arc<Counters>, turn: usize) -> Option<Self> {
        let add = |now: usize| (now < counters.connections_max).then_some(now + 1);
        counters.curr_connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        let workers = counters.workers.len();
        let load = |index: &usize| counters.workers[*index].connections.load(Ordering::Relaxed);
        let worker = (0..workers).map(|i| (turn + i) % workers).min_by_key(load).unwrap_or(0);
        counters.workers[worker].connections.fetch_add(1, Ordering::Relaxed);
        counters.total_connections.fetch_add(1, Ordering::Relaxed);
        Some(Self { counters: Arc::clone(counters), worker })
    }

    /// The worker it was dealt to.
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.counters.workers[self.worker].connections.fetch_sub(1, Ordering::Relaxed);
        self.counters.curr_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    pub(crate) fn new(
        config: Arc<FrontConfig>,
        counters: Arc<Counters>,
        secrets: Arc<Secrets>,
        index: usize,
    ) -> Rc<Self> {
        Rc::new(Self {
            config,
            counters,
            secrets,
            pool: Pool::default(),
            hush: Hush::default(),
            hush_passwords: Hush::default(),
            handshakes: Semaphore::new(HANDSHAKES_MAX),
            index,
            now: Cell::default(),
            draining: Cell::default(),
            slots: RefCell::default(),
            live: Cell::default(),
            ended: Notify::new(),
            relief: Relief::default(),
        })
    }

    /// This thread's counters.
    pub(crate) fn mine(&self) -> &WorkerCounters {
        &self.counters.workers[self.index]
    }

    /// Time since the worker's start, as of the last sweep.
    pub(crate) fn now(&self) -> Duration {
        self.now.get()
    }

    /// Connections are to end after what they have in hand.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Counts a batch.
    pub(crate) fn served(&self, requests: usize) {
        self.mine().batches.add(1);
        self.mine().requests.add(requests);
    }

    pub(crate) fn add_slot(&self, slot: &Rc<Slot>) {
        self.slots.borrow_mut().push(Rc::downgrade(slot));
    }

    /// What the connections do, in the order of their coming.
    #[cfg(test)]
    pub(crate) fn phases(&self) -> Vec<crate::slot::Phase> {
        self.slots.borrow().iter().filter_map(Weak::upgrade).map(|slot| slot.phase()).collect()
    }

    /// Closes whatever waits too long.
    pub(crate) fn sweep(&self, now: Duration) {
        self.now.set(now);
        self.slots.borrow_mut().retain(|slot| slot.upgrade().inspect(|slot| slot.sweep(now)).is_some());
        self.relief.help(self);
    }

    /// Makes room in a budget that has none for `bytes`: closes the connections that have held on for longest. False
    /// when none has for long.
    pub(crate) fn relieve(&self, held: Held, bytes: usize) -> bool {
        self.relief.relieve(self, held, bytes)
    }

    /// Connections that hold memory of a kind, each with since when and how much.
    pub(crate) fn holders(&self, held: Held) -> Vec<(Duration, usize, Rc<Slot>)> {
        let slots = self.slots.borrow();
        let live = slots.iter().filter_map(Weak::upgrade);
        live.filter_map(|slot| slot.holds(held).map(|(since, bytes)| (since, bytes, slot))).collect()
    }

    /// Lets every connection finish what it has in hand.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        for slot in self.slots.borrow().iter().filter_map(Weak::upgrade) {
            slot.wake();
        }
    }

    /// A connection is there.
    pub(crate) fn came(&self) {
        self.live.set(self.live.get() + 1);
    }

    /// A connection is no more.
    pub(crate) fn left(&self) {
        self.live.set(self.live.get() - 1);
        self.ended.notify_one();
    }

    /// Runs the worker until it is told to end.
    pub(crate) async fn run<S: Service>(
        self: Rc<Self>,
        service: S,
        mut arrivals: mpsc::Receiver<Arrival>,
        mut orders: watch::Receiver<Order>,
    ) {
        let service = Rc::new(service);
        let started = Instant::now();
        let mut sweeps = interval(SWEEP_EVERY);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !(self.is_draining() && self.live.get() == 0) {
            tokio::select! {
                Some(arrival) = arrivals.recv() => self.admit(arrival, &service),
                _ = sweeps.tick() => self.sweep(started.elapsed()),
                () = self.ended.notified() => {}
                order = orders.changed() => {
                    let order = order.map_or(Order::Stop, |()| *orders.borrow_and_update());
                    match order {
                        Order::Serve => {}
                        Order::Drain => self.drain(),
                        Order::Stop => return,
                    }
                }
            }
        }
    }
}
