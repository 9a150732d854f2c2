//! The children: started, watched, told to end, and in the end killed.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::stop::{EXIT_ON_STDIN_EOF, Stops};
use crate::up::plan::{Kind, Plan, Process};

/// When, after the word to end: discoveries follow (nodes and gateway have deregistered by then, or will not), and
/// what remains is killed. Ctrl-C promises 10 s.
const DISCOVERIES_AFTER: Duration = Duration::from_secs(6);
const KILL_AFTER: Duration = Duration::from_secs(8);
/// How long the kernel may take to bury what was killed.
const BURIAL: Duration = Duration::from_secs(1);
/// Lines of a log shown when a child fails at the start.
const LOG_TAIL_LINES: usize = 12;
/// Each child ends once and is told at most twice, so this never fills.
const EVENTS_QUEUE: usize = 1024;
/// To end, and to end at once.
const COMMANDS_QUEUE: usize = 4;

/// All children of an `up`. Dropping it kills them.
pub(crate) struct Fleet {
    plan: Plan,
    log_dir: PathBuf,
    /// By index into the plan.
    posts: Vec<Post>,
    events: mpsc::Receiver<Ended>,
    events_in: mpsc::Sender<Ended>,
}

/// What is known of a process of the plan.
struct Post {
    pid: u32,
    alive: bool,
    /// Asks the task that watches it to signal it: only that task knows that the pid is still its own.
    commands: mpsc::Sender<Signal>,
    /// The pipe whose end tells the child that this process is gone.
    _stdin: ChildStdin,
}

/// A child that ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    /// Into the plan.
    pub(crate) index: usize,
    pub(crate) pid: u32,
    pub(crate) status: Option<ExitStatus>,
}

impl Fleet {
    /// Starts every process of the plan.
    pub(crate) fn start(plan: Plan, log_dir: &Path) -> anyhow::Result<Self> {
        let (events_in, events) = mpsc::channel(EVENTS_QUEUE);
        let mut fleet = Self { posts: Vec::new(), log_dir: log_dir.to_owned(), plan, events, events_in };
        for index in 0..fleet.plan.processes.len() {
            let post = fleet.spawn(index)?;
            fleet.posts.push(post);
        }
        Ok(fleet)
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn process(&self, index: usize) -> &Process {
        &self.plan.processes[index]
    }

    /// Each process with its pid, in the plan's order.
    pub(crate) fn processes(&self) -> impl Iterator<Item = (&Process, u32)> {
        self.plan.processes.iter().zip(self.posts.iter().map(|post| post.pid))
    }

    /// Where logs are.
    pub(crate) fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// Where a process's log is.
    pub(crate) fn log_path(&self, index: usize) -> PathBuf {
        self.log_dir.join(format!("{}.log", self.process(index).name))
    }

    /// The last lines of a process's log.
    pub(crate) fn log_tail(&self, index: usize) -> String {
        let text = std::fs::read(self.log_path(index)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines = VecDeque::new();
        for line in text.lines() {
            if lines.len() == LOG_TAIL_LINES {
                lines.pop_front();
            }
            lines.push_back(format!("  | {line}"));
        }
        lines.make_contiguous().join("\n")
    }

    /// Waits for the next child to end. Cancel-safe.
    pub(crate) async fn next_ended(&mut self) -> Ended {
        let ended = self.events.recv().await.expect("the fleet holds a sender");
        self.posts[ended.index].alive = false;
        ended
    }

    /// Starts a process that ended again, and returns its pid.
    pub(crate) fn restart(&mut self, index: usize) -> anyhow::Result<u32> {
        self.posts[index] = self.spawn(index)?;
        Ok(self.posts[index].pid)
    }

    fn spawn(&self, index: usize) -> anyhow::Result<Post> {
        let Process { name, argv, .. } = self.process(index);
        let (program, options) = argv.split_first().expect("a command line begins with its program");
        let path = self.log_path(index);
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot write {}", path.display()))?;
        let errors = log.try_clone().context("cannot share a log")?;
        let mut command = Command::new(program);
        command.args(options).stdin(Stdio::piped()).stdout(log).stderr(errors).kill_on_drop(true);
        // A group of its own: Ctrl-C is for `up`, which then ends its children in order.
        command.process_group(0);
        // What this process was told by its environment is not meant for them; but how to log is.
        let ours = std::env::vars_os().map(|(name, _)| name).filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("EVANESCE_") && !name.starts_with("EVANESCE_LOG")
        });
        ours.for_each(|name| {
            command.env_remove(name);
        });
        command.env(EXIT_ON_STDIN_EOF, "1");
        let mut child = command.spawn().with_context(|| format!("cannot start {name}: {program}"))?;
        let pid = child.id().expect("it was not waited for yet");
        // Taken, because waiting would close it.
        let stdin = child.stdin.take().expect("it was asked for");
        let (commands, commands_out) = mpsc::channel(COMMANDS_QUEUE);
        tokio::spawn(watch(index, pid, child, commands_out, self.events_in.clone()));
        Ok(Post { pid, alive: true, commands, _stdin: stdin })
    }

    /// Ends everything within 10 s: nodes and gateway first, so that they can deregister; a second word to end kills.
    pub(crate) async fn end(mut self, stops: &mut Stops) -> anyhow::Result<()> {
        let now = Instant::now();
        self.signal(Signal::TERM, |kind| *kind != Kind::Discovery);
        let in_order = async {
            self.bury_until(now + DISCOVERIES_AFTER, |kind| *kind != Kind::Discovery).await;
            self.signal(Signal::TERM, |kind| *kind == Kind::Discovery);
            self.bury_until(now + KILL_AFTER, |_| true).await;
        };
        let hurried = tokio::select! {
            () = in_order => false,
            _ = stops.again() => true,
        };
        self.signal(Signal::KILL, |_| true);
        let killed: Vec<_> = self.alive(|_| true).map(|index| self.process(index).name.clone()).collect();
        self.bury_until(Instant::now() + BURIAL, |_| true).await;
        match (hurried, killed.as_slice()) {
            (false, []) => Ok(()),
            (true, _) => bail!("told twice to end: what was still running was killed"),
            (false, _) => bail!("not ended in time, and killed: {}", killed.join(", ")),
        }
    }

    fn alive(&self, which: impl Fn(&Kind) -> bool) -> impl Iterator<Item = usize> {
        let posts = self.posts.iter().enumerate().filter(|(_, post)| post.alive);
        posts.map(|(index, _)| index).filter(move |index| which(&self.plan.processes[*index].kind))
    }

    fn signal(&self, signal: Signal, which: impl Fn(&Kind) -> bool) {
        for index in self.alive(which) {
            // An error means that it ended meanwhile, or was told twice already.
            let _ = self.posts[index].commands.try_send(signal);
        }
    }

    async fn bury_until(&mut self, deadline: Instant, which: impl Fn(&Kind) -> bool) {
        while self.alive(&which).next().is_some() {
            if tokio::time::timeout_at(deadline, self.next_ended()).await.is_err() {
                return;
            }
        }
    }
}

/// Waits for one child, and signals it while it is certain to be this child.
async fn watch(
    index: usize,
    pid: u32,
    mut child: Child,
    mut commands: mpsc::Receiver<Signal>,
    events: mpsc::Sender<Ended>,
) {
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.ok(),
            Some(signal) = commands.recv() => tell(&child, signal),
        }
    };
    // An error means that nobody waits any more.
    let _ = events.send(Ended { index, pid, status }).await;
}

fn tell(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    // An error means that it is about to be waited for.
    let _ = pid.map(|pid| kill_process(pid, signal));
}
