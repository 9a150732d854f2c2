//! Two servers side by side: started, filled with the same items, and driven window by window.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::args::{Pair, ValueSize};
use crate::generator::{Counts, GeneratorError, Plan, Pool, Until};
use crate::keys::KeySpace;
use crate::load::{Kind, Load};
use crate::pin;
use crate::server::Server;
use crate::traffic::{Items, Order, Traffic};
use crate::usage::{own_time, processor_time};
use crate::value::Values;

/// Before each window, unmeasured: caches, branch predictors and clock settle on this server again.
pub(crate) const WARM_UP: Duration = Duration::from_millis(150);
/// Connections that fill a server: enough to keep it busy.
const FILL_CONNECTIONS: usize = 8;
/// How items are written: deep enough to be fast.
const FILL: Load = Load { kind: Kind::Set, depth: 64 };
/// How they are read back.
const READ_BACK: Load = Load { kind: Kind::MultiGet, depth: 64 };

/// Both servers, and the items they hold.
pub(crate) struct Bench {
    pub(crate) items: Items,
    pub(crate) servers: [Server; 2],
}

/// What was measured, for a report.
#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    a: Subject,
    b: Subject,
    keys: u64,
    key_bytes: usize,
    value_bytes: usize,
    connections: usize,
}

/// One of the two servers.
#[derive(Debug, Serialize)]
struct Subject {
    command: String,
    version: String,
}

/// Who is meant, in the order of the windows.
pub(crate) const SIDES: [&str; 2] = ["A", "B"];

/// One window of one server.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) requests: u64,
    /// Server's processor time, user and system of all threads, in microseconds.
    pub(crate) server_us: f64,
    /// The generator's.
    pub(crate) client_us: f64,
    pub(crate) seconds: f64,
    pub(crate) checked: u64,
    pub(crate) wrong: u64,
}

impl Window {
    /// Server's microseconds per request.
    pub(crate) fn server_us_per_request(&self) -> f64 {
        self.server_us / self.requests.max(1) as f64
    }

    /// The generator's microseconds per request.
    pub(crate) fn client_us_per_request(&self) -> f64 {
        self.client_us / self.requests.max(1) as f64
    }

    pub(crate) fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }
}

impl Bench {
    /// Starts both servers and writes the same items into both, each read back once.
    ///
    /// # Errors
    /// When a server does not start, or does not take or return an item.
    pub(crate) fn set_up(options: &Pair) -> anyhow::Result<Bench> {
        options.check()?;
        let items = items_of(options.keys, options.key_bytes, options.value_bytes);
        let servers = Server::start_both([&options.a, &options.b], options.server_core())?;
        if let Some(core) = options.client_core() {
            pin::pin(core)?;
        }
        for (server, side) in servers.iter().zip(SIDES) {
            say(&format!("{side}: {} (version {})", server.command(), server.version()));
        }
        for (server, side) in servers.iter().zip(SIDES) {
            fill(server.address(), &items).with_context(|| format!("cannot fill {side}"))?;
        }
        Ok(Bench { items, servers })
    }

    /// One window of one server, by its place.
    ///
    /// # Errors
    /// As [`window`], with the server's name.
    pub(crate) fn window(
        &self,
        side: usize,
        pool: &mut Pool,
        traffic: &Traffic,
        plan: &Plan,
    ) -> anyhow::Result<Window> {
        let measured = window(pool, self.servers[side].pid(), traffic, plan);
        measured.with_context(|| format!("cannot measure {}", SIDES[side]))
    }

    /// What is measured, for a report.
    pub(crate) fn setting(&self, options: &Pair) -> Setting {
        let [a, b] = &self.servers;
        let subject = |server: &Server| Subject {
            command: server.command().to_owned(),
            version: server.version().to_owned(),
        };
        Setting {
            a: subject(a),
            b: subject(b),
            keys: options.keys,
            key_bytes: options.key_bytes,
            value_bytes: options.value_bytes,
            connections: options.connections.get(),
        }
    }

    /// A load over the items; the same seed draws the same keys from both servers.
    pub(crate) fn traffic(&self, load: Load, seed: u64) -> Traffic {
        Traffic::new(load, self.items.clone(), Order::Drawn(seed))
    }
}

/// So many items, of one size.
pub(crate) fn items_of(keys: u64, key_bytes: usize, value_bytes: usize) -> Items {
    let size = ValueSize { bytes_min: value_bytes, bytes_max: value_bytes };
    Items::new(KeySpace::new(keys, key_bytes), Values::new(size), value_bytes)
}

/// Writes all items and reads all back.
fn fill(server: SocketAddr, items: &Items) -> Result<(), GeneratorError> {
    let mut pool = Pool::connect(server, FILL_CONNECTIONS)?;
    for load in [FILL, READ_BACK] {
        let traffic = Traffic::new(load, items.clone(), Order::InTurn);
        let batches = items.keys.count().div_ceil(load.depth);
        let (active, in_flight) = (FILL_CONNECTIONS, FILL_CONNECTIONS);
        pool.closed_loop(&traffic, &Plan { first: 0, active, in_flight, until: Until::Batches(batches) })?;
    }
    Ok(())
}

/// Drives a server for a while, and says what that took of it. Nothing is on its way before and after.
///
/// # Errors
/// When an answer is not what a right one could be, or the server's account cannot be read.
pub(crate) fn window(pool: &mut Pool, pid: u32, traffic: &Traffic, plan: &Plan) -> anyhow::Result<Window> {
    let warm = pool.closed_loop(traffic, &Plan { until: Until::Elapsed(WARM_UP), ..*plan })?;
    let before = (account(pid)?, own_time());
    let counts = pool.closed_loop(traffic, &Plan { first: plan.first + warm.batches, ..*plan })?;
    let after = (account(pid)?, own_time());
    let Counts { gets, sets, elapsed, .. } = counts;
    Ok(Window {
        requests: gets + sets,
        server_us: micros(after.0.saturating_sub(before.0)),
        client_us: micros(after.1.saturating_sub(before.1)),
        seconds: elapsed.as_secs_f64(),
        checked: warm.checked + counts.checked,
        wrong: warm.wrong + counts.wrong,
    })
}

fn account(pid: u32) -> anyhow::Result<Duration> {
    processor_time(pid).with_context(|| format!("cannot read the processor time of process {pid}"))
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Says something on standard error, beside the figures.
pub(crate) fn say(text: &str) {
    // Nobody listens when this fails.
    let _ = writeln!(io::stderr(), "{text}");
}
