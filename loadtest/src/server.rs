//! A server under measurement: started on a free port and a core of its own, waited for, and ended.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{interrupt, pin};

/// A server that does not answer by then is not coming.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a server may take to end on SIGTERM before it is killed.
const END_LIMIT: Duration = Duration::from_secs(12);
/// Between two looks: short beside any server's start.
const PAUSE: Duration = Duration::from_millis(10);
/// How long one answer to `version` may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// What a command has in the place of its port.
const PORT: &str = "{port}";

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    command: String,
    child: Child,
    log: File,
    address: SocketAddr,
    version: String,
}

impl Server {
    /// Starts two servers and waits until both answer. Each command has `{port}` where its port goes, and is run by
    /// a shell, which it replaces.
    ///
    /// # Errors
    /// When one does not start, with what it printed.
    pub(crate) fn start_both(commands: [&str; 2], core: Option<usize>) -> anyhow::Result<[Server; 2]> {
        // Both held before either is let go, so that they differ.
        let held = [free_port()?, free_port()?];
        let addresses = [held[0].local_addr()?, held[1].local_addr()?];
        drop(held);
        let mut a = Server::spawn(commands[0], addresses[0], core)?;
        let mut b = Server::spawn(commands[1], addresses[1], core)?;
        a.wait_until_ready()?;
        b.wait_until_ready()?;
        Ok([a, b])
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says its version is.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// What it was started with.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    fn spawn(template: &str, address: SocketAddr, core: Option<usize>) -> anyhow::Result<Server> {
        if !template.contains(PORT) {
            bail!("no {PORT} in {template:?}: write it where the port goes");
        }
        let command = template.replace(PORT, &address.port().to_string());
        let log = tempfile::tempfile().context("cannot make a temporary file for the server's log")?;
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(format!("exec {command}"));
        shell.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
        let child =
            pin::on_core(core, || shell.spawn())?.with_context(|| format!("cannot start {command}"))?;
        Ok(Server { command, child, log, address, version: String::new() })
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = self.ended() {
                bail!("{} ended with {status}; it printed:\n{}", self.command, self.printed());
            }
            if let Ok(Some(version)) = version_of(self.address) {
                self.version = version;
                return Ok(());
            }
            if interrupt::requested() {
                bail!("interrupted");
            }
            if Instant::now() > deadline {
                bail!(
                    "{} did not answer within {START_LIMIT:?}; it printed:\n{}",
                    self.command,
                    self.printed()
                );
            }
            std::thread::park_timeout(PAUSE);
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    fn printed(&self) -> String {
        let mut text = Vec::new();
        // What cannot be read is left out: it is only there to explain another failure.
        let mut log = &self.log;
        let _ = log.rewind().and_then(|()| log.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    }

    fn end(&mut self) {
        if self.ended().is_some() {
            return;
        }
        // Not waited for yet, so the pid is still this child's. It fails only when the child has just ended.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + END_LIMIT;
        while self.ended().is_none() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::park_timeout(PAUSE);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// A loopback port that nobody else listens on while this is held.
fn free_port() -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")
}

/// What a server answers to `version`; `None` when that is no version.
///
/// # Errors
/// When it does not answer.
pub(crate) fn version_of(server: SocketAddr) -> std::io::Result<Option<String>> {
    let mut stream = TcpStream::connect_timeout(&server, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.write_all(b"version\r\n")?;
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") && line.len() < evanesce_wire::limits::KEY_BYTES_MAX {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&line);
    Ok(line.strip_prefix("VERSION ").map(|version| version.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::Server;

    #[test]
    fn command_without_a_port_is_refused() {
        let error = Server::start_both(["true", "true"], None).expect_err("refused");
        assert!(error.to_string().contains("{port}"), "{error}");
    }

    #[test]
    fn command_that_ends_at_once_is_reported_with_what_it_printed() {
        let broken = "sh -c 'echo no such thing as {port}; exit 3'";
        let error = Server::start_both([broken, broken], None).expect_err("ended").to_string();
        assert!(error.contains("no such thing as") && error.contains("exit status: 3"), "{error}");
    }
}
