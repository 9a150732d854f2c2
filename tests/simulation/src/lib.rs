//! Clients, nodes and discoveries on one simulated network and clock. A run is its seed: what one seed shows, it shows
//! again.
//!
//! # Goals
//!
//! - The real client over its real transport; the real service and store of a node; the real discovery and membership
//!   over gRPC. Only sockets, clocks, chance and threads are the simulation's.
//! - Latency, loss, partitions one way and both, messages held back, crashes of nodes, discoveries and clients, wrong clocks:
//!   drawn from the seed, and printed as values before anything happens.
//! - What must hold is looked at every few milliseconds, and once more when all is healed and quiet.
//!
//! # Non-goals
//!
//! - The node's front (limits, TLS, passwords) and its threads: `tests/chaos` and the front's own tests have those.
//! - Speed: messages take whole milliseconds, two at least.
//!
//! ```text
//!  seed ──> Plan: clocks, faults
//!             │
//!  turmoil: clients ──memcached──> nodes ──gRPC──> discoveries <──gRPC── clients
//!             │                      │
//!          History <── events ── Checker: every 10 ms, and at the end
//! ```
//!
//! # Example
//!
//! ```no_run
//! let run = evanesce_simulation::run(1);
//! assert!(run.violations.is_empty(), "{run}");
//! ```

mod check;
mod end;
mod history;
mod hosts;
mod network;
mod panics;
pub mod plan;
mod work;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use rand::SeedableRng;
use rand::rngs::StdRng;
use turmoil::{Builder, Sim};

use crate::check::Checker;
use crate::end::Conclusion;
use crate::network::Network;
use crate::plan::{CLIENT_ZONES, HEALED_MS, Host, Plan, STEP_MS};
use crate::world::{BEGIN_UNIX_MS, World};

/// What each step of the simulation lasts: messages come between steps, timers within them. Half as long a step would
/// cost twice as much.
const STEP: Duration = Duration::from_millis(STEP_MS);

/// Between two looks at everything.
const LOOK_EVERY_MS: u64 = 10;

/// Between two looks at what takes longer.
const LOOK_AT_BOUNDS_EVERY_MS: u64 = 250;

/// Callers go on for so long after the last fault.
const WORK_AFTER_MS: u64 = 500;

/// So long repairs may take once nobody writes: the longest pauses of probes and attempts to connect, and then some.
const REPAIRS_MS_MAX: u64 = 15_000;

/// Quiet for so long is quiet.
const QUIET_MS: u64 = 1_000;

/// So long all clients together may take to read everything once.
const LAST_READS_MS_MAX: u64 = 3_000;

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Run {
    /// What was planned.
    pub plan: Plan,
    /// What must not have happened, in order; empty when all held.
    pub violations: Vec<String>,
    /// All that happened, line by line.
    pub trace: Vec<String>,
    /// Of the whole trace: two runs of a seed have one.
    pub hash: u64,
    /// Operations ended.
    pub operations: u64,
    /// Writes among them whose callers were told of a failure.
    pub failed: u64,
    /// Items that one zone had in the end and another had not.
    pub absent: u64,
    /// Additions that were acknowledged and are not there, though nothing promised that they would be.
    pub additions_lost: u64,
    /// How long the run lasted, in its own time.
    pub lasted_ms: u64,
}

/// Runs a seed to its end.
#[must_use]
pub fn run(seed: u64) -> Run {
    run_plan(Plan::of(seed))
}

/// Runs a plan, which may have been changed by hand: with fewer faults it may show the same more clearly.
#[must_use]
pub fn run_plan(plan: Plan) -> Run {
    // Jitter of pauses between attempts comes from the thread's generator.
    fastrand::seed(plan.seed);
    panics::watch();
    let mut sim = Builder::new()
        .rng_seed(plan.seed)
        .epoch(UNIX_EPOCH + Duration::from_millis(BEGIN_UNIX_MS))
        .tick_duration(STEP)
        .min_message_latency(Duration::ZERO)
        .max_message_latency(Duration::ZERO)
        .tcp_capacity(1024)
        .simulation_duration(Duration::MAX)
        .build();
    let hosts = hosts::all();
    let addresses: BTreeMap<_, _> = hosts.iter().map(|host| (*host, sim.lookup(host.name()))).collect();
    let world = World::new(plan, addresses);
    hosts.iter().for_each(|host| add(&mut sim, &world, *host));
    let random = StdRng::seed_from_u64(world.plan.seed.rotate_left(32));
    let (network, checker) = (Network::new(&hosts), Checker::default());
    let mut live = Live { sim, world, network, checker, random, now_ms: 0 };
    let Conclusion { absent, additions_lost } = live.live();
    let history = live.world.history.lock();
    Run {
        plan: live.world.plan.clone(),
        violations: history.violations().to_vec(),
        trace: history.trace().to_vec(),
        hash: history.hash(),
        operations: history.operations,
        failed: history.failed,
        absent,
        additions_lost,
        lasted_ms: live.now_ms,
    }
}

fn add(sim: &mut Sim<'_>, world: &Rc<World>, host: Host) {
    let world = Rc::clone(world);
    match host {
        Host::Discovery(_) => sim.host(host.name(), move || hosts::discovery(Rc::clone(&world), host)),
        Host::Node(..) => sim.host(host.name(), move || hosts::node(Rc::clone(&world), host)),
        Host::Client(number) => sim.host(host.name(), move || hosts::client(Rc::clone(&world), number)),
    }
}

/// A run under way.
struct Live<'a> {
    sim: Sim<'a>,
    world: Rc<World>,
    network: Network,
    checker: Checker,
    random: StdRng,
    now_ms: u64,
}

impl Live<'_> {
    /// To its end.
    fn live(&mut self) -> Conclusion {
        if !self.until(|live| live.now_ms >= HEALED_MS + WORK_AFTER_MS) {
            return Conclusion::default();
        }
        self.world.is_working.set(false);
        let (patience, mut quiet_from) = (self.now_ms + REPAIRS_MS_MAX, self.now_ms);
        let has_come = self.until(|live| {
            if !end::is_quiet(&live.world) {
                quiet_from = live.now_ms;
            }
            live.now_ms >= patience || live.now_ms >= quiet_from + QUIET_MS
        });
        self.world.is_quiet.set(true);
        let patience = self.now_ms + LAST_READS_MS_MAX;
        let has_read = |world: &World| world.last_reads.borrow().len() == CLIENT_ZONES.len();
        if !has_come || !self.until(|live| live.now_ms >= patience || has_read(&live.world)) {
            return Conclusion::default();
        }
        Checker::look_at_bounds(&self.world);
        let conclusion = end::conclude(&self.world, self.now_ms);
        self.world.history.lock().at(self.now_ms + 1);
        conclusion
    }

    /// Steps until something is the case. False when a host has failed.
    fn until(&mut self, mut is_so: impl FnMut(&Self) -> bool) -> bool {
        while !is_so(self) {
            self.world.history.lock().at(self.now_ms);
            self.network.turn(&mut self.sim, &self.world, self.now_ms);
            if let Err(error) = self.sim.step() {
                self.world.history.lock().violated(format!("a host failed: {error}"));
                return false;
            }
            for panicked in panics::take() {
                self.world.history.lock().violated(format!("a task panicked: {panicked}"));
            }
            self.now_ms += STEP_MS;
            self.world.history.lock().at(self.now_ms);
            if self.now_ms.is_multiple_of(LOOK_EVERY_MS) {
                self.network.change_latencies(&self.sim, &self.world, &mut self.random);
                self.checker.look(&self.world, self.now_ms);
            }
            if self.now_ms.is_multiple_of(LOOK_AT_BOUNDS_EVERY_MS) {
                Checker::look_at_bounds(&self.world);
            }
        }
        true
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, violations, operations, failed, absent, additions_lost, hash, .. } = self;
        writeln!(f, "--seed {}: {} violations, trace {hash:016x}", plan.seed, violations.len())?;
        write!(
            f,
            "{operations} operations, {failed} writes of unknown outcome, {absent} items absent from a zone, "
        )?;
        writeln!(f, "{additions_lost} additions lost where none were promised")?;
        write!(f, "{plan}")?;
        violations.iter().try_for_each(|violation| writeln!(f, "{violation}"))
    }
}
