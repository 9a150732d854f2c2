//! `crowd`: a process that holds many connections to one server, and does with them what it is told.
//!
//! A process may hold no more descriptors than its limit, and two servers with 15,000 connections each are more than
//! the usual one, so each has a process of its own: orders come as JSON lines on standard input, and each is
//! answered by one line on standard output. It ends with its standard input.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::args;
use crate::bench::{Window, items_of, window};
use crate::generator::{Plan, Pool, Until};
use crate::interrupt;
use crate::keys::seed_of;
use crate::load::{Kind, Load};
use crate::traffic::{Order, Traffic};

/// What is asked for: one key at a time.
pub(crate) const LOAD: Load = Load { kind: Kind::Get, depth: 1 };
/// GETs on their way at once while every connection does its first.
const FIRST_IN_FLIGHT: usize = 50;

/// What to do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Task {
    /// Open all connections; one GET on each.
    Open,
    /// One window.
    Window { first: u64, active: usize, in_flight: usize, millis: u64 },
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    Opened { wrong: u64 },
    Window(Window),
    Failed(String),
}

/// The process, as its parent sees it. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Crowd {
    child: Child,
    orders: Option<ChildStdin>,
    outcomes: BufReader<ChildStdout>,
}

impl Crowd {
    /// Starts it, where this thread runs.
    ///
    /// # Errors
    /// When this program cannot be started again.
    pub(crate) fn start(options: &args::Crowd) -> anyhow::Result<Crowd> {
        let program = std::env::current_exe().context("cannot find this program to start it again")?;
        let args::Crowd { server, pid, count, keys, key_bytes, value_bytes } = options;
        let mut command = Command::new(program);
        command.arg("crowd");
        command.args(["--server", &server.to_string(), "--pid", &pid.to_string()]);
        command.args(["--count", &count.to_string(), "--keys", &keys.to_string()]);
        command.args(["--key-bytes", &key_bytes.to_string(), "--value-bytes", &value_bytes.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the process that holds connections")?;
        let orders = child.stdin.take();
        let outcomes = BufReader::new(child.stdout.take().expect("it was asked for"));
        Ok(Crowd { child, orders, outcomes })
    }

    /// Opens all connections and does one GET on each; how many answers were wrong.
    ///
    /// # Errors
    /// When one cannot be opened or is not answered.
    pub(crate) fn open(&mut self) -> anyhow::Result<u64> {
        match self.order(&Task::Open)? {
            Outcome::Opened { wrong } => Ok(wrong),
            other => bail!("{other:?} is no answer to an order to open"),
        }
    }

    /// One window over the first `active` connections.
    ///
    /// # Errors
    /// When a request is not answered.
    pub(crate) fn window(
        &mut self,
        first: u64,
        active: usize,
        in_flight: usize,
        width: Duration,
    ) -> anyhow::Result<Window> {
        let millis = u64::try_from(width.as_millis())?;
        match self.order(&Task::Window { first, active, in_flight, millis })? {
            Outcome::Window(window) => Ok(window),
            other => bail!("{other:?} is no answer to an order for a window"),
        }
    }

    fn order(&mut self, task: &Task) -> anyhow::Result<Outcome> {
        if interrupt::requested() {
            bail!("interrupted");
        }
        let ended = "the process that holds connections has ended";
        let orders = self.orders.as_mut().expect("held until this is dropped");
        writeln!(orders, "{}", serde_json::to_string(task)?).context(ended)?;
        let mut line = String::new();
        if self.outcomes.read_line(&mut line).context(ended)? == 0 {
            bail!("{ended}");
        }
        match serde_json::from_str(&line)? {
            Outcome::Failed(what) => bail!(what),
            outcome => Ok(outcome),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // It has nothing to lose: its connections end with it.
        drop(self.orders.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the command: follows orders until there are no more.
///
/// # Errors
/// When an order cannot be read or its outcome not be written.
pub(crate) fn run(options: &args::Crowd) -> anyhow::Result<bool> {
    let mut holder = Holder::new(options);
    for line in io::stdin().lock().lines() {
        let task = serde_json::from_str(&line?)?;
        let outcome = holder.follow(task).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        let mut out = io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&outcome)?)?;
        out.flush()?;
    }
    Ok(true)
}

/// The connections, in the process that holds them.
struct Holder<'a> {
    options: &'a args::Crowd,
    traffic: Traffic,
    pool: Option<Pool>,
}

impl Holder<'_> {
    fn new(options: &args::Crowd) -> Holder<'_> {
        let items = items_of(options.keys, options.key_bytes, options.value_bytes);
        Holder { options, traffic: Traffic::new(LOAD, items, Order::Drawn(seed_of("crowd"))), pool: None }
    }

    fn follow(&mut self, task: Task) -> anyhow::Result<Outcome> {
        match task {
            Task::Open => {
                let mut pool = Pool::connect(self.options.server, self.options.count)?;
                // In rotation, so that each connection gets one.
                let until = Until::Batches(self.options.count as u64);
                let (active, in_flight) = (self.options.count, FIRST_IN_FLIGHT);
                let counts = pool.closed_loop(&self.traffic, &Plan { first: 0, active, in_flight, until })?;
                self.pool = Some(pool);
                Ok(Outcome::Opened { wrong: counts.wrong })
            }
            Task::Window { first, active, in_flight, millis } => {
                let pool = self.pool.as_mut().context("no connection is open")?;
                let until = Until::Elapsed(Duration::from_millis(millis));
                let plan = Plan { first, active, in_flight, until };
                Ok(Outcome::Window(window(pool, self.options.pid, &self.traffic, &plan)?))
            }
        }
    }
}
