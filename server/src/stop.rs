//! What tells a process to end.

use std::io::Read;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Set by `evanesce up` for its children, whose standard input is a pipe that it holds: when `up` is gone, however it
/// went, the pipe ends and so do they. Not a flag, so that a child's command line works by itself.
pub(crate) const EXIT_ON_STDIN_EOF: &str = "EVANESCE_EXIT_ON_STDIN_EOF";

/// A signal that comes again so soon is the same: `timeout` and shells send theirs to the process and to its group.
const ECHO: Duration = Duration::from_millis(300);

/// Why to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A signal, by name.
    Signal(&'static str),
    /// Whoever held the pipe on standard input is gone.
    ParentGone,
}

/// Everything that may tell this process to end.
pub(crate) struct Stops {
    terminate: Signal,
    interrupt: Signal,
    /// `None` where whoever started this process made it deaf to that, as `nohup` does.
    hangup: Option<Signal>,
    parent_gone: Option<oneshot::Receiver<()>>,
}

impl Stops {
    /// Begins to listen; from here on a signal no longer ends the process by itself.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let hear = |kind| signal(kind).context("cannot listen for signals");
        let parent_gone = std::env::var_os(EXIT_ON_STDIN_EOF).map(|_| watch_parent()).transpose()?;
        Ok(Self {
            terminate: hear(SignalKind::terminate())?,
            interrupt: hear(SignalKind::interrupt())?,
            hangup: (!hangup_is_ignored()).then(|| hear(SignalKind::hangup())).transpose()?,
            parent_gone,
        })
    }

    /// Takes SIGHUP out of what tells to end: for a process that reads files again at it, as daemons do.
    pub(crate) fn take_hangup(&mut self) -> Hangup {
        Hangup(self.hangup.take())
    }

    /// Waits for the next reason to end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Signal("SIGTERM"),
            _ = self.interrupt.recv() => Stop::Signal("SIGINT"),
            () = hung_up(&mut self.hangup) => Stop::Signal("SIGHUP"),
            () = gone(&mut self.parent_gone) => Stop::ParentGone,
        }
    }

    /// Waits to be told once more, after [`Stops::next`]. Cancel-safe.
    pub(crate) async fn again(&mut self) -> Stop {
        let echoes_until = Instant::now() + ECHO;
        loop {
            let stop = self.next().await;
            if Instant::now() >= echoes_until {
                return stop;
            }
        }
    }
}

/// SIGHUP as something else than an end.
pub(crate) struct Hangup(Option<Signal>);

impl Hangup {
    /// SIGHUP that nobody hears.
    pub(crate) const NEVER: Self = Self(None);

    /// Waits for the next one. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        hung_up(&mut self.0).await;
    }
}

/// Resolves when the terminal is gone; never where nobody wants to know.
async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        // `None` means that no more can come, which does not happen.
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether this process was started deaf to SIGHUP. Known on Linux only.
fn hangup_is_ignored() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| hangup_is_ignored_by(&status))
}

/// Reads the mask of ignored signals, in which bit 0 stands for signal 1, which is SIGHUP.
fn hangup_is_ignored_by(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Resolves once, when the parent is gone; never where none is watched.
async fn gone(parent: &mut Option<oneshot::Receiver<()>>) {
    match parent {
        Some(receiver) => {
            // An error means that the watching thread ended without a word, which it does not.
            let _ = receiver.await;
            *parent = None;
        }
        None => std::future::pending().await,
    }
}

/// A thread of its own: tokio's standard input blocks a runtime's end.
fn watch_parent() -> anyhow::Result<oneshot::Receiver<()>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("parent-watch".to_owned())
        .spawn(move || {
            let mut ignored = [0; 64];
            while std::io::stdin().read(&mut ignored).is_ok_and(|bytes| bytes > 0) {}
            // An error means that nobody waits any more.
            let _ = sender.send(());
        })
        .context("cannot start a thread")?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_of_ignored_signals_tells_of_hangups() {
        let status = |mask: &str| format!("SigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t01\n");
        assert!(hangup_is_ignored_by(&status("0000000000001001")));
        // What Rust ignores by itself: SIGPIPE.
        assert!(!hangup_is_ignored_by(&status("0000000000001000")));
        assert!(!hangup_is_ignored_by(""));
    }
}
