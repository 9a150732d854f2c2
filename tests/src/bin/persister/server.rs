//! A server that is started, stopped and started again where it was.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use evanesce_tests::{Deadline, Process, eventually};
use rustix::process::{Pid, Signal, kill_process};

/// A server that does not listen by then is not coming: Cassandra takes seconds on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A server that has not ended by then does not end.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A command that serves at an address, and what it was started with.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    directory: PathBuf,
    command: Vec<String>,
    /// Also done once, after the first start.
    prepare: Option<Prepare>,
    /// What ends it at once and in order.
    pub(crate) end: Signal,
    process: Option<Process>,
    starts: u32,
}

/// What is done to a server that has just started for the first time.
pub(crate) type Prepare = fn(&Server) -> anyhow::Result<()>;

impl Server {
    pub(crate) fn new(
        address: SocketAddr,
        directory: &Path,
        command: Vec<String>,
        prepare: Option<Prepare>,
    ) -> Server {
        Server {
            address,
            directory: directory.to_owned(),
            command,
            prepare,
            end: Signal::TERM,
            process: None,
            starts: 0,
        }
    }

    /// Started for the first time.
    pub(crate) fn started(mut self) -> anyhow::Result<Server> {
        self.start()?;
        if let Some(prepare) = self.prepare.take() {
            prepare(&self)?;
        }
        Ok(self)
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        self.starts += 1;
        let (program, arguments) = self.command.split_first().context("an empty command")?;
        let name = format!("server-{}", self.starts);
        let mut process = Process::start(&name, Path::new(program), arguments, &self.directory)?;
        let listens = || {
            let ended = process.check().err();
            match TcpStream::connect_timeout(&self.address, Duration::from_millis(200)) {
                Ok(_) => Some(Ok(())),
                Err(_) => ended.map(Err),
            }
        };
        eventually("the server's port", Deadline::within(START_LIMIT), listens)??;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until it prints this.
    pub(crate) fn prints(&self, text: &str) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("it does not run")?;
        let printed = || process.printed().contains(text).then_some(());
        Ok(eventually(text, Deadline::within(START_LIMIT), printed)?)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("it does not run")?;
        let pid = i32::try_from(process.pid()).ok().and_then(Pid::from_raw).context("not a pid")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Ends it as an operator would who does not wait for its clients.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("it does not run")?;
        let pid = i32::try_from(process.pid()).ok().and_then(Pid::from_raw).context("not a pid")?;
        process.check()?;
        kill_process(pid, self.end)?;
        process.wait(STOP_LIMIT)?;
        Ok(())
    }
}
