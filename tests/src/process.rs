//! Child processes that do not outlive their guard.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{Deadline, eventually};

/// How long a process may take to end on SIGTERM before it is killed.
const TERMINATE_LIMIT: Duration = Duration::from_secs(10);

/// One child. Dropping it kills it, and nothing else: only a child not yet waited for is signalled, so
/// that its pid cannot be another's.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it prints goes to `NAME.log` in `directory`.
    ///
    /// # Errors
    /// When the log cannot be made or the program not started.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        directory: &Path,
    ) -> anyhow::Result<Process> {
        let log = directory.join(format!("{name}.log"));
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Process { name: name.to_owned(), child, log })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    #[must_use]
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its exit status once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Fails with what it printed if it has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}; it printed:\n{}", self.name, self.printed()),
        }
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// When it has not ended by the deadline.
    pub fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        Ok(eventually(&what, Deadline::within(limit), || self.ended())?)
    }

    /// Sends SIGKILL and waits.
    pub fn kill(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM and waits for a clean end; kills it when that takes too long.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.ended() {
            return Ok(status);
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).with_context(|| format!("cannot signal {}", self.name))?;
        let ended = self.wait(TERMINATE_LIMIT);
        if ended.is_err() {
            self.kill();
        }
        ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends SIGKILL to a process that one of our own children reported as its child.
///
/// `program` is what it must still run: a pid that has become something else's is left alone.
///
/// # Errors
/// When there is no such process or it runs something else.
pub fn kill_reported(pid: u32, program: &str) -> anyhow::Result<()> {
    signal_reported(pid, program, Signal::KILL)
}

/// Sends a signal to a process that one of our own children reported as its child, if it still runs `program`.
///
/// # Errors
/// When there is no such process or it runs something else.
pub fn signal_reported(pid: u32, program: &str, signal: Signal) -> anyhow::Result<()> {
    let arguments =
        std::fs::read(format!("/proc/{pid}/cmdline")).with_context(|| format!("no process {pid}"))?;
    let first = arguments.split(|&byte| byte == 0).next().unwrap_or_default();
    if !first.ends_with(program.as_bytes()) {
        bail!("process {pid} does not run {program}");
    }
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a pid")?;
    kill_process(pid, signal).context("cannot signal it")
}

/// Memory of a process that is in RAM, in bytes (`VmRSS`).
///
/// # Errors
/// When there is no such process.
pub fn rss_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS is not a number")?;
    Ok(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::{Process, kill_reported, rss_bytes};
    use std::path::Path;

    #[test]
    fn dropped_process_is_gone() {
        let directory = std::env::temp_dir();
        let process = Process::start("sleeper", Path::new("sleep"), ["60"], &directory).expect("starts");
        let pid = process.pid();
        assert!(rss_bytes(pid).is_ok());
        drop(process);
        assert!(rss_bytes(pid).is_err());
    }

    #[test]
    fn process_that_runs_something_else_is_not_killed() {
        let error = kill_reported(std::process::id(), "no-such-program").expect_err("refused");
        assert!(error.to_string().contains("does not run"));
    }
}
